//! Buffers of answers that were sent, kept by their thread for the next.

use std::cell::RefCell;

/// Buffers a thread keeps: one or two for each answer that waits to be sent.
const KEPT_MAX: usize = 32;
/// Bytes a buffer that is kept has room for.
const KEPT_BYTES_MAX: usize = 32 << 10;

thread_local! {
    static KEPT: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer, with the room it had in its last use.
pub(crate) fn take() -> Vec<u8> {
    KEPT.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Leaves a buffer to the next answer.
pub(crate) fn give_back(mut buffer: Vec<u8>) {
    if buffer.capacity() > KEPT_BYTES_MAX || buffer.capacity() == 0 {
        return;
    }
    buffer.clear();
    KEPT.with_borrow_mut(|kept| {
        if kept.len() < KEPT_MAX {
            kept.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_and_as_many_and_as_large_as_may_are_kept() {
        assert_eq!(take().capacity(), 0);
        let mut buffer = Vec::with_capacity(100);
        buffer.push(1);
        let place = buffer.as_ptr();
        give_back(buffer);
        let again = take();
        assert_eq!((again.as_ptr(), again.len()), (place, 0));

        give_back(Vec::with_capacity(KEPT_BYTES_MAX + 1));
        assert_eq!(take().capacity(), 0);
        for _ in 0..=KEPT_MAX {
            give_back(Vec::with_capacity(1));
        }
        assert_eq!(KEPT.with_borrow(Vec::len), KEPT_MAX);
    }
}
