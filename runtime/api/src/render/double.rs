//! Doubles as text: the fewest digits that read back as the same number, and of those the nearest.
//!
//! Most numbers of a feature store lie between 0.00001 and 2^52, and for those the arithmetic is small
//! and exact. Such a number is `c * 2^q` with `c` below 2^53 and `q` below 0. With `10^k` the greatest
//! power of ten that is not above `2^q`, and `e = -k - 1`, the product `c * 2^q * 10^e` has at most 16
//! digits before its point, and `2^(64+q) * 10^e` is an integer below 2^64, kept in a table. So one
//! multiplication of 64 by 64 bits gives those digits in its upper half, and in its lower half what is
//! behind the point, without any rounding. All that reads back as the number lies within half a
//! `2^q` of it, which is less than half of what the last of those digits is worth: if a number with
//! these digits is within it, it is the shortest, and the only one of its length; otherwise one more
//! digit, the nearest, tells the number. (That one of these two is the shortest is what Giulietti's
//! "The Schubfach way to render doubles" shows.) Everything else is left to `zmij`, which also is what
//! the tests compare with.

/// Bytes that [`write`] may use; a text is shorter.
pub(super) const ROOM: usize = 40;

/// The biased exponents of the doubles that are written here: from 2^-17 on, and below 2^52.
const EXPONENTS: std::ops::Range<usize> = 1023 - 17..1023 + 52;
/// What [`EXPONENTS`] begin below.
const LEAST: f64 = 1e-5;
const FRACTION_BITS: u32 = 52;
/// The biased exponent less the binary exponent of the fraction's last bit.
const BIAS: i32 = 1075;
/// Digits that come out of one multiplication.
const DIGITS: usize = 16;
const HALF: u64 = 100_000_000;
const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);

/// How numbers of one binary exponent are made decimal.
#[derive(Clone, Copy)]
struct Scale {
    /// `2^(64+q) * 10^e`.
    factor: u64,
    /// `e`: how many of the digits are behind the point.
    behind: u8,
}

static SCALES: [Scale; EXPONENTS.end - EXPONENTS.start] = scales();

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "small constants"
)]
#[expect(clippy::indexing_slicing, reason = "checked when it is compiled")]
const fn scales() -> [Scale; EXPONENTS.end - EXPONENTS.start] {
    let mut scales = [Scale {
        factor: 0,
        behind: 0,
    }; EXPONENTS.end - EXPONENTS.start];
    let mut at = 0;
    while at < scales.len() {
        let q = (EXPONENTS.start + at) as i32 - BIAS;
        // floor(q * log10(2)), exact for exponents of doubles.
        let k = (q * 315_653) >> 20;
        let e = -k - 1;
        let mut five_to_e = 1_u64;
        let mut factors = 0;
        while factors < e {
            five_to_e *= 5;
            factors += 1;
        }
        scales[at] = Scale {
            factor: five_to_e << (64 + q + e),
            behind: e as u8,
        };
        at += 1;
    }
    scales
}

/// The digits of a number between [`LEAST`] and 2^52.
struct Decimal {
    /// The first eight digits, the first in the lowest byte, and the eight behind them.
    digits: [u64; 2],
    /// One more digit, where the number needs it.
    last: Option<u8>,
    /// How many of the sixteen are behind the point.
    behind: usize,
}

/// Writes a double and returns the length of its text; what lies behind it in `to` is of no meaning.
#[inline]
pub(super) fn write(value: f64, to: &mut [u8; ROOM]) -> usize {
    let bits = value.to_bits();
    let exponent = (bits >> FRACTION_BITS) as usize & 0x7ff;
    let sign = usize::from(value.is_sign_negative());
    match SCALES.get(exponent.wrapping_sub(EXPONENTS.start)) {
        Some(scale) if value.abs() >= LEAST => {
            let fraction = bits & ((1 << FRACTION_BITS) - 1);
            let decimal = Decimal::new(fraction | (1 << FRACTION_BITS), scale);
            put(to, 0, [b'-']);
            if value.abs() < 1.0 {
                decimal.write_below_one(to, sign)
            } else {
                decimal.write_from_one_on(to, sign)
            }
        }
        _ => write_any(value, to),
    }
}

