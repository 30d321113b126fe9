//! What is known of a column before its pages are decoded, and what they would unfold to.

use std::sync::Mutex;

use parquet::basic::{Compression, Type as PhysicalType};
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;

use super::delta;
use super::header::{self, Body, Header};
use super::unpack::Unpacker;

/// Bytes that stand for a text among the decoded values, beside the page it lies in.
const VIEW_BYTES: u64 = 16;
/// Bytes of the two levels of a value.
const LEVELS_BYTES: u64 = 4;

/// A column of which pages are read.
pub(super) struct Column {
    pub(super) name: String,
    pub(super) physical: PhysicalType,
    /// Bytes of a value; `None` where they differ from value to value, or are less than one.
    width: Option<u64>,
    max_definition: i16,
    pub(super) max_repetition: i16,
    packs: bool,
    pub(super) reading: Mutex<Reading>,
}

/// What changes while a column is read.
pub(super) struct Reading {
    pub(super) unpacker: Unpacker,
    /// Bytes of the dictionary and of the page that is being read, as the budget counts them.
    pub(super) dictionary_bytes: u64,
    pub(super) page_bytes: u64,
}

// === impl Column ===

impl Column {
    pub(super) fn new(chunk: &ColumnChunkMetaData) -> Self {
        let descr = chunk.column_descr();
        let codec = chunk.compression();
        Self {
            name: descr.path().string(),
            physical: descr.physical_type(),
            width: width(chunk),
            max_definition: descr.max_def_level(),
            max_repetition: descr.max_rep_level(),
            packs: codec != Compression::UNCOMPRESSED,
            reading: Mutex::new(Reading {
                unpacker: Unpacker::new(codec),
                dictionary_bytes: 0,
                page_bytes: 0,
            }),
        }
    }

    /// Whether a page of the column is packed.
    pub(super) fn packs(&self, header: &Header) -> bool {
        match header.body {
            Body::DataV2 { packed, .. } => self.packs && packed,
            _ => self.packs,
        }
    }

    /// Bytes of a page once it is unpacked.
    pub(super) fn size(&self, header: &Header) -> u32 {
        match self.packs(header) {
            true => header.size,
            // Some writers say another number where nothing is packed.
            false => header.packed,
        }
    }

    pub(super) fn bad(&self, at: u64, reason: &str) -> ParquetError {
        refused(&self.name, &format!("the page at byte {at}: {reason}"))
    }

    /// What a dictionary takes beside the page it is in.
    pub(super) fn dictionary(&self, values: u32, bytes: &[u8]) -> Result<u64, String> {
        // A text of no letters still takes its length.
        let (each, decoded) = match self.width {
            Some(width) => (width, width),
            None => (4, VIEW_BYTES),
        };
        let count = u64::from(values);
        if count.saturating_mul(each) > bytes.len() as u64 {
            let length = bytes.len();
            return Err(format!(
                "a dictionary that claims {values} values in {length} bytes"
            ));
        }
        Ok(count * decoded)
    }

    /// Where a page's values begin.
    fn levels_bytes(&self, bytes: &[u8], body: &Body) -> Result<usize, &'static str> {
        const SHORT: &str = "its levels are longer than the page";
        let (values, repetition, definition) = match *body {
            Body::Data {
                values,
                repetition,
                definition,
                ..
            } => (values as usize, repetition, definition),
            Body::DataV2 {
                repetition_bytes,
                definition_bytes,
                ..
            } => {
                let levels = (repetition_bytes as usize).saturating_add(definition_bytes as usize);
                return match levels <= bytes.len() {
                    true => Ok(levels),
                    false => Err(SHORT),
                };
            }
            Body::Dictionary { .. } | Body::Other => return Ok(0),
        };
        let mut at = 0_usize;
        let levels = [
            (self.max_repetition, repetition),
            (self.max_definition, definition),
        ];
        for (max, encoding) in levels.into_iter().filter(|(max, _)| *max > 0) {
            let rest = bytes.get(at..).ok_or(SHORT)?;
            let length = if encoding == header::RLE {
                let length = rest.first_chunk::<4>().ok_or(SHORT)?;
                (u32::from_le_bytes(*length) as usize).saturating_add(4)
            } else {
                // The older way: as many bits each as the highest level has.
                let bits = 16 - max.leading_zeros() as usize;
                values.saturating_mul(bits).div_ceil(8)
            };
            if length > rest.len() {
                return Err(SHORT);
            }
            at += length;
        }
        Ok(at)
    }

    /// Bytes that the values of a page take beside the page itself, so far as one batch may have
    /// them all.
    pub(super) fn unfolded(&self, body: &Body, bytes: &[u8]) -> Result<u64, &'static str> {
        let Some((values, encoding)) = body.values() else {
            return Ok(0);
        };
        let values = u64::from(values);
        let own = bytes
            .get(self.levels_bytes(bytes, body)?..)
            .unwrap_or_default();
        let levels = match self.max_repetition {
            // A batch has as many rows as its maker says.
            0 => 0,
            // Of lists it has as many values as there are.
            _ => values.saturating_mul(LEVELS_BYTES + self.width.unwrap_or(VIEW_BYTES)),
        };
        let more = match encoding {
            header::RLE_DICTIONARY | header::PLAIN_DICTIONARY => match own.first() {
                Some(0..=32) => 0,
                _ => return Err("places in a dictionary that cannot be"),
            },
            header::DELTA_BINARY_PACKED => {
                delta::numbers(own, values)?;
                0
            }
            header::DELTA_LENGTH_BYTE_ARRAY => {
                delta::numbers(own, values)?;
                values.saturating_mul(4)
            }
            header::DELTA_BYTE_ARRAY => {
                let whole = delta::texts_bytes(own, values)?;
                whole.saturating_add(values.saturating_mul(8))
            }
            _ => 0,
        };
        Ok(levels.saturating_add(more))
    }
}

/// Bytes of one of the column's values; `None` where they differ.
fn width(column: &ColumnChunkMetaData) -> Option<u64> {
    match column.column_descr().physical_type() {
        PhysicalType::BOOLEAN | PhysicalType::BYTE_ARRAY => None,
        PhysicalType::INT32 | PhysicalType::FLOAT => Some(4),
        PhysicalType::INT64 | PhysicalType::DOUBLE => Some(8),
        PhysicalType::INT96 => Some(12),
        PhysicalType::FIXED_LEN_BYTE_ARRAY => {
            let length = column.column_descr().type_length();
            Some(u64::try_from(length).unwrap_or(0).max(1))
        }
    }
}

/// Bytes a column's values take at least once they are decoded.
pub(super) fn decoded_bytes(column: &ColumnChunkMetaData) -> u64 {
    let values = u64::try_from(column.num_values()).unwrap_or(0);
    let packed = u64::try_from(column.uncompressed_size()).unwrap_or(0);
    let each = width(column).unwrap_or(VIEW_BYTES);
    packed.max(values.saturating_mul(each))
}

/// An error of a column. Its name is the file's, and is shown as such.
pub(super) fn refused(column: &str, reason: &str) -> ParquetError {
    const NAME_CHARS_MAX: usize = 64;
    let name: String = column
        .chars()
        .take(NAME_CHARS_MAX)
        .flat_map(char::escape_default)
        .collect();
    ParquetError::General(format!("column '{name}': {reason}"))
}
