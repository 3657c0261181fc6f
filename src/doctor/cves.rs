//! Known holes of engines and kernels: a dated list, and what of it a version falls under.
//!
//! ```text
//!  cves.json ─▶ Holes      (component, number, build) ─▶ holes by that number
//! ```
//!
//! The list holds what bears on a container that wants out, or on who may use the engine; each entry says where it is
//! written. It is data, so that it can be renewed without touching code: docs/doctor.md tells how.

use netpolicy::policy::Date;
use serde::Deserialize;

use super::version;

/// Days after which the list is too old to be good news.
pub const FRESH_DAYS: i32 = 90;

/// The list.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holes {
    /// The day on which it was brought up to date.
    pub as_of: Date,
    /// Its entries.
    pub holes: Vec<Hole>,
}

/// One hole, or several that were closed together.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hole {
    /// CVE numbers, or the advisory's where there is none.
    pub ids: Vec<String>,
    /// `engine`, `containerd`, `runc`, `buildkit`, `desktop`, `podman`, `linux`.
    pub component: String,
    /// The gravest of them.
    pub severity: Severity,
    /// What it lets somebody do.
    pub title: String,
    /// The versions that have it.
    pub affected: Vec<Range>,
    /// Where this is written.
    pub sources: Vec<String>,
}

/// From a version on, up to and without another.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The first that has it; absent: all before `fixed`.
    #[serde(default)]
    pub from: Option<String>,
    /// The first that does not.
    pub fixed: String,
}

/// How grave, as the source says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// CVSS below 4.
    Low,
    /// CVSS below 7.
    Medium,
    /// CVSS below 9.
    High,
    /// CVSS of 9 and above.
    Critical,
}

impl Holes {
    /// The list that this program was built with.
    pub fn built_in() -> Result<Holes, String> {
        serde_json::from_str(include_str!("cves.json"))
            .map_err(|error| format!("the built-in list of known holes cannot be read: {error}"))
    }

    /// Whether the list says anything about a component.
    pub fn knows(&self, component: &str) -> bool {
        self.holes.iter().any(|hole| hole.component == component)
    }

    /// The holes that a component of this number has, before anybody mends them without changing it.
    pub fn of(&self, component: &str, number: &semver::Version) -> Vec<&Hole> {
        self.holes.iter().filter(|hole| hole.component == component && hole.has(number)).collect()
    }

    /// Days since it was brought up to date.
    pub fn age(&self, today: Date) -> i32 {
        (today - self.as_of).get_days()
    }
}

impl Hole {
    fn has(&self, number: &semver::Version) -> bool {
        self.affected.iter().any(|range| range.contains(number))
    }

    /// The lowest number above this one that does not have it.
    pub fn fixed_above(&self, number: &semver::Version) -> Option<&str> {
        self.affected.iter().find(|range| range.contains(number)).map(|range| range.fixed.as_str())
    }
}

impl Range {
    /// A bound that is no version (a test forbids it in the built-in list) holds everything.
    fn contains(&self, number: &semver::Version) -> bool {
        let from = self.from.as_deref().map(version::number);
        let begun = from.is_none_or(|from| from.is_none_or(|from| from <= *number));
        begun && version::number(&self.fixed).is_none_or(|fixed| *number < fixed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(component: &str, text: &str) -> Vec<String> {
        let number = version::of_product(text).unwrap().number;
        Holes::built_in().unwrap().of(component, &number).iter().flat_map(|hole| hole.ids.clone()).collect()
    }

    #[test]
    fn every_entry_is_complete_and_its_ranges_are_ranges() {
        let list = Holes::built_in().unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for hole in &list.holes {
            assert!(!hole.ids.is_empty() && !hole.title.is_empty() && !hole.affected.is_empty(), "{hole:?}");
            assert!(hole.sources.iter().all(|source| source.starts_with("https://")), "{hole:?}");
            assert!(!hole.sources.is_empty(), "a claim without a source: {hole:?}");
            for id in &hole.ids {
                assert!(seen.insert((hole.component.clone(), id.clone())), "twice: {id}");
            }
            for range in &hole.affected {
                let fixed = version::number(&range.fixed).unwrap_or_else(|| panic!("{hole:?}"));
                if let Some(from) = &range.from {
                    assert!(version::number(from).unwrap_or_else(|| panic!("{hole:?}")) < fixed, "{hole:?}");
                }
            }
        }
    }

    #[test]
    fn the_bounds_are_where_the_sources_put_them() {
        let has = |component, version, id: &str| ids(component, version).contains(&id.to_owned());
        for (component, version, id, expected) in [
            ("runc", "1.1.11", "CVE-2024-21626", true),
            ("runc", "1.1.12", "CVE-2024-21626", false),
            ("runc", "1.2.0-rc.2", "CVE-2024-45310", true),
            ("runc", "1.2.0-rc.3", "CVE-2024-45310", false),
            ("runc", "1.2.7", "CVE-2025-31133", true),
            ("runc", "1.2.8", "CVE-2025-31133", false),
            ("runc", "1.3.0", "CVE-2025-31133", true),
            ("runc", "1.3.3", "CVE-2025-31133", false),
            ("runc", "1.4.0-rc.2", "CVE-2025-31133", true),
            ("runc", "1.4.0", "CVE-2025-31133", false),
            ("linux", "6.18.23", "CVE-2026-43114", true),
            ("linux", "6.18.24", "CVE-2026-43114", false),
            ("linux", "5.6.19", "CVE-2026-43114", false),
            ("desktop", "4.44.2", "CVE-2025-9074", true),
            ("desktop", "4.44.3", "CVE-2025-9074", false),
        ] {
            assert_eq!(has(component, version, id), expected, "{component} {version} {id}");
        }
    }
}
