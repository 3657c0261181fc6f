//! The JSON Schema of a policy file, for editors: what may stand where. Whether it makes sense is
//! the loader's to say.
//!
//! ```text
//!  the types below ──schemars──▶ JSON Schema ──▶ docs/policy.schema.json (a test keeps the copy and the loader's keys in step)
//! ```
//! The types exist for the schema alone; policies are read by `load`, which knows places and gives
//! hints.

#![allow(dead_code, reason = "the types are never filled: their shape is what counts")]

use std::collections::BTreeMap;

use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema, json_schema, schema_for};
use serde_json::Value;

/// Returns the schema as a JSON text, with a line end.
pub fn json() -> String {
    text(schema_for!(File), "ringfence policy")
}

/// Returns the schema of a file as a JSON text, with a line end: no key has the value `null`.
pub fn text(mut schema: Schema, title: &str) -> String {
    RecursiveTransform(without_null).transform(&mut schema);
    RecursiveTransform(on_one_line).transform(&mut schema);
    schema.insert("title".to_owned(), title.into());
    // A map of strings and numbers can always be written.
    let text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    format!("{text}\n")
}

/// Forbids `null`: a key may be left out, and may not stand without a value.
fn without_null(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|word| word != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    let null = serde_json::json!({ "type": "null" });
    let Some(Value::Array(choices)) = object.get_mut("anyOf") else { return };
    choices.retain(|choice| *choice != null);
    if let [Value::Object(only)] = choices.as_slice() {
        let only = only.clone();
        object.remove("anyOf");
        object.extend(only);
    }
}

/// Joins the lines of descriptions: the source wraps them, an editor wraps them anew.
fn on_one_line(schema: &mut Schema) {
    if let Some(Value::String(text)) = schema.as_object_mut().and_then(|object| object.get_mut("description"))
    {
        *text = text.split("\n\n").map(|part| part.replace('\n', " ")).collect::<Vec<_>>().join("\n\n");
    }
}

/// A policy file.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    /// The version of the language.
    version: Version,
    /// Presets by name and version (`gitlab@1`), files relative to this one (`./team.yml`).
    extends: Option<Vec<String>>,
    /// Targets that may be reached.
    network: Option<Network>,
    /// Limits and setting of the agent's container; of several layers the smallest limit counts.
    container: Option<Container>,
    /// Containers beside the agent, in the same fence, each by its name. Not for projects.
    services: Option<BTreeMap<String, Service>>,
    /// Registries from which clients of the fenced socket (`ringfence serve`) may have images
    /// pulled: `registry.example`, `registry.example:5000`. Of several layers what all list. Not
    /// for projects.
    images: Option<Vec<String>>,
    /// Demands on the engine, checked before anything is created. Not for projects.
    engine: Option<Engine>,
    /// Files of the project that the agent does not see.
    workspace: Option<Workspace>,
    /// Limits of a token that the agent is given. Not for projects.
    credentials: Option<Credentials>,
    /// Detail of the file that tells the agent what it is permitted: `brief` leaves out the names
    /// of hosts and covered paths. One layer that says `brief` is enough.
    notice: Option<Notice>,
    /// Expectations that `ringfence policy test` checks.
    tests: Option<Vec<Test>>,
}

/// The only version there is.
struct Version;

impl JsonSchema for Version {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Version".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> Schema {
        json_schema!({ "const": 1 })
    }
}

/// A thing that can only be forbidden.
struct Never;

impl JsonSchema for Never {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Never".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> Schema {
        json_schema!({ "const": false })
    }
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct Network {
    /// Permissions.
    allow: Option<Vec<Rule>>,
    /// Denials. They refuse whatever permits the target.
    deny: Option<Vec<Denial>>,
    /// The most that this layer and weaker ones may permit; an empty list lets nothing through. Not
    /// for projects.
    ceiling: Option<Vec<Rule>>,
    /// Names whose refusal does an agent no harm: its updater, its telemetry. They permit and
    /// refuse nothing; the summary of a run folds these refusals. Not for projects.
    harmless: Option<Vec<Harmless>>,
    /// `false`: no run may be observed (`ringfence run --network observe`).
    observe: Option<Never>,
    /// Resolution. Not for projects.
    dns: Option<Dns>,
    /// The corporate proxy. Not for projects.
    proxy: Option<Proxy>,
    /// Hosts and ranges that the guard dials itself although there is a proxy. Not for projects.
    no_proxy: Option<Vec<String>>,
}

/// A name whose refusal does no harm.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct Harmless {
    /// A name: `x` is that name, `*.x` any name below it, `.x` both.
    host: String,
    /// The purpose that the agent has for it, as in `telemetry`.
    #[schemars(length(max = 500))]
    reason: String,
}

