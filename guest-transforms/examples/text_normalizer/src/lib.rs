//! Text as a model wants it: lower case, single spaces, no punctuation.

/// What the view serves.
#[derive(Debug, PartialEq, galley::Outputs)]
pub struct Normalized {
    /// Words in lower case with one space between them.
    pub normalized: String,
    /// The words.
    pub tokens: Vec<String>,
    /// How many there are.
    pub token_count: i64,
}

/// Everything in ASCII but letters and digits parts words; what is beyond ASCII is kept.
#[galley::transform(volatility = "immutable")]
pub fn text_normalizer(text: &str) -> Normalized {
    // Letter by letter: a sigma is the same one wherever it stands.
    let lowered: String = text.chars().flat_map(char::to_lowercase).collect();
    let tokens: Vec<String> = lowered
        .split(|letter: char| letter.is_ascii() && !letter.is_ascii_alphanumeric())
        .filter(|token| !token.is_empty())
        .map(str::to_owned)
        .collect();
    Normalized {
        normalized: tokens.join(" "),
        token_count: tokens.len() as i64,
        tokens,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn punctuation_parts_words_in_any_script() {
        let normalized = text_normalizer("  Łódź--is NICE, 100%! ");
        assert_eq!(normalized.normalized, "łódź is nice 100");
        assert_eq!(normalized.token_count, 4);
    }
}
