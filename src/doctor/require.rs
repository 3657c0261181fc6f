//! `engine.require` of a policy: what `doctor` holds against a row, `run` refuses, before anything
//! of a workflow exists.
//!
//! ```text
//!  vm        boot id of a container ≠ this machine's      rootless  the engine's own word
//!  patched   every part is good                           patched-or-unknown  no part is open
//! ```
//! What cannot be found out is not met.

use netpolicy::policy::{Date, Policy};
use netpolicy::settings::Requirement;

use super::cves::{FRESH_DAYS, Vulnerabilities};
use super::facts::{Engine as EngineFacts, Facts, Inside, Learned, Machine};
use super::gather;
use super::judge::boundary::{self, Kernel};
use super::judge::vulnerabilities::{self, Exposure};
use crate::supervisor::engine::Engine;
use crate::term::{COULD_NOT_RUN, Failure};

/// A demand that is not met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unmet {
    /// The demand.
    pub(crate) requirement: Requirement,
    /// The row that it belongs to.
    pub(crate) risk: &'static str,
    /// Reason for which the demand is not met.
    pub(crate) why: String,
    /// Advice what to do.
    pub(crate) remedy: &'static str,
}

/// Returns the demands that the facts do not meet.
pub(super) fn unmet(facts: &Facts, known: &Result<Vulnerabilities, String>) -> Vec<Unmet> {
    let of = |requirement: &Requirement| {
        let why = match requirement {
            Requirement::Vm => vm(&facts.machine, &facts.inside),
            Requirement::Rootless => rootless(&facts.engine, &facts.inside),
            Requirement::Patched | Requirement::PatchedOrUnknown => {
                patched(&facts.engine, known, facts.today, *requirement == Requirement::Patched)
            }
        };
        why.map(|why| told(*requirement, why))
    };
    facts.require.iter().filter_map(of).collect()
}

/// Refuses a run whose policy demands what this engine does not meet.
pub(crate) async fn refuse_unmet(engine: &Engine, policy: &Policy) -> Result<(), Failure> {
    if policy.require.is_empty() {
        return Ok(());
    }
    let (machine, itself) = gather::said(engine);
    let wants_vm = policy.require.contains(&Requirement::Vm);
    let plainly_here = boundary::says_it_is_here(&machine, &itself);
    let inside = match (wants_vm, plainly_here) {
        (true, false) => gather::seen(engine).await?,
        (true, true) => Err("the engine itself says that it runs on this machine and its kernel".to_owned()),
        (false, _) => Err("nobody asked".to_owned()),
    };
    let facts = Facts {
        today: crate::host::clock::today(),
        machine,
        engine: Ok(itself),
        inside,
        fence: Err(String::new()),
        others: Err(String::new()),
        project: None,
        require: policy.require.clone(),
    };
    let unmet = unmet(&facts, &Vulnerabilities::built_in());
    let Some(first) = unmet.first() else { return Ok(()) };
    let words: Vec<&str> = unmet.iter().map(|one| one.requirement.as_str()).collect();
    let message = format!("the engine is not what the policy demands (engine.require): {}", words.join(", "));
    let mut failure =
        Failure::new(COULD_NOT_RUN, message).hint(format!("{}; `ringfence doctor` tells more", first.remedy));
    failure.causes = unmet.iter().map(|one| format!("{}: {}", one.requirement.as_str(), one.why)).collect();
    Err(failure)
}

fn told(requirement: Requirement, why: String) -> Unmet {
    let (risk, remedy) = match requirement {
        Requirement::Vm => ("R1", "use an engine in a virtual machine, or another policy"),
        Requirement::Rootless => ("R1", "use an engine that runs without root, or another policy"),
        Requirement::Patched => {
            ("R5", "update the engine; a distribution's build is met by `patched-or-unknown` only")
        }
        Requirement::PatchedOrUnknown => ("R5", "update what has known holes"),
    };
    Unmet { requirement, risk, why, remedy }
}

fn vm(machine: &Machine, inside: &Learned<Inside>) -> Option<String> {
    match boundary::kernel(machine, inside) {
        Kernel::Own => None,
        Kernel::Shared => Some("containers run on this machine's own kernel".to_owned()),
        Kernel::Unknown(why) => Some(why),
    }
}

/// Checks `rootless` by the engine's own word, unless a container found otherwise.
fn rootless(engine: &Learned<EngineFacts>, inside: &Learned<Inside>) -> Option<String> {
    let found_root = inside.as_ref().is_ok_and(|inside| inside.root_is_root == Some(true));
    match engine {
        Ok(engine) if engine.rootless && !found_root => None,
        Ok(engine) if engine.rootless => {
            Some("root in a container is root outside, whatever the engine says".to_owned())
        }
        Ok(_) => Some("the engine runs as root".to_owned()),
        Err(why) => Some(why.clone()),
    }
}

/// Checks `patched`. An engine that leaves out its own version, or that of the programs that start
/// its containers, does not meet the demand; nor does a list that is too old.
fn patched(
    engine: &Learned<EngineFacts>,
    known: &Result<Vulnerabilities, String>,
    today: Date,
    surely: bool,
) -> Option<String> {
    let (engine, known) = match (engine, known) {
        (Ok(engine), Ok(known)) => (engine, known),
        (Err(why), _) | (_, Err(why)) => return Some(why.clone()),
    };
    let bad = |standing: &Exposure| *standing == Exposure::Open || surely && *standing == Exposure::Unclear;
    let judged = engine.components.iter().map(|component| vulnerabilities::judge(component, known));
    let mut sentences: Vec<String> =
        judged.filter(|judged| bad(&judged.standing)).map(|judged| judged.sentence()).collect();
    let told = |names: &[&str]| engine.components.iter().any(|part| names.contains(&part.name.as_str()));
    if !told(&["engine", "podman"]) {
        sentences.push("the engine does not tell its version".to_owned());
    }
    if surely && !told(&["runc", "crun"]) {
        sentences.push("the engine does not tell the version of what starts its containers".to_owned());
    }
    if surely && known.age(today) > FRESH_DAYS {
        sentences.push(format!("the list of known holes is of {}: update ringfence", known.as_of));
    }
    (!sentences.is_empty()).then(|| sentences.join("; "))
}
