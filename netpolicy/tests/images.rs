//! `images` of policies: registries from which a client of the fenced socket may have images
//! pulled.

use netpolicy::diagnostic::render;
use netpolicy::load::{LayerSource, load, load_layers};
use netpolicy::policy::{Date, Layer, Policy};
use netpolicy::print;
use netpolicy::reach::difference;
use netpolicy::successor::{Unfit, successor};

const TODAY: Date = Date::constant(2026, 11, 25);

fn read(layer: Layer, text: &str) -> Result<Policy, String> {
    let loaded = load("p.yml", layer, TODAY, &mut |_| Ok(text.to_owned()));
    loaded.map(|loaded| loaded.policy).map_err(|findings| render(&findings))
}

fn good(text: &str) -> Policy {
    read(Layer::Run, text).unwrap_or_else(|words| panic!("{words}"))
}

#[test]
fn registries_are_read_and_printed_as_they_were_written() {
    let policy = good("version: 1\nimages: [Registry.example, \"r.example:5000\", docker.io, docker.io]\n");
    assert_eq!(policy.images, ["registry.example", "r.example:5000", "docker.io"]);
    assert_eq!(good(&print::policy(&policy, &|_| None)).images, policy.images);
    let none = good("version: 1\n");
    assert!(none.images.is_empty() && !none.canonical().contains("images"), "a policy keeps its digest");
    assert!(policy.canonical().contains("registry.example"));
    let widens = |old: &Policy, new: &Policy| {
        let changes = difference(old, new, TODAY).changes;
        changes.iter().find(|change| change.key == "images").map(|change| change.widens)
    };
    assert_eq!((widens(&none, &policy), widens(&policy, &none)), (Some(true), Some(false)));
    assert_eq!(successor(&none, &policy), Err(Unfit::Fixed(vec!["images".to_owned()])));
}

#[test]
fn what_is_no_registry_is_refused() {
    for bad in [
        "debian",
        "https://r.example",
        "r.example/team",
        "'*.example'",
        "r.example:0",
        "r.example:70000",
        "r.example:x",
        ".example",
        "r..example",
        "'r example'",
        "''",
        "{a: b}",
    ] {
        let words = read(Layer::Run, &format!("version: 1\nimages: [{bad}]\n")).expect_err(bad);
        assert!(words.contains("registry"), "{bad}: {words}");
    }
    assert!(read(Layer::Run, "version: 1\nimages: r.example\n").unwrap_err().contains("is a list"));
    let words = read(Layer::Project, "version: 1\nimages: [r.example]\n").unwrap_err();
    assert!(words.contains("`images` cannot be set by a project's policy"), "{words}");
}

#[test]
fn a_weaker_layer_takes_registries_away_and_adds_none() {
    let merged = |organisation: &str, user: &str| {
        let sources = [
            LayerSource::files(Layer::User, vec!["u.yml".to_owned()]),
            LayerSource::files(Layer::Organisation, vec!["o.yml".to_owned()]),
        ];
        let mut read = |_: Layer, path: &str| {
            Ok(if path == "o.yml" { organisation } else { user }.to_owned().into_bytes())
        };
        let loaded = load_layers(&sources, TODAY, &mut read);
        loaded.unwrap_or_else(|findings| panic!("{}", render(&findings))).policy.images
    };
    let with = |registries: &str| format!("version: 1\nimages: [{registries}]\n");
    assert_eq!(merged(&with("a.example, b.example"), &with("b.example, c.example")), ["b.example"]);
    assert_eq!(merged("version: 1\n", &with("c.example")), ["c.example"]);
    assert!(merged(&with(""), &with("c.example")).is_empty(), "an empty list permits none");
}
