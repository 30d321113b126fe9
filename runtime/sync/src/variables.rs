//! Environment variables in the text of `feature_store.yaml`.

/// The text with its variables put in, and those that are not set.
pub(crate) struct Expanded {
    pub(crate) text: String,
    pub(crate) unset: Vec<String>,
}

/// One `$NAME`, `${NAME}` or `${NAME:default}` of a text.
pub(crate) struct Reference<'a> {
    start: usize,
    end: usize,
    pub(crate) name: &'a str,
    default: Option<&'a str>,
}

/// The references to variables in `text`, in order.
pub(crate) fn references(text: &str) -> impl Iterator<Item = Reference<'_>> {
    let mut from = 0_usize;
    std::iter::from_fn(move || {
        loop {
            let start = from + text.get(from..)?.find('$')?;
            let rest = text.get(start + 1..)?;
            from = start + 1;
            if let Some(inner) = rest.strip_prefix('{') {
                let Some(length) = inner.find('}') else {
                    continue;
                };
                let inner = inner.get(..length)?;
                let (name, default) = match inner.split_once(':') {
                    Some((name, default)) => {
                        (name, Some(default.strip_prefix('-').unwrap_or(default)))
                    }
                    None => (inner, None),
                };
                from = start + length + 3;
                return Some(Reference {
                    start,
                    end: from,
                    name,
                    default,
                });
            }
            let length = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .unwrap_or(rest.len());
            if length == 0 {
                continue;
            }
            from = start + 1 + length;
            return Some(Reference {
                start,
                end: from,
                name: rest.get(..length)?,
                default: None,
            });
        }
    })
}

/// Puts environment variables into `text`; those that are not set stay and are listed.
pub(crate) fn expand(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Expanded {
    let mut out = String::with_capacity(text.len());
    let mut unset = Vec::new();
    let mut copied = 0_usize;
    for reference in references(text) {
        out.push_str(text.get(copied..reference.start).unwrap_or(""));
        copied = reference.end;
        match env(reference.name).or_else(|| reference.default.map(str::to_owned)) {
            Some(value) => out.push_str(&value),
            None => {
                out.push_str(text.get(reference.start..reference.end).unwrap_or(""));
                unset.push(reference.name.to_owned());
            }
        }
    }
    out.push_str(text.get(copied..).unwrap_or(""));
    Expanded { text: out, unset }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_those_of_a_shell() {
        let found = |text: &str| -> Vec<(String, Option<String>)> {
            references(text)
                .map(|one| (one.name.to_owned(), one.default.map(str::to_owned)))
                .collect()
        };
        let check = |text: &str, expect: &[(&str, Option<&str>)]| {
            let expect: Vec<_> = expect
                .iter()
                .map(|(name, default)| ((*name).to_owned(), default.map(str::to_owned)))
                .collect();
            assert_eq!(found(text), expect, "{text}");
        };
        check("a $b/${c}", &[("b", None), ("c", None)]);
        check("$ $$x ${open", &[("x", None)]);
        check("${a:1}${b:-2}", &[("a", Some("1")), ("b", Some("2"))]);
        check("\u{e9}$a\u{e9}", &[("a", None)]);
    }

    #[test]
    fn what_is_not_set_stays_and_is_listed() {
        let expanded = expand("x: $A ${B} $C", &|name| {
            (name == "A").then(|| "1".to_owned())
        });
        assert_eq!(expanded.text, "x: 1 ${B} $C");
        assert_eq!(expanded.unset, ["B", "C"]);
    }
}
