//! Lists of scalars, encoded once and never unpacked: the same bytes lie in a row's heap, in a
//! [`crate::Value`] and, later, in a guest's memory.
//!
//! Layout: `count: u32`, then for fixed-width elements `count` little-endian elements (booleans one
//! byte), for others `count` end offsets (`u32`, from the start of the data) and the data. An
//! element of a zoned-timestamp list is `micros: i64` and the zone's name.

use crate::value::ValueError;
use crate::{ScalarType, Value};

/// An owned list of scalars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    element: ScalarType,
    payload: Vec<u8>,
}

/// A checked, borrowed list of scalars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListRef<'a> {
    element: ScalarType,
    count: usize,
    body: &'a [u8],
}

/// One element of a list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ListItem<'a> {
    /// Boolean.
    Bool(bool),
    /// 32-bit integer.
    Int32(i32),
    /// 64-bit integer.
    Int64(i64),
    /// Single.
    Float(f32),
    /// Double.
    Double(f64),
    /// Microseconds since the epoch.
    UnixTimestamp(i64),
    /// Text: string, JSON, UUID or decimal.
    Text(&'a str),
    /// Raw bytes.
    Bytes(&'a [u8]),
    /// Microseconds since the epoch and the name of a zone.
    Zoned(i64, &'a str),
}

/// Builds a [`List`] element by element.
#[derive(Debug)]
pub struct ListBuilder {
    element: ScalarType,
    count: u32,
    ends: Vec<u32>,
    data: Vec<u8>,
}

// === impl ListItem ===

impl<'a> ListItem<'a> {
    /// The scalar in `value` as an element; `None` for null and everything that is no scalar.
    #[must_use]
    pub fn of(value: &'a Value) -> Option<Self> {
        Some(match value {
            Value::Bool(value) => Self::Bool(*value),
            Value::Int32(value) => Self::Int32(*value),
            Value::Int64(value) => Self::Int64(*value),
            Value::Float(value) => Self::Float(*value),
            Value::Double(value) => Self::Double(*value),
            Value::UnixTimestamp(value) => Self::UnixTimestamp(*value),
            Value::Text(text) => Self::Text(text),
            Value::Bytes(bytes) => Self::Bytes(bytes),
            Value::Zoned { micros, zone } => Self::Zoned(*micros, zone),
            _ => return None,
        })
    }

    /// An owned copy.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match *self {
            Self::Bool(value) => Value::Bool(value),
            Self::Int32(value) => Value::Int32(value),
            Self::Int64(value) => Value::Int64(value),
            Self::Float(value) => Value::Float(value),
            Self::Double(value) => Value::Double(value),
            Self::UnixTimestamp(value) => Value::UnixTimestamp(value),
            Self::Text(text) => Value::Text(text.to_owned()),
            Self::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
            Self::Zoned(micros, zone) => Value::Zoned {
                micros,
                zone: zone.to_owned(),
            },
        }
    }
}

// === impl List ===

impl List {
    /// An empty list.
    #[must_use]
    pub fn empty(element: ScalarType) -> Self {
        Self {
            element,
            payload: 0_u32.to_le_bytes().to_vec(),
        }
    }

    /// The type of the elements.
    #[must_use]
    pub fn element(&self) -> ScalarType {
        self.element
    }

    /// The encoded bytes.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Takes encoded bytes after checking them.
    ///
    /// # Errors
    /// [`ValueError::Malformed`] when the bytes are not a list of this element type.
    pub fn from_payload(element: ScalarType, payload: Vec<u8>) -> Result<Self, ValueError> {
        ListRef::parse(element, &payload)?;
        Ok(Self { element, payload })
    }

    /// Borrows the list.
    #[must_use]
    pub fn as_ref(&self) -> ListRef<'_> {
        // The payload was checked or built here; an empty list stands in for the impossible.
        ListRef::parse(self.element, &self.payload).unwrap_or(ListRef {
            element: self.element,
            count: 0,
            body: &[],
        })
    }
}

// === impl ListRef ===

