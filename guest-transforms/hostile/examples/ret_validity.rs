//! Returns a validity bitmap that is too short.

use galley_hostile::*;

hostile!("ret_validity", Int64, |input| {
    let mut answer = batch(
        input.rows,
        ScalarValues::Int64(vec![1; input.rows as usize]),
    );
    answer.columns[0].validity = Some(Vec::new());
    Ok(answer)
});
