//! Describes a hundred thousand outputs.

use galley_hostile::*;

hostile!(
    describe: {
        let mut signature = signature("sig_huge", Kind::Int64, Kind::Int64);
        let field = signature.outputs[0].clone();
        signature.outputs = (0..100_000)
            .map(|index| Field { name: format!("value{index}"), ..field.clone() })
            .collect();
        signature
    },
    |input| Ok(input)
);
