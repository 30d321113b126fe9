//! A function added to components that puts their globals back to what they begin with.
//!
//! With the memory restored beside ([`crate::rewind`]) an instance that has served a call is then as
//! one that has just come to be, for a fraction of what making one costs. That holds for components
//! whose state is one memory and numbers in globals; [`with_reset`] leaves all others alone.

mod module;
#[cfg(test)]
mod tests;

use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentAlias, ComponentExternalKind,
    ComponentOuterAliasKind, ComponentTypeRef, Encoding, Instance, Parser, Payload, Validator,
};

use crate::section::{PREAMBLE, sections};
use module::Module;

/// The export of the function; its parameter says nothing.
pub(crate) const RESET: &str = "galley-reset";

/// Goes into the name of compiled code: to be raised whenever what is added changes.
pub(crate) const RESET_VERSION: u8 = 1;

/// Sections of a component.
mod outer {
    pub(super) const CORE_MODULE: u8 = 1;
    pub(super) const ALIAS: u8 = 6;
    pub(super) const TYPE: u8 = 7;
    pub(super) const CANONICAL: u8 = 8;
    pub(super) const EXPORT: u8 = 11;
}

/// `func(x: u32)`, as a component writes it.
const OUTER_TYPE: [u8; 7] = [0x40, 1, 1, b'x', 0x79, 1, 0];
const END: u8 = 0x0b;

/// The component with the function added; `None` when it is not one whose whole state the function and
/// a copy of the memory put back, or holds what is not known here.
pub fn with_reset(component: &[u8]) -> Option<Vec<u8>> {
    let scan = Scan::of(component)?;
    let (number, module) = scan.module_with_state()?;
    let instance = scan.only_instance_of(number)?;
    let mut modules = 0;
    let mut out = component.get(..PREAMBLE)?.to_vec();
    for section in sections(component) {
        let section = section?;
        if section.id == outer::CORE_MODULE {
            if modules == number {
                put_section(&mut out, section.id, &module.extended(section.content)?);
            } else {
                out.extend_from_slice(section.whole);
            }
            modules += 1;
        } else {
            out.extend_from_slice(section.whole);
        }
    }
    scan.end?.put_function(&mut out, instance, scan.memory?);
    Some(out)
}

/// What a component consists of.
#[derive(Default)]
struct Scan {
    depth: usize,
    modules: Vec<Module>,
    /// Which module each core instance is of; `None` for one that only gathers exports.
    instances: Vec<Option<u32>>,
    /// The core memory that values are passed through.
    memory: Option<u32>,
    end: Option<Indices>,
}

/// The indices the next definitions of the component get.
#[derive(Clone, Copy)]
struct Indices {
    core_function: u32,
    function: u32,
    type_: u32,
}

// === impl Scan ===

impl Scan {
    fn of(component: &[u8]) -> Option<Self> {
        let mut scan = Self::default();
        let mut validator = Validator::new();
        for payload in Parser::new(0).parse_all(component) {
            let payload = payload.ok()?;
            if let (Payload::End(_), 0) = (&payload, scan.depth) {
                let types = validator.types(0)?;
                if usize::try_from(types.core_instance_count()) != Ok(scan.instances.len()) {
                    return None;
                }
                scan.end = Some(Indices {
                    core_function: types.function_count(),
                    function: types.component_function_count(),
                    type_: types.component_type_count(),
                });
                return Some(scan);
            }
            validator.payload(&payload).ok()?;
            scan.note(&payload)?;
        }
        None
    }

    fn note(&mut self, payload: &Payload<'_>) -> Option<()> {
        match payload {
            Payload::Version { encoding, .. } => {
                // A core module by itself has no depth.
                (*encoding == Encoding::Component || self.depth > 0).then_some(())
            }
            Payload::ModuleSection { .. } => {
                // Modules of inner components could come to be any number of times.
                if self.depth > 0 {
                    return None;
                }
                self.depth = 1;
                self.modules.push(Module::default());
                Some(())
            }
            Payload::ComponentSection { .. } => {
                self.depth += 1;
                Some(())
            }
            Payload::End(_) => {
                self.depth = self.depth.checked_sub(1)?;
                Some(())
            }
            payload if is_of_component(payload) => {
                if self.depth == 0 {
                    self.note_component(payload)
                } else {
                    note_inner(payload)
                }
            }
            payload => self.modules.last_mut()?.note(payload),
        }
    }

