//! Tables of facts and the verdicts that they get; whole reports as snapshots.

use std::collections::BTreeMap;

use netpolicy::policy::Date;
use netpolicy::settings::Requirement;

use super::rows;
use crate::doctor::cves::{FRESH_DAYS, Vulnerabilities};
use crate::doctor::facts::{
    Component, Engine, Facts, Fence, Inside, Limits, Machine, Masks, Other, Others, Project,
};
use crate::doctor::report;
use crate::doctor::row::Verdict::{self, Fail, Ok as Good, Unknown, Warn};
use crate::wire::probe::Feature;

/// Makes a list of its own, so that an addition to the built-in one changes no verdict here.
fn holes() -> Result<Vulnerabilities, String> {
    let list = serde_json::json!({"as_of": "2026-11-25", "holes": [
        {"ids": ["CVE-2026-41567"], "component": "engine", "severity": "high", "title": "copying into a container runs its binary on the host",
         "affected": [{"fixed": "29.5.1"}], "sources": ["https://example.com/engine"], "checked": "2026-11-25"},
        {"ids": ["CVE-2026-41579"], "component": "runc", "severity": "low", "title": "an image whose /dev is a symlink writes to the host",
         "affected": [{"fixed": "1.3.6"}, {"from": "1.4.0-rc.1", "fixed": "1.4.3"}], "sources": ["https://example.com/runc"], "checked": "2026-11-25"},
        {"ids": ["CVE-2026-43114"], "component": "linux", "severity": "critical", "title": "sets match what is not in them",
         "affected": [{"from": "6.13.0", "fixed": "6.18.24"}], "sources": ["https://example.com/linux"], "checked": "2026-11-25"},
        {"ids": ["CVE-2025-9074"], "component": "desktop", "severity": "critical", "title": "any container reaches the engine",
         "affected": [{"fixed": "4.44.3"}], "sources": ["https://example.com/desktop"], "checked": "2026-11-25"},
    ]});
    serde_json::from_value(list).map_err(|error| error.to_string())
}

fn component(name: &str, version: &str, commit: &str) -> Component {
    Component { name: name.to_owned(), version: version.to_owned(), commit: commit.to_owned() }
}

fn feature(name: &str, needed: bool, error: Option<&str>) -> Feature {
    Feature { name: name.to_owned(), needed, error: error.map(str::to_owned) }
}

/// Namespaces with this number.
fn namespaces(number: u32) -> BTreeMap<String, String> {
    ["mnt", "net", "pid"].map(|kind| (kind.to_owned(), format!("{kind}:[{number}]"))).into()
}

/// Describes Docker Desktop, up to date, with nothing else on it.
fn desktop() -> Facts {
    Facts {
        today: Date::constant(2026, 12, 1),
        machine: Machine {
            boot_id: Some("11111111-aaaa".to_owned()),
            kernel: Some("6.12.90-generic".to_owned()),
            name: "laptop".to_owned(),
            namespaces: namespaces(1),
            resolved: false,
        },
        engine: Ok(Engine {
            host: "unix:///home/ada/.docker/run/docker.sock".to_owned(),
            local: true,
            product: "Docker Desktop".to_owned(),
            name: "docker-desktop".to_owned(),
            system: "Docker Desktop".to_owned(),
            kernel: "6.18.30-linuxkit".to_owned(),
            rootless: false,
            user_namespaces: false,
            seccomp: Some("builtin".to_owned()),
            confinement: Some("apparmor".to_owned()),
            runtimes: vec!["io.containerd.runc.v2".to_owned(), "runc".to_owned()],
            default_runtime: "runc".to_owned(),
            limits: Limits { memory: true, swap: true, cpu: true, pids: true },
            storage: ("overlayfs".to_owned(), None),
            warnings: vec![],
            components: vec![
                component("engine", "29.9.3", "a61e2b4"),
                component("runc", "1.4.3", "v1.4.3-0-g51d5e946"),
                component("desktop", "4.86.0", ""),
                component("linux", "6.18.30-linuxkit", ""),
            ],
        }),
        inside: Ok(Inside {
            boot_id: Some("22222222-bbbb".to_owned()),
            kernel: Some("6.18.30-linuxkit".to_owned()),
            seccomp: Some(2),
            no_new_privileges: Some(true),
            capabilities: Some(("0000000000000000".to_owned(), "0000000000000000".to_owned())),
            confinement: Some("docker-default (enforce)".to_owned()),
            root_is_root: Some(true),
            devices: vec![],
            namespaces: namespaces(2),
            memory: Some(512 << 20),
            pids: Some(64),
            cpu: true,
        }),
        fence: Ok(Fence {
            features: vec![feature("nftables", true, None), feature("redirects", true, None)],
            doubts: vec![],
        }),
        others: Ok(Others::default()),
        project: None,
        require: vec![],
    }
}

