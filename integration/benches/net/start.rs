//! A whole run of `true` beside `docker run --rm` of the same image, in turn, on one engine.
//!
//! ```text
//!  ringfence, (another build,) docker run, ringfence, … ─▶ by the clock: median, quartiles, ratio
//!       └─ --timings ─▶ each phase
//! ```
//! `RINGFENCE_BEFORE=PATH` measures another build of ringfence in the same rounds, and
//! `RINGFENCE_PAIRS` sets their number. Without an engine that answers, a private one is started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::cargo::Beside;
use integration::ringfence::Ringfence;
use integration::testbed::engine::{self, Choice, Engine};
use integration::testbed::{images, setup};

use crate::{BEFORE, Row, median, quantile};

/// Sets the number of rounds.
const PAIRS: &str = "RINGFENCE_PAIRS";
/// Rounds of a run without a project.
const ROUNDS: usize = 20;
/// Files of the projects.
const FILES: [usize; 5] = [10, 1_000, 20_000, 200_000, 1_000_000];
/// From this number on what grows is more than what differs from run to run.
const LARGE: usize = 20_000;
/// Files of a project that lie in one folder.
const IN_A_FOLDER: usize = 100;
/// A run with a project is measured in this share of the rounds.
const FEWER: usize = 4;
/// No run takes longer.
const LIMIT: Duration = Duration::from_secs(120);
/// The aim: so many times the time of `docker run`.
const AIM: f64 = 2.0;

/// The engine, the image, and all that run it.
struct World {
    engine: Engine,
    image: String,
    runners: Vec<(&'static str, Ringfence)>,
    directory: tempfile::TempDir,
}

/// One run: its time by the clock in milliseconds, and that of each phase.
struct Run {
    whole: f64,
    phases: Vec<(String, f64)>,
}

/// Measures runs without a project, then with projects of several sizes.
///
/// # Errors
/// When no engine comes up, or a run fails.
pub(crate) fn measure(say: &dyn Fn(&str)) -> Result<Vec<Row>> {
    let rounds = match std::env::var(PAIRS) {
        Ok(text) => text.parse().with_context(|| format!("{PAIRS}={text} is no number"))?,
        Err(_) => ROUNDS,
    };
    let world = World::make(say)?;
    let mut rows = world.table(say, rounds, None)?;
    let without = rows.first().map_or(f64::NAN, |row| row.own);
    let mut curve = Vec::new();
    for files in FILES {
        say(&format!("a project of {files} files"));
        let project = world.project(files)?;
        let table = world.table(say, (rounds / FEWER).max(1), Some((files, &project)))?;
        curve.extend(table.first().map(|row| (files as f64, row.own - without)));
        rows.extend(table);
        fs::remove_dir_all(project)?;
    }
    rows.extend(curve.windows(2).filter_map(exponent));
    Ok(rows)
}

/// Computes the exponent by which the time that a project adds grows from one size to the next: 1
/// where it grows as the files do. Returns nothing for small projects.
fn exponent(sizes: &[(f64, f64)]) -> Option<Row> {
    let &[(fewer, before), (more, after)] = sizes else { return None };
    let what = format!("  growth from {fewer} to {more} files, exponent");
    let own = (after / before).ln() / (more / fewer).ln();
    (fewer >= LARGE as f64).then(|| Row { what, own, others: Vec::new(), target: None })
}

impl World {
    fn make(say: &dyn Fn(&str)) -> Result<World> {
        setup::base(say)?;
        setup::programs(setup::ENGINE, say)?;
        setup::programs(setup::TINY, say)?;
        say("building ringfence");
        let executable = Ringfence::find(Beside::Nothing)?;
        let busybox = setup::find("busybox").context("no busybox")?;
        let cache = setup::target_directory()?.join("testbed/bench");
        fs::create_dir_all(&cache)?;
        let engine = match engine::choose()? {
            Choice::At(host) => Engine::at(host),
            Choice::Private(variant) => {
                engine::isolate()?;
                say("starting a private engine");
                Engine::start(variant, &cache, 0, None)?
            }
        };
        say(&engine.versions()?);
        let image = images::tiny(&engine, &busybox)?;
        let directory = tempfile::tempdir()?;
        let store = directory.path().join("authorities.pem");
        fs::write(&store, "")?;
        let before = std::env::var_os(BEFORE).map(|path| ("before", PathBuf::from(path)));
        let runners = [("ringfence", executable)].into_iter().chain(before).map(|(name, executable)| {
            let place = directory.path().join(name);
            Ok((name, Ringfence::new(executable, engine.host().to_owned(), &place, store.clone())?))
        });
        let runners = runners.collect::<Result<_>>()?;
        Ok(World { engine, image, runners, directory })
    }

    /// Makes a project of so many small files.
    fn project(&self, files: usize) -> Result<PathBuf> {
        let project = self.directory.path().join("project");
        for number in 0..files {
            let folder = project.join(format!("folder{}", number / IN_A_FOLDER));
            if number % IN_A_FOLDER == 0 {
                fs::create_dir_all(&folder)?;
            }
            fs::write(folder.join(format!("file{number}.txt")), "text\n")?;
        }
        Ok(project)
    }

