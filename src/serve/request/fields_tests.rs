use super::*;
use crate::serve::request::bodies::{CreateBody, ExecBody, ExecStartBody, VolumeBody};

fn create(text: &str) -> Result<Taken<CreateBody>, Denied> {
    read::<CreateBody>(text.as_bytes())
}

fn refused(text: &str) -> String {
    let denied = create(text).expect_err(text);
    assert_eq!(denied.status, 400, "{text}");
    assert!(denied.message.starts_with("ringfence: "), "{}", denied.message);
    denied.message
}

#[test]
fn a_key_that_an_engine_takes_for_another_is_refused() {
    for (other, meant) in [
        (r#"{"hostconfig":{"Privileged":true}}"#, "HostConfig"),
        (r#"{"HOSTCONFIG":{}}"#, "HostConfig"),
        (r#"{"Ho\u017ftConfig":{"Privileged":true}}"#, "HostConfig"),
        ("{\"Ho\u{17f}tConfig\":{}}", "HostConfig"),
        (r#"{"HostConfig":{"Networ\u212aMode":"host"}}"#, "NetworkMode"),
        (r#"{"HostConfig":{"privileged":true}}"#, "Privileged"),
        (r#"{"HostConfig":{"PRIVILEGED":false}}"#, "Privileged"),
        (r#"{"HostConfig":{"Mounts":[{"type":"bind"}]}}"#, "Type"),
        (r#"{"HostConfig":{"Mounts":[{"VolumeOptions":{"DriverConfig":{"options":{}}}}]}}"#, "Options"),
        (r#"{"NetworkingConfig":{"EndpointsConfig":{"n":{"aliases":[]}}}}"#, "Aliases"),
        (r#"{"image":"x"}"#, "Image"),
        (r#"{"Image":"x","image":"y"}"#, "Image"),
    ] {
        let message = refused(other);
        assert!(message.contains(&format!("an engine reads it as {meant}")), "{other}: {message}");
    }
    // Escapes are another spelling of the same key.
    let escaped = create(r#"{"Host\u0043onfig":{"Memory":7}}"#).unwrap();
    assert_eq!(escaped.body.host_config.unwrap().memory, Some(7));
    assert!(refused(r#"{"Host\u0043onfig":{"Privileged":true}}"#).contains("HostConfig.Privileged"));
}

#[test]
fn a_body_has_one_reading() {
    for bad in [
        r#"{"HostConfig":{"Privileged":true},"HostConfig":{"Memory":1}}"#,
        r#"{"HostConfig":{"Memory":1},"Host\u0043onfig":{}}"#,
        r#"{"Labels":{"a":"b","a":"c"}}"#,
        r#"{"Unknown":{"a":1,"a":2}}"#,
        r#"{} {"HostConfig":{"Privileged":true}}"#,
        "{}junk",
        "[]",
        "null",
        "\"x\"",
        "7",
        r#"{"Image":7}"#,
        r#"{"HostConfig":[]}"#,
        r#"{"HostConfig":"x"}"#,
        r#"{"HostConfig":{"Mounts":{}}}"#,
        r#"{"HostConfig":{"Mounts":[["bind","/etc","/x"]]}}"#,
        r#"{"HostConfig":{"Mounts":{"a":{"Type":"bind"}}}}"#,
        r#"{"HostConfig":{"Memory":"1"}}"#,
        r#"{"HostConfig":{"Memory":1e9}}"#,
        r#"{"Cmd":{"a":1}}"#,
        r#"{"Cmd":[1]}"#,
        r#"{"Tty":1}"#,
    ] {
        refused(bad);
    }
}

#[test]
fn unknown_fields_are_left_out_and_told() {
    let taken =
        create(r#"{"Image":"x","Newest":{"a":1},"HostConfig":{"Odd\u001b[2J":1},"name":"web"}"#).unwrap();
    assert_eq!(taken.body.image.as_deref(), Some("x"));
    assert_eq!(taken.warnings.len(), 2, "{:?}", taken.warnings);
    assert!(taken.warnings.iter().any(|warning| warning.contains("Newest is no field")));
    assert!(taken.warnings.iter().all(|warning| warning.chars().all(netpolicy::diagnostic::is_harmless)));
    let many: Vec<String> = (0..5000).map(|n| format!("\"x{n}\":1")).collect();
    let taken = create(&format!("{{{}}}", many.join(","))).unwrap();
    assert_eq!(taken.warnings.len(), MOST_WARNINGS + 1);
    assert!(taken.warnings.last().unwrap().contains("4960 more"), "{:?}", taken.warnings.last());
    // Strays of docker-py and dockerode are known.
    assert!(read::<ExecBody>(br#"{"Container":"x","Cmd":"ls"}"#).unwrap().warnings.is_empty());
    assert!(read::<ExecStartBody>(br#"{"stdin":true,"hijack":true}"#).unwrap().warnings.is_empty());
    assert!(read::<ExecStartBody>(b"").is_ok(), "no body is an empty one");
}

#[test]
fn a_field_is_refused_where_it_is_set() {
    for (name, value) in [
        ("Privileged", "true"),
        ("Devices", r#"[{"PathOnHost":"/dev/kmsg"}]"#),
        ("DeviceRequests", r#"[{"Count":-1}]"#),
        ("DeviceCgroupRules", r#"["c 1:3 mr"]"#),
        ("CgroupParent", r#""/x""#),
        ("Runtime", r#""other""#),
        ("Annotations", r#"{"a":"b"}"#),
        ("StorageOpt", r#"{"size":"1"}"#),
        ("VolumeDriver", r#""nfs""#),
        ("VolumesFrom", r#"["other"]"#),
        ("MaskedPaths", "[]"),
        ("MaskedPaths", r#"["/proc/x"]"#),
        ("ReadonlyPaths", "[]"),
    ] {
        let message = refused(&format!(r#"{{"HostConfig":{{"{name}":{value}}}}}"#));
        assert!(message.starts_with(&format!("ringfence: HostConfig.{name}: ")), "{message}");
    }
    // What the docker CLI always sends says nothing.
    let zeros = r#"{"HostConfig":{"Privileged":false,"Devices":[],"DeviceRequests":null,"CgroupParent":"",
        "Runtime":"","VolumeDriver":"","VolumesFrom":null,"MaskedPaths":null,"ReadonlyPaths":null,"Dns":[],
        "DnsOptions":[],"DnsSearch":[],"OomKillDisable":false,"KernelMemory":0,"ConsoleSize":[0,0],
        "BlkioDeviceReadBps":null,"MemorySwappiness":-1,"LogConfig":{"Type":"","Config":{}},
        "RestartPolicy":{"Name":"no","MaximumRetryCount":0},"Isolation":"","IOMaximumIOps":0}}"#;
    assert_eq!(create(zeros).unwrap().warnings, Vec::<String>::new());
    let warned = create(r#"{"HostConfig":{"Dns":["8.8.8.8"]},"MacAddress":"02:42:ac:11:00:02"}"#).unwrap();
    assert_eq!(warned.warnings.len(), 2, "{:?}", warned.warnings);
    for options in
        [r#""DriverOpts":{"type":"none","o":"bind","device":"/etc"}"#, r#""ClusterVolumeSpec":{"Group":"x"}"#]
    {
        assert!(read::<VolumeBody>(format!("{{{options}}}").as_bytes()).is_err(), "{options}");
    }
    let nested = r#"{"HostConfig":{"Mounts":[{"Type":"volume","VolumeOptions":{"DriverConfig":{"Name":"local",
        "Options":{"type":"none","o":"bind","device":"/etc"}}}}]}}"#;
    assert!(refused(nested).contains("HostConfig.Mounts[0].VolumeOptions.DriverConfig.Options"));
    assert!(read::<ExecBody>(br#"{"Cmd":["x"],"Privileged":true}"#).is_err());
}

#[test]
fn nulls_and_both_forms_of_words_are_read() {
    let taken = create(
        r#"{"Cmd":"one word","Entrypoint":["a","b"],"Env":null,"Labels":{"a":null},"HostConfig":{"PortBindings":
        {"80/tcp":null,"81":[{}]}},"NetworkingConfig":{"EndpointsConfig":{"net":null}},"Healthcheck":null}"#,
    )
    .unwrap();
    assert_eq!(taken.body.cmd.unwrap().list(), ["one word"]);
    assert_eq!(taken.body.entrypoint.unwrap().list(), ["a", "b"]);
    assert_eq!(taken.body.labels.unwrap()["a"], None);
    assert_eq!(taken.body.networking_config.unwrap().endpoints_config.unwrap()["net"], None);
    assert!(taken.warnings.is_empty(), "{:?}", taken.warnings);
}
