//! Random sound guests: modules of our world's shape, whose functions hold whatever the bytes decide.

use std::sync::LazyLock;

use libfuzzer_sys::arbitrary::Unstructured;
use wasm_smith::{Config, Module};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve, WorldId};

/// Memory a guest may begin with or grow to; more is refused before it runs.
const MEMORY_BYTES_MAX: u64 = 4 << 20;
const TABLE_ELEMENTS_MAX: u64 = 1_000;

/// The contract, and a module with its imports and exports and nothing in them.
static WORLD: LazyLock<(Resolve, WorldId, Vec<u8>)> = LazyLock::new(|| {
    let wit = include_str!("../../../wit/transform.wit");
    let mut resolve = Resolve::default();
    let package = resolve
        .push_str("transform.wit", wit)
        .expect("the contract is sound");
    let world = resolve
        .select_world(&[package], Some("transform"))
        .expect("it has this world");
    let abi = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);
    let shape = wit_component::dummy_module(&resolve, world, abi);
    (resolve, world, shape)
});

/// The guest that `bytes` stand for; `None` when they stand for none.
pub(crate) fn guest(bytes: &[u8]) -> Option<Vec<u8>> {
    let (resolve, world, shape) = &*WORLD;
    let config = Config {
        module_shape: Some(shape.clone()),
        max_memory32_bytes: MEMORY_BYTES_MAX,
        max_table_elements: TABLE_ELEMENTS_MAX,
        threads_enabled: false,
        gc_enabled: false,
        exceptions_enabled: false,
        memory64_enabled: false,
        ..Config::default()
    };
    let module = Module::new(config, &mut Unstructured::new(bytes)).ok()?;
    let mut module = module.to_bytes();
    embed_component_metadata(&mut module, resolve, *world, StringEncoding::UTF8).ok()?;
    let encoder = ComponentEncoder::default().module(&module).ok()?;
    encoder.validate(false).encode().ok()
}
