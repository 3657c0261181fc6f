//! A member as clients see it.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::asked::AskedFor;
use crate::serve::decide::facts::FoundNetwork;

/// A member as clients see it: what its label remembers, and what ringfence did since.
#[derive(Debug, Clone)]
pub(crate) struct Shown<'a> {
    /// Name that the client gave or was given.
    pub(crate) name: &'a str,
    /// The engine's id.
    pub(crate) id: &'a str,
    /// Wishes of its client.
    pub(crate) asked: &'a AskedFor,
    /// Networks to which it belongs now.
    pub(crate) networks: Vec<Attached>,
    /// Ports that are served now.
    pub(crate) ports: &'a [ServedPort],
    /// Set while it runs.
    pub(crate) running: bool,
}

/// Membership of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attached {
    /// Name of the network.
    pub(crate) name: String,
    /// Id of its record.
    pub(crate) id: String,
    /// Names there.
    pub(crate) aliases: Vec<String>,
    /// Address of the member.
    pub(crate) address: Option<IpAddr>,
}

/// A port that is served on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServedPort {
    /// Port in the container.
    pub(crate) container: u16,
    /// Address on this machine.
    pub(crate) host_ip: IpAddr,
    /// Port on this machine.
    pub(crate) host: u16,
}

impl Shown<'_> {
    /// Returns the host name that the client expects: its own, or the short id.
    pub(super) fn hostname(&self) -> &str {
        if self.asked.hostname.is_empty() {
            self.id.get(..12).unwrap_or(self.id)
        } else {
            &self.asked.hostname
        }
    }

    /// Returns `NetworkMode` as it was asked for.
    pub(super) fn network_mode(&self) -> &str {
        if self.asked.network_mode.is_empty() { "default" } else { &self.asked.network_mode }
    }

    /// Returns `NetworkSettings.Networks`.
    pub(super) fn networks(&self) -> Value {
        if self.asked.network_mode == "none" || self.asked.network_mode.starts_with("container:") {
            return json!({});
        }
        let builtin = Attached {
            name: "bridge".to_owned(),
            id: super::networks::BRIDGE_ID.to_owned(),
            ..Attached::default()
        };
        let builtin = [builtin];
        let all = if self.networks.is_empty() { &builtin[..] } else { &self.networks };
        let each = all.iter().map(|network| (network.name.clone(), self.endpoint(network)));
        Value::Object(each.collect::<Map<_, _>>())
    }

    fn endpoint(&self, network: &Attached) -> Value {
        let address = if self.running { Some(self.address(network)) } else { None };
        let mut aliases: Vec<&str> = network.aliases.iter().map(String::as_str).collect();
        let short = self.id.get(..12).unwrap_or(self.id);
        let mut names = vec![self.name];
        for alias in aliases.iter().chain([&short, &self.hostname()]) {
            if !names.contains(alias) {
                names.push(alias);
            }
        }
        if !aliases.contains(&short) && !network.name.eq("bridge") {
            aliases.push(short);
        }
        json!({
            "IPAMConfig": null,
            "Links": null,
            "Aliases": if aliases.is_empty() { Value::Null } else { json!(aliases) },
            "MacAddress": "",
            "DriverOpts": null,
            "GwPriority": 0,
            "NetworkID": network.id,
            // The engine has none for it; clients only compare whether there is one.
            "EndpointID": if self.running { self.id } else { "" },
            "Gateway": if self.running { "127.0.0.1" } else { "" },
            "IPAddress": address.map(|address| address.to_string()).unwrap_or_default(),
            "IPPrefixLen": if self.running { 8 } else { 0 },
            "IPv6Gateway": "",
            "GlobalIPv6Address": "",
            "GlobalIPv6PrefixLen": 0,
            "DNSNames": if network.name == "bridge" { Value::Null } else { json!(names) },
        })
    }

    fn address(&self, network: &Attached) -> IpAddr {
        network.address.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST))
    }

    /// Returns the address that clients find at the top of `NetworkSettings`.
    pub(super) fn first_address(&self) -> String {
        let cut_off = self.asked.network_mode == "none";
        if !self.running || cut_off {
            return String::new();
        }
        let first = self.networks.first().cloned().unwrap_or_default();
        self.address(&first).to_string()
    }

    /// Returns `NetworkSettings.Ports`: every exposed port, with its bindings while it is served.
    pub(super) fn port_map(&self) -> Value {
        let mut map = Map::new();
        if !self.running {
            return Value::Object(map);
        }
        for exposed in &self.asked.exposed {
            map.insert(exposed.clone(), Value::Null);
        }
        for port in self.ports {
            let binding = json!({ "HostIp": port.host_ip.to_string(), "HostPort": port.host.to_string() });
            match map.entry(format!("{}/tcp", port.container)).or_insert(Value::Null) {
                Value::Array(all) => all.push(binding),
                none => *none = json!([binding]),
            }
        }
        Value::Object(map)
    }

    /// Returns the ports as a list of containers has them.
    pub(super) fn port_list(&self) -> Value {
        if !self.running {
            return json!([]);
        }
        let served = self.ports.iter().map(|port| {
            json!({ "IP": port.host_ip.to_string(), "PrivatePort": port.container, "PublicPort": port.host, "Type": "tcp" })
        });
        let is_served =
            |exposed: &str| self.ports.iter().any(|port| exposed == format!("{}/tcp", port.container));
        let others = self.asked.exposed.iter().filter(|exposed| !is_served(exposed)).filter_map(|exposed| {
            let (port, protocol) = exposed.split_once('/')?;
            Some(json!({ "PrivatePort": port.parse::<u16>().ok()?, "Type": protocol }))
        });
        Value::Array(served.chain(others).collect())
    }

    /// Returns `HostConfig.PortBindings` as they were asked for.
    pub(super) fn port_bindings(&self) -> Value {
        let mut map = Map::new();
        for port in &self.asked.ports {
            let host = if port.host == 0 { String::new() } else { port.host.to_string() };
            let binding = json!({ "HostIp": port.host_ip, "HostPort": host });
            match map.entry(format!("{}/tcp", port.container)).or_insert(Value::Null) {
                Value::Array(all) => all.push(binding),
                none => *none = json!([binding]),
            }
        }
        Value::Object(map)
    }
}

/// Returns the membership of a network that a record describes.
pub(crate) fn attached(network: &FoundNetwork, aliases: Vec<String>, address: Option<IpAddr>) -> Attached {
    Attached { name: network.name.clone(), id: network.id.clone(), aliases, address }
}
