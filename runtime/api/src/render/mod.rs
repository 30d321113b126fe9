//! The answer to a look-up, written straight from rows into one buffer.
//!
//! The statuses and event times of a feature are the same text as those of any other feature of
//! its view whose cells all have their row's status: it is written once for each view and copied
//! from there.

mod double;
mod time;
mod value;

use std::cell::RefCell;
use std::ops::Range;

use galley_node::FixedColumn;
use galley_types::{Cell, EventTime, FieldStatus, ScalarType, Value, ValueType};

use crate::buffers;
use crate::json::write_string;
use time::TimeWriter;
use value::{Style, write_cell, write_value};

/// What an answer is made of.
pub(crate) trait Rows {
    /// Why a cell could not be read.
    type Error;
    /// Entity rows.
    fn row_count(&self) -> usize;
    /// Views read.
    fn part_count(&self) -> usize;
    /// View and type of each output, and its values if that is of fixed width.
    fn outputs(&self) -> impl Iterator<Item = (usize, ValueType, FixedColumn<'_>)>;
    /// Status and event time of each row of a view.
    fn part_rows(&self, part: usize) -> impl Iterator<Item = (FieldStatus, EventTime)>;
    /// One cell.
    ///
    /// # Errors
    /// When the stored value is damaged.
    fn cell(&self, output: usize, row: usize) -> Result<(FieldStatus, Cell<'_>), Self::Error>;
    /// Whether the Python server's ways are wanted.
    fn quirks(&self) -> bool;
}

/// The parts of an answer that are not rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    /// Entity columns, echoed first.
    pub(crate) columns: &'a [(&'a str, &'a [Value])],
    /// The outputs' names as JSON strings with commas between them.
    pub(crate) output_names: &'a [u8],
    /// Bytes the answer may have.
    pub(crate) bytes_max: usize,
    /// Views and versions, where they were asked for.
    pub(crate) versions: Option<&'a [(String, u32)]>,
    /// The ages of the views as JSON, where they were asked for.
    pub(crate) freshness: Option<&'a str>,
}

/// Cells of one view by their status: present, null, not found, outside max age.
pub(crate) type StatusCounts = [u64; 4];

/// Buffers that requests of one thread share.
#[derive(Debug, Default)]
struct Scratch {
    /// Of the rows of all views, view by view.
    row_statuses: Vec<FieldStatus>,
    /// Of the cells of the output that is written, where they are not those of its rows.
    statuses: Vec<FieldStatus>,
    tails: Vec<Option<Tail>>,
    times: TimeWriter,
}

/// Statuses and event times that the features of a view share, and what the next feature begins with.
#[derive(Clone, Debug)]
struct Tail {
    /// Where they lie in the answer.
    text: Range<usize>,
    /// Of one feature.
    counts: StatusCounts,
    /// How many have it.
    features: u64,
}

/// Why an answer was not written.
#[derive(Debug)]
pub(crate) enum WriteError<E> {
    /// A cell could not be read.
    Cell(E),
    /// The answer would have more bytes than it may.
    TooLarge,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// What the values of a feature come after.
const HEAD: &[u8] = b"{\"values\":[";
const PRESENT: &[u8] = b"\"PRESENT\"";
const EPOCH: &[u8] = b"\"1970-01-01T00:00:00Z\"";
/// Bytes of one cell: value, status, event time and their commas, rather more than less.
const CELL_BYTES: usize = 56;
const ANSWER_BYTES: usize = 128;
/// Doubles for which room is made at once.
const DOUBLES_TOGETHER: usize = 32;

/// Writes an answer and counts the statuses of its cells by view.
///
/// # Errors
/// The error of the first cell that cannot be read, or that the answer passes
/// [`Frame::bytes_max`].
pub(crate) fn write_answer<R: Rows>(
    rows: &R,
    frame: &Frame<'_>,
    counts: &mut Vec<StatusCounts>,
) -> Result<Vec<u8>, WriteError<R::Error>> {
    let features = frame.columns.len() + rows.outputs().count();
    let cells = features * (CELL_BYTES + rows.row_count() * CELL_BYTES);
    let ahead = rows.row_count().min(DOUBLES_TOGETHER) * double::ROOM;
    let capacity = ANSWER_BYTES + cells + ahead;
    let mut out = buffers::take();
    out.reserve(capacity.min(frame.bytes_max));
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.tails.clear();
        scratch.tails.resize(rows.part_count(), None);
        scratch.row_statuses.clear();
        for part in 0..rows.part_count() {
            let rows = rows.part_rows(part);
            scratch.row_statuses.extend(rows.map(|(status, _)| status));
        }
        counts.clear();
        counts.resize(rows.part_count(), StatusCounts::default());
        out.extend_from_slice(b"{\"results\":[");
        write_entities(rows, frame, &mut out);
        out.extend_from_slice(HEAD);
        for (index, (part, value_type, column)) in rows.outputs().enumerate() {
            let mut feature = Feature {
                rows,
                scratch,
                out: &mut out,
                bytes_max: frame.bytes_max,
            };
            if let Some(written) = feature.write((index, part), value_type, column)? {
                add(counts.get_mut(part), written, 1);
            }
        }
        for (counts, tail) in counts.iter_mut().zip(&scratch.tails) {
            if let Some(tail) = tail {
                add(Some(counts), tail.counts, tail.features);
            }
        }
        // There is no next feature, and if there is none at all nothing stands before it.
        out.truncate(out.len() - HEAD.len());
        if out.last() == Some(&b',') {
            out.pop();
        }
        out.extend_from_slice(b"],");
        write_metadata(frame, &mut out);
        Ok(())
    })?;
    Ok(out)
}

