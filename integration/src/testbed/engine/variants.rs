//! The engines of the matrix: products and versions as Debian's releases have them.

/// The program that speaks the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// dockerd.
    Docker,
    /// Podman's service.
    Podman,
}

/// An engine that the testbed can start.
#[derive(Debug)]
pub struct Variant {
    /// Its name on command lines and in the table.
    pub name: &'static str,
    /// The tree that it runs in; none: the machine's own packages.
    pub tree: Option<&'static Tree>,
    /// The product that it is.
    pub product: Product,
    /// Lines of its `daemon.json`.
    pub settings: Option<&'static str>,
}

/// A release of Debian, with the packages of every engine that runs from it.
#[derive(Debug)]
pub struct Tree {
    /// The release.
    pub suite: &'static str,
    /// Packages installed besides the base system.
    pub packages: &'static [&'static str],
}

/// Packages that every tree has.
pub const COMMON: &[&str] =
    &["ca-certificates", "docker.io", "iproute2", "iptables", "kmod", "nftables", "procps"];
const BOOKWORM: Tree = Tree { suite: "bookworm", packages: &[] };
const TRIXIE: Tree = Tree {
    suite: "trixie",
    packages: &[
        "aardvark-dns",
        "catatonit",
        "conmon",
        "fuse-overlayfs",
        "netavark",
        "passt",
        "podman",
        "rootlesskit",
        "runc",
        "runsc",
        "slirp4netns",
        "uidmap",
    ],
};
const SID: Tree = Tree { suite: "sid", packages: &[] };

/// The machine's own dockerd.
pub const MACHINE: Variant =
    Variant { name: "machine", tree: None, product: Product::Docker, settings: None };

/// All others.
pub const MATRIX: &[Variant] = &[
    Variant { name: "docker-20.10", tree: Some(&BOOKWORM), product: Product::Docker, settings: None },
    Variant { name: "docker-26.1", tree: Some(&TRIXIE), product: Product::Docker, settings: None },
    Variant { name: "docker-28.5", tree: Some(&SID), product: Product::Docker, settings: None },
    Variant { name: "podman-5", tree: Some(&TRIXIE), product: Product::Podman, settings: None },
];

/// Variants that are used by their name alone, and have no row of their own.
pub const BESIDE: &[Variant] = &[Variant {
    name: "docker-28.5-containerd",
    tree: Some(&SID),
    product: Product::Docker,
    settings: Some(r#"{"features": {"containerd-snapshotter": true}}"#),
}];

/// The variant of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Variant> {
    std::iter::once(&MACHINE).chain(MATRIX).chain(BESIDE).find(|variant| variant.name == name)
}
