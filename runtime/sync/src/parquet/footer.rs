//! The footer of a Parquet file: bounded before it is decoded, and held against the file afterwards.
//!
//! A footer of a few bytes may claim any number of rows, columns and levels of nesting. The decoder
//! descends as deep as it is told, which ends the process and not the file.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::thrift::{Fault, Kind, Thrift};
use galley_types::Limits;

/// Bytes of a footer.
const FOOTER_BYTES_MAX: u64 = 32 << 20;
/// Elements of all lists in a footer.
const ELEMENTS_MAX: u32 = 4 << 20;
/// Columns, and groups of them.
const SCHEMA_ELEMENTS_MAX: u32 = 16 << 10;
/// Groups within groups; a list takes two of them, a map too.
const DEPTH_MAX: usize = 32;
/// Columns of all row groups.
const CHUNKS_MAX: u64 = 256 << 10;
/// Rows that a file of any size may claim, and how many more for each byte: runs of equal values
/// take next to nothing, and each row takes time all the same.
const ROWS_ANY: u64 = 4 << 20;
const ROWS_PER_BYTE: u64 = 64;
/// The same for the values of one column, as lists have more of them than rows.
const VALUES_PER_BYTE: u64 = 1024;

/// The bytes around a footer: its length and `PAR1`.
const TAIL_BYTES: u64 = 8;

/// What a footer says of the whole.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    chunks: u64,
}

/// Reads the footer of `file` and returns it with the file's size.
///
/// # Errors
/// The reason why it is none, or why it claims what cannot be.
pub(super) fn read(file: &File) -> Result<(ParquetMetaData, u64)> {
    let io = |error: std::io::Error| bad(&format!("it cannot be read: {error}"));
    let size = file.metadata().map_err(io)?.len();
    let mut tail = [0_u8; TAIL_BYTES as usize];
    let Some(end) = size.checked_sub(TAIL_BYTES) else {
        return Err(bad("it is too short to have a footer"));
    };
    file.read_exact_at(&mut tail, end).map_err(io)?;
    let [a, b, c, d, magic @ ..] = tail;
    match &magic {
        b"PAR1" => {}
        b"PARE" => return Err(bad("its footer is encrypted, which is not read here")),
        _ => return Err(bad("it does not end as a Parquet file does")),
    }
    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
    let Some(start) = end.checked_sub(length) else {
        return Err(bad(&format!(
            "it claims a footer of {length} bytes in a file of {size}"
        )));
    };
    if length > FOOTER_BYTES_MAX {
        return Err(bad(&format!(
            "its footer has {length} bytes, more than the {FOOTER_BYTES_MAX} that are read"
        )));
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, start).map_err(io)?;
    walk(&bytes).map_err(|fault| bad(&format!("its footer is malformed: {}", fault.reason())))?;
    let metadata = ParquetMetaDataReader::decode_metadata(&bytes)?;
    counts(&metadata, size)?;
    Ok((metadata, size))
}

/// Walks a footer without decoding it.
fn walk(bytes: &[u8]) -> std::result::Result<(), Fault> {
    let mut thrift = Thrift::new(bytes, ELEMENTS_MAX);
    let mut totals = Totals::default();
    let mut last = 0;
    while let Some((id, kind)) = thrift.field(&mut last)? {
        match (id, kind) {
            (2, Kind::List) => schema(&mut thrift)?,
            (4, Kind::List) => {
                let (kind, groups) = thrift.list()?;
                for _ in 0..groups {
                    row_group(&mut thrift, kind, &mut totals)?;
                }
            }
            _ => thrift.skip(kind)?,
        }
    }
    Ok(())
}

/// The columns as one list, each group before what is in it: the first is the group of them all.
fn schema(thrift: &mut Thrift<'_>) -> std::result::Result<(), Fault> {
    let (kind, count) = thrift.list()?;
    if kind != Kind::Struct {
        return Err(Fault::Bad("its columns are none"));
    }
    if count > SCHEMA_ELEMENTS_MAX {
        return Err(Fault::Bad("it has more than 16384 columns"));
    }
    // Columns that are still to come in each of the groups that are open.
    let mut open: Vec<i64> = Vec::with_capacity(DEPTH_MAX);
    for index in 0..count {
        let [_, _, length, _, _, children] = thrift.ints::<6>()?;
        if length.is_some_and(|length| length > Limits::ROW_BYTES_MAX as i64) {
            return Err(Fault::Bad("a column of values that are larger than a row"));
        }
        if let Some(left) = open.last_mut() {
            *left -= 1;
        } else if index > 0 {
            return Err(Fault::Bad("columns outside of all groups"));
        }
        if let Some(children) = children.filter(|children| *children != 0) {
            if !(0..=i64::from(SCHEMA_ELEMENTS_MAX)).contains(&children) {
                return Err(Fault::Bad("a group that claims columns that cannot be"));
            }
            open.push(children);
        }
        while open.last() == Some(&0) {
            open.pop();
        }
        if open.len() > DEPTH_MAX {
            return Err(Fault::Bad("columns nested more than 32 deep"));
        }
    }
    match open.is_empty() {
        true => Ok(()),
        false => Err(Fault::Bad("groups that claim more columns than there are")),
    }
}

fn row_group(
    thrift: &mut Thrift<'_>,
    kind: Kind,
    totals: &mut Totals,
) -> std::result::Result<(), Fault> {
    if kind != Kind::Struct {
        return Err(Fault::Bad("its row groups are none"));
    }
    let mut last = 0;
    while let Some((id, kind)) = thrift.field(&mut last)? {
        if (id, kind) != (1, Kind::List) {
            thrift.skip(kind)?;
            continue;
        }
        let (kind, columns) = thrift.list()?;
        totals.chunks = totals.chunks.saturating_add(u64::from(columns));
        if totals.chunks > CHUNKS_MAX {
            return Err(Fault::Bad(
                "its row groups have more than 262144 columns together",
            ));
        }
        for _ in 0..columns {
            thrift.skip(kind)?;
        }
    }
    Ok(())
}

/// Holds what a footer claims against the bytes of its file.
fn counts(metadata: &ParquetMetaData, size: u64) -> Result<()> {
    let rows_max = ROWS_ANY.saturating_add(size.saturating_mul(ROWS_PER_BYTE));
    let values_max = ROWS_ANY.saturating_add(size.saturating_mul(VALUES_PER_BYTE));
    let mut rows = 0_u64;
    for (index, group) in metadata.row_groups().iter().enumerate() {
        let claimed = u64::try_from(group.num_rows())
            .map_err(|_| bad(&format!("row group {index} claims less than no rows")))?;
        rows = rows.saturating_add(claimed);
        for column in group.columns() {
            let values = u64::try_from(column.num_values()).unwrap_or(u64::MAX);
            if values > values_max {
                let reason = format!("it claims {} values in {size} bytes", column.num_values());
                return Err(super::column::refused(
                    &column.column_path().string(),
                    &reason,
                ));
            }
        }
    }
    if rows > rows_max {
        return Err(bad(&format!("it claims {rows} rows in {size} bytes")));
    }
    Ok(())
}

fn bad(reason: &str) -> ParquetError {
    ParquetError::General(reason.to_owned())
}
