//! What is looked at in a message before its arrays are made.

use arrow_flight::FlightData;
use arrow_flight::error::FlightError;
use arrow_ipc::root_as_message;

/// Refuses what would take more memory or time than its bytes account for.
pub(super) fn message(data: &FlightData) -> Result<(), FlightError> {
    if data.data_header.is_empty() {
        return Ok(());
    }
    let refuse = |reason: String| Err(FlightError::DecodeError(reason));
    let header = match root_as_message(&data.data_header) {
        Ok(header) => header,
        Err(error) => return refuse(format!("a message without a header: {error}")),
    };
    let batch = header
        .header_as_record_batch()
        .or_else(|| header.header_as_dictionary_batch()?.data());
    let Some(batch) = batch else {
        return Ok(());
    };
    // A buffer may claim any size for its contents, which is reserved before it is unpacked.
    if batch.compression().is_some() {
        return refuse("a compressed batch, which the offline server does not send".to_owned());
    }
    if let Err(reason) = crate::rows::ipc::buffers(batch, data.data_body.len() as u64) {
        return refuse(reason.to_owned());
    }
    // Each row has an event time of at least four bytes: columns of nulls alone have none.
    let (rows, bytes) = (batch.length(), data.data_body.len());
    if u64::try_from(rows).is_ok_and(|rows| rows <= bytes as u64) {
        Ok(())
    } else {
        refuse(format!("a batch that claims {rows} rows in {bytes} bytes"))
    }
}
