//! What a component exports: calls by the canonical ABI, as wit-bindgen writes them but for how the
//! memory of lists is freed.
//!
//! Lists that the host hands over lie in a block that stays where it is from call to call. The answer is
//! kept until the next call and freed then, so the host need not call a second time to have it freed.

use std::cell::UnsafeCell;

use crate::bindings::exports::galley::transform::transformer::Guest;
use crate::bindings::galley::transform::types::{
    ArrayValues, Batch, Column, Error, Packed, ScalarValues, Values,
};
use crate::memory;

/// Exports the functions of the contract for a type that has them.
#[macro_export]
#[doc(hidden)]
macro_rules! __export {
    ($component:ident with_types_in $bindings:path) => {
        const _: () = {
            use bindings::exports::galley::transform::transformer;
            use $crate::bindings;

            #[unsafe(export_name = "galley:transform/transformer@0.1.0#describe")]
            unsafe extern "C" fn describe() -> *mut u8 {
                bindings::__link_custom_section_describing_imports();
                unsafe { transformer::_export_describe_cabi::<$component>() }
            }

            #[unsafe(export_name = "cabi_post_galley:transform/transformer@0.1.0#describe")]
            unsafe extern "C" fn describe_done(answer: *mut u8) {
                unsafe { transformer::__post_return_describe::<$component>(answer) }
            }

            #[unsafe(export_name = "galley:transform/transformer@0.1.0#apply")]
            unsafe extern "C" fn apply(rows: u32, columns: *mut u8, count: usize) -> *const u8 {
                unsafe { $crate::rt::apply::<$component>(rows, columns, count) }
            }
        };
    };
}

/// Words of a column as the contract lays it out.
const COLUMN_WORDS: usize = 11;
/// Where in a column its validity begins.
const VALIDITY: usize = 8;
/// Words of the result of `apply`.
const RESULT_WORDS: usize = 6;

/// A column, or the result, word by word.
type Words<const COUNT: usize> = [u32; COUNT];

/// What the last call gave. The host reads it after the call has ended.
struct Answer {
    result: UnsafeCell<Words<RESULT_WORDS>>,
    held: UnsafeCell<Option<Held>>,
}

/// The lists of an answer. A reference to them lies in its words.
struct Held {
    _answer: Result<Batch, Error>,
    _columns: Vec<Words<COLUMN_WORDS>>,
}

// SAFETY: a component has one thread.
unsafe impl Sync for Answer {}

static ANSWER: Answer = Answer {
    result: UnsafeCell::new([0; RESULT_WORDS]),
    held: UnsafeCell::new(None),
};

/// Calls the component with a batch that the host wrote.
///
/// # Safety
///
/// The host keeps to the canonical ABI: `columns` are `count` columns, whose lists were written where
/// `cabi_realloc` said, and it has read the last answer.
pub unsafe fn apply<T: Guest>(rows: u32, columns: *mut u8, count: usize) -> *const u8 {
    wit_bindgen::rt::run_ctors_once();
    let_go();
    let is_in_block = memory::begin(columns);
    // SAFETY: the caller's promise.
    let batch = unsafe { take_batch(rows, columns, count) };
    if !is_in_block && count > 0 {
        let layout = std::alloc::Layout::array::<Words<COLUMN_WORDS>>(count);
        if let Ok(layout) = layout {
            // SAFETY: the list was allocated by `cabi_realloc`, and each of its columns was taken.
            unsafe { std::alloc::dealloc(columns, layout) };
        }
    }
    let answer = T::apply(batch);
    let columns: Vec<_> = match &answer {
        Ok(batch) => batch.columns.iter().map(column_words).collect(),
        Err(_) => Vec::new(),
    };
    let words = result_words(&answer, &columns);
    let held = Held {
        _answer: answer,
        _columns: columns,
    };
    // SAFETY: nobody else refers to either, and there is one thread.
    unsafe {
        *ANSWER.result.get() = words;
        *ANSWER.held.get() = Some(held);
    }
    ANSWER.result.get().cast()
}

/// Frees the last answer, which the host has read.
#[inline(never)]
pub(crate) fn let_go() {
    // SAFETY: nobody else refers to it, and there is one thread.
    unsafe { *ANSWER.held.get() = None };
}

// === what comes in ===

/// # Safety
///
/// As [`apply`].
unsafe fn take_batch(rows: u32, columns: *const u8, count: usize) -> Batch {
    let columns = columns.cast::<Words<COLUMN_WORDS>>();
    // SAFETY: there are `count` columns, aligned as their words are.
    let take = |index| unsafe { take_column(&*columns.add(index)) };
    Batch {
        rows,
        columns: (0..count).map(take).collect(),
    }
}

