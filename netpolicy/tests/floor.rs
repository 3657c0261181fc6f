//! The floor, address by address.

use std::net::IpAddr;

use ipnet::IpNet;
use netpolicy::decide::Reason::{self, HostAddress, MetadataAddress, PrivateAddress, ReservedAddress};
use netpolicy::floor::{Surroundings, refusal, refused_name};
use netpolicy::host::HostName;

fn surroundings() -> Surroundings {
    Surroundings {
        host_addresses: vec![addr("203.0.113.9"), addr("10.7.7.7"), addr("2001:4860::9")],
        host_ranges: vec![net("10.66.0.0/16")],
        on_link: vec![net("192.168.178.0/24"), net("8.8.4.0/24")],
        engine_subnets: vec![net("172.17.0.0/16"), net("fd00:d0c::/64")],
        virtual_range: "25.0.0.0/16".parse().expect("a range"),
        host_gateway: None,
    }
}

fn addr(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a range")
}

const EVERYTHING_PRIVATE: &[&str] =
    &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];

/// Address, what it is refused for without an exemption, and with every private range exempt.
const TABLE: &[(&str, Option<Reason>, Option<Reason>)] = &[
    // Public.
    ("1.1.1.1", None, None),
    ("93.184.216.34", None, None),
    ("2606:4700::1111", None, None),
    ("192.0.0.9", None, None),
    ("192.31.196.1", None, None),
    ("192.52.193.1", None, None),
    ("192.175.48.1", None, None),
    ("2001:1::1", None, None),
    ("2001:20::1", None, None),
    // Documentation ranges of IPv4 are nobody's intranet; those of IPv6 stay.
    ("192.0.2.1", None, None),
    ("198.51.100.1", None, None),
    ("203.0.113.1", None, None),
    ("2001:db8::1", Some(ReservedAddress), Some(ReservedAddress)),
    ("3fff::1", Some(ReservedAddress), Some(ReservedAddress)),
    // Private, and exempt by a rule's `private`.
    ("10.0.0.1", Some(PrivateAddress), None),
    ("10.255.255.255", Some(PrivateAddress), None),
    ("172.16.0.1", Some(PrivateAddress), None),
    ("172.31.255.255", Some(PrivateAddress), None),
    ("172.32.0.0", None, None),
    ("192.168.0.1", Some(PrivateAddress), None),
    ("100.64.0.1", Some(PrivateAddress), None),
    ("100.127.255.255", Some(PrivateAddress), None),
    ("100.128.0.0", None, None),
    ("fc00::1", Some(PrivateAddress), None),
    ("fdff::1", Some(PrivateAddress), None),
    ("192.168.178.20", Some(PrivateAddress), None), // on-link, private
    ("8.8.4.4", Some(HostAddress), Some(HostAddress)), // on-link, public
    // The machine and its engine.
    ("127.0.0.1", Some(HostAddress), Some(HostAddress)),
    ("127.255.255.254", Some(HostAddress), Some(HostAddress)),
    ("::1", Some(HostAddress), Some(HostAddress)),
    ("203.0.113.9", Some(HostAddress), Some(HostAddress)),
    ("10.7.7.7", Some(HostAddress), Some(HostAddress)),
    ("2001:4860::9", Some(HostAddress), Some(HostAddress)),
    ("172.17.0.1", Some(HostAddress), Some(HostAddress)),
    ("fd00:d0c::1", Some(HostAddress), Some(HostAddress)),
    // Metadata services, never exempt.
    ("169.254.169.254", Some(MetadataAddress), Some(MetadataAddress)),
    ("169.254.170.2", Some(MetadataAddress), Some(MetadataAddress)),
    ("100.100.100.200", Some(MetadataAddress), Some(MetadataAddress)),
    ("168.63.129.16", Some(MetadataAddress), Some(MetadataAddress)),
    ("192.0.0.192", Some(MetadataAddress), Some(MetadataAddress)),
    ("fd00:ec2::254", Some(MetadataAddress), Some(MetadataAddress)),
    ("fd20:ce::254", Some(MetadataAddress), Some(MetadataAddress)),
    // Reserved.
    ("0.0.0.0", Some(ReservedAddress), Some(ReservedAddress)),
    ("0.1.2.3", Some(ReservedAddress), Some(ReservedAddress)),
    ("169.254.1.1", Some(ReservedAddress), Some(ReservedAddress)),
    ("192.0.0.1", Some(ReservedAddress), Some(ReservedAddress)),
    ("192.88.99.1", Some(ReservedAddress), Some(ReservedAddress)),
    ("198.18.0.1", Some(ReservedAddress), Some(ReservedAddress)),
    ("198.19.255.255", Some(ReservedAddress), Some(ReservedAddress)),
    ("198.20.0.0", None, None),
    ("224.0.0.1", Some(ReservedAddress), Some(ReservedAddress)),
    ("239.255.255.250", Some(ReservedAddress), Some(ReservedAddress)),
    ("240.0.0.1", Some(ReservedAddress), Some(ReservedAddress)),
    ("255.255.255.255", Some(ReservedAddress), Some(ReservedAddress)),
    ("25.0.3.4", Some(ReservedAddress), Some(ReservedAddress)), // the virtual range
    ("25.1.0.0", None, None),
    ("::", Some(ReservedAddress), Some(ReservedAddress)),
    ("fe80::1", Some(ReservedAddress), Some(ReservedAddress)),
    ("fec0::1", Some(ReservedAddress), Some(ReservedAddress)),
    ("ff02::1", Some(ReservedAddress), Some(ReservedAddress)),
    ("100::1", Some(ReservedAddress), Some(ReservedAddress)),
    ("100:0:0:1::1", Some(ReservedAddress), Some(ReservedAddress)),
    ("5f00::1", Some(ReservedAddress), Some(ReservedAddress)),
    ("2001:2::1", Some(ReservedAddress), Some(ReservedAddress)),
    ("2001:10::1", Some(ReservedAddress), Some(ReservedAddress)),
    ("4000::1", Some(ReservedAddress), Some(ReservedAddress)),
    // IPv6 that carries IPv4: judged as what it carries, never exempt.
    ("::ffff:10.0.0.1", Some(PrivateAddress), Some(PrivateAddress)),
    ("::ffff:127.0.0.1", Some(HostAddress), Some(HostAddress)),
    ("::ffff:169.254.169.254", Some(MetadataAddress), Some(MetadataAddress)),
    ("::ffff:1.1.1.1", Some(ReservedAddress), Some(ReservedAddress)),
    ("::ffff:0:10.0.0.1", Some(PrivateAddress), Some(PrivateAddress)), // translated
    ("::10.0.0.1", Some(PrivateAddress), Some(PrivateAddress)),        // compatible
    ("::169.254.169.254", Some(MetadataAddress), Some(MetadataAddress)),
    ("64:ff9b::10.0.0.1", Some(PrivateAddress), Some(PrivateAddress)), // NAT64
    ("64:ff9b::203.0.113.9", Some(HostAddress), Some(HostAddress)),
    ("64:ff9b::169.254.169.254", Some(MetadataAddress), Some(MetadataAddress)),
    ("64:ff9b::1.1.1.1", None, None),
    ("64:ff9b:1::10.0.0.1", Some(PrivateAddress), Some(PrivateAddress)), // NAT64, local prefix /96
    ("64:ff9b:1:a00:0:100::", Some(PrivateAddress), Some(PrivateAddress)), // NAT64, local prefix /48
    ("64:ff9b:1::1.1.1.1", Some(ReservedAddress), Some(ReservedAddress)),
    ("2002:a00:1::1", Some(PrivateAddress), Some(PrivateAddress)), // 6to4 of 10.0.0.1
    ("2002:a9fe:a9fe::1", Some(MetadataAddress), Some(MetadataAddress)),
    ("2002:101:101::1", Some(ReservedAddress), Some(ReservedAddress)),
    ("2001:0:a00:1::1", Some(PrivateAddress), Some(PrivateAddress)), // Teredo, server 10.0.0.1
    ("2001:0:101:101:0:0:f5ff:fffe", Some(PrivateAddress), Some(PrivateAddress)), // Teredo, client 10.0.0.1
    ("2001:0:101:101:0:0:fefe:fefe", Some(ReservedAddress), Some(ReservedAddress)),
    ("2606:4700::5efe:10.0.0.1", Some(PrivateAddress), Some(PrivateAddress)), // ISATAP
    ("2606:4700::200:5efe:169.254.169.254", Some(MetadataAddress), Some(MetadataAddress)),
    ("2606:4700::5efe:1.1.1.1", None, None),
];

