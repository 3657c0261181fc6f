//! End-to-end tests: the `ringfence` executable on a real engine in a testbed that it cannot get
//! out of.
//!
//! One binary, because the testbed is expensive; one test at a time in each testbed, because the
//! canaries must know whom they heard; as many testbeds side by side as the machine can bear,
//! because many tests wait ([`workers`]). After every test the canaries must have heard nothing,
//! save after those of [`control`], which prove that the canaries hear.

mod bad_input;
mod connection_bounds;
mod control;
mod covers;
mod creations;
mod denied;
mod detached;
mod disk;
mod dns;
mod dns_tunnel;
mod doctor;
mod edges;
mod engine_access;
mod engine_trouble;
mod failing;
mod flood;
mod flow;
mod forward;
mod gate_bytes;
mod gate_http;
mod gate_many;
mod gate_tls;
mod git_after;
mod git_config;
mod git_covers;
mod git_matrix;
mod git_tools;
mod helper_image;
mod home;
mod host_addresses;
mod host_loopback;
mod host_servers;
mod hostile_labels;
mod identity;
mod image_words;
mod keep;
mod layers;
mod leftovers;
mod limits;
mod live;
mod log;
mod masks;
mod mounts;
mod mtu;
mod named_files;
mod neighbours;
mod network_changes;
mod notice;
mod observe;
mod over_limit;
mod own_options;
mod permitted;
mod practice;
mod proxy;
mod pull;
mod readme;
mod refused;
mod runtimes;
mod save;
mod scenario;
mod secrets;
mod serve;
mod serve_attacks;
mod serve_clients;
mod serve_ends;
mod serve_fills;
mod serve_manager;
mod serve_places;
mod serve_starts;
mod serve_variants;
mod services;
mod shared_address;
mod showing;
mod ssh_agent;
mod surface;
mod telling;
mod token;
mod upstream;
mod watching;
mod ways;
mod workers;
mod worktree;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use integration::cargo::Beside;
use integration::ringfence::Outcome;
use integration::testbed::Testbed;
use integration::testbed::site::Site;
use libtest_mimic::{Arguments, Completion, Trial};
use serde_json::Value;

use self::workers::{Verdict, Workers};

