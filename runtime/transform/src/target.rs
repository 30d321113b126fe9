//! What components are compiled for: one of the two kinds of engine of the process.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use wasmtime::Config;

use crate::reset::{RESET_VERSION, with_reset};

/// The kind of engine that will run the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// That of transformations: calls are synchronous, nothing in it knows of waiting.
    Transforms,
    /// That of HTTP components: calls are asynchronous and many may wait at once.
    HttpComponents,
}

impl Target {
    /// Every target.
    pub const ALL: [Self; 2] = [Self::Transforms, Self::HttpComponents];

    /// The settings compiled code depends on, the same in the compile worker and in the node.
    #[must_use]
    pub fn config(self) -> Config {
        let mut config = Config::new();
        config
            .epoch_interruption(true)
            .wasm_memory64(false)
            .wasm_multi_memory(false)
            .wasm_relaxed_simd(false)
            .generate_address_map(false)
            // For debuggers alone: traps are found without them, and they are mapped with the code.
            .native_unwind_info(false)
            .debug_symbols(false)
            .wasm_backtrace_max_frames(None);
        match self {
            Self::Transforms => config.concurrency_support(false),
            Self::HttpComponents => config
                .concurrency_support(true)
                .wasm_component_model_async(true),
        };
        config
    }

    /// Compiles a component to the code that engines of this kind run on this processor. Meant for
    /// the compile worker: the time and memory it takes are the component's to choose.
    pub(crate) fn compile(self, component: &[u8]) -> Result<Vec<u8>, String> {
        let engine = wasmtime::Engine::new(&self.config()).map_err(|error| format!("{error:#}"))?;
        let extended = match self {
            Self::Transforms => with_reset(component),
            Self::HttpComponents => None,
        };
        // What cannot be compiled with the function is told about as its author knows it.
        if let Some(Ok(code)) = extended.map(|bytes| engine.precompile_component(&bytes)) {
            return Ok(code);
        }
        engine
            .precompile_component(component)
            .map_err(|error| format!("{error:#}"))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Transforms => "transforms",
            Self::HttpComponents => "http-components",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Target {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let found = Self::ALL.into_iter().find(|target| target.name() == text);
        found.ok_or(())
    }
}

/// A digest of everything the code of `engine` depends on: version, settings, processor, and what is
/// added to components.
pub(crate) fn fingerprint(engine: &wasmtime::Engine) -> [u8; 32] {
    let mut hasher = Fingerprint(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    RESET_VERSION.hash(&mut hasher);
    hasher.0.finalize().into()
}

/// Hashes with SHA-256, so that the outcome is the same in every process.
struct Fingerprint(Sha256);

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_called_by_their_names() {
        for target in Target::ALL {
            assert_eq!(target.to_string().parse(), Ok(target));
        }
        assert_eq!("else".parse::<Target>(), Err(()));
    }

    #[test]
    fn code_of_one_engine_is_not_that_of_the_other() {
        let [one, other] = Target::ALL
            .map(|target| fingerprint(&wasmtime::Engine::new(&target.config()).unwrap()));
        assert_ne!(one, other);
    }
}
