//! What of a core module is state, and the module with a function that puts it back.

use std::borrow::Cow;

use wasmparser::{
    ConstExpr, FunctionBody, Global, Import, MemoryType, Operator, Payload, RefType, TypeRef,
};

use super::{END, RESET, leb, named, put_section};
use crate::section::{PREAMBLE, Section, number, sections};

/// Mutable globals that are put back.
const GLOBALS_MAX: usize = 64;

/// Sections of a core module.
mod core {
    pub(super) const TYPE: u8 = 1;
    pub(super) const FUNCTION: u8 = 3;
    pub(super) const EXPORT: u8 = 7;
    pub(super) const CODE: u8 = 10;
}

/// `func(i32)`, as a core module writes it.
const CORE_TYPE: [u8; 4] = [0x60, 1, 0x7f, 0];
const GLOBAL_SET: u8 = 0x24;

/// What is known of a core module.
#[derive(Default)]
pub(super) struct Module {
    types: u32,
    /// Functions, the imported ones first.
    functions: u32,
    pub(super) memories: usize,
    globals: u32,
    /// The mutable globals with the constants they begin with, as the module writes them.
    pub(super) mutable: Vec<(u32, Vec<u8>)>,
}

// === impl Module ===

impl Module {
    pub(super) fn note(&mut self, payload: &Payload<'_>) -> Option<()> {
        match payload {
            Payload::TypeSection(section) => {
                for group in section.clone() {
                    if group.ok()?.is_explicit_rec_group() {
                        return None;
                    }
                    self.types += 1;
                }
            }
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    self.note_import(&import.ok()?)?;
                }
            }
            Payload::FunctionSection(section) => {
                self.functions = self.functions.checked_add(section.count())?;
            }
            Payload::MemorySection(section) => {
                for memory in section.clone() {
                    self.note_memory(&memory.ok()?)?;
                }
            }
            Payload::GlobalSection(section) => {
                for global in section.clone() {
                    self.note_global(&global.ok()?)?;
                }
            }
            Payload::ExportSection(section) => {
                for export in section.clone() {
                    if export.ok()?.name == RESET {
                        return None;
                    }
                }
            }
            Payload::CodeSectionEntry(body) => return keeps_tables_and_segments(body),
            Payload::TableSection(section) => {
                for table in section.clone() {
                    if table.ok()?.ty.element_type != RefType::FUNCREF {
                        return None;
                    }
                }
            }
            Payload::ElementSection(_)
            | Payload::CodeSectionStart { .. }
            | Payload::DataCountSection { .. }
            | Payload::DataSection(_) => {}
            // A start function runs before there is anything to go back to, and what is not known
            // may have a state of its own.
            _ => return None,
        }
        Some(())
    }

    fn note_import(&mut self, import: &Import<'_>) -> Option<()> {
        match import.ty {
            TypeRef::Func(_) => self.functions = self.functions.checked_add(1)?,
            TypeRef::Table(_) | TypeRef::Memory(_) => {}
            TypeRef::Global(global) if !global.mutable => self.globals += 1,
            _ => return None,
        }
        Some(())
    }

    fn note_memory(&mut self, memory: &MemoryType) -> Option<()> {
        self.memories += 1;
        (!memory.shared && !memory.memory64).then_some(())
    }

    fn note_global(&mut self, global: &Global<'_>) -> Option<()> {
        // A reference could lead to something that changes.
        if global.ty.content_type.is_reference_type() {
            return None;
        }
        if global.ty.mutable {
            if self.mutable.len() == GLOBALS_MAX {
                return None;
            }
            self.mutable
                .push((self.globals, constant(&global.init_expr)?));
        }
        self.globals += 1;
        Some(())
    }

    /// The module with the function that puts its globals back.
    pub(super) fn extended(&self, module: &[u8]) -> Option<Vec<u8>> {
        let mut out = module.get(..PREAMBLE)?.to_vec();
        let mut extended = 0;
        for section in sections(module) {
            let section = section?;
            let item = match section.id {
                core::TYPE => Cow::Borrowed(&CORE_TYPE[..]),
                core::FUNCTION => leb(self.types).into(),
                core::EXPORT => {
                    let mut export = named(RESET);
                    export.push(0);
                    export.extend(leb(self.functions));
                    export.into()
                }
                core::CODE => self.body()?.into(),
                _ => {
                    out.extend_from_slice(section.whole);
                    continue;
                }
            };
            extended += 1;
            put_section(&mut out, section.id, &one_more(&section, &item)?);
        }
        // All four are there in a module with functions and a memory that others use.
        (extended == 4).then_some(out)
    }

    /// The function's body, with its length.
    fn body(&self) -> Option<Vec<u8>> {
        // No local variables.
        let mut body = vec![0];
        for (index, constant) in &self.mutable {
            body.extend_from_slice(constant);
            body.push(GLOBAL_SET);
            body.extend(leb(*index));
        }
        body.push(END);
        let mut out = leb(u32::try_from(body.len()).ok()?);
        out.extend(body);
        Some(out)
    }
}

/// The instruction of an expression that is one number.
fn constant(expression: &ConstExpr<'_>) -> Option<Vec<u8>> {
    let mut operators = expression.get_operators_reader();
    let number = operators.read().ok()?;
    let is_number = matches!(
        number,
        Operator::I32Const { .. }
            | Operator::I64Const { .. }
            | Operator::F32Const { .. }
            | Operator::F64Const { .. }
    );
    if !is_number || !matches!(operators.read().ok()?, Operator::End) {
        return None;
    }
    let mut reader = expression.get_binary_reader();
    let bytes = reader.read_bytes(reader.bytes_remaining()).ok()?;
    bytes.strip_suffix(&[END]).map(<[u8]>::to_vec)
}

/// Whether a function leaves tables and segments as they are.
fn keeps_tables_and_segments(body: &FunctionBody<'_>) -> Option<()> {
    for operator in body.get_operators_reader().ok()? {
        match operator.ok()? {
            Operator::TableSet { .. }
            | Operator::TableGrow { .. }
            | Operator::TableFill { .. }
            | Operator::TableCopy { .. }
            | Operator::TableInit { .. }
            | Operator::ElemDrop { .. }
            | Operator::MemoryInit { .. }
            | Operator::DataDrop { .. } => return None,
            _ => {}
        }
    }
    Some(())
}

/// The content of a section with an item more.
fn one_more(section: &Section<'_>, item: &[u8]) -> Option<Vec<u8>> {
    let (count, items) = number(section.content)?;
    let mut out = leb(u32::try_from(count.checked_add(1)?).ok()?);
    out.extend_from_slice(items);
    out.extend_from_slice(item);
    Some(out)
}