fn add(totals: Option<&mut StatusCounts>, counts: StatusCounts, times: u64) {
    for (total, count) in totals.into_iter().flatten().zip(counts) {
        *total += count * times;
    }
}

fn count(counts: &mut StatusCounts, status: FieldStatus) {
    let [present, null, missing, expired] = counts;
    *match status {
        FieldStatus::Present => present,
        FieldStatus::NullValue => null,
        FieldStatus::NotFound => missing,
        FieldStatus::OutsideMaxAge => expired,
    } += 1;
}

fn write_entities<R: Rows>(rows: &R, frame: &Frame<'_>, out: &mut Vec<u8>) {
    let style = Style {
        quirks: rows.quirks(),
    };
    let mut tail: Option<Range<usize>> = None;
    for (_, values) in frame.columns {
        out.extend_from_slice(HEAD);
        separated(values.iter(), out, |value, out| {
            write_value(value, style, out);
        });
        out.push(b']');
        let start = out.len();
        if let Some(tail) = tail.clone() {
            out.extend_from_within(tail);
        } else {
            out.extend_from_slice(b",\"statuses\":[");
            separated(0..rows.row_count(), out, |_, out| {
                out.extend_from_slice(PRESENT);
            });
            out.extend_from_slice(b"],\"event_timestamps\":[");
            separated(0..rows.row_count(), out, |_, out| {
                out.extend_from_slice(EPOCH);
            });
            out.extend_from_slice(b"]}");
            tail = Some(start..out.len());
        }
        out.push(b',');
    }
}

/// One output while it is written.
struct Feature<'a, R> {
    rows: &'a R,
    scratch: &'a mut Scratch,
    out: &'a mut Vec<u8>,
    bytes_max: usize,
}

