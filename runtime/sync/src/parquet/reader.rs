//! One Parquet file as a stream of record batches.
//!
//! The decoder is not trusted with hostile bytes: footers and pages are checked before it sees them
//! ([`super::footer`], [`super::pages`]), each call runs behind a catch of panics, batches are bounded
//! by bytes as well as by rows, and text is read as views so that a dictionary of one huge word does
//! not grow into as many copies as there are rows.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Fields, Schema, TimeUnit};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{Compression, Type as PhysicalType};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;

use super::budget::Budget;
use super::column::decoded_bytes;
use super::footer;
use super::pages::Pages;
use crate::error::{Error, Result};
use crate::rows::Window;
use crate::rows::cell::micros;

/// Types nested deeper than this are left as they are.
const DEPTH_MAX: usize = 32;
/// Fewest rows of a batch.
const BATCH_ROWS_MIN: usize = 16;

/// An open file whose footer has been read.
pub(super) struct ParquetFile<'a> {
    path: &'a Path,
    file: Arc<File>,
    /// Its size in bytes.
    size: u64,
    metadata: ArrowReaderMetadata,
}

/// Bounds on one batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchBounds {
    pub(super) rows: usize,
    pub(super) bytes: usize,
    /// Bytes of the pages that a batch is made from.
    pub(super) pages_bytes: u64,
}

// === impl ParquetFile ===

impl<'a> ParquetFile<'a> {
    /// Opens the file at `path`, which messages call `shown`, and reads its footer.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::ParquetDamaged`].
    pub(super) fn open(path: &Path, shown: &'a Path) -> Result<Self> {
        let io = |source| Error::Io {
            action: "open",
            path: shown.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        let (metadata, size) = guarded(shown, None, || {
            let (footer, size) = footer::read(&file)?;
            Ok((plain(&Arc::new(footer))?, size))
        })?;
        Ok(Self {
            path: shown,
            file: Arc::new(file),
            size,
            metadata,
        })
    }

    pub(super) fn schema(&self) -> &Schema {
        self.metadata.schema()
    }

    /// Its size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    fn row_groups(&self) -> &[RowGroupMetaData] {
        self.metadata.metadata().row_groups()
    }

    /// Rows in the file, as its footer says.
    pub(super) fn rows(&self) -> u64 {
        self.row_groups()
            .iter()
            .map(rows_of)
            .fold(0, u64::saturating_add)
    }

    /// Calls `each` with every batch of the row groups that may hold rows of the window, their
    /// row group and the number of their first row in the file; `skipped` with the number of rows
    /// of the others.
    pub(super) fn read(
        &self,
        (roots, timestamp): (&[usize], &str),
        window: Window,
        bounds: BatchBounds,
        each: &mut dyn FnMut(Step<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut first = 0_u64;
        for (group, metadata) in self.row_groups().iter().enumerate() {
            let rows = rows_of(metadata);
            let range = self.range(metadata, timestamp);
            if range.is_some_and(|(min, max)| !window.meets(min, max)) {
                each(Step::Skipped(rows))?;
            } else {
                self.read_group((group, first), roots, bounds, each)?;
            }
            first = first.saturating_add(rows);
        }
        Ok(())
    }

    fn read_group(
        &self,
        (group, first): (usize, u64),
        roots: &[usize],
        bounds: BatchBounds,
        each: &mut dyn FnMut(Step<'_>) -> Result<()>,
    ) -> Result<()> {
        let damaged = |reason: String| Error::ParquetDamaged {
            path: self.path.to_owned(),
            row_group: Some(group),
            reason,
        };
        let Some(metadata) = self.row_groups().get(group) else {
            return Err(damaged("it is not there".to_owned()));
        };
        let budget = Arc::new(Budget::new(bounds.pages_bytes, roots.len()));
        let mut reader = guarded(self.path, Some(group), || {
            self.group_reader(metadata, roots, bounds, &budget)
        })?;
        let claimed = rows_of(metadata);
        let mut row = first;
        loop {
            budget.begin_batch();
            let batch = guarded(self.path, Some(group), || {
                reader.next().transpose().map_err(Into::into)
            })?;
            let Some(batch) = batch else {
                let found = row.saturating_sub(first);
                return match found == claimed {
                    true => Ok(()),
                    false => Err(damaged(format!("it claims {claimed} rows and has {found}"))),
                };
            };
            let rows = batch.num_rows() as u64;
            each(Step::Batch {
                batch: &batch,
                group,
                first: row,
            })?;
            row = row.saturating_add(rows);
        }
    }

    /// A reader of the columns `roots` of a row group, over its pages as they are once checked.
    fn group_reader(
        &self,
        group: &RowGroupMetaData,
        roots: &[usize],
        bounds: BatchBounds,
        budget: &Arc<Budget>,
    ) -> parquet::errors::Result<ParquetRecordBatchReader> {
        let schema = self.metadata.parquet_schema();
        let mask = ProjectionMask::roots(schema, roots.iter().copied());
        let rows = rows_of(group);
        let mut pages = Pages::new((&self.file, self.size), budget);
        let mut columns = group.columns().to_vec();
        let mut bytes = 0_u64;
        for (leaf, column) in columns.iter_mut().enumerate() {
            if !mask.leaf_included(leaf) {
                continue;
            }
            bytes = bytes.saturating_add(decoded_bytes(column));
            let place = pages.add(column, rows)?;
            let checked = column.clone().into_builder();
            *column = checked
                .set_compression(Compression::UNCOMPRESSED)
                .set_dictionary_page_offset(None)
                .set_data_page_offset(i64::try_from(place.start)?)
                .set_total_compressed_size(i64::try_from(place.bytes)?)
                .build()?;
        }
        let fitting = (bounds.bytes as u64).saturating_mul(rows) / bytes.max(1);
        let batch_rows = usize::try_from(fitting)
            .unwrap_or(usize::MAX)
            .clamp(BATCH_ROWS_MIN, bounds.rows.max(BATCH_ROWS_MIN));
        let group = group.clone().into_builder().set_column_metadata(columns);
        let footer = self.metadata.metadata().file_metadata().clone();
        let footer = ParquetMetaData::new(footer, vec![group.build()?]);
        let options = ArrowReaderOptions::new().with_schema(Arc::clone(self.metadata.schema()));
        let metadata = ArrowReaderMetadata::try_new(Arc::new(footer), options)?;
        ParquetRecordBatchReaderBuilder::new_with_metadata(pages, metadata)
            .with_projection(mask)
            .with_batch_size(batch_rows)
            .build()
    }

    /// The least and greatest event time of a row group in microseconds, where its statistics say.
    fn range(&self, group: &RowGroupMetaData, timestamp: &str) -> Option<(i64, i64)> {
        let DataType::Timestamp(unit, _) =
            self.schema().field_with_name(timestamp).ok()?.data_type()
        else {
            return None;
        };
        let column = group.columns().iter().find(|column| {
            column
                .column_path()
                .parts()
                .iter()
                .map(String::as_str)
                .eq([timestamp])
        })?;
        match column.statistics()? {
            // A null among the times is refused when it is met, so such a group is read.
            Statistics::Int64(range) if range.null_count_opt() == Some(0) => {
                let (min, max) = (*range.min_opt()?, *range.max_opt()?);
                Some((micros(*unit, min)?, micros(*unit, max)?))
            }
            _ => None,
        }
    }
}

/// What [`ParquetFile::read`] comes by.
pub(super) enum Step<'b> {
    /// A batch, its row group and the number of its first row in the file.
    Batch {
        batch: &'b RecordBatch,
        group: usize,
        first: u64,
    },
    /// Rows passed over.
    Skipped(u64),
}

fn rows_of(group: &RowGroupMetaData) -> u64 {
    u64::try_from(group.num_rows()).unwrap_or(0)
}

/// Runs the decoder; its errors and its panics become ours.
fn guarded<T>(
    path: &Path,
    row_group: Option<usize>,
    run: impl FnOnce() -> parquet::errors::Result<T>,
) -> Result<T> {
    let reason = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            format!("the decoder gave up: {}", text.unwrap_or("no reason given"))
        }
    };
    Err(Error::ParquetDamaged {
        path: path.to_owned(),
        row_group,
        reason,
    })
}

