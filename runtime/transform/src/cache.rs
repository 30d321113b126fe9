//! The folder of compiled components.
//!
//! Compiled code runs with the rights of the process, so nothing is loaded that this installation
//! did not compile itself: the folder is open to its owner only, every file ends with a keyed
//! digest over its name and content, and the key lies in the folder. A file that does not carry the
//! right digest is compiled anew, never loaded.
//!
//! A file: the code as the engine gives it, 8 bytes `galley\0\x02`, 32 bytes keyed BLAKE3 of the
//! file's name, a zero byte, the code and the 8 bytes. Its name: the SHA-256 of the component and
//! that of everything code depends on (engine, settings, processor), in hexadecimal.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;

use crate::engine::Engine;
use crate::error::{Error, Phase, Result};
use crate::inspect::Inspection;
use crate::key::{Key, MARK};
use crate::limits::{CompileLimits, Limit, LimitValue, Limits};
use crate::section;
use crate::target::{Target, fingerprint};
use crate::text::clip;
use crate::worker::{self, Worker};

/// Compiled components kept; the oldest go first.
const ENTRIES_MAX: usize = 512;
/// Age of a left-over file of a process that ended while compiling.
const LEFTOVER_AGE: Duration = Duration::from_secs(3_600);
const REASON_BYTES_MAX: usize = 512;

/// The SHA-256 of a component.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

/// The folder of compiled components of an installation.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    key: Key,
    worker: Worker,
}

/// A component whose code is loaded.
#[derive(Clone)]
pub struct Loaded {
    component: Component,
    digest: Digest,
    inspection: Inspection,
    compiled: bool,
}

/// What is to be turned into code, and for whom.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The component. Whoever calls has inspected it.
    pub component: &'a [u8],
    /// What it is called in messages.
    pub name: &'a str,
    /// The kind of engine the code is for.
    pub target: Target,
    /// What compiling it may use.
    pub limits: &'a CompileLimits,
}

/// The code of a component.
#[derive(Clone)]
pub struct Code {
    /// The code, bound to the engine it was asked for.
    pub component: Component,
    /// The digest of the component it was made from.
    pub digest: Digest,
    /// Whether it was compiled just now, not found in the folder.
    pub compiled: bool,
}

/// The digest of a component's bytes.
#[must_use]
pub fn digest(component: &[u8]) -> Digest {
    Digest(Sha256::digest(component).into())
}

/// The digest of a component, and that of all of it that its code depends on: a signature that is put
/// in after the component was asked for it changes no code. Every byte is hashed once.
fn digests(component: &[u8]) -> (Digest, Digest) {
    let (code, signature) = component.split_at(section::without_signature(component).len());
    let mut hash = Sha256::new();
    hash.update(code);
    let of_code = Digest(hash.clone().finalize().into());
    hash.update(signature);
    (Digest(hash.finalize().into()), of_code)
}

impl Cache {
    /// Opens the folder, creating it where it is not there.
    ///
    /// # Errors
    /// [`Error::Cache`] when it cannot be used, [`Error::CacheUnsafe`] when it belongs to somebody
    /// else or others may write to it.
    pub fn open(folder: &Path, worker: Worker) -> Result<Self> {
        let fail = |action: &'static str| {
            move |source| Error::Cache {
                path: folder.to_owned(),
                action,
                source,
            }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(fail("create the folder"))?;
        check_owned(folder, true)?;
        let cache = Self {
            key: Key::open(folder)?,
            folder: folder.to_owned(),
            worker,
        };
        cache.sweep().map_err(fail("clean the folder"))?;
        Ok(cache)
    }

    /// The component as code: from the folder, or compiled and put there. Compiling takes seconds;
    /// it is not for a thread that serves.
    ///
    /// `name` stands for the component in messages.
    ///
    /// # Errors
    /// [`Error::NotAComponent`], [`Error::ForbiddenImport`], [`Error::WrongWorld`] and
    /// [`Error::Compile`] when the component is at fault, [`Error::Limit`] when it or its
    /// compilation passes a limit, [`Error::Worker`] and [`Error::Cache`] when the machine is.
    pub fn load(
        &self,
        engine: &Engine,
        component: &[u8],
        name: &str,
        limits: &Limits,
    ) -> Result<Loaded> {
        // Checked before it is read: reading takes time in proportion.
        if component.len() > limits.component_bytes_max {
            return Err(over(name, limits, Limit::Component));
        }
        let inspection = Inspection::of(component)?;
        inspection.check(name, limits)?;
        let source = Source {
            component,
            name,
            target: Target::Transforms,
            limits: &limits.compile,
        };
        let code = self.code(engine.wasm(), &source)?;
        Ok(Loaded {
            component: code.component,
            digest: code.digest,
            inspection,
            compiled: code.compiled,
        })
    }