/// A test's name and its work: it gets the testbed and fails by an error.
type Test = (&'static str, fn(&Testbed) -> Result<()>);

/// Testbeds side by side, unless [`TESTBEDS`] says otherwise.
const USUAL: u32 = 3;
/// The variable that says how many testbeds there are side by side.
const TESTBEDS: &str = "RINGFENCE_TESTBEDS";
/// A testbed takes half a minute to come up; fewer tests than this are no reason for one more.
const WORTH_A_TESTBED: usize = 8;
/// Modules whose tests want the machine for themselves: they fill what all runs share, or measure
/// time. They go first.
const ALONE: [&str; 2] = ["flood", "gate_many"];
/// Modules whose tests wait longest. They go next, so that none of them is the last at work.
const LONGEST: [&str; 2] = ["hostile_labels", "engine_trouble"];

/// Every module: its name, its tests, and whether the canaries must hear nothing.
fn modules() -> Vec<(&'static str, &'static [Test], bool)> {
    vec![
        ("control", control::TESTS, false),
        ("bad_input", bad_input::TESTS, true),
        ("permitted", permitted::TESTS, true),
        ("practice", practice::TESTS, true),
        ("observe", observe::TESTS, true),
        ("shared_address", shared_address::TESTS, true),
        ("upstream", upstream::TESTS, true),
        ("watching", watching::TESTS, true),
        ("proxy", proxy::TESTS, true),
        ("flood", flood::TESTS, true),
        ("gate_tls", gate_tls::TESTS, true),
        ("gate_http", gate_http::TESTS, true),
        ("gate_bytes", gate_bytes::TESTS, true),
        ("gate_many", gate_many::TESTS, true),
        ("over_limit", over_limit::TESTS, true),
        ("connection_bounds", connection_bounds::TESTS, true),
        ("refused", refused::TESTS, true),
        ("denied", denied::TESTS, true),
        ("notice", notice::TESTS, true),
        ("dns", dns::TESTS, true),
        ("dns_tunnel", dns_tunnel::TESTS, true),
        ("failing", failing::TESTS, true),
        ("layers", layers::TESTS, true),
        ("live", live::TESTS, true),
        ("log", log::TESTS, true),
        ("doctor", doctor::TESTS, true),
        ("masks", masks::TESTS, true),
        ("covers", covers::TESTS, true),
        ("git_config", git_config::TESTS, true),
        ("git_after", git_after::TESTS, true),
        ("git_covers", git_covers::TESTS, true),
        ("git_matrix", git_matrix::TESTS, true),
        ("git_tools", git_tools::TESTS, true),
        ("pull", pull::TESTS, true),
        ("edges", edges::TESTS, true),
        ("engine_access", engine_access::TESTS, true),
        ("engine_trouble", engine_trouble::TESTS, true),
        ("creations", creations::TESTS, true),
        ("host_addresses", host_addresses::TESTS, true),
        ("network_changes", network_changes::TESTS, true),
        ("host_loopback", host_loopback::TESTS, true),
        ("host_servers", host_servers::TESTS, true),
        ("runtimes", runtimes::TESTS, true),
        ("scenario", scenario::TESTS, true),
        ("secrets", secrets::TESTS, true),
        ("flow", flow::TESTS, true),
        ("own_options", own_options::TESTS, true),
        ("readme", readme::TESTS, true),
        ("save", save::TESTS, true),
        ("serve", serve::TESTS, true),
        ("serve_attacks", serve_attacks::TESTS, true),
        ("serve_clients", serve_clients::TESTS, true),
        ("serve_ends", serve_ends::TESTS, true),
        ("serve_fills", serve_fills::TESTS, true),
        ("serve_manager", serve_manager::TESTS, true),
        ("serve_places", serve_places::TESTS, true),
        ("serve_starts", serve_starts::TESTS, true),
        ("serve_variants", serve_variants::TESTS, true),
        ("services", services::TESTS, true),
        ("showing", showing::TESTS, true),
        ("token", token::TESTS, true),
        ("identity", identity::TESTS, true),
        ("image_words", image_words::TESTS, true),
        ("helper_image", helper_image::TESTS, true),
        ("limits", limits::TESTS, true),
        ("disk", disk::TESTS, true),
        ("keep", keep::TESTS, true),
        ("home", home::TESTS, true),
        ("detached", detached::TESTS, true),
        ("ways", ways::TESTS, true),
        ("neighbours", neighbours::TESTS, true),
        ("forward", forward::TESTS, true),
        ("ssh_agent", ssh_agent::TESTS, true),
        ("surface", surface::TESTS, true),
        ("mounts", mounts::TESTS, true),
        ("telling", telling::TESTS, true),
        ("worktree", worktree::TESTS, true),
        ("mtu", mtu::TESTS, true),
        ("named_files", named_files::TESTS, true),
        ("leftovers", leftovers::TESTS, true),
        ("hostile_labels", hostile_labels::TESTS, true),
    ]
}

/// The test of this name, and whether the canaries must hear nothing.
fn find(name: &str) -> Option<(Test, bool)> {
    modules().into_iter().find_map(|(module, tests, quiet)| {
        let rest = name.strip_prefix(module)?.strip_prefix("::")?;
        Some((*tests.iter().find(|(name, _)| *name == rest)?, quiet))
    })
}

fn main() -> ExitCode {
    let done = match std::env::var(workers::NUMBER) {
        Ok(number) => number.parse().context("no number").and_then(workers::work).map(|()| ExitCode::SUCCESS),
        Err(_) => all(),
    };
    done.unwrap_or_else(|error| {
        eprintln!("testbed: {error:#}");
        ExitCode::FAILURE
    })
}

/// Runs what the command line asks for.
fn all() -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    let mut modules = modules();
    let place = |module: &str| match module {
        _ if ALONE.contains(&module) => 0,
        _ if LONGEST.contains(&module) => 1,
        _ => 2,
    };
    modules.sort_by_key(|(module, ..)| place(module));
    let names = modules.iter().flat_map(|(module, tests, _)| {
        tests.iter().map(move |(name, _)| (format!("{module}::{name}"), place(module) == 0))
    });
    if arguments.list {
        let trials = names.map(|(name, _)| Trial::test(name, || Ok(()))).collect();
        return Ok(libtest_mimic::run(&arguments, trials).exit_code());
    }

    let (site, materials) = Site::claim(Beside::Tests, &|text| eprintln!("testbed: {text}"))?;
    let most = match std::env::var(TESTBEDS) {
        Ok(number) => number.parse().with_context(|| format!("{TESTBEDS}={number} is no number"))?,
        Err(_) if materials.are_for_many() => USUAL,
        Err(_) => 1,
    };
    let workers = Arc::new(Workers::new(most));
    let trials: Vec<Trial> = names
        .map(|(name, alone)| {
            let (workers, test) = (workers.clone(), name.clone());
            Trial::ignorable_test(name, move || match workers.run(&test, alone) {
                Verdict::Passed => Ok(Completion::Completed),
                Verdict::Skipped(why) => Ok(Completion::ignored_with(why)),
                Verdict::Failed(why) => Err(why.into()),
            })
        })
        .collect();
    let chosen = trials.iter().filter(|trial| !arguments.is_filtered_out(trial)).count();
    arguments.test_threads = Some(chosen.div_ceil(WORTH_A_TESTBED).clamp(1, usize::try_from(most)?));
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Every trial has ended, and with it its share.
    let ended = Arc::into_inner(workers).context("a test still holds the workers").and_then(Workers::end);
    let left = site.leave();
    ended.and(left)?;
    Ok(conclusion.exit_code())
}