fn engine(facts: &mut Facts) -> &mut Engine {
    facts.engine.as_mut().unwrap()
}

fn inside(facts: &mut Facts) -> &mut Inside {
    facts.inside.as_mut().unwrap()
}

/// Describes Debian's own packages, rootful, on the machine itself.
fn debian() -> Facts {
    let mut facts = desktop();
    inside(&mut facts).boot_id = facts.machine.boot_id.clone();
    facts.machine.resolved = true;
    inside(&mut facts).confinement = None;
    let engine = engine(&mut facts);
    engine.host = "unix:///var/run/docker.sock".to_owned();
    engine.product = "Docker Engine".to_owned();
    engine.name = "laptop".to_owned();
    engine.system = "Debian GNU/Linux 12 (bookworm)".to_owned();
    engine.kernel = "6.12.90-generic".to_owned();
    engine.confinement = None;
    engine.storage = ("overlay2".to_owned(), Some("extfs".to_owned()));
    engine.components = vec![
        component("engine", "20.10.24+dfsg1", "5d6db84"),
        component("runc", "1.1.5+ds1", "1.1.5+ds1-1+deb12u1"),
        component("docker-init", "0.19.0", ""),
        component("linux", "6.12.90-generic", ""),
    ];
    facts
}

/// Describes everything that can be wrong at once.
fn ruin() -> Facts {
    let mut facts = debian();
    facts.today = Date::constant(2027, 6, 1);
    let engine = engine(&mut facts);
    engine.seccomp = None;
    engine.limits = Limits::default();
    engine.warnings =
        vec!["WARNING: API is accessible on http://0.0.0.0:2375 without encryption.".to_owned()];
    engine.components = vec![
        component("engine", "29.1.0", "a61e2b4"),
        component("runc", "1.4.2", "v1.4.2-0-g51d5e946"),
        component("desktop", "four", ""),
    ];
    let own = facts.machine.namespaces.clone();
    let inside = inside(&mut facts);
    inside.seccomp = Some(0);
    inside.no_new_privileges = Some(false);
    inside.capabilities = Some(("0000000000001000".to_owned(), "00000000a80425fb".to_owned()));
    inside.devices = vec!["dri/card0".to_owned(), "kvm".to_owned()];
    inside.namespaces.insert("net".to_owned(), own["net"].clone());
    inside.memory = None;
    facts.fence = Ok(Fence {
        features: vec![
            feature("nftables", true, None),
            feature("redirects", true, Some("nft: Operation not supported")),
            feature("a log of refused packets (nflog)", false, Some("nft: Protocol not supported")),
        ],
        doubts: vec!["fence: cannot load the rules".to_owned()],
    });
    facts.others = Ok(Others {
        looked_at: vec![
            Other { name: "db".to_owned(), ports: vec!["0.0.0.0:5432".to_owned()], ..Other::default() },
            Other {
                name: "portainer".to_owned(),
                sockets: vec!["/var/run/docker.sock".to_owned()],
                privileged: true,
                host_namespaces: vec!["network", "processes"],
                ..Other::default()
            },
        ],
        left_out: 3,
        builders: vec![],
    });
    let masks = Masks {
        hidden: 2,
        unchangeable: 3,
        visible: vec![".git/config (password in a URL)".to_owned()],
        unread: 1,
    };
    facts.project = Some(Project { path: "/home/ada/project".to_owned(), masks: Ok(masks) });
    facts.require = vec![Requirement::Vm, Requirement::Rootless, Requirement::Patched];
    facts
}

