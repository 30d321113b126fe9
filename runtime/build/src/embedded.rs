//! What this program carries for projects: the Rust SDK, the runtimes for Python and JavaScript.

use std::path::PathBuf;

use crate::{Result, Workshop, files};

/// The name of the Rust SDK's package.
pub(crate) const SDK: &str = "galley-transform-sdk";

macro_rules! carried {
    ($root:literal: $($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!($root, $name)))),+]
    };
}

const SDK_FILES: &[(&str, &str)] = carried!("../../../guest-transforms/":
    "sdk/Cargo.toml",
    "sdk/src/lib.rs",
    "sdk/src/args.rs",
    "sdk/src/bindings.rs",
    "sdk/src/log.rs",
    "sdk/src/export.rs",
    "sdk/src/memory.rs",
    "sdk/src/outputs.rs",
    "sdk/src/request.rs",
    "sdk/src/time.rs",
    "sdk/wit/transform.wit",
    "sdk-macros/Cargo.toml",
    "sdk-macros/src/lib.rs",
    "sdk-macros/src/attribute.rs",
    "sdk-macros/src/derive.rs",
    "sdk-macros/src/function.rs",
);

/// Beside every Python project while it is built.
pub(crate) const PYTHON_RUNTIME: &[(&str, &str)] = carried!("../assets/python/":
    "galley_codec.py",
    "galley_frame.py",
    "galley_numpy.py",
    "galley_text.py",
    "galley_times.py",
    "galley_request.py",
    "galley_transform.py",
    "galley_view.py",
);

/// The modules of the Python runtime that make up the column shim.
const COLUMN_SHIM: [&str; 4] = [
    "galley_frame",
    "galley_numpy",
    "galley_text",
    "galley_times",
];

/// The column shim's modules with their texts.
pub(crate) fn column_shim() -> impl Iterator<Item = (&'static str, &'static str)> {
    let modules = PYTHON_RUNTIME
        .iter()
        .filter_map(|(name, text)| Some((name.strip_suffix(".py")?, *text)));
    modules.filter(|(name, _)| COLUMN_SHIM.contains(name))
}

/// Reads source text from a registry.
pub(crate) const WRAP_SCRIPT: &str = include_str!("../assets/python/wrap.py");

/// Beside every JavaScript project while it is built.
pub(crate) const JAVASCRIPT_RUNTIME: &[(&str, &str)] = carried!("../assets/javascript/":
    "galley_transform.js",
);

/// Takes the types out of TypeScript.
pub(crate) const JAVASCRIPT_STRIP: &str = include_str!("../assets/javascript/strip.mjs");

/// Calls componentize-js.
pub(crate) const JAVASCRIPT_BUILD: &str = include_str!("../assets/javascript/build.mjs");

/// The SDK's files with their contents, for projects that carry it along.
pub(crate) fn sdk_files() -> impl Iterator<Item = (&'static str, &'static str)> {
    SDK_FILES.iter().copied()
}

/// Lays the SDK out in the cache; a new version of this program lays out its own.
pub(crate) fn unpack_sdk(workshop: &Workshop<'_>) -> Result<PathBuf> {
    let root = workshop
        .cache_dir
        .join(concat!("rust/sdk-", env!("CARGO_PKG_VERSION")));
    let _lock = workshop.lock(&root)?;
    for (name, text) in SDK_FILES {
        let path = root.join(name);
        // Cargo looks at the times of files: what is the same is left alone.
        if !files::is_there(&path)? || files::read_text(&path)? != *text {
            files::write(&path, text)?;
        }
    }
    // Keeps the SDK out of whatever workspace the cache may lie in.
    let workspace = root.join("Cargo.toml");
    if !files::is_there(&workspace)? {
        let text = "[workspace]\nresolver = \"3\"\nmembers = [\"sdk\", \"sdk-macros\"]\n";
        files::write(&workspace, text)?;
    }
    Ok(root.join("sdk"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_carries_the_contract_that_this_program_speaks() {
        let carried = SDK_FILES
            .iter()
            .find(|(name, _)| name.ends_with("transform.wit"));
        assert_eq!(carried.unwrap().1, crate::TRANSFORM_WIT);
    }

    #[test]
    fn every_file_of_the_sdk_is_carried() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../guest-transforms/");
        for part in ["sdk/src", "sdk-macros/src"] {
            for entry in std::fs::read_dir(format!("{root}{part}")).unwrap() {
                let name = format!("{part}/{}", entry.unwrap().file_name().to_str().unwrap());
                assert!(
                    SDK_FILES.iter().any(|(carried, _)| *carried == name),
                    "{name}"
                );
            }
        }
    }
}
