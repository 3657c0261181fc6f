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

use anyhow::{Context, Result};
use integration::cargo::Beside;
use integration::performance::Row;
use integration::ringfence::Ringfence;
use integration::testbed::engine::{self, Choice, Engine};
use integration::testbed::{images, setup};

use crate::rows::{Better, Series, aimed, at_most, beside, growth, ratio, row, single};
use crate::timed::timed;
use crate::{BEFORE, Bench};

/// Sets the number of rounds.
const PAIRS: &str = "RINGFENCE_PAIRS";
/// Rounds of a run without a project.
const ROUNDS: usize = 20;
/// Files of the projects.
const FILES: [usize; 5] = [10, 1_000, 20_000, PROMISED, 1_000_000];
/// Files of a project that starts within two seconds of an empty one.
const PROMISED: usize = 300_000;
/// From this number on what grows is more than what differs from run to run.
const LARGE: usize = 20_000;
/// Files of a project that lie in one folder.
const IN_A_FOLDER: usize = 100;
/// A run with a project is measured in this share of the rounds.
const FEWER: usize = 4;
/// The run that ringfence is measured beside.
const PLAIN: &str = "docker run";
/// The aim: so many times the time of `docker run`.
const AIM: f64 = 2.0;

/// The engine, the image, and all that run it.
pub(crate) struct World {
    engine: Engine,
    image: String,
    runners: Vec<(&'static str, Ringfence)>,
    directory: tempfile::TempDir,
}

/// One run: its time by the clock in milliseconds, and that of each phase.
pub(crate) struct Run {
    pub(crate) whole: f64,
    phases: Vec<(String, f64)>,
}

/// Measures runs without a project, then with projects of several sizes.
///
/// # Errors
/// When no engine comes up, or a run fails.
pub(crate) fn measure(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let say = bench.say;
    let rounds = match std::env::var(PAIRS) {
        Ok(text) => text.parse().with_context(|| format!("{PAIRS}={text} is no number"))?,
        Err(_) if bench.quick => 5,
        Err(_) => ROUNDS,
    };
    let world = World::make(say)?;
    let mut rows = world.table(say, rounds, None)?;
    let without = own(&rows);
    let mut curve = Vec::new();
    for files in FILES.into_iter().filter(|files| !bench.quick || *files <= PROMISED) {
        say(&format!("a project of {files} files"));
        let project = world.project(files)?;
        let table = world.table(say, (rounds / FEWER).max(1), Some((files, &project)))?;
        let more = own(&table) - without;
        if files >= LARGE {
            curve.push((files as f64, more));
        }
        rows.extend(table);
        if files == PROMISED {
            let row = single("a run with 300,000 files, beyond one without", "s", more / 1e3)?;
            rows.push(aimed(row, "start-files", |row| at_most(row, 2.0)));
        }
        fs::remove_dir_all(project)?;
    }
    for sizes in curve.windows(2) {
        rows.push(growth("a run by the files of its project", sizes)?);
    }
    Ok(rows)
}

/// Returns the median of a table's first row.
fn own(rows: &[Row]) -> f64 {
    rows.first().and_then(Row::own).map_or(f64::NAN, |own| own.median)
}

impl World {
    /// Finds or starts an engine, and loads the image.
    ///
    /// # Errors
    /// When no engine comes up.
    pub(crate) fn make(say: &dyn Fn(&str)) -> Result<World> {
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
        self.rows(&what, &own, &plain, project.is_none())
    }

    /// Returns the build that is measured.
    pub(crate) fn own(&self) -> Result<&Ringfence> {
        self.runners.first().map(|(_, ringfence)| ringfence).context("there is no build")
    }

    /// Returns the image.
    pub(crate) fn image(&self) -> &str {
        &self.image
    }

    /// Writes a policy once, and returns its path.
    pub(crate) fn policy(&self, ringfence: &Ringfence) -> Result<PathBuf> {
        let policy = ringfence.state().with_file_name("policy.yml");
        if !policy.exists() {
            fs::write(&policy, "version: 1\nnetwork:\n  allow: [a.example]\n")?;
        }
        Ok(policy)
    }

    /// Runs `true`.
    pub(crate) fn by_ringfence(&self, ringfence: &Ringfence, project: Option<&Path>) -> Result<Run> {
        let mut command = ringfence.command();
        command.args(["run", "--timings", "--policy"]).arg(self.policy(ringfence)?);
        if let Some(project) = project {
            command.arg("--project").arg(project);
        }
        let (whole, said) = timed(command.args([self.image.as_str(), "true"]))?;
        Ok(Run { whole, phases: phases(&said) })
    }

    /// Runs `true` without ringfence; the time in milliseconds.
    pub(crate) fn plain(&self, project: Option<&Path>) -> Result<f64> {
        let mut command = Command::new("docker");
        command.args(["-H", self.engine.host(), "run", "--rm"]);
        if let Some(project) = project {
            command.args(["--workdir", "/workspace", "--volume"]);
            command.arg(format!("{}:/workspace", project.display()));
        }
        timed(command.args([self.image.as_str(), "true"])).map(|(took, _)| took)
    }

    /// The rows of one table: the whole, and the phases.
    fn rows(&self, what: &str, own: &[Vec<Run>], plain: &[f64], has_target: bool) -> Result<Vec<Row>> {
        let of =
            |runs: &[Run], of: &dyn Fn(&Run) -> Option<f64>| runs.iter().filter_map(of).collect::<Vec<f64>>();
        let all = |figure: &dyn Fn(&Run) -> Option<f64>| -> Vec<Series> {
            let all =
                self.runners.iter().zip(own).map(|((name, _), runs)| ((*name).to_owned(), of(runs, figure)));
            all.filter(|(_, figures)| !figures.is_empty()).collect()
        };
        let mut wholes = all(&|run| Some(run.whole));
        wholes.push((PLAIN.to_owned(), plain.to_vec()));
        let whole = beside(what, "ms", &wholes, &[PLAIN], Better::Less)?;
        let is_met = |row: &Row| ratio(row, |ratio| ratio <= AIM);
        let mut rows = vec![if has_target { aimed(whole, "start", is_met) } else { whole }];
        let names = own.first().and_then(|runs| runs.first()).map(|run| &run.phases).into_iter().flatten();
        for (name, _) in names {
            rows.push(row(&format!("{what}: {name}"), "ms", &all(&|run| run.phase(name)))?);
        }
        Ok(rows)
    }
}

impl Run {
    fn phase(&self, name: &str) -> Option<f64> {
        self.phases.iter().find(|(known, _)| known == name).map(|(_, took)| *took)
    }
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
