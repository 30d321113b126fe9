//! The `galley` binary.

fn main() {}
