//! Thrift's compact protocol, as far as Parquet's footers and page headers need it.
//!
//! It is read here before the decoder sees it, because what a claim would make the decoder reserve,
//! and how deep it would descend, must be known first. Nothing is allocated, and every claim is held
//! against the bytes that are left.

/// Structs and lists within each other at most.
const DEPTH_MAX: u32 = 32;

/// What stands behind a field or in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    True,
    False,
    Byte,
    Integer,
    Double,
    Bytes,
    List,
    Map,
    Struct,
    Uuid,
}

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// They end too early; with more of them it may be well.
    Short,
    /// They are wrong, and how.
    Bad(&'static str),
}

/// Bytes on the way through a reader.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thrift<'a> {
    rest: &'a [u8],
    /// Elements of lists that may still come.
    elements_left: u32,
}

// === impl Fault ===

impl Fault {
    /// The reason in words.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Short => "it ends in the middle",
            Self::Bad(reason) => reason,
        }
    }
}

// === impl Kind ===

impl Kind {
    fn of(code: u8) -> Result<Self, Fault> {
        Ok(match code {
            1 => Self::True,
            2 => Self::False,
            3 => Self::Byte,
            4..=6 => Self::Integer,
            7 => Self::Double,
            8 => Self::Bytes,
            9 | 10 => Self::List,
            11 => Self::Map,
            12 => Self::Struct,
            13 => Self::Uuid,
            _ => return Err(Fault::Bad("a field of no known kind")),
        })
    }
}

// === impl Thrift ===

impl<'a> Thrift<'a> {
    /// A reader of `bytes` that allows `elements_max` elements in all lists together.
    pub(super) fn new(bytes: &'a [u8], elements_max: u32) -> Self {
        Self {
            rest: bytes,
            elements_left: elements_max,
        }
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next field of a struct, by its number and kind; `None` at the struct's end. `last` is
    /// the number of the field before, 0 at first.
    pub(super) fn field(&mut self, last: &mut i64) -> Result<Option<(i64, Kind)>, Fault> {
        let byte = self.byte()?;
        if byte == 0 {
            return Ok(None);
        }
        let kind = Kind::of(byte & 0x0f)?;
        *last = match byte >> 4 {
            0 => zigzag(self.varint()?),
            step => last.saturating_add(i64::from(step)),
        };
        Ok(Some((*last, kind)))
    }

    /// A whole number, or a boolean as 1 or 0.
    pub(super) fn int(&mut self, kind: Kind) -> Result<i64, Fault> {
        match kind {
            Kind::True => Ok(1),
            Kind::False => Ok(0),
            Kind::Byte => Ok(i64::from(self.byte()?.cast_signed())),
            Kind::Integer => Ok(zigzag(self.varint()?)),
            _ => Err(Fault::Bad("a field that should be a number is none")),
        }
    }

    /// The kind of a list's elements, and how many there are. Each takes at least a byte, so more
    /// than the bytes that are left is refused here.
    pub(super) fn list(&mut self) -> Result<(Kind, u32), Fault> {
        let byte = self.byte()?;
        let count = match byte >> 4 {
            15 => self.varint()?,
            count => u64::from(count),
        };
        let kind = Kind::of(byte & 0x0f)?;
        self.elements(count, 1).map(|count| (kind, count))
    }

    /// The fields of a struct that are numbers, at their places below `N`; others are passed over.
    pub(super) fn ints<const N: usize>(&mut self) -> Result<[Option<i64>; N], Fault> {
        let mut found = [None; N];
        let mut last = 0;
        while let Some((id, kind)) = self.field(&mut last)? {
            let slot = usize::try_from(id).ok().and_then(|id| found.get_mut(id));
            match (slot, kind) {
                (Some(slot), Kind::True | Kind::False | Kind::Byte | Kind::Integer) => {
                    *slot = Some(self.int(kind)?);
                }
                _ => self.skip(kind)?,
            }
        }
        Ok(found)
    }

    /// Passes over a value.
    pub(super) fn skip(&mut self, kind: Kind) -> Result<(), Fault> {
        self.skip_at(kind, 0)
    }

    fn skip_at(&mut self, kind: Kind, depth: u32) -> Result<(), Fault> {
        if depth > DEPTH_MAX {
            return Err(Fault::Bad("structs within structs without end"));
        }
        match kind {
            Kind::True | Kind::False => Ok(()),
            Kind::Byte => self.byte().map(|_| ()),
            Kind::Integer => self.varint().map(|_| ()),
            Kind::Double => self.cut(8),
            Kind::Uuid => self.cut(16),
            Kind::Bytes => {
                let length = self.varint()?;
                self.cut(usize::try_from(length).map_err(|_| Fault::Short)?)
            }
            Kind::Struct => {
                let mut last = 0;
                while let Some((_, kind)) = self.field(&mut last)? {
                    self.skip_at(kind, depth + 1)?;
                }
                Ok(())
            }
            Kind::List => {
                let (kind, count) = self.list()?;
                for _ in 0..count {
                    self.element(kind, depth)?;
                }
                Ok(())
            }
            Kind::Map => {
                let count = self.varint()?;
                let count = self.elements(count, 2)?;
                if count == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                let (key, value) = (Kind::of(kinds >> 4)?, Kind::of(kinds & 0x0f)?);
                for _ in 0..count {
                    self.element(key, depth)?;
                    self.element(value, depth)?;
                }
                Ok(())
            }
        }
    }

    /// An element of a list: a boolean takes a byte there, and none as a field.
    fn element(&mut self, kind: Kind, depth: u32) -> Result<(), Fault> {
        match kind {
            Kind::True | Kind::False => self.byte().map(|_| ()),
            kind => self.skip_at(kind, depth + 1),
        }
    }

    fn elements(&mut self, count: u64, bytes_each: u64) -> Result<u32, Fault> {
        if count.saturating_mul(bytes_each) > self.rest.len() as u64 {
            return Err(Fault::Short);
        }
        let count = u32::try_from(count).map_err(|_| Fault::Short)?;
        self.elements_left = self
            .elements_left
            .checked_sub(count)
            .ok_or(Fault::Bad("its lists have too many elements"))?;
        Ok(count)
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let (byte, rest) = self.rest.split_first().ok_or(Fault::Short)?;
        self.rest = rest;
        Ok(*byte)
    }

    fn cut(&mut self, length: usize) -> Result<(), Fault> {
        self.rest = self.rest.get(length..).ok_or(Fault::Short)?;
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, Fault> {
        varint(&mut self.rest)
    }
}

/// A number of seven bits a byte, the lowest first; what does not fit in 64 bits is refused.
pub(super) fn varint(rest: &mut &[u8]) -> Result<u64, Fault> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first().ok_or(Fault::Short)?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Fault::Bad("a number of more than 64 bits"))
}