    fn note_component(&mut self, payload: &Payload<'_>) -> Option<()> {
        match payload {
            Payload::InstanceSection(section) => {
                for instance in section.clone() {
                    self.instances.push(match instance.ok()? {
                        Instance::Instantiate { module_index, .. } => Some(module_index),
                        Instance::FromExports(_) => None,
                    });
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    if let ComponentTypeRef::Module(_) = import.ok()?.ty {
                        return None;
                    }
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section.clone() {
                    match alias.ok()? {
                        ComponentAlias::InstanceExport {
                            kind: ComponentExternalKind::Module,
                            ..
                        }
                        | ComponentAlias::Outer {
                            kind: ComponentOuterAliasKind::CoreModule,
                            ..
                        } => return None,
                        _ => {}
                    }
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section.clone() {
                    let (CanonicalFunction::Lift { options, .. }
                    | CanonicalFunction::Lower { options, .. }) = function.ok()?
                    else {
                        return None;
                    };
                    self.note_options(&options)?;
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    if export.ok()?.name.name == RESET {
                        return None;
                    }
                }
            }
            Payload::ComponentStartSection { .. } => return None,
            _ => {}
        }
        Some(())
    }

    fn note_options(&mut self, options: &[CanonicalOption]) -> Option<()> {
        for option in options {
            match option {
                CanonicalOption::Memory(memory) => self.memory = Some(*memory),
                CanonicalOption::UTF8
                | CanonicalOption::UTF16
                | CanonicalOption::CompactUTF16
                | CanonicalOption::Realloc(_)
                | CanonicalOption::PostReturn(_) => {}
                _ => return None,
            }
        }
        Some(())
    }

    /// The module that has all the state there is: the only one with a memory, and the only one with
    /// globals that change if any has.
    fn module_with_state(&self) -> Option<(usize, &Module)> {
        let mut with_state = self
            .modules
            .iter()
            .enumerate()
            .filter(|(_, module)| module.memories > 0 || !module.mutable.is_empty());
        let found = with_state.next()?;
        (with_state.next().is_none() && found.1.memories == 1).then_some(found)
    }

    /// The instance of a module, when no module has several.
    fn only_instance_of(&self, module: usize) -> Option<u32> {
        let mut counts = vec![0_usize; self.modules.len()];
        let mut found = None;
        for (instance, of) in self.instances.iter().enumerate() {
            let Some(of) = of.and_then(|of| usize::try_from(of).ok()) else {
                continue;
            };
            let count = counts.get_mut(of)?;
            *count += 1;
            if *count > 1 {
                return None;
            }
            if of == module {
                found = u32::try_from(instance).ok();
            }
        }
        found
    }
}

/// An inner component has no state as long as no core instance comes to be in it, be it of a module that
/// it is handed.
fn note_inner(payload: &Payload<'_>) -> Option<()> {
    let may_have_state = matches!(
        payload,
        Payload::InstanceSection(_)
            | Payload::ComponentCanonicalSection(_)
            | Payload::ComponentStartSection { .. }
    );
    (!may_have_state).then_some(())
}

/// Whether a payload stands in components only.
fn is_of_component(payload: &Payload<'_>) -> bool {
    matches!(
        payload,
        Payload::InstanceSection(_)
            | Payload::CoreTypeSection(_)
            | Payload::ComponentInstanceSection(_)
            | Payload::ComponentAliasSection(_)
            | Payload::ComponentTypeSection(_)
            | Payload::ComponentCanonicalSection(_)
            | Payload::ComponentStartSection { .. }
            | Payload::ComponentImportSection(_)
            | Payload::ComponentExportSection(_)
            | Payload::CustomSection(_)
    )
}

// === impl Indices ===

impl Indices {
    /// Adds the function of core instance `instance` to the component and exports it. `memory` is
    /// named so that the host finds it when it calls.
    fn put_function(self, out: &mut Vec<u8>, instance: u32, memory: u32) {
        let mut alias = vec![1, 0, 0, 1];
        alias.extend(leb(instance));
        alias.extend(named(RESET));
        put_section(out, outer::ALIAS, &alias);

        let mut type_ = vec![1];
        type_.extend(OUTER_TYPE);
        put_section(out, outer::TYPE, &type_);

        let mut lift = vec![1, 0, 0];
        lift.extend(leb(self.core_function));
        lift.extend([1, 3]);
        lift.extend(leb(memory));
        lift.extend(leb(self.type_));
        put_section(out, outer::CANONICAL, &lift);

        let mut export = vec![1, 0];
        export.extend(named(RESET));
        export.push(1);
        export.extend(leb(self.function));
        export.push(0);
        put_section(out, outer::EXPORT, &export);
    }
}

fn put_section(out: &mut Vec<u8>, id: u8, content: &[u8]) {
    out.push(id);
    out.extend(leb(u32::try_from(content.len()).unwrap_or(u32::MAX)));
    out.extend_from_slice(content);
}

fn named(name: &str) -> Vec<u8> {
    let mut out = leb(u32::try_from(name.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(name.as_bytes());
    out
}

/// A number as LEB128.
fn leb(mut value: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(5);
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return out;
        }
        out.push(low | 0x80);
    }
}
