//! Components that are put back, and those that are not.

use super::*;

/// A component of one module with a memory, two numbers and `more`; `outer` stands behind it.
fn component(more: &str, outer: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
          (core module $m
            {more}
            (memory (export "memory") 1)
            (global $kept i32 (i32.const 1))
            (global $count (mut i32) (i32.const 7))
            (global $half (mut f64) (f64.const 0.5))
            (func (export "run") (result i32)
              (global.set $count (i32.add (global.get $count) (i32.const 1)))
              (global.set $half (f64.add (global.get $half) (f64.const 1)))
              (i32.add (global.get $count) (i32.trunc_f64_s (global.get $half)))))
          (core instance $i (instantiate $m))
          (alias core export $i "memory" (core memory $memory))
          (func $run (export "run") (result u32)
            (canon lift (core func $i "run") (memory $memory)))
          {outer})"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn numbers_are_put_back() {
    let bytes = with_reset(&component("", "")).unwrap();
    let engine = wasmtime::Engine::default();
    let component = wasmtime::component::Component::new(&engine, bytes).unwrap();
    let mut store = wasmtime::Store::new(&engine, ());
    let instance = wasmtime::component::Linker::new(&engine)
        .instantiate(&mut store, &component)
        .unwrap();
    let run = instance
        .get_typed_func::<(), (u32,)>(&mut store, "run")
        .unwrap();
    let reset = instance
        .get_typed_func::<(u32,), ()>(&mut store, RESET)
        .unwrap();
    let run = |store: &mut wasmtime::Store<()>| run.call(store, ()).unwrap().0;
    assert_eq!((run(&mut store), run(&mut store)), (8 + 1, 9 + 2));
    reset.call(&mut store, (0,)).unwrap();
    assert_eq!((run(&mut store), run(&mut store)), (8 + 1, 9 + 2));
}

#[test]
fn components_with_more_state_are_left_alone() {
    let with_state = [
        r#"(table $t 1 funcref) (func (table.set $t (i32.const 0) (ref.null func)))"#,
        r#"(table $t 1 funcref) (func (drop (table.grow $t (ref.null func) (i32.const 1))))"#,
        r#"(table $t 1 funcref) (elem $e func) (func (elem.drop $e))"#,
        r#"(data $d "x") (func (data.drop $d))"#,
        r#"(func $s) (start $s)"#,
        r#"(global (mut funcref) (ref.null func))"#,
        r#"(memory 1)"#,
        r#"(func (export "galley-reset"))"#,
        r#"(rec (type (func)) (type (func)))"#,
    ];
    for more in with_state {
        assert_eq!(with_reset(&component(more, "")), None, "{more}");
    }
    let outside = [
        "(core instance (instantiate $m))",
        "(core module $other (global (mut i32) (i32.const 0))) (core instance (instantiate $other))",
        "(component (core module))",
        r#"(component $inner
             (import "m" (core module $handed (export "memory" (memory 1))))
             (core instance (instantiate $handed)))
           (instance (instantiate $inner (with "m" (core module $m))))"#,
        "(type $r (resource (rep i32))) (core func (canon resource.new $r))",
        r#"(export "galley-reset" (func $run))"#,
    ];
    for outer in outside {
        assert_eq!(with_reset(&component("", outer)), None, "{outer}");
    }
}

#[test]
fn any_bytes_are_looked_at_without_a_panic() {
    let bytes = component("", "");
    assert_eq!(with_reset(b""), None);
    assert_eq!(with_reset(&bytes[..bytes.len() - 1]), None);
    for at in 0..bytes.len() {
        let mut spoilt = bytes.clone();
        spoilt[at] ^= 0x55;
        // Whether it is still a component is the compiler's to say.
        drop(with_reset(&spoilt));
        drop(with_reset(&bytes[..at]));
    }
}
