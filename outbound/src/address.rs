//! Which addresses a URL of somebody else's may lead to: global unicast ones that no registry sets apart.
//!
//! The ranges are those of the IANA registries of special-purpose addresses for IPv4 (RFC 6890 and after) and IPv6, whether
//! or not the registry calls them globally reachable, and what clouds answer their metadata on outside of those. An IPv6
//! address that stands for an IPv4 one is judged as that one; whole transition mechanisms that nobody serves from (6to4,
//! Teredo, ISATAP) are refused with whatever is inside them. An operator's own NAT64 prefix looks like any other network
//! and cannot be known here: a gateway that translates to private addresses must be kept from the service by routing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Ranges of IPv4 that are refused: network, length of the prefix, and what it is.
const REFUSED_V4: &[(Ipv4Addr, u32, &str)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8, "this network"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared by a carrier"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(168, 63, 129, 16), 32, "metadata of a cloud"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "for protocols"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "documentation"),
    (Ipv4Addr::new(192, 31, 196, 0), 24, "AS112"),
    (Ipv4Addr::new(192, 52, 193, 0), 24, "multicast tunnels"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "6to4 relays"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(192, 175, 48, 0), 24, "AS112"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "benchmarks"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved or broadcast"),
];

/// Ranges inside 2000::/3 that are refused; everything outside of it is.
const REFUSED_V6: &[(Ipv6Addr, u32, &str)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, "Teredo"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "for protocols"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "documentation"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "6to4"),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48, "AS112"),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16, "6bone"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "documentation"),
];

/// The prefix of NAT64 that everybody knows (RFC 6052), 96 bits.
const NAT64: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);

/// Whether an address is this machine, however it is written.
pub(super) fn loopback(address: IpAddr) -> bool {
    plain(address).is_loopback()
}

/// What an address is, if it may not be connected to.
pub(super) fn refused(address: IpAddr) -> Option<&'static str> {
    match plain(address) {
        IpAddr::V4(address) => refused_v4(address),
        IpAddr::V6(address) => refused_v6(address),
    }
}

/// The IPv4 address that an IPv6 one stands for, if a connection to it would go there.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return IpAddr::V4(v4);
    }
    if inside_v6(v6, NAT64, 96) {
        let [.., a, b, c, d] = v6.octets();
        return IpAddr::V4(Ipv4Addr::new(a, b, c, d));
    }
    address
}

fn refused_v4(address: Ipv4Addr) -> Option<&'static str> {
    let inside = |network: Ipv4Addr, length: u32| (address.to_bits() ^ network.to_bits()) >> (32 - length) == 0;
    REFUSED_V4.iter().find(|(network, length, _)| inside(*network, *length)).map(|(.., what)| *what)
}

fn refused_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_loopback() {
        return Some("loopback");
    }
    if address.segments()[0] >> 13 != 1 {
        return Some("no global unicast");
    }
    // ISATAP (RFC 5214, 6.1) carries any IPv4 address, private ones too, behind any prefix.
    if matches!(address.segments(), [_, _, _, _, 0 | 0x200, 0x5efe, _, _]) {
        return Some("ISATAP");
    }
    let found = REFUSED_V6.iter().find(|(network, length, _)| inside_v6(address, *network, *length));
    found.map(|(.., what)| *what)
}

fn inside_v6(address: Ipv6Addr, network: Ipv6Addr, length: u32) -> bool {
    (address.to_bits() ^ network.to_bits()) >> (128 - length) == 0
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::{loopback, refused};

    #[test]
    fn global_unicast_addresses_are_taken() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.15",
            "168.63.129.17",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2003::1",
            "2606:4700::1111",
            "2a00:1450::1",
            "3fff:1000::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ] {
            assert_eq!(refused(text.parse().unwrap()), None, "{text}");
        }
    }

    #[test]
    fn private_special_and_metadata_addresses_are_refused() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.0.1",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.0.192",
            "192.0.2.1",
            "192.31.196.1",
            "192.52.193.1",
            "192.88.99.1",
            "192.168.0.1",
            "192.175.48.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::2",
            "::127.0.0.1",
            "::8.8.8.8",
            "64:ff9b:1::8.8.8.8",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:20::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:0808:0808::1",
            "2002:7f00:1::1",
            "2620:4f:8000::1",
            "3ffe::1",
            "3fff::1",
            "5f00::1",
            "4000::1",
            "fc00::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2a00:1450::5efe:10.0.0.1",
            "2a00:1450::200:5efe:10.0.0.1",
        ] {
            assert!(refused(text.parse().unwrap()).is_some(), "{text}");
        }
    }

    #[test]
    fn an_address_inside_another_is_judged_as_itself() {
        for text in ["10.0.0.1", "127.0.0.1", "169.254.169.254", "192.168.1.1", "0.0.0.0"] {
            for written in [format!("::ffff:{text}"), format!("64:ff9b::{text}")] {
                assert_eq!(refused(written.parse().unwrap()), refused(text.parse().unwrap()), "{written}");
            }
        }
    }

    #[test]
    fn whatever_the_standard_library_knows_to_be_special_is_refused() {
        for high in 0..=u16::MAX {
            let v4 = Ipv4Addr::from_bits(u32::from(high) << 16 | 0x0201);
            let special = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast();
            assert!(!special || refused(v4.into()).is_some(), "{v4}");
            let v6 = Ipv6Addr::from_bits(u128::from(high) << 112 | 1);
            let special = v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_multicast() || v6.is_loopback();
            assert!(!special || refused(v6.into()).is_some(), "{v6}");
        }
    }

    #[test]
    fn loopback_is_known_however_it_is_written() {
        for text in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(loopback(text.parse().unwrap()), "{text}");
        }
        for text in ["10.0.0.1", "::2", "::127.0.0.1", "fe80::1", "0.0.0.0"] {
            assert!(!loopback(text.parse().unwrap()), "{text}");
        }
    }
}