/// A rule of `allow` or `ceiling`.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Rule {
    /// `gitlab.com`, `gitlab.com:8443`, `"*.gitlab.com"`, `.gitlab.com`; port 443 unless given.
    Host(String),
    /// Exactly one of `host` and `cidr`.
    Full(Box<FullRule>),
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct FullRule {
    /// A name: `x` is that name, `*.x` any name below it, `.x` both.
    host: Option<String>,
    /// A range of IPv4 addresses, /8 at the widest; needs `ports`.
    cidr: Option<String>,
    /// The ports; 443 unless given.
    #[schemars(length(min = 1), inner(range(min = 1)))]
    ports: Option<Vec<u16>>,
    /// Check by the gate; by the port unless given: 443 tls, 80 http, else auto.
    protocol: Option<Protocol>,
    /// Private ranges in which the addresses of this name may lie too.
    private: Option<Vec<String>>,
    /// The author's words, shown by explain, events and reports.
    #[schemars(length(max = 500))]
    reason: Option<String>,
    /// The last day, whole in UTC, on which the rule counts.
    #[schemars(regex(pattern = r"^\d{4}-\d{2}-\d{2}$"))]
    expires: Option<String>,
    /// `proxy` for names that only the corporate proxy can resolve: their addresses are not
    /// checked. Not for projects.
    resolved_by: Option<ResolvedBy>,
    /// The host itself is meant, by one of its names such as `host.docker.internal`. Not for
    /// projects. `true` is the address at which containers reach the engine's machine, `loopback`
    /// the loopback of the machine on which the run was started.
    host_access: Option<HostAccess>,
}

/// Way to the host.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum HostAccess {
    /// `true`: the address at which containers reach the engine's machine.
    Address(bool),
    /// The loopback of the machine on which the run was started.
    Loopback(Loopback),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Loopback {
    Loopback,
}

