//! Which addresses a webhook may be sent to.
//!
//! Whoever writes the address of a webhook, or the DNS of its host, would otherwise have the sidecar
//! talk to what only the sidecar can reach: itself, its neighbours, the cloud's metadata. So the
//! addresses are looked at after the name was looked up, and only those that passed are connected
//! to: a name that changes in between changes nothing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec;

use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tonic::codegen::Service;

/// Why an address was not connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    address: IpAddr,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address;
        write!(f, "{address} is no public address; the sink does not say `allow_private: on`")
    }
}

impl std::error::Error for Refused {}

/// An address that stands in a URL's host itself, which no name service is asked for.
///
/// # Errors
/// When it is private and that is not allowed.
pub(super) fn check_host(host: &str, allow_private: bool) -> Result<(), Refused> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(address) if !allow_private && !is_public(address) => Err(Refused { address }),
        _ => Ok(()),
    }
}

/// Looks names up and leaves the private addresses out, unless they are allowed.
#[derive(Debug, Clone)]
pub(super) struct Resolver {
    inner: GaiResolver,
    allow_private: bool,
}

impl Resolver {
    pub(super) fn new(allow_private: bool) -> Resolver {
        Resolver { inner: GaiResolver::new(), allow_private }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Service::<Name>::poll_ready(&mut self.inner, cx).map_err(Into::into)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let allow_private = self.allow_private;
        let found = self.inner.call(name);
        Box::pin(async move { Ok(sift(found.await?.collect(), allow_private)?.into_iter()) })
    }
}

/// Only what may be connected to.
///
/// # Errors
/// When nothing is left of what was found.
pub(super) fn sift(
    found: Vec<SocketAddr>,
    allow_private: bool,
) -> Result<Vec<SocketAddr>, Refused> {
    let (good, bad): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|found| allow_private || is_public(found.ip()));
    match bad.first() {
        Some(first) if good.is_empty() => Err(Refused { address: first.ip() }),
        _ => Ok(good),
    }
}

/// Whether the whole internet would reach the same host there.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = matches!(
        (a, b, c),
        (0 | 10 | 127, ..)           // this network, private, loopback
            | (100, 64..=127, _)     // shared by a provider's customers
            | (169, 254, _)          // link-local, and the metadata of most clouds
            | (172, 16..=31, _)      // private
            | (192, 0, 0 | 2)        // protocols, documentation
            | (192, 88, 99)          // relays of 6to4
            | (192, 168, _)          // private
            | (198, 18 | 19, _)      // benchmarks
            | (198, 51, 100)         // documentation
            | (203, 0, 113)          // documentation
            | (224..=255, ..) // multicast, reserved, broadcast
    );
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b, c, d, e, f) {
        // An IPv4 address in IPv6 clothes is what it is: mapped, translated, tunnelled.
        (0, 0, 0, 0, 0, 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) => v4(g, h),
        (0x2002, ..) => v4(b, c),
        // Teredo, other protocols, documentation; the rest of 2000::/3 is the internet.
        (0x2001, 0..=0x1ff, ..) | (0x2001, 0xdb8, ..) | (0x3fff, 0..=0xfff, ..) => false,
        _ => (0x2000..=0x3fff).contains(&a),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_machine_or_its_network_reaches_is_not_public() {
        let private = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd12:3456::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "100::1",
        ];
        for text in private {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        let public = [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.0.1",
            "100.128.0.1",
            "126.0.0.1",
            "128.0.0.1",
            "169.253.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.0.1",
            "192.0.1.1",
            "223.255.255.255",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2002:101:101::",
            "2606:4700::1111",
            "2a00:1450:4001::1",
            "2001:4860:4860::8888",
        ];
        for text in public {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn of_what_a_name_leads_to_only_public_addresses_are_left() {
        let read = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let both = read(&["10.0.0.1:80", "1.1.1.1:80"]);
        assert_eq!(sift(both.clone(), false).unwrap(), read(&["1.1.1.1:80"]));
        assert_eq!(sift(both.clone(), true).unwrap(), both);
        let refused = sift(read(&["10.0.0.1:80", "[::1]:80"]), false).unwrap_err();
        assert!(refused.to_string().starts_with("10.0.0.1 is no public address"), "{refused}");
        assert_eq!(sift(vec![], false).unwrap(), []);
    }

    #[test]
    fn an_address_in_the_url_is_checked_without_a_name_service() {
        for host in ["127.0.0.1", "[::1]", "169.254.169.254", "[::ffff:10.0.0.1]"] {
            assert!(check_host(host, false).is_err(), "{host}");
            assert!(check_host(host, true).is_ok(), "{host}");
        }
        for host in ["1.1.1.1", "[2606:4700::1111]", "hooks.example.com"] {
            assert!(check_host(host, false).is_ok(), "{host}");
        }
    }
}
