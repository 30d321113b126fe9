//! What the hostile components share: a harmless transformation to deviate from.
//!
//! Every file in `examples/` is one component. `value: int64` goes in, `value: int64` comes out,
//! except for what the file is about.

pub use galley::bindings::galley::transform::types::{
    ArrayValues, Batch, Column, DataType, Error, Field, Kind, NullHandling, Packed, Rejection,
    ScalarValues, Signature, Values, Volatility,
};
pub use galley::bindings::galley::transform::{log, request};
pub use galley::rt::Guest;

/// The signature of a transformation called `name` with one input and one output of `kind`.
pub fn signature(name: &str, input: Kind, output: Kind) -> Signature {
    let field = |kind| Field {
        name: "value".to_owned(),
        data_type: DataType::Scalar(kind),
        nullable: true,
    };
    Signature {
        name: name.to_owned(),
        version: "0.1.0".to_owned(),
        inputs: vec![field(input)],
        outputs: vec![field(output)],
        null_handling: NullHandling::CalledOnNull,
        volatility: Volatility::Volatile,
    }
}

/// A batch of one column.
pub fn batch(rows: u32, values: ScalarValues) -> Batch {
    Batch {
        rows,
        columns: vec![column(values)],
    }
}

/// A column without nulls.
pub fn column(values: ScalarValues) -> Column {
    Column {
        values: Values::Scalar(values),
        validity: None,
    }
}

/// Never ends, and is not optimised away.
pub fn spin() -> ! {
    let mut count = 0_u64;
    loop {
        count = std::hint::black_box(count.wrapping_add(1));
    }
}

/// A component from the body of `apply`, and of `describe` where that misbehaves too.
#[macro_export]
macro_rules! hostile {
    ($name:literal, $output:ident, |$batch:ident| $apply:expr) => {
        $crate::hostile!(
            describe: $crate::signature($name, $crate::Kind::Int64, $crate::Kind::$output),
            |$batch| $apply
        );
    };
    (describe: $describe:expr, |$batch:ident| $apply:expr) => {
        #[doc(hidden)]
        pub struct Component;

        impl $crate::Guest for Component {
            #[allow(unreachable_code)]
            fn describe() -> $crate::Signature {
                $describe
            }

            #[allow(unreachable_code, unused_variables)]
            fn apply($batch: $crate::Batch) -> Result<$crate::Batch, $crate::Error> {
                $apply
            }
        }

        #[cfg(target_arch = "wasm32")]
        galley::rt::export!(Component with_types_in galley::bindings);
    };
}