fn nothing() -> Facts {
    let why = || "no container engine answers: unix:///var/run/docker.sock: no such socket".to_owned();
    Facts { engine: Err(why()), inside: Err(why()), fence: Err(why()), others: Err(why()), ..desktop() }
}

fn verdict(facts: &Facts, risk: &str) -> Verdict {
    rows(facts, &holes()).into_iter().find(|row| row.risk == risk).unwrap().verdict
}

#[test]
fn whole_reports() {
    for (name, facts) in
        [("desktop", desktop()), ("debian", debian()), ("ruin", ruin()), ("nothing", nothing())]
    {
        insta::assert_snapshot!(name, report::text(&rows(&facts, &holes()), false));
    }
}

#[test]
fn the_json_has_one_row_for_each_risk_and_five_fields() {
    let value = serde_json::to_value(rows(&ruin(), &holes())).unwrap();
    let rows = value.as_array().unwrap();
    let risks: Vec<&str> = rows.iter().map(|row| row["risk"].as_str().unwrap()).collect();
    assert_eq!(risks, ["R1", "R2", "R3", "R4", "R5", "R6", "R7", "R8", "R9", "R10"]);
    for row in rows {
        let fields: Vec<&String> = row.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["evidence", "remedy", "risk", "title", "verdict"]);
        assert!(row.as_object().unwrap().values().all(serde_json::Value::is_string), "{row}");
        assert!(["ok", "warn", "fail", "unknown"].contains(&row["verdict"].as_str().unwrap()));
    }
}

#[test]
fn colours_are_round_the_verdict_only() {
    let coloured = report::text(&rows(&desktop(), &holes()), true);
    assert!(coloured.contains("\x1b[32mok      \x1b[0m"), "{coloured:?}");
    assert_eq!(coloured.matches('\x1b').count(), 20);
}

