//! The hosts a component may send requests to, in Spin's notation.

use std::net::IpAddr;
use std::str::FromStr;

use crate::outbound::Zone;

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
    /// `10.0.0.0/8`: every address that begins with so many bits of this one.
    Network(IpAddr, u8),
}

/// Where a request is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) is_secure: bool,
    /// A name, or an address as it stands in a URL.
    pub(crate) host: String,
    pub(crate) port: u16,
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
    pub(crate) fn allow(&self, to: &Destination) -> bool {
        self.0.iter().any(|pattern| pattern.allows(to))
    }

    /// Whether some request over TLS may be sent.
    pub(crate) fn may_be_secure(&self) -> bool {
        let is_https = |scheme: &str| scheme == "https";
        let mut schemes = self.0.iter().map(|pattern| pattern.scheme.as_deref());
        schemes.any(|scheme| scheme.is_none_or(is_https))
    }

    /// Whether a request that may go there may be sent to this address. Names are answered by
    /// whoever owns them: one that a grant covers with `*` must not lead into the node's own
    /// network, and none may lead to what gives out credentials unless the address itself is
    /// granted.
    pub(crate) fn reach(&self, to: &Destination, address: IpAddr) -> bool {
        let granted = |covers: fn(&HostPattern, &Destination, IpAddr) -> bool| {
            let mut patterns = self.0.iter();
            patterns.any(|pattern| pattern.allows_way(to) && covers(&pattern.host, to, address))
        };
        match Zone::of(address) {
            Zone::Public => true,
            Zone::Private => granted(|host, to, address| {
                host.names(address)
                    || matches!(host, HostPattern::Exact(_)) && host.covers(&to.host)
            }),
            Zone::Guarded => granted(|host, _, address| host.names(address)),
        }
    }
}

// === impl HostPattern ===

impl HostPattern {
    fn parse(host: &str) -> Result<Self, &'static str> {
        const WILD: &str = "* stands for a whole host or for all that is before its dots";
        if host == "*" {
            return Ok(Self::Any);
        }
        if let Some((address, bits)) = host.split_once('/') {
            let no_network = "a network is written as an address and its bits: 10.0.0.0/8";
            let address = parse_address(address).ok_or(no_network)?;
            let bits_max = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.parse().map_err(|_| no_network)?;
            if bits > bits_max {
                return Err(no_network);
            }
            return Ok(Self::Network(address, bits));
        }
        match host.strip_prefix('*') {
            Some(end) if end.starts_with('.') && !end.contains('*') => {
                Ok(Self::Below(end.to_owned()))
            }
            None if !host.is_empty() && !host.contains('*') => Ok(Self::Exact(host.to_owned())),
            _ => Err(WILD),
        }
    }

    /// Whether it covers a host as it stands in a URL.
    fn covers(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(own) => own.eq_ignore_ascii_case(host),
            Self::Below(end) => host
                .len()
                .checked_sub(end.len())
                .filter(|start| *start > 0)
                .and_then(|start| host.get(start..))
                .is_some_and(|found| found.eq_ignore_ascii_case(end)),
            Self::Network(..) => parse_address(host).is_some_and(|host| self.is_address(host)),
        }
    }

    /// Whether it is the address itself, or a network that has it.
    fn is_address(&self, address: IpAddr) -> bool {
        match self {
            Self::Exact(own) => parse_address(own) == Some(address),
            Self::Network(base, bits) => {
                let (first, last) = ends(*base, *bits);
                first.is_ipv4() == address.is_ipv4() && (first..=last).contains(&address)
            }
            Self::Any | Self::Below(_) => false,
        }
    }

    /// Whether it names the address: a network so wide that it has public addresses too names none.
    fn names(&self, address: IpAddr) -> bool {
        let lies_within = match self {
            Self::Network(base, bits) => {
                let (first, last) = ends(*base, *bits);
                let zone = Zone::of(address);
                Zone::of(first) == zone && Zone::of(last) == zone
            }
            _ => true,
        };
        lies_within && self.is_address(address)
    }
}

/// The first and the last address of a network.
fn ends(base: IpAddr, bits: u8) -> (IpAddr, IpAddr) {
    match base {
        IpAddr::V4(base) => {
            let rest = u32::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
            let first = base.to_bits() & !rest;
            let last = first | rest;
            (IpAddr::V4(first.into()), IpAddr::V4(last.into()))
        }
        IpAddr::V6(base) => {
            let rest = u128::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
            let first = base.to_bits() & !rest;
            let last = first | rest;
            (IpAddr::V6(first.into()), IpAddr::V6(last.into()))
        }
    }
}

