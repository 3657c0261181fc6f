//! `ringfence test`: cases of a scenario, run and judged.
//!
//! ```text
//!  file ─▶ Scenario ─▶ engine ─▶ cases, up to --jobs side by side ─▶ table or JSON on stdout, JUnit XML in a file
//! ```

use std::io::Write as _;
use std::path::Path;

use futures_util::StreamExt;
use netpolicy::diagnostic::render;
use tokio::sync::watch;

use crate::cli::scenario::ScenarioArgs;
use crate::host::open;
use crate::scenario::golden::GoldenList;
use crate::scenario::plan::{Case, Scenario};
use crate::scenario::results::{self, CaseEnd, CaseResult};
use crate::scenario::run_case::{self, Stage};
use crate::scenario::{junit, read, schema, starter};
use crate::supervisor::signals::{Signals, status_of_signal};
use crate::supervisor::{engine, networks};
use crate::term::{self, Failure};

/// A case failed.
const ONE_FAILS: u8 = 1;
/// The scenario, or a case, could not be run.
const COULD_NOT_TEST: u8 = 2;
/// The largest golden list.
const LARGEST_GOLDEN: u64 = 64 << 20;
/// The largest scenario.
const LARGEST: u64 = 1 << 20;

/// Runs the cases of a scenario.
pub(crate) async fn test(engine_host: Option<&str>, args: ScenarioArgs) -> Result<u8, Failure> {
    if args.schema {
        return term::print_document(&schema::json()).map(|()| 0);
    }
    if let Some(image) = &args.init {
        let text = starter::text(image).ok_or_else(|| no_image(image))?;
        return term::print_document(&text).map(|()| 0);
    }
    // The command line demands a file.
    let file = args.file.as_deref().unwrap_or(Path::new(""));
    let mut scenario = load(file)?;
    if let Some(image) = &args.image {
        if !read::is_image(image) {
            return Err(no_image(image));
        }
        scenario.image.clone_from(image);
    }
    let cases = chosen(&scenario, &args.cases)?;
    if args.check {
        let names: String = cases.iter().map(|(_, case)| format!("{}\n", case.name)).collect();
        return term::print(&names).map(|()| 0);
    }
    if let Some(logs) = &args.logs {
        let cannot = |error: std::io::Error| {
            failed(format!("cannot make the folder {}", logs.display())).caused_by(&error)
        };
        std::fs::create_dir_all(logs).map_err(cannot)?;
    }
    let golden = args.golden.as_deref().map(golden_list).transpose()?;
    let folder = folder_of(file)?;
    let engine =
        engine::connect(engine_host).await.map_err(|failure| Failure { exit: COULD_NOT_TEST, ..failure })?;
    if args.jobs > 1 {
        networks::prepare_uplink(&engine)
            .await
            .map_err(|failure| Failure { exit: COULD_NOT_TEST, ..failure })?;
    }
    let mut signals = Signals::new()?;
    let (stopping, stop) = watch::channel(None);
    let stage = Stage {
        scenario: &scenario,
        folder: &folder,
        engine: &engine,
        engine_host,
        stop,
        logs: args.logs.as_deref(),
    };
    let running = run_all(&stage, &cases, usize::from(args.jobs));
    tokio::pin!(running);
    let mut results = loop {
        tokio::select! {
            results = &mut running => break results,
            number = signals.next() => {
                if stopping.send_replace(Some(number)).is_none() {
                    term::essential("the cases that run are ended, and what they made is removed");
                }
            }
        }
    };
    if let Some(list) = &golden {
        list.judge(&mut results);
    }
    tell(&args, &file.display().to_string(), &results)?;
    let signal = *stopping.borrow();
    Ok(signal.map_or_else(|| status(&results), status_of_signal))
}

fn failed(what: String) -> Failure {
    Failure::new(COULD_NOT_TEST, what)
}

fn no_image(text: &str) -> Failure {
    failed(format!("{text:?} is no name of an image")).hint("write it as for `ringfence run`")
}

