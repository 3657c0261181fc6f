//! Containers in answers: the engine's words, with those of the client put back.

use serde_json::{Map, Value, json};

use super::labels::{strip, strip_at};
use super::shown::Shown;
use crate::serve::denied::Denied;
use crate::serve::request::filters::Filters;
use crate::supervisor::spec::environment::OWN;
use crate::wire::init::without_places;

/// Fields of an inspected container that name files of the engine's machine.
const PATHS: [&str; 5] = ["ResolvConfPath", "HostnamePath", "HostsPath", "LogPath", "AppArmorProfile"];

/// Returns an inspected container as its client expects it.
pub(crate) fn inspect(mut engine: Value, shown: &Shown<'_>) -> Value {
    for path in PATHS {
        set(&mut engine, path, json!(""));
    }
    set(&mut engine, "Name", json!(format!("/{}", shown.name)));
    let error = engine.pointer("/State/Error").and_then(Value::as_str).map(without_places);
    if let (Some(error), Some(state)) = (error, engine.get_mut("State")) {
        set(state, "Error", json!(error));
    }
    set(&mut engine, "GraphDriver", json!({ "Name": "", "Data": null }));
    config(&mut engine, shown);
    host_config(&mut engine, shown);
    mounts(&mut engine, shown);
    let running = shown.running;
    let settings = json!({
        "Bridge": "",
        "SandboxID": if running { shown.id } else { "" },
        "SandboxKey": "",
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "Ports": shown.port_map(),
        "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null,
        "EndpointID": if running { shown.id } else { "" },
        "Gateway": if running { "127.0.0.1" } else { "" },
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": shown.first_address(),
        "IPPrefixLen": if running { 8 } else { 0 },
        "IPv6Gateway": "",
        "MacAddress": "",
        "Networks": shown.networks(),
    });
    set(&mut engine, "NetworkSettings", settings);
    engine
}

/// Puts program, image and names back.
fn config(engine: &mut Value, shown: &Shown<'_>) {
    let asked = shown.asked;
    strip_at(engine, "/Config/Labels");
    let Some(config) = engine.get_mut("Config").and_then(Value::as_object_mut) else { return };
    config.insert("Hostname".to_owned(), json!(shown.hostname()));
    config.insert("Domainname".to_owned(), json!(asked.domainname));
    if !asked.image.is_empty() {
        config.insert("Image".to_owned(), json!(asked.image));
    }
    let exposed: Map<String, Value> = asked.exposed.iter().map(|port| (port.clone(), json!({}))).collect();
    if !exposed.is_empty() {
        config.entry("ExposedPorts").or_insert_with(|| json!({}));
        if let Some(all) = config.get_mut("ExposedPorts").and_then(Value::as_object_mut) {
            all.extend(exposed);
        }
    }
    if let Some(env) = config.get_mut("Env").and_then(Value::as_array_mut) {
        let own = |pair: &str| OWN.contains(&pair.split('=').next().unwrap_or_default());
        env.retain(|pair| !pair.as_str().is_some_and(own));
    }
}

/// Puts back program and arguments of a container that begins with ringfence's own first program,
/// whose one argument comes before them. `entrypoint`: words that are the entrypoint's.
pub(crate) fn put_program_back(engine: &mut Value, entrypoint: usize) {
    let list = |list: &[Value]| if list.is_empty() { Value::Null } else { json!(list) };
    let words = engine.pointer("/Config/Cmd").and_then(Value::as_array).cloned().unwrap_or_default();
    let words = words.get(1..).unwrap_or_default();
    let (entrypoint, command) = words.split_at(entrypoint.min(words.len()));
    if let Some(config) = engine.get_mut("Config").and_then(Value::as_object_mut) {
        config.insert("Entrypoint".to_owned(), list(entrypoint));
        config.insert("Cmd".to_owned(), list(command));
    }
    set(engine, "Path", words.first().cloned().unwrap_or(json!("")));
    set(engine, "Args", json!(words.get(1..).unwrap_or_default()));
}

