//! The executable under test, run as a person would run it.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::cargo::{Beside, build};
use crate::command::{Output, bounded, until, wait};
use crate::testbed::{dns, gitlab, proxy};

/// Names the executable; else it is built.
pub const VARIABLE: &str = "RINGFENCE_BIN";
/// No run of a test takes longer.
const LIMIT: Duration = Duration::from_secs(120);

/// The executable and where it finds its world.
#[derive(Debug)]
pub struct Ringfence {
    executable: PathBuf,
    engine: String,
    directory: PathBuf,
    authorities: PathBuf,
    runs: AtomicU32,
}

/// Variables that hold credentials for a proxy: the right ones, and wrong ones.
pub const CREDENTIALS: (&str, &str) = ("TESTBED_PROXY", "TESTBED_PROXY_WRONG");

/// A run that ended.
#[derive(Debug)]
pub struct Outcome {
    /// Exit status; 128+N when a signal ended ringfence itself.
    pub status: i32,
    /// The agent's standard output.
    pub stdout: String,
    /// The agent's standard error and ringfence's talk.
    pub stderr: String,
    /// The decision log.
    pub events: Vec<Value>,
    /// The path of the decision log.
    pub events_file: PathBuf,
    /// The time that it took.
    pub took: Duration,
}

impl Outcome {
    /// The first event that has all of these fields with these values.
    #[must_use]
    pub fn event(&self, fields: &[(&str, &str)]) -> Option<&Value> {
        self.events.iter().find(|event| {
            fields.iter().all(|(key, value)| match &event[*key] {
                Value::String(text) => text == value,
                Value::Number(number) => number.to_string().as_str() == *value,
                _ => false,
            })
        })
    }

    /// Tells whether there is such an event.
    #[must_use]
    pub fn has_event(&self, fields: &[(&str, &str)]) -> bool {
        self.event(fields).is_some()
    }

    /// The run as a failed test should show it.
    #[must_use]
    pub fn shown(&self) -> String {
        let events: Vec<String> = self.events.iter().map(ToString::to_string).collect();
        format!(
            "exit {}\nstdout: {}\nstderr: {}\nevents:\n{}",
            self.status,
            self.stdout.trim(),
            self.stderr.trim(),
            events.join("\n")
        )
    }
}

/// A run that goes on.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// The workflow's `--name`.
    pub name: String,
    lines: Arc<Mutex<Vec<String>>>,
    complaints: Arc<Mutex<Vec<String>>>,
    events_file: PathBuf,
    began: Instant,
}

