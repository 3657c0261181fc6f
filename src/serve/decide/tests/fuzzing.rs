//! Bytes of a client: refused, or a body of the engine's in which every dangerous field is
//! ringfence's, also by the engine's own way to read JSON.

use fuzz::Judgement;
use proptest::test_runner::TestCaseError;

use super::go::GoValue;
use super::*;
use crate::serve::request::calls::ApiCall;
use crate::serve::request::route;
use crate::serve::request::version::ApiMinor;

/// Fields of `HostConfig` that a body may have at all.
const HOST: [&str; 32] = [
    "AutoRemove",
    "CapAdd",
    "CapDrop",
    "CgroupnsMode",
    "CpuShares",
    "CpusetCpus",
    "CpusetMems",
    "GroupAdd",
    "Init",
    "IpcMode",
    "LogConfig",
    "Memory",
    "MemoryReservation",
    "MemorySwap",
    "Mounts",
    "NanoCpus",
    "NetworkMode",
    "OomScoreAdj",
    "PidsLimit",
    "Privileged",
    "ReadonlyRootfs",
    "RestartPolicy",
    "SecurityOpt",
    "ShmSize",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "Ulimits",
    "Runtime",
    "ReadonlyPaths",
    "MaskedPaths",
    "Binds",
];
/// Fields of the body beside it.
const TOP: [&str; 18] = [
    "AttachStderr",
    "AttachStdin",
    "AttachStdout",
    "Cmd",
    "Entrypoint",
    "Env",
    "Healthcheck",
    "HostConfig",
    "Image",
    "Labels",
    "OpenStdin",
    "Shell",
    "StdinOnce",
    "StopSignal",
    "StopTimeout",
    "Tty",
    "User",
    "WorkingDir",
];

fn seeds() -> Vec<Vec<u8>> {
    [
        r#"{"Image":"debian:12","Cmd":["a"],"HostConfig":{"Binds":["/home/u/p:/w:ro","own:/v"],"Memory":67108864}}"#,
        r#"{"Image":"debian:12","HostConfig":{"Mounts":[{"Type":"bind","Source":"/home/u/p/src","Target":"/x"},{"Type":"volume","Source":"own","Target":"/v","VolumeOptions":{"NoCopy":true}},{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"SizeBytes":4096,"Mode":448}}]}}"#,
        r#"{"Image":"debian:12","HostConfig":{"NetworkMode":"shop_default","CapAdd":["CHOWN"],"CapDrop":["ALL"],"SecurityOpt":["seccomp=unconfined"],"Sysctls":{"kernel.shmmax":"1"},"Tmpfs":{"/run":"size=64m"},"Ulimits":[{"Name":"nofile","Soft":1,"Hard":2}],"GroupAdd":["7"]},"NetworkingConfig":{"EndpointsConfig":{"shop_default":{"Aliases":["db"]}}}}"#,
        r#"{"Image":"debian:12","Labels":{"a":"b"},"Env":["A=b"],"User":"0","Healthcheck":{"Test":["CMD","x"],"Interval":1000000000},"HostConfig":{"PidMode":"","IpcMode":"private","Privileged":false,"Devices":[],"PortBindings":{"80/tcp":[{"HostPort":"8080"}]},"RestartPolicy":{"Name":"always"},"LogConfig":{"Type":"syslog","Config":{"syslog-address":"udp://127.0.0.1"}}}}"#,
        r#"{"Image":"x","hostconfig":{"Privileged":true}}"#,
        r#"{"Image":"x","Ho\u017ftConfig":{"Networ\u212aMode":"host"}}"#,
        r#"{"Image":"x","HostConfig":{"Memory":7000000},"Host\u0043onfig":{"Privileged":true}}"#,
    ]
    .map(|seed| seed.as_bytes().to_vec())
    .to_vec()
}

const WORDS: [&[u8]; 30] = [
    b"\"HostConfig\":{",
    b"\"Privileged\":true,",
    b"\"NetworkMode\":\"host\",",
    b"\"Binds\":[\"/etc:/x\"],",
    b"\"PidMode\":\"host\",",
    b"\"CapAdd\":[\"SYS_ADMIN\"],",
    b"\"Mounts\":[",
    b"\"Type\":\"bind\",",
    b"\"Source\":\"/etc\",",
    b"/etc",
    b"/home/u/p",
    b"..",
    b"\\u017f",
    b"\\u212a",
    b"\xc5\xbf",
    b"\"hostconfig\":",
    b"\"Devices\":[{}],",
    b"\"VolumesFrom\":[\"db\"],",
    b"container:db",
    b"host",
    b"ringfence-v",
    b"null,",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"\"",
    b":",
    b"dev.ringfence.role",
];

