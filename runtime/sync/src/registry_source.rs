//! Where registries are read from, again and again.

use std::path::{Path, PathBuf};

use bytes::Buf as _;
use galley_node::Registry;
use prost::Message;
use tonic::Status;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;

use crate::error::{Error, Result};
use crate::files::read_bounded;
use crate::follow::Stamp;
use crate::grpc::{GrpcAddress, failed, request};
use crate::remote::{Blocking, RemoteConfig, RemoteError, RemoteErrorKind, RemoteFile};
use crate::repo::RegistryPlace;

/// A place that has a registry.
pub(crate) trait RegistrySource: Send {
    /// The registry's bytes; `None` when they are what they were at the last call, unless they are
    /// wanted `again`.
    ///
    /// # Errors
    /// [`Error::RegistryMissing`], [`Error::RegistryAway`], [`Error::TooLarge`], [`Error::Io`].
    fn read(&mut self, again: bool) -> Result<Option<Vec<u8>>>;

    /// The file of this machine it is: one to be watched, that others may be just writing.
    fn file(&self) -> Option<&Path> {
        None
    }
}

/// What reads the registry at `place`.
pub(crate) fn open(
    place: &RegistryPlace,
    remote: &RemoteConfig,
) -> Result<Box<dyn RegistrySource>> {
    let away = |source| Error::RegistryAway { source };
    Ok(match place {
        RegistryPlace::File(path) => Box::new(FileSource {
            path: path.clone(),
            seen: None,
        }),
        RegistryPlace::Object(url) => Box::new(ObjectSource {
            file: RemoteFile::open(url, remote).map_err(away)?,
            tag: None,
        }),
        RegistryPlace::Server(address) => Box::new(ServerSource {
            blocking: Blocking::new(&address.location()).map_err(away)?,
            address: address.clone(),
            remote: remote.clone(),
            seen: None,
        }),
    })
}

/// Where `place` is, for messages.
pub(crate) fn location(place: &RegistryPlace) -> String {
    match place {
        RegistryPlace::File(path) => path.display().to_string(),
        RegistryPlace::Object(url) => match RemoteFile::open(url, &RemoteConfig::default()) {
            Ok(file) => file.location(),
            Err(error) => error.location,
        },
        RegistryPlace::Server(address) => address.location(),
    }
}

struct FileSource {
    path: PathBuf,
    /// What the file looked like when it was last read; `None` within when it was not there.
    seen: Option<Option<Stamp>>,
}

struct ObjectSource {
    file: RemoteFile,
    tag: Option<String>,
}

struct ServerSource {
    address: GrpcAddress,
    remote: RemoteConfig,
    blocking: Blocking,
    /// What was last read, and whether it was read twice.
    seen: Option<(Version, bool)>,
}

/// What tells one registry of a server from the next.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    id: String,
    updated: Option<Moment>,
    length: usize,
}

/// The fields of `feast.core.Registry` that change with every commit.
#[derive(Clone, PartialEq, Message)]
struct Head {
    #[prost(string, tag = "4")]
    version_id: String,
    #[prost(message, optional, tag = "5")]
    last_updated: Option<Moment>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct Moment {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

// === impl FileSource ===

impl RegistrySource for FileSource {
    fn read(&mut self, again: bool) -> Result<Option<Vec<u8>>> {
        let stamp = Stamp::of(&self.path);
        if !again && self.seen.as_ref() == Some(&stamp) {
            return Ok(None);
        }
        self.seen = Some(stamp);
        match read_bounded(&self.path, Registry::BYTES_MAX as u64) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::RegistryMissing {
                    path: self.path.clone(),
                })
            }
            read => read.map(Some),
        }
    }

    fn file(&self) -> Option<&Path> {
        Some(&self.path)
    }
}

// === impl ObjectSource ===

impl RegistrySource for ObjectSource {
    fn read(&mut self, again: bool) -> Result<Option<Vec<u8>>> {
        let unless = self.tag.take().filter(|_| !again);
        let whole = self
            .file
            .read_whole(unless.as_deref(), Registry::BYTES_MAX as u64)
            .map_err(|source| Error::RegistryAway { source })?;
        Ok(match whole {
            None => {
                self.tag = unless;
                None
            }
            Some(whole) => {
                self.tag = whole.tag;
                Some(whole.bytes)
            }
        })
    }
}

// === impl ServerSource ===

impl ServerSource {
    fn fetch(&self) -> std::result::Result<Vec<u8>, RemoteError> {
        let location = self.address.location();
        self.blocking.wait(async {
            let channel = self.address.connect(&self.remote).await?;
            let mut client = Grpc::new(channel).max_decoding_message_size(Registry::BYTES_MAX);
            let failed = |status| failed(&location, &status);
            client.ready().await.map_err(|error| {
                let detail = crate::error::chain(&error);
                RemoteError::new(RemoteErrorKind::Unreachable, &location, detail)
            })?;
            let path = PathAndQuery::from_static("/feast.registry.RegistryServer/Proto");
            let call = client.unary(request((), &self.remote, &location)?, path, Raw);
            // The server puts the registry together for each call.
            match tokio::time::timeout(self.remote.read_timeout, call).await {
                Ok(answer) => Ok(answer.map_err(failed)?.into_inner()),
                Err(_) => {
                    let seconds = self.remote.read_timeout.as_secs();
                    let detail = format!("no answer within {seconds} s");
                    Err(RemoteError::new(
                        RemoteErrorKind::Unreachable,
                        &location,
                        detail,
                    ))
                }
            }
        })
    }
}

impl RegistrySource for ServerSource {
    fn read(&mut self, again: bool) -> Result<Option<Vec<u8>>> {
        let bytes = self
            .fetch()
            .map_err(|source| Error::RegistryAway { source })?;
        let version = Head::decode(bytes.as_slice()).ok().and_then(|head| {
            let known = !head.version_id.is_empty() || head.last_updated.is_some();
            known.then_some(Version {
                id: head.version_id,
                updated: head.last_updated,
                length: bytes.len(),
            })
        });
        let before = self.seen.take();
        let Some(version) = version else {
            return Ok(Some(bytes));
        };
        // The server lists one kind of object after the other and names the version at the end: a
        // change in between may show in part only. So a version counts once it was read twice.
        let (same, settled) = match before {
            Some((seen, settled)) if seen == version => (true, settled),
            _ => (false, false),
        };
        self.seen = Some((version, same));
        Ok((again || !settled).then_some(bytes))
    }
}

/// Asks with `google.protobuf.Empty`, and keeps the answer as its bytes.
#[derive(Clone, Copy, Debug)]
struct Raw;

// === impl Raw ===

impl Codec for Raw {
    type Encode = ();
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = ();
    type Error = Status;

    fn encode(&mut self, (): (), _: &mut EncodeBuf<'_>) -> std::result::Result<(), Status> {
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(
        &mut self,
        message: &mut DecodeBuf<'_>,
    ) -> std::result::Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; message.remaining()];
        message.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}
