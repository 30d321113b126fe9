//! The pages of a row group, looked at before the decoder sees them.
//!
//! The decoder believes what a page says of itself: it reserves what the header claims, goes on
//! unpacking for as long as there is something, and makes one copy after the other of a text that
//! stands there once. So the headers of all pages are walked first, and held against the bytes of the
//! file and the counts of the footer. The decoder is then given a file that has never been packed: its
//! headers are written anew, and each page is unpacked and checked when it is asked for.

use std::fs::File;
use std::io::Cursor;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use parquet::basic::Type as PhysicalType;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{ChunkReader, Length};

use super::budget::Budget;
use super::column::{Column, refused};
use super::header::{self, Body, Header};
use super::thrift::{Fault, Thrift};
use super::unpack::Unpacker;

/// Bytes of a page's header that are read at first, and at most: it may hold a least and a greatest
/// value.
const HEADER_BYTES: u64 = 512;
const HEADER_BYTES_MAX: u64 = 1 << 20;
/// Elements of lists in a page's header.
const HEADER_ELEMENTS_MAX: u32 = 1024;
/// Pages of a row group.
const PAGES_MAX: usize = 1 << 20;

/// A row group as an unpacked file: its pages one column after the other.
pub(super) struct Pages {
    file: Arc<File>,
    size: u64,
    columns: Vec<Column>,
    pages: Vec<PageAt>,
    budget: Arc<Budget>,
    /// Where the next page is put.
    end: u64,
}

/// A page.
#[derive(Clone, Copy, Debug)]
struct PageAt {
    /// Where its header begins for the decoder, and where the page itself does.
    head: u64,
    start: u64,
    /// Where the page begins in the file.
    at: u64,
    column: usize,
    header: Header,
}

/// Where the decoder finds the pages of a column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) start: u64,
    pub(super) bytes: u64,
}

/// A column chunk while its headers are walked.
struct Walk {
    at: u64,
    left: u64,
    values_left: u64,
    dictionary: bool,
}

// === impl Pages ===

impl Pages {
    /// A row group without pages yet, of a file of `size` bytes.
    pub(super) fn new((file, size): (&Arc<File>, u64), budget: &Arc<Budget>) -> Self {
        Self {
            file: Arc::clone(file),
            size,
            columns: Vec::new(),
            pages: Vec::new(),
            budget: Arc::clone(budget),
            // Places below are nowhere in the unpacked file.
            end: 4,
        }
    }

    /// Walks the pages of a column of a row group of `rows`, and says where the decoder finds them.
    ///
    /// # Errors
    /// The column, the page and the reason.
    pub(super) fn add(&mut self, chunk: &ColumnChunkMetaData, rows: u64) -> Result<Place> {
        let column = Column::new(chunk);
        let start = self.end;
        let mut walk = self.walk(&column, chunk, rows)?;
        while walk.left > 0 {
            let (header, length) = self.read_header(&column, &walk)?;
            let at = walk.at;
            let bad = |reason: String| Err(column.bad(at, &reason));
            let (packed, left) = (u64::from(header.packed), walk.left - length);
            if packed > left {
                return bad(format!(
                    "it claims {packed} bytes, and its column has {left} left"
                ));
            }
            if let Err(reason) = walk.admit(&column, &header.body) {
                return bad(reason);
            }
            if self.pages.len() >= PAGES_MAX {
                return bad(format!("the row group has more than {PAGES_MAX} pages"));
            }
            if header.body != Body::Other {
                let bytes = column.size(&header);
                let head = self.end;
                let start = head + header.unpacked(bytes).len() as u64;
                self.pages.push(PageAt {
                    head,
                    start,
                    at: walk.at + length,
                    column: self.columns.len(),
                    header,
                });
                // A million pages of two gigabytes are far from the end of 64 bits.
                self.end = start + u64::from(bytes);
            }
            walk.at += length + packed;
            walk.left = left - packed;
        }
        if walk.values_left > 0 {
            let reason = format!("its pages end {} values too early", walk.values_left);
            return Err(refused(&column.name, &reason));
        }
        self.columns.push(column);
        Ok(Place {
            start,
            bytes: self.end - start,
        })
    }

    fn walk(&self, column: &Column, chunk: &ColumnChunkMetaData, rows: u64) -> Result<Walk> {
        let bad = |reason: String| refused(&column.name, &reason);
        let number = |value: i64| u64::try_from(value).ok();
        let start = chunk
            .dictionary_page_offset()
            .filter(|offset| *offset > 0)
            .unwrap_or(chunk.data_page_offset());
        let (Some(at), Some(left)) = (number(start), number(chunk.compressed_size())) else {
            return Err(bad("it lies at a place below zero".to_owned()));
        };
        if at.checked_add(left).is_none_or(|end| end > self.size) {
            return Err(bad("it lies outside of the file".to_owned()));
        }
        let values = number(chunk.num_values()).unwrap_or(0);
        if column.max_repetition == 0 && values != rows {
            return Err(bad(format!(
                "it claims {values} values in a row group of {rows} rows"
            )));
        }
        Ok(Walk {
            at,
            left,
            values_left: values,
            dictionary: false,
        })
    }

