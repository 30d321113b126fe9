//! The four roles' metadata: read, bounded and verified, never trusted before.

use std::collections::{BTreeMap, BTreeSet};

use galley_types::EventTime;
use serde::Deserialize;
use serde_json::Value;

use super::canonical::canonical;
use super::error::FeedError;
use super::key::{PublicKey, from_hex, key_id};

/// The major version of The Update Framework's specification that is read.
const SPEC_MAJOR: &str = "1";
/// Signatures of one file.
const SIGNATURES_MAX: usize = 64;
/// Keys of a root.
const KEYS_MAX: usize = 64;

/// The four roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Says which keys sign for whom.
    Root,
    /// Names the content.
    Targets,
    /// Names the targets' version.
    Snapshot,
    /// Names the snapshot's version; the one that is signed again and again.
    Timestamp,
}

/// Metadata whose signatures have not been looked at.
pub(super) struct Envelope {
    path: String,
    signatures: Vec<(String, Vec<u8>)>,
    signed: Value,
}

/// What all roles' metadata has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) version: u64,
    pub(super) expires: EventTime,
}

/// Which keys sign for whom.
#[derive(Clone, Debug)]
pub(super) struct Root {
    pub(super) head: Head,
    pub(super) roles: BTreeMap<Role, RoleKeys>,
}

/// The keys of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RoleKeys {
    pub(super) keys: BTreeMap<String, PublicKey>,
    pub(super) threshold: u32,
}

/// A file of metadata as another names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) version: u64,
    pub(super) length: u64,
    pub(super) sha256: [u8; 32],
}

/// Metadata of the timestamp or the snapshot role: it names one other file.
#[derive(Clone, Debug)]
pub(super) struct Naming {
    pub(super) head: Head,
    pub(super) named: Named,
    /// When it was signed, by the publisher's clock; only in the timestamp.
    pub(super) signed_at: Option<EventTime>,
}

/// Metadata of the targets role.
#[derive(Clone, Debug)]
pub(super) struct Targets {
    pub(super) head: Head,
    pub(super) galley: GalleyWire,
    pub(super) targets: BTreeMap<String, TargetWire>,
}

#[derive(Deserialize)]
struct EnvelopeWire {
    signatures: Vec<SignatureWire>,
    signed: Value,
}

#[derive(Deserialize)]
struct SignatureWire {
    keyid: String,
    sig: String,
}

#[derive(Deserialize)]
struct HeadWire {
    #[serde(rename = "_type")]
    kind: String,
    spec_version: String,
    version: u64,
    expires: String,
}

#[derive(Deserialize)]
struct RootWire {
    keys: BTreeMap<String, Value>,
    roles: BTreeMap<String, RoleWire>,
    consistent_snapshot: bool,
}

#[derive(Deserialize)]
struct KeyWire {
    keytype: String,
    scheme: String,
    keyval: KeyValueWire,
}

#[derive(Deserialize)]
struct KeyValueWire {
    public: String,
}

#[derive(Deserialize)]
struct RoleWire {
    keyids: Vec<String>,
    threshold: u32,
}

#[derive(Deserialize)]
struct NamingWire {
    meta: BTreeMap<String, NamedWire>,
    galley: Option<SignedAtWire>,
}

#[derive(Deserialize)]
struct SignedAtWire {
    signed_at: String,
}

#[derive(Deserialize)]
struct NamedWire {
    version: u64,
    length: u64,
    hashes: HashesWire,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct HashesWire {
    pub(super) sha256: String,
}

#[derive(Deserialize)]
struct TargetsWire {
    targets: BTreeMap<String, TargetWire>,
    galley: Option<GalleyWire>,
}

/// What a release says of itself.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct GalleyWire {
    pub(super) format: u64,
    pub(super) published_at: String,
    pub(super) project: Option<String>,
}

/// One file of a release.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct TargetWire {
    pub(super) length: u64,
    pub(super) hashes: HashesWire,
    pub(super) custom: Option<Value>,
}

// === impl Role ===

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Root, Self::Targets, Self::Snapshot, Self::Timestamp];

    /// Its name in metadata.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Targets => "targets",
            Self::Snapshot => "snapshot",
            Self::Timestamp => "timestamp",
        }
    }
}

