//! The folder where a publisher keeps a feed's keys and roots.
//!
//! ```text
//! <role>.<first 12 digits of the key's id>.pk8    a private key, open to its owner only
//! <n>.root.json                                   every root so far; nodes are given one of them
//! ```
//!
//! Keys of the root may lie in several such folders: each signs with what it has.

mod files;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use galley_types::EventTime;
use serde_json::Value;

use self::files::{io, keys_error, list, make_private, write_private, write_public};
use super::error::FeedError;
use super::key::KeyPair;
use super::metadata::{Envelope, Role, Root};
use super::poll::{METADATA_BYTES_MAX, successor};
use super::sign::{self, Stamp};
use crate::error::{Result, chain};
use crate::files::read_bounded;

/// Bytes of a private key's file.
const KEY_BYTES_MAX: u64 = 1024;
/// Keys a root may be signed by.
pub const ROOT_KEYS_MAX: u32 = 16;
/// How long a root is good for.
const ROOT_LIFE: i64 = 365 * 24 * 3_600_000_000;

/// A folder of keys and roots.
#[derive(Debug)]
pub struct Keyring {
    dir: PathBuf,
    /// Every root, the oldest first.
    roots: Vec<RootFile>,
    keys: Vec<StoredKey>,
}

/// A root as it lies in the folder.
#[derive(Debug)]
struct RootFile {
    version: u64,
    bytes: Vec<u8>,
    root: Root,
}

/// A private key in the folder.
#[derive(Debug)]
struct StoredKey {
    role: Role,
    path: PathBuf,
    pair: KeyPair,
}

/// What is asked of a new keyring.
#[derive(Clone, Copy, Debug)]
pub struct NewKeyring {
    /// Keys of the root, 1 to [`ROOT_KEYS_MAX`].
    pub root_keys: u32,
    /// How many of them must sign a root.
    pub threshold: u32,
}

/// One key of a role, for those who look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyShown {
    /// The role it signs for.
    pub role: Role,
    /// Its id.
    pub id: String,
    /// Its file, when the private half is in the folder.
    pub file: Option<PathBuf>,
    /// Whether the newest root trusts it.
    pub trusted: bool,
}

/// What a folder of keys holds.
#[derive(Clone, Debug)]
pub struct KeyringShown {
    /// The version of the newest root.
    pub root_version: u64,
    /// Its file.
    pub root_file: PathBuf,
    /// When it expires.
    pub expires_at: EventTime,
    /// What it still lacks to be a root nodes believe in.
    pub missing: Option<String>,
    /// How many of the root's keys must sign.
    pub threshold: u32,
    /// Keys that are trusted, and keys that are here.
    pub keys: Vec<KeyShown>,
}

// === impl Keyring ===

impl Keyring {
    /// Makes a folder of new keys and their first root.
    ///
    /// # Errors
    /// [`crate::Error::Keys`] when there are keys in it already, [`crate::Error::Io`].
    pub fn create(dir: &Path, new: NewKeyring, now: EventTime) -> Result<Self> {
        let bad = |reason: String| keys_error(dir, reason);
        let fits = (1..=ROOT_KEYS_MAX).contains(&new.root_keys)
            && (1..=new.root_keys).contains(&new.threshold);
        if !fits {
            return Err(bad(format!(
                "{} keys of which {} must sign cannot be: at most {ROOT_KEYS_MAX} keys, and a \
                 threshold of 1 up to their number",
                new.root_keys, new.threshold
            )));
        }
        let there = dir.try_exists().map_err(io("look at", dir))?;
        if there && !list(dir)?.is_empty() {
            return Err(bad(
                "the folder is not empty: keys are made in a new one, so that none is overwritten"
                    .to_owned(),
            ));
        }
        make_private(dir)?;
        let mut ring = Self {
            dir: dir.to_owned(),
            roots: Vec::new(),
            keys: Vec::new(),
        };
        let mut roles = Vec::new();
        for role in Role::ALL {
            let (count, threshold) = match role {
                Role::Root => (new.root_keys, new.threshold),
                _ => (1, 1),
            };
            let mut public = Vec::new();
            for _ in 0..count {
                public.push(ring.generate(role)?);
            }
            roles.push((role, public, threshold));
        }
        let body = sign::root(stamp(1, now), &roles).map_err(bad)?;
        ring.write_root(1, &body, Vec::new())?;
        Ok(ring)
    }

