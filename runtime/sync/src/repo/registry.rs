//! The registry a repo names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_saphyr::Spanned;

use super::wire::{Section, Source, Table, line};
use crate::error::Result;
use crate::files::local_path;
use crate::grpc::{GrpcAddress, GrpcTls};
use crate::remote::is_remote;

/// Where a registry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryPlace {
    /// A file of this machine.
    File(PathBuf),
    /// An object of a bucket or a web server, by its URL, which may hold credentials.
    Object(String),
    /// Feast's registry server.
    Server(GrpcAddress),
}

/// What a repo says of its registry.
pub(super) struct RegistrySettings {
    pub(super) place: RegistryPlace,
    pub(super) versioning: bool,
    pub(super) cache_ttl: Option<Duration>,
}

/// Feast's classes of registries in files, wherever these are.
const FILE_TYPES: [&str; 7] = [
    "file",
    "FileRegistryStore",
    "LocalRegistryStore",
    "S3RegistryStore",
    "GCSRegistryStore",
    "AzureRegistryStore",
    "AzBlobRegistryStore",
];

/// The registry's place, whether versions are on, and Feast's time to live of its copy.
pub(super) fn registry_of(
    dir: &Path,
    section: Spanned<Section>,
    source: &Source<'_>,
) -> Result<RegistrySettings> {
    let section_line = line(&section);
    let table = match section.value {
        Section::Word(path) => {
            source.check_text("registry", section_line, &path)?;
            return Ok(RegistrySettings {
                place: place(dir, &path, section_line, source)?,
                versioning: false,
                cache_ttl: None,
            });
        }
        Section::Table(table) => table,
    };
    let mut server = false;
    for kind in [&table.registry_type, &table.registry_store_type]
        .into_iter()
        .flatten()
    {
        source.check("registry", kind)?;
        // A class may be named with its module.
        let class = kind.value.rsplit('.').next().unwrap_or_default();
        if kind.value == "remote" {
            server = true;
        } else if !FILE_TYPES.contains(&class) {
            return Err(
                source.unsupported(line(kind), format!("a registry of type {}", kind.value))
            );
        }
    }
    let Some(path) = &table.path else {
        let reason = "give the path of the registry file, as in 'path: data/registry.db'";
        return Err(source.config("registry", section_line, reason.to_owned()));
    };
    source.check("registry", path)?;
    let place = if server {
        RegistryPlace::Server(server_of(dir, &table, path, source)?)
    } else {
        place(dir, &path.value, line(path), source)?
    };
    Ok(RegistrySettings {
        place,
        versioning: table.enable_online_feature_view_versioning,
        cache_ttl: table.cache_ttl_seconds.map(Duration::from_secs),
    })
}

fn place(dir: &Path, text: &str, line: u64, source: &Source<'_>) -> Result<RegistryPlace> {
    if text.is_empty() {
        return Err(source.config("registry", line, "the path is empty".to_owned()));
    }
    if let Some(path) = local_path(dir, text) {
        return Ok(RegistryPlace::File(path));
    }
    // Only the scheme: what follows may hold a password.
    let scheme = text.split_once("://").map_or(text, |(scheme, _)| scheme);
    let known = [
        "s3", "s3a", "gs", "gcs", "az", "azure", "abfs", "abfss", "adl", "http", "https",
    ];
    if is_remote(text) && known.contains(&scheme) {
        return Ok(RegistryPlace::Object(text.to_owned()));
    }
    Err(source.unsupported(line, format!("a registry at {scheme}://")))
}

fn server_of(
    dir: &Path,
    table: &Table,
    path: &Spanned<String>,
    source: &Source<'_>,
) -> Result<GrpcAddress> {
    let at = line(path);
    let file = |value: &str| -> Result<Option<PathBuf>> {
        source.check_text("registry", at, value)?;
        Ok((!value.is_empty()).then(|| dir.join(value)))
    };
    let ca_file = file(&table.cert.0)?;
    let identity = match (file(&table.client_cert.0)?, file(&table.client_key.0)?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            let reason = "give both client_cert and client_key, or neither";
            return Err(source.config("registry", at, reason.to_owned()));
        }
    };
    let is_tls = ca_file.is_some() || table.is_tls.0.eq_ignore_ascii_case("true");
    let tls = is_tls.then(|| GrpcTls {
        ca_file,
        identity,
        authority: (!table.authority.0.is_empty()).then(|| table.authority.0.clone()),
    });
    GrpcAddress::parse(&path.value, tls)
        .map_err(|error| source.config("registry", at, error.detail))
}
