//! Returns no column.

use galley_hostile::*;

hostile!("ret_no_columns", Int64, |input| Ok(Batch {
    rows: input.rows,
    columns: Vec::new()
}));