impl<'a> ListRef<'a> {
    /// Checks `payload` and borrows it. Costs one pass over the offsets of text lists (and their
    /// UTF-8), nothing for fixed-width elements.
    ///
    /// # Errors
    /// [`ValueError::Malformed`] when lengths or offsets do not fit or text is not UTF-8.
    pub fn parse(element: ScalarType, payload: &'a [u8]) -> Result<Self, ValueError> {
        let malformed = || ValueError::Malformed { what: "list" };
        let (count, body) = payload.split_first_chunk::<4>().ok_or_else(malformed)?;
        let count = u32::from_le_bytes(*count) as usize;
        if let Some(width) = element.width() {
            return if count.checked_mul(width) == Some(body.len()) {
                Ok(Self {
                    element,
                    count,
                    body,
                })
            } else {
                Err(malformed())
            };
        }
        let ends_bytes = count.checked_mul(4).ok_or_else(malformed)?;
        let (ends, data) = body.split_at_checked(ends_bytes).ok_or_else(malformed)?;
        let mut start = 0_usize;
        for end in ends.as_chunks::<4>().0 {
            let end = u32::from_le_bytes(*end) as usize;
            let item = data.get(start..end).ok_or_else(malformed)?;
            let sound = match element {
                ScalarType::Bytes => true,
                ScalarType::ZonedTimestamp => item
                    .get(8..)
                    .is_some_and(|zone| std::str::from_utf8(zone).is_ok()),
                _ => std::str::from_utf8(item).is_ok(),
            };
            if !sound {
                return Err(malformed());
            }
            start = end;
        }
        if start == data.len() {
            Ok(Self {
                element,
                count,
                body,
            })
        } else {
            Err(malformed())
        }
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The type of the elements.
    #[must_use]
    pub fn element(&self) -> ScalarType {
        self.element
    }

    /// For fixed-width elements: the packed little-endian elements. For others: offsets and data.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The elements in order.
    pub fn iter(&self) -> impl Iterator<Item = ListItem<'a>> + use<'a> {
        let Self {
            element,
            count,
            body,
        } = *self;
        (0..count).filter_map(move |index| item_at(element, count, body, index))
    }

    /// An owned copy.
    #[must_use]
    pub fn to_list(&self) -> List {
        let mut payload = Vec::with_capacity(4 + self.body.len());
        payload.extend_from_slice(&u32::try_from(self.count).unwrap_or(0).to_le_bytes());
        payload.extend_from_slice(self.body);
        List {
            element: self.element,
            payload,
        }
    }
}

fn item_at(element: ScalarType, count: usize, body: &[u8], index: usize) -> Option<ListItem<'_>> {
    fn fixed<const N: usize>(body: &[u8], index: usize) -> Option<[u8; N]> {
        body.as_chunks::<N>().0.get(index).copied()
    }
    Some(match element {
        ScalarType::Bool => ListItem::Bool(*body.get(index)? != 0),
        ScalarType::Int32 => ListItem::Int32(i32::from_le_bytes(fixed(body, index)?)),
        ScalarType::Float => ListItem::Float(f32::from_le_bytes(fixed(body, index)?)),
        ScalarType::Int64 => ListItem::Int64(i64::from_le_bytes(fixed(body, index)?)),
        ScalarType::Double => ListItem::Double(f64::from_le_bytes(fixed(body, index)?)),
        ScalarType::UnixTimestamp => {
            ListItem::UnixTimestamp(i64::from_le_bytes(fixed(body, index)?))
        }
        _ => {
            let (ends, data) = body.split_at_checked(count * 4)?;
            let start = match index {
                0 => 0,
                _ => u32::from_le_bytes(fixed(ends, index - 1)?) as usize,
            };
            let end = u32::from_le_bytes(fixed(ends, index)?) as usize;
            let item = data.get(start..end)?;
            match element {
                ScalarType::Bytes => ListItem::Bytes(item),
                ScalarType::ZonedTimestamp => {
                    let (micros, zone) = item.split_first_chunk::<8>()?;
                    ListItem::Zoned(i64::from_le_bytes(*micros), std::str::from_utf8(zone).ok()?)
                }
                _ => ListItem::Text(std::str::from_utf8(item).ok()?),
            }
        }
    })
}