/// Writes a double of a list, or its null, and a comma; returns the length of both.
#[inline]
pub(super) fn write_item(value: Option<f64>, to: &mut [u8; ROOM]) -> usize {
    let length = match value {
        Some(value) => write(value, to),
        None => {
            put(to, 0, *b"null");
            4
        }
    };
    put(to, length, [b',']);
    length + 1
}

#[cold]
fn write_any(value: f64, to: &mut [u8; ROOM]) -> usize {
    let mut digits = zmij::Buffer::new();
    let text = if value.is_finite() {
        digits.format_finite(value)
    } else if value.is_nan() {
        "\"NaN\""
    } else if value > 0.0 {
        "\"Infinity\""
    } else {
        "\"-Infinity\""
    };
    for (byte, digit) in to.iter_mut().zip(text.bytes()) {
        *byte = digit;
    }
    text.len()
}

/// Puts bytes at a place that is inside.
#[inline(always)]
fn put<const N: usize>(to: &mut [u8; ROOM], at: usize, bytes: [u8; N]) {
    if let Some(place) = to.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = bytes;
    }
}

/// A number below 10^8 as eight digits 0 to 9, the first in the lowest byte: halves are split into
/// halves, all of a width at once.
#[inline(always)]
fn eight_digits(number: u64) -> u64 {
    // Multiplied by the inverses of 10^4, 10^2 and 10, which are exact for so few digits.
    let upper = (number * 109_951_163) >> 40;
    let fours = upper | ((number - upper * 10_000) << 32);
    let upper = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = upper | ((fours - upper * 100) << 16);
    let upper = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    upper | ((twos - upper * 10) << 8)
}

/// Sixteen digits in their order but for the first `count`.
#[inline(always)]
fn without_first(count: usize, [upper, lower]: [u64; 2]) -> [u8; DIGITS] {
    let [upper, lower] = if count < 8 {
        [upper, lower]
    } else {
        [lower, 0]
    };
    let bits = count % 8 * 8;
    let upper = (upper >> bits) | ((lower << 1) << (63 - bits));
    let both = u128::from(upper) | (u128::from(lower >> bits) << 64);
    both.to_le_bytes()
}

// === impl Decimal ===

impl Decimal {
    /// Of `c * 2^q`, with the scale for `q`.
    #[inline(always)]
    fn new(c: u64, scale: &Scale) -> Self {
        let product = u128::from(c) * u128::from(scale.factor);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
        let (digits, rest) = ((product >> 64) as u64, product as u64);
        // Half a 2^q on either side. The rest is even and this is odd before both are scaled up, so
        // they never are equal, and whether the ends themselves read back need not be asked.
        let reach = scale.factor / 2;
        let above = rest.checked_add(reach).is_none();
        let short = above || rest < reach;
        let digits = digits + u64::from(above);
        // A quarter is the one rest that lies between two digits; the even one is taken.
        let nearest = if rest == 1 << 62 {
            2
        } else {
            (u128::from(rest) * 10 + (1 << 63)) >> 64
        };
        #[expect(clippy::cast_possible_truncation, reason = "one digit")]
        let last = (!short).then_some(nearest as u8);
        let upper = digits / HALF;
        Self {
            digits: [eight_digits(upper), eight_digits(digits - upper * HALF)],
            last,
            behind: usize::from(scale.behind),
        }
    }

    /// Digits up to the last that is not zero.
    #[inline(always)]
    fn significant(&self) -> usize {
        let [upper, lower] = self.digits;
        let bytes = |digits: u64| 8 - digits.leading_zeros() as usize / 8;
        match (self.last, lower) {
            (Some(_), _) => DIGITS + 1,
            (None, 0) => bytes(upper),
            (None, lower) => 8 + bytes(lower),
        }
    }

