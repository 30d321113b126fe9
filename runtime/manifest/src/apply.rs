//! Settings in the place of defaults.

/// Puts a setting in the place of a default, if it is set.
pub fn set<T>(place: &mut T, setting: Option<T>) {
    if let Some(value) = setting {
        *place = value;
    }
}

/// [`set`] for a number of things.
pub fn set_count(place: &mut usize, setting: Option<u32>) {
    set(place, setting.map(|count| count as usize));
}

/// [`set`] for a number of bytes; what the machine cannot address is as good as no bound.
pub fn set_size(place: &mut usize, setting: Option<u64>) {
    set(
        place,
        setting.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
    );
}