#[test]
fn addresses() {
    let private: Vec<IpNet> = EVERYTHING_PRIVATE.iter().map(|text| net(text)).collect();
    for (text, plain, exempt) in TABLE {
        assert_eq!(refusal(addr(text), &[], &[], &surroundings()), *plain, "{text}");
        assert_eq!(
            refusal(addr(text), &private, &[], &surroundings()),
            *exempt,
            "{text} with every private range exempt"
        );
    }
}

#[test]
fn an_exemption_counts_in_private_ranges_only() {
    let everything = [net("0.0.0.0/0"), net("::/0")];
    for text in
        ["169.254.169.254", "127.0.0.1", "198.18.0.1", "25.0.0.1", "10.7.7.7", "172.17.0.1", "::1", "fe80::1"]
    {
        assert!(refusal(addr(text), &everything, &[], &surroundings()).is_some(), "{text}");
    }
    assert_eq!(
        refusal(addr("10.20.0.1"), &[net("10.21.0.0/16")], &[], &surroundings()),
        Some(PrivateAddress)
    );
}

#[test]
fn names_of_the_host() {
    for (text, reason) in [
        ("localhost", Some(HostAddress)),
        ("a.localhost", Some(HostAddress)),
        ("Host.Docker.Internal.", Some(HostAddress)),
        ("gateway.docker.internal", Some(HostAddress)),
        ("host.containers.internal", Some(HostAddress)),
        ("host.lima.internal", Some(HostAddress)),
        ("metadata.google.internal", Some(MetadataAddress)),
        ("docker.internal.example", None),
        ("notlocalhost", None),
        ("xdocker.internal", None),
        ("metadata.example", None),
    ] {
        assert_eq!(refused_name(&HostName::parse(text).unwrap()), reason, "{text}");
    }
}

#[test]
fn a_range_that_is_a_machines_own_is_never_exempt() {
    let everything: Vec<IpNet> = EVERYTHING_PRIVATE.iter().map(|text| net(text)).collect();
    assert_eq!(refusal(addr("10.66.1.2"), &everything, &[], &surroundings()), Some(HostAddress));
    assert_eq!(refusal(addr("10.67.1.2"), &everything, &[], &surroundings()), None);
    let more = surroundings().and_host([addr("10.67.1.2")], [net("10.68.0.0/16")], [net("9.9.9.0/24")]);
    for host in ["10.67.1.2", "10.68.0.1", "9.9.9.9", "10.7.7.7"] {
        assert_eq!(refusal(addr(host), &everything, &[], &more), Some(HostAddress), "{host}");
    }
}
