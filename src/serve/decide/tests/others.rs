use serde_json::json;

use super::*;
use crate::serve::decide;
use crate::serve::request::fields::read;
use crate::serve::request::filters::Filters;
use crate::serve::request::names::ImageRef;
use crate::serve::request::version::ApiMinor;

fn text<T: crate::serve::request::fields::ApiBody>(body: &str) -> Result<fields::Taken<T>, Denied> {
    read::<T>(body.as_bytes())
}

#[test]
fn an_exec_has_no_more_than_its_container() {
    let exec = |body: &str| text(body).and_then(|taken| decide::exec(&taken));
    let spec = exec(r#"{"Cmd":["ls"],"AttachStdin":true,"Env":["A=b"],"User":"1","Tty":true,"Detach":false,"ConsoleSize":[40,120]}"#).unwrap();
    let wanted = json!({"AttachStdin":true,"AttachStdout":false,"AttachStderr":false,"Tty":true,"Cmd":["ls"],
        "Privileged":false,"Env":["A=b"],"User":"1","ConsoleSize":[40,120]});
    assert_eq!((spec.json(), spec.stdin), (wanted, true));
    for bad in [
        "{}",
        r#"{"Cmd":[]}"#,
        r#"{"Cmd":["ls"],"Privileged":true}"#,
        r#"{"Cmd":["ls"],"privileged":true}"#,
        r#"{"Cmd":["ls"],"Env":["A\u0000"]}"#,
        r#"{"Cmd":["ls"],"ConsoleSize":[1]}"#,
        r#"{"Cmd":["ls"],"ConsoleSize":[99999,1]}"#,
    ] {
        assert_eq!(exec(bad).unwrap_err().status, 400, "{bad}");
    }
    let start = |body: &str| text(body).and_then(|taken| decide::exec_start(&taken));
    assert_eq!(
        start(r#"{"Tty":true,"Binds":["/etc:/x"]}"#).unwrap().json(),
        json!({"Detach":false,"Tty":true})
    );
}

#[test]
fn an_update_changes_limits_and_nothing_else() {
    let update = |body: &str| text(body).and_then(|taken| decide::update(&taken, &ground()));
    let spec = update(
        r#"{"Memory":67108864,"NanoCpus":999000000000,"RestartPolicy":{"Name":"always"},"CpusetCpus":"0"}"#,
    )
    .unwrap();
    let most = Limits::default().nano_cpus;
    assert_eq!(
        spec.json(),
        Some(json!({"Memory":67108864,"MemorySwap":67108864,"NanoCpus":most,"CpusetCpus":"0"}))
    );
    assert!(spec.warnings.iter().any(|warning| warning.contains("RestartPolicy")), "{:?}", spec.warnings);
    assert_eq!(update(r#"{"BlkioWeight":0,"Memory":0,"Ulimits":null}"#).unwrap().json(), None);
    for bad in [r#"{"Devices":[{"PathOnHost":"/dev/sda"}]}"#, r#"{"CgroupParent":"/"}"#, r#"{"memory":1}"#] {
        assert_eq!(update(bad).unwrap_err().status, 400, "{bad}");
    }
}

#[test]
fn networks_and_volumes_are_plain_ones() {
    let network = |body: &str| text(body).and_then(|taken| decide::network(&taken));
    let record = network(r#"{"Name":"n1","Labels":{"a":"b"},"Driver":"bridge","Internal":true,"IPAM":{"Config":[]},"CheckDuplicate":true}"#).unwrap();
    assert_eq!((record.name.as_str(), record.labels["a"].as_str(), record.internal), ("n1", "b", true));
    for (bad, status) in [
        (r#"{"Name":""}"#, 400),
        (r#"{"Name":"a/b"}"#, 400),
        (r#"{"Name":"ringfence-x"}"#, 400),
        (r#"{"Name":"0123456789abcdef"}"#, 400),
        (r#"{"Name":"host"}"#, 403),
        (r#"{"Name":"n","Driver":"macvlan"}"#, 400),
        (r#"{"Name":"n","Driver":"ipvlan"}"#, 400),
        (r#"{"Name":"n","Driver":"overlay"}"#, 400),
        (r#"{"Name":"n","Scope":"swarm"}"#, 400),
        (r#"{"Name":"n","Ingress":true}"#, 400),
        (r#"{"Name":"n","ConfigFrom":{"Network":"x"}}"#, 400),
        (r#"{"Name":"n","Labels":{"dev.ringfence.role":"x"}}"#, 400),
        (r#"{"name":"n"}"#, 400),
    ] {
        assert_eq!(network(bad).unwrap_err().status, status, "{bad}");
    }
    assert!(
        !text::<crate::serve::request::bodies::NetworkBody>(r#"{"Name":"n","Options":{"parent":"eth0"}}"#)
            .unwrap()
            .warnings
            .is_empty()
    );
    let volume = |body: &str| text(body).and_then(|taken| decide::volume(&taken));
    assert_eq!(volume(r#"{"Name":"v1","Driver":"local"}"#).unwrap().name.as_deref(), Some("v1"));
    assert_eq!(volume("{}").unwrap().name, None);
    assert!(volume(&format!(r#"{{"Name":"{}"}}"#, "a".repeat(64))).is_ok(), "one that an engine named");
    for bad in [
        r#"{"Driver":"nfs"}"#,
        r#"{"DriverOpts":{"type":"none","o":"bind","device":"/etc"}}"#,
        r#"{"driveropts":{"o":"bind"}}"#,
        r#"{"Name":"../x"}"#,
        r#"{"Name":"ringfence-1-volume"}"#,
        r#"{"Labels":{"dev.ringfence.serve":"x"}}"#,
    ] {
        assert_eq!(volume(bad).unwrap_err().status, 400, "{bad}");
    }
}

#[test]
fn a_prune_takes_no_more_than_its_version_says() {
    let takes = |text: &str, minor: u8| {
        decide::volume_prune(&Filters::read(Some(text)).unwrap(), ApiMinor(minor))
            .map_err(|denied| denied.status)
    };
    for (text, minor, named) in [
        ("{}", 41, Ok(true)),
        ("{}", 42, Ok(false)),
        ("{}", 47, Ok(false)),
        (r#"{"all":["true"]}"#, 47, Ok(true)),
        (r#"{"all":{"1":true}}"#, 42, Ok(true)),
        (r#"{"all":["false"],"label":["a"]}"#, 47, Ok(false)),
        (r#"{"all":["yes"]}"#, 47, Err(400)),
        (r#"{"until":["1h"]}"#, 47, Err(400)),
        (r#"{"name":["a"]}"#, 41, Err(400)),
    ] {
        assert_eq!(takes(text, minor), named, "{text} {minor}");
    }
}

#[test]
fn a_connection_is_names_and_a_pull_is_from_a_named_registry() {
    let connect = |body: &str| text(body).and_then(|taken| decide::connect(&taken));
    let spec = connect(
        r#"{"Container":"web","EndpointConfig":{"Aliases":["a"],"IPAMConfig":{"IPv4Address":"10.0.0.1"}}}"#,
    )
    .unwrap();
    assert_eq!((spec.container.as_str(), spec.aliases), ("web", vec!["a".to_owned()]));
    assert_eq!(connect("{}").unwrap_err().status, 404);
    assert_eq!(connect(r#"{"Container":"a/b"}"#).unwrap_err().status, 404);
    let disconnect = text(r#"{"Container":"web","Force":true}"#).and_then(|taken| decide::disconnect(&taken));
    assert_eq!(disconnect.unwrap().container.as_str(), "web");
    let pull = |name: &str| decide::pull(&ImageRef::read(name).unwrap(), &ground());
    assert_eq!(pull("r.example/a:1").as_deref(), Ok("r.example/a"));
    assert_eq!(pull("R.Example/a").as_deref(), Ok("r.example/a"));
    // The whole of it is what engines read: a first part in capitals is a host on this network.
    let hub = ["docker.io".to_owned(), "intranet".to_owned()];
    let of_hub =
        |name: &str| decide::pull(&ImageRef::read(name).unwrap(), &Ground { registries: &hub, ..ground() });
    assert_eq!(of_hub("debian:12").as_deref(), Ok("docker.io/library/debian"));
    assert_eq!(of_hub("intranet/x").as_deref(), Ok("docker.io/intranet/x"));
    for name in ["INTRANET/x", "intraNET/x:1", "Intranet/a/b"] {
        assert_eq!(of_hub(name).unwrap_err().status, 403, "{name}");
    }
    for name in [
        "debian",
        "docker.io/debian",
        "127.0.0.1:5000/x",
        "r.example:5000/x",
        "localhost/x",
        "evil.r.example/x",
    ] {
        let denied = pull(name).unwrap_err();
        assert!(denied.status == 403 && denied.message.contains("pull"), "{name}: {}", denied.message);
    }
    assert!(pull("moby/buildkit:buildx-stable-1").unwrap_err().message.contains("builds do not run"));
}
