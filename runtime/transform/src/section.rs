//! The custom section in which a component carries its signature, to be read without running it.

use std::fmt::Write as _;
use std::iter;

use crate::signature::{Field, NullHandling, Signature, Volatility};

/// The section's name.
pub const SIGNATURE_SECTION: &str = "galley:signature";

/// Bytes of a component, or of a core module, before its sections.
pub(crate) const PREAMBLE: usize = 8;
/// The id of a custom section.
const CUSTOM: u8 = 0;

/// One section of a component or of a core module.
pub(crate) struct Section<'a> {
    /// Header and content.
    pub(crate) whole: &'a [u8],
    pub(crate) id: u8,
    pub(crate) content: &'a [u8],
}

/// The outermost sections of a component, or those of a core module. Ends with `None` where bytes are
/// none.
pub(crate) fn sections(bytes: &[u8]) -> impl Iterator<Item = Option<Section<'_>>> {
    let mut rest = bytes.get(PREAMBLE..).unwrap_or_default();
    iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let next = section(rest);
        // Each section is of at least the two bytes of its header.
        let read = next
            .as_ref()
            .map_or(rest.len(), |section| section.whole.len());
        rest = rest.get(read..).unwrap_or_default();
        Some(next)
    })
}

/// The text of the signature section at the end of `component`, if it has one.
pub(crate) fn signature_text(component: &[u8]) -> Option<&[u8]> {
    split(component).map(|(_, text)| text)
}

/// `component` without its signature section: what its compiled code depends on.
pub(crate) fn without_signature(component: &[u8]) -> &[u8] {
    split(component).map_or(component, |(before, _)| before)
}

/// What stands before the section, and the section's text. Only the last section counts: that is
/// where builds put it.
fn split(component: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut last = None;
    let mut at = PREAMBLE;
    for section in sections(component) {
        let section = section?;
        last = Some((at, section.id, section.content));
        at += section.whole.len();
    }
    let (start, id, content) = last?;
    let (length, rest) = number(content)?;
    let (name, text) = rest.split_at_checked(length)?;
    (id == CUSTOM && name == SIGNATURE_SECTION.as_bytes())
        .then_some((component.get(..start)?, text))
}

fn section(bytes: &[u8]) -> Option<Section<'_>> {
    let (id, rest) = bytes.split_first()?;
    let (length, rest) = number(rest)?;
    let content = rest.get(..length)?;
    let header = bytes.len() - rest.len();
    Some(Section {
        whole: bytes.get(..header + length)?,
        id: *id,
        content,
    })
}

/// A LEB128 number of 32 bits, and what follows it.
pub(crate) fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let value = usize::try_from(value).ok()?;
            return Some((value, bytes.get(index + 1..)?));
        }
    }
    None
}

impl Signature {
    /// The signature as JSON: one line, always the same text for the same signature.
    #[must_use]
    pub fn json(&self) -> String {
        let handling = match self.null_handling {
            NullHandling::CalledOnNull => "called-on-null",
            NullHandling::NullInNullOut => "null-in-null-out",
        };
        let volatility = match self.volatility {
            Volatility::Immutable => "immutable",
            Volatility::PerRequest => "per-request",
            Volatility::Volatile => "volatile",
        };
        format!(
            "{{\"name\":{},\"version\":{},\"inputs\":{},\"outputs\":{},\
             \"null-handling\":\"{handling}\",\"volatility\":\"{volatility}\"}}",
            quoted(&self.name),
            quoted(&self.version),
            fields(&self.inputs),
            fields(&self.outputs)
        )
    }

    /// `component` with this signature in its section, in the place of one it has.
    #[must_use]
    pub fn embed(&self, component: &[u8]) -> Vec<u8> {
        let text = self.json();
        let mut content = Vec::with_capacity(text.len() + SIGNATURE_SECTION.len() + 1);
        push_number(&mut content, SIGNATURE_SECTION.len());
        content.extend_from_slice(SIGNATURE_SECTION.as_bytes());
        content.extend_from_slice(text.as_bytes());
        let mut signed = without_signature(component).to_vec();
        signed.push(CUSTOM);
        push_number(&mut signed, content.len());
        signed.append(&mut content);
        signed
    }
}

fn push_number(bytes: &mut Vec<u8>, mut value: usize) {
    while value > 0x7f {
        bytes.push(0x80 | low_bits(value));
        value >>= 7;
    }
    bytes.push(low_bits(value));
}

/// The seven lowest bits.
fn low_bits(value: usize) -> u8 {
    value.to_le_bytes().first().map_or(0, |byte| byte & 0x7f)
}

fn fields(fields: &[Field]) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|field| {
            format!(
                "{{\"name\":{},\"type\":\"{}\",\"nullable\":{}}}",
                quoted(&field.name),
                field.data_type,
                field.nullable
            )
        })
        .collect();
    format!("[{}]", fields.join(","))
}

/// `text` as a JSON string.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            // A signature that passed its check has none; one that did not is shown all the same.
            _ if character.is_control() => drop(write!(quoted, "\\u{:04x}", u32::from(character))),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::{DataType, Kind};

    fn signature() -> Signature {
        Signature {
            name: "a \"view\"".to_owned(),
            inputs: vec![Field {
                name: "x".to_owned(),
                data_type: DataType::Array(Kind::Float64),
                nullable: true,
            }],
            ..Signature::unknown()
        }
    }

    #[test]
    fn a_signature_is_put_in_once_and_taken_out_again() {
        let bare = b"\0asm\x0d\0\x01\0\x05\x01\xaa".to_vec();
        let signed = signature().embed(&bare);
        assert_eq!(signature_text(&signed), Some(signature().json().as_bytes()));
        assert_eq!(without_signature(&signed), bare);
        assert_eq!(signature().embed(&signed), signed);
        assert_eq!(signature_text(&bare), None);
        assert_eq!(
            signature().json(),
            "{\"name\":\"a \\\"view\\\"\",\"version\":\"\",\"inputs\":[{\"name\":\"x\",\
             \"type\":\"array of float64\",\"nullable\":true}],\"outputs\":[],\
             \"null-handling\":\"called-on-null\",\"volatility\":\"volatile\"}"
        );
    }

    #[test]
    fn damaged_components_have_no_section_and_cause_no_panic() {
        let signed = signature().embed(b"\0asm\x0d\0\x01\0");
        for end in 0..signed.len() {
            assert_eq!(signature_text(&signed[..end]), None, "{end}");
            assert_eq!(without_signature(&signed[..end]), &signed[..end]);
        }
        let endless = b"\0asm\x0d\0\x01\0\0\xff\xff\xff\xff\xff\xff";
        assert_eq!(signature_text(endless), None);
    }
}
