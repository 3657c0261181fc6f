//! Decisions about new containers, each row a body and what becomes of it.

mod fuzzing;
mod go;
mod groups;
mod image;
mod mounts;
mod others;
mod places;
mod rights;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use bollard::models::{ContainerCreateBody, Mount};

use super::facts::{
    CreateAsk, Found, FoundMember, FoundNetwork, FoundSource, FoundVolume, Ground, ProjectRoot, SourceKind,
};
use super::member::{MemberSpec, MountSource};
use crate::serve::denied::Denied;
use crate::serve::request::bodies::CreateBody;
use crate::serve::request::fields;
use crate::serve::request::names::MemberName;
use crate::serve::upstream::{self, Seam};
use crate::supervisor::spec::image::Image;
use crate::supervisor::spec::image_platform::ImagePlatform;
use crate::supervisor::spec::limits::Limits;
use crate::wire::EngineId;

pub(super) static FENCE: LazyLock<EngineId> = LazyLock::new(|| "f".repeat(64).parse().unwrap());
static REGISTRIES: LazyLock<Vec<String>> = LazyLock::new(|| vec!["r.example".to_owned()]);
static ROOTS: LazyLock<Vec<ProjectRoot>> = LazyLock::new(|| {
    [("/home/u/p", true), ("/home/u/p/docs", false), ("/data/read", false)]
        .map(|(path, writable)| ProjectRoot { path: PathBuf::from(path), writable })
        .to_vec()
});

pub(super) fn ground() -> Ground<'static> {
    Ground {
        limits: Limits::default(),
        roots: &ROOTS,
        socket: Path::new("/run/user/1000/ringfence/docker.sock"),
        registries: &REGISTRIES,
        capabilities: &[],
        denied_groups: &[999],
    }
}

/// Facts of a small world: two members, two networks, two volumes, and files around the roots.
pub(super) fn found() -> Found {
    let source = |path: &str, kind: SourceKind, linked: bool| {
        (path.to_owned(), FoundSource { path: PathBuf::from(path), kind, linked })
    };
    let member = |digit: &str, group: &str, address: &str| FoundMember {
        id: digit.repeat(64).parse().unwrap(),
        group: group.to_owned(),
        address: address.parse().ok(),
    };
    let network = |digit: &str, name: &str, labels: &[(&str, &str)]| FoundNetwork {
        id: digit.repeat(64),
        name: name.to_owned(),
        labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    };
    let (db, web) = (member("1", "compose:shop", "198.18.0.7"), member("2", "own-2", "198.18.0.8"));
    Found {
        image: Some(Image {
            id: format!("sha256:{}", "a".repeat(64)),
            platform: ImagePlatform::read("linux", "amd64", ""),
            command: vec!["run".to_owned()],
            volumes: vec!["/var/lib/db".to_owned()],
            ports: vec![5432],
            ..Image::default()
        }),
        containers: BTreeMap::from([("db".to_owned(), db.clone()), ("web".to_owned(), web.clone())]),
        peers: vec![db, web],
        networks: BTreeMap::from([
            (
                "shop_default".to_owned(),
                network("3", "shop_default", &[("com.docker.compose.project", "shop")]),
            ),
            ("plain".to_owned(), network("4", "plain", &[])),
            ("4".repeat(64), network("4", "plain", &[])),
        ]),
        volumes: BTreeMap::from([
            ("own".to_owned(), FoundVolume::Own),
            ("theirs".to_owned(), FoundVolume::Foreign),
        ]),
        sources: [
            source("/home/u/p", SourceKind::Directory, false),
            source("/home/u/p/src", SourceKind::Directory, false),
            source("/home/u/p/file", SourceKind::File, false),
            source("/home/u/p/link", SourceKind::Directory, true),
            source("/home/u/p/new", SourceKind::Missing, false),
            source("/home/u/p/docs", SourceKind::Directory, false),
            source("/home/u/p/docs/new", SourceKind::Missing, false),
            source("/home/u/p/fifo", SourceKind::Other, false),
            source("/home/u/pp", SourceKind::Directory, false),
            source("/data/read", SourceKind::Directory, false),
            source("/etc", SourceKind::Directory, false),
            source("/", SourceKind::Directory, false),
            source("/var/run/docker.sock", SourceKind::Other, false),
            source("/run/user/1000/ringfence/docker.sock", SourceKind::Other, false),
            (
                "/home/u/to-etc".to_owned(),
                FoundSource { path: PathBuf::from("/etc"), kind: SourceKind::Directory, linked: false },
            ),
        ]
        .into(),
    }
}