impl<R: Rows> Feature<'_, R> {
    /// Writes the values of the output and what comes behind them. Gives the counts of its cells, if
    /// they are not those that all such features of its view have.
    fn write(
        &mut self,
        (index, part): (usize, usize),
        value_type: ValueType,
        column: FixedColumn<'_>,
    ) -> Result<Option<StatusCounts>, WriteError<R::Error>> {
        let is_as_rows = match value_type.fixed() {
            Some(scalar) => {
                self.write_column(column, scalar);
                is_same(self.of_rows(part), column.statuses) || {
                    self.note_statuses(column);
                    is_same(self.of_rows(part), &self.scratch.statuses)
                }
            }
            None => {
                self.write_cells(index, value_type)?;
                is_same(self.of_rows(part), &self.scratch.statuses)
            }
        };
        if self.out.len() > self.bytes_max {
            return Err(WriteError::TooLarge);
        }
        if is_as_rows {
            self.write_shared_tail(part);
            Ok(None)
        } else {
            let Scratch {
                statuses, times, ..
            } = &mut *self.scratch;
            let counts = count_all(statuses);
            write_tail((self.rows, part), statuses, times, self.out);
            Ok(Some(counts))
        }
    }

    /// The statuses of a view's rows.
    #[inline]
    fn of_rows(&self, part: usize) -> &[FieldStatus] {
        let rows = self.rows.row_count();
        let statuses = self.scratch.row_statuses.get(part * rows..);
        let statuses = statuses.and_then(|statuses| statuses.get(..rows));
        statuses.unwrap_or_default()
    }

    fn style(&self) -> Style {
        Style {
            quirks: self.rows.quirks(),
        }
    }

    #[cold]
    fn note_statuses(&mut self, column: FixedColumn<'_>) {
        let style = self.style();
        let shown = column.statuses.iter().map(|status| style.shown(*status));
        self.scratch.statuses.clear();
        self.scratch.statuses.extend(shown);
    }

    /// Writes values of a fixed-width type. One takes few bytes and rows are bounded, so the answer's
    /// size is checked after the column.
    fn write_column(&mut self, column: FixedColumn<'_>, scalar: ScalarType) {
        let style = self.style();
        match (scalar, column.statuses, column.bits) {
            (ScalarType::Double, [FieldStatus::Present], [bits]) => {
                let mut text = [0; double::ROOM];
                let length = double::write(f64::from_bits(*bits), &mut text);
                // All of it, since copies of a known size are moves.
                let end = self.out.len() + length;
                self.out.extend_from_slice(&text);
                self.out.truncate(end);
            }
            (ScalarType::Double, ..) => self.write_doubles(column),
            (_, statuses, bits) => {
                let values = statuses.iter().zip(bits);
                separated(values, self.out, |(status, bits), out| match status {
                    FieldStatus::Present => write_cell(&Cell::from_bits(scalar, *bits), style, out),
                    status => {
                        style.write_null(style.shown(*status), ValueType::Scalar(scalar), out);
                    }
                });
            }
        }
    }

    /// Writes doubles, each where the one before it ends.
    fn write_doubles(&mut self, column: FixedColumn<'_>) {
        let statuses = column.statuses.chunks(DOUBLES_TOGETHER);
        for (statuses, bits) in statuses.zip(column.bits.chunks(DOUBLES_TOGETHER)) {
            let start = self.out.len();
            self.out.resize(start + bits.len() * double::ROOM, 0);
            let mut at = start;
            for (status, bits) in statuses.iter().zip(bits) {
                let Some(room) = self.out.get_mut(at..).and_then(<[u8]>::first_chunk_mut) else {
                    break;
                };
                let value = (*status == FieldStatus::Present).then(|| f64::from_bits(*bits));
                at += double::write_item(value, room);
            }
            self.out.truncate(at);
        }
        if !column.bits.is_empty() {
            self.out.pop();
        }
    }

    /// Writes values of any type.
    fn write_cells(
        &mut self,
        index: usize,
        value_type: ValueType,
    ) -> Result<(), WriteError<R::Error>> {
        let style = self.style();
        self.scratch.statuses.clear();
        for row in 0..self.rows.row_count() {
            let (status, cell) = self.rows.cell(index, row).map_err(WriteError::Cell)?;
            if row > 0 {
                self.out.push(b',');
            }
            match cell {
                Cell::Null => style.write_null(status, value_type, self.out),
                cell => write_cell(&cell, style, self.out),
            }
            self.scratch.statuses.push(status);
            if self.out.len() > self.bytes_max {
                return Err(WriteError::TooLarge);
            }
        }
        Ok(())
    }

    fn write_shared_tail(&mut self, part: usize) {
        if let Some(Some(tail)) = self.scratch.tails.get_mut(part) {
            tail.features += 1;
            self.out.extend_from_within(tail.text.clone());
            return;
        }
        let Scratch {
            row_statuses,
            tails,
            times,
            ..
        } = &mut *self.scratch;
        let rows = self.rows.row_count();
        let statuses = row_statuses.get(part * rows..(part + 1) * rows);
        let statuses = statuses.unwrap_or_default();
        let counts = count_all(statuses);
        let start = self.out.len();
        write_tail((self.rows, part), statuses, times, self.out);
        if let Some(tail) = tails.get_mut(part) {
            *tail = Some(Tail {
                text: start..self.out.len(),
                counts,
                features: 1,
            });
        }
    }
}

