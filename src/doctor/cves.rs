//! Known holes of engines and kernels: a dated list, and what of it a version falls under.
//!
//! ```text
//!  cves.json ─▶ Holes      (component, number, build) ─▶ holes by that number
//! ```
//!
//! The list holds what bears on a container that wants out, or on who may use the engine; each
//! entry says where it is written. It is data, so that it can be renewed without touching code:
//! docs/doctor.md tells how.

use netpolicy::policy::Date;
use serde::Deserialize;

use super::version;

/// Days after which the list is too old to be good news.
pub(super) const FRESH_DAYS: i32 = 90;

/// The list.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vulnerabilities {
    /// The day on which it was brought up to date.
    pub(crate) as_of: Date,
    /// Entries of the list.
    pub(crate) holes: Vec<Vulnerability>,
}

/// A vulnerability, or several that were closed together.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vulnerability {
    /// CVE numbers, or the advisory's where there is none.
    pub(crate) ids: Vec<String>,
    /// `engine`, `containerd`, `runc`, `crun`, `buildkit`, `desktop`, `podman`, `linux`.
    pub(crate) component: String,
    /// The gravest of them.
    pub(crate) severity: Severity,
    /// Harm that the vulnerability lets somebody do.
    pub(crate) title: String,
    /// The versions that have it.
    pub(crate) affected: Vec<Range>,
    /// Addresses of the sources.
    pub(crate) sources: Vec<String>,
    /// The day on which ranges and severity were compared with what the sources say. What could not
    /// be is not in the list.
    #[cfg_attr(not(test), expect(dead_code, reason = "for those who renew the list"))]
    pub(crate) checked: Date,
}

/// Range of versions: from one on, up to and without another.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Range {
    /// The first that has it; absent: all before `fixed`.
    #[serde(default)]
    pub(crate) from: Option<String>,
    /// The first that does not.
    pub(crate) fixed: String,
}

/// Severity as the source says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// CVSS below 4.
    Low,
    /// CVSS below 7.
    Medium,
    /// CVSS below 9.
    High,
    /// CVSS of 9 and above.
    Critical,
}

impl Vulnerabilities {
    /// Returns the list that this program was built with.
    pub(crate) fn built_in() -> Result<Vulnerabilities, String> {
        serde_json::from_str(include_str!("cves.json"))
            .map_err(|error| format!("the built-in list of known holes cannot be read: {error}"))
    }

    /// Tells whether the list says anything about a component.
    pub(crate) fn knows(&self, component: &str) -> bool {
        self.holes.iter().any(|hole| hole.component == component)
    }

    /// Returns the vulnerabilities that a component of this number has, unless a packager mends
    /// them without changing the number.
    pub(crate) fn of(&self, component: &str, number: &semver::Version) -> Vec<&Vulnerability> {
        self.holes.iter().filter(|hole| hole.component == component && hole.has(number)).collect()
    }

    /// Days since it was brought up to date.
    pub(crate) fn age(&self, today: Date) -> i32 {
        (today - self.as_of).get_days()
    }
}

impl Vulnerability {
    fn has(&self, number: &semver::Version) -> bool {
        self.affected.iter().any(|range| range.contains(number))
    }

    /// Returns the lowest number above this one that does not have it.
    pub(super) fn fixed_above(&self, number: &semver::Version) -> Option<&str> {
        self.affected.iter().find(|range| range.contains(number)).map(|range| range.fixed.as_str())
    }
}