/// Runs a test; then the canaries have their say.
fn judge(bed: &Testbed, (_, test): Test, quiet: bool) -> Verdict {
    bed.canaries.take();
    let verdict = match test(bed) {
        Ok(()) => Verdict::Passed,
        Err(error) => match error.downcast_ref::<Skipped>() {
            Some(skipped) => Verdict::Skipped(skipped.0.clone()),
            None => Verdict::Failed(format!("{error:#}")),
        },
    };
    if matches!(verdict, Verdict::Failed(_)) {
        end_runs(bed);
    }
    let heard = bed.canaries.take();
    if quiet && !heard.is_empty() {
        return Verdict::Failed(format!("canaries heard: {heard:#?}\nand the test itself: {verdict:?}"));
    }
    verdict
}

/// Ends the runs that a failed test left behind, so that the tests after it speak for themselves.
fn end_runs(bed: &Testbed) {
    let format = ["--format", "{{.Label \"dev.ringfence.workflow\"}}"];
    // A group of `serve` has no agent, and may have no member any more.
    let agents = ["ps", "--all", "--filter", "label=dev.ringfence.role=agent"];
    let groups = ["ps", "--all", "--filter", "label=dev.ringfence.role=fence"];
    let mut listed = bed.engine.docker(&[&agents[..], &format].concat()).unwrap_or_default();
    for workflow in bed.engine.docker(&[&groups[..], &format].concat()).unwrap_or_default().lines() {
        if !listed.lines().any(|known| known == workflow) {
            listed.push_str(&format!("{workflow}\n"));
        }
    }
    for workflow in listed.lines().filter(|line| !line.is_empty()) {
        match bed.ringfence.call(&["stop", workflow]) {
            Ok(ended) if ended.status.success() => {}
            other => eprintln!("testbed: {workflow} of a failed test is not ended: {other:?}"),
        }
    }
}

/// Why a test cannot say anything here. It counts as ignored, with its reason, and never as passed.
#[derive(Debug)]
struct Skipped(String);

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "skipped: {}", self.0)
    }
}

impl std::error::Error for Skipped {}

/// Ends a test that has nothing to say here.
fn skip(reason: &str) -> Result<()> {
    Err(Skipped(reason.to_owned()).into())
}

/// A path as a word of a command.
fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is no text", path.display()))
}

/// The agent's exit status must be this.
fn expect_status(outcome: &Outcome, status: i32) -> Result<()> {
    if outcome.status != status {
        bail!("exit status {} expected\n{}", status, outcome.shown());
    }
    Ok(())
}

/// Fails with the whole outcome unless `good`.
fn expect(good: bool, what: &str, outcome: &Outcome) -> Result<()> {
    if !good {
        bail!("not so: {what}\n{}", outcome.shown());
    }
    Ok(())
}

/// Reads what the probe printed, one value a line.
fn probed(outcome: &Outcome) -> Result<Vec<Value>> {
    let lines: Vec<Value> =
        outcome.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    if lines.is_empty() {
        bail!("the probe said nothing\n{}", outcome.shown());
    }
    Ok(lines)
}

/// The attempts as one argument list for `probe`.
fn attempts(list: &[&str]) -> Vec<String> {
    let mut words = vec!["probe".to_owned()];
    for (index, attempt) in list.iter().enumerate() {
        if index > 0 {
            words.push("--".to_owned());
        }
        words.extend(attempt.split(' ').map(str::to_owned));
    }
    words
}
