//! Describes two outputs of the same name.

use galley_hostile::*;

hostile!(
    describe: {
        let mut signature = signature("sig_twice", Kind::Int64, Kind::Int64);
        signature.outputs.push(signature.outputs[0].clone());
        signature
    },
    |input| Ok(input)
);
