//! What is looked at in an Arrow message before its arrays are made.

use arrow_ipc::RecordBatch;

/// Whether the buffers of `batch` lie one behind the other within a body of `bytes`, as every writer
/// puts them. Buffers that lie upon each other would make of one text as many as there are columns.
///
/// # Errors
/// The reason.
pub(crate) fn buffers(batch: RecordBatch<'_>, bytes: u64) -> Result<(), &'static str> {
    let mut end = 0_u64;
    for buffer in batch.buffers().into_iter().flatten() {
        let (Ok(offset), Ok(length)) = (
            u64::try_from(buffer.offset()),
            u64::try_from(buffer.length()),
        ) else {
            return Err("a buffer lies outside of its record batch");
        };
        let buffer_end = offset.saturating_add(length);
        if buffer_end > bytes {
            return Err("a buffer lies outside of its record batch");
        }
        if length > 0 && offset < end {
            return Err("a buffer lies upon another of its record batch");
        }
        end = end.max(buffer_end);
    }
    Ok(())
}
