//! A look at a component before anything is compiled or run.

use wasmparser::{ComponentExternalKind, Encoding, Instance, Parser, Payload};

use crate::error::{Error, Phase, Result};
use crate::limits::{Limit, LimitValue, Limits};
use crate::lower::LIST_BLOCK;
use crate::section;
use crate::text::clip;

/// Bytes of a guest's name or of a parser's message that are shown.
const SHOWN_BYTES_MAX: usize = 256;
/// How deep components may nest in one another.
const DEPTH_MAX: usize = 16;
/// Imports, and exports, that are read.
const NAMES_MAX: usize = 1_000;
/// Bytes read of a signature section; no signature within the limits is as long.
const SIGNATURE_BYTES_MAX: usize = 2 << 20;
const PAGE_BYTES: u64 = 64 << 10;
/// What every WebAssembly file begins with.
const MAGIC: &[u8] = b"\0asm";

/// What a component is made of, found without running it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// Size of the component.
    pub component_bytes: usize,
    /// Core modules, at every depth.
    pub modules: usize,
    /// Instances of core modules.
    pub core_instances: usize,
    /// Memories defined.
    pub memories: usize,
    /// Bytes the memories start with.
    pub memory_bytes: u64,
    /// Tables defined.
    pub tables: usize,
    /// Entries the largest table starts with.
    pub table_elements: u64,
    /// Names of the imports.
    pub imports: Vec<String>,
    /// Names of the exported interfaces and functions.
    pub exports: Vec<String>,
    /// Whether a core module says that all lists of a call may lie in one block of its memory.
    pub list_block: bool,
    /// What its section `galley:signature` says it is, as JSON; not proven until it is loaded.
    pub signature: Option<String>,
}

/// The interfaces a transformation may import; `types` holds no functions.
const INTERFACES: [&str; 3] = ["request", "log", "types"];