// === impl ListBuilder ===

impl ListBuilder {
    /// A builder for elements of type `element`.
    #[must_use]
    pub fn new(element: ScalarType) -> Self {
        Self {
            element,
            count: 0,
            ends: Vec::new(),
            data: Vec::new(),
        }
    }

    /// Appends one element.
    ///
    /// # Errors
    /// [`ValueError::WrongType`] when the item is of another type, [`ValueError::TooLarge`] when
    /// the list would pass 4 GiB.
    pub fn push(&mut self, item: ListItem<'_>) -> Result<(), ValueError> {
        use ScalarType as S;
        match (self.element, item) {
            (S::Bool, ListItem::Bool(value)) => self.data.push(u8::from(value)),
            (S::Int32, ListItem::Int32(value)) => self.data.extend_from_slice(&value.to_le_bytes()),
            (S::Float, ListItem::Float(value)) => self.data.extend_from_slice(&value.to_le_bytes()),
            (S::Double, ListItem::Double(value)) => {
                self.data.extend_from_slice(&value.to_le_bytes());
            }
            (S::Int64, ListItem::Int64(value))
            | (S::UnixTimestamp, ListItem::UnixTimestamp(value)) => {
                self.data.extend_from_slice(&value.to_le_bytes());
            }
            (S::Bytes, ListItem::Bytes(value)) => self.data.extend_from_slice(value),
            (S::ZonedTimestamp, ListItem::Zoned(micros, zone)) => {
                self.data.extend_from_slice(&micros.to_le_bytes());
                self.data.extend_from_slice(zone.as_bytes());
            }
            (element, ListItem::Text(value)) if element.is_text() => {
                self.data.extend_from_slice(value.as_bytes());
            }
            (element, _) => {
                return Err(ValueError::WrongType {
                    expected: crate::ValueType::List(element),
                });
            }
        }
        if self.element.width().is_none() {
            self.ends
                .push(u32::try_from(self.data.len()).map_err(|_| ValueError::TooLarge)?);
        }
        self.count = self.count.checked_add(1).ok_or(ValueError::TooLarge)?;
        Ok(())
    }

    /// The finished list.
    #[must_use]
    pub fn finish(self) -> List {
        let mut payload = Vec::with_capacity(4 + self.ends.len() * 4 + self.data.len());
        payload.extend_from_slice(&self.count.to_le_bytes());
        for end in &self.ends {
            payload.extend_from_slice(&end.to_le_bytes());
        }
        payload.extend_from_slice(&self.data);
        List {
            element: self.element,
            payload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(element: ScalarType, items: &[ListItem<'_>]) {
        let mut builder = ListBuilder::new(element);
        for item in items {
            builder.push(*item).unwrap();
        }
        let list = builder.finish();
        let parsed = ListRef::parse(element, list.payload()).unwrap();
        assert_eq!(parsed.iter().collect::<Vec<_>>(), items);
        assert_eq!(parsed.to_list(), list);
        for cut in 0..list.payload().len() {
            let _ = ListRef::parse(element, &list.payload()[..cut]);
        }
    }

    #[test]
    fn lists_read_back_what_was_pushed() {
        check(
            ScalarType::Double,
            &[ListItem::Double(1.5), ListItem::Double(-0.0)],
        );
        check(
            ScalarType::Bool,
            &[ListItem::Bool(true), ListItem::Bool(false)],
        );
        check(
            ScalarType::String,
            &[ListItem::Text(""), ListItem::Text("\u{e9}x")],
        );
        check(
            ScalarType::Bytes,
            &[ListItem::Bytes(&[0xff]), ListItem::Bytes(&[])],
        );
        check(
            ScalarType::ZonedTimestamp,
            &[ListItem::Zoned(-5, "Asia/Kolkata")],
        );
        check(ScalarType::Int64, &[]);
    }

    #[test]
    fn an_item_of_another_type_is_refused() {
        let mut builder = ListBuilder::new(ScalarType::Int32);
        assert!(builder.push(ListItem::Int64(1)).is_err());
    }
}
