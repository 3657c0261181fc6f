use std::collections::BTreeSet;

use bollard::models;
use serde::Deserialize;
use serde::de::value::Error;
use serde::de::{Deserializer, Error as _, Visitor};

use super::endpoints::PERMITTED;
use super::refused::REFUSED;
use super::{Access, BodyOf, EndpointRule, Treatment, fields, page};
use crate::serve::request::bodies;
use crate::serve::request::json::fold;

/// Fields of all bodies, of the API's published descriptions 1.41 to 1.55 (moby, api/docs): body,
/// path, first and last version.
const PUBLISHED_FIELDS: &str = include_str!("published-fields.txt");
/// Endpoints of the same descriptions: method, path, parameters of the query.
const PUBLISHED_ENDPOINTS: &str = include_str!("published-endpoints.txt");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/serve/fields.md");
const BEFORE: &str = "<!-- The tables are made of src/serve/rules/; a test compares. -->\n";

/// Tells whether a field has a rule, or lies below one that has and whose value is taken or left as
/// a whole.
fn has_rule(body: BodyOf, path: &str) -> bool {
    let is_within =
        |rule: &str| path.strip_prefix(rule).is_some_and(|rest| rest.starts_with(['.', '[', '{']));
    let below = |rule: &super::FieldRule| {
        let whole = !rule.treatment.is_read() || rule.path == "IPAM";
        whole && is_within(rule.path)
    };
    fields(body).any(|rule| rule.path == path || below(rule))
}

#[test]
fn every_field_of_the_published_descriptions_has_a_rule() {
    let mut without = Vec::new();
    for line in PUBLISHED_FIELDS.lines() {
        let (name, path) = line.split_once(' ').unwrap();
        let path = path.split_once(' ').unwrap().0;
        let body = BodyOf::ALL.into_iter().find(|body| body.as_str() == name).unwrap();
        if !has_rule(body, path) {
            without.push(line);
        }
    }
    assert!(without.is_empty(), "without a rule:\n{}", without.join("\n"));
    assert!(PUBLISHED_FIELDS.lines().count() > 300, "the list is there");
    assert!(!has_rule(BodyOf::Create, "HostConfig.Newest"), "a field without a rule is found");
    assert!(!has_rule(BodyOf::Create, "HostConfig.Mounts[].BindOptions.Newest"));
}

fn fits(rule: &EndpointRule, method: &str, path: &str) -> bool {
    let pattern = rule.path.replace("{name...}", "{name}");
    let same = |one: &str, other: &str| {
        let plain = |text: &str| text.replace("{name}", "{id}");
        plain(one) == plain(other)
    };
    let begins = pattern
        .strip_suffix("/**")
        .is_some_and(|start| path == start || path.starts_with(&format!("{start}/")));
    (rule.method == "*" || rule.method == method) && (same(&pattern, path) || begins)
}

#[test]
fn every_endpoint_of_the_published_descriptions_has_a_rule() {
    let mut without = Vec::new();
    for line in PUBLISHED_ENDPOINTS.lines() {
        let [method, path, params] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let Some(rule) = REFUSED.iter().chain(PERMITTED).find(|rule| fits(rule, method, path)) else {
            without.push(line.to_owned());
            continue;
        };
        let known =
            |name: &&str| rule.params.iter().any(|param| param.name == *name) || rule.left_out.contains(name);
        if matches!(rule.access, Access::Permitted(_)) {
            let unknown = params.split(',').filter(|name| *name != "-" && !known(name));
            without.extend(unknown.map(|name| format!("{method} {path}: the parameter {name}")));
        }
    }
    assert!(without.is_empty(), "without a rule:\n{}", without.join("\n"));
    assert!(!PERMITTED.iter().any(|rule| fits(rule, "POST", "/containers/{id}/newest")));
}

