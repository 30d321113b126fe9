//! Where an address leads: what a host's name may be answered with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How guarded an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zone {
    /// Out in the world.
    Public,
    /// This machine, or a network of somebody's own.
    Private,
    /// Nothing that a name should ever lead to: links, the metadata of clouds, groups, reserved ranges.
    Guarded,
}

/// Servers that tell a cloud's machines their credentials, outside the ranges of links.
const METADATA_V4: [Ipv4Addr; 3] = [
    // Azure, Alibaba, Oracle.
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
];
const METADATA_V6: [Ipv6Addr; 2] = [
    // Amazon, Google.
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254),
    Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254),
];

impl Zone {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        let [first, second, ..] = address.octets();
        if address.is_link_local() || first >= 224 || METADATA_V4.contains(&address) {
            return Self::Guarded;
        }
        let is_private = address.is_private()
            || address.is_loopback()
            // "This network": Linux takes it for the machine itself.
            || first == 0
            // Shared by a provider's customers, and set aside for tests of networks.
            || (first == 100 && (64..128).contains(&second))
            || (first == 198 && (18..20).contains(&second));
        if is_private {
            Self::Private
        } else {
            Self::Public
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        let [first, second, third, .., seventh, eighth] = address.segments();
        let v4 = |high: u16, low: u16| {
            let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
            Self::of_v4(Ipv4Addr::new(a, b, c, d))
        };
        // Addresses that stand for one of version 4 lead where that one leads.
        if let Some(address) = address.to_ipv4_mapped() {
            return Self::of_v4(address);
        }
        match (first, second) {
            (0x2002, _) => return v4(second, third),
            (0x64, 0xff9b) if third == 0 => return v4(seventh, eighth),
            _ => {}
        }
        let is_guarded = address.is_unicast_link_local()
            || address.is_multicast()
            || METADATA_V6.contains(&address)
            // A translation of the network's own, and tunnels: nobody knows where they end.
            || (first, second) == (0x64, 0xff9b)
            || (first, second) == (0x2001, 0);
        let is_private = address.is_unique_local()
            // The machine itself, nowhere, and the old way to write version 4.
            || address.segments().iter().take(6).all(|segment| *segment == 0)
            // Site-local, of old.
            || first & 0xffc0 == 0xfec0;
        match (is_guarded, is_private) {
            (true, _) => Self::Guarded,
            (_, true) => Self::Private,
            _ => Self::Public,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lie_where_they_lead() {
        let check = |address: &str, expect: Zone| {
            assert_eq!(Zone::of(address.parse().unwrap()), expect, "{address}");
        };
        for public in [
            "8.8.8.8",
            "100.63.0.1",
            "172.32.0.1",
            "198.20.0.1",
            "2606:4700::1111",
        ] {
            check(public, Zone::Public);
        }
        for private in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "198.18.0.1",
            "::",
            "::1",
            "::7f00:1",
            "fc00::1",
            "fd12:3456::1",
            "fec0::1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:c0a8:0101::1",
        ] {
            check(private, Zone::Private);
        }
        for guarded in [
            "169.254.169.254",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "224.0.0.1",
            "255.255.255.255",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:a9fe:a9fe::1",
            "2001::1",
        ] {
            check(guarded, Zone::Guarded);
        }
    }
}
