//! Feature references: `view:feature`, `view@v2:feature`, `view@latest:feature`.

/// Why a reference could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Invalid feature reference '{0}'. Expected format: '<feature_view>:<feature>' or \
     '<feature_view>@<version>:<feature>'"
)]
pub struct ReferenceError(pub String);

/// A reference to one feature of one view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FeatureRef<'a> {
    /// The view, without its version.
    pub view: &'a str,
    /// The version asked for by number; `@latest` and no version are `None`.
    pub version: Option<u32>,
    /// The view as it was written before the colon, version included.
    pub qualified_view: &'a str,
    /// The feature: everything after the first colon, as Feast has it.
    pub feature: &'a str,
}

impl<'a> FeatureRef<'a> {
    /// Reads a reference as Feast 0.67 does: what follows `@` is a version only if it is `latest`
    /// or `v` and digits, else it belongs to the name.
    ///
    /// # Errors
    /// [`ReferenceError`] when there is no colon or nothing before it.
    pub fn parse(text: &'a str) -> Result<Self, ReferenceError> {
        let (qualified_view, feature) = text
            .split_once(':')
            .ok_or_else(|| ReferenceError(text.to_owned()))?;
        if qualified_view.is_empty() || feature.is_empty() {
            return Err(ReferenceError(text.to_owned()));
        }
        let (view, version) = match qualified_view.rsplit_once('@') {
            Some((view, tag)) if tag.eq_ignore_ascii_case("latest") => (view, None),
            Some((view, tag)) => match version_number(tag) {
                Some(number) => (view, Some(number)),
                None => (qualified_view, None),
            },
            None => (qualified_view, None),
        };
        Ok(Self {
            view,
            version,
            qualified_view,
            feature,
        })
    }
}

fn version_number(tag: &str) -> Option<u32> {
    let digits = tag.strip_prefix(['v', 'V'])?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_as_feast_reads_them() {
        let check = |text: &'static str, view, version, feature| {
            let parsed = FeatureRef::parse(text).unwrap();
            assert_eq!(
                (parsed.view, parsed.version, parsed.feature),
                (view, version, feature)
            );
        };
        check("v:f", "v", None, "f");
        check("v:f:x", "v", None, "f:x");
        check("v@latest:f", "v", None, "f");
        check("v@v2:f", "v", Some(2), "f");
        check("v@zz:f", "v@zz", None, "f");
        for bad in ["", "f", ":f", "v:"] {
            assert!(FeatureRef::parse(bad).is_err(), "{bad}");
        }
    }
}