// === impl Envelope ===

impl Envelope {
    /// Parses metadata. What is verified later is what was parsed here, so it does not matter how
    /// the file was written.
    pub(super) fn parse(path: &str, bytes: &[u8]) -> Result<Self, FeedError> {
        let bad = |reason: String| FeedError::BadJson {
            path: path.to_owned(),
            reason,
        };
        let wire: EnvelopeWire =
            serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
        if wire.signatures.len() > SIGNATURES_MAX {
            return Err(FeedError::TooMany {
                what: "signatures of one file",
                count: wire.signatures.len() as u64,
                max: SIGNATURES_MAX as u64,
            });
        }
        let signatures = wire.signatures.into_iter();
        Ok(Self {
            path: path.to_owned(),
            signatures: signatures
                // One that is no signature at all counts as a wrong one.
                .map(|it| {
                    (
                        it.keyid,
                        from_hex::<64>(&it.sig).map_or_else(Vec::new, Vec::from),
                    )
                })
                .collect(),
            signed: wire.signed,
        })
    }

    /// Checks that enough keys of the role signed this.
    pub(super) fn verify(&self, keys: &RoleKeys, role: Role) -> Result<(), FeedError> {
        let message = canonical(&self.signed).map_err(|reason| FeedError::BadJson {
            path: self.path.clone(),
            reason,
        })?;
        let mut known = false;
        let mut valid = BTreeSet::new();
        for (id, signature) in &self.signatures {
            if let Some(key) = keys.keys.get(id) {
                known = true;
                if key.verifies(&message, signature) {
                    valid.insert(key.0);
                }
            }
        }
        if !known {
            return Err(FeedError::UnknownKey {
                path: self.path.clone(),
                role: role.name(),
            });
        }
        let valid = u32::try_from(valid.len()).unwrap_or(u32::MAX);
        if valid < keys.threshold {
            return Err(FeedError::BadSignature {
                path: self.path.clone(),
                role: role.name(),
                valid,
                threshold: keys.threshold,
            });
        }
        Ok(())
    }

    /// The ids of the keys that signed, whether rightly or not.
    pub(super) fn signers(&self) -> impl Iterator<Item = &str> {
        self.signatures.iter().map(|(id, _)| id.as_str())
    }

    fn wire<T: serde::de::DeserializeOwned>(&self) -> Result<T, FeedError> {
        T::deserialize(&self.signed)
            .map_err(|error| FeedError::field(&self.path, "signed", error.to_string()))
    }

    fn head(&self, role: Role) -> Result<Head, FeedError> {
        let wire: HeadWire = self.wire()?;
        if wire.kind != role.name() {
            return Err(FeedError::WrongType {
                path: self.path.clone(),
                expected: role.name(),
                got: wire.kind.chars().take(40).collect(),
            });
        }
        if wire.spec_version.split('.').next() != Some(SPEC_MAJOR) {
            return Err(FeedError::SpecVersion {
                path: self.path.clone(),
                format: "The Update Framework",
                expected: "1.x",
                got: wire.spec_version.chars().take(40).collect(),
            });
        }
        if wire.version == 0 {
            return Err(FeedError::field(
                &self.path,
                "version",
                "versions begin with 1",
            ));
        }
        Ok(Head {
            version: wire.version,
            expires: self.time("expires", &wire.expires)?,
        })
    }

    /// A time as metadata writes it: whole seconds in UTC.
    fn time(&self, field: &str, text: &str) -> Result<EventTime, FeedError> {
        let shaped = text.len() == 20 && text.ends_with('Z');
        EventTime::parse(text)
            .ok()
            .filter(|_| shaped)
            .ok_or_else(|| {
                FeedError::field(
                    &self.path,
                    field,
                    "a time such as 2026-03-01T12:00:00Z is expected",
                )
            })
    }