    /// Reads a folder of keys.
    ///
    /// # Errors
    /// [`crate::Error::Keys`], [`crate::Error::Feed`] for a root that is none, [`crate::Error::Io`].
    pub fn open(dir: &Path) -> Result<Self> {
        let mut ring = Self {
            dir: dir.to_owned(),
            roots: Vec::new(),
            keys: Vec::new(),
        };
        for path in list(dir)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if let Some(version) = name.strip_suffix(".root.json") {
                let Ok(version) = version.parse() else {
                    continue;
                };
                let bytes = read_bounded(&path, METADATA_BYTES_MAX)?;
                let root = Envelope::parse(&name, &bytes)?.root()?;
                if root.head.version != version {
                    return Err(keys_error(
                        &path,
                        format!("it says it is version {}", root.head.version),
                    ));
                }
                ring.roots.push(RootFile {
                    version,
                    bytes,
                    root,
                });
            } else if let Some(name) = name.strip_suffix(".pk8") {
                let role = Role::ALL
                    .into_iter()
                    .find(|role| name.split('.').next() == Some(role.name()));
                let Some(role) = role else {
                    continue;
                };
                let bytes = read_bounded(&path, KEY_BYTES_MAX)?;
                let pair =
                    KeyPair::from_pkcs8(&bytes).map_err(|reason| keys_error(&path, reason))?;
                ring.keys.push(StoredKey { role, path, pair });
            }
        }
        ring.roots.sort_by_key(|root| root.version);
        let gapless = ring
            .roots
            .iter()
            .zip(1_u64..)
            .all(|(root, version)| root.version == version);
        if ring.roots.is_empty() || !gapless {
            return Err(keys_error(
                dir,
                "there is no gapless row of roots from 1.root.json on: make keys with 'galley keys \
                 init', or copy the roots that are missing from the feed's metadata folder"
                    .to_owned(),
            ));
        }
        Ok(ring)
    }

    /// Replaces the keys of a role by a new one (or one of several, whose id begins with `replace`)
    /// and writes the root that says so.
    ///
    /// # Errors
    /// [`crate::Error::Keys`], [`crate::Error::Io`].
    pub fn rotate(&mut self, role: Role, replace: Option<&str>, now: EventTime) -> Result<()> {
        self.complete()?;
        let newest = self.newest()?;
        let version = newest.version + 1;
        let mut roles = roles_of(newest)?;
        let dir = self.dir.clone();
        let entry = roles.iter_mut().find(|(it, ..)| *it == role);
        let Some((_, public, _)) = entry else {
            return Err(keys_error(&dir, "the root lacks a role".to_owned()));
        };
        let chosen: Vec<usize> = public
            .iter()
            .enumerate()
            .filter(|(_, key)| {
                let id = super::key::key_id(key).unwrap_or_default();
                replace.is_none_or(|prefix| id.starts_with(prefix))
            })
            .map(|(index, _)| index)
            .collect();
        let [index] = chosen.as_slice() else {
            return Err(keys_error(
                &dir,
                format!(
                    "{} keys of {} fit: name the one to replace with --key and the beginning of \
                     its id ('galley keys show' lists them)",
                    chosen.len(),
                    role.name()
                ),
            ));
        };
        let new = self.generate(role)?;
        if let Some(place) = public.get_mut(*index) {
            *place = new;
        }
        let body = sign::root(stamp(version, now), &roles).map_err(|it| keys_error(&dir, it))?;
        self.write_root(version, &body, Vec::new())
    }

    /// Signs with the root keys that are here. A root that has all its signatures gets a successor
    /// that differs in when it expires.
    ///
    /// # Errors
    /// [`crate::Error::Keys`] when no key here could add anything, [`crate::Error::Io`].
    pub fn sign_root(&mut self, now: EventTime) -> Result<()> {
        let newest = self.newest()?;
        if self.complete().is_ok() {
            let roles = roles_of(newest)?;
            let version = newest.version + 1;
            let body = sign::root(stamp(version, now), &roles);
            let body = body.map_err(|reason| keys_error(&self.dir, reason))?;
            return self.write_root(version, &body, Vec::new());
        }
        let version = newest.version;
        let wire: Value = serde_json::from_slice(&newest.bytes)
            .map_err(|error| keys_error(&self.dir, error.to_string()))?;
        let before = wire.get("signatures").and_then(Value::as_array);
        let before = before.cloned().unwrap_or_default();
        let body = wire.get("signed").cloned().unwrap_or_default();
        let count = before.len();
        self.roots.pop();
        self.write_root(version, &body, before)?;
        let newest = self.newest()?;
        let now_signed = Envelope::parse("the root", &newest.bytes)?
            .signers()
            .count();
        if now_signed == count {
            return Err(keys_error(
                &self.dir,
                format!(
                    "no root key here has not signed version {version} yet: take {version}.root.json \
                     to a folder with another one"
                ),
            ));
        }
        Ok(())
    }

    /// What is here, to be shown.
    ///
    /// # Errors
    /// There is no root.
    pub fn show(&self) -> Result<KeyringShown> {
        let newest = self.newest()?;
        let mut keys = Vec::new();
        for (role, own) in &newest.root.roles {
            for id in own.keys.keys() {
                let stored = self.keys.iter().find(|key| key.pair.id() == id);
                keys.push(KeyShown {
                    role: *role,
                    id: id.clone(),
                    file: stored.map(|key| key.path.clone()),
                    trusted: true,
                });
            }
        }
        for key in &self.keys {
            if keys.iter().all(|shown| shown.id != key.pair.id()) {
                keys.push(KeyShown {
                    role: key.role,
                    id: key.pair.id().to_owned(),
                    file: Some(key.path.clone()),
                    trusted: false,
                });
            }
        }
        Ok(KeyringShown {
            root_version: newest.version,
            root_file: self.root_path(newest.version),
            expires_at: newest.root.head.expires,
            missing: self.complete().err().map(|error| chain(&error)),
            threshold: newest.root.keys(Role::Root)?.threshold,
            keys,
        })
    }

    /// The roots from version 1 on.
    pub(super) fn roots(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.roots
            .iter()
            .map(|root| (root.version, root.bytes.as_slice()))
    }

    /// The newest root.
    pub(super) fn root(&self) -> Result<&Root> {
        Ok(&self.newest()?.root)
    }

    /// The private keys that the newest root trusts for a role.
    pub(super) fn signers(&self, role: Role) -> Result<Vec<&KeyPair>> {
        let own = self.newest()?.root.keys(role)?;
        let here = self.keys.iter().map(|key| &key.pair);
        let signers: Vec<_> = here
            .filter(|pair| own.keys.contains_key(pair.id()))
            .collect();
        if signers.len() < own.threshold as usize {
            return Err(keys_error(
                &self.dir,
                format!(
                    "{} of the {} keys that must sign {} metadata are here",
                    signers.len(),
                    own.threshold,
                    role.name()
                ),
            ));
        }
        Ok(signers)
    }

    /// Checks that the newest root has the signatures it needs.
    pub(super) fn complete(&self) -> Result<()> {
        let newest = self.newest()?;
        let path = format!("{}.root.json", newest.version);
        let before = self.roots.iter().rev().nth(1);
        let checked = match before {
            Some(before) => successor(&path, &before.root, &newest.bytes).map(drop),
            None => Envelope::parse(&path, &newest.bytes)
                .and_then(|it| it.verify(newest.root.keys(Role::Root)?, Role::Root)),
        };
        checked.map_err(|error| match error {
            FeedError::RootChain { .. } | FeedError::BadSignature { .. } => keys_error(
                &self.dir,
                format!(
                    "{path} lacks signatures ({error}): copy it to where the other root keys are and \
                     run 'galley keys sign-root' there"
                ),
            ),
            error => error.into(),
        })
    }

    fn newest(&self) -> Result<&RootFile> {
        let none = || keys_error(&self.dir, "there is no root".to_owned());
        self.roots.last().ok_or_else(none)
    }

    fn root_path(&self, version: u64) -> PathBuf {
        self.dir.join(format!("{version}.root.json"))
    }

    /// Signs a root with all keys here that it or the one before it trusts, and writes it.
    fn write_root(&mut self, version: u64, body: &Value, mut signatures: Vec<Value>) -> Result<()> {
        let failed = |reason: String| keys_error(&self.dir, reason);
        let message = super::canonical::canonical(body).map_err(failed)?;
        let unsigned = sign::envelope(body, &[]);
        let root = Envelope::parse("the new root", &unsigned)?.root()?;
        let before = self.roots.last().map(|before| &before.root);
        for key in &self.keys {
            let id = key.pair.id();
            let trusts = |root: &Root| {
                let own = root.keys(Role::Root);
                own.is_ok_and(|own| own.keys.contains_key(id))
            };
            let signed = signatures
                .iter()
                .any(|it| it.get("keyid").is_some_and(|it| it == id));
            if !signed && (trusts(&root) || before.is_some_and(trusts)) {
                signatures.push(key.pair.sign(&message));
            }
        }
        let bytes = sign::envelope(body, &signatures);
        let path = self.root_path(version);
        write_public(&self.dir, &path, &bytes)?;
        self.roots.push(RootFile {
            version,
            bytes,
            root,
        });
        Ok(())
    }

    /// A new key of a role, written; its public half.
    fn generate(&mut self, role: Role) -> Result<Value> {
        let failed = |reason: String| keys_error(&self.dir, reason);
        let document = KeyPair::generate().map_err(failed)?;
        let pair = KeyPair::from_pkcs8(&document).map_err(failed)?;
        let id: String = pair.id().chars().take(12).collect();
        let path = self.dir.join(format!("{}.{id}.pk8", role.name()));
        write_private(&path, &document)?;
        let public = pair.public();
        self.keys.push(StoredKey { role, path, pair });
        Ok(public)
    }
}

/// The roles of a root as they are written.
fn roles_of(root: &RootFile) -> Result<Vec<(Role, Vec<Value>, u32)>> {
    let wire: Value = serde_json::from_slice(&root.bytes).map_err(|error| FeedError::BadJson {
        path: format!("{}.root.json", root.version),
        reason: error.to_string(),
    })?;
    let keys = wire.pointer("/signed/keys");
    let roles = root.root.roles.iter();
    Ok(roles
        .map(|(role, own)| {
            let ids = own.keys.keys();
            let public = ids.filter_map(|id| keys?.get(id).cloned());
            (*role, public.collect(), own.threshold)
        })
        .collect())
}

fn stamp(version: u64, now: EventTime) -> Stamp {
    Stamp {
        version,
        expires: EventTime(now.0.saturating_add(ROOT_LIFE)),
    }
}