impl Inspection {
    /// Reads the structure of `component`, which may be any bytes.
    ///
    /// # Errors
    /// [`Error::NotAComponent`] for anything else than a component of sound structure.
    pub fn of(component: &[u8]) -> Result<Self> {
        if component.is_empty() {
            return Err(Error::NotAComponent {
                reason: "it is empty".to_owned(),
            });
        }
        if !component.starts_with(MAGIC) {
            return Err(Error::NotAComponent {
                reason: "it does not begin as WebAssembly does; `galley transform build` makes \
                         components from source"
                    .to_owned(),
            });
        }
        let mut found = Self {
            component_bytes: component.len(),
            signature: section::signature_text(component)
                .map(|text| text.get(..SIGNATURE_BYTES_MAX).unwrap_or(text))
                .map(|text| String::from_utf8_lossy(text).into_owned()),
            ..Self::default()
        };
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(component) {
            let payload = payload.map_err(|error| malformed(&error))?;
            if let Payload::ModuleSection { .. } = payload {
                found.modules += 1;
            }
            match &payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                    depth += 1;
                    if depth > DEPTH_MAX {
                        return Err(Error::NotAComponent {
                            reason: format!("components nest deeper than {DEPTH_MAX}"),
                        });
                    }
                }
                Payload::Version {
                    encoding: Encoding::Module,
                    ..
                } if depth == 0 => {
                    return Err(Error::NotAComponent {
                        reason: "it is a core module; make it a component, as `galley transform \
                                 build` and `wasm-tools component new` do"
                            .to_owned(),
                    });
                }
                Payload::End(_) => depth = depth.saturating_sub(1),
                _ => {}
            }
            found
                .note(&payload, depth)
                .map_err(|error| malformed(&error))?;
            if found.imports.len().max(found.exports.len()) > NAMES_MAX {
                return Err(Error::NotAComponent {
                    reason: format!("it has more than {NAMES_MAX} imports or exports"),
                });
            }
        }
        Ok(found)
    }

    fn note(
        &mut self,
        payload: &Payload<'_>,
        depth: usize,
    ) -> std::result::Result<(), wasmparser::BinaryReaderError> {
        match payload {
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section.clone().into_iter().take(NAMES_MAX + 1) {
                    self.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section.clone().into_iter().take(NAMES_MAX + 1) {
                    let export = export?;
                    if matches!(
                        export.kind,
                        ComponentExternalKind::Instance | ComponentExternalKind::Func
                    ) {
                        self.exports.push(export.name.name.to_owned());
                    }
                }
            }
            Payload::InstanceSection(section) => {
                for instance in section.clone() {
                    if let Instance::Instantiate { .. } = instance? {
                        self.core_instances += 1;
                    }
                }
            }
            Payload::MemorySection(section) => {
                for memory in section.clone() {
                    self.memories += 1;
                    let bytes = memory?.initial.saturating_mul(PAGE_BYTES);
                    self.memory_bytes = self.memory_bytes.saturating_add(bytes);
                }
            }
            Payload::CustomSection(section) if section.name() == LIST_BLOCK && depth > 0 => {
                self.list_block = true;
            }
            Payload::TableSection(section) => {
                for table in section.clone() {
                    self.tables += 1;
                    self.table_elements = self.table_elements.max(table?.ty.initial);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether it looks like an interpreter with a program in its memory.
    #[must_use]
    pub fn interpreted(&self) -> bool {
        self.memory_bytes > Limits::INTERPRETER_MEMORY_MIN
    }

    /// The limits that suit it.
    #[must_use]
    pub fn limits(&self) -> Limits {
        if self.interpreted() {
            Limits::interpreted()
        } else {
            Limits::default()
        }
    }

    /// Checks the component against the world of transformations and against limits.
    ///
    /// # Errors
    /// [`Error::ForbiddenImport`], [`Error::WrongWorld`], or [`Error::Limit`] naming `name`.
    pub fn check(&self, name: &str, limits: &Limits) -> Result<()> {
        if let Some(import) = self.imports.iter().find(|import| !is_allowed(import)) {
            return Err(Error::ForbiddenImport {
                name: clip(import, SHOWN_BYTES_MAX),
            });
        }
        if !self
            .exports
            .iter()
            .any(|export| interface(export) == Some("transformer"))
        {
            let have = clip(&self.exports.join(", "), SHOWN_BYTES_MAX);
            return Err(Error::WrongWorld {
                reason: format!(
                    "it does not export galley:transform/transformer@0.1.0 (it exports {})",
                    if have.is_empty() { "nothing" } else { &have }
                ),
            });
        }
        let sizes = [
            (Limit::Component, self.component_bytes as u64),
            (Limit::CoreInstances, self.core_instances as u64),
            (Limit::Memories, self.memories as u64),
            (Limit::Memory, self.memory_bytes),
            (Limit::Tables, self.tables as u64),
            (Limit::TableElements, self.table_elements),
        ];
        for (limit, size) in sizes {
            let Some(value) = limits.value(limit) else {
                continue;
            };
            let (LimitValue::Bytes(max) | LimitValue::Count(max)) = value else {
                continue;
            };
            if size > max {
                return Err(Error::Limit {
                    transform: name.into(),
                    during: Phase::Load,
                    limit,
                    value,
                });
            }
        }
        Ok(())
    }
}

fn malformed(error: &wasmparser::BinaryReaderError) -> Error {
    Error::NotAComponent {
        reason: clip(&error.to_string(), SHOWN_BYTES_MAX),
    }
}

fn is_allowed(import: &str) -> bool {
    interface(import).is_some_and(|interface| INTERFACES.contains(&interface))
}

/// The interface of `galley:transform/INTERFACE@0.1.x`.
fn interface(name: &str) -> Option<&str> {
    let (interface, version) = name.strip_prefix("galley:transform/")?.split_once('@')?;
    let patch = version.strip_prefix("0.1.")?;
    (!patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit())).then_some(interface)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_contract_of_this_version_may_be_imported() {
        let check = |name: &str, expect: bool| assert_eq!(is_allowed(name), expect, "{name}");
        check("galley:transform/request@0.1.0", true);
        check("galley:transform/log@0.1.9", true);
        check("galley:transform/types@0.1.0", true);
        check("galley:transform/request@0.2.0", false);
        check("galley:transform/request@0.1.", false);
        check("galley:transform/request@0.1.0-rc", false);
        check("galley:transform/transformer@0.1.0", false);
        check("galley:features/online@0.1.0", false);
        check("wasi:cli/environment@0.2.4", false);
        check("request", false);
    }

    #[test]
    fn bytes_that_are_no_component_are_refused() {
        for bytes in [&b""[..], b"\0asm", b"galley", b"\0asm\x01\0\0\0"] {
            assert!(
                matches!(Inspection::of(bytes), Err(Error::NotAComponent { .. })),
                "{bytes:?}"
            );
        }
    }
}
