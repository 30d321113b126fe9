//! Guests assembled from WebAssembly text: for what no compiler makes.

use std::fmt::Write as _;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::root;

/// Where the image of the signature lies in the guest's memory.
const SIGNATURE_AT: usize = 1024;

/// A guest that takes `value: int64` and gives it back, but for what these texts say.
#[derive(Debug, Clone)]
pub struct Guest {
    /// The view it says it is.
    pub name: String,
    /// Locals `$rows $columns $count $i $j`; gives the place of the answer.
    pub apply: String,
    /// Further definitions.
    pub extra: String,
}

impl Guest {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            // The answer lies at 16; its columns are those that came.
            apply: "(i32.store (i32.const 16) (i32.const 0))
                (i32.store (i32.const 20) (local.get $rows))
                (i32.store (i32.const 24) (local.get $columns))
                (i32.store (i32.const 28) (local.get $count))
                (i32.const 16)"
                .to_owned(),
            extra: String::new(),
        }
    }

    fn text(&self) -> String {
        let interface = "galley:transform/transformer@0.1.0";
        let mut image = String::new();
        for byte in self.signature() {
            let _ = write!(image, "\\{byte:02x}");
        }
        format!(
            r#"(module
              (memory (export "memory") 2)
              (global $next (mut i32) (i32.const 32768))
              (data (i32.const {SIGNATURE_AT}) "{image}")
              {extra}
              (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
                (global.set $next (i32.add (local.get $at) (local.get 3)))
                (local.get $at))
              (func (export "{interface}#describe") (result i32) (i32.const {SIGNATURE_AT}))
              (func (export "{interface}#apply")
                (param $rows i32) (param $columns i32) (param $count i32) (result i32)
                (local $i i32) (local $j i32) {apply}))"#,
            extra = self.extra,
            apply = self.apply,
        )
    }

    /// The signature as it lies in memory: a record of 36 bytes, then what it points to.
    fn signature(&self) -> Vec<u8> {
        let name_at = 36;
        let value_at = name_at + self.name.len().next_multiple_of(4);
        let field_at = value_at + 8;
        let place = |at: usize| u32::try_from(SIGNATURE_AT + at).unwrap();
        let mut words = vec![
            place(name_at),
            u32::try_from(self.name.len()).unwrap(),
            place(value_at),
            1,
        ];
        for _ in ["inputs", "outputs"] {
            words.extend([place(field_at), 1]);
        }
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        // Called on null, volatile.
        bytes.extend([0, 2, 0, 0]);
        bytes.extend(self.name.as_bytes());
        bytes.resize(value_at, 0);
        bytes.extend(b"value\0\0\0");
        bytes.extend(place(value_at).to_le_bytes());
        bytes.extend(5_u32.to_le_bytes());
        // A scalar of kind int64 that may be null.
        bytes.extend([0, 2, 1, 0]);
        bytes
    }

    /// The component.
    pub fn build(&self) -> Vec<u8> {
        let mut module = wat::parse_str(self.text()).unwrap_or_else(|error| panic!("{error}"));
        let contract = std::fs::read_to_string(root().join("wit/transform.wit")).unwrap();
        let mut resolve = Resolve::default();
        let package = resolve.push_str("transform.wit", &contract).unwrap();
        let world = resolve.select_world(&[package], Some("transform")).unwrap();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        ComponentEncoder::default()
            .module(&module)
            .unwrap()
            .encode()
            .unwrap_or_else(|error| panic!("{error:?}"))
    }
}
