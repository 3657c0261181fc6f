//! Answers about engine, images, volumes and execs.

use serde_json::{Map, Value, json};

use super::labels::{strip, strip_at};
use crate::serve::request::version::{ApiMinor, LOWEST};

/// Facts about the engine that clients need, and that tell nothing about its machine's owner.
const INFO: [&str; 24] = [
    "Architecture",
    "BridgeNfIp6tables",
    "BridgeNfIptables",
    "CPUSet",
    "CPUShares",
    "CgroupDriver",
    "CgroupVersion",
    "CpuCfsPeriod",
    "CpuCfsQuota",
    "DefaultRuntime",
    "Driver",
    "IPv4Forwarding",
    "KernelVersion",
    "MemTotal",
    "MemoryLimit",
    "NCPU",
    "OSType",
    "OSVersion",
    "OomKillDisable",
    "OperatingSystem",
    "PidsLimit",
    "ServerVersion",
    "SwapLimit",
    "SystemTime",
];

/// Numbers of own objects in `GET /info`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Containers that run.
    pub(crate) running: usize,
    /// Containers that are paused.
    pub(crate) paused: usize,
    /// Containers that do neither.
    pub(crate) stopped: usize,
    /// Images on the engine.
    pub(crate) images: usize,
}

/// Returns `GET /info`, made of harmless facts.
pub(crate) fn info(engine: &Value, counts: Counts) -> Value {
    let mut made: Map<String, Value> =
        INFO.iter().filter_map(|name| Some(((*name).to_owned(), engine.get(*name)?.clone()))).collect();
    for (name, value) in [
        ("ID", json!("ringfence")),
        ("Name", json!("ringfence")),
        ("Containers", json!(counts.running + counts.paused + counts.stopped)),
        ("ContainersRunning", json!(counts.running)),
        ("ContainersPaused", json!(counts.paused)),
        ("ContainersStopped", json!(counts.stopped)),
        ("Images", json!(counts.images)),
        ("DriverStatus", json!([])),
        (
            "Plugins",
            json!({ "Volume": ["local"], "Network": ["bridge", "none"], "Authorization": null, "Log": ["json-file"] }),
        ),
        ("LoggingDriver", json!("json-file")),
        ("RegistryConfig", json!({ "IndexConfigs": {}, "InsecureRegistryCIDRs": [], "Mirrors": [] })),
        ("Runtimes", json!({})),
        ("SecurityOptions", engine.get("SecurityOptions").cloned().unwrap_or(json!([]))),
        (
            "Swarm",
            json!({ "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": false, "Error": "", "RemoteManagers": null }),
        ),
        ("IndexServerAddress", json!("https://index.docker.io/v1/")),
        ("DockerRootDir", json!("")),
        ("HttpProxy", json!("")),
        ("HttpsProxy", json!("")),
        ("NoProxy", json!("")),
        ("Labels", json!([])),
        ("Debug", json!(false)),
        ("ExperimentalBuild", json!(false)),
        ("LiveRestoreEnabled", json!(false)),
        ("InitBinary", json!("")),
        ("Warnings", json!(null)),
        ("NEventsListener", json!(0)),
        ("NFd", json!(0)),
        ("NGoroutines", json!(0)),
    ] {
        made.insert(name.to_owned(), value);
    }
    Value::Object(made)
}

/// Returns `GET /version`: the engine's, with the versions that this socket speaks.
pub(crate) fn version(engine: &Value, highest: ApiMinor) -> Value {
    const KEPT: [&str; 8] =
        ["Version", "GitCommit", "GoVersion", "Os", "Arch", "KernelVersion", "BuildTime", "Platform"];
    let mut made: Map<String, Value> =
        KEPT.iter().filter_map(|name| Some(((*name).to_owned(), engine.get(*name)?.clone()))).collect();
    let (highest, lowest) = (json!(highest.to_string()), json!(LOWEST.to_string()));
    made.insert("ApiVersion".to_owned(), highest.clone());
    made.insert("MinAPIVersion".to_owned(), lowest.clone());
    let mut components = engine.get("Components").cloned().unwrap_or(json!([]));
    for component in components.as_array_mut().into_iter().flatten() {
        if let Some(details) = component.get_mut("Details").and_then(Value::as_object_mut)
            && details.contains_key("ApiVersion")
        {
            details.insert("ApiVersion".to_owned(), highest.clone());
            details.insert("MinAPIVersion".to_owned(), lowest.clone());
        }
    }
    made.insert("Components".to_owned(), components);
    Value::Object(made)
}

/// Returns one image, inspected or of a list.
pub(crate) fn image(mut engine: Value) -> Value {
    for pointer in ["/Labels", "/Config/Labels", "/ContainerConfig/Labels"] {
        strip_at(&mut engine, pointer);
    }
    // Files of the engine's machine.
    if let Some(image) = engine.as_object_mut()
        && image.contains_key("GraphDriver")
    {
        image.insert("GraphDriver".to_owned(), json!({ "Name": "", "Data": null }));
    }
    engine
}

/// Returns one volume as its client expects it; `name` is the client's.
pub(crate) fn volume(mut engine: Value, name: &str) -> Value {
    if let Some(labels) = engine.get_mut("Labels") {
        strip(labels);
    }
    if let Some(volume) = engine.as_object_mut() {
        volume.insert("Name".to_owned(), json!(name));
        volume.insert("Options".to_owned(), Value::Null);
    }
    engine
}

/// Filters of a list of volumes. Others are refused.
pub(crate) const VOLUME_FILTERS: [&str; 4] = ["dangling", "driver", "label", "name"];

/// Returns `GET /system/df` for own containers and volumes, as lists have them.
pub(crate) fn disk_use(images: Vec<Value>, containers: Vec<Value>, volumes: Vec<Value>) -> Value {
    json!({
        "LayersSize": 0,
        "Images": images,
        "Containers": containers,
        "Volumes": volumes,
        "BuildCache": [],
    })
}

/// Returns the answer of a prune.
pub(crate) fn pruned(list: &str, names: &[String]) -> Value {
    json!({ list: names, "SpaceReclaimed": 0 })
}

/// Returns an inspected exec: its container's own first program and paths are not shown.
pub(crate) fn exec(engine: Value, container: &str) -> Value {
    const KEPT: [&str; 11] = [
        "ID",
        "Running",
        "ExitCode",
        "ProcessConfig",
        "OpenStdin",
        "OpenStderr",
        "OpenStdout",
        "CanRemove",
        "DetachKeys",
        "Pid",
        "ContainerID",
    ];
    let mut made: Map<String, Value> =
        KEPT.iter().filter_map(|name| Some(((*name).to_owned(), engine.get(*name)?.clone()))).collect();
    made.insert("ContainerID".to_owned(), json!(container));
    Value::Object(made)
}