    /// The code of a component for `engine`, which must be of the kind that `source` names: from the
    /// folder, or compiled and put there. Compiling takes seconds; it is not for a thread that
    /// serves.
    ///
    /// # Errors
    /// [`Error::Compile`] when the component is at fault, [`Error::Limit`] when compiling it passes a
    /// limit, [`Error::Worker`] and [`Error::Cache`] when the machine is.
    pub fn code(&self, engine: &wasmtime::Engine, source: &Source<'_>) -> Result<Code> {
        let (digest, code) = digests(source.component);
        let entry = format!("{code}-{}", Digest(fingerprint(engine)));
        let loaded = |component, compiled| Code {
            component,
            digest,
            compiled,
        };
        match self.read(engine, &entry) {
            Ok(Some(component)) => return Ok(loaded(component, false)),
            Ok(None) => {}
            Err(error) => tracing::warn!(
                component = source.name,
                reason = %error,
                "compiled code cannot be used, compiling it anew"
            ),
        }
        let code = self.compile(source)?;
        self.write(&entry, &code)?;
        match self.read(engine, &entry)? {
            Some(component) => Ok(loaded(component, true)),
            None => Err(self.fault("read the code just compiled", &entry)),
        }
    }

    fn compile(&self, source: &Source<'_>) -> Result<Vec<u8>> {
        let refused = |reason: &str| Error::Compile {
            reason: clip(reason, REASON_BYTES_MAX),
        };
        let Worker::Process { program, arguments } = &self.worker else {
            return source
                .target
                .compile(source.component)
                .map_err(|reason| refused(&reason));
        };
        let job = worker::Job {
            program,
            arguments,
            target: source.target,
            limits: source.limits,
            input: self.temporary("in"),
            output: self.temporary("out"),
            report: self.temporary("err"),
        };
        match job.run(source.component)? {
            worker::Outcome::Code(code) => Ok(code),
            worker::Outcome::Refused(reason) => Err(refused(&reason)),
            worker::Outcome::Limit(limit) => Err(Error::Limit {
                transform: source.name.into(),
                during: Phase::Load,
                limit,
                value: source.limits.value(limit).unwrap_or(LimitValue::Count(0)),
            }),
        }
    }