/// Puts back the command line of such a container in a list.
pub(crate) fn put_command_back(engine: &mut Value) {
    let line = engine["Command"].as_str().unwrap_or_default();
    let line = line.splitn(3, ' ').nth(2).unwrap_or_default().to_owned();
    set(engine, "Command", json!(line));
}

/// Puts the client's wishes back into `HostConfig`.
fn host_config(engine: &mut Value, shown: &Shown<'_>) {
    let asked = shown.asked;
    let Some(host) = engine.get_mut("HostConfig").and_then(Value::as_object_mut) else { return };
    let optional = |list: &[String]| if list.is_empty() { Value::Null } else { json!(list) };
    let restart = if asked.restart.is_empty() { "no" } else { &asked.restart };
    for (name, value) in [
        ("NetworkMode", json!(shown.network_mode())),
        ("PortBindings", shown.port_bindings()),
        ("PublishAllPorts", json!(asked.publish_all)),
        ("Binds", optional(&asked.binds)),
        ("ExtraHosts", optional(&asked.extra_hosts)),
        ("Links", optional(&asked.links)),
        ("CapAdd", optional(&asked.cap_add)),
        ("CapDrop", optional(&asked.cap_drop)),
        ("SecurityOpt", optional(&asked.security)),
        ("AutoRemove", json!(asked.auto_remove)),
        ("RestartPolicy", json!({ "Name": restart, "MaximumRetryCount": asked.retries })),
        ("LogConfig", json!({ "Type": "json-file", "Config": {} })),
    ] {
        host.insert(name.to_owned(), value);
    }
    let is_asked = |mount: &Value| {
        let target = mount.get("Target").and_then(Value::as_str);
        target.is_some_and(|target| asked.targets.iter().any(|asked| asked == target))
    };
    // What came as a bind is shown as one.
    let in_binds = |mount: &Value| {
        let target = mount.get("Target").and_then(Value::as_str).unwrap_or_default();
        asked
            .binds
            .iter()
            .any(|bind| bind.split(':').nth(1).is_some_and(|at| at.trim_end_matches('/') == target))
    };
    if let Some(mounts) = host.get_mut("Mounts").and_then(Value::as_array_mut) {
        mounts.retain(|mount| is_asked(mount) && !in_binds(mount));
        for mount in mounts {
            strip_at(mount, "/VolumeOptions/Labels");
        }
    }
}

/// Leaves the mounts that the client knows.
fn mounts(engine: &mut Value, shown: &Shown<'_>) {
    if let Some(mounts) = engine.get_mut("Mounts").and_then(Value::as_array_mut) {
        mounts.retain(|mount| is_known(mount, shown));
    }
}

fn is_known(mount: &Value, shown: &Shown<'_>) -> bool {
    let target = mount.get("Destination").and_then(Value::as_str);
    target.is_some_and(|target| shown.asked.targets.iter().any(|asked| asked == target))
}

/// Returns one container of a list as its client expects it.
pub(crate) fn listed(mut engine: Value, shown: &Shown<'_>) -> Value {
    set(&mut engine, "Names", json!([format!("/{}", shown.name)]));
    if !shown.asked.image.is_empty() {
        set(&mut engine, "Image", json!(shown.asked.image));
    }
    set(&mut engine, "Ports", shown.port_list());
    set(&mut engine, "HostConfig", json!({ "NetworkMode": shown.network_mode() }));
    set(&mut engine, "NetworkSettings", json!({ "Networks": shown.networks() }));
    if let Some(labels) = engine.get_mut("Labels") {
        strip(labels);
    }
    mounts(&mut engine, shown);
    engine
}

/// Filters of a list of containers that ringfence answers itself: the engine knows neither the
/// names, nor the networks and ports.
pub(crate) const OWN_FILTERS: [&str; 5] = ["name", "network", "publish", "expose", "ancestor"];
/// Filters that the engine answers. Others are refused.
pub(crate) const ENGINES_FILTERS: [&str; 6] = ["id", "label", "status", "exited", "health", "volume"];

