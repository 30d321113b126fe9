//! Text that came from a guest, made safe to show.

/// Whether `text` has no control characters.
pub(crate) fn printable(text: &str) -> bool {
    !text.chars().any(hostile)
}

/// `text` cut to at most `bytes_max` bytes, with a space in place of every control character.
#[must_use]
pub fn clip(text: &str, bytes_max: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(bytes_max));
    for character in text.chars() {
        let shown = if hostile(character) { ' ' } else { character };
        if clean.len() + shown.len_utf8() > bytes_max {
            // The mark is part of the bound wherever there is room for it.
            while clean.len() + 3 > bytes_max && clean.pop().is_some() {}
            clean.push_str("...");
            break;
        }
        clean.push(shown);
    }
    clean
}

/// Control characters, and those that turn or hide the text around them.
fn hostile(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_text_is_cut_and_cleaned() {
        let check = |text: &str, max: usize, expect: &str| assert_eq!(clip(text, max), expect);
        check("fine", 10, "fine");
        check("a\u{1b}[31mb\r\nc", 20, "a [31mb  c");
        check("abcdefghij", 8, "abcde...");
        check("\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}", 8, "\u{e9}\u{e9}...");
        check("admin\u{202e}txt", 20, "admin txt");
    }
}
