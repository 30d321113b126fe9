//! Ed25519 keys and signatures, and how metadata writes them.

use std::fmt::Write as _;

use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde_json::{Value, json};

use super::canonical::canonical;

/// A key that signs.
pub struct KeyPair {
    pair: Ed25519KeyPair,
    id: String,
}

/// A key that verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PublicKey(pub(super) [u8; 32]);

// === impl KeyPair ===

impl KeyPair {
    /// A new key as a PKCS#8 document, from the system's randomness.
    ///
    /// # Errors
    /// The system has none to give.
    pub fn generate() -> Result<Vec<u8>, String> {
        Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map(|document| document.as_ref().to_vec())
            .map_err(|_| "the system gave no random bytes".to_owned())
    }

    /// Reads a PKCS#8 document.
    ///
    /// # Errors
    /// It is no Ed25519 key.
    pub fn from_pkcs8(document: &[u8]) -> Result<Self, String> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(document)
            .map_err(|error| format!("not a PKCS#8 Ed25519 key: {error}"))?;
        let id = key_id(&wire(pair.public_key().as_ref()))?;
        Ok(Self { pair, id })
    }

    /// The key's id: the SHA-256 of its public half as metadata writes it, in hexadecimal.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The public half as metadata writes it.
    pub(super) fn public(&self) -> Value {
        wire(self.pair.public_key().as_ref())
    }

    pub(super) fn sign(&self, bytes: &[u8]) -> Value {
        json!({ "keyid": self.id, "sig": hex(self.pair.sign(bytes).as_ref()) })
    }
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPair")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

// === impl PublicKey ===

impl PublicKey {
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(message, signature)
            .is_ok()
    }
}

fn wire(public: &[u8]) -> Value {
    json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": hex(public) } })
}

/// The id that goes with a key as metadata writes it.
pub(super) fn key_id(key: &Value) -> Result<String, String> {
    Ok(hex(&sha256(&canonical(key)?)))
}

/// The SHA-256 of `bytes`.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a text does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// `N` bytes from lower-case hexadecimal.
pub(super) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_written_signs_what_its_public_half_verifies() {
        let pair = KeyPair::from_pkcs8(&KeyPair::generate().unwrap()).unwrap();
        let signature = pair.sign(b"text");
        let bytes: [u8; 64] = from_hex(signature["sig"].as_str().unwrap()).unwrap();
        let public =
            PublicKey(from_hex(pair.public()["keyval"]["public"].as_str().unwrap()).unwrap());
        assert!(public.verifies(b"text", &bytes));
        assert!(!public.verifies(b"texT", &bytes));
        assert_eq!(pair.id(), key_id(&pair.public()).unwrap());
        assert!(KeyPair::from_pkcs8(b"not a key").is_err());
    }

    #[test]
    fn hexadecimal_is_read_as_it_is_written() {
        assert_eq!(hex(&[0, 0xab, 0xff]), "00abff");
        assert_eq!(from_hex::<3>("00abff"), Some([0, 0xab, 0xff]));
        assert_eq!(from_hex::<3>("00ABFF"), None);
        assert_eq!(from_hex::<3>("00abf"), None);
        assert_eq!(from_hex::<2>("00abff"), None);
    }
}