impl Range {
    /// Tells whether the range holds a number. A bound that is no version (a test forbids it in the
    /// built-in list) holds everything.
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
        Vulnerabilities::built_in()
            .unwrap()
            .of(component, &number)
            .iter()
            .flat_map(|hole| hole.ids.clone())
            .collect()
    }

    #[test]
    fn every_entry_is_complete_and_its_ranges_are_ranges() {
        let list = Vulnerabilities::built_in().unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for hole in &list.holes {
            assert!(!hole.ids.is_empty() && !hole.title.is_empty() && !hole.affected.is_empty(), "{hole:?}");
            assert!(hole.sources.iter().all(|source| source.starts_with("https://")), "{hole:?}");
            assert!(!hole.sources.is_empty(), "a claim without a source: {hole:?}");
            assert!(hole.checked <= list.as_of, "checked after the list's own day: {hole:?}");
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
            ("desktop", "4.24.2", "CVE-2025-9074", false),
            ("desktop", "4.25.0", "CVE-2025-9074", true),
            ("desktop", "4.45.0", "CVE-2025-10657", false),
            ("desktop", "4.46.0", "CVE-2025-10657", true),
            ("desktop", "4.47.0", "CVE-2025-10657", false),
            ("engine", "24.0.9", "CVE-2024-24557", false),
            ("engine", "24.0.9", "CVE-2024-23652", true),
            ("engine", "25.0.2", "CVE-2024-23652", false),
            ("engine", "22.06.0", "CVE-2024-23652", false),
            ("engine", "24.0.5", "CVE-2024-29018", false),
            ("engine", "25.0.4", "CVE-2024-29018", true),
            ("engine", "26.0.0", "CVE-2024-29018", false),
            ("engine", "25.0.17", "CVE-2026-17106", true),
            ("engine", "25.0.18", "CVE-2026-17106", false),
            ("engine", "29.6.2", "CVE-2026-17106", true),
            ("engine", "29.7.0-rc.1", "CVE-2026-17106", true),
            ("engine", "29.7.0", "CVE-2026-17106", false),
            ("containerd", "2.0.9", "CVE-2026-53492", false),
            ("containerd", "2.1.8", "CVE-2026-53492", true),
            ("containerd", "2.1.9", "CVE-2026-53492", false),
            ("containerd", "2.2.0-rc.1", "CVE-2024-25621", true),
            ("containerd", "1.6.38", "CVE-2026-53488", false),
            ("containerd", "1.7.32", "CVE-2026-53488", true),
            ("containerd", "2.2.5", "CVE-2026-53488", false),
            // Nobody mends 2.1 any more.
            ("containerd", "2.1.9", "CVE-2026-46680", true),
            ("containerd", "2.0.9", "CVE-2026-46680", false),
            ("containerd", "2.2.0", "CVE-2024-25621", false),
            ("podman", "5.8.7", "CVE-2026-94603", true),
            ("podman", "5.8.8", "CVE-2026-94603", false),
            ("podman", "6.1.2", "CVE-2026-94603", true),
            ("podman", "6.1.3", "CVE-2026-94603", false),
            ("podman", "4.3.1", "CVE-2026-94603", false),
            ("podman", "3.4.7", "CVE-2025-9566", false),
            ("linux", "5.10.209", "CVE-2024-1086", true),
            ("linux", "5.10.210", "CVE-2024-1086", false),
            ("linux", "6.6.15", "CVE-2024-1086", false),
            ("linux", "6.8.0", "CVE-2024-1086", false),
            ("engine", "29.8.1", "CVE-2026-92543", true),
            ("engine", "29.8.2", "CVE-2026-92543", false),
            ("engine", "29.8.2", "CVE-2026-78659", true),
            ("engine", "29.9.0", "CVE-2026-78659", false),
            ("engine", "29.6.0", "CVE-2026-61711", true),
            ("engine", "29.6.1", "CVE-2026-61711", false),
            ("engine", "29.6.1", "CVE-2026-15789", true),
            ("engine", "29.6.2", "CVE-2026-15789", false),
            ("engine", "20.10.27", "CVE-2026-15791", false),
            ("engine", "23.0.0", "CVE-2026-15791", true),
            ("engine", "29.4.3", "CVE-2026-15793", false),
            ("engine", "29.5.0", "CVE-2026-15793", true),
            ("engine", "29.6.2", "CVE-2026-15793", false),
            ("engine", "29.8.1", "CVE-2026-93318", true),
            ("engine", "29.8.2", "CVE-2026-93318", false),
            ("engine", "24.0.9", "CVE-2026-61801", false),
            ("engine", "29.6.0", "CVE-2026-61801", true),
            ("engine", "29.6.1", "CVE-2026-61801", false),
            // Engine 25.0 is mended beside the newest; what lies between is not.
            ("engine", "25.0.15", "CVE-2026-34040", true),
            ("engine", "25.0.16", "CVE-2026-34040", false),
            ("engine", "28.5.2", "CVE-2026-34040", true),
            ("engine", "25.0.16", "CVE-2026-41567", true),
            ("engine", "25.0.17", "CVE-2026-41567", false),
            ("engine", "26.1.5", "CVE-2026-41567", true),
            ("engine", "29.5.1", "CVE-2026-41567", false),
            ("buildkit", "0.31.0", "CVE-2026-61711", true),
            ("buildkit", "0.31.1", "CVE-2026-61711", false),
            ("buildkit", "0.29.0", "CVE-2026-15793", false),
            ("buildkit", "0.31.1", "CVE-2026-15793", true),
            ("buildkit", "0.31.2", "CVE-2026-15793", false),
            ("buildkit", "0.33.0", "CVE-2026-93318", true),
            ("buildkit", "0.33.1", "CVE-2026-93318", false),
            ("containerd", "2.1.0", "CVE-2025-47290", true),
            ("containerd", "2.1.1", "CVE-2025-47290", false),
            ("containerd", "2.0.5", "CVE-2025-47290", false),
            ("containerd", "2.0.12", "CVE-2026-95837", false),
            ("containerd", "2.2.6", "CVE-2026-95837", true),
            ("containerd", "2.2.7", "CVE-2026-95837", false),
            ("containerd", "2.3.3", "CVE-2026-95837", true),
            ("containerd", "2.3.4", "CVE-2026-95837", false),
            ("containerd", "2.1.9", "CVE-2026-95839", false),
            ("containerd", "2.2.9", "CVE-2026-95839", true),
            ("containerd", "2.2.10", "CVE-2026-95839", false),
            ("containerd", "2.4.1", "CVE-2026-95839", true),
            ("containerd", "2.4.2", "CVE-2026-95839", false),
            ("containerd", "2.1.9", "CVE-2026-53493", true),
            ("containerd", "2.4.0", "CVE-2026-53493", true),
            ("containerd", "2.4.1", "CVE-2026-53493", false),
            ("containerd", "2.3.4", "CVE-2026-53495", true),
            ("containerd", "2.3.5", "CVE-2026-53495", false),
            ("containerd", "2.2.4", "CVE-2026-53489", true),
            ("containerd", "2.2.5", "CVE-2026-53489", false),
            ("podman", "5.2.3", "CVE-2024-9341", true),
            ("podman", "5.2.4", "CVE-2024-9341", false),
            ("podman", "5.7.0", "CVE-2026-55686", true),
            ("podman", "5.7.1", "CVE-2026-55686", false),
            ("linux", "4.13.16", "CVE-2026-31431", false),
            ("linux", "6.18.21", "CVE-2026-31431", true),
            ("linux", "6.18.22", "CVE-2026-31431", false),
            ("linux", "5.15.205", "CVE-2026-43284", true),
            ("linux", "5.15.206", "CVE-2026-43284", false),
            ("linux", "6.19.14", "CVE-2026-43499", true),
            ("linux", "7.0.4", "CVE-2026-43499", false),
        ] {
            assert_eq!(has(component, version, id), expected, "{component} {version} {id}");
        }
    }

    #[test]
    fn a_range_begins_with_its_first_and_ends_before_the_fixed_one() {
        let range =
            |from: Option<&str>| Range { from: from.map(str::to_owned), fixed: "1.4.0-rc.3".to_owned() };
        let holds = |range: &Range, text: &str| range.contains(&version::number(text).unwrap());
        let bounded = range(Some("1.4.0-rc.1"));
        for (text, expected) in [
            ("1.3.9", false),
            ("1.4.0-beta.1", false),
            ("1.4.0-rc.1", true),
            ("1.4.0-rc2", true),
            ("1.4.0-rc.3", false),
            ("1.4.0-rc.10", false),
            ("1.4.0", false),
        ] {
            assert_eq!(holds(&bounded, text), expected, "{text}");
        }
        assert!(holds(&range(None), "0.0.1"));
        // A bound that nobody can read must not make anything good.
        assert!(holds(&Range { from: None, fixed: "soon".to_owned() }, "99.0.0"));
        assert!(holds(&Range { from: Some("ever".to_owned()), fixed: "2.0.0".to_owned() }, "1.0.0"));
    }
}