    /// The code of an entry: `None` when there is none.
    fn read(&self, engine: &wasmtime::Engine, entry: &str) -> Result<Option<Component>> {
        let path = self.path(entry);
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags(OFlags::NOFOLLOW))
            .open(&path);
        let mut file = match file {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.io("open a file", entry, source)),
        };
        let is_ours = self
            .key
            .verify(entry, &mut file)
            .map_err(|source| self.io("read a file", entry, source))?;
        if !is_ours {
            return Err(Error::CacheUnsafe {
                path,
                reason: "its digest is not the one this installation gives",
            });
        }
        load_code(engine, &path).map(Some)
    }

    fn write(&self, entry: &str, code: &[u8]) -> Result<()> {
        let temporary = self.temporary("new");
        let mut file =
            create(&temporary, 0o400).map_err(|source| self.io("create a file", entry, source))?;
        let guard = Temporary(&temporary);
        let mac = self.key.mac(entry, &[code, MARK]);
        file.write_all(code)
            .and_then(|()| file.write_all(MARK))
            .and_then(|()| file.write_all(&mac))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&temporary, self.path(entry)))
            .map_err(|source| self.io("write a file", entry, source))?;
        drop(guard);
        Ok(())
    }

    fn path(&self, entry: &str) -> PathBuf {
        self.folder.join(format!("{entry}.code"))
    }

    fn temporary(&self, kind: &str) -> PathBuf {
        self.folder.join(temporary_name(kind))
    }

    fn io(&self, action: &'static str, entry: &str, source: io::Error) -> Error {
        Error::Cache {
            path: self.path(entry),
            action,
            source,
        }
    }

    fn fault(&self, action: &'static str, entry: &str) -> Error {
        self.io(action, entry, io::Error::from(io::ErrorKind::NotFound))
    }

    /// Removes what processes left behind that ended while compiling, and the oldest entries past
    /// the bound.
    fn sweep(&self) -> io::Result<()> {
        let mut entries = Vec::new();
        for file in fs::read_dir(&self.folder)? {
            let file = file?;
            let name = file.file_name();
            let name = name.to_string_lossy();
            let Ok(modified) = file.metadata().and_then(|metadata| metadata.modified()) else {
                continue;
            };
            if name.starts_with("tmp-") {
                if is_older(modified, LEFTOVER_AGE) {
                    fs::remove_file(file.path())?;
                }
            } else if name.ends_with(".code") {
                entries.push((modified, file.path()));
            }
        }
        entries.sort();
        let excess = entries.len().saturating_sub(ENTRIES_MAX);
        for (_, path) in entries.iter().take(excess) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

fn is_older(modified: SystemTime, age: Duration) -> bool {
    modified.elapsed().is_ok_and(|elapsed| elapsed > age)
}

fn over(name: &str, limits: &Limits, limit: Limit) -> Error {
    Error::Limit {
        transform: name.into(),
        during: Phase::Load,
        limit,
        value: limits.value(limit).unwrap_or(LimitValue::Count(0)),
    }
}

/// Maps the code of a verified file.
#[expect(unsafe_code, reason = "code is run that was compiled before")]
fn load_code(engine: &wasmtime::Engine, path: &Path) -> Result<Component> {
    // SAFETY: the caller has verified that the file's content was written by this installation,
    // which writes nothing but the engine's own output for a component the engine validated. The
    // folder is open to the owner only (checked when it was opened), the file is never written to
    // after its name exists, and replacing it leaves the mapped one as it is.
    let component = unsafe { Component::deserialize_file(engine, path) };
    component.map_err(|error| Error::Compile {
        reason: clip(&format!("{error:#}"), REASON_BYTES_MAX),
    })
}

/// A folder or file that must belong to this user, and be closed to others.
pub(crate) fn check_owned(path: &Path, folder: bool) -> Result<()> {
    let metadata = fs::symlink_metadata(path).map_err(|source| Error::Cache {
        path: path.to_owned(),
        action: "look at",
        source,
    })?;
    let reason = if metadata.is_dir() != folder || (!folder && !metadata.is_file()) {
        "it is something else, or a link"
    } else if metadata.uid() != rustix::process::geteuid().as_raw() {
        "it belongs to another user"
    } else if metadata.permissions().mode() & 0o077 != 0 {
        "others may enter it: run `chmod -R go= ` on it"
    } else {
        return Ok(());
    };
    Err(Error::CacheUnsafe {
        path: path.to_owned(),
        reason,
    })
}

fn flags(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).unwrap_or(0)
}

/// Creates a file that is not there yet.
pub(crate) fn create(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
}

/// Removes a file when dropped.
pub(crate) struct Temporary<'a>(pub(crate) &'a Path);

/// A name that nobody else writes to: folders are shared by processes, and by several caches of one.
pub(crate) fn temporary_name(kind: &str) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Relaxed);
    format!("tmp-{}-{number}-{kind}", std::process::id())
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // Mostly it has been renamed; a file that stays is swept later.
        drop(fs::remove_file(self.0));
    }
}

// === impl Loaded ===

impl Loaded {
    pub(crate) fn component(&self) -> &Component {
        &self.component
    }

    /// SHA-256 of the component.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What it is made of.
    #[must_use]
    pub fn inspection(&self) -> &Inspection {
        &self.inspection
    }

    /// Whether it had to be compiled; otherwise the code was there.
    #[must_use]
    pub fn was_compiled(&self) -> bool {
        self.compiled
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Code")
            .field("digest", &self.digest)
            .field("compiled", &self.compiled)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded")
            .field("digest", &self.digest)
            .field("inspection", &self.inspection)
            .finish_non_exhaustive()
    }
}

// === impl Digest ===

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}
