//! Rows from the centre: Parquet files, answers of an offline server, parts of a feed's batches.

use std::sync::LazyLock;

use bytes::Bytes;
use galley_node::StoredView;
use galley_node::store::{Row, RowBatch};
use galley_registry::{FileFormat, SourceLocation};
use galley_sync::feed::decode_part;
use galley_sync::{MaterializeConfig, from_outside};

use crate::rides::{folder, sink_of, view_of};

/// The file that is read.
const FILE: &str = "input.parquet";

/// Bounds small enough for what passes them to show.
static CONFIG: LazyLock<MaterializeConfig> = LazyLock::new(|| MaterializeConfig {
    memory_max: 1 << 20,
    batch_rows_max: 1024,
    batch_bytes_max: 1 << 20,
    decode_bytes_max: 1 << 20,
    ..MaterializeConfig::default()
});

/// A byte that chooses the view, and a Parquet file of its source.
pub(crate) fn parquet(bytes: &[u8]) {
    let Some((view, file)) = view_of(bytes) else {
        return;
    };
    let path = folder().join(FILE);
    std::fs::write(&path, file).expect("the folder takes files");
    // Refused or read: either is well.
    let _ = from_outside::parquet(folder(), &of_file(view), &CONFIG);
}

/// The view with its rows in [`FILE`].
fn of_file(view: &StoredView) -> StoredView {
    let mut view = view.clone();
    if let Some(source) = &mut view.batch_source {
        source.location = SourceLocation::File {
            uri: FILE.to_owned(),
            format: FileFormat::Parquet,
            s3_endpoint: None,
        };
    }
    view
}

/// A byte that chooses the view, and messages: the lengths of header and body in two bytes each, and
/// both.
pub(crate) fn flight(bytes: &[u8]) {
    let Some((view, rest)) = view_of(bytes) else {
        return;
    };
    let _ = from_outside::flight(messages(rest), view, &CONFIG);
}

fn messages(mut rest: &[u8]) -> Vec<(Bytes, Bytes)> {
    let mut messages = Vec::new();
    while let Some(([h0, h1, b0, b1], after)) = rest.split_first_chunk::<4>() {
        let header = usize::from(u16::from_le_bytes([*h0, *h1])).min(after.len());
        let (header, after) = after.split_at(header);
        let body = usize::from(u16::from_le_bytes([*b0, *b1])).min(after.len());
        let (body, after) = after.split_at(body);
        messages.push((Bytes::copy_from_slice(header), Bytes::copy_from_slice(body)));
        rest = after;
    }
    messages
}

/// A byte that chooses the view, and a part of a batch for it.
pub(crate) fn part(bytes: &[u8]) {
    let Some((sink, part)) = sink_of(bytes) else {
        return;
    };
    let mut rows = RowBatch::new(sink.table);
    let Ok(count) = decode_part(part, &sink, &mut rows) else {
        return;
    };
    assert_eq!(count, rows.len() as u64, "rows are what it says they are");
    for (_, row) in rows.iter() {
        let row = Row::parse(row).expect("what was just written can be read");
        for (slot, field) in sink.view.schema.fields.iter().enumerate() {
            row.cell(slot, field.value_type)
                .unwrap_or_else(|error| panic!("{}: {error}", field.name));
        }
    }
}