/// Refuses filters of a list of containers that nobody answers.
///
/// # Errors
/// With the first of them.
pub(crate) fn known_filters(filters: &Filters) -> Result<(), Denied> {
    let all: Vec<&str> = OWN_FILTERS.into_iter().chain(ENGINES_FILTERS).collect();
    filters.only(&all)
}

/// Tells whether a container fits the filters that ringfence answers. `image` is the engine's id of
/// its image.
pub(crate) fn fits(filters: &Filters, names: &NamePatterns, shown: &Shown<'_>, image: &str) -> bool {
    let asked = shown.asked;
    let network = |word: &str| {
        let builtin = word == "bridge" && shown.networks.is_empty() && asked.network_mode != "none";
        builtin || shown.networks.iter().any(|network| network.name == word || network.id == word)
    };
    let port = |ports: Vec<u16>| {
        move |word: &str| {
            let (range, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (first.parse::<u16>(), last.parse::<u16>());
            let within = |port: &u16| matches!((&first, &last), (Ok(first), Ok(last)) if first <= port && port <= last);
            protocol == "tcp" && ports.iter().any(within)
        }
    };
    let published = asked.ports.iter().map(|port| port.container);
    let published = published.chain(shown.ports.iter().map(|port| port.host)).collect();
    let ancestor = |word: &str| {
        let tagged =
            |name: &str| if name.contains([':', '@']) { name.to_owned() } else { format!("{name}:latest") };
        word == image
            || image.strip_prefix("sha256:").is_some_and(|hex| word.len() >= 12 && hex.starts_with(word))
            || tagged(word) == tagged(&asked.image)
    };
    names.admit(shown.name)
        && filters.admits("network", network)
        && filters.admits("publish", port(published))
        && filters.admits("expose", port(asked.tcp_ports()))
        && filters.admits("ancestor", ancestor)
}

/// The most patterns of names in one request.
const MOST_PATTERNS: usize = 20;
/// The most bytes of a pattern that was read: each name is compared with each of them.
const LONGEST_PATTERN: usize = 1 << 14;

/// Filters by name, read once for a whole list. They are regular expressions to engines; one that
/// cannot be read is taken as a plain part of the name.
pub(crate) struct NamePatterns(Vec<NamePattern>);

enum NamePattern {
    Expression(regex::bytes::Regex),
    Part(String),
}

impl NamePatterns {
    /// Reads the filters of a request.
    ///
    /// # Errors
    /// When there are too many.
    pub(crate) fn read(filters: &Filters) -> Result<NamePatterns, Denied> {
        let words: Vec<&str> = filters.values("name").collect();
        if words.len() > MOST_PATTERNS {
            let why = format!("there are more than {MOST_PATTERNS} names; ask in several requests");
            return Err(Denied::field("filters", why));
        }
        Ok(NamePatterns(words.into_iter().map(NamePattern::read).collect()))
    }

    /// Tells whether a name fits one of them, or none is asked for.
    pub(super) fn admit(&self, name: &str) -> bool {
        let slashed = format!("/{name}");
        let fits = |pattern: &NamePattern| match pattern {
            NamePattern::Part(part) => slashed.contains(part),
            NamePattern::Expression(pattern) => {
                pattern.is_match(name.as_bytes()) || pattern.is_match(slashed.as_bytes())
            }
        };
        self.0.is_empty() || self.0.iter().any(fits)
    }
}

impl NamePattern {
    fn read(word: &str) -> NamePattern {
        // Names are of ASCII, and so are the classes of engines.
        let mut pattern = regex::bytes::RegexBuilder::new(word);
        match pattern.unicode(false).size_limit(LONGEST_PATTERN).build() {
            Ok(pattern) => NamePattern::Expression(pattern),
            Err(_) => NamePattern::Part(word.to_owned()),
        }
    }
}

pub(super) fn set(answer: &mut Value, name: &str, value: Value) {
    if let Some(answer) = answer.as_object_mut() {
        answer.insert(name.to_owned(), value);
    }
}