/// # Safety
///
/// The words are those of a column whose lists are not referred to otherwise.
unsafe fn take_column(words: &Words<COLUMN_WORDS>) -> Column {
    let [case, values @ .., _, _, _] = words;
    // SAFETY: the caller's promise, and the cases are those of the contract.
    unsafe {
        let values = if is_case(*case, 0) {
            Values::Scalar(take_scalars(&values[..]))
        } else {
            Values::Array(ArrayValues {
                offsets: take_list(&values[0..]),
                items: take_scalars(&values[2..]),
            })
        };
        let validity = &words[VALIDITY..];
        Column {
            values,
            validity: (!is_case(validity[0], 0)).then(|| take_list(&validity[1..])),
        }
    }
}

/// # Safety
///
/// As [`take_column`].
unsafe fn take_scalars(words: &[u32]) -> ScalarValues {
    let list = &words[1..];
    // SAFETY: the caller's promise.
    unsafe {
        match words[0] & 0xff {
            0 => ScalarValues::Boolean(take_list(list)),
            1 => ScalarValues::Int32(take_list(list)),
            2 => ScalarValues::Int64(take_list(list)),
            3 => ScalarValues::Float32(take_list(list)),
            4 => ScalarValues::Float64(take_list(list)),
            5 => ScalarValues::Utf8(take_packed(list)),
            6 => ScalarValues::Binary(take_packed(list)),
            _ => ScalarValues::TimestampMicros(take_list(list)),
        }
    }
}

/// # Safety
///
/// As [`take_column`].
unsafe fn take_packed(words: &[u32]) -> Packed {
    // SAFETY: the caller's promise.
    unsafe {
        Packed {
            offsets: take_list(words),
            data: take_list(&words[2..]),
        }
    }
}

/// # Safety
///
/// As [`take_column`]; the list is of `V`.
unsafe fn take_list<V>(words: &[u32]) -> Vec<V> {
    let (start, length) = (words[0] as usize, words[1] as usize);
    // SAFETY: `cabi_realloc` gave it for as many values, aligned as they are; what lies in the block is
    // never freed one by one. One without values was not asked for.
    unsafe { Vec::from_raw_parts(std::ptr::with_exposed_provenance_mut(start), length, length) }
}

/// The case of a variant is its first byte; what the three behind it hold is nobody's.
fn is_case(word: u32, case: u32) -> bool {
    word & 0xff == case
}

// === what goes out ===

fn result_words(
    answer: &Result<Batch, Error>,
    columns: &[Words<COLUMN_WORDS>],
) -> Words<RESULT_WORDS> {
    match answer {
        Ok(batch) => {
            let [start, length] = list_words(columns);
            [0, batch.rows, start, length, 0, 0]
        }
        Err(Error::InvalidInput(message)) => {
            let [start, length] = list_words(message.as_bytes());
            [1, 0, start, length, 0, 0]
        }
        Err(Error::Rejected(rejection)) => {
            let [start, length] = list_words(rejection.message.as_bytes());
            let row = rejection.row;
            [
                1,
                1,
                u32::from(row.is_some()),
                row.unwrap_or(0),
                start,
                length,
            ]
        }
        Err(Error::Internal(message)) => {
            let [start, length] = list_words(message.as_bytes());
            [1, 2, start, length, 0, 0]
        }
    }
}

#[inline]
fn column_words(column: &Column) -> Words<COLUMN_WORDS> {
    let mut words = [0; COLUMN_WORDS];
    words[0] = match &column.values {
        Values::Scalar(scalars) => {
            put_scalars(&mut words[1..6], scalars);
            0
        }
        Values::Array(arrays) => {
            words[1..3].copy_from_slice(&list_words(&arrays.offsets));
            put_scalars(&mut words[3..8], &arrays.items);
            1
        }
    };
    if let Some(bits) = &column.validity {
        words[VALIDITY] = 1;
        words[VALIDITY + 1..].copy_from_slice(&list_words(bits));
    }
    words
}

#[inline]
fn put_scalars(words: &mut [u32], scalars: &ScalarValues) {
    let none = [0; 2];
    let packed = |packed: &Packed| (list_words(&packed.offsets), list_words(&packed.data));
    let (case, (first, second)) = match scalars {
        ScalarValues::Boolean(values) => (0, (list_words(values), none)),
        ScalarValues::Int32(values) => (1, (list_words(values), none)),
        ScalarValues::Int64(values) => (2, (list_words(values), none)),
        ScalarValues::Float32(values) => (3, (list_words(values), none)),
        ScalarValues::Float64(values) => (4, (list_words(values), none)),
        ScalarValues::Utf8(values) => (5, packed(values)),
        ScalarValues::Binary(values) => (6, packed(values)),
        ScalarValues::TimestampMicros(values) => (7, (list_words(values), none)),
    };
    words[0] = case;
    words[1..3].copy_from_slice(&first);
    words[3..5].copy_from_slice(&second);
}

/// Where a list lies and how long it is.
fn list_words<V>(list: &[V]) -> [u32; 2] {
    // Addresses and lengths have 32 bits here.
    [list.as_ptr().expose_provenance() as u32, list.len() as u32]
}

const _: () = assert!(size_of::<usize>() == size_of::<u32>());
