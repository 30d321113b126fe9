//! The answer to a look-up, written straight from rows into one buffer.
//!
//! The statuses and event times of a feature are the same text as those of any other feature of
//! its view whose cells all have their row's status: it is written once for each view and copied
//! from there.

mod time;
mod value;

use std::cell::RefCell;
use std::ops::Range;

use galley_types::{Cell, EventTime, FieldStatus, ScalarType, Value, ValueType};

use crate::json::write_string;
use time::TimeWriter;
use value::{Style, double_text, push_digits, write_cell, write_value};

/// What an answer is made of.
pub(crate) trait Rows {
    /// Why a cell could not be read.
    type Error;
    /// Entity rows.
    fn row_count(&self) -> usize;
    /// Views read.
    fn part_count(&self) -> usize;
    /// View and type of each output.
    fn outputs(&self) -> impl Iterator<Item = (usize, ValueType)>;
    /// Status and event time of each row of a view.
    fn part_rows(&self, part: usize) -> impl Iterator<Item = (FieldStatus, EventTime)>;
    /// One cell.
    ///
    /// # Errors
    /// When the stored value is damaged.
    fn cell(&self, output: usize, row: usize) -> Result<(FieldStatus, Cell<'_>), Self::Error>;
    /// Statuses and bits of the rows of an output of a fixed-width type.
    fn bits(&self, output: usize) -> impl Fn(usize) -> (FieldStatus, Option<u64>);
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
    statuses: Vec<FieldStatus>,
    tails: Vec<Option<Tail>>,
    times: TimeWriter,
}

/// Statuses and event times that the features of a view share.
#[derive(Clone, Debug)]
struct Tail {
    /// Where they lie in the answer.
    text: Range<usize>,
    counts: StatusCounts,
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

const PRESENT: &[u8] = b"\"PRESENT\"";
const EPOCH: &[u8] = b"\"1970-01-01T00:00:00Z\"";
/// Bytes of one cell: value, status, event time and their commas, rather more than less.
const CELL_BYTES: usize = 56;
const ANSWER_BYTES: usize = 128;
/// Doubles whose texts are made before the first is copied.
const DOUBLES_TOGETHER: usize = 4;

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
    let capacity = ANSWER_BYTES + features * (CELL_BYTES + rows.row_count() * CELL_BYTES);
    let mut out = Vec::with_capacity(capacity.min(frame.bytes_max));
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.tails.clear();
        scratch.tails.resize(rows.part_count(), None);
        counts.clear();
        counts.resize(rows.part_count(), StatusCounts::default());
        out.extend_from_slice(b"{\"results\":[");
        write_entities(rows, frame, &mut out);
        for (index, (part, value_type)) in rows.outputs().enumerate() {
            let mut feature = Feature {
                rows,
                scratch,
                out: &mut out,
                bytes_max: frame.bytes_max,
            };
            let written = feature.write(index, part, value_type)?;
            for (total, count) in counts.get_mut(part).into_iter().flatten().zip(written) {
                *total += count;
            }
            out.push(b',');
        }
        if out.last() == Some(&b',') {
            out.pop();
        }
        out.extend_from_slice(b"],");
        write_metadata(frame, &mut out);
        Ok(())
    })?;
    Ok(out)
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
        out.extend_from_slice(b"{\"values\":[");
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
    /// Writes the output and counts its cells.
    fn write(
        &mut self,
        index: usize,
        part: usize,
        value_type: ValueType,
    ) -> Result<StatusCounts, WriteError<R::Error>> {
        let style = Style {
            quirks: self.rows.quirks(),
        };
        self.scratch.statuses.clear();
        self.out.extend_from_slice(b"{\"values\":[");
        let uniform = match value_type.fixed() {
            Some(ScalarType::Double) => self.write_doubles(index, part),
            Some(scalar) => self.write_fixed(index, part, value_type, |bits, out| {
                write_cell(&Cell::from_bits(scalar, bits), style, out);
            }),
            None => self.write_cells(index, part, value_type)?,
        };
        if self.out.len() > self.bytes_max {
            return Err(WriteError::TooLarge);
        }
        self.out.push(b']');
        if uniform {
            Ok(self.write_shared_tail(part))
        } else {
            self.write_tail(part);
            Ok(self.counts())
        }
    }

    /// Writes doubles, a few at a time: a number's text is copied only when the next ones are being
    /// made, since reading it back at once would wait for its pieces to arrive in memory.
    fn write_doubles(&mut self, index: usize, part: usize) -> bool {
        let bits = self.rows.bits(index);
        let mut rows = self.rows.part_rows(part).enumerate();
        let mut digits: [_; DOUBLES_TOGETHER] = std::array::from_fn(|_| zmij::Buffer::new());
        let mut uniform = true;
        loop {
            let mut texts = [""; DOUBLES_TOGETHER];
            let mut count = 0;
            for (text, digits) in texts.iter_mut().zip(&mut digits) {
                let Some((row, (row_status, _))) = rows.next() else {
                    break;
                };
                let (status, bits) = bits(row);
                *text = bits.map_or("null", |bits| double_text(f64::from_bits(bits), digits));
                uniform &= status == row_status;
                self.scratch.statuses.push(status);
                count += 1;
            }
            for text in texts.iter().take(count) {
                push_digits(text.as_bytes(), self.out);
                self.out.push(b',');
            }
            if count < DOUBLES_TOGETHER {
                break;
            }
        }
        if self.rows.row_count() > 0 {
            self.out.pop();
        }
        uniform
    }

    /// Writes values that lie in slots; returns whether every cell has its row's status. One value
    /// takes few bytes and rows are bounded, so the answer's size is checked after the column.
    #[inline]
    fn write_fixed(
        &mut self,
        index: usize,
        part: usize,
        value_type: ValueType,
        write: impl Fn(u64, &mut Vec<u8>),
    ) -> bool {
        let style = Style {
            quirks: self.rows.quirks(),
        };
        let bits = self.rows.bits(index);
        let mut uniform = true;
        for (row, (row_status, _)) in self.rows.part_rows(part).enumerate() {
            if row > 0 {
                self.out.push(b',');
            }
            let (status, bits) = bits(row);
            match bits {
                Some(bits) => write(bits, self.out),
                None => style.write_null(status, value_type, self.out),
            }
            uniform &= status == row_status;
            self.scratch.statuses.push(status);
        }
        uniform
    }

    /// Writes values of any type; returns whether every cell has its row's status.
    fn write_cells(
        &mut self,
        index: usize,
        part: usize,
        value_type: ValueType,
    ) -> Result<bool, WriteError<R::Error>> {
        let style = Style {
            quirks: self.rows.quirks(),
        };
        let mut uniform = true;
        for (row, (row_status, _)) in self.rows.part_rows(part).enumerate() {
            let (status, cell) = self.rows.cell(index, row).map_err(WriteError::Cell)?;
            if row > 0 {
                self.out.push(b',');
            }
            match cell {
                Cell::Null => style.write_null(status, value_type, self.out),
                cell => write_cell(&cell, style, self.out),
            }
            uniform &= status == row_status;
            self.scratch.statuses.push(status);
            if self.out.len() > self.bytes_max {
                return Err(WriteError::TooLarge);
            }
        }
        Ok(uniform)
    }

    fn write_shared_tail(&mut self, part: usize) -> StatusCounts {
        if let Some(Some(tail)) = self.scratch.tails.get(part) {
            self.out.extend_from_within(tail.text.clone());
            return tail.counts;
        }
        let start = self.out.len();
        self.write_tail(part);
        let counts = self.counts();
        if let Some(tail) = self.scratch.tails.get_mut(part) {
            let text = start..self.out.len();
            *tail = Some(Tail { text, counts });
        }
        counts
    }

    fn counts(&self) -> StatusCounts {
        let mut counts = StatusCounts::default();
        for status in &self.scratch.statuses {
            count(&mut counts, *status);
        }
        counts
    }

    fn write_tail(&mut self, part: usize) {
        let Scratch {
            statuses, times, ..
        } = &mut *self.scratch;
        self.out.extend_from_slice(b",\"statuses\":[");
        separated(statuses.iter(), self.out, |status, out| {
            out.extend_from_slice(match status {
                FieldStatus::Present => PRESENT,
                FieldStatus::NullValue => b"\"NULL_VALUE\"",
                FieldStatus::NotFound => b"\"NOT_FOUND\"",
                FieldStatus::OutsideMaxAge => b"\"OUTSIDE_MAX_AGE\"",
            });
        });
        self.out.extend_from_slice(b"],\"event_timestamps\":[");
        let stamps = statuses.iter().zip(self.rows.part_rows(part));
        separated(stamps, self.out, |(status, (_, time)), out| match status {
            // A row from before the feature existed says nothing of it, its time included.
            FieldStatus::NotFound => out.extend_from_slice(EPOCH),
            _ => {
                out.push(b'"');
                times.write(time, out);
                out.push(b'"');
            }
        });
        self.out.extend_from_slice(b"]}");
    }
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