    /// Reads this as a root. Who signed it is not looked at.
    pub(super) fn root(&self) -> Result<Root, FeedError> {
        let head = self.head(Role::Root)?;
        let wire: RootWire = self.wire()?;
        let bad = |field: &str, reason: &str| FeedError::field(&self.path, field, reason);
        if !wire.consistent_snapshot {
            return Err(bad(
                "consistent_snapshot",
                "files whose names have no version cannot be replaced all at once",
            ));
        }
        if wire.keys.len() > KEYS_MAX {
            return Err(FeedError::TooMany {
                what: "keys in its root",
                count: wire.keys.len() as u64,
                max: KEYS_MAX as u64,
            });
        }
        let mut keys = BTreeMap::new();
        for (id, key) in &wire.keys {
            let right = key_id(key).is_ok_and(|right| right == *id);
            if !right {
                return Err(bad("keys", "a key does not stand under its own id"));
            }
            // Keys of other kinds cannot sign anything here.
            if let Ok(key) = KeyWire::deserialize(key)
                && key.keytype == "ed25519"
                && key.scheme == "ed25519"
                && let Some(public) = from_hex(&key.keyval.public)
            {
                keys.insert(id.clone(), PublicKey(public));
            }
        }
        let mut roles = BTreeMap::new();
        for role in Role::ALL {
            let entry = wire
                .roles
                .get(role.name())
                .ok_or_else(|| bad("roles", "one of the four roles is missing"))?;
            if entry.threshold == 0 || entry.keyids.len() > KEYS_MAX {
                return Err(bad("roles", "a threshold of nothing, or too many keys"));
            }
            let own = entry.keyids.iter();
            let own = own.filter_map(|id| Some((id.clone(), *keys.get(id)?)));
            roles.insert(
                role,
                RoleKeys {
                    keys: own.collect(),
                    threshold: entry.threshold,
                },
            );
        }
        Ok(Root { head, roles })
    }

    /// Reads this as a timestamp or a snapshot.
    pub(super) fn naming(&self, role: Role) -> Result<Naming, FeedError> {
        let head = self.head(role)?;
        let wire: NamingWire = self.wire()?;
        let (name, what) = match role {
            Role::Timestamp => ("snapshot.json", "snapshot metadata"),
            _ => ("targets.json", "targets metadata"),
        };
        let named = wire
            .meta
            .get(name)
            .ok_or(FeedError::MissingTarget { what })?;
        let bad = |field: &str, reason: &str| FeedError::field(&self.path, field, reason);
        if named.version == 0 {
            return Err(bad("meta.version", "versions begin with 1"));
        }
        let signed_at = match &wire.galley {
            Some(galley) => Some(self.time("galley.signed_at", &galley.signed_at)?),
            None => None,
        };
        Ok(Naming {
            head,
            named: Named {
                version: named.version,
                length: named.length,
                sha256: from_hex(&named.hashes.sha256)
                    .ok_or_else(|| bad("meta.hashes", "a SHA-256 in hexadecimal is expected"))?,
            },
            signed_at,
        })
    }

    /// Reads this as targets.
    pub(super) fn targets(&self) -> Result<Targets, FeedError> {
        let head = self.head(Role::Targets)?;
        let wire: TargetsWire = self.wire()?;
        let galley = wire.galley.ok_or_else(|| {
            FeedError::field(
                &self.path,
                "galley",
                "this is no feed of Galley's, it has no such field",
            )
        })?;
        if galley.format != super::FORMAT {
            return Err(FeedError::SpecVersion {
                path: self.path.clone(),
                format: "Galley's feed",
                expected: "1",
                got: galley.format.to_string(),
            });
        }
        Ok(Targets {
            head,
            galley,
            targets: wire.targets,
        })
    }
}

// === impl Root ===

impl Root {
    /// The keys of a role; every root that was read has all four.
    pub(super) fn keys(&self, role: Role) -> Result<&RoleKeys, FeedError> {
        self.roles
            .get(&role)
            .ok_or(FeedError::MissingTarget { what: "a role" })
    }

    /// Whether `next` no longer trusts a key that this root trusted for `role`.
    pub(super) fn drops_key(&self, next: &Self, role: Role) -> bool {
        let ids = |root: &Self| -> BTreeSet<String> {
            let keys = root.roles.get(&role);
            keys.map_or_else(BTreeSet::new, |keys| keys.keys.keys().cloned().collect())
        };
        !ids(self).is_subset(&ids(next))
    }
}
