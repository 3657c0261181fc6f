//! Known holes of the engine and of what starts its containers, for a command whose clients choose
//! mounts, images and working directories: most of these holes are reached by them.

use netpolicy::policy::Date;

use super::cves::{FRESH_DAYS, Vulnerabilities};
use super::facts::{Component, Engine as EngineFacts};
use super::gather;
use super::judge::vulnerabilities::{self, Exposure};
use crate::supervisor::engine::Engine;

/// Programs that start containers, of which the list says something.
const RUNTIMES: [&str; 2] = ["runc", "crun"];
/// Names under which engines have the first of them by default.
const DEFAULTS: [&str; 2] = ["", "io.containerd.runc.v2"];
/// The part that unpacks images, which clients can have pulled.
const CONTAINERD: &str = "containerd";
/// Name of the engine's own part.
const ENGINE: &str = "engine";

/// Standing of an engine's parts, a sentence for each that is not good.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct KnownHoles {
    /// Parts with known holes.
    pub(crate) open: Vec<String>,
    /// Advice to each of them.
    pub(crate) updates: Vec<String>,
    /// Parts of which nobody can say.
    pub(crate) unknown: Vec<String>,
}

/// Judges an engine by what it says of itself.
pub(crate) fn of_engine(engine: &Engine) -> KnownHoles {
    let (_, itself) = gather::said(engine);
    of(&itself, &Vulnerabilities::built_in(), crate::host::clock::today())
}

fn of(engine: &EngineFacts, known: &Result<Vulnerabilities, String>, today: Date) -> KnownHoles {
    let components = &engine.components;
    let mut found = KnownHoles::default();
    let known = match known {
        Ok(known) => known,
        Err(why) => {
            found.unknown.push(why.clone());
            return found;
        }
    };
    let is_told = |name: &str| components.iter().any(|part| part.name == name);
    if !is_told(ENGINE) {
        found.unknown.push("the engine does not tell its version".to_owned());
    }
    let runtime = match engine.default_runtime.as_str() {
        default if DEFAULTS.contains(&default) => RUNTIMES[0],
        other => other,
    };
    if !is_told(runtime) {
        let what = format!("the engine does not tell the version of {runtime}, which starts its containers");
        found.unknown.push(what);
    }
    if !is_told(CONTAINERD) {
        found
            .unknown
            .push("the engine does not tell the version of containerd, which unpacks images".to_owned());
    }
    let asked = [&RUNTIMES[..], &[ENGINE, CONTAINERD]].concat();
    let is_asked = |part: &&Component| asked.contains(&part.name.as_str());
    for component in components.iter().filter(is_asked) {
        let judged = vulnerabilities::judge(component, known);
        match judged.standing {
            Exposure::Good => {}
            Exposure::Open => {
                found.open.push(judged.sentence());
                let fixed = judged.mended_in().unwrap_or("its newest version");
                found.updates.push(format!("update {} to {fixed} or later", component.name));
            }
            Exposure::Unclear | Exposure::Unlisted => found.unknown.push(judged.sentence()),
        }
    }
    if known.age(today) > FRESH_DAYS {
        let what = format!("the list of known holes is of {}: update ringfence for a newer one", known.as_of);
        found.unknown.push(what);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, version: &str, commit: &str) -> Component {
        Component { name: name.to_owned(), version: version.to_owned(), commit: commit.to_owned() }
    }

    fn with(components: &[Component]) -> EngineFacts {
        EngineFacts { components: components.to_vec(), ..EngineFacts::default() }
    }

    fn judged(components: &[Component]) -> KnownHoles {
        let known = Vulnerabilities::built_in();
        let today = known.as_ref().unwrap().as_of;
        of(&with(components), &known, today)
    }

    #[test]
    fn open_holes_of_runc_and_engine_are_told_with_what_closes_them() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let containerd = part("containerd", "2.4.2", commit);
        let good = [part("engine", "29.9.0", commit), part("runc", "1.3.7", commit), containerd.clone()];
        assert_eq!(judged(&good), KnownHoles::default());
        let found = judged(&[good[0].clone(), part("runc", "v1.1.15", commit), containerd.clone()]);
        assert!(found.open.len() == 1 && found.open[0].contains("CVE-2025-31133"), "{found:?}");
        assert_eq!(
            (found.updates.as_slice(), found.unknown.len()),
            (&["update runc to 1.3.7 or later".to_owned()][..], 0)
        );
        let found = judged(&[part("engine", "28.5.1", commit), good[1].clone(), containerd]);
        assert!(found.open.len() == 1 && found.updates[0].contains("update engine to 29."), "{found:?}");
        // Clients can have layers pulled that containerd unpacks.
        let found = judged(&[good[0].clone(), good[1].clone(), part("containerd", "1.7.0", commit)]);
        assert!(found.open.len() == 1 && found.updates[0].contains("update containerd to "), "{found:?}");
        // Of other parts nothing is asked.
        let found = judged(&[&good[..], &[part("buildkit", "0.1.0", commit)]].concat());
        assert_eq!(found, KnownHoles::default());
    }

    #[test]
    fn what_nobody_can_say_is_unknown() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let debians = [
            part("engine", "20.10.24+dfsg1", "5d6db84"),
            part("runc", "1.1.5+ds1", "1.1.5+ds1-1+deb12u1"),
            part("containerd", "1.6.20~ds1", "1.6.20~ds1-1+b1"),
        ];
        let found = judged(&debians);
        assert!(found.open.is_empty() && found.unknown.len() == 3, "{found:?}");
        assert!(found.unknown[1].contains("a distribution built it"), "{found:?}");
        for (left, missing) in [
            (part("engine", "29.9.0", commit), "runc, which starts its containers"),
            (part("runc", "1.3.7", commit), "does not tell its version"),
            (part("runc", "1.3.7", commit), "containerd, which unpacks images"),
        ] {
            let found = judged(&[left]);
            assert!(found.unknown.len() == 2 && found.unknown.concat().contains(missing), "{found:?}");
        }
        let known = Vulnerabilities::built_in().unwrap();
        let late = netpolicy::policy::day_after(known.as_of, i64::from(FRESH_DAYS) + 1).unwrap();
        let containerd = part("containerd", "2.4.2", commit);
        let good = with(&[part("engine", "29.9.0", commit), part("runc", "1.3.7", commit), containerd]);
        let found = of(&good, &Ok(known.clone()), late);
        assert!(found.unknown.len() == 1 && found.unknown[0].contains("update ringfence"), "{found:?}");
        let other = EngineFacts { default_runtime: "runsc".to_owned(), ..good.clone() };
        let today = known.as_of;
        let found = of(&other, &Ok(known), today);
        assert!(found.unknown.len() == 1 && found.unknown[0].contains("runsc"), "{found:?}");
        assert_eq!(of(&good, &Err("unread".to_owned()), late).unknown, ["unread"]);
    }
}