impl Running {
    /// Returns the lines that the agent printed so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().map(|lines| lines.clone()).unwrap_or_default()
    }

    /// Waits until the agent printed a line that starts so.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_for_line(&mut self, start: &str, limit: Duration) -> Result<()> {
        let lines = self.lines.clone();
        let found = until(&format!("the agent prints `{start}`"), limit, || {
            lines.lock().is_ok_and(|lines| lines.iter().any(|line| line.starts_with(start)))
        });
        found.with_context(|| {
            let complaints = self.complaints.lock().map(|lines| lines.join("\n")).unwrap_or_default();
            format!("stdout: {:?}\nstderr: {complaints}", self.lines())
        })
    }

    /// Waits until ringfence complained in a line that starts so.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_for_complaint(&mut self, start: &str, limit: Duration) -> Result<()> {
        let lines = self.complaints.clone();
        let found = until(&format!("ringfence says `{start}`"), limit, || {
            lines.lock().is_ok_and(|lines| lines.iter().any(|line| line.starts_with(start)))
        });
        found.with_context(|| format!("{:?}", self.complaints.lock().map(|lines| lines.join("\n"))))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end in time; it is killed then.
    pub fn finish(mut self, limit: Duration) -> Result<Outcome> {
        let Some(status) = wait(&mut self.child, limit)? else {
            bail!("ringfence did not end within {} s", limit.as_secs());
        };
        thread::sleep(Duration::from_millis(50));
        let joined =
            |lines: &Mutex<Vec<String>>| lines.lock().map(|lines| lines.join("\n")).unwrap_or_default();
        Ok(Outcome {
            status: code(status),
            stdout: joined(&self.lines),
            stderr: joined(&self.complaints),
            events: read_events(&self.events_file),
            events_file: self.events_file.clone(),
            took: self.began.elapsed(),
        })
    }

    /// Sends ringfence a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Ringfence {
    /// The executable named by the environment, else a fresh build.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn find(beside: Beside) -> Result<PathBuf> {
        match std::env::var_os(VARIABLE) {
            Some(path) if Path::new(&path).is_file() => Ok(path.into()),
            Some(path) => bail!("{VARIABLE}={} is no file", path.display()),
            None => build("ringfence", "ringfence", beside),
        }
    }

    /// One with own configuration and state directories below `directory`.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn new(executable: PathBuf, engine: String, directory: &Path, authorities: PathBuf) -> Result<Self> {
        let directory = directory.join("ringfence");
        for below in ["config", "state", "home", "runs"] {
            fs::create_dir_all(directory.join(below))?;
        }
        Ok(Self { executable, engine, directory, authorities, runs: AtomicU32::new(0) })
    }

    /// The program itself.
    #[must_use]
    pub fn executable(&self) -> &Path {
        &self.executable
    }

    /// `ringfence ARGUMENTS` with the testbed's environment.
    #[must_use]
    pub fn command(&self) -> Command {
        self.at_home(Command::new(&self.executable))
    }

    /// Returns `PROGRAM BEFORE… ringfence` with the testbed's environment. The program changes what
    /// ringfence finds around it. The caller adds ringfence's own arguments.
    #[must_use]
    pub fn behind<S: AsRef<OsStr>>(&self, program: &str, before: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(program);
        command.args(before).arg(&self.executable);
        self.at_home(command)
    }

    fn at_home(&self, mut command: Command) -> Command {
        command
            .current_dir(self.directory.join("home"))
            .env("DOCKER_HOST", &self.engine)
            .env("HOME", self.directory.join("home"))
            .env("XDG_CONFIG_HOME", self.directory.join("config"))
            .env("XDG_STATE_HOME", self.directory.join("state"))
            .env("SSL_CERT_FILE", &self.authorities)
            .env_remove("SSL_CERT_DIR")
            .env_remove("NODE_EXTRA_CA_CERTS")
            .env(CREDENTIALS.0, proxy::CREDENTIALS)
            .env(CREDENTIALS.1, "agent:wr0ng")
            .env("GITLAB_TOKEN", gitlab::TOKEN)
            .env("OPENAI_API_KEY", "of-the-testbed")
            .env_remove("DOCKER_CONTEXT");
        for variable in ["http_proxy", "https_proxy", "no_proxy", "all_proxy"] {
            command.env_remove(variable).env_remove(variable.to_uppercase());
        }
        command
    }

    /// Returns the directory in which it keeps its state.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.directory.join("state/ringfence")
    }

    /// Returns the directory in which it looks for its configuration.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.directory.join("config/ringfence")
    }

    /// Runs any of its commands.
    ///
    /// # Errors
    /// When it cannot be started or hangs.
    pub fn call(&self, arguments: &[&str]) -> Result<Output> {
        bounded(self.command().args(arguments), b"", LIMIT)
    }

    /// Writes a policy that asks the testbed's name server; `rules` is the text below `network:`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn policy(&self, rules: &str) -> Result<PathBuf> {
        let text = format!("version: 1\nnetwork:\n{rules}\n  dns:\n    upstreams: [\"{}\"]\n", dns::ADDRESS);
        self.policy_file(&text)
    }

    /// Writes a policy as it stands.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn policy_file(&self, text: &str) -> Result<PathBuf> {
        let path = self.new_run()?.join("policy.yml");
        fs::write(&path, text)?;
        Ok(path)
    }

    /// A policy that allows these, and nothing else.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn allowing(&self, hosts: &[&str]) -> Result<PathBuf> {
        let rule = |host: &&str| match host.strip_suffix("/tcp").and_then(|host| host.split_once(':')) {
            Some((host, port)) => format!("\n    - {{host: {host}, ports: [{port}], protocol: tcp}}"),
            None => format!("\n    - \"{host}\""),
        };
        let rules: String = hosts.iter().map(rule).collect();
        self.policy(&format!("  allow:{}", if rules.is_empty() { " []" } else { &rules }))
    }

    /// Adds the largest bounds of connections that a share may have to a policy that sets none: a
    /// machine with a small table, or with many runs, would give less.
    ///
    /// # Errors
    /// When the policy cannot be read or written.
    pub fn with_most_connections(&self, policy: PathBuf) -> Result<PathBuf> {
        let bounds = "container: {connections: 10000, connections-per-second: 400}\n";
        fs::write(&policy, fs::read_to_string(&policy)? + bounds)?;
        Ok(policy)
    }

    /// `ringfence run --policy POLICY OPTIONS IMAGE COMMAND`, to its end.
    ///
    /// # Errors
    /// When ringfence cannot be started or hangs.
    pub fn run(&self, policy: &Path, options: &[&str], image: &str, agent: &[&str]) -> Result<Outcome> {
        self.run_with_input(policy, options, image, agent, b"")
    }

    /// Does what [`Self::run`] does, with `input` on the standard input.
    ///
    /// # Errors
    /// When ringfence cannot be started or hangs.
    pub fn run_with_input(
        &self,
        policy: &Path,
        options: &[&str],
        image: &str,
        agent: &[&str],
        input: &[u8],
    ) -> Result<Outcome> {
        let (mut command, events_file) = self.run_command(self.command(), policy, options, image, agent)?;
        let output = bounded(&mut command, input, LIMIT)?;
        Ok(Outcome {
            status: code(output.status),
            stdout: output.stdout,
            stderr: output.stderr,
            events: read_events(&events_file),
            events_file,
            took: output.took,
        })
    }

    /// Starts what [`Self::run`] runs, and returns while it goes on.
    ///
    /// # Errors
    /// When ringfence cannot be started.
    pub fn start(&self, policy: &Path, options: &[&str], image: &str, agent: &[&str]) -> Result<Running> {
        self.start_by(self.command(), policy, options, image, agent)
    }

    /// Starts a run by a command of [`Self::behind`], and returns while it goes on. The program
    /// before ringfence must replace itself by it.
    ///
    /// # Errors
    /// When the command cannot be started.
    pub fn start_by(
        &self,
        command: Command,
        policy: &Path,
        options: &[&str],
        image: &str,
        agent: &[&str],
    ) -> Result<Running> {
        let name = format!("t{}-{}", std::process::id(), self.runs.fetch_add(1, Ordering::Relaxed));
        let options = [&["--name", &name], options].concat();
        let (mut command, events_file) = self.run_command(command, policy, &options, image, agent)?;
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let lines = follow(child.stdout.take());
        let complaints = follow(child.stderr.take());
        Ok(Running { child, name, lines, complaints, events_file, began: Instant::now() })
    }

    fn run_command(
        &self,
        mut command: Command,
        policy: &Path,
        options: &[&str],
        image: &str,
        agent: &[&str],
    ) -> Result<(Command, PathBuf)> {
        let events_file = self.new_run()?.join("events.jsonl");
        command
            .arg("run")
            .args([OsStr::new("--policy"), policy.as_os_str()])
            .args([OsStr::new("--events"), events_file.as_os_str()])
            .args(options)
            .arg(image)
            .args(agent);
        Ok((command, events_file))
    }

    fn new_run(&self) -> Result<PathBuf> {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let directory = self.directory.join("runs").join(number.to_string());
        fs::create_dir_all(&directory)?;
        Ok(directory)
    }
}

/// Collects the lines of a pipe as they come.
pub fn follow(pipe: Option<impl std::io::Read + Send + 'static>) -> Arc<Mutex<Vec<String>>> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = lines.clone();
    thread::spawn(move || {
        let Some(pipe) = pipe else { return };
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if let Ok(mut lines) = sink.lock() {
                lines.push(line);
            }
        }
    });
    lines
}

fn read_events(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}
