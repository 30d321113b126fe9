//! CPython as componentize-py puts it into components.

use std::ops::Range;

use wasmparser::{
    BinaryReaderError, CompositeInnerType, ExternalKind, Parser, Payload, TypeRef, ValType,
};

/// What gives the interpreter's lock back.
const RELEASE: &str = "PyGILState_Release";

/// Lets the interpreter in `component` keep its lock from the first step of a call on.
///
/// componentize-py's glue takes the global interpreter lock and gives it back for each value that goes
/// in or out, dozens of times in a call: a fifth of what a small call costs. Nobody waits for the lock,
/// as an instance has one thread. So the function that gives it back becomes one that does nothing, in
/// its place and of its length: taking a lock that is held only counts, and nothing else reads the
/// count. Code of Python that lets others run (`PyEval_SaveThread`) is left as it is.
///
/// A component without this function stays what it is.
///
/// # Errors
///
/// When `component` is damaged.
pub(crate) fn keep_lock(component: &mut [u8]) -> Result<(), BinaryReaderError> {
    if let Some(body) = release(component)?
        && let Some([locals, instructions @ .., end]) = component.get_mut(body)
    {
        const NOP: u8 = 0x01;
        const END: u8 = 0x0b;
        *locals = 0;
        instructions.fill(NOP);
        *end = END;
    }
    Ok(())
}

/// Where the body of the function is, without its size in front.
fn release(component: &[u8]) -> Result<Option<Range<usize>>, BinaryReaderError> {
    let mut module = Module::default();
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::Version { .. } => module = Module::default(),
            Payload::TypeSection(section) => {
                for group in section {
                    let group = group?;
                    let types = group.types();
                    let takes_state = types.map(|of| takes_state(&of.composite_type.inner));
                    module.takes_state.extend(takes_state);
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    if matches!(import?.ty, TypeRef::Func(_) | TypeRef::FuncExact(_)) {
                        module.imported += 1;
                    }
                }
            }
            Payload::FunctionSection(section) => {
                module.types = section.into_iter().collect::<Result<_, _>>()?;
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    if export.name == RELEASE && export.kind == ExternalKind::Func {
                        module.wanted = module.own(export.index);
                    }
                }
            }
            Payload::CodeSectionEntry(body) => {
                if module.wanted == Some(module.seen) {
                    return Ok(Some(body.range()));
                }
                module.seen += 1;
            }
            _ => {}
        }
    }
    Ok(None)
}

/// A core module as far as it was read.
#[derive(Default)]
struct Module {
    /// For each type whether it is that of [`RELEASE`].
    takes_state: Vec<bool>,
    imported: u32,
    /// The types of the functions that are not imported.
    types: Vec<u32>,
    /// Of these, the one to replace.
    wanted: Option<usize>,
    seen: usize,
}

impl Module {
    /// The function `index` among those that are not imported, where it is of the right type.
    fn own(&self, index: u32) -> Option<usize> {
        let own = usize::try_from(index.checked_sub(self.imported)?).ok()?;
        let of = usize::try_from(*self.types.get(own)?).ok()?;
        self.takes_state.get(of)?.then_some(own)
    }
}

/// One 32-bit number in, nothing out.
fn takes_state(of: &CompositeInnerType) -> bool {
    matches!(of, CompositeInnerType::Func(of) if *of.params() == [ValType::I32] && of.results().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component of two modules, the second with an import and another function before the export.
    fn component(signature: &str, body: &str) -> Vec<u8> {
        let text = format!(
            r#"(component
                (core module (func (export "other") (param i32)))
                (core module
                    (import "env" "take" (func $take (param i32)))
                    (func (export "before") (result i64) (i64.const 7))
                    (func (export "PyGILState_Release") {signature} {body})
                    (func (export "after") (result i32) (i32.const 9))))"#
        );
        wat::parse_str(text).unwrap()
    }

    #[test]
    fn the_function_that_gives_the_lock_back_does_nothing_and_all_else_is_as_it_was() {
        let mut kept = component("(param i32)", "(local i64) (call $take (local.get 0))");
        let before = kept.clone();
        keep_lock(&mut kept).unwrap();
        assert_ne!(kept, before);
        // Eight bytes as before: no locals, six instructions that do nothing, the end.
        let does_nothing = component("(param i32)", &"(nop)".repeat(6));
        assert_eq!(kept, does_nothing);
    }

    #[test]
    fn a_function_of_another_type_and_components_without_one_are_left_alone() {
        let unlike = component("(param i32 i32)", "(call $take (local.get 0))");
        for original in [unlike, wat::parse_str("(component)").unwrap()] {
            let mut kept = original.clone();
            keep_lock(&mut kept).unwrap();
            assert_eq!(kept, original);
        }
        assert!(keep_lock(&mut b"\0asm\x0d\0\x01\0\x01\xff".to_vec()).is_err());
    }
}
