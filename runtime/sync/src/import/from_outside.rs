//! Cells of another online store, one at a time: see [`crate::from_outside`].

use galley_registry::StoredView;
use galley_types::{EntityKey, Value, ValueType};

use super::feast_key::{self, Component};
use super::feast_value;

/// Reads an entity key as Feast writes it into this node's encoding; `None` for a row that Feast
/// itself cannot reach.
///
/// # Errors
/// What does not fit.
pub fn feast_key(bytes: &[u8], view: &StoredView) -> Result<Option<EntityKey>, String> {
    let mut components: Vec<Component> = view
        .join_keys
        .iter()
        .map(|key| Component {
            name: key.name.clone(),
            key_type: key.key_type,
        })
        .collect();
    components.sort_by(|a, b| a.name.cmp(&b.name));
    let mut key = EntityKey::new();
    let is_reachable = feast_key::decode(bytes, &components, &mut key)?;
    Ok(is_reachable.then_some(key))
}

/// Reads a value as Feast writes it as one of `value_type`.
///
/// # Errors
/// What does not fit.
pub fn feast_value(bytes: &[u8], value_type: ValueType) -> Result<Value, String> {
    feast_value::decode(bytes, value_type)
}