#[test]
fn one_wrong_thing_changes_its_row() {
    type Change = fn(&mut Facts);
    let cases: Vec<(&str, Verdict, Change)> = vec![
        ("R1", Good, |_| {}),
        ("R1", Warn, |facts| inside(facts).boot_id = facts.machine.boot_id.clone()),
        ("R1", Unknown, |facts| inside(facts).boot_id = None),
        ("R1", Unknown, |facts| facts.inside = Err("no".to_owned())),
        ("R1", Unknown, |facts| facts.machine.boot_id = None),
        // macOS: there is no kernel to share, whatever a container could not tell.
        ("R1", Good, |facts| {
            facts.machine = Machine { name: "mac".to_owned(), ..Machine::default() };
            facts.inside = Err("no".to_owned());
        }),
        ("R1", Unknown, |facts| engine(facts).rootless = true),
        ("R2", Good, |_| {}),
        ("R2", Fail, |facts| facts.fence.as_mut().unwrap().doubts.push("frames left by eth0".to_owned())),
        ("R2", Warn, |facts| {
            facts.fence.as_mut().unwrap().features.push(feature("nflog", false, Some("no")))
        }),
        ("R2", Unknown, |facts| facts.fence = Err("no".to_owned())),
        ("R3", Fail, |facts| {
            engine(facts).limits.memory = false;
            inside(facts).memory = None;
        }),
        // What a container finds counts for more than what the engine says.
        ("R3", Warn, |facts| engine(facts).limits.pids = false),
        ("R3", Unknown, |facts| inside(facts).pids = None),
        ("R3", Unknown, |facts| facts.inside = Err("no".to_owned())),
        ("R4", Good, |_| {}),
        ("R4", Fail, |facts| inside(facts).seccomp = Some(0)),
        ("R4", Unknown, |facts| inside(facts).seccomp = None),
        ("R4", Fail, |facts| inside(facts).devices.push("kvm".to_owned())),
        ("R4", Fail, |facts| inside(facts).capabilities = Some(("0".to_owned(), "1".to_owned()))),
        ("R4", Unknown, |facts| inside(facts).capabilities = None),
        ("R4", Fail, |facts| inside(facts).no_new_privileges = Some(false)),
        ("R4", Warn, |facts| inside(facts).confinement = None),
        // The same numbers on another kernel are no shared namespace.
        ("R4", Good, |facts| inside(facts).namespaces = namespaces(1)),
        ("R4", Fail, |facts| {
            inside(facts).boot_id = facts.machine.boot_id.clone();
            inside(facts).namespaces = namespaces(1);
        }),
        ("R5", Good, |_| {}),
        ("R5", Fail, |facts| engine(facts).components.push(component("engine", "29.5.0", "a61e2b4"))),
        ("R5", Warn, |facts| engine(facts).components.push(component("runc", "1.3.5", "v1.3.5-0-g51d5e946"))),
        ("R5", Unknown, |facts| {
            engine(facts).components.push(component("engine", "29.5.0+dfsg1", "a61e2b4"))
        }),
        ("R5", Unknown, |facts| {
            engine(facts).components.push(component("engine", "29.9.9+dfsg1", "a61e2b4"))
        }),
        ("R5", Unknown, |facts| engine(facts).components.push(component("runc", "1.3.5", ""))),
        ("R5", Good, |facts| engine(facts).components.push(component("runc", "1.4.4", ""))),
        ("R5", Unknown, |facts| engine(facts).components.push(component("engine", "devel", "a61e2b4"))),
        ("R5", Good, |facts| engine(facts).components.push(component("conmon", "2.1", ""))),
        ("R5", Unknown, |facts| engine(facts).components.push(component("linux", "6.17.2-arch1-1", ""))),
        ("R5", Fail, |facts| engine(facts).components.push(component("linux", "6.17.2", ""))),
        ("R5", Good, |facts| engine(facts).components.push(component("linux", "6.19.2-arch1-1", ""))),
        ("R5", Fail, |facts| engine(facts).components.push(component("desktop", "4.44.2", ""))),
        ("R5", Warn, |facts| facts.today = Date::constant(2027, 6, 1)),
        ("R7", Good, |_| {}),
        ("R7", Good, |facts| {
            facts.project =
                Some(Project { path: "/p".to_owned(), masks: Ok(Masks { hidden: 1, ..Masks::default() }) });
        }),
        ("R7", Fail, |facts| {
            facts.project = Some(Project { path: "/p".to_owned(), masks: Err("no".to_owned()) })
        }),
        ("R7", Warn, |facts| {
            facts.project =
                Some(Project { path: "/p".to_owned(), masks: Ok(Masks { unread: 1, ..Masks::default() }) });
        }),
        ("R8", Good, |_| {}),
        ("R8", Unknown, |facts| facts.others = Err("no".to_owned())),
        ("R8", Fail, |facts| {
            engine(facts).warnings = vec!["WARNING: API is accessible on http://…".to_owned()]
        }),
        ("R8", Good, |facts| engine(facts).warnings = vec!["WARNING: No swap limit support".to_owned()]),
        ("R8", Warn, |facts| {
            let db = Other { ports: vec!["0.0.0.0:1".to_owned()], ..Other::default() };
            facts.others = Ok(Others { looked_at: vec![db], ..Others::default() });
        }),
        ("R8", Good, |facts| {
            facts.others = Ok(Others { looked_at: vec![Other::default()], ..Others::default() });
        }),
        ("R8", Unknown, |facts| facts.others.as_mut().unwrap().left_out = 1),
    ];
    for (index, (risk, expected, change)) in cases.into_iter().enumerate() {
        let mut facts = desktop();
        change(&mut facts);
        assert_eq!(verdict(&facts, risk), expected, "case {index}, {risk}: {facts:#?}");
    }
}