/// An address as it stands in a URL: those of version 6 in brackets.
pub(crate) fn parse_address(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match bare {
        Some(bare) => bare.parse().ok().map(IpAddr::V6),
        None => host.parse().ok(),
    }
}

// === impl Pattern ===

impl Pattern {
    fn allows(&self, to: &Destination) -> bool {
        self.allows_way(to) && self.host.covers(&to.host)
    }

    /// Whether scheme and port are granted, whatever the host.
    fn allows_way(&self, to: &Destination) -> bool {
        let scheme = if to.is_secure { "https" } else { "http" };
        self.scheme.as_deref().is_none_or(|own| own == scheme)
            && self.port.is_none_or(|own| own == to.port)
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
        if rest.contains(['?', '#', '@']) || rest.is_empty() {
            return Err("a host has no path, query or user");
        }
        if rest == "self" || scheme.is_empty() {
            return Err("requests to other components of the application are not supported");
        }
        // The colons of an IPv6 address stand in brackets.
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (rest, None),
        };
        let is_network = |address: &str| parse_address(address).is_some();
        if host
            .split_once('/')
            .is_some_and(|(address, _)| !is_network(address))
        {
            return Err("a host has no path, query or user");
        }
        let port = match port {
            Some("*") => None,
            Some(port) => Some(port.parse().map_err(|_| "its port is no number")?),
            None => match scheme {
                "http" => Some(80),
                "https" => Some(443),
                _ => return Err("name the port, for only http and https have one by themselves"),
            },
        };
        let host = HostPattern::parse(host)?;
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

    fn to((scheme, host, port): (&str, &str, u16)) -> Destination {
        Destination {
            is_secure: scheme == "https",
            host: host.to_owned(),
            port,
        }
    }

    fn check(entry: &str, target: (&str, &str, u16), expect: bool) {
        let grants = OutboundGrants::parse(&[entry.to_owned()]).unwrap();
        assert_eq!(grants.allow(&to(target)), expect, "{entry} {target:?}");
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
        check("http://10.0.0.0/8:80", ("http", "10.1.2.3", 80), true);
        check("http://10.0.0.0/8", ("http", "11.1.2.3", 80), false);
        check("http://10.0.0.0/8", ("http", "a.test", 80), false);
        check("*://[fd00::]/8:*", ("http", "[fd12::1]", 80), true);
        check("*://[fd00::]/8:*", ("http", "[fe12::1]", 80), false);
        check("http://0.0.0.0/0", ("http", "9.9.9.9", 80), true);
        check("*", ("https", "any", 1), true);
        assert!(!OutboundGrants::default().allow(&to(("https", "a.test", 443))));
    }

    #[test]
    fn a_name_leads_into_the_nodes_own_network_only_where_it_is_named() {
        let reach = |entry: &str, address: &str, expect: bool| {
            let grants = OutboundGrants::parse(&[entry.to_owned()]).unwrap();
            let to = to(("https", "api.test", 443));
            let address = address.parse().unwrap();
            assert_eq!(grants.reach(&to, address), expect, "{entry} {address}");
        };
        let wild = [
            "*",
            "https://*",
            "https://*.test",
            "https://*:*",
            "https://0.0.0.0/0",
        ];
        for wild in wild {
            reach(wild, "93.184.216.34", true);
            reach(wild, "10.0.0.1", false);
            reach(wild, "127.0.0.1", false);
            reach(wild, "::1", false);
            reach(wild, "169.254.169.254", false);
        }
        reach("https://api.test", "10.0.0.1", true);
        reach("https://API.test", "127.0.0.1", true);
        reach("https://other.test", "10.0.0.1", false);
        reach("https://api.test:8443", "10.0.0.1", false);
        reach("https://10.0.0.1", "10.0.0.1", true);
        reach("https://10.0.0.0/8", "10.9.9.9", true);
        reach("https://10.0.0.0/8:8443", "10.9.9.9", false);
        // Not even a named host leads to what gives out credentials; its address does.
        reach("https://api.test", "169.254.169.254", false);
        reach("https://api.test", "fe80::1", false);
        reach("https://169.254.169.254", "169.254.169.254", true);
        reach("https://169.254.0.0/16", "169.254.169.254", true);
    }

    #[test]
    fn only_grants_of_http_alone_need_no_tls() {
        let check = |entry: &str, expect: bool| {
            let grants = OutboundGrants::parse(&[entry.to_owned()]).unwrap();
            assert_eq!(grants.may_be_secure(), expect, "{entry}");
        };
        check("http://a.test", false);
        check("redis://a.test:1", false);
        check("https://a.test", true);
        check("*://a.test:1", true);
        check("*", true);
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
            "https://a.test/8",
            "https://10.0.0.0/33",
            "https://10.0.0.0/x",
            "https://10.0.0.0/8/x",
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
