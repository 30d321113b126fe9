//! Returns ten thousand columns.

use galley_hostile::*;

hostile!("ret_columns", Int64, |input| {
    let columns = (0..10_000).map(|_| column(ScalarValues::Int64(vec![1; input.rows as usize])));
    Ok(Batch {
        rows: input.rows,
        columns: columns.collect(),
    })
});
