//! Where registries are read from, again and again.

use std::path::{Path, PathBuf};

use bytes::{Buf as _, BufMut as _};
use galley_node::Registry;
use prost::Message;
use tonic::Status;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;

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
    project: &str,
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
            project: project.to_owned(),
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
    project: String,
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

/// The fields of `feast.core.Registry` that change with every commit, and its projects.
#[derive(Clone, PartialEq, Message)]
struct Head {
    #[prost(string, tag = "4")]
    version_id: String,
    #[prost(message, optional, tag = "5")]
    last_updated: Option<Moment>,
    #[prost(bytes = "vec", repeated, tag = "17")]
    projects: Vec<Vec<u8>>,
}

/// `feast.core.Registry` with its objects as their bytes.
#[derive(Clone, PartialEq, Message)]
struct Whole {
    #[prost(bytes = "vec", repeated, tag = "1")]
    entities: Vec<Vec<u8>>,
    #[prost(string, tag = "4")]
    version_id: String,
    #[prost(message, optional, tag = "5")]
    last_updated: Option<Moment>,
    #[prost(bytes = "vec", repeated, tag = "6")]
    feature_views: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "7")]
    feature_services: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    on_demand_feature_views: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "12")]
    data_sources: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "14")]
    stream_feature_views: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "17")]
    projects: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "19")]
    label_views: Vec<Vec<u8>>,
}

/// What every list of the registry server asks for.
#[derive(Clone, PartialEq, Message)]
struct Asked {
    #[prost(string, tag = "1")]
    project: String,
}

/// What every list of the registry server brings.
#[derive(Clone, PartialEq, Message)]
struct Objects {
    #[prost(bytes = "vec", repeated, tag = "1")]
    objects: Vec<Vec<u8>>,
}

/// `feast.core.Project`, of which the name counts.
#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(message, optional, tag = "1")]
    spec: Option<NamedSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct NamedSpec {
    #[prost(string, tag = "1")]
    name: String,
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
        self.blocking.wait(async {
            let channel = self.address.connect(&self.remote).await?;
            let mut client = Grpc::new(channel).max_decoding_message_size(Registry::BYTES_MAX);
            let whole = self.call(&mut client, "/Proto", Vec::new()).await?;
            // Its objects do not say which project is theirs.
            match Head::decode(whole.as_slice()) {
                Ok(head) if head.projects.len() > 1 => self.listed(&mut client, &head).await,
                _ => Ok(whole),
            }
        })
    }

    /// The objects of the project alone, as a registry with the version of `head`.
    async fn listed(
        &self,
        client: &mut Grpc<Channel>,
        head: &Head,
    ) -> std::result::Result<Vec<u8>, RemoteError> {
        let of_project = |project: &&Vec<u8>| {
            let named = Named::decode(project.as_slice());
            named.is_ok_and(|it| it.spec.is_some_and(|spec| spec.name == self.project))
        };
        let mut whole = Whole {
            version_id: head.version_id.clone(),
            last_updated: head.last_updated,
            projects: head.projects.iter().filter(of_project).cloned().collect(),
            ..Whole::default()
        };
        if whole.projects.is_empty() {
            let detail = format!("it has no project '{}'", self.project);
            let location = self.address.location();
            return Err(RemoteError::new(
                RemoteErrorKind::NotFound,
                location,
                detail,
            ));
        }
        let asked = Asked {
            project: self.project.clone(),
        };
        let asked = asked.encode_to_vec();
        let kinds = [
            ("/ListEntities", &mut whole.entities),
            ("/ListDataSources", &mut whole.data_sources),
            ("/ListFeatureViews", &mut whole.feature_views),
            ("/ListStreamFeatureViews", &mut whole.stream_feature_views),
            (
                "/ListOnDemandFeatureViews",
                &mut whole.on_demand_feature_views,
            ),
            ("/ListLabelViews", &mut whole.label_views),
            ("/ListFeatureServices", &mut whole.feature_services),
        ];
        for (method, objects) in kinds {
            let answer = self.call(client, method, asked.clone()).await?;
            let list = Objects::decode(answer.as_slice()).map_err(|error| {
                let detail = format!("{method}: {error}");
                RemoteError::new(RemoteErrorKind::Invalid, self.address.location(), detail)
            })?;
            *objects = list.objects;
        }
        Ok(whole.encode_to_vec())
    }

    async fn call(
        &self,
        client: &mut Grpc<Channel>,
        method: &'static str,
        message: Vec<u8>,
    ) -> std::result::Result<Vec<u8>, RemoteError> {
        let location = self.address.location();
        let unreachable =
            |detail: String| RemoteError::new(RemoteErrorKind::Unreachable, &location, detail);
        let path = PathAndQuery::try_from(format!("/feast.registry.RegistryServer{method}"));
        let path = path.map_err(|error| unreachable(error.to_string()))?;
        let ready = client.ready().await;
        ready.map_err(|error| unreachable(crate::error::chain(&error)))?;
        let call = client.unary(request(message, &self.remote, &location).await?, path, Raw);
        // The server puts the answer together for each call.
        match tokio::time::timeout(self.remote.read_timeout, call).await {
            Ok(answer) => {
                let answer = answer.map_err(|status| failed(&location, &status))?;
                Ok(answer.into_inner())
            }
            Err(_) => {
                let seconds = self.remote.read_timeout.as_secs();
                Err(unreachable(format!("no answer within {seconds} s")))
            }
        }
    }
}

impl RegistrySource for ServerSource {
    fn read(&mut self, again: bool) -> Result<Option<Vec<u8>>> {
        let bytes = self.fetch().map_err(|source| {
            self.remote.denied(&source);
            Error::RegistryAway { source }
        })?;
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

/// Sends and receives messages as their bytes.
#[derive(Clone, Copy, Debug)]
struct Raw;

// === impl Raw ===

impl Codec for Raw {
    type Encode = Vec<u8>;
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
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(
        &mut self,
        message: Vec<u8>,
        to: &mut EncodeBuf<'_>,
    ) -> std::result::Result<(), Status> {
        to.put_slice(&message);
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
