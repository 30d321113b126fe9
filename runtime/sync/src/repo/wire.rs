//! `feature_store.yaml` as it is written.

use std::path::Path;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde_saphyr::Spanned;

use crate::error::{Error, Result};
use crate::variables::references;

/// The keys of `feature_store.yaml` that concern a node.
#[derive(Deserialize)]
pub(super) struct Wire {
    pub(super) project: Option<Spanned<String>>,
    pub(super) registry: Option<Spanned<Section>>,
    pub(super) provider: Option<String>,
    pub(super) online_store: Option<Spanned<Section>>,
    pub(super) offline_store: Option<Spanned<Section>>,
    pub(super) entity_key_serialization_version: Option<i64>,
    pub(super) auth: Option<Spanned<Section>>,
    #[serde(flatten)]
    pub(super) rest: std::collections::BTreeMap<String, serde::de::IgnoredAny>,
}

/// A setting that may be written as one word or as a table.
pub(super) enum Section {
    Word(String),
    Table(Box<Table>),
}

/// The fields of the tables that concern a node; others are ignored.
#[derive(Default, Deserialize)]
pub(super) struct Table {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) path: Option<Spanned<String>>,
    pub(super) registry_type: Option<Spanned<String>>,
    pub(super) registry_store_type: Option<Spanned<String>>,
    pub(super) cache_ttl_seconds: Option<u64>,
    #[serde(default)]
    pub(super) enable_online_feature_view_versioning: bool,
    #[serde(default)]
    pub(super) cert: Loose,
    #[serde(default)]
    pub(super) is_tls: Loose,
    #[serde(default)]
    pub(super) client_cert: Loose,
    #[serde(default)]
    pub(super) client_key: Loose,
    #[serde(default)]
    pub(super) authority: Loose,
    #[serde(default)]
    pub(super) scheme: Loose,
    #[serde(default)]
    pub(super) host: Loose,
    #[serde(default)]
    pub(super) port: Loose,
    #[serde(default)]
    pub(super) token: Loose,
    #[serde(default)]
    pub(super) token_env_var: Loose,
    #[serde(default)]
    pub(super) token_refresh_margin_seconds: Loose,
    #[serde(default)]
    pub(super) user_token: Loose,
    #[serde(default)]
    pub(super) auth_discovery_url: Loose,
    #[serde(default)]
    pub(super) client_id: Loose,
    #[serde(default)]
    pub(super) client_secret: Loose,
    #[serde(default)]
    pub(super) username: Loose,
    #[serde(default)]
    pub(super) password: Loose,
    #[serde(default)]
    pub(super) verify_ssl: Loose,
    #[serde(default)]
    pub(super) ca_cert_path: Loose,
}

/// A scalar of whatever type, as text; empty for anything else. Settings of stores that are of no
/// concern here may have the same names and other types.
#[derive(Default)]
pub(super) struct Loose(pub(super) String);

/// The file while it is being read, for error messages.
pub(super) struct Source<'a> {
    pub(super) file: &'a Path,
    pub(super) unset: &'a [String],
}

pub(super) fn parse(file: &Path, text: &str) -> Result<Wire> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| Error::Config {
        file: file.to_owned(),
        line: error.location().map_or(0, |location| location.line()),
        key: "file",
        reason: format!("not the YAML of a Feast repo: {error}"),
    })
}

pub(super) fn line<T>(spanned: &Spanned<T>) -> u64 {
    spanned.referenced.line()
}

// === impl Loose ===

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Loose;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a scalar")
            }
            fn visit_str<E>(self, text: &str) -> std::result::Result<Loose, E> {
                Ok(Loose(text.to_owned()))
            }
            fn visit_bool<E>(self, value: bool) -> std::result::Result<Loose, E> {
                Ok(Loose(value.to_string()))
            }
            fn visit_i64<E>(self, value: i64) -> std::result::Result<Loose, E> {
                Ok(Loose(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> std::result::Result<Loose, E> {
                Ok(Loose(value.to_string()))
            }
            fn visit_f64<E>(self, value: f64) -> std::result::Result<Loose, E> {
                Ok(Loose(value.to_string()))
            }
            fn visit_unit<E>(self) -> std::result::Result<Loose, E> {
                Ok(Loose::default())
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut items: A,
            ) -> std::result::Result<Loose, A::Error> {
                while items.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                Ok(Loose::default())
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut entries: A,
            ) -> std::result::Result<Loose, A::Error> {
                let mut next =
                    || entries.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>();
                while next()?.is_some() {}
                Ok(Loose::default())
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

// === impl Source ===

impl Source<'_> {
    pub(super) fn config(&self, key: &'static str, line: u64, reason: String) -> Error {
        Error::Config {
            file: self.file.to_owned(),
            line,
            key,
            reason,
        }
    }

    pub(super) fn missing(&self, key: &'static str, way_out: &str) -> Error {
        self.config(key, 0, format!("not given: {way_out}"))
    }

    pub(super) fn unsupported(&self, line: u64, found: String) -> Error {
        Error::RegistryUnsupported {
            file: self.file.to_owned(),
            line,
            found,
        }
    }

    pub(super) fn check(&self, key: &'static str, value: &Spanned<String>) -> Result<()> {
        self.check_text(key, line(value), &value.value)
    }

    /// Refuses a value that still names a variable that is not set.
    pub(super) fn check_text(&self, key: &'static str, line: u64, value: &str) -> Result<()> {
        let unset = references(value)
            .find(|reference| self.unset.iter().any(|name| name == reference.name));
        match unset {
            None => Ok(()),
            Some(reference) => Err(Error::VariableUnset {
                file: self.file.to_owned(),
                line,
                key,
                variable: reference.name.to_owned(),
            }),
        }
    }
}

// === impl Section ===

impl<'de> Deserialize<'de> for Section {
    fn deserialize<D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Section;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a word or a table")
            }
            fn visit_str<E>(self, text: &str) -> std::result::Result<Section, E> {
                Ok(Section::Word(text.to_owned()))
            }
            fn visit_unit<E>(self) -> std::result::Result<Section, E> {
                Ok(Section::Table(Box::default()))
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                map: A,
            ) -> std::result::Result<Section, A::Error> {
                Box::deserialize(MapAccessDeserializer::new(map)).map(Section::Table)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
