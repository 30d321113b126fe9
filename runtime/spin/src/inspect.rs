//! A look at a component before anything of it is compiled.

use galley_transform::{Inspection, LimitValue, clip};

use crate::bounds::{HttpLimits, Limit};
use crate::error::{Error, Result};

/// Bytes of a guest's names that are shown.
const SHOWN_BYTES_MAX: usize = 1_024;

/// The interfaces a component may import: package and the start of the version. Interfaces that hold
/// nothing but types come with the ones that use them.
const PACKAGES: [(&str, &str); 8] = [
    ("wasi:http/", "0.3."),
    ("wasi:clocks/", "0.3."),
    ("wasi:random/", "0.3."),
    ("wasi:cli/", "0.3."),
    ("spin:key-value/", "3.0."),
    ("spin:variables/", "3.0."),
    ("galley:features/", "0.1."),
    ("galley:transform/types@", "0.1."),
];

/// Checks that `bytes` are a component that may run here.
pub(crate) fn check(name: &str, bytes: &[u8], limits: &HttpLimits) -> Result<()> {
    // Checked before it is read: reading takes time in proportion.
    if bytes.len() > limits.component_bytes_max {
        return Err(over(name, limits, Limit::Component));
    }
    let found = Inspection::of(bytes).map_err(|source| Error::Load {
        component: name.to_owned(),
        source,
    })?;
    let forbidden: Vec<String> = found
        .imports
        .iter()
        .filter(|import| !may_import(import))
        .map(|import| clip(import, SHOWN_BYTES_MAX))
        .collect();
    if !forbidden.is_empty() {
        return Err(Error::ForbiddenImports {
            component: name.to_owned(),
            imports: forbidden,
        });
    }
    let handles = |export: &String| {
        export
            .strip_prefix("wasi:http/handler@")
            .is_some_and(|version| version.starts_with("0.3."))
    };
    if !found.exports.iter().any(handles) {
        let exports = clip(&found.exports.join(", "), SHOWN_BYTES_MAX);
        return Err(Error::NotAHandler {
            component: name.to_owned(),
            exports: if exports.is_empty() {
                "nothing".to_owned()
            } else {
                exports
            },
        });
    }
    let sizes = [
        (Limit::CoreInstances, found.core_instances as u64),
        (Limit::Memory, found.memory_bytes),
        (Limit::TableElements, found.table_elements),
    ];
    for (limit, size) in sizes {
        let Some(LimitValue::Bytes(max) | LimitValue::Count(max)) = limits.value(limit) else {
            continue;
        };
        if size > max {
            return Err(over(name, limits, limit));
        }
    }
    Ok(())
}

pub(crate) fn over(name: &str, limits: &HttpLimits, limit: Limit) -> Error {
    Error::Limit {
        component: name.to_owned(),
        limit,
        value: limits.value(limit).unwrap_or(LimitValue::Count(0)),
    }
}

fn may_import(import: &str) -> bool {
    PACKAGES.iter().any(|(package, version)| {
        let version_of = |rest: &str| -> bool {
            let given = rest.rsplit('@').next().unwrap_or_default();
            let patch = given.strip_prefix(version).unwrap_or_default();
            !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit())
        };
        import.strip_prefix(package).is_some_and(version_of)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_node_offers_may_be_imported() {
        let check = |name: &str, expect: bool| assert_eq!(may_import(name), expect, "{name}");
        check("wasi:http/types@0.3.0", true);
        check("wasi:cli/stdout@0.3.1", true);
        check("spin:key-value/key-value@3.0.0", true);
        check("galley:features/online@0.1.0", true);
        check("galley:transform/types@0.1.0", true);
        check("galley:transform/request@0.1.0", false);
        check("wasi:filesystem/types@0.3.0", false);
        check("wasi:sockets/types@0.3.0", false);
        check("wasi:http/types@0.2.6", false);
        check("wasi:cli/environment@0.3.0-rc-2026", false);
        check("spin:sqlite/sqlite@3.1.0", false);
        check("galley:features/online@0.1.", false);
    }
}
