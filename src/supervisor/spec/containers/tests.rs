//! Rights of each container.

use std::net::Ipv4Addr;

use super::agent::LABEL_CAPABILITIES;
use super::helpers::{GUARD_LEAST_CPUS, GUARD_USER};
use super::{agent, fence, guard, host};
use crate::supervisor::spec::agent::AgentSpec;
use crate::supervisor::spec::binds::Binds;
use crate::supervisor::spec::image::Image;
use crate::supervisor::spec::init::FirstProgram;
use crate::supervisor::spec::limits::Limits;
use crate::supervisor::spec::surface::Surface;
use crate::supervisor::spec::workflow::{LABEL_DISK, Workflow};
use crate::wire::UnixTime;
use crate::wire::init::{InitKeys, InitPlace};

/// The fence's id.
const FENCE: &str = "f3nce";

fn workflow() -> Workflow {
    let digest = format!("sha256:{}", "d".repeat(64));
    Workflow {
        id: "0000002a".parse().unwrap(),
        name: None,
        digest: Some(digest.parse().unwrap()),
        created_at: UnixTime(1),
    }
}

fn plain() -> AgentSpec {
    AgentSpec {
        image: Image::default(),
        command: vec![],
        entrypoint: None,
        env: vec![],
        binds: Binds::default(),
        served: vec![],
        by_init: None,
        workdir: None,
        data: vec![],
        first_volume: 0,
        home: None,
        empty_memory: None,
        names_read_only: false,
        handed: true,
        trust: true,
        user: None,
        runtime: None,
        interactive: false,
        detached: false,
        keep: false,
        tty: false,
        limits: Limits { nano_cpus: 1, ..Limits::default() },
        quota: false,
        surface: Surface::default(),
    }
}

#[test]
fn an_agent_is_asked_for_as_it_was_read() {
    let asked = AgentSpec { handed: false, ..plain() };
    // Labels and options are in no order.
    let shown = serde_json::to_value(super::agent(&workflow(), &asked, "PROFILE", FENCE)).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&shown).unwrap());
}

#[test]
fn a_service_is_held_as_the_agent_is() {
    let spec =
        AgentSpec { handed: false, trust: false, first_volume: 3, data: vec!["/data".to_owned()], ..plain() };
    let of_agent = super::agent(&workflow(), &spec, "PROFILE", FENCE);
    let mut made = super::service(&workflow(), &spec, "PROFILE", FENCE);
    let labels = made.labels.clone().unwrap();
    assert_eq!((labels["dev.ringfence.role"].as_str(), labels[LABEL_DISK].as_str()), ("service", ""));
    made.labels.clone_from(&of_agent.labels);
    assert_eq!(made, of_agent, "network, filter, capabilities, limits and mounts are the same");
    let mounts = made.host_config.unwrap().mounts.unwrap();
    assert!(mounts.iter().any(|mount| mount.source.as_deref() == Some("ringfence-0000002a-data-3")));
}

#[test]
fn an_images_labels_have_no_value_and_ringfences_own_stay() {
    let labels = [LABEL_DISK, "io.containers.autoupdate", LABEL_CAPABILITIES];
    let labels = labels.map(|name| (name.to_owned(), "value".to_owned()));
    let image = Image { labels: labels.into(), ..Image::default() };
    let made = super::agent(&workflow(), &AgentSpec { image, ..plain() }, "PROFILE", FENCE).labels.unwrap();
    assert_eq!(made["io.containers.autoupdate"], "");
    assert_eq!(made[LABEL_DISK], Limits::default().disk.to_string());
    assert!(!made.contains_key(LABEL_CAPABILITIES));
}