    #[inline(always)]
    fn write_below_one(&self, to: &mut [u8; ROOM], start: usize) -> usize {
        let [upper, lower] = self.digits.map(|digits| digits | ZEROS);
        // One half and more have all but the first of their digits behind the point.
        let first = start + 2 + self.behind - DIGITS;
        put(to, start, *b"0.000000");
        put(to, first, without_first(0, [upper, lower]));
        put(to, first + DIGITS, [b'0' + self.last.unwrap_or(0)]);
        put(to, start + 1, [b'.']);
        first + self.significant()
    }

    #[inline(always)]
    fn write_from_one_on(&self, to: &mut [u8; ROOM], start: usize) -> usize {
        let before = DIGITS - self.behind;
        let [upper, lower] = self.digits.map(|digits| digits | ZEROS);
        // Of the digits before the point the first may be a zero.
        let padded = before > 1 && upper.to_le_bytes().first() == Some(&b'0');
        let point = start + before - usize::from(padded);
        let all = without_first(usize::from(padded), [upper, lower]);
        put(to, start, all);
        put(to, point, [b'.']);
        put(to, point + 1, without_first(before, [upper, lower]));
        put(to, point + 1 + self.behind, [b'0' + self.last.unwrap_or(0)]);
        // At least one digit is behind the point.
        point + 1 + self.significant().max(before + 1) - before
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Checks the text of a double, and of its opposite, against the well-kept crate's.
    fn check(value: f64) {
        for value in [value, -value] {
            let mut to = [b'x'; ROOM];
            let length = write(value, &mut to);
            let text = std::str::from_utf8(&to[..length]).unwrap();
            assert_eq!(
                text,
                zmij::Buffer::new().format_finite(value),
                "{:x}",
                value.to_bits()
            );
        }
    }

    #[test]
    fn every_exponent_and_its_ends() {
        for exponent in 0..0x7ff_u64 {
            for fraction in [0, 1, 2, 3, 1 << 51, (1 << 52) - 2, (1 << 52) - 1] {
                check(f64::from_bits(exponent << FRACTION_BITS | fraction));
            }
        }
    }

    #[test]
    fn short_numbers() {
        for number in 0..2_000_u32 {
            for power in 0..12 {
                check(f64::from(number) / 10_f64.powi(power));
                check(f64::from(number) * 2_f64.powi(-power));
                check(f64::from(number) * 10_f64.powi(power));
            }
            check(f64::from(number as f32 / 7.0));
        }
    }

    #[test]
    fn a_power_of_two_needs_no_care() {
        // The doubles below a power of two lie closer than those above. It does not matter, because
        // these come out whole.
        for (exponent, scale) in EXPONENTS.zip(&SCALES) {
            let product = u128::from(scale.factor) << FRACTION_BITS;
            assert_eq!(product << 64, 0, "{exponent}");
        }
    }

    #[test]
    fn what_json_has_no_number_for() {
        for (value, expected) in [
            (f64::NAN, "\"NaN\""),
            (f64::INFINITY, "\"Infinity\""),
            (f64::NEG_INFINITY, "\"-Infinity\""),
        ] {
            let mut to = [0; ROOM];
            let length = write(value, &mut to);
            assert_eq!(&to[..length], expected.as_bytes());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn any_double(bits in any::<u64>(), exponent in EXPONENTS, digits in 0..10_u64.pow(17), power in 0..17) {
            let value = f64::from_bits(bits);
            if value.is_finite() {
                check(value);
            }
            let fraction = bits & ((1 << FRACTION_BITS) - 1);
            check(f64::from_bits((exponent as u64) << FRACTION_BITS | fraction));
            check(digits as f64 / 10_f64.powi(power));
        }
    }
}
