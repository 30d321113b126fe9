//! Which component answers which path: Spin's routes.

/// A route: segments that must be equal, `:parameters` that take any one segment, and at the end
/// perhaps `...`, which takes all that follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    text: String,
    segments: Vec<Segment>,
    is_open: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Exact(String),
    Parameter(String),
}

/// What a path has in the places a route leaves open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Matched {
    /// Parameters and their values.
    pub(crate) parameters: Vec<(String, String)>,
    /// What `...` took: empty or beginning with a slash.
    pub(crate) rest: String,
}

/// Segments of a route.
const SEGMENTS_MAX: usize = 64;

impl Route {
    /// Reads a route.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let path = text.strip_prefix('/').ok_or("it must begin with '/'")?;
        if text.contains(['?', '#', '*', '%']) || text.bytes().any(|byte| byte <= b' ') {
            return Err("it is a path without '?', '#', '*', '%' and spaces");
        }
        let (path, is_open) = match path.strip_suffix("...") {
            None => (path, false),
            Some("") => ("", true),
            Some(before) => match before.strip_suffix('/') {
                Some(before) => (before, true),
                None => return Err("'...' must stand behind a '/'"),
            },
        };
        let mut segments = Vec::new();
        for segment in path.split('/').filter(|_| !path.is_empty()) {
            segments.push(match segment.strip_prefix(':') {
                _ if segment.contains("...") => return Err("'...' may stand at its end only"),
                _ if segment.is_empty() => return Err("it has an empty segment"),
                Some("") => return Err("a parameter needs a name: '/:name'"),
                Some(name) => Segment::Parameter(name.to_owned()),
                None => Segment::Exact(segment.to_owned()),
            });
        }
        if segments.len() > SEGMENTS_MAX {
            return Err("it has more than 64 segments");
        }
        Ok(Self {
            text: text.to_owned(),
            segments,
            is_open,
        })
    }

    /// As it stands in the manifest.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The route without its `...`: what components call their base.
    pub(crate) fn base(&self) -> &str {
        let base = self.text.strip_suffix("...").unwrap_or(&self.text);
        base.trim_end_matches('/')
    }

    /// Whether `path` belongs to this route, and what it has in the open places. A slash at the end
    /// of a path does not count.
    pub(crate) fn matches(&self, path: &str) -> Option<Matched> {
        let mut left = path.strip_prefix('/')?;
        let mut parameters = Vec::new();
        let mut is_spent = false;
        for segment in &self.segments {
            if is_spent {
                return None;
            }
            let (found, after) = match left.split_once('/') {
                Some((found, after)) => (found, after),
                None => {
                    is_spent = true;
                    (left, "")
                }
            };
            match segment {
                Segment::Exact(own) if own == found => {}
                Segment::Parameter(name) if !found.is_empty() => {
                    parameters.push((name.clone(), found.to_owned()));
                }
                Segment::Exact(_) | Segment::Parameter(_) => return None,
            }
            left = after;
        }
        if !self.is_open {
            return left.is_empty().then_some(Matched {
                parameters,
                rest: String::new(),
            });
        }
        let rest = if is_spent {
            String::new()
        } else {
            format!("/{left}")
        };
        Some(Matched { parameters, rest })
    }

    /// Orders routes that cover the same path: the more exact one is greater.
    pub(crate) fn exactness(&self) -> (Vec<bool>, bool) {
        let exact = |segment: &Segment| matches!(segment, Segment::Exact(_));
        (self.segments.iter().map(exact).collect(), !self.is_open)
    }

    /// Whether both routes cover the same paths, whatever their parameters are called.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let pairs = self.segments.iter().zip(&other.segments);
        self.is_open == other.is_open
            && self.segments.len() == other.segments.len()
            && pairs.into_iter().all(|pair| match pair {
                (Segment::Exact(one), Segment::Exact(other)) => one == other,
                (Segment::Parameter(_), Segment::Parameter(_)) => true,
                _ => false,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_cover_what_spin_says_they_cover() {
        let check = |route: &str, path: &str, expect: Option<&str>| {
            let matched = Route::parse(route).unwrap().matches(path);
            assert_eq!(
                matched.as_ref().map(|matched| matched.rest.as_str()),
                expect,
                "{route} {path}"
            );
        };
        check("/", "/", Some(""));
        check("/", "/a", None);
        check("/a", "/a", Some(""));
        check("/a", "/a/", Some(""));
        check("/a", "/ab", None);
        check("/a", "/a/b", None);
        check("/a/...", "/a", Some(""));
        check("/a/...", "/a/", Some("/"));
        check("/a/...", "/a/b/c", Some("/b/c"));
        check("/a/...", "/ab", None);
        check("/...", "/a", Some("/a"));
        check("/u/:id/x", "/u/7/x", Some(""));
        check("/u/:id/x", "/u//x", None);
        check("/u/:id/x", "/u/7", None);
        check("/u/:id/...", "/u/7/y", Some("/y"));
        check("/a", "a", None);
    }

    #[test]
    fn parameters_are_what_stands_in_their_place() {
        let matched = Route::parse("/u/:id/:what").unwrap().matches("/u/7/x%20y");
        let parameters = matched.unwrap().parameters;
        let pairs: Vec<(&str, &str)> = parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(pairs, [("id", "7"), ("what", "x%20y")]);
    }

    #[test]
    fn routes_that_make_no_sense_are_refused() {
        for route in [
            "", "a", "/a...", "/a/.../b", "/a//b", "/:", "/a?b", "/a/*", "/a b",
        ] {
            assert!(Route::parse(route).is_err(), "{route}");
        }
    }

    #[test]
    fn the_more_exact_route_comes_first() {
        let exactness = |route: &str| Route::parse(route).unwrap().exactness();
        let order = ["/...", "/a/...", "/a/:b/...", "/a/:b", "/a/b/...", "/a/b"];
        for (less, more) in order.iter().zip(order.iter().skip(1)) {
            assert!(exactness(less) < exactness(more), "{less} {more}");
        }
    }
}