/// Deserializer that tells the names of a structure's fields.
struct FieldNames<'a>(&'a mut Vec<&'static str>);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("only names are wanted"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        self.0.extend(fields);
        Err(Error::custom("only names are wanted"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn names<T: for<'de> Deserialize<'de>>() -> BTreeSet<String> {
    let mut names = Vec::new();
    let read = T::deserialize(FieldNames(&mut names));
    assert!(read.is_err() && !names.is_empty());
    names.into_iter().map(str::to_owned).collect()
}

/// Returns the names of the rules at a place.
fn at(body: BodyOf, place: &str, wanted: impl Fn(Treatment) -> bool) -> BTreeSet<String> {
    let here = |path: &'static str| match path.rsplit_once('.') {
        Some((before, name)) if before == place => Some(name),
        None if place.is_empty() => Some(path),
        _ => None,
    };
    fields(body)
        .filter(|rule| wanted(rule.treatment))
        .filter_map(|rule| here(rule.path))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_field_of_bollards_models_has_a_rule() {
    let endpoint = "NetworkingConfig.EndpointsConfig{}";
    let mounts = "HostConfig.Mounts[]";
    for (body, place, model) in [
        (BodyOf::Create, "", names::<models::ContainerCreateBody>()),
        (BodyOf::Create, "HostConfig", names::<models::HostConfig>()),
        (BodyOf::Create, "NetworkingConfig", names::<models::NetworkingConfig>()),
        (BodyOf::Create, endpoint, names::<models::EndpointSettings>()),
        (BodyOf::Create, "Healthcheck", names::<models::HealthConfig>()),
        (BodyOf::Create, mounts, names::<models::Mount>()),
        (BodyOf::Create, "HostConfig.Mounts[].BindOptions", names::<models::MountBindOptions>()),
        (BodyOf::Create, "HostConfig.Mounts[].VolumeOptions", names::<models::MountVolumeOptions>()),
        (BodyOf::Create, "HostConfig.Mounts[].TmpfsOptions", names::<models::MountTmpfsOptions>()),
        (BodyOf::Create, "HostConfig.RestartPolicy", names::<models::RestartPolicy>()),
        (BodyOf::Create, "HostConfig.LogConfig", names::<models::HostConfigLogConfig>()),
        (BodyOf::Create, "HostConfig.Ulimits[]", names::<models::ResourcesUlimits>()),
        (BodyOf::Create, "HostConfig.PortBindings{}[]", names::<models::PortBinding>()),
        (BodyOf::Exec, "", names::<models::ExecConfig>()),
        (BodyOf::ExecStart, "", names::<models::ExecStartConfig>()),
        (BodyOf::Update, "", names::<models::ContainerUpdateBody>()),
        (BodyOf::Network, "", names::<models::NetworkCreateRequest>()),
        (BodyOf::Connect, "", names::<models::NetworkConnectRequest>()),
        (BodyOf::Connect, "EndpointConfig", names::<models::EndpointSettings>()),
        (BodyOf::Disconnect, "", names::<models::NetworkDisconnectRequest>()),
        (BodyOf::Volume, "", names::<models::VolumeCreateRequest>()),
    ] {
        let known = at(body, place, |_| true);
        let without: Vec<_> = model.difference(&known).collect();
        assert!(without.is_empty(), "{} {place}: without a rule: {without:?}", body.as_str());
    }
}

#[test]
fn the_bodies_hold_the_fields_that_are_read_and_no_others() {
    let mounts = "HostConfig.Mounts[]";
    for (body, place, held) in [
        (BodyOf::Create, "", names::<bodies::CreateBody>()),
        (BodyOf::Create, "HostConfig", names::<bodies::HostBody>()),
        (BodyOf::Create, "NetworkingConfig", names::<bodies::NetworkingBody>()),
        (BodyOf::Create, "NetworkingConfig.EndpointsConfig{}", names::<bodies::EndpointBody>()),
        (BodyOf::Create, "Healthcheck", names::<bodies::HealthBody>()),
        (BodyOf::Create, mounts, names::<bodies::MountBody>()),
        (BodyOf::Create, "HostConfig.Mounts[].BindOptions", names::<bodies::BindBody>()),
        (BodyOf::Create, "HostConfig.Mounts[].VolumeOptions", names::<bodies::VolumeOptionsBody>()),
        (BodyOf::Create, "HostConfig.Mounts[].VolumeOptions.DriverConfig", names::<bodies::DriverBody>()),
        (BodyOf::Create, "HostConfig.Mounts[].TmpfsOptions", names::<bodies::TmpfsBody>()),
        (BodyOf::Create, "HostConfig.RestartPolicy", names::<bodies::RestartBody>()),
        (BodyOf::Create, "HostConfig.LogConfig", names::<bodies::LogBody>()),
        (BodyOf::Create, "HostConfig.Ulimits[]", names::<bodies::UlimitBody>()),
        (BodyOf::Create, "HostConfig.PortBindings{}[]", names::<bodies::PortBody>()),
        (BodyOf::Exec, "", names::<bodies::ExecBody>()),
        (BodyOf::ExecStart, "", names::<bodies::ExecStartBody>()),
        (BodyOf::Update, "", names::<bodies::UpdateBody>()),
        (BodyOf::Network, "", names::<bodies::NetworkBody>()),
        (BodyOf::Connect, "", names::<bodies::ConnectBody>()),
        (BodyOf::Connect, "EndpointConfig", names::<bodies::EndpointBody>()),
        (BodyOf::Disconnect, "", names::<bodies::DisconnectBody>()),
        (BodyOf::Volume, "", names::<bodies::VolumeBody>()),
    ] {
        assert_eq!(held, at(body, place, Treatment::is_read), "{} {place}", body.as_str());
    }
}

#[test]
fn each_rule_stands_once_and_gives_a_reason() {
    for body in BodyOf::ALL {
        let all: Vec<_> = fields(body).collect();
        for rule in &all {
            let same = all.iter().filter(|other| fold(other.path) == fold(rule.path)).count();
            assert_eq!(same, 1, "{}", rule.path);
            assert!(!rule.value.is_empty() && !rule.reason.is_empty(), "{}", rule.path);
            if matches!(rule.treatment, Treatment::Refused | Treatment::NullOnly) {
                assert!(
                    rule.reason.contains(';'),
                    "{}: a refusal says what to do: {}",
                    rule.path,
                    rule.reason
                );
            }
            if let Some((place, _)) = rule.path.rsplit_once('.') {
                let place = place.trim_end_matches("[]").trim_end_matches("{}").trim_end_matches("[]");
                let parent = all.iter().find(|other| other.path == place);
                let parent =
                    parent.or_else(|| all.iter().find(|other| format!("{}{{}}", other.path) == place));
                assert!(
                    parent.is_some_and(|parent| parent.treatment.is_read()),
                    "{}: nobody goes there",
                    rule.path
                );
            }
        }
    }
    for rule in REFUSED {
        assert!(rule.reason.contains(';'), "{}: {}", rule.path, rule.reason);
    }
}

#[test]
fn the_page_is_the_table() {
    let text = std::fs::read_to_string(PAGE).unwrap();
    let (head, shown) = text.split_once(BEFORE).expect("the page has its mark");
    let table = page::page();
    if std::env::var_os("RINGFENCE_UPDATE").is_some() {
        std::fs::write(PAGE, format!("{head}{BEFORE}{table}")).unwrap();
        return;
    }
    assert!(shown == table, "run the tests with RINGFENCE_UPDATE=1 to write the table anew");
    let explained = page::explanation();
    assert!(explained.contains("HostConfig.Privileged"), "{explained}");
    assert!(explained.lines().all(|line| line.chars().all(netpolicy::diagnostic::is_harmless)));
}