    /// The header of the next page, and its length.
    fn read_header(&self, column: &Column, walk: &Walk) -> Result<(Header, u64)> {
        let mut wanted = HEADER_BYTES;
        loop {
            let bytes = self.bytes_at(column, walk.at, wanted.min(walk.left))?;
            let mut thrift = Thrift::new(&bytes, HEADER_ELEMENTS_MAX);
            match Header::read(&mut thrift) {
                Ok(header) => return Ok((header, (bytes.len() - thrift.left()) as u64)),
                Err(Fault::Short) if wanted < HEADER_BYTES_MAX && wanted < walk.left => {
                    wanted = HEADER_BYTES_MAX;
                }
                Err(fault) => {
                    let reason = format!("its header is malformed: {}", fault.reason());
                    return Err(column.bad(walk.at, &reason));
                }
            }
        }
    }

    /// `length` bytes of the file; they lie within the column, and so within the file.
    fn bytes_at(&self, column: &Column, at: u64, length: u64) -> Result<Vec<u8>> {
        let length = usize::try_from(length).map_err(|_| column.bad(at, "it is too large"))?;
        let mut bytes = vec![0; length];
        self.file
            .read_exact_at(&mut bytes, at)
            .map_err(|error| column.bad(at, &format!("it cannot be read: {error}")))?;
        Ok(bytes)
    }

    /// A page's bytes, unpacked and within the budget.
    fn page(&self, page: &PageAt) -> Result<Bytes> {
        let Some(column) = self.columns.get(page.column) else {
            return Err(ParquetError::General("a page of no column".to_owned()));
        };
        let bad = |reason: String| column.bad(page.at, &reason);
        // The decoder runs behind a catch of panics; what it left is of no use then.
        let mut reading = column
            .reading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let packed = u64::from(page.header.packed);
        let whole = match column.packs(&page.header) {
            true => u64::from(page.header.size),
            false => 0,
        };
        self.budget
            .fits(packed.saturating_add(whole))
            .map_err(bad)?;
        let bytes = self.bytes_at(column, page.at, packed)?;
        let bytes = match column.packs(&page.header) {
            true => unpacked(&mut reading.unpacker, &bytes, &page.header)
                .map_err(|reason| bad(reason.to_owned()))?,
            false => Bytes::from(bytes),
        };
        let (more, instead) = match page.header.body {
            Body::Dictionary { values } => (
                column.dictionary(values, &bytes).map_err(bad)?,
                &mut reading.dictionary_bytes,
            ),
            body => (
                column
                    .unfolded(&body, &bytes)
                    .map_err(|reason| bad(reason.to_owned()))?,
                &mut reading.page_bytes,
            ),
        };
        let taken = (bytes.len() as u64).saturating_add(more);
        self.budget.take(taken, instead).map_err(bad)?;
        Ok(bytes)
    }
}

/// Unpacks a page. Of one of the second version the levels come first and are never packed.
fn unpacked(
    unpacker: &mut Unpacker,
    bytes: &[u8],
    header: &Header,
) -> std::result::Result<Bytes, &'static str> {
    const LEVELS: &str = "its levels are longer than the page";
    let levels = match header.body {
        Body::DataV2 {
            definition_bytes,
            repetition_bytes,
            ..
        } => (definition_bytes as usize).saturating_add(repetition_bytes as usize),
        _ => 0,
    };
    let mut whole = vec![0; header.size as usize];
    let (from_levels, from) = bytes.split_at_checked(levels).ok_or(LEVELS)?;
    let (to_levels, to) = whole.split_at_mut_checked(levels).ok_or(LEVELS)?;
    to_levels.copy_from_slice(from_levels);
    if !to.is_empty() {
        unpacker.fill(from, to)?;
    }
    Ok(Bytes::from(whole))
}

impl Length for Pages {
    fn len(&self) -> u64 {
        self.end
    }
}

impl ChunkReader for Pages {
    type T = Cursor<Vec<u8>>;

    /// The header at `start`. The decoder also asks for the page behind it, and does not look.
    fn get_read(&self, start: u64) -> Result<Self::T> {
        let found = self.pages.binary_search_by_key(&start, |page| page.head);
        let header = found.ok().and_then(|index| self.pages.get(index));
        let header = header.and_then(|page| {
            let column = self.columns.get(page.column)?;
            Some(page.header.unpacked(column.size(&page.header)))
        });
        Ok(Cursor::new(header.unwrap_or_default()))
    }

    fn get_bytes(&self, start: u64, _length: usize) -> Result<Bytes> {
        let found = self.pages.binary_search_by_key(&start, |page| page.start);
        match found.ok().and_then(|index| self.pages.get(index)) {
            Some(page) => self.page(page),
            None => Err(ParquetError::General(format!("no page at byte {start}"))),
        }
    }
}

// === impl Walk ===

impl Walk {
    /// Holds a page's header against those before it.
    fn admit(&mut self, column: &Column, body: &Body) -> std::result::Result<(), String> {
        if let Body::Dictionary { .. } = body {
            if self.dictionary {
                return Err("a second dictionary".to_owned());
            }
            if column.physical == PhysicalType::BOOLEAN {
                return Err("a dictionary of booleans".to_owned());
            }
            self.dictionary = true;
        }
        let Some((values, encoding)) = body.values() else {
            return Ok(());
        };
        let known = [header::RLE_DICTIONARY, header::PLAIN_DICTIONARY];
        if known.contains(&encoding) && !self.dictionary {
            return Err("places in a dictionary that is not there".to_owned());
        }
        let left = self.values_left;
        self.values_left = left
            .checked_sub(u64::from(values))
            .ok_or_else(|| format!("it claims {values} values, and its column has {left} left"))?;
        Ok(())
    }
}
