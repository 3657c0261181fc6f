use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::asked::{AskedFor, NetworkAsked, PortAsked};
use super::container::{
    NamePatterns, fits, inspect, known_filters, listed, put_command_back, put_program_back,
};
use super::networks::{self, NetworkMember, NetworkRecord};
use super::shown::{Attached, ServedPort, Shown};
use super::{events, others};
use crate::serve::request::filters::Filters;
use crate::serve::request::version::ApiMinor;

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn id() -> String {
    "c0ffee".repeat(10) + "0000"
}

fn asked() -> AskedFor {
    AskedFor {
        image: "web:1".to_owned(),
        network_mode: "shop_default".to_owned(),
        networks: BTreeMap::from([(
            "shop_default".to_owned(),
            NetworkAsked { id: "3".repeat(64), aliases: vec!["web".to_owned()] },
        )]),
        exposed: vec!["80/tcp".to_owned(), "53/udp".to_owned()],
        ports: vec![PortAsked { container: 80, host_ip: String::new(), host: 0 }],
        binds: vec!["/home/u/p:/w:ro".to_owned()],
        targets: vec!["/w".to_owned(), "/data".to_owned()],
        restart: "always".to_owned(),
        auto_remove: true,
        ..AskedFor::default()
    }
}

const SERVED: [ServedPort; 1] = [ServedPort { container: 80, host_ip: LOOPBACK, host: 49_153 }];

fn shown<'a>(id: &'a str, asked: &'a AskedFor, running: bool) -> Shown<'a> {
    let networks = asked.networks.iter().map(|(name, network)| Attached {
        name: name.clone(),
        id: network.id.clone(),
        aliases: network.aliases.clone(),
        address: Some(LOOPBACK),
    });
    Shown { name: "shop-web-1", id, asked, networks: networks.collect(), ports: &SERVED, running }
}

fn engines() -> Value {
    json!({
        "Id": id(), "Name": "/ringfence-0000002a-member-shop-web-1", "Path": "/.ringfence-00112233445566778899aabbccddeeff", "Args": ["key", "/entry", "run"],
        "ResolvConfPath": "/var/lib/docker/containers/ffff/resolv.conf", "LogPath": "/x",
        "Config": { "Hostname": "agent", "Image": "sha256:aa", "Env": ["A=b", "RINGFENCE=1", "RINGFENCE_POLICY=/x"],
            "Entrypoint": ["/.ringfence-00112233445566778899aabbccddeeff"], "Cmd": ["key", "/entry", "run"],
            "Labels": { "com.docker.compose.project": "shop", "dev.ringfence.asked": "{}", "dev.ringfence.role": "member" } },
        "HostConfig": { "NetworkMode": "container:ffff", "Binds": null, "CapDrop": ["ALL"], "CapAdd": ["CHOWN"],
            "SecurityOpt": ["no-new-privileges", "seccomp={}"], "RestartPolicy": { "Name": "no" }, "AutoRemove": false,
            "Mounts": [{ "Type": "bind", "Source": "/home/u/p", "Target": "/w" }, { "Type": "bind", "Source": "/s", "Target": "/etc/hosts" },
                { "Type": "volume", "Source": "v", "Target": "/data" }] },
        "Mounts": [{ "Destination": "/w" }, { "Destination": "/data" }, { "Destination": "/etc/hosts" },
            { "Destination": "/w/.env" }, { "Destination": "/run/ringfence/notice" }],
        "NetworkSettings": { "Networks": {}, "SandboxKey": "/var/run/docker/netns/x" },
        "State": { "Status": "running" },
    })
}

