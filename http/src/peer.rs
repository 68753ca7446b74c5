//! Whose address a request comes from, also behind proxies that are trusted to say it.

use std::net::{IpAddr, SocketAddr};

use axum::{
    extract::{ConnectInfo, Request},
    http::{HeaderMap, HeaderName, header::FORWARDED},
};
use ipnet::IpNet;

use crate::headers::X_FORWARDED_FOR;

/// So many proxies in a row are followed at most.
const HOPS_MAX: usize = 16;

/// The address of whoever sent a request, an extension of every request that has come over a connection. IPv4 is never written as IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddress(pub IpAddr);

/// In which header the proxies write whom they speak for. The other one is the client's own words and is not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `X-Forwarded-For: client, proxy`
    #[default]
    XForwardedFor,
    /// `Forwarded: for=client, for=proxy` (RFC 7239)
    Forwarded,
}

/// Which peers are believed when they say whom they speak for; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    /// Their addresses.
    pub networks: Vec<IpNet>,
    /// Where they say it.
    pub header: ProxyHeader,
}

impl TrustedProxies {
    /// The peer of a request: the address of its connection, or, when that is a trusted proxy's, the rightmost address in the header
    /// that is not. What cannot be read ends the search at the proxy that passed it on. `None` without a connection, as in tests.
    pub fn peer_of(&self, request: &Request) -> Option<PeerAddress> {
        let ConnectInfo(connection) = request.extensions().get::<ConnectInfo<SocketAddr>>()?;
        Some(PeerAddress(self.behind(connection.ip().to_canonical(), request.headers())))
    }

    fn behind(&self, connection: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut peer = connection;
        if !self.trusts(peer) {
            return peer;
        }
        let (name, read): (HeaderName, fn(&str) -> Option<IpAddr>) = match self.header {
            ProxyHeader::XForwardedFor => (X_FORWARDED_FOR, address),
            ProxyHeader::Forwarded => (FORWARDED, forwarded_for),
        };
        // Each proxy adds at the end: a line of its own, or a piece of the last line.
        let lines = headers.get_all(name);
        let pieces = lines.iter().rev().flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
        for piece in pieces.take(HOPS_MAX) {
            match read(piece.trim()) {
                Some(address) => peer = address,
                None => break,
            }
            if !self.trusts(peer) {
                break;
            }
        }
        peer
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:4711`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse().ok().map(|with_port: SocketAddr| with_port.ip()));
    address.map(|address| address.to_canonical())
}

/// The `for` of one element; names such as `unknown` or `_hidden` are not addresses.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    address(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(header: ProxyHeader, connection: &str, lines: &[&str]) -> String {
        let networks = ["10.0.0.0/8", "2001:db8:ffff::/48"].map(|network| network.parse().unwrap()).to_vec();
        let mut request = Request::new(axum::body::Body::empty());
        let connection: IpAddr = connection.parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from((connection, 4711))));
        let (name, other) = match header {
            ProxyHeader::XForwardedFor => ("x-forwarded-for", "forwarded"),
            ProxyHeader::Forwarded => ("forwarded", "x-forwarded-for"),
        };
        for line in lines {
            request.headers_mut().append(name, line.parse().unwrap());
        }
        request.headers_mut().append(other, "for=203.0.113.99".parse().unwrap());
        TrustedProxies { networks, header }.peer_of(&request).unwrap().0.to_string()
    }

    #[test]
    fn a_peer_that_is_no_trusted_proxy_speaks_for_itself_only() {
        for lines in [&[][..], &["203.0.113.1"], &["10.0.0.1"]] {
            assert_eq!(peer(ProxyHeader::XForwardedFor, "192.0.2.7", lines), "192.0.2.7");
        }
        let mut request = Request::new(axum::body::Body::empty());
        assert_eq!(TrustedProxies::default().peer_of(&request), None);
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([192, 0, 2, 7], 1))));
        request.headers_mut().insert("x-forwarded-for", "203.0.113.1".parse().unwrap());
        assert_eq!(TrustedProxies::default().peer_of(&request), Some(PeerAddress([192, 0, 2, 7].into())));
    }

    #[test]
    fn behind_trusted_proxies_the_rightmost_stranger_counts() {
        let cases: &[(&[&str], &str)] = &[
            (&["203.0.113.1"], "203.0.113.1"),
            (&["198.51.100.66, 203.0.113.1"], "203.0.113.1"),
            (&["198.51.100.66", "203.0.113.1, 10.1.1.1"], "203.0.113.1"),
            (&["203.0.113.1:5000 , 10.1.1.1:80"], "203.0.113.1"),
            (&["2001:db8::5, [2001:db8:ffff::1]:80, [2001:db8:ffff::2]"], "2001:db8::5"),
            (&["::ffff:203.0.113.1"], "203.0.113.1"),
            (&["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
            (&[], "10.0.0.1"),
            (&["203.0.113.1, nonsense"], "10.0.0.1"),
            (&["203.0.113.1, nonsense, 10.2.2.2"], "10.2.2.2"),
            (&["203.0.113.1, "], "10.0.0.1"),
        ];
        for (lines, expected) in cases {
            assert_eq!(peer(ProxyHeader::XForwardedFor, "10.0.0.1", lines), *expected, "{lines:?}");
        }
        assert_eq!(peer(ProxyHeader::XForwardedFor, "::ffff:10.0.0.1", &["203.0.113.1"]), "203.0.113.1");
    }

    #[test]
    fn forwarded_is_read_as_its_rfc_writes_it() {
        let cases: &[(&[&str], &str)] = &[
            (&["for=198.51.100.66, for=203.0.113.1;proto=https;by=10.0.0.9"], "203.0.113.1"),
            (&["proto=https; For=\"[2001:db8::5]:4711\""], "2001:db8::5"),
            (&["for=203.0.113.1", "for=10.4.4.4"], "203.0.113.1"),
            (&["for=203.0.113.1, for=unknown"], "10.0.0.1"),
            (&["for=203.0.113.1, for=_hidden, for=10.4.4.4"], "10.4.4.4"),
            (&["for=203.0.113.1, proto=https"], "10.0.0.1"),
        ];
        for (lines, expected) in cases {
            assert_eq!(peer(ProxyHeader::Forwarded, "10.0.0.1", lines), *expected, "{lines:?}");
        }
    }

    #[test]
    fn a_header_of_many_hops_is_not_followed_for_ever() {
        let long = format!("203.0.113.1{}", ", 10.9.9.9".repeat(1_000));
        assert_eq!(peer(ProxyHeader::XForwardedFor, "10.0.0.1", &[&long]), "10.9.9.9");
    }
}
