//! A landing zone: Parquet files in a folder or a bucket, each written once under its own name.
//!
//! ```text
//! views/<view>/<producer>-<first>-<last>.parquet     pushed rows, columns of the view's batch source
//! logs/<service>/<producer>-<first>-<last>.parquet   served features
//! _galley/views/<view>/<producer>-<first>-<last>.json   receipt: written after the file
//! ```
//! The name says which entries of which outbox a file holds: putting it again puts the same file. A
//! receipt says that it was there, so that a file that was taken away meanwhile is not put again.

use std::fmt::Write as _;
use std::sync::Arc;

use galley_node::store::OutboxKind;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use serde_json::json;

use super::{Centre, Shipment, Undelivered};
use crate::remote::{Ask, RemoteError, RemoteErrorKind, RemoteStore, is_plain};

/// Bytes of a segment of a path that every file system takes.
const SEGMENT_BYTES_MAX: usize = 255;

/// A folder or a bucket that takes Parquet files.
#[derive(Clone, Debug)]
pub struct Landing {
    place: Arc<dyn RemoteStore>,
}

// === impl Landing ===

impl Landing {
    /// Lands files in `place`.
    #[must_use]
    pub fn new(place: Arc<dyn RemoteStore>) -> Self {
        Self { place }
    }

    fn has(&self, path: &str) -> Result<bool, RemoteError> {
        match self.place.read(path, &Ask::default()) {
            Ok(_) => Ok(true),
            Err(error) if error.kind == RemoteErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Centre for Landing {
    /// What the place says concerns all shipments: only what has no name or no file here is refused.
    fn deliver(&self, shipment: &Shipment<'_>) -> Result<(), Undelivered> {
        let path = path(shipment);
        let receipt = format!("_galley/{path}.json");
        let file = format!("{path}.parquet");
        let refused = |detail: String| {
            let kind = RemoteErrorKind::Invalid;
            Undelivered::Refused(RemoteError::new(kind, file.clone(), detail))
        };
        let long = |path: &str| path.split('/').any(|it| it.len() > SEGMENT_BYTES_MAX);
        if !is_plain(&receipt) || long(&receipt) {
            let length = shipment.target.len();
            let detail = format!("a name of {length} bytes is too long to be that of a folder");
            return Err(refused(detail));
        }
        if shipment.again && self.has(&receipt).map_err(Undelivered::Later)? {
            return Ok(());
        }
        let bytes = parquet(shipment).map_err(|error| refused(error.to_string()))?;
        self.place.put(&file, &bytes).map_err(Undelivered::Later)?;
        let text = json!({
            "target": shipment.target,
            "producer": producer(shipment),
            "first_sequence": shipment.first,
            "last_sequence": shipment.last,
            "rows": shipment.rows.num_rows(),
            "bytes": bytes.len(),
            "file": file,
        });
        let put = self.place.put(&receipt, text.to_string().as_bytes());
        put.map_err(Undelivered::Later)
    }

    fn location(&self) -> String {
        self.place.location()
    }
}

fn producer(shipment: &Shipment<'_>) -> String {
    format!("{:032x}", shipment.producer)
}

/// Where a shipment lands, without the ending.
fn path(shipment: &Shipment<'_>) -> String {
    let folder = match shipment.kind {
        OutboxKind::Rows => "views",
        OutboxKind::Log => "logs",
    };
    let (first, last) = (shipment.first, shipment.last);
    let name = format!("{}-{first:020}-{last:020}", producer(shipment));
    format!("{folder}/{}/{name}", segment(shipment.target))
}

/// A name as one plain segment of a path: what is not a letter, a digit, `-`, `_` or an inner `.` is
/// written as `=` and two hexadecimal digits. Readers of Parquet folders pass over what begins with
/// `.` or `_`.
pub(super) fn segment(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for (index, byte) in name.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric()
            || byte == b'-'
            || (index > 0 && (byte == b'_' || byte == b'.'));
        if plain {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "={byte:02x}");
        }
    }
    out
}

/// The file of a shipment; the same shipment makes the same bytes.
fn parquet(shipment: &Shipment<'_>) -> Result<Vec<u8>, parquet::errors::ParquetError> {
    let pair = |key: &str, value: String| KeyValue::new(format!("galley.{key}"), value);
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_key_value_metadata(Some(vec![
            pair("target", shipment.target.to_owned()),
            pair("producer", producer(shipment)),
            pair("first_sequence", shipment.first.to_string()),
            pair("last_sequence", shipment.last.to_string()),
        ]))
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, shipment.rows.schema(), Some(properties))?;
    writer.write(&shipment.rows)?;
    writer.close()?;
    Ok(bytes)
}