#[test]
fn an_inspected_container_is_what_its_client_asked_for() {
    let (id, asked) = (id(), asked());
    let mut seen = inspect(engines(), &shown(&id, &asked, true));
    put_program_back(&mut seen, 1);
    let at = |pointer: &str| seen.pointer(pointer).cloned().unwrap_or_else(|| panic!("{pointer}: {seen}"));
    for (pointer, wanted) in [
        ("/Name", json!("/shop-web-1")),
        ("/Path", json!("/entry")),
        ("/Args", json!(["run"])),
        ("/Config/Hostname", json!(&id[..12])),
        ("/Config/Image", json!("web:1")),
        ("/Config/Env", json!(["A=b"])),
        ("/Config/Labels", json!({ "com.docker.compose.project": "shop" })),
        ("/Config/Entrypoint", json!(["/entry"])),
        ("/Config/Cmd", json!(["run"])),
        ("/Config/ExposedPorts", json!({ "80/tcp": {}, "53/udp": {} })),
        ("/HostConfig/NetworkMode", json!("shop_default")),
        ("/HostConfig/Binds", json!(["/home/u/p:/w:ro"])),
        ("/HostConfig/CapAdd", Value::Null),
        ("/HostConfig/SecurityOpt", Value::Null),
        ("/HostConfig/AutoRemove", json!(true)),
        ("/HostConfig/RestartPolicy/Name", json!("always")),
        ("/HostConfig/PortBindings", json!({ "80/tcp": [{ "HostIp": "", "HostPort": "" }] })),
        (
            "/NetworkSettings/Ports",
            json!({ "80/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "49153" }], "53/udp": null }),
        ),
        ("/NetworkSettings/Networks/shop_default/NetworkID", json!("3".repeat(64))),
        ("/NetworkSettings/Networks/shop_default/Gateway", json!("127.0.0.1")),
        ("/NetworkSettings/Networks/shop_default/Aliases", json!(["web", &id[..12]])),
        ("/NetworkSettings/IPAddress", json!("127.0.0.1")),
        ("/HostConfig/Mounts", json!([{ "Type": "volume", "Source": "v", "Target": "/data" }])),
        ("/Mounts", json!([{ "Destination": "/w" }, { "Destination": "/data" }])),
        ("/ResolvConfPath", json!("")),
    ] {
        assert_eq!(at(pointer), wanted, "{pointer}");
    }
    let text = seen.to_string();
    assert!(!text.contains("ringfence") && !text.contains("ffff") && !text.contains("seccomp"), "{text}");
}

#[test]
fn a_program_is_put_back_out_of_the_engines_own_words() {
    let back = |words: Value, entrypoint: usize| {
        let mut seen =
            json!({ "Path": "/init", "Args": words, "Config": { "Entrypoint": ["/init"], "Cmd": words } });
        put_program_back(&mut seen, entrypoint);
        (
            seen["Config"]["Entrypoint"].clone(),
            seen["Config"]["Cmd"].clone(),
            seen["Path"].clone(),
            seen["Args"].clone(),
        )
    };
    let wanted = (Value::Null, json!(["a", "b c"]), json!("a"), json!(["b c"]));
    assert_eq!(back(json!(["/words", "a", "b c"]), 0), wanted);
    assert_eq!(back(json!(["/words", "a"]), 9), (json!(["a"]), Value::Null, json!("a"), json!([])));
    assert_eq!(back(json!(null), 1), (Value::Null, Value::Null, json!(""), json!([])));
    let mut entry = json!({ "Command": "/init /words sh -c 'a b'" });
    put_command_back(&mut entry);
    assert_eq!(entry["Command"], "sh -c 'a b'");
}

#[test]
fn a_container_that_does_not_run_has_no_address_and_the_default_network_is_shown() {
    let (id, asked) = (id(), AskedFor { image: "web:1".to_owned(), ..AskedFor::default() });
    let stopped =
        inspect(engines(), &Shown { networks: Vec::new(), ports: &[], ..shown(&id, &asked, false) });
    assert_eq!(stopped["NetworkSettings"]["IPAddress"], "");
    assert_eq!(stopped["NetworkSettings"]["Networks"]["bridge"]["NetworkID"], networks::BRIDGE_ID);
    assert_eq!(stopped["HostConfig"]["NetworkMode"], "default");
    let asked = AskedFor { network_mode: "none".to_owned(), ..asked };
    let none = inspect(engines(), &Shown { networks: Vec::new(), ports: &[], ..shown(&id, &asked, true) });
    assert_eq!(
        (&none["NetworkSettings"]["Networks"], &none["NetworkSettings"]["IPAddress"]),
        (&json!({}), &json!(""))
    );
}

#[test]
fn a_listed_container_has_its_own_name_ports_and_networks() {
    let (id, asked) = (id(), asked());
    let engine = json!({ "Id": id, "Names": ["/ringfence-0000002a-member-shop-web-1"], "Image": "sha256:aa",
        "Labels": { "a": "b", "dev.ringfence.serve": "x" }, "Ports": [], "HostConfig": { "NetworkMode": "container:f" },
        "NetworkSettings": { "Networks": {} }, "Mounts": [{ "Destination": "/w" }, { "Destination": "/etc/hosts" }] });
    let seen = listed(engine, &shown(&id, &asked, true));
    assert_eq!(
        (&seen["Names"], &seen["Image"], &seen["Labels"]),
        (&json!(["/shop-web-1"]), &json!("web:1"), &json!({ "a": "b" }))
    );
    let served = json!({ "IP": "127.0.0.1", "PrivatePort": 80, "PublicPort": 49153, "Type": "tcp" });
    assert_eq!(seen["Ports"], json!([served, { "PrivatePort": 53, "Type": "udp" }]));
    assert_eq!(seen["NetworkSettings"]["Networks"]["shop_default"]["NetworkID"], "3".repeat(64));
    assert!(!seen.to_string().contains("ringfence"), "{seen}");
}

fn filters(text: &str) -> Filters {
    Filters::read(Some(text)).unwrap()
}

#[test]
fn filters_of_containers_are_answered() {
    let (id, asked) = (id(), asked());
    let image = format!("sha256:{}", "a".repeat(64));
    let fits = |text: &str| {
        let filters = filters(text);
        fits(&filters, &NamePatterns::read(&filters).unwrap(), &shown(&id, &asked, true), &image)
    };
    for yes in [
        "{}",
        r#"{"name":["web"]}"#,
        r#"{"name":["^/shop-web-1$"]}"#,
        r#"{"name":["^shop-web-1$","other"]}"#,
        r#"{"network":["shop_default"]}"#,
        r#"{"publish":["80"],"expose":["80/tcp"]}"#,
        r#"{"publish":["49153/tcp"]}"#,
        r#"{"ancestor":["web:1"]}"#,
        r#"{"ancestor":["aaaaaaaaaaaa"]}"#,
        r#"{"label":["anything"]}"#,
    ] {
        assert!(fits(yes), "{yes}");
    }
    for no in [
        r#"{"name":["^web"]}"#,
        r#"{"name":["("]}"#,
        r#"{"network":["bridge"]}"#,
        r#"{"network":["host"]}"#,
        r#"{"publish":["81"]}"#,
        r#"{"expose":["80/udp"]}"#,
        r#"{"ancestor":["web"]}"#,
        r#"{"ancestor":["debian"]}"#,
    ] {
        assert!(!fits(no), "{no}");
    }
    assert!(known_filters(&filters(r#"{"label":["a"],"status":["running"],"name":["x"]}"#)).is_ok());
    assert!(known_filters(&filters(r#"{"before":["x"]}"#)).is_err());
}

#[test]
fn patterns_of_names_are_few_and_small() {
    let read = |words: &[String]| NamePatterns::read(&filters(&json!({ "name": words }).to_string()));
    let words: Vec<String> = (0..21).map(|number| format!("n{number}")).collect();
    assert!(read(&words[..20]).is_ok());
    assert_eq!(read(&words).map(|_| ()).unwrap_err().status, 400);
    let admits = |word: &str, name: &str| read(&[word.to_owned()]).unwrap().admit(name);
    // As clients of compose and test frameworks ask.
    assert!(admits("^/?shop[_-]web[_-][0-9]+$", "shop-web-1") && !admits("^/?shop[_-]web$", "shop-web-1"));
    assert!(admits("\\w{3}", "web") && !admits("\\w{4}", "web") && admits("(?i)WEB", "web"));
    // One that is too large is a plain text.
    assert!(!admits("(\\w{60}){60}|web", "web") && !admits("(", "web"));
}

#[test]
fn events_of_others_are_not_shown() {
    let name = |id: &str| (id == "own").then(|| "web".to_owned());
    let event = |kind: &str, id: &str| {
        json!({ "Type": kind, "Action": "start", "id": id, "status": "start", "from": "sha256:aa", "Actor": { "ID": id,
            "Attributes": { "name": "ringfence-0-member-web", "image": "sha256:aa", "dev.ringfence.asked": "{}", "a": "b" } } })
    };
    let mut seen = events::event(event("container", "own"), &name).unwrap();
    events::put_image_back(&mut seen, "web:1");
    assert_eq!(seen["Actor"]["Attributes"], json!({ "name": "web", "image": "web:1", "a": "b" }));
    assert_eq!(seen["from"], "web:1");
    for (kind, id) in
        [("container", "other"), ("network", "own"), ("volume", "own"), ("image", "own"), ("daemon", "own")]
    {
        assert_eq!(events::event(event(kind, id), &name), None, "{kind} {id}");
    }
    assert_eq!(events::event(json!({ "Type": "container" }), &name), None);
    let fits = |text: &str| events::fits(&filters(text), &seen);
    assert!(fits(r#"{"event":["start"],"type":["container"],"label":["a=b"],"container":["web"]}"#));
    assert!(
        !fits(r#"{"event":["die"]}"#) && !fits(r#"{"label":["a=c"]}"#) && !fits(r#"{"container":["we"]}"#)
    );
    let attributes =
        BTreeMap::from([("name".to_owned(), "n1".to_owned()), ("type".to_owned(), "bridge".to_owned())]);
    let made = events::made("network", "create", "n", &attributes, (7, 7_000_000_000));
    assert!(events::fits(&filters(r#"{"type":["network"],"network":["n1"]}"#), &made));
    assert_eq!(made["Actor"]["Attributes"]["name"], "n1");
}

#[test]
fn networks_are_records_with_answers() {
    let record = NetworkRecord {
        id: "3".repeat(64),
        name: "shop_default".to_owned(),
        labels: BTreeMap::from([("com.docker.compose.network".to_owned(), "default".to_owned())]),
        created: "2026-01-01T00:00:00Z".to_owned(),
        ..NetworkRecord::default()
    };
    let back: NetworkRecord = serde_json::from_value(serde_json::to_value(&record).unwrap()).unwrap();
    assert_eq!(back, record);
    let member = NetworkMember { id: id(), name: "web".to_owned(), address: "127.0.0.1/8".to_owned() };
    let answer = record.answer(&[member]);
    assert_eq!((&answer["Driver"], &answer["Containers"][id()]["Name"]), (&json!("bridge"), &json!("web")));
    assert_eq!(answer["IPAM"]["Config"][0]["Gateway"], "127.0.0.1");
    let mut all = networks::builtin().to_vec();
    all.push(record.clone());
    for (word, found) in [
        ("shop_default", true),
        ("333333", true),
        ("bridge", true),
        ("b0", false),
        ("", false),
        ("shop", false),
    ] {
        assert_eq!(networks::find(&all, word).is_some(), found, "{word}");
    }
    let fits = |text: &str, record: &NetworkRecord| networks::fits(&filters(text), record, false);
    for yes in [
        "{}",
        r#"{"name":["shop"]}"#,
        r#"{"type":["custom"]}"#,
        r#"{"driver":["bridge"],"scope":["local"]}"#,
        r#"{"id":["3333"]}"#,
        r#"{"label":["com.docker.compose.network=default"]}"#,
        r#"{"dangling":["true"]}"#,
    ] {
        assert!(fits(yes, &record), "{yes}");
    }
    for no in [
        r#"{"type":["builtin"]}"#,
        r#"{"name":["x"]}"#,
        r#"{"dangling":["false"]}"#,
        r#"{"driver":["overlay"]}"#,
    ] {
        assert!(!fits(no, &record), "{no}");
    }
    assert!(fits(r#"{"type":["builtin"]}"#, &all[0]) && !fits(r#"{"dangling":["true"]}"#, &all[0]));
    assert!(networks::known_filters(&filters(r#"{"type":["x"]}"#)).is_err());
    assert!(networks::known_filters(&filters(r#"{"until":["1h"]}"#)).is_err());
}

#[test]
fn facts_of_the_engines_machine_are_not_shown() {
    let engine = json!({ "Name": "host1", "HttpProxy": "http://u:p@proxy", "DockerRootDir": "/var/lib/docker", "Labels": ["a"],
        "ServerVersion": "26.1", "OperatingSystem": "Debian", "MemTotal": 7, "Containers": 99,
        "RegistryConfig": { "Mirrors": ["https://mirror.corp"] } });
    let counts = others::Counts { running: 1, stopped: 2, ..others::Counts::default() };
    let info = others::info(&engine, counts);
    assert_eq!(
        (&info["ServerVersion"], &info["MemTotal"], &info["Containers"]),
        (&json!("26.1"), &json!(7), &json!(3))
    );
    let text = info.to_string();
    assert!(!["host1", "proxy\"", "/var/lib", "corp"].iter().any(|word| text.contains(word)), "{text}");
    let engine = json!({ "Version": "26.1", "ApiVersion": "1.99", "MinAPIVersion": "1.12", "KernelVersion": "6",
        "Components": [{ "Name": "Engine", "Details": { "ApiVersion": "1.99", "MinAPIVersion": "1.12" } }] });
    let version = others::version(&engine, ApiMinor(45));
    assert_eq!((&version["ApiVersion"], &version["MinAPIVersion"]), (&json!("1.45"), &json!("1.41")));
    assert_eq!(version["Components"][0]["Details"]["ApiVersion"], "1.45");
    let image = json!({ "Id": "x", "Config": { "Labels": { "dev.ringfence.x": "1", "a": "b" } }, "GraphDriver": { "Data": { "UpperDir": "/var" } } });
    let image = others::image(image);
    assert_eq!(
        (&image["Config"]["Labels"], &image["GraphDriver"]["Data"]),
        (&json!({ "a": "b" }), &Value::Null)
    );
    let volume = others::volume(
        json!({ "Name": "ringfence-v", "Labels": { "dev.ringfence.x": "1" }, "Options": { "device": "/home" } }),
        "data",
    );
    assert_eq!(volume, json!({ "Name": "data", "Labels": {}, "Options": null }));
    let exec = others::exec(json!({ "ID": "e", "ContainerID": "x", "ExitCode": 0, "Secret": 1 }), "c");
    assert_eq!(exec, json!({ "ID": "e", "ContainerID": "c", "ExitCode": 0 }));
}