/// A rule of `deny`.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Denial {
    /// `.pastebin.com`, `example.com:25`; every port unless given.
    Host(String),
    /// Exactly one of `host` and `cidr`.
    Full(FullDenial),
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct FullDenial {
    /// A name or pattern of names.
    host: Option<String>,
    /// A range of addresses; also checked on what a permitted name resolves to.
    cidr: Option<String>,
    /// The ports; every port unless given.
    #[schemars(length(min = 1), inner(range(min = 1)))]
    ports: Option<Vec<u16>>,
    /// The author's words.
    #[schemars(length(max = 500))]
    reason: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Protocol {
    Tls,
    Http,
    Tcp,
    Auto,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum ResolvedBy {
    Guard,
    Proxy,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct Dns {
    /// `system`, IP, IP:port, `tls://IP#name`, `https://host/dns-query`; asked in order.
    #[schemars(length(min = 1))]
    upstreams: Option<Vec<String>>,
    /// Split DNS: the resolvers of a domain and everything below it.
    domains: Option<BTreeMap<String, Vec<String>>>,
    /// Distinct upstream questions that one wildcard may cause in a run; 64 unless given.
    #[schemars(range(min = 1, max = 65536))]
    names_per_wildcard: Option<u32>,
    /// The addresses that stand for names inside the fence; 25.0.0.0/16 unless given.
    virtual_range: Option<String>,
    /// Reserved ranges with which a VPN's resolver answers public names.
    upstream_fake_range: Option<Vec<String>>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum Proxy {
    /// `http://proxy.corp.example:3128`.
    Url(String),
    /// A proxy with credentials from an environment variable.
    Full(FullProxy),
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct FullProxy {
    /// `http://proxy.corp.example:3128`.
    url: String,
    /// The environment variable that holds `user:password`.
    credentials_env: Option<String>,
    /// The proxy resolves the names that the guard cannot resolve: those of every rule but a
    /// project's. Their addresses are not checked.
    resolves_names: Option<bool>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct Container {
    /// CPUs, `2` or `0.5`.
    #[schemars(range(min = 0.01, max = 4096.0))]
    cpus: Option<f64>,
    /// Memory with swap, `4GiB`.
    memory: Option<Size>,
    /// Processes and threads.
    #[schemars(range(min = 1))]
    pids: Option<u32>,
    /// Files that a process may have open.
    #[schemars(range(min = 64, max = 1048576))]
    open_files: Option<u32>,
    /// Bytes that the agent may write, `10GiB`.
    disk: Option<Size>,
    /// Wall-clock time, `2h`.
    time: Option<String>,
    /// Permitted connections at once; a share of the machine's connection table unless given. A
    /// project's number only lowers that.
    #[schemars(range(min = 1, max = 10000))]
    connections: Option<u32>,
    /// New permitted connections a second; a share of the machine's connection table unless given.
    /// A project's number only lowers that.
    #[schemars(range(min = 1, max = 4000))]
    connections_per_second: Option<u32>,
    /// Root's powers that the agent keeps in its own container.
    capabilities: Option<Capabilities>,
    /// The OCI runtime, `default` for the engine's. Not for projects.
    runtime: Option<String>,
    /// The CA bundle for the agent's TLS clients: `system` or a file. Not for projects.
    ca: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct Service {
    /// The image.
    image: String,
    /// Variables, beside the image's own.
    env: Option<BTreeMap<String, Word>>,
    /// The command, word by word; the image's unless given.
    #[schemars(length(min = 1))]
    command: Option<Vec<Word>>,
    /// The sign by which it is ready; the lowest TCP port that the image exposes unless given.
    ready: Option<Ready>,
    /// The time in which it must be ready, `60s` unless given.
    within: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case", extend("minProperties" = 1, "maxProperties" = 1))]
struct Ready {
    /// A TCP port of 127.0.0.1 that takes connections.
    #[schemars(range(min = 1))]
    tcp: Option<u16>,
    /// A command in the service's container that ends with status 0.
    #[schemars(length(min = 1))]
    command: Option<Vec<Word>>,
}

/// A text, which may look like a number or a boolean.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Word {
    /// A text.
    Text(String),
    /// A number.
    Number(f64),
    /// `true` or `false`.
    Boolean(bool),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Capabilities {
    None,
    Default,
}

/// A size, 1024-based.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Size {
    /// A number with a unit.
    Text(String),
    /// Bytes.
    Bytes(u64),
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct Engine {
    /// Risks that `ringfence doctor` must find closed; what several layers require adds up.
    require: Option<Vec<Requirement>>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct Workspace {
    /// Paths below the project that are empty to the agent, besides what is a secret by itself.
    mask: Option<Vec<String>>,
    /// Paths that are shown as they are, unless `mask` has them. Not for projects.
    unmask: Option<Vec<String>>,
    /// Hide secrets from the agent even where git has the file as it is. One layer that demands it
    /// is enough.
    hide_committed: Option<bool>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct Credentials {
    /// The scopes that a token may have; `[ai_workflows]` unless given. Of several layers what all
    /// list.
    scopes: Option<Vec<String>>,
    /// Longest remaining life of a token, `8h`; of several layers the shortest.
    max_lifetime: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Notice {
    Full,
    Brief,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Requirement {
    Vm,
    Rootless,
    Patched,
    PatchedOrUnknown,
}

/// One line of `tests`.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase", deny_unknown_fields)]
enum Test {
    /// The target is permitted.
    Allow(String),
    /// The target is refused.
    Deny(String),
    /// The target is permitted as soon as this layer or a weaker one permits it.
    May(String),
    /// The target is refused, whatever this layer and weaker ones permit.
    Never(String),
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::load::shape;
    use crate::settings;

    fn keys(schema: &Value, name: &str) -> BTreeSet<String> {
        let object = if name.is_empty() { schema } else { &schema["$defs"][name] };
        let properties =
            object["properties"].as_object().unwrap_or_else(|| panic!("{name} is in the schema"));
        properties.keys().cloned().collect()
    }

    #[test]
    fn the_schema_knows_the_keys_that_the_loader_knows() {
        assert!(!json().contains("null"), "a key without a value is an error to the loader");
        let schema: Value = serde_json::from_str(&json()).unwrap();
        for (section, name) in [
            (&shape::TOP, ""),
            (&shape::NETWORK, "Network"),
            (&shape::DNS, "Dns"),
            (&shape::PROXY, "FullProxy"),
            (&shape::CONTAINER, "Container"),
            (&shape::SERVICE, "Service"),
            (&shape::READY, "Ready"),
            (&shape::ENGINE, "Engine"),
            (&shape::WORKSPACE, "Workspace"),
            (&shape::CREDENTIALS, "Credentials"),
            (&shape::RULE, "FullRule"),
            (&shape::DENIAL, "FullDenial"),
        ] {
            let known: BTreeSet<String> = section.keys.iter().map(|key| (*key).to_owned()).collect();
            assert_eq!(keys(&schema, name), known, "{}", section.name);
            let object = if name.is_empty() { &schema } else { &schema["$defs"][name] };
            assert_eq!(object["additionalProperties"], Value::Bool(false), "{}", section.name);
            // The description tells a project's author which keys a project may not hold.
            for key in section.not_in_project {
                let words = object["properties"][*key]["description"].as_str().unwrap_or_default();
                assert!(words.contains("Not for projects"), "{key}");
            }
        }
    }

    #[test]
    fn the_schema_knows_the_words_that_the_loader_knows() {
        let schema: Value = serde_json::from_str(&json()).unwrap();
        let words = |name: &str| -> BTreeSet<String> {
            let list = schema["$defs"][name]["enum"].as_array().unwrap();
            list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let requirements = settings::Requirement::ALL.iter().map(|(word, _)| (*word).to_owned()).collect();
        assert_eq!(words("Requirement"), requirements);
        let kept = settings::Capabilities::ALL.iter().map(|(word, _)| (*word).to_owned()).collect();
        assert_eq!(words("Capabilities"), kept);
        let detail = settings::NoticeDetail::ALL.iter().map(|(word, _)| (*word).to_owned()).collect();
        assert_eq!(words("Notice"), detail);
        assert_eq!(words("Protocol"), ["auto", "http", "tcp", "tls"].map(str::to_owned).into());
        assert_eq!(words("ResolvedBy"), ["guard", "proxy"].map(str::to_owned).into());
    }
}
