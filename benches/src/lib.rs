//! What the benchmarks share: seeded numbers, sources and request bodies, a plain HTTP client,
//! processes pinned to a core.
//!
//! `cargo xtask bench` runs `side_by_side`, which starts the others.

pub mod client;
pub mod data;
pub mod flight;
pub mod process;
#[path = "../../tests/it/support/web.rs"]
pub mod web;
pub mod workload;

/// What every fallible step of a benchmark returns: the first thing that failed, in words.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Seeded numbers (splitmix64): every machine measures with the same rows and requests.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound.max(1)
    }

    /// A double in `[0, 1)` with all its digits.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The middle of some figures.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}