#[test]
fn an_agent_that_waits_for_the_word_begins_as_the_engine_would_begin_it() {
    let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    for (entrypoint, command, expected) in [
        (None, &[][..], &["/entry", "-x", "default"][..]),
        (None, &["a", "b"], &["/entry", "-x", "a", "b"]),
        (Some("/mine"), &[], &["/mine"]),
        (Some("/mine"), &["a"], &["/mine", "a"]),
        (Some(""), &["a"], &["a"]),
    ] {
        let image =
            Image { entrypoint: list(&["/entry", "-x"]), command: list(&["default"]), ..Image::default() };
        let entrypoint = entrypoint.map(str::to_owned);
        let keys = InitKeys { ask: "ask".to_owned(), go: "go".to_owned() };
        let place = InitPlace::random().unwrap();
        let first = FirstProgram { place: place.clone(), keys };
        let asked = AgentSpec { image, entrypoint, command: list(command), by_init: Some(first), ..plain() };
        let made = super::agent(&workflow(), &asked, "PROFILE", FENCE);
        assert_eq!(made.entrypoint.unwrap(), [place.program()]);
        assert_eq!(made.host_config.unwrap().init, Some(false), "the engine begins nothing before it");
        assert_eq!(made.cmd.unwrap(), [&["ask", "go"], expected].concat());
    }
}

#[test]
fn no_engine_rotates_the_beginning_of_a_log_away() {
    let guard = guard(&workflow(), "img", "uplink", true, 5).host_config.unwrap().log_config.unwrap();
    assert_eq!(guard.typ.as_deref(), Some("json-file"));
    assert_eq!(guard.config.unwrap()["max-size"], "1g");
    // All lines twice, and as much again for what is open at the bound and what a supervisor has
    // written down.
    const { assert!(3 * crate::wire::handover::EVENTS_BYTES < 1 << 30) };
}

#[test]
fn only_the_fence_may_administer_a_network_and_only_its_own() {
    let fence =
        fence(&workflow(), "img", Ipv4Addr::LOCALHOST, true, true, &Binds::default()).host_config.unwrap();
    let guard = guard(&workflow(), "img", "uplink", true, 5).host_config.unwrap();
    let agent = agent(&workflow(), &plain(), "PROFILE", FENCE).host_config.unwrap();
    let asked = host(&workflow(), "img", false);
    assert_eq!((asked.user.as_deref(), asked.exposed_ports.is_none()), (Some(GUARD_USER), true));
    let host = asked.host_config.unwrap();
    assert_eq!(host.network_mode.as_deref(), Some("host"));
    assert!(host.mounts.is_none() && host.cap_add.is_none() && host.readonly_rootfs == Some(true));
    assert!(host.userns_mode.is_none(), "only where the engine wants it");
    assert_eq!(guard.nano_cpus, Some(GUARD_LEAST_CPUS));
    let busy = super::guard(&workflow(), "img", "uplink", true, 4_000_000_000).host_config.unwrap();
    assert_eq!(busy.nano_cpus, Some(4_000_000_000), "as much as its agent");
    assert_eq!(fence.cap_add.as_deref(), Some(&["NET_ADMIN".to_owned()][..]));
    assert_eq!(fence.network_mode.as_deref(), Some("none"));
    assert_eq!(fence.extra_hosts.as_deref(), Some(&["agent:127.0.1.1".to_owned()][..]));
    assert_eq!(guard.cap_add, None);
    assert_eq!(agent.network_mode.as_deref(), Some("container:f3nce"));
    for host in [&fence, &guard, &agent, &host] {
        assert_eq!(host.cap_drop.as_deref(), Some(&["ALL".to_owned()][..]));
        assert_eq!(host.security_opt.as_deref().unwrap()[0], "no-new-privileges");
        assert!(host.privileged != Some(true) && host.devices.is_none() && host.pid_mode.is_none());
        assert!(host.binds.is_none());
    }
    assert_eq!(agent.security_opt.unwrap()[1], "seccomp=PROFILE");
    let powers = agent.cap_add.unwrap();
    for (user, images, own) in
        [(None, "", 7), (None, "node", 0), (Some("0:0"), "node", 7), (Some("1000:1000"), "", 0)]
    {
        let image = Image { user: images.to_owned(), ..Image::default() };
        let asked = AgentSpec { user: user.map(str::to_owned), image, ..plain() };
        let made = super::agent(&workflow(), &asked, "PROFILE", FENCE).host_config.unwrap();
        assert_eq!(made.cap_add.unwrap().len(), own, "{user:?} {images}");
    }
    for never in ["NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE", "MKNOD", "ALL"] {
        assert!(!powers.iter().any(|power| power == never), "{never}");
    }
}