fn ensure(holds: bool, what: &str) -> Judgement {
    if holds { Ok(()) } else { Err(TestCaseError::fail(what.to_owned())) }
}

fn words(value: &GoValue) -> Vec<&str> {
    value.list().iter().map(GoValue::text).collect()
}

/// Holds a body of the engine's against what must be in every one.
fn is_fenced(text: &str) -> Judgement {
    let body = GoValue::read(text);
    ensure(body.keys().iter().all(|key| TOP.contains(key)), "a field at the top that nobody wrote")?;
    let host = body.field("HostConfig");
    ensure(host.keys().iter().all(|key| HOST.contains(key)), "a field of HostConfig that nobody wrote")?;
    ensure(host.field("NetworkMode").text() == format!("container:{}", *FENCE), "the fence's network")?;
    ensure(host.field("Privileged") == GoValue::Bool(false), "no privilege")?;
    for absent in [
        "Binds",
        "VolumesFrom",
        "Devices",
        "DeviceRequests",
        "PidMode",
        "UTSMode",
        "UsernsMode",
        "MaskedPaths",
        "ReadonlyPaths",
        "Runtime",
        "Annotations",
        "CgroupParent",
        "VolumeDriver",
        "PortBindings",
        "Links",
        "ExtraHosts",
        "Dns",
    ] {
        ensure(host.field(absent) == GoValue::Null, absent)?;
    }
    ensure(
        host.field("IpcMode").text() == "private" && host.field("CgroupnsMode").text() == "private",
        "own namespaces",
    )?;
    ensure(words(&host.field("CapDrop")) == ["ALL"], "all capabilities dropped")?;
    let usual = crate::supervisor::spec::surface::CAPABILITIES;
    ensure(words(&host.field("CapAdd")).iter().all(|name| usual.contains(name)), "a run's capabilities")?;
    ensure(
        words(&host.field("SecurityOpt")) == ["no-new-privileges", "seccomp={\"profile\":1}"],
        "the filter",
    )?;
    ensure(
        host.field("Sysctls").keys().iter().all(|key| !key.contains("net") && !key.contains('/')),
        "no setting of the network",
    )?;
    ensure(host.field("LogConfig").field("Type").text() == "json-file", "the log's driver")?;
    ensure(host.field("RestartPolicy").field("Name").text() == "no", "no start by the engine")?;
    ensure(host.field("AutoRemove") == GoValue::Bool(false), "no removal by the engine")?;
    let labels = body.field("Labels");
    let role = labels.field("dev.ringfence.role");
    ensure(
        role.text() == "member" && body.field("Image").text().starts_with("sha256:"),
        "labels and image are ringfence's",
    )?;
    mounts_are_given(&host)?;
    ensure(memory_is_harmless(&host.field("Tmpfs")), "options of memory")
}

fn memory_is_harmless(places: &GoValue) -> bool {
    let GoValue::Object(places) = places else { return true };
    places.iter().all(|(at, options)| {
        let options: Vec<&str> = options.text().split(',').collect();
        !at.starts_with("/proc")
            && !at.starts_with("/sys")
            && options.contains(&"nosuid")
            && options.contains(&"nodev")
    })
}

fn mounts_are_given(host: &GoValue) -> Judgement {
    for mount in host.field("Mounts").list() {
        let (kind, source, target) = (mount.field("Type"), mount.field("Source"), mount.field("Target"));
        let below = |root: &str| source.text() == root || source.text().starts_with(&format!("{root}/"));
        let is_given = match kind.text() {
            "bind" => {
                let options = mount.field("BindOptions");
                let plain = options.field("Propagation").text() == "rprivate"
                    && options.field("CreateMountpoint") == GoValue::Bool(false);
                plain && (below("/home/u/p") || below("/data/read")) && !source.text().contains("..")
            }
            "volume" => {
                source.text() == "ringfence-v"
                    && mount.field("VolumeOptions").keys().iter().all(|key| *key == "NoCopy")
            }
            "tmpfs" => source == GoValue::Null,
            _ => false,
        };
        ensure(is_given, "a mount of another kind or place")?;
        let writes = mount.field("ReadOnly") == GoValue::Bool(false);
        ensure(!(writes && (below("/data/read") || below("/home/u/p/docs"))), "a root that is read-only")?;
        let target = target.text();
        let own = ["/proc", "/sys", "/dev", "/run/ringfence", "/etc/ringfence"];
        ensure(
            target.starts_with('/')
                && !own.iter().any(|own| target.starts_with(&format!("{own}/")) || target == *own),
            "a place that is ringfence's",
        )?;
    }
    Ok(())
}

