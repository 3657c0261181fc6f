//! R5: known holes of the engine's parts. A number that falls under none is good news only while
//! the list is fresh; a number that falls under some is bad news only of a build that nobody may
//! have mended.

use netpolicy::policy::Date;

use super::{known, list};
use crate::doctor::cves::{FRESH_DAYS, Severity, Vulnerabilities, Vulnerability};
use crate::doctor::facts::{Component, Engine, Learned};
use crate::doctor::row::{Row, Verdict};
use crate::doctor::version::{self, Build, Version};

/// Verdict about a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Exposure {
    /// No hole is known of this number.
    Good,
    /// The component has these vulnerabilities, and nobody but its makers built it.
    Open,
    /// The component's number has some or none, and somebody else built it; or it has no number.
    Unclear,
    /// The list says nothing about such a part.
    Unlisted,
}

/// A part, judged.
#[derive(Debug)]
pub(crate) struct Judged<'a> {
    /// The part.
    pub(crate) component: &'a Component,
    /// Verdict about the component.
    pub(crate) standing: Exposure,
    /// The holes that its number falls under.
    pub(crate) holes: Vec<&'a Vulnerability>,
    version: Option<Version>,
}

/// Judges a part.
pub(crate) fn judge<'a>(component: &'a Component, known: &'a Vulnerabilities) -> Judged<'a> {
    let version = match component.name.as_str() {
        // No commit to tell.
        "desktop" | "linux" | "buildkit" => version::of_product(&component.version),
        _ => version::of_component(&component.version, &component.commit),
    };
    let holes =
        version.as_ref().map(|version| known.of(&component.name, &version.number)).unwrap_or_default();
    let standing = match &version {
        _ if !known.knows(&component.name) => Exposure::Unlisted,
        None => Exposure::Unclear,
        Some(version) => match (&version.build, holes.is_empty()) {
            (Build::Upstream, false) => Exposure::Open,
            (Build::Upstream | Build::Unnamed, true) => Exposure::Good,
            // A kernel's suffix names a configuration; nobody puts a closed hole back.
            (Build::Distribution(_), true) if component.name == "linux" => Exposure::Good,
            (Build::Distribution(_), _) | (Build::Unnamed, false) => Exposure::Unclear,
        },
    };
    Judged { component, standing, holes, version }
}

impl Judged<'_> {
    fn gravest(&self) -> Option<&Vulnerability> {
        self.holes.iter().copied().max_by_key(|hole| hole.severity)
    }

    fn ids(&self) -> Vec<&str> {
        self.holes.iter().flat_map(|hole| hole.ids.iter().map(String::as_str)).collect()
    }

    /// Returns the version in which the component's last vulnerability is closed, on the line that
    /// it is on or the next.
    pub(crate) fn mended_in(&self) -> Option<&str> {
        let number = &self.version.as_ref()?.number;
        let fixes = self.holes.iter().filter_map(|hole| hole.fixed_above(number));
        fixes.max_by_key(|fixed| version::number(fixed))
    }

    /// Says in a sentence what is known about the component.
    pub(crate) fn sentence(&self) -> String {
        let Component { name, version, .. } = self.component;
        let ids = list(&self.ids());
        match (&self.standing, self.version.as_ref().map(|version| &version.build)) {
            (Exposure::Unlisted, _) => format!("{name} {version}: the list has nothing about such a part"),
            (Exposure::Good, _) => format!("{name} {version}: no known hole"),
            (Exposure::Open, _) => format!("{name} {version} has {ids}"),
            (Exposure::Unclear, None) => format!("{name}: its version cannot be understood: {version:?}"),
            (Exposure::Unclear, Some(Build::Distribution(mark))) if self.holes.is_empty() => {
                format!(
                    "{name} {version}: no hole is known of its number, but a distribution built it ({mark})"
                )
            }
            (Exposure::Unclear, Some(Build::Distribution(mark))) => {
                format!(
                    "{name} {version}: its number falls under {ids}; a distribution built it ({mark}) and may have closed them"
                )
            }
            (Exposure::Unclear, Some(_)) => {
                format!(
                    "{name} {version}: its number falls under {ids}; it does not say who built it, who may have closed them"
                )
            }
        }
    }
}

/// Judges R5 and returns its row.
pub(crate) fn row(engine: &Learned<Engine>, holes: &Result<Vulnerabilities, String>, today: Date) -> Row {
    let mut row = Row::new("R5", "known holes in engine and kernel");
    let (Some(engine), Some(holes)) = (known(&mut row, engine), known(&mut row, holes)) else { return row };
    for component in &engine.components {
        let judged = judge(component, holes);
        let verdict = match judged.standing {
            Exposure::Good | Exposure::Unlisted => Verdict::Ok,
            Exposure::Unclear => Verdict::Unknown,
            Exposure::Open if judged.gravest().is_some_and(|hole| hole.severity >= Severity::High) => {
                Verdict::Fail
            }
            Exposure::Open => Verdict::Warn,
        };
        row.held_against(verdict, judged.sentence());
        if let Some(hole) = judged.gravest() {
            row.found(format!("  the gravest: {} ({})", hole.title, hole.sources.join(", ")));
        }
        match (&judged.standing, judged.mended_in()) {
            (Exposure::Open, Some(fixed)) => {
                row.advise(format!("update {} to {fixed} or later", component.name))
            }
            (Exposure::Unclear, _) => row.advise(
                "install your distribution's security updates; its tracker says which holes a build has",
            ),
            _ => {}
        }
    }
    if !engine.components.iter().any(|component| component.name == "buildkit") {
        row.found(
            "buildkit: the engine does not tell the version of the one inside it; ringfence builds nothing",
        );
    }
    let age = holes.age(today);
    let dated = format!("the list of known holes is of {} ({age} days old)", holes.as_of);
    if age > FRESH_DAYS {
        row.held_against(Verdict::Warn, format!("{dated}: what became known since is not in it"));
        row.advise("update ringfence");
    } else {
        row.found(dated);
    }
    row
}
