//! Small guests, assembled from text: a memory with an image of their signature, a bump allocator,
//! and the bodies of the functions under test.

#![allow(
    dead_code,
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "shared by tests of which none uses all, and tests may fail loudly"
)]

use std::fmt::Write as _;

use galley_transform::{DataType, Field, Kind, NullHandling, Signature, Volatility};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Where the image of the signature lies.
const SIGNATURE_AT: usize = 1024;
/// Where `apply` may build its answer: a result, its columns, some bytes.
pub(crate) const ANSWER_AT: usize = 16;
/// Where the allocator begins.
const HEAP_AT: usize = 32 << 10;

/// A guest in the making. Every text is WebAssembly text.
#[derive(Clone)]
pub(crate) struct Guest {
    pub(crate) signature: Signature,
    /// Parameters `$rows $columns $count`, gives a pointer to the result.
    pub(crate) apply: String,
    /// Before the signature is given.
    pub(crate) describe: String,
    /// Parameters `$old $old_size $align $new_size`, gives a pointer.
    pub(crate) realloc: String,
    /// The body of the start function.
    pub(crate) start: Option<String>,
    /// Parameter `$answer`.
    pub(crate) post_return: Option<String>,
    /// Further definitions, imports first.
    pub(crate) imports: String,
    pub(crate) extra: String,
    pub(crate) pages: u32,
    pub(crate) wit: String,
}

pub(crate) fn field(name: &str, data_type: DataType, nullable: bool) -> Field {
    Field {
        name: name.to_owned(),
        data_type,
        nullable,
    }
}

pub(crate) fn signature(inputs: &[DataType], outputs: &[DataType]) -> Signature {
    let fields = |what: &str, types: &[DataType]| {
        types
            .iter()
            .enumerate()
            .map(|(index, data_type)| field(&format!("{what}{index}"), *data_type, true))
            .collect()
    };
    Signature {
        name: "a_view".to_owned(),
        version: "1".to_owned(),
        inputs: fields("in", inputs),
        outputs: fields("out", outputs),
        null_handling: NullHandling::CalledOnNull,
        volatility: Volatility::Immutable,
    }
}

/// One column of doubles in, one out.
pub(crate) fn doubles() -> Signature {
    let double = [DataType::Scalar(Kind::Float64)];
    signature(&double, &double)
}

/// Writes an answer whose columns are those at `$columns`: what came in goes out.
pub(crate) const ECHO: &str = "
    (i32.store (i32.const 16) (i32.const 0))
    (i32.store (i32.const 20) (local.get $rows))
    (i32.store (i32.const 24) (local.get $columns))
    (i32.store (i32.const 28) (local.get $count))
    (i32.const 16)";

impl Guest {
    /// A guest that gives back what it gets.
    pub(crate) fn echo(signature: Signature) -> Self {
        let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/transform.wit");
        Self {
            signature,
            apply: ECHO.to_owned(),
            describe: String::new(),
            realloc: BUMP.to_owned(),
            start: None,
            post_return: None,
            imports: String::new(),
            extra: String::new(),
            pages: 2,
            wit: std::fs::read_to_string(wit).unwrap(),
        }
    }

    pub(crate) fn apply(body: &str) -> Self {
        Self {
            apply: body.to_owned(),
            ..Self::echo(doubles())
        }
    }

    /// What lies in the memory for `describe`.
    pub(crate) fn signature_image(&self) -> Vec<u8> {
        image(&self.signature)
    }

    pub(crate) fn text(&self) -> String {
        let interface = "galley:transform/transformer@0.1.0";
        let image: String = image(&self.signature)
            .iter()
            .fold(String::new(), |mut text, byte| {
                let _ = write!(text, "\\{byte:02x}");
                text
            });
        let start = self.start.as_ref().map_or_else(String::new, |body| {
            format!("(func $start {body}) (start $start)")
        });
        let post_return = self.post_return.as_ref().map_or_else(String::new, |body| {
            format!("(func (export \"cabi_post_{interface}#apply\") (param $answer i32) {body})")
        });
        format!(
            r#"(module
              {imports}
              (memory (export "memory") {pages})
              (global $next (mut i32) (i32.const {HEAP_AT}))
              (data (i32.const {SIGNATURE_AT}) "{image}")
              {extra}
              (func $realloc (export "cabi_realloc")
                (param $old i32) (param $old_size i32) (param $align i32) (param $new_size i32)
                (result i32) {realloc})
              (func (export "{interface}#describe") (result i32)
                {describe} (i32.const {SIGNATURE_AT}))
              (func (export "{interface}#apply")
                (param $rows i32) (param $columns i32) (param $count i32) (result i32)
                (local $i i32) (local $j i32) {apply})
              {start} {post_return})"#,
            imports = self.imports,
            pages = self.pages,
            extra = self.extra,
            realloc = self.realloc,
            describe = self.describe,
            apply = self.apply,
        )
    }

    /// The component.
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut module = wat::parse_str(self.text()).unwrap_or_else(|error| panic!("{error}"));
        let mut resolve = Resolve::default();
        let package = resolve.push_str("transform.wit", &self.wit).unwrap();
        let world = resolve.select_world(&[package], Some("transform")).unwrap();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        ComponentEncoder::default()
            .module(&module)
            .unwrap()
            .validate(false)
            .encode()
            .unwrap_or_else(|error| panic!("{error:?}"))
    }
}

/// Gives memory and never takes it back.
pub(crate) const BUMP: &str = "
    (local $at i32)
    (local.set $at
      (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (global.set $next (i32.add (local.get $at) (local.get $new_size)))
    (if (i32.gt_u (global.get $next) (i32.mul (memory.size) (i32.const 65536)))
      (then (drop (memory.grow (i32.add (i32.shr_u (local.get $new_size) (i32.const 16))
                                        (i32.const 1))))))
    (local.get $at)";

/// The signature as it lies in memory at [`SIGNATURE_AT`].
fn image(signature: &Signature) -> Vec<u8> {
    let mut image = Image { bytes: vec![0; 36] };
    let text = image.text(&signature.name);
    image.put(0, text);
    let text = image.text(&signature.version);
    image.put(8, text);
    let list = image.fields(&signature.inputs);
    image.put(16, list);
    let list = image.fields(&signature.outputs);
    image.put(24, list);
    image.bytes[32] = signature.null_handling as u8;
    image.bytes[33] = signature.volatility as u8;
    assert!(SIGNATURE_AT + image.bytes.len() < HEAP_AT);
    image.bytes
}

struct Image {
    bytes: Vec<u8>,
}

impl Image {
    fn text(&mut self, text: &str) -> (usize, usize) {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        (SIGNATURE_AT + at, text.len())
    }

    fn put(&mut self, at: usize, (pointer, length): (usize, usize)) {
        self.bytes[at..at + 4].copy_from_slice(&u32::try_from(pointer).unwrap().to_le_bytes());
        self.bytes[at + 4..at + 8].copy_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
    }

    fn fields(&mut self, fields: &[Field]) -> (usize, usize) {
        let at = self.bytes.len();
        self.bytes.resize(at + fields.len() * 12, 0);
        for (index, field) in fields.iter().enumerate() {
            let at = at + index * 12;
            let text = self.text(&field.name);
            self.put(at, text);
            let (case, kind) = match field.data_type {
                DataType::Scalar(kind) => (0, kind),
                DataType::Array(kind) => (1, kind),
            };
            self.bytes[at + 8] = case;
            self.bytes[at + 9] = kind as u8;
            self.bytes[at + 10] = u8::from(field.nullable);
        }
        (SIGNATURE_AT + at, fields.len())
    }
}