/// Facts for whatever a body names: every path exists where its text says, so that the decision
/// alone keeps it out.
fn facts_for(wanted: &crate::serve::decide::facts::Wanted) -> Found {
    let mut found = found();
    for path in &wanted.sources {
        let there = FoundSource { path: PathBuf::from(path), kind: SourceKind::Directory, linked: false };
        found.sources.entry(path.clone()).or_insert(there);
    }
    found
}

#[test]
fn fuzz_create_bodies() {
    let mut made = 0u32;
    let counter = std::cell::Cell::new(0u32);
    fuzz::run("create bodies", &fuzz::bytes(seeds(), &WORDS, 4000), |fuzz::Bytes(input)| {
        let Ok(taken) = fields::read::<CreateBody>(&input) else { return Ok(()) };
        let Ok(wanted) = crate::serve::decide::wanted(&taken.body) else { return Ok(()) };
        let ask = CreateAsk { name: None, platform: None, taken };
        let Ok(spec) = crate::serve::decide::create(&ask, &ground(), &facts_for(&wanted)) else {
            return Ok(());
        };
        counter.set(counter.get() + 1);
        ensure(
            spec.warnings.iter().all(|warning| warning.chars().all(netpolicy::diagnostic::is_harmless)),
            "a harmless warning",
        )?;
        let text = serde_json::to_string(&written(&spec)).expect("it is written");
        is_fenced(&text)
    });
    made += counter.get();
    assert!(made > 0, "some of the inputs are permitted, so that something is judged");
}

#[test]
fn the_judge_finds_what_is_not_fenced() {
    let good =
        serde_json::to_string(&written(&with_host(r#""Binds":["/home/u/p:/w"],"Init":true"#).unwrap()))
            .unwrap();
    assert!(is_fenced(&good).is_ok(), "{good}");
    let host = format!("container:{}", *FENCE);
    for (from, to) in [
        (host.as_str(), "host"),
        (r#""Privileged":false"#, r#""Privileged":true"#),
        (r#""Privileged":false"#, r#""Privileged":false,"privileged":true"#),
        (r#""Source":"/home/u/p""#, r#""Source":"/home/u/pp""#),
        (r#""Source":"/home/u/p""#, r#""Source":"/etc""#),
        (r#""Init":true"#, r#""Init":true,"PidMode":"host""#),
        (r#""CapDrop":["ALL"]"#, r#""CapDrop":["ALL"],"Capdrop":[]"#),
        ("no-new-privileges", "x"),
    ] {
        assert!(good.contains(from), "{from} is in {good}");
        assert!(is_fenced(&good.replace(from, to)).is_err(), "{from} → {to}");
    }
}

#[test]
fn fuzz_request_lines() {
    let seeds = [
        "GET /v1.41/containers/web/json?size=1",
        "POST /containers/web/attach?stream=1&stdin=1",
        "PUT /v1.41/containers/web/archive?path=%2Fa",
        "GET /v1.41/images/r.example:5000/a/b:1/json",
        "POST /v1.41/containers/create?name=web",
    ];
    let seeds = seeds.map(|seed| seed.as_bytes().to_vec()).to_vec();
    let words: [&[u8]; 14] = [
        b"/",
        b"..",
        b"%2f",
        b"%2e",
        b"//",
        b"%00",
        b"?",
        b"&",
        b"=",
        b"/v1.41",
        b"/v1.24",
        b"http://d",
        b"%0d%0a",
        b"#",
    ];
    let id = "e".repeat(64);
    fuzz::run("request lines", &fuzz::bytes(seeds, &words, 600), |fuzz::Bytes(input)| {
        let text = String::from_utf8_lossy(&input);
        let (method, target) = text.split_once(' ').unwrap_or(("GET", &text));
        let Ok(request) = route::read(method, target, ApiMinor(45)) else { return Ok(()) };
        ensure((41..=45).contains(&request.version.0), "a version that both know")?;
        let ApiCall::Container(_, call) = &request.call else { return Ok(()) };
        let line = call.upstream(&id).path;
        let path = line.split('?').next().unwrap_or_default();
        let rest = path.strip_prefix(&format!("/containers/{id}")).unwrap_or("x");
        let known = rest.is_empty()
            || (rest.starts_with('/') && rest[1..].bytes().all(|byte| byte.is_ascii_lowercase()));
        ensure(known, "the path of one call on one container")?;
        ensure(line.bytes().all(|byte| byte.is_ascii_graphic()), "one line")
    });
}
