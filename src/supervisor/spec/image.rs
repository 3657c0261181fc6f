//! The agent's image, as the engine describes it.

use std::collections::BTreeMap;

use super::image_platform::ImagePlatform;

/// An image that is on the engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Image {
    /// Name as it was typed.
    pub(crate) name: String,
    /// The engine's id. An agent is made by the id: what was looked at is what runs.
    pub(crate) id: String,
    /// Origin by content: `registry.example/agent@sha256:…`. Absent for an image that no registry
    /// gave.
    pub(crate) digest: Option<String>,
    /// Platform of the variant that is described here; none where the engine describes none.
    pub(crate) platform: Option<ImagePlatform>,
    /// Variables that the image sets.
    pub(crate) env: Vec<String>,
    /// User of the image's programs; empty: root.
    pub(crate) user: String,
    /// Working directory; empty: `/`.
    pub(crate) workdir: String,
    /// Entrypoint.
    pub(crate) entrypoint: Vec<String>,
    /// Arguments of the entrypoint, unless a command is given.
    pub(crate) command: Vec<String>,
    /// The image's labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// Paths for which the image wants volumes.
    pub(crate) volumes: Vec<String>,
    /// TCP ports that the image exposes, the lowest first.
    pub(crate) ports: Vec<u16>,
}

/// The images of a run, all of them on the engine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Images {
    /// The agent's image.
    pub(crate) agent: Image,
    /// The services' images, in the order of the services.
    pub(crate) services: Vec<Image>,
}

/// Reads the TCP ports of what an image exposes (`5432/tcp`).
pub(crate) fn tcp_ports(exposed: &[String]) -> Vec<u16> {
    let port = |text: &String| {
        let (port, protocol) = text.split_once('/').unwrap_or((text.as_str(), "tcp"));
        (protocol == "tcp").then(|| port.parse().ok()).flatten().filter(|port| *port > 0)
    };
    let mut ports: Vec<u16> = exposed.iter().filter_map(port).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_ports_are_read_and_nothing_else() {
        let exposed =
            ["6379/tcp", "53/udp", "80", "6379/tcp", "0/tcp", "70000/tcp", "x/tcp", "5432-5440/tcp"];
        assert_eq!(tcp_ports(&exposed.map(str::to_owned)), [80, 6379]);
        assert!(tcp_ports(&[]).is_empty());
    }
}