#[test]
fn a_demand_that_is_not_met_or_cannot_be_judged_fails_its_row() {
    type Change = fn(&mut Facts);
    let cases: Vec<(Requirement, &str, bool, Change)> = vec![
        (Requirement::Vm, "R1", true, |_| {}),
        (Requirement::Vm, "R1", false, |facts| inside(facts).boot_id = facts.machine.boot_id.clone()),
        (Requirement::Vm, "R1", false, |facts| inside(facts).boot_id = None),
        (Requirement::Vm, "R1", false, |facts| facts.inside = Err("no".to_owned())),
        (Requirement::Rootless, "R1", false, |_| {}),
        (Requirement::Rootless, "R1", true, |facts| {
            engine(facts).rootless = true;
            inside(facts).root_is_root = Some(false);
        }),
        (Requirement::Rootless, "R1", false, |facts| engine(facts).rootless = true),
        (Requirement::Rootless, "R1", false, |facts| facts.engine = Err("no".to_owned())),
        (Requirement::Patched, "R5", true, |_| {}),
        (Requirement::Patched, "R5", false, |facts| engine(facts).components.clear()),
        // What is left out is not good, nor is a list that nobody renewed.
        (Requirement::PatchedOrUnknown, "R5", false, |facts| {
            engine(facts).components.retain(|part| part.name != "engine");
        }),
        (Requirement::Patched, "R5", false, |facts| {
            engine(facts).components.retain(|part| part.name != "runc");
        }),
        (Requirement::PatchedOrUnknown, "R5", true, |facts| {
            engine(facts).components.retain(|part| part.name != "runc");
        }),
        (Requirement::Patched, "R5", false, |facts| facts.today = Date::constant(2027, 6, 1)),
        (Requirement::PatchedOrUnknown, "R5", true, |facts| facts.today = Date::constant(2027, 6, 1)),
        (Requirement::Patched, "R5", false, |facts| {
            engine(facts).components.push(component("runc", "1.3.5", "v1.3.5-0-g51d5e946"));
        }),
        (Requirement::Patched, "R5", false, |facts| {
            engine(facts).components.push(component("runc", "1.3.5+ds1", "v1.3.5-0-g51d5e946"));
        }),
        (Requirement::PatchedOrUnknown, "R5", true, |facts| {
            engine(facts).components.push(component("runc", "1.3.5+ds1", "v1.3.5-0-g51d5e946"));
        }),
        (Requirement::PatchedOrUnknown, "R5", false, |facts| {
            engine(facts).components.push(component("runc", "1.3.5", "v1.3.5-0-g51d5e946"));
        }),
    ];
    for (index, (requirement, risk, met, change)) in cases.into_iter().enumerate() {
        let mut facts = desktop();
        change(&mut facts);
        facts.require = vec![requirement];
        assert_eq!(verdict(&facts, risk) != Fail, met, "case {index}: {requirement:?} {facts:#?}");
    }
}

#[test]
fn without_a_list_nothing_is_patched() {
    let mut facts = desktop();
    facts.require = vec![Requirement::PatchedOrUnknown];
    let rows = rows(&facts, &Err("the list cannot be read".to_owned()));
    assert_eq!(rows[4].verdict, Fail);
}

#[test]
fn the_list_says_when_it_is_old() {
    let list = holes().unwrap();
    assert_eq!(list.age(Date::constant(2026, 11, 25)), 0);
    let mut facts = desktop();
    facts.today = netpolicy::policy::day_after(list.as_of, i64::from(FRESH_DAYS)).unwrap();
    assert_eq!(verdict(&facts, "R5"), Good);
    facts.today = netpolicy::policy::day_after(list.as_of, i64::from(FRESH_DAYS) + 1).unwrap();
    assert_eq!(verdict(&facts, "R5"), Warn);
}
