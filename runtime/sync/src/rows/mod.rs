//! Record batches, wherever they come from, as the newest row of every key.

pub(crate) mod cell;
mod collect;
mod fill;
mod fit;
pub(crate) mod fold;
pub(crate) mod ipc;
mod job;
mod plan;
mod staging;

pub(crate) use collect::{Collect, Place, Taker};
pub(crate) use fold::Window;
pub(crate) use job::{ViewJob, batch_source};
pub(crate) use plan::{FilePlan, ViewPlan};
pub(crate) use staging::Staging;

/// Settings of materialisation.
#[derive(Clone, Debug)]
pub struct MaterializeConfig {
    /// Bytes of staged rows before they are committed on the way; at most 1 GiB is used. The
    /// commit itself needs about as much again.
    pub memory_max: u64,
    /// Rows decoded at a time.
    pub batch_rows_max: usize,
    /// Bytes decoded at a time, as far as the file tells before it is read.
    pub batch_bytes_max: usize,
    /// Bytes of the pages of a Parquet file that are held at a time, unpacked, beside 2 MiB for each
    /// column. What a page would unfold to counts as well.
    pub decode_bytes_max: u64,
    /// Bytes of a file that is fetched from elsewhere; it lies on this machine's disk while it is
    /// read.
    pub download_bytes_max: u64,
}

// === impl MaterializeConfig ===

impl Default for MaterializeConfig {
    fn default() -> Self {
        Self {
            memory_max: 256 << 20,
            batch_rows_max: 8192,
            batch_bytes_max: 32 << 20,
            decode_bytes_max: 256 << 20,
            download_bytes_max: 4 << 30,
        }
    }
}