    /// Runs all in turn; the rows.
    fn table(&self, say: &dyn Fn(&str), rounds: usize, project: Option<(usize, &Path)>) -> Result<Vec<Row>> {
        let path = project.map(|(_, path)| path);
        let mut own: Vec<Vec<Run>> = self.runners.iter().map(|_| Vec::new()).collect();
        let mut plain = Vec::new();
        // The first round warms up: it loads the helper image.
        for round in 0..=rounds {
            for ((_, ringfence), runs) in self.runners.iter().zip(&mut own) {
                let run = self.by_ringfence(ringfence, path)?;
                if round > 0 {
                    runs.push(run);
                }
            }
            let took = self.plain(path)?;
            if round > 0 {
                plain.push(took);
            }
        }
        say(&format!("{rounds} rounds"));
        let what = match project {
            None => "a run of true".to_owned(),
            Some((files, _)) => format!("a run of true in a project of {files} files"),
        };
        Ok(self.rows(&what, &own, &plain, project.is_none()))
    }

    fn by_ringfence(&self, ringfence: &Ringfence, project: Option<&Path>) -> Result<Run> {
        let policy = ringfence.state().with_file_name("policy.yml");
        if !policy.exists() {
            fs::write(&policy, "version: 1\nnetwork:\n  allow: [a.example]\n")?;
        }
        let mut command = ringfence.command();
        command.args(["run", "--timings", "--policy"]).arg(policy);
        if let Some(project) = project {
            command.arg("--project").arg(project);
        }
        let (whole, said) = timed(command.args([self.image.as_str(), "true"]))?;
        Ok(Run { whole, phases: phases(&said) })
    }

    fn plain(&self, project: Option<&Path>) -> Result<f64> {
        let mut command = Command::new("docker");
        command.args(["-H", self.engine.host(), "run", "--rm"]);
        if let Some(project) = project {
            command.args(["--workdir", "/workspace", "--volume"]);
            command.arg(format!("{}:/workspace", project.display()));
        }
        timed(command.args([self.image.as_str(), "true"])).map(|(took, _)| took)
    }

    /// The rows of one table: the whole by its median and quartiles, the ratio, and the phases.
    fn rows(&self, what: &str, own: &[Vec<Run>], plain: &[f64], has_target: bool) -> Vec<Row> {
        let wholes: Vec<Vec<f64>> =
            own.iter().map(|runs| runs.iter().map(|run| run.whole).collect()).collect();
        let figures = |of: &dyn Fn(Vec<f64>) -> f64| -> Vec<(&'static str, Option<f64>)> {
            let own = self.runners.iter().zip(&wholes).map(|((name, _), all)| (*name, Some(of(all.clone()))));
            own.chain([("docker run", Some(of(plain.to_vec())))]).collect()
        };
        let row = |what: String, mut figures: Vec<(&'static str, Option<f64>)>, target| {
            let own = figures.remove(0).1.unwrap_or(f64::NAN);
            Row { what, own, others: figures, target }
        };
        let mut rows = vec![row(format!("{what}, ms"), figures(&median), None)];
        for (words, share) in [("lower", 0.25), ("upper", 0.75)] {
            rows.push(row(format!("  {words} quartile"), figures(&|all| quantile(all, share)), None));
        }
        let ratios = |all: &Vec<f64>| median(all.iter().zip(plain).map(|(own, plain)| own / plain).collect());
        let ratios: Vec<_> =
            self.runners.iter().zip(&wholes).map(|((name, _), all)| (*name, Some(ratios(all)))).collect();
        let is_met = ratios.first().and_then(|(_, ratio)| *ratio).is_some_and(|ratio| ratio <= AIM);
        let target = has_target.then(|| (format!("≤ {AIM:.1}"), is_met));
        rows.push(row("  times docker run, median of pairs".to_owned(), ratios, target));
        let names = own.first().and_then(|runs| runs.first()).map(|run| &run.phases).into_iter().flatten();
        for (name, _) in names {
            let of = |runs: &Vec<Run>| {
                let all: Vec<f64> = runs.iter().filter_map(|run| run.phase(name)).collect();
                (!all.is_empty()).then(|| median(all))
            };
            let all = self.runners.iter().zip(own).map(|((name, _), runs)| (*name, of(runs))).collect();
            rows.push(row(format!("  {name}, ms"), all, None));
        }
        rows
    }
}

impl Run {
    fn phase(&self, name: &str) -> Option<f64> {
        self.phases.iter().find(|(known, _)| known == name).map(|(_, took)| *took)
    }
}

/// Runs a command that must succeed; its time in milliseconds, and what it said.
fn timed(command: &mut Command) -> Result<(f64, String)> {
    let began = Instant::now();
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let took = began.elapsed();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    ensure!(took < LIMIT, "{command:?} took {} s", took.as_secs());
    Ok((took.as_secs_f64() * 1e3, said))
}

/// Reads the lines of `--timings`: `ringfence:     12.3 ms  networks`.
fn phases(said: &str) -> Vec<(String, f64)> {
    let lines = said.lines().map(|line| line.strip_prefix("ringfence:").unwrap_or(line));
    let read = |line: &str| {
        let (took, name) = line.split_once(" ms  ")?;
        Some((name.to_owned(), took.trim().parse().ok()?))
    };
    lines.filter_map(read).collect()
}
