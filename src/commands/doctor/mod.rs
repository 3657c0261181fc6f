//! `ringfence doctor`: a row for each risk, with evidence, verdict and remedy.

mod bundle;

use netpolicy::policy::Policy;

use self::bundle::Bundle;
use crate::cli::doctor::DoctorArgs;
use crate::doctor::cves::Vulnerabilities;
use crate::doctor::facts::{Facts, Project};
use crate::doctor::row::Verdict;
use crate::doctor::{gather, judge, report};
use crate::layers;
use crate::supervisor::engine::{Choice, Engine};
use crate::supervisor::spec::places::WORKSPACE;
use crate::term::Failure;
use crate::workspace::mounts;

/// A row failed.
const FAILED: u8 = 1;
/// The doctor could not do its work.
const COULD_NOT_LOOK: u8 = 2;

/// Looks, and prints what it found.
pub(crate) async fn doctor(engine_host: Option<&str>, args: DoctorArgs) -> Result<u8, Failure> {
    let could_not = |failure: Failure| Failure { exit: COULD_NOT_LOOK, ..failure };
    let choice = Choice::of(engine_host);
    let (choice, project) = match (args.project.as_deref(), choice) {
        (None, choice) => (choice, None),
        (Some(given), Ok(choice)) => {
            let project =
                mounts::project(given, WORKSPACE, &super::machine::with(&choice)).map_err(could_not)?;
            (Ok(choice), Some(project))
        }
        // What an agent may be given cannot be said then.
        (Some(_), Err(failure)) => return Err(could_not(failure)),
    };
    let folder = project.as_ref().map(|project| project.source.as_path());
    let loaded = layers::load(&super::policy::wanted(&args.policy, folder)).map_err(could_not)?;
    let project = folder.map(|path| gather::project(path, &super::project::wishes(&loaded.policy)));
    let (facts, engine) = facts(choice, &loaded.policy, project).await?;
    let rows = judge::rows(&facts, &Vulnerabilities::built_in());
    if let Some(file) = &args.bundle {
        let bundle = Bundle::gather(&rows, engine.as_ref(), &loaded, args.names);
        bundle.write(file, args.names).map_err(could_not)?;
    } else if args.json {
        crate::term::print_json(&rows)?;
    } else {
        crate::term::print_coloured(&report::text(&rows, crate::term::stdout_has_colours()))?;
    }
    let failed = rows.iter().any(|row| row.verdict == Verdict::Fail);
    Ok(match (engine.is_some(), failed) {
        (false, _) => COULD_NOT_LOOK,
        (true, true) => FAILED,
        (true, false) => 0,
    })
}

/// Gathers the facts, with the engine if one answered. An interrupt waits until what was made
/// is removed.
async fn facts(
    choice: Result<Choice, Failure>,
    policy: &Policy,
    project: Option<Project>,
) -> Result<(Facts, Option<Engine>), Failure> {
    let engine = match choice {
        Ok(choice) => choice.connect().await,
        Err(failure) => Err(failure),
    };
    let engine = match engine {
        Ok(engine) => engine,
        Err(failure) => {
            let why = format!("{}: {}", failure.message, failure.causes.join("; "));
            return Ok((gather::without_engine(&why, policy, project), None));
        }
    };
    let _progress = crate::term::progress("making a fence on the engine, to see whether it holds");
    let facts = gather::everything(&engine, policy, project).await?;
    Ok((facts, Some(engine)))
}
