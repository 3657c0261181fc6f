//! End-to-end tests: the `ringfence` executable on a real engine in a testbed that it cannot get out of.
//!
//! One binary, because the testbed is expensive; one test at a time, because the canaries must know whom they
//! heard. After every test the canaries must have heard nothing, save after those of [`control`], which prove
//! that the canaries hear.

mod bad_input;
mod control;
mod covers;
mod creations;
mod denied;
mod dns;
mod dns_tunnel;
mod doctor;
mod engine_access;
mod engine_trouble;
mod failing;
mod gate_bytes;
mod gate_http;
mod gate_many;
mod gate_tls;
mod git_after;
mod git_config;
mod helper_image;
mod host_addresses;
mod hostile_labels;
mod identity;
mod layers;
mod leftovers;
mod limits;
mod live;
mod log;
mod masks;
mod mounts;
mod mtu;
mod named_files;
mod permitted;
mod proxy;
mod pull;
mod refused;
mod runtimes;
mod secrets;
mod shared_address;
mod surface;
mod telling;
mod token;
mod upstream;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, bail};
use integration::cargo::Beside;
use integration::ringfence::Outcome;
use integration::testbed::Testbed;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::Value;

/// A test: it gets the testbed and fails by an error.
type Test = (&'static str, fn(&Testbed) -> Result<()>);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let modules: Vec<(&str, &[Test], bool)> = vec![
        ("control", control::TESTS, false),
        ("bad_input", bad_input::TESTS, true),
        ("permitted", permitted::TESTS, true),
        ("shared_address", shared_address::TESTS, true),
        ("upstream", upstream::TESTS, true),
        ("proxy", proxy::TESTS, true),
        ("gate_tls", gate_tls::TESTS, true),
        ("gate_http", gate_http::TESTS, true),
        ("gate_bytes", gate_bytes::TESTS, true),
        ("gate_many", gate_many::TESTS, true),
        ("refused", refused::TESTS, true),
        ("denied", denied::TESTS, true),
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
        ("pull", pull::TESTS, true),
        ("engine_access", engine_access::TESTS, true),
        ("engine_trouble", engine_trouble::TESTS, true),
        ("creations", creations::TESTS, true),
        ("host_addresses", host_addresses::TESTS, true),
        ("runtimes", runtimes::TESTS, true),
        ("secrets", secrets::TESTS, true),
        ("token", token::TESTS, true),
        ("identity", identity::TESTS, true),
        ("helper_image", helper_image::TESTS, true),
        ("limits", limits::TESTS, true),
        ("surface", surface::TESTS, true),
        ("mounts", mounts::TESTS, true),
        ("telling", telling::TESTS, true),
        ("mtu", mtu::TESTS, true),
        ("named_files", named_files::TESTS, true),
        ("leftovers", leftovers::TESTS, true),
        ("hostile_labels", hostile_labels::TESTS, true),
    ];
    if arguments.list {
        let nothing = || Ok::<(), Failed>(());
        let trials = modules
            .iter()
            .flat_map(|(module, tests, _)| tests.iter().map(move |(name, _)| format!("{module}::{name}")))
            .map(|name| Trial::test(name, nothing))
            .collect();
        return libtest_mimic::run(&arguments, trials).exit_code();
    }

    let bed = match Testbed::up(Beside::Tests, &|text| eprintln!("testbed: {text}")) {
        Ok(bed) => Arc::new(bed),
        Err(error) => {
            eprintln!("testbed: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let mut trials = Vec::new();
    for (module, tests, quiet) in modules {
        for (name, test) in tests {
            let bed = bed.clone();
            let judged = move || judge(&bed, *test, quiet);
            trials.push(Trial::ignorable_test(format!("{module}::{name}"), judged));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Every trial has ended, and with it its share.
    let left = Arc::into_inner(bed).map_or_else(|| bail!("a test still holds the testbed"), Testbed::down);
    if let Err(error) = left {
        eprintln!("testbed: {error:#}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

/// Runs a test; then the canaries have their say.
fn judge(bed: &Testbed, test: fn(&Testbed) -> Result<()>, quiet: bool) -> Result<Completion, Failed> {
    bed.canaries.take();
    let result = match test(bed) {
        Ok(()) => Ok(Completion::Completed),
        Err(error) => match error.downcast_ref::<Skipped>() {
            Some(skipped) => Ok(Completion::ignored_with(&skipped.0)),
            None => Err(format!("{error:#}")),
        },
    };
    let heard = bed.canaries.take();
    if quiet && !heard.is_empty() {
        return Err(format!("canaries heard: {heard:#?}\nand the test itself: {:?}", result.err()).into());
    }
    result.map_err(Failed::from)
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

/// What the probe printed, one value a line.
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
