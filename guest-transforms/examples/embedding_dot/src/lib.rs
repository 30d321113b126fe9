//! How alike two embeddings are. Over columns: the lengths are checked before any arithmetic.

/// The dot product and the cosine, for every row.
#[galley::transform(columns, outputs("dot", "cosine"), volatility = "immutable")]
pub fn embedding_dot(
    user_embedding: &[&[f32]],
    item_embedding: &[&[f32]],
) -> Result<(Vec<f64>, Vec<Option<f64>>), String> {
    for (row, (user, item)) in user_embedding.iter().zip(item_embedding).enumerate() {
        if user.len() != item.len() {
            return Err(format!(
                "row {row}: user_embedding has {} dimensions, item_embedding {}",
                user.len(),
                item.len()
            ));
        }
    }
    let rows = || user_embedding.iter().zip(item_embedding);
    let dots: Vec<f64> = rows().map(|(user, item)| dot(user, item)).collect();
    let cosines = rows().zip(&dots).map(|((user, item), dot_of_row)| {
        let norms = (dot(user, user) * dot(item, item)).sqrt();
        // A zero vector points nowhere: it is like nothing.
        (norms > 0.0).then(|| dot_of_row / norms)
    });
    let cosines = cosines.collect();
    Ok((dots, cosines))
}

fn dot(left: &[f32], right: &[f32]) -> f64 {
    left.iter()
        .zip(right)
        .map(|(left, right)| f64::from(*left) * f64::from(*right))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zero_vector_is_like_nothing() {
        let (dots, cosines) =
            embedding_dot(&[&[3.0, 4.0], &[0.0, 0.0]], &[&[3.0, 4.0], &[1.0, 2.0]]).unwrap();
        assert_eq!(dots, [25.0, 0.0]);
        assert_eq!(cosines, [Some(1.0), None]);
        assert!(embedding_dot(&[&[1.0]], &[&[]]).is_err());
    }
}