/// Reads and decides a body.
pub(super) fn decide(body: &str) -> Result<MemberSpec, Denied> {
    decide_named(None, body)
}

pub(super) fn decide_named(name: Option<&str>, body: &str) -> Result<MemberSpec, Denied> {
    let taken = fields::read::<CreateBody>(body.as_bytes())?;
    super::wanted(&taken.body)?;
    let name = name.map(|name| MemberName::read(name).unwrap());
    super::create(&CreateAsk { name, platform: None, taken }, &ground(), &found())
}

/// Decides a body with fields beside its image.
pub(super) fn with(fields: &str) -> Result<MemberSpec, Denied> {
    decide(&format!(r#"{{"Image":"debian:12"{}{fields}}}"#, if fields.is_empty() { "" } else { "," }))
}

/// Decides a body with fields of `HostConfig`.
pub(super) fn with_host(fields: &str) -> Result<MemberSpec, Denied> {
    with(&format!(r#""HostConfig":{{{fields}}}"#))
}

/// Tells how a body is refused.
pub(super) fn refused(read: Result<MemberSpec, Denied>) -> Denied {
    let denied = read.expect_err("it is refused");
    assert!(denied.message.chars().all(netpolicy::diagnostic::is_harmless), "{}", denied.message);
    denied
}

/// Writes the engine's body as the server does: volumes by their names, ringfence's labels on top.
pub(super) fn written(spec: &MemberSpec) -> ContainerCreateBody {
    let volume = |source: &MountSource| matches!(source, MountSource::Volume { .. }).then_some("ringfence-v");
    let mounts: Vec<Mount> =
        spec.mounts.iter().map(|one| upstream::mount(one, volume(&one.source))).collect();
    let labels = [("dev.ringfence.role", "member"), ("dev.ringfence.group", "g")];
    let labels: HashMap<String, String> =
        labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
    let seam = Seam {
        fence: &FENCE,
        filter: "{\"profile\":1}",
        runtime: None,
        labels,
        mounts,
        env: spec.env.clone(),
        by_init: None,
        health: true,
        disk: None,
        readonly_paths: None,
    };
    upstream::create_body(spec, seam)
}

#[test]
fn a_plain_container_is_made_as_a_run_makes_its_agent() {
    let spec = with("").unwrap();
    assert!(spec.warnings.is_empty(), "{:?}", spec.warnings);
    assert_eq!(spec.argv(), ["run"]);
    let body = written(&spec);
    assert_eq!(body.image, Some(format!("sha256:{}", "a".repeat(64))), "by its id");
    let host = body.host_config.unwrap();
    assert_eq!(host.network_mode, Some(format!("container:{}", *FENCE)));
    assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
    assert_eq!(host.cap_add.unwrap().len(), 7);
    assert_eq!(host.security_opt.unwrap(), ["no-new-privileges", "seccomp={\"profile\":1}"]);
    assert_eq!((host.privileged, host.init, host.auto_remove), (Some(false), Some(false), Some(false)));
    assert_eq!(host.memory, host.memory_swap);
    assert_eq!((host.memory, host.pids_limit), (Some(4 << 30), Some(1024)));
    // The image's volume is one of ringfence's own.
    let mounts = host.mounts.unwrap();
    assert_eq!(mounts.len(), 1);
    assert_eq!(mounts[0].target.as_deref(), Some("/var/lib/db"));
    assert_eq!(mounts[0].source.as_deref(), Some("ringfence-v"));
}

#[test]
fn the_engines_init_begins_who_asks_for_it() {
    let spec = with_host(r#""Init":true"#).unwrap();
    assert!(spec.init && spec.warnings.is_empty(), "{:?}", spec.warnings);
    assert_eq!(written(&spec).host_config.unwrap().init, Some(true));
    assert!(!with_host(r#""Init":false"#).unwrap().init);
}

#[test]
fn program_and_arguments_are_those_that_an_engine_would_take() {
    for (fields, wanted) in [
        ("", "entry run"),
        (r#""Cmd":["a"]"#, "entry a"),
        (r#""Cmd":[]"#, "entry run"),
        (r#""Entrypoint":["e"]"#, "e"),
        (r#""Entrypoint":"e","Cmd":"a b""#, "e a b"),
        (r#""Entrypoint":[]"#, "run"),
        (r#""Entrypoint":[""],"Cmd":["a"]"#, "a"),
        (r#""Entrypoint":null,"Cmd":null"#, "entry run"),
    ] {
        let mut spec = with(fields).unwrap();
        spec.image.entrypoint = vec!["entry".to_owned()];
        assert_eq!(spec.argv().join(" "), wanted, "{fields}");
    }
    assert_eq!(refused(with(r#""Entrypoint":[""]"#)).message, "no command specified");
}

#[test]
fn words_that_mean_objects_are_looked_up() {
    let taken = fields::read::<CreateBody>(
        br#"{"Image":"r.example/x:1","HostConfig":{"NetworkMode":"shop_default","Links":["db:database","/web"],
        "Binds":["/home/u/p:/w","data:/d:ro","/anonymous"],"Mounts":[{"Type":"volume","Source":"v","Target":"/v"},
        {"Type":"bind","Source":"/etc","Target":"/e"}]},"NetworkingConfig":{"EndpointsConfig":{"plain":{},"bridge":{}}}}"#,
    )
    .unwrap();
    let wanted = super::wanted(&taken.body).unwrap();
    let list = |set: &std::collections::BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(wanted.image, "r.example/x:1");
    assert_eq!(list(&wanted.containers), "db web");
    assert_eq!(list(&wanted.networks), "plain shop_default");
    assert_eq!(list(&wanted.volumes), "data v");
    assert_eq!(list(&wanted.sources), "/etc /home/u/p");
}

#[test]
fn an_image_is_there_or_the_client_pulls() {
    let denied = {
        let taken = fields::read::<CreateBody>(br#"{"Image":"debian:12"}"#).unwrap();
        let found = Found { image: None, ..found() };
        super::create(&CreateAsk { name: None, platform: None, taken }, &ground(), &found).unwrap_err()
    };
    assert_eq!((denied.status, denied.message.as_str()), (404, "No such image: debian:12"));
    for (body, status) in [
        ("{}", 400),
        (r#"{"Image":""}"#, 400),
        (r#"{"Image":"../x"}"#, 404),
        (r#"{"Image":"moby/buildkit:buildx-stable-1"}"#, 403),
    ] {
        assert_eq!(refused(decide(body)).status, status, "{body}");
    }
    let buildx = refused(decide_named(Some("buildx_buildkit_default"), r#"{"Image":"x"}"#));
    assert!(buildx.status == 403 && buildx.message.contains("builds do not run"), "{}", buildx.message);
}

#[test]
fn what_the_engine_does_not_get_is_remembered() {
    let spec = decide_named(
        Some("web1"),
        r#"{"Image":"debian:12","Hostname":"Shop","Cmd":"serve","ExposedPorts":{"9000/udp":{}},"HostConfig":{
        "NetworkMode":"plain","PortBindings":{"80/tcp":[{"HostPort":"8080"}],"81":[{}],"82/tcp":null},
        "RestartPolicy":{"Name":"always"},"AutoRemove":true,"ExtraHosts":["x:host-gateway"]},
        "NetworkingConfig":{"EndpointsConfig":{"plain":{"Aliases":["api","API","Bad Name"]}}}}"#,
    )
    .unwrap();
    assert_eq!(spec.names, ["api", "shop", "web1"]);
    let asked = &spec.asked;
    assert_eq!(crate::serve::answer::asked::AskedFor::read(&asked.label()).as_ref(), Some(asked));
    assert_eq!(
        (asked.hostname.as_str(), asked.restart.as_str(), asked.auto_remove),
        ("Shop", "always", true)
    );
    assert_eq!(asked.exposed, ["80/tcp", "81/tcp", "82/tcp", "9000/udp"]);
    let ports: Vec<(u16, u16)> = asked.ports.iter().map(|port| (port.container, port.host)).collect();
    assert_eq!(ports, [(80, 8080), (81, 0), (82, 0)]);
    assert_eq!(asked.networks["plain"].id, "4".repeat(64));
    assert_eq!(asked.entrypoint, 0);
    for word in ["RestartPolicy", "ExtraHosts", "Bad Name", "loopback only"] {
        assert!(spec.warnings.iter().any(|warning| warning.contains(word)), "{word}: {:?}", spec.warnings);
    }
    let body = written(&spec);
    assert_eq!((body.hostname, body.exposed_ports), (None, None));
    let host = body.host_config.unwrap();
    assert_eq!((host.port_bindings, host.extra_hosts, host.auto_remove), (None, None, Some(false)));
    assert_eq!(host.restart_policy.unwrap().name, Some(bollard::models::RestartPolicyNameEnum::NO));
}

#[test]
fn what_the_engine_lists_of_a_container_has_a_bound() {
    let label = |length: usize| with(&format!(r#""Labels":{{"a":"{}"}}"#, "x".repeat(length)));
    assert!(label(32_000).is_ok() && refused(label(33_000)).message.contains("Labels"));
    // Engines write such a letter with six.
    assert!(refused(with(&format!(r#""Labels":{{"a":"{}"}}"#, "<".repeat(6_000)))).status == 400);
    let command = |length: usize| with(&format!(r#""Cmd":["sh","-c","{}"]"#, "x".repeat(length)));
    assert!(command(65_000).is_ok() && refused(command(66_000)).message.contains("Cmd"));
    let text = "x".repeat(33_000);
    for fields in [
        format!(r#""Hostname":"{text}""#),
        format!(r#""Domainname":"{text}""#),
        format!(r#""HostConfig":{{"ExtraHosts":["a:{text}"]}}"#),
        format!(r#""HostConfig":{{"RestartPolicy":{{"Name":"{text}"}}}}"#),
        format!(r#""NetworkingConfig":{{"EndpointsConfig":{{"plain":{{"Aliases":["{text}"]}}}}}}"#),
    ] {
        assert_eq!(refused(with(&fields)).status, 400, "{}", &fields[..60]);
    }
}

#[test]
fn ports_are_served_on_loopback_or_refused() {
    for bad in [
        r#""PortBindings":{"80/tcp":[{"HostIp":"192.0.2.1","HostPort":"80"}]}"#,
        r#""PortBindings":{"80/tcp":[{"HostPort":"x"}]}"#,
        r#""PortBindings":{"80/tcp":[{"HostPort":"65536"}]}"#,
        r#""PortBindings":{"0/tcp":[{}]}"#,
        r#""PortBindings":{"80/icmp":[{}]}"#,
        r#""PortBindings":{"1-65535/tcp":[{}]}"#,
        r#""PortBindings":{"-1/tcp":[{}]}"#,
    ] {
        assert_eq!(refused(with_host(bad)).status, 400, "{bad}");
    }
    let many: Vec<String> = (1..400).map(|port| format!(r#""{port}/tcp":[{{}}]"#)).collect();
    assert_eq!(refused(with_host(&format!(r#""PortBindings":{{{}}}"#, many.join(",")))).status, 400);
    let published = |count: u16| {
        let all: Vec<String> = (1..=count).map(|port| format!(r#""{port}/tcp":[{{}}]"#)).collect();
        with_host(&format!(r#""PortBindings":{{{}}}"#, all.join(",")))
    };
    assert!(published(64).is_ok() && refused(published(65)).message.contains("at most 64"));
    let all = with_host(r#""PublishAllPorts":true"#).unwrap().asked.ports;
    assert_eq!(all.iter().map(|port| port.container).collect::<Vec<_>>(), [5432], "the image's");
    let udp = with_host(r#""PortBindings":{"53/udp":[{"HostPort":"53"}]}"#).unwrap();
    assert!(udp.asked.ports.is_empty() && udp.warnings.iter().any(|warning| warning.contains("53/udp")));
    let port = netpolicy::ruleset::GATE_PORT;
    let own = with(&format!(r#""ExposedPorts":{{"{port}/tcp":{{}}}}"#)).unwrap();
    assert!(own.warnings.iter().any(|warning| warning.contains("the fence has port")), "{:?}", own.warnings);
}
