//! What a node remembers of a feed between polls.

use galley_types::EventTime;
use serde::{Deserialize, Serialize};

use super::error::FeedError;
use super::metadata::{Envelope, Head, Naming, Role, Root, Targets};
use super::release::Release;

/// What a node remembers between polls: keep it in the transaction that installs what it names.
///
/// The texts are the metadata as it was verified. They are read again and not verified again:
/// whoever can write here can write the rows as well.
#[derive(Clone, Default, Serialize, Deserialize, PartialEq, Debug)]
pub struct Trusted {
    /// The root, the only one of the four that somebody must have vouched for.
    #[serde(with = "text")]
    pub root: Vec<u8>,
    /// The newest timestamp.
    #[serde(with = "text_option")]
    pub timestamp: Option<Vec<u8>>,
    /// The snapshot it names.
    #[serde(with = "text_option")]
    pub snapshot: Option<Vec<u8>>,
    /// The targets that names.
    #[serde(with = "text_option")]
    pub targets: Option<Vec<u8>>,
    /// The tag that the place gave the timestamp.
    pub tag: Option<String>,
    /// The newest signed time seen, in microseconds since the epoch: the clock is not believed when
    /// it says less.
    pub floor: i64,
}

/// What [`Trusted`] says, read.
pub(super) struct View {
    pub(super) root: Root,
    pub(super) timestamp: Option<Naming>,
    pub(super) snapshot: Option<Naming>,
    pub(super) targets: Option<Targets>,
}

// === impl Trusted ===

impl Trusted {
    /// Trusts a root: metadata that reached this node by a way that is trusted.
    ///
    /// # Errors
    /// It is no root, or not signed by its own keys.
    pub fn new(root_json: Vec<u8>) -> Result<Self, FeedError> {
        let envelope = Envelope::parse("the root", &root_json)?;
        let root = envelope.root()?;
        envelope.verify(root.keys(Role::Root)?, Role::Root)?;
        Ok(Self {
            root: root_json,
            ..Self::default()
        })
    }

    /// The version of the root that is trusted.
    ///
    /// # Errors
    /// The root is no root: what was kept is damaged.
    pub fn root_version(&self) -> Result<u64, FeedError> {
        Ok(self.view()?.root.head.version)
    }

    /// The release that is trusted, if one was seen.
    ///
    /// # Errors
    /// What was kept is damaged.
    pub fn release(&self) -> Result<Option<Release>, FeedError> {
        let view = self.view()?;
        let expires_at = view.expires_at();
        view.targets
            .map(|targets| Release::of("the targets kept", &targets, expires_at))
            .transpose()
    }

    pub(super) fn view(&self) -> Result<View, FeedError> {
        let naming = |bytes: &Option<Vec<u8>>, role: Role| {
            let Some(bytes) = bytes else {
                return Ok(None);
            };
            Envelope::parse(role.name(), bytes)?.naming(role).map(Some)
        };
        let targets = match &self.targets {
            Some(bytes) => Some(Envelope::parse("targets", bytes)?.targets()?),
            None => None,
        };
        Ok(View {
            root: Envelope::parse("root", &self.root)?.root()?,
            timestamp: naming(&self.timestamp, Role::Timestamp)?,
            snapshot: naming(&self.snapshot, Role::Snapshot)?,
            targets,
        })
    }
}

// === impl View ===

impl View {
    /// The first end of what is here.
    pub(super) fn expires_at(&self) -> EventTime {
        let heads = self.heads().map(|(_, head)| head.expires);
        heads.min().unwrap_or(EventTime(i64::MAX))
    }

    fn heads(&self) -> impl Iterator<Item = (Role, Head)> {
        let of = |naming: &Option<Naming>| naming.as_ref().map(|it| it.head);
        let targets = self.targets.as_ref().map(|targets| targets.head);
        [
            (Role::Root, Some(self.root.head)),
            (Role::Timestamp, of(&self.timestamp)),
            (Role::Snapshot, of(&self.snapshot)),
            (Role::Targets, targets),
        ]
        .into_iter()
        .filter_map(|(role, head)| Some((role, head?)))
    }
}

/// Metadata is text; it is kept as such rather than as a list of numbers.
mod text {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        let text = std::str::from_utf8(bytes).map_err(serde::ser::Error::custom)?;
        to.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        String::deserialize(from).map(String::into_bytes)
    }
}

/// The same where there may be none.
mod text_option {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(
        bytes: &Option<Vec<u8>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let text = bytes.as_deref().map(std::str::from_utf8).transpose();
        text.map_err(serde::ser::Error::custom)?.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(String::into_bytes))
    }
}