/// The sign is the lowest bit.
pub(super) fn zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_with_their_sign() {
        for (bytes, expect) in [
            (vec![0], 0),
            (vec![1], -1),
            (vec![0x7e], 63),
            (vec![0xff, 0xff, 0xff, 0xff, 0x0f], i64::from(i32::MIN)),
        ] {
            assert_eq!(zigzag(varint(&mut bytes.as_slice()).unwrap()), expect);
        }
        assert_eq!(varint(&mut [0x80].as_slice()), Err(Fault::Short));
        assert!(varint(&mut [0xff; 11].as_slice()).is_err());
    }

    #[test]
    fn claims_are_held_against_the_bytes_that_are_left() {
        // A list of two thousand million structs in six bytes.
        let list = [0xfc, 0xff, 0xff, 0xff, 0xff, 0x07];
        assert_eq!(Thrift::new(&list, 1 << 20).list(), Err(Fault::Short));
        let text = [0xff, 0xff, 0xff, 0xff, 0x0f, b'x'];
        let mut thrift = Thrift::new(&text, 0);
        assert_eq!(thrift.skip(Kind::Bytes), Err(Fault::Short));
        // Structs within structs, each the first field of the one before.
        let deep = [0x1c; 1000];
        let fault = Thrift::new(&deep, 0).skip(Kind::Struct).unwrap_err();
        assert_eq!(fault, Fault::Bad("structs within structs without end"));
        // Few elements are allowed, and there are more.
        let many = [0x54, 2, 2, 2, 2, 2];
        assert!(Thrift::new(&many, 4).skip(Kind::List).is_err());
        assert!(Thrift::new(&many, 5).skip(Kind::List).is_ok());
    }
}
