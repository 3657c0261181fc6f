//! Every address and name of the testbed.

/// The name server's address. It is the guard's upstream.
pub const NAME_SERVER: &str = "198.51.100.53";
/// The one address that several names share, as behind a CDN.
pub const SHARED: &str = "198.51.100.10";
/// The address of the plain TCP services.
pub const SERVICES: &str = "198.51.100.20";

/// The address of the intranet's name server. It knows what is below `corp.test`, and nobody else
/// does.
pub const INTRANET: &str = "10.99.0.53";
/// A server whose certificate only the corporate authority signed.
pub const CORPORATE: &str = "198.51.100.30";
/// A reserved address with which the resolver of a VPN answers a public name.
pub const FAKE: &str = "240.77.0.10";
/// The name in the certificate that the corporate authority signed.
pub const CORPORATE_NAME: &str = "corporate.test";
/// The name in the certificate of both encrypted resolvers.
pub const ENCRYPTED_DNS_NAME: &str = "dns.test";
/// The address of the corporate proxies, on the intranet.
pub const PROXY: &str = "10.99.0.80";
/// A name that no name server knows, only the proxies.
pub const PROXY_INNER: &str = "inner.proxy.test";
/// The host's address towards the gateway.
pub const HOST_LINK: &str = "10.98.0.1";
/// An address of the host that stands for its address on a local network.
pub const HOST_LAN: &str = "10.98.1.1";

/// Below [`INTRANET`]'s domain.
pub(super) const INTRANET_ZONE: Zone = &[("wiki.corp.test", &[SHARED]), ("lab.corp.test", &[])];

/// Names whose answers point inside, in every form of IPv6 that carries an IPv4 address.
pub const REBINDING: Zone = &[
    ("plain.rebind.test", &["10.99.0.6"]),
    ("mapped.rebind.test", &["::ffff:10.99.0.6"]),
    ("translated.rebind.test", &["::ffff:0:10.99.0.6"]),
    ("compatible.rebind.test", &["::10.99.0.6"]),
    ("nat64.rebind.test", &["64:ff9b::10.99.0.6"]),
    ("nat64-local.rebind.test", &["64:ff9b:1::10.99.0.6"]),
    ("6to4.rebind.test", &["2002:a63:6::1"]),
    ("teredo.rebind.test", &["2001:0:a63:6::"]),
    ("teredo-client.rebind.test", &["2001:0:c633:640a::f59c:fff9"]),
    ("isatap.rebind.test", &["2606:4700::5efe:10.99.0.6"]),
    ("metadata.rebind.test", &["::ffff:169.254.169.254"]),
    ("loopback.rebind.test", &["::1"]),
    ("unique-local.rebind.test", &["fd00::6"]),
];

/// Names and their addresses.
pub type Zone = &'static [(&'static str, &'static [&'static str])];

/// Every name and its addresses. A name without addresses fails with SERVFAIL.
pub(super) const ZONE: Zone = &[
    ("gitlab.test", &[SHARED]),
    ("a.test", &[SHARED]),
    ("b.test", &[SHARED]),
    ("plain.test", &[SHARED]),
    ("model.test", &[SHARED]),
    ("one.wild.test", &[SHARED]),
    ("two.wild.test", &[SHARED]),
    ("deep.corp.test", &[SHARED]),
    ("echo.test", &[SERVICES]),
    ("ssh.test", &[SERVICES]),
    ("mail.test", &[SERVICES]),
    ("ws.test", &[SERVICES]),
    ("dead.test", &["198.51.100.99"]),
    ("broken.test", &[]),
    // What no policy opens, unless it says `private`.
    ("private.test", &["10.99.0.5"]),
    ("meta.test", &["169.254.169.254"]),
    ("loop.test", &["127.0.0.1"]),
    ("mapped.test", &["::ffff:10.99.0.5"]),
    ("host.test", &[HOST_LAN]),
    ("link.test", &[HOST_LINK]),
    ("mixed.test", &["10.99.0.5", SHARED]),
    ("fake.test", &[FAKE]),
    (CORPORATE_NAME, &[CORPORATE]),
    (ENCRYPTED_DNS_NAME, &[NAME_SERVER]),
    ("proxy.test", &[PROXY]),
];

/// Returns the answer of the internet's server about a name, none when it is no name of the
/// internet.
pub(super) fn of(name: &str) -> Option<&'static [&'static str]> {
    find(ZONE, name).or_else(|| find(REBINDING, name))
}

/// Looks a name up in a zone.
pub(super) fn find(zone: Zone, name: &str) -> Option<&'static [&'static str]> {
    zone.iter().find(|(known, _)| *known == name).map(|(_, addresses)| *addresses)
}