/// The footer with the schema to read with. Where the file's own Arrow schema leads to one that the
/// decoder does not take, the file is read by what its columns are: types that can grow, such as
/// lists of a fixed length and dictionaries, come only from that schema.
fn plain(footer: &Arc<ParquetMetaData>) -> parquet::errors::Result<ArrowReaderMetadata> {
    let with = |skip: bool| {
        let options = || ArrowReaderOptions::new().with_skip_arrow_metadata(skip);
        let found = ArrowReaderMetadata::try_new(Arc::clone(footer), options())?;
        let wanted = options().with_schema(plain_schema(&found));
        ArrowReaderMetadata::try_new(Arc::clone(footer), wanted)
    };
    with(false).or_else(|_| with(true))
}

/// The schema to read with: text and bytes as views, dictionaries as what they hold, lists of a fixed
/// length as lists (of those, a null is as long as any other), the old 96-bit timestamps in
/// microseconds (nanoseconds would overflow in 2262).
fn plain_schema(metadata: &ArrowReaderMetadata) -> Arc<Schema> {
    let roots = metadata.parquet_schema().root_schema().get_fields();
    let fields: Fields = metadata
        .schema()
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| {
            let old_timestamp = roots.get(index).is_some_and(|root| {
                root.is_primitive() && root.get_physical_type() == PhysicalType::INT96
            });
            if old_timestamp {
                let instant = DataType::Timestamp(TimeUnit::Microsecond, None);
                Arc::new(field.as_ref().clone().with_data_type(instant))
            } else {
                plain_field(field, 0)
            }
        })
        .collect();
    Arc::new(Schema::new_with_metadata(
        fields,
        metadata.schema().metadata().clone(),
    ))
}

fn plain_field(field: &Arc<Field>, depth: usize) -> Arc<Field> {
    Arc::new(
        field
            .as_ref()
            .clone()
            .with_data_type(plain_type(field.data_type(), depth)),
    )
}

fn plain_type(data_type: &DataType, depth: usize) -> DataType {
    if depth > DEPTH_MAX {
        return data_type.clone();
    }
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::Dictionary(_, values) => plain_type(values, depth + 1),
        DataType::List(field) => DataType::List(plain_field(field, depth + 1)),
        DataType::LargeList(field) => DataType::LargeList(plain_field(field, depth + 1)),
        DataType::FixedSizeList(field, _) => DataType::List(plain_field(field, depth + 1)),
        DataType::Struct(fields) => DataType::Struct(
            fields
                .iter()
                .map(|field| plain_field(field, depth + 1))
                .collect(),
        ),
        DataType::Map(entries, sorted) => DataType::Map(plain_field(entries, depth + 1), *sorted),
        other => other.clone(),
    }
}
