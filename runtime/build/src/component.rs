//! Components: made from core modules, and looked at before they leave the workshop.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use wit_component::{ComponentEncoder, DecodedWasm};

use crate::{Error, Result, Workshop, files};

const PACKAGE: &str = "galley:transform/";
const EXPORT: &str = "galley:transform/transformer@";
/// What an HTTP component exports, and the packages it may import from.
const HTTP_EXPORT: &str = "wasi:http/handler@0.3.";
const HTTP_PACKAGES: [&str; 8] = [
    "wasi:http/",
    "wasi:clocks/",
    "wasi:random/",
    "wasi:cli/",
    "spin:key-value/",
    "spin:variables/",
    "galley:features/",
    "galley:transform/types@",
];

/// A component that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltComponent {
    /// Where it is.
    pub path: PathBuf,
    /// `sha256:` and the digest of its bytes in hexadecimal digits.
    pub digest: String,
    /// Its size.
    pub bytes: u64,
}

/// The component around the core module `module` that wit-bindgen made; `path` is for the error.
/// Nothing is said about what it imports: [`crate::build`] refuses foreign imports, tests of hosts
/// need them.
///
/// # Errors
///
/// [`Error::NotATransform`] when the module is damaged, or says nothing about a world.
pub fn from_core_module(module: &[u8], path: &Path) -> Result<Vec<u8>> {
    ComponentEncoder::default()
        .module(module)
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|error| Error::NotATransform {
            path: path.to_owned(),
            reason: format!("{error:#}. Does a function carry #[galley::transform]?"),
        })
}

/// Whether the file at `path` is a core module: what compilers make, and what becomes a component.
/// A folder is none.
///
/// # Errors
///
/// [`Error::Io`] when the file cannot be read.
pub fn is_core_module(path: &Path) -> Result<bool> {
    const CORE: &[u8; 8] = b"\0asm\x01\0\0\0";
    if !path.is_file() {
        return Ok(false);
    }
    let mut head = [0; CORE.len()];
    let mut file = std::fs::File::open(path).map_err(files::failed("read", path))?;
    match file.read_exact(&mut head) {
        Ok(()) => Ok(head == *CORE),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(files::failed("read", path)(error)),
    }
}

/// Makes the core module at `module` the component `output`.
///
/// # Errors
///
/// As [`from_core_module`]; [`Error::ForeignImports`] when it wants more than a transformation gets.
pub fn componentize(
    workshop: &Workshop<'_>,
    module: &Path,
    output: &Path,
) -> Result<BuiltComponent> {
    let component = from_core_module(&files::read(module)?, module)?;
    deliver(workshop, output, component)
}

/// Checks `bytes` and puts them at `path`.
pub(crate) fn deliver(
    workshop: &Workshop<'_>,
    path: &Path,
    bytes: Vec<u8>,
) -> Result<BuiltComponent> {
    let made = check(path, &bytes)?;
    let bytes = match workshop.sign {
        Some(sign) if made == Made::Transform => {
            sign(&bytes).map_err(|reason| Error::NotATransform {
                path: path.to_owned(),
                reason,
            })?
        }
        _ => bytes,
    };
    // The same file is not written again: whoever watches it need not look.
    if !files::is_there(path)? || files::read(path)? != bytes {
        files::replace(path, &bytes)?;
    }
    Ok(BuiltComponent::of(path, &bytes))
}

impl BuiltComponent {
    /// The component with the content `bytes` at `path`.
    pub(crate) fn of(path: &Path, bytes: &[u8]) -> Self {
        Self {
            path: path.to_owned(),
            digest: format!("sha256:{}", hexadecimal(&Sha256::digest(bytes))),
            bytes: bytes.len() as u64,
        }
    }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a component is for, by what it exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    Transform,
    HttpHandler,
}

/// Refuses what a node would refuse: other imports than the contract's, or nothing it could call.
fn check(path: &Path, bytes: &[u8]) -> Result<Made> {
    let not_a_transform = |reason: String| Error::NotATransform {
        path: path.to_owned(),
        reason,
    };
    let decoded =
        wit_component::decode(bytes).map_err(|error| not_a_transform(error.to_string()))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err(not_a_transform(
            "it holds an interface and no code".to_owned(),
        ));
    };
    let Some(world) = resolve.worlds.get(world) else {
        return Err(not_a_transform("it has no world".to_owned()));
    };
    let exports = |prefix: &str| {
        let mut names = world.exports.keys().map(|key| resolve.name_world_key(key));
        names.any(|name| name.starts_with(prefix))
    };
    let (made, may_import) = if exports(HTTP_EXPORT) {
        (Made::HttpHandler, &HTTP_PACKAGES[..])
    } else {
        (Made::Transform, &[PACKAGE][..])
    };
    let foreign: Vec<String> = world
        .imports
        .keys()
        .map(|key| resolve.name_world_key(key))
        .filter(|name| !may_import.iter().any(|package| name.starts_with(package)))
        .collect();
    if !foreign.is_empty() {
        return Err(Error::ForeignImports {
            path: path.to_owned(),
            imports: foreign,
        });
    }
    if made == Made::HttpHandler || exports(EXPORT) {
        Ok(made)
    } else {
        Err(not_a_transform(format!("it does not export {EXPORT}0.1.0")))
    }
}