/// Reads a scenario file.
fn load(file: &Path) -> Result<Scenario, Failure> {
    let cannot = || failed(format!("the scenario {} cannot be used", file.display()));
    let bytes = open::read(file, LARGEST).map_err(|refused| refused.explain(cannot()))?;
    let text = String::from_utf8(bytes)
        .map_err(|error| cannot().caused_by(&error).hint("save the file as UTF-8"))?;
    read::scenario(&file.display().to_string(), &text).map_err(|found| {
        let mut failure = cannot();
        failure.causes.push(render(&found));
        failure
    })
}

/// Returns the cases that are to be run, with their numbers.
fn chosen<'s>(scenario: &'s Scenario, names: &[String]) -> Result<Vec<(usize, &'s Case)>, Failure> {
    if let Some(unknown) = names.iter().find(|name| scenario.cases.iter().all(|case| case.name != **name)) {
        let there: Vec<&str> = scenario.cases.iter().map(|case| case.name.as_str()).collect();
        return Err(failed(format!("there is no case {unknown:?}"))
            .hint(format!("choose from: {}", there.join(", "))));
    }
    let is_chosen = |case: &Case| names.is_empty() || names.contains(&case.name);
    Ok(scenario.cases.iter().enumerate().filter(|(_, case)| is_chosen(case)).collect())
}

/// Returns the folder from which the paths of a scenario count.
fn folder_of(file: &Path) -> Result<std::path::PathBuf, Failure> {
    let cannot = |error: std::io::Error| {
        failed(format!("the folder of {} cannot be found", file.display())).caused_by(&error)
    };
    let whole = std::path::absolute(file).map_err(cannot)?;
    Ok(whole.parent().unwrap_or(Path::new("/")).to_owned())
}

/// Runs cases, so many side by side; their results in their order.
async fn run_all(stage: &Stage<'_>, cases: &[(usize, &Case)], jobs: usize) -> Vec<CaseResult> {
    let progress = term::progress("cases");
    let one = async |(number, case): &(usize, &Case)| {
        progress.detail(case.name.clone());
        run_case::run(stage, *number, case).await
    };
    futures_util::stream::iter(cases).map(one).buffered(jobs).collect().await
}

/// Reads a golden list.
fn golden_list(path: &Path) -> Result<GoldenList, Failure> {
    let cannot = || failed(format!("the golden list {} cannot be used", path.display()));
    let bytes = open::read(path, LARGEST_GOLDEN).map_err(|refused| refused.explain(cannot()))?;
    GoldenList::read(&bytes).map_err(|why| {
        let mut failure = cannot().hint("write it anew by --record FILE");
        failure.causes.push(why);
        failure
    })
}

/// Writes a golden list of results.
fn record(path: &Path, results: &[CaseResult]) -> Result<(), Failure> {
    let cannot = || failed(format!("the golden list {} is not written", path.display()));
    let list = GoldenList::of(results).map_err(|case| {
        let mut failure = cannot().hint("run it again, and see with `ringfence events` what its log holds");
        failure.causes.push(format!("nobody knows all that the case {case:?} tried"));
        failure
    })?;
    let mut created = open::create(path, 0o666).map_err(|refused| refused.explain(cannot()))?;
    created.file.write_all(list.text().as_bytes()).map_err(|error| cannot().caused_by(&error))
}

/// Writes the results.
fn tell(args: &ScenarioArgs, file: &str, results: &[CaseResult]) -> Result<(), Failure> {
    if let Some(path) = &args.junit {
        let cannot = || failed(format!("cannot write {}", path.display()));
        let xml = junit::xml(file, results).map_err(|error| cannot().caused_by(&error))?;
        let mut created = open::create(path, 0o666).map_err(|refused| refused.explain(cannot()))?;
        created.file.write_all(xml.as_bytes()).map_err(|error| cannot().caused_by(&error))?;
    }
    match args.json {
        true => term::print_json(&results::data(file, results))?,
        false => term::print(&results::table(results))?,
    }
    args.record.as_deref().map_or(Ok(()), |path| record(path, results))
}

fn status(results: &[CaseResult]) -> u8 {
    let is_known = |result: &CaseResult| matches!(result.end, CaseEnd::Judged(_));
    match () {
        () if !results.iter().all(is_known) => COULD_NOT_TEST,
        () if !results.iter().all(CaseResult::has_passed) => ONE_FAILS,
        () => 0,
    }
}
