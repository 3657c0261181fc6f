//! Refusals as a person sees them during a run: in the terminal's title.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::command::{until, wait};
use integration::testbed::Testbed;

use crate::Test;

pub(crate) const TESTS: &[Test] = &[
    ("a refusal is shown in the title, and never within a sequence of the agent's", title),
    ("no title where a person wants none", no_title),
];

const SOON: Duration = Duration::from_secs(60);

/// A run on a terminal of its own.
struct OnTerminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
    events: PathBuf,
}

impl OnTerminal {
    fn start(bed: &Testbed, policy: &Path, options: &[&str], script: &str) -> Result<OnTerminal> {
        let pty = nix::pty::openpty(None, None)?;
        let events = policy.with_file_name("terminal.jsonl");
        let mut command = bed.ringfence.command();
        command.arg("run").arg("--policy").arg(policy).arg("--events").arg(&events).args(["-i", "-t"]);
        command.args(options).args([&bed.images.agent, "sh", "-c", script]).env("TERM", "xterm");
        command.stdin(Stdio::from(pty.slave.try_clone()?)).stdout(Stdio::from(pty.slave.try_clone()?));
        let child = command.stderr(Stdio::from(pty.slave)).spawn()?;
        drop(command);
        let keyboard = File::from(pty.master);
        let (mut shown, screen) = (keyboard.try_clone()?, Arc::new(Mutex::new(Vec::new())));
        let sink = screen.clone();
        thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(length @ 1..) = shown.read(&mut part) {
                if let Ok(mut screen) = sink.lock() {
                    screen.extend_from_slice(part.get(..length).unwrap_or_default());
                }
            }
        });
        Ok(OnTerminal { child, keyboard, screen, events })
    }

    fn screen(&self) -> String {
        self.screen.lock().map(|screen| String::from_utf8_lossy(&screen).into_owned()).unwrap_or_default()
    }

    fn until_shown(&self, text: &str) -> Result<()> {
        until(text, SOON, || self.screen().contains(text)).with_context(|| format!("{:?}", self.screen()))
    }

    /// Waits until a name was refused.
    fn until_refused(&self, host: &str) -> Result<()> {
        let is_it = |line: &str| line.contains(host) && line.contains("\"deny\"");
        let refused = || fs::read_to_string(&self.events).is_ok_and(|text| text.lines().any(is_it));
        until("the refusal", SOON, refused).with_context(|| format!("{:?}", self.screen()))
    }

    fn enter(&mut self) -> Result<()> {
        Ok(self.keyboard.write_all(b"\n")?)
    }

    /// Waits for the end, and for the last line of it; the screen.
    fn end(mut self) -> Result<String> {
        let status = wait(&mut self.child, SOON)?.context("it ends")?;
        self.until_shown("last digest")?;
        ensure!(status.success(), "{status}: {:?}", self.screen());
        Ok(self.screen())
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        // A test that failed: the run ends by itself when its terminal has gone.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

const ASK: &str = "curl -sS --max-time 5 https://b.test/ >/dev/null 2>&1";

fn title(bed: &Testbed) -> Result<()> {
    const TITLE: &str = "\u{1b}]2;ringfence: refused b.test (1 refused)\u{7}";
    const NOTICE: &str = "\u{1b}]9;ringfence: refused b.test (1 refused)\u{7}";
    const RESTORED: &str = "\u{1b}]2;\u{7}\u{1b}[23;2t";
    let policy = bed.ringfence.policy("  allow: [a.test]")?;
    // The agent's own title is written in two parts, and the refusal comes between them.
    let script = format!(
        "printf '\\033]2;half'; {ASK}; read x; printf ' title\\007END\\n'; read x; printf '\\033]2;open'"
    );
    let mut run = OnTerminal::start(bed, &policy, &["--notify"], &script)?;
    run.until_shown("\u{1b}]2;half")?;
    run.until_refused("b.test")?;
    run.enter()?;
    run.until_shown("END")?;
    run.until_shown(TITLE)?;
    run.until_shown(NOTICE)?;
    let screen = run.screen();
    let own =
        screen.split_once("half").and_then(|(_, rest)| rest.split_once("END")).context("its own title")?.0;
    ensure!(!own.contains("ringfence"), "within the agent's sequence: {screen:?}");
    run.enter()?;
    let screen = run.end()?;
    // The sequence that the agent left open is ended first, else it would swallow what follows.
    let (_, end) = screen.split_once("\u{1b}]2;open").context("its end")?;
    ensure!(end.starts_with("\u{1b}\\") && end.contains(RESTORED), "not as before: {screen:?}");
    let after = end.split_once(RESTORED).context("restored")?.1;
    ensure!(after.contains("ringfence: refused 1 time:"), "the account: {screen:?}");
    ensure!(after.contains(&format!("policy apply {}", id(&run_events(&policy))?)), "what to do: {screen:?}");
    Ok(())
}

fn run_events(policy: &Path) -> PathBuf {
    policy.with_file_name("terminal.jsonl")
}

/// Returns the id of the run that a log is about.
fn id(events: &Path) -> Result<String> {
    let text = fs::read_to_string(events)?;
    let line: serde_json::Value = serde_json::from_str(text.lines().next().context("a line")?)?;
    Ok(line["workflow"].as_str().context("an id")?.to_owned())
}

fn no_title(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.policy("  allow: [a.test]")?;
    let run = OnTerminal::start(bed, &policy, &["--title", "never"], &format!("{ASK}; true"))?;
    let screen = run.end()?;
    ensure!(screen.contains("refused 1 time") && !screen.contains("\u{1b}]"), "{screen:?}");
    Ok(())
}
