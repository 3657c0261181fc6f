//! Versions as components tell them, and who built them.
//!
//! ```text
//!  "v1.7.27", "1.1.5+ds1", "5.15.167.4-microsoft-standard-WSL2", a commit ─▶ number (semver) + build
//! ```
//!
//! A number says which holes upstream closed. A distribution closes holes without changing the
//! number, so its build is told apart from upstream's: by what follows the number, and by a commit
//! that is none.

/// A version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    /// Number that is compared; pre-releases come before their release.
    pub(crate) number: semver::Version,
    /// Maker of the build.
    pub(crate) build: Build,
}

/// Maker of a component's build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Build {
    /// The project itself.
    Upstream,
    /// A packager who may have changed the component; the mark that gave that away.
    Distribution(String),
    /// The version names no commit, so nobody knows.
    Unnamed,
}

/// Reads the version of a component that says so, built from a commit that it names (or does not).
pub(super) fn of_component(text: &str, commit: &str) -> Option<Version> {
    let (number, rest) = parse(text)?;
    let build = if !rest.is_empty() {
        Build::Distribution(rest)
    } else if commit.is_empty() {
        Build::Unnamed
    } else if is_commit(commit) {
        Build::Upstream
    } else {
        Build::Distribution(commit.to_owned())
    };
    Some(Version { number, build })
}

/// Reads the version of a component that names no commit and has one maker only.
pub(super) fn of_product(text: &str) -> Option<Version> {
    let (number, rest) = parse(text)?;
    let build = if rest.is_empty() { Build::Upstream } else { Build::Distribution(rest) };
    Some(Version { number, build })
}

/// Reads the number alone, as the list of known vulnerabilities writes it.
pub(crate) fn number(text: &str) -> Option<semver::Version> {
    parse(text).filter(|(_, rest)| rest.is_empty()).map(|(number, _)| number)
}

/// Splits off the number from the text behind it.
fn parse(text: &str) -> Option<(semver::Version, String)> {
    let text = text.trim();
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    // A dot before a word (`1.2.3.el9`) belongs to the word.
    let mut parts = digits.trim_end_matches('.').split('.').map(str::parse::<u64>);
    let mut next = || parts.next().transpose().ok();
    let (major, minor, patch) = (next()??, next()?.unwrap_or(0), next()?.unwrap_or(0));
    let mut number = semver::Version::new(major, minor, patch);
    match pre_release(rest) {
        Some(pre) => {
            number.pre = pre;
            Some((number, String::new()))
        }
        None => Some((number, rest.to_owned())),
    }
}

/// Reads upstream's own suffixes, `-rc.2`, `-rc2`, `-beta.1`; anything else is a packager's.
fn pre_release(rest: &str) -> Option<semver::Prerelease> {
    let rest = rest.strip_prefix('-')?;
    let (word, count) = rest.split_at(rest.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(rest.len()));
    let count = count.trim_start_matches('.');
    let plain = matches!(word, "rc" | "beta" | "alpha") && count.chars().all(|c| c.is_ascii_digit());
    let text = if count.is_empty() { word.to_owned() } else { format!("{word}.{count}") };
    plain.then(|| semver::Prerelease::new(&text).ok()).flatten()
}

/// Tells whether a text is `e6534b4`, or what `git describe` makes of it: `v1.1.12-0-g51d5e946`.
fn is_commit(text: &str) -> bool {
    let hash = text.rsplit_once("-g").map_or(text, |(_, hash)| hash);
    (7..=40).contains(&hash.len()) && hash.chars().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distributions_build_is_told_from_upstreams() {
        let build = |text, commit| of_component(text, commit).map(|version| version.build);
        for (text, commit) in [
            ("29.5.1", "a61e2b4"),
            ("v2.1.5", "fcd43222d6b07379a4be9786bda52438f0dd16a1"),
            ("1.1.12", "v1.1.12-0-g51d5e946"),
            ("1.2.0-rc.2", "v1.2.0-rc.2-0-gf2d2ee5e"),
        ] {
            assert_eq!(build(text, commit), Some(Build::Upstream), "{text} {commit}");
        }
        for (text, commit) in [
            ("20.10.24+dfsg1", "5d6db84"),
            ("1.6.20~ds1", "1.6.20~ds1-1+deb12u3"),
            ("1.1.5+ds1", "1.1.5+ds1-1+deb12u1"),
            ("24.0.7", "24.0.7-0ubuntu2~22.04.1"),
            ("20.10.25+azure-2", "5df983c"),
            ("1.1.12-0ubuntu2~22.04.1", ""),
            ("29.0.1-1.fc43", "d9a8b5f"),
            ("28.1.1-ce", "4eba377"),
            ("1.2.3.el9", "d9a8b5f"),
            ("28.2.0-dev", "d9a8b5f"),
        ] {
            let found = build(text, commit);
            assert!(matches!(found, Some(Build::Distribution(_))), "{text} {commit}: {found:?}");
        }
        assert_eq!(build("5.4.2", ""), Some(Build::Unnamed));
        for none in ["", "unknown", "-1", "v"] {
            assert_eq!(build(none, ""), None, "{none:?}");
        }
    }

    #[test]
    fn numbers_compare_as_numbers_and_candidates_come_first() {
        let number = |text| parse(text).map(|(number, _)| number).unwrap();
        let sorted = [
            "1.1.5+ds1",
            "1.1.12",
            "1.2.0-rc.2",
            "1.2.0-rc.10",
            "1.2",
            "5.15.167.4-microsoft-standard-WSL2",
            "6.1.0-18-amd64",
            "6.18.44-fc-v657",
        ];
        for pair in sorted.windows(2) {
            assert!(number(pair[0]) < number(pair[1]), "{pair:?}");
        }
        assert_eq!(number("1.2.0-rc2"), number("v1.2.0-rc.2"));
        assert_eq!(number("4.34.2"), semver::Version::new(4, 34, 2));
    }
}
