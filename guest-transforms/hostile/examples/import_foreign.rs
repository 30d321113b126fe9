//! Imports an interface that no transformation is given.

use galley_hostile::*;

mod foreign {
    wit_bindgen::generate!({
        inline: "
            package evil:host@0.1.0;
            interface files { read: func(path: string) -> list<u8>; }
            world w { import files; }
        ",
        world: "w",
    });
}

hostile!("import_foreign", Int64, |input| {
    let bytes = foreign::evil::host::files::read("/etc/passwd");
    Ok(batch(
        input.rows,
        ScalarValues::Int64(vec![bytes.len() as i64; input.rows as usize]),
    ))
});
