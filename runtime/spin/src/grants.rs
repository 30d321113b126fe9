//! The hosts a component may send requests to, in Spin's notation.

use std::str::FromStr;

/// What `allowed_outbound_hosts` grants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OutboundGrants(Vec<Pattern>);

/// One entry: `scheme://host:port`, each part of which may be `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    scheme: Option<String>,
    host: HostPattern,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPattern {
    Any,
    Exact(String),
    /// `*.example.com`: with the dot.
    Below(String),
}

// === impl OutboundGrants ===

impl OutboundGrants {
    /// Reads the entries of a manifest.
    ///
    /// # Errors
    /// The entry that is not understood, and why.
    pub(crate) fn parse(entries: &[String]) -> Result<Self, (String, String)> {
        let parsed = entries.iter().map(|entry| {
            let pattern = entry.parse::<Pattern>();
            pattern.map_err(|reason| (entry.clone(), reason.to_owned()))
        });
        parsed.collect::<Result<_, _>>().map(Self)
    }

    /// Whether a request may go there.
    pub(crate) fn allow(&self, scheme: &str, host: &str, port: u16) -> bool {
        self.0
            .iter()
            .any(|pattern| pattern.allows(scheme, host, port))
    }
}

// === impl Pattern ===

impl Pattern {
    fn allows(&self, scheme: &str, host: &str, port: u16) -> bool {
        self.scheme.as_deref().is_none_or(|own| own == scheme)
            && self.port.is_none_or(|own| own == port)
            && match &self.host {
                HostPattern::Any => true,
                HostPattern::Exact(own) => own.eq_ignore_ascii_case(host),
                HostPattern::Below(end) => host
                    .len()
                    .checked_sub(end.len())
                    .filter(|start| *start > 0)
                    .and_then(|start| host.get(start..))
                    .is_some_and(|found| found.eq_ignore_ascii_case(end)),
            }
    }
}

impl FromStr for Pattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "write it as scheme://host:port; any part may be *";
        if text == "*" {
            return Ok(Self {
                scheme: None,
                host: HostPattern::Any,
                port: None,
            });
        }
        let (scheme, rest) = text.split_once("://").ok_or(FORM)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@']) || rest.is_empty() {
            return Err("a host has no path, query or user");
        }
        if rest == "self" || scheme.is_empty() {
            return Err("requests to other components of the application are not supported");
        }
        // The colons of an IPv6 address stand in brackets.
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (rest, None),
        };
        let port = match port {
            Some("*") => None,
            Some(port) => Some(port.parse().map_err(|_| "its port is no number")?),
            None => match scheme {
                "http" => Some(80),
                "https" => Some(443),
                _ => return Err("name the port, for only http and https have one by themselves"),
            },
        };
        let host = match host {
            "*" => HostPattern::Any,
            _ => match host.strip_prefix('*') {
                Some(end) if end.starts_with('.') && !end.contains('*') => {
                    HostPattern::Below(end.to_owned())
                }
                None if !host.is_empty() && !host.contains('*') => {
                    HostPattern::Exact(host.to_owned())
                }
                _ => return Err("* stands for a whole host or for all that is before its dots"),
            },
        };
        Ok(Self {
            scheme: (scheme != "*").then(|| scheme.to_owned()),
            host,
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(entry: &str, target: (&str, &str, u16), expect: bool) {
        let grants = OutboundGrants::parse(&[entry.to_owned()]).unwrap();
        let (scheme, host, port) = target;
        assert_eq!(
            grants.allow(scheme, host, port),
            expect,
            "{entry} {target:?}"
        );
    }

    #[test]
    fn a_grant_covers_what_it_names_and_no_more() {
        check("https://a.test", ("https", "a.test", 443), true);
        check("https://a.test", ("https", "A.test", 443), true);
        check("https://a.test", ("http", "a.test", 443), false);
        check("https://a.test", ("https", "a.test", 8443), false);
        check("https://a.test", ("https", "b.a.test", 443), false);
        check("http://a.test:8080/", ("http", "a.test", 8080), true);
        check("*://a.test:9000", ("http", "a.test", 9000), true);
        check("*://a.test:9000", ("https", "a.test", 9001), false);
        check("http://*:80", ("http", "any", 80), true);
        check("http://a.test:*", ("http", "a.test", 1234), true);
        check("https://*.a.test", ("https", "b.a.test", 443), true);
        check("https://*.a.test", ("https", "a.test", 443), false);
        check("https://*.a.test", ("https", "evila.test", 443), false);
        check("http://[::1]:80", ("http", "[::1]", 80), true);
        check("*", ("https", "any", 1), true);
        assert!(!OutboundGrants::default().allow("https", "a.test", 443));
    }

    #[test]
    fn entries_that_are_not_understood_are_refused() {
        for entry in [
            "",
            "a.test",
            "https://",
            "https://a.test/path",
            "https://user@a.test",
            "https://a*.test",
            "https://*a.test",
            "*://a.test",
            "https://a.test:x",
            "http://self",
        ] {
            assert!(
                OutboundGrants::parse(&[entry.to_owned()]).is_err(),
                "{entry}"
            );
        }
    }
}
