//! Bounds that hold everywhere and are not for operators to tune.

/// Bounds on values, keys and names.
#[derive(Clone, Copy, Debug)]
pub struct Limits;

impl Limits {
    /// How deep a value may nest.
    pub const VALUE_DEPTH_MAX: usize = 32;
    /// Bytes of one encoded entity key; redb would take more, no sane key does.
    pub const KEY_BYTES_MAX: usize = 4096;
    /// Bytes of one encoded row.
    pub const ROW_BYTES_MAX: usize = 4 << 20;
    /// Features of one feature view: the row's directory counts them in 16 bits.
    pub const FEATURES_MAX: usize = 8192;
    /// Join keys of one feature view.
    pub const JOIN_KEYS_MAX: usize = 16;
    /// Bytes of a name of a view, feature, service, source or key.
    pub const NAME_BYTES_MAX: usize = 512;
}
