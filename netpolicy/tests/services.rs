//! `services` of policies: what they become, who may have them, what is refused.

use netpolicy::diagnostic::render;
use netpolicy::load::{LayerSource, Loaded, load, load_layers};
use netpolicy::policy::{Date, Layer};
use netpolicy::print;
use netpolicy::reach::difference;
use netpolicy::service::Readiness;
use netpolicy::successor::{Unfit, successor};

const TODAY: Date = Date::constant(2026, 11, 25);
const GOOD: &str = r#"
version: 1
services:
  db:
    image: registry.example:5000/postgres:16
    env: {POSTGRES_DB: app, PORT: 5432, ON: true, EMPTY: "", QUOTED: "a \"b\" # c"}
    command: [postgres, -c, "fsync=off", 5]
    ready: {command: [pg_isready, -h, localhost]}
    within: 90s
  cache: {image: "redis:7", ready: {tcp: 6379}}
  worker: {image: worker}
"#;

fn read(layer: Layer, text: &str) -> Result<Loaded, String> {
    load("p.yml", layer, TODAY, &mut |_| Ok(text.to_owned())).map_err(|findings| render(&findings))
}

fn good(text: &str) -> Loaded {
    read(Layer::Run, text).unwrap_or_else(|words| panic!("{words}"))
}

fn with(service: &str) -> String {
    format!("version: 1\nnetwork: {{allow: [web]}}\nservices:\n{service}\n")
}

#[test]
fn services_are_read_and_printed_as_they_were_written() {
    let policy = good(GOOD).policy;
    let db = &policy.services[&"db".parse().unwrap()];
    assert_eq!(db.image, "registry.example:5000/postgres:16");
    assert_eq!(
        (db.env["PORT"].as_str(), db.env["ON"].as_str(), db.env["EMPTY"].as_str()),
        ("5432", "true", "")
    );
    assert_eq!((db.command.last().map(String::as_str), db.within), (Some("5"), Some(90)));
    let ready = ["pg_isready", "-h", "localhost"].map(str::to_owned).to_vec();
    assert_eq!(db.ready, Some(Readiness::Command(ready)));
    assert_eq!(policy.services[&"cache".parse().unwrap()].ready, Some(Readiness::Tcp(6379)));
    let printed = print::policy(&policy, &|_| None);
    assert_eq!(good(&printed).policy, policy, "{printed}");
    // A policy without services keeps the digest that it had.
    assert!(!good("version: 1\n").policy.canonical().contains("services"));
    assert!(policy.canonical().contains("services"));
    let changes = differences_of(&good("version: 1\n"), &good(GOOD));
    assert_eq!(changes, ["services.cache", "services.db", "services.worker"]);
}

fn differences_of(old: &Loaded, new: &Loaded) -> Vec<String> {
    difference(&old.policy, &new.policy, TODAY).changes.into_iter().map(|change| change.key).collect()
}

#[test]
fn a_projects_policy_has_no_services_whoever_approved_it() {
    let words = read(Layer::Project, GOOD).unwrap_err();
    assert!(words.contains("`services` cannot be set by a project's policy"), "{words}");
    for layer in [Layer::Organisation, Layer::User, Layer::Run] {
        assert_eq!(read(layer, GOOD).unwrap().policy.services.len(), 3, "{layer}");
    }
}

#[test]
fn layers_add_services_and_change_none() {
    let load = |user: &str, run: &str| {
        let (user, run) = (user.to_owned(), run.to_owned());
        let sources = [
            LayerSource::files(Layer::Run, vec!["run.yml".to_owned()]),
            LayerSource::files(Layer::User, vec!["user.yml".to_owned()]),
        ];
        let mut read = |_: Layer, path: &str| {
            Ok(if path == "user.yml" { user.clone() } else { run.clone() }.into_bytes())
        };
        load_layers(&sources, TODAY, &mut read).map_err(|findings| render(&findings))
    };
    let one = |name: &str| format!("version: 1\nservices: {{{name}: {{image: x}}}}\n");
    assert_eq!(load(&one("a"), &one("b")).unwrap().policy.services.len(), 2);
    let words = load(&one("a"), &one("a")).unwrap_err();
    assert!(words.contains("`services.a` is set by the user's policy already"), "{words}");
    assert!(words.contains("run.yml"), "{words}");
}

#[test]
fn what_is_no_service_is_told() {
    for (text, words) in [
        ("  DB: {image: x}", "`DB` cannot be a service"),
        ("  localhost: {image: x}", "names of the fence itself"),
        ("  ../x: {image: x}", "cannot be a service"),
        ("  web: {image: x}", "`web` is a permitted host too"),
        ("  db: {}", "needs an image"),
        ("  db: {image: \"\"}", "no name of an image"),
        ("  db: {image: \"-v\"}", "no name of an image"),
        ("  db: x", "a service is a mapping"),
        ("  db: {image: x, volumes: [/:/host]}", "`volumes` is no key of a service"),
        ("  db: {image: x, env: {A: }}", "--service-env SERVICE:A"),
        ("  db: {image: x, env: {\"A=B\": c}}", "no name of a variable"),
        ("  db: {image: x, env: [A=b]}", "`env` is a mapping"),
        ("  db: {image: x, command: []}", "`command` has no word"),
        ("  db: {image: x, command: sh}", "`command` is a list of words"),
        ("  db: {image: x, ready: {}}", "`ready` is one sign"),
        ("  db: {image: x, ready: {tcp: 1, command: [a]}}", "`ready` is one sign"),
        ("  db: {image: x, ready: {tcp: 0}}", "from 1 to 65535"),
        ("  db: {image: x, ready: {udp: 1}}", "`udp` is no key of `ready`"),
        ("  db: {image: x, within: 2h}", "`within` is too long"),
        ("  db: {image: x, within: 5}", "a unit is missing"),
    ] {
        let said = read(Layer::Run, &with(text)).expect_err(text);
        assert!(said.contains(words), "{text}\n{said}");
    }
    let many: String = (0..9).map(|number| format!("  s{number}: {{image: x}}\n")).collect();
    let said = read(Layer::Run, &with(&many)).unwrap_err();
    assert!(said.contains("9 services, and one run has at most 8"), "{said}");
}

#[test]
fn services_do_not_change_while_a_run_goes_on() {
    let (now, next) = (good("version: 1\n").policy, good(GOOD).policy);
    let Err(Unfit::Fixed(keys)) = successor(&now, &next) else { panic!("it would be ignored") };
    assert_eq!(keys, ["services"]);
}