/// Whether statuses are the same; without a call where there is one, as in most look-ups.
#[inline]
fn is_same(some: &[FieldStatus], others: &[FieldStatus]) -> bool {
    match (some, others) {
        ([one], [other]) => one == other,
        _ => some == others,
    }
}

fn count_all(statuses: &[FieldStatus]) -> StatusCounts {
    let mut counts = StatusCounts::default();
    for status in statuses {
        count(&mut counts, *status);
    }
    counts
}

/// Writes what is behind the values of an output of a view, up to the values of the next.
fn write_tail<R: Rows>(
    (rows, part): (&R, usize),
    statuses: &[FieldStatus],
    times: &mut TimeWriter,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"],\"statuses\":[");
    separated(statuses.iter(), out, |status, out| {
        out.extend_from_slice(match status {
            FieldStatus::Present => PRESENT,
            FieldStatus::NullValue => b"\"NULL_VALUE\"",
            FieldStatus::NotFound => b"\"NOT_FOUND\"",
            FieldStatus::OutsideMaxAge => b"\"OUTSIDE_MAX_AGE\"",
        });
    });
    out.extend_from_slice(b"],\"event_timestamps\":[");
    let stamps = statuses.iter().zip(rows.part_rows(part));
    separated(stamps, out, |(status, (_, time)), out| match status {
        // A row from before the feature existed says nothing of it, its time included.
        FieldStatus::NotFound => out.extend_from_slice(EPOCH),
        _ => {
            out.push(b'"');
            times.write(time, out);
            out.push(b'"');
        }
    });
    out.extend_from_slice(b"]},");
    out.extend_from_slice(HEAD);
}

fn write_metadata(frame: &Frame<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"metadata\":{\"feature_names\":[");
    for (name, _) in frame.columns {
        write_string(name, out);
        out.push(b',');
    }
    out.extend_from_slice(frame.output_names);
    if out.last() == Some(&b',') {
        out.pop();
    }
    out.push(b']');
    if let Some(versions) = frame.versions {
        out.extend_from_slice(b",\"feature_view_metadata\":[");
        separated(versions.iter(), out, |(name, version), out| {
            out.extend_from_slice(b"{\"name\":");
            write_string(name, out);
            if *version > 0 {
                out.extend_from_slice(b",\"version\":");
                out.extend_from_slice(itoa::Buffer::new().format(*version).as_bytes());
            }
            out.push(b'}');
        });
        out.push(b']');
    }
    if let Some(freshness) = frame.freshness {
        out.extend_from_slice(b",\"freshness\":");
        out.extend_from_slice(freshness.as_bytes());
    }
    out.extend_from_slice(b"}}");
}

/// The names of outputs as [`Frame::output_names`] wants them.
pub(crate) fn names<'a>(names: impl Iterator<Item = &'a str>) -> Box<[u8]> {
    let mut out = Vec::new();
    separated(names, &mut out, write_string);
    out.into_boxed_slice()
}

/// Writes `items` with commas between them.
fn separated<T>(
    items: impl Iterator<Item = T>,
    out: &mut Vec<u8>,
    mut write: impl FnMut(T, &mut Vec<u8>),
) {
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(item, out);
    }
}

#[cfg(test)]
mod tests;
