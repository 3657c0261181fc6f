//! `ringfence ps --watch` on a terminal: a refusal is seen, a key permits the name, and no key
//! gets beyond a ceiling.

use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::command::{until, wait};
use integration::testbed::Testbed;
use nix::pty::Winsize;
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;
use serde_json::Value;

use crate::Test;

pub(crate) const TESTS: &[Test] =
    &[("a refusal is seen, and a key permits the name within the ceiling", watched)];

const SOON: Duration = Duration::from_secs(60);
/// Begins a drawing of everything, after Ctrl-L.
const CLEAR: &str = "\u{1b}[2J";
const REDRAW: &[u8] = b"\x0c";
const OTHER_SCREEN: &str = "\u{1b}[?1049h";
const OWN_SCREEN: &str = "\u{1b}[?1049l";

/// A view on a terminal of its own.
struct View {
    child: Child,
    terminal: File,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl View {
    fn begin(bed: &Testbed) -> Result<View> {
        let size = Winsize { ws_row: 30, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = nix::pty::openpty(Some(&size), None)?;
        let mut command = bed.ringfence.command();
        command.args(["ps", "--watch"]).env("TERM", "xterm");
        command.stdin(Stdio::from(pty.slave.try_clone()?)).stdout(Stdio::from(pty.slave.try_clone()?));
        let child = command.stderr(Stdio::from(pty.slave)).spawn()?;
        drop(command);
        let terminal = File::from(pty.master);
        let (mut output, shown) = (terminal.try_clone()?, Arc::new(Mutex::new(Vec::new())));
        let sink = shown.clone();
        thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut part) {
                if let Ok(mut shown) = sink.lock() {
                    shown.extend_from_slice(part.get(..length).unwrap_or_default());
                }
            }
        });
        Ok(View { child, terminal, shown })
    }

    /// Returns everything that was written.
    fn written(&self) -> String {
        self.shown.lock().map(|shown| String::from_utf8_lossy(&shown).into_owned()).unwrap_or_default()
    }

    /// Returns the words of the latest drawing of everything.
    fn words(&self) -> String {
        let written = self.written();
        let latest = written.rsplit(CLEAR).next().unwrap_or_default();
        let mut text = String::new();
        let mut letters = latest.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\u{1b}' => {
                    // CSI, its numbers, and the letter that ends it.
                    letters.by_ref().skip(1).find(char::is_ascii_alphabetic);
                    text.push(' ');
                }
                letter => text.push(letter),
            }
        }
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn press(&self, keys: &[u8]) -> Result<()> {
        Ok((&self.terminal).write_all(keys)?)
    }

    /// Waits until words are on the screen.
    fn until_shown(&self, words: &str) -> Result<()> {
        let looks = Cell::new(0u32);
        let is_shown = || {
            // A drawing needs its time before the next one is asked for.
            if looks.replace(looks.get() + 1).is_multiple_of(10) {
                self.press(REDRAW).ok();
            }
            self.words().contains(words)
        };
        until(words, SOON, is_shown).with_context(|| format!("{:?}", self.words()))
    }

    /// Waits for the end. The terminal must be as it was before.
    fn end(mut self) -> Result<ExitStatus> {
        let status = wait(&mut self.child, SOON)?.context("it ends")?;
        until("the own screen", SOON, || self.written().contains(OWN_SCREEN))?;
        let is_last = |written: &str| written.rfind(OWN_SCREEN) > written.rfind(OTHER_SCREEN);
        ensure!(is_last(&self.written()), "another screen stays: {:?}", self.written());
        let lines = LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG;
        ensure!(tcgetattr(&self.terminal)?.local_flags.contains(lines), "the terminal stays raw");
        Ok(status)
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn watched(bed: &Testbed) -> Result<()> {
    let script =
        "while :; do curl -sS -m 3 -o /dev/null https://b.test/seen 2>/dev/null; echo rc $?; sleep 0.2; done";
    let policy = bed.ringfence.policy("  allow: [a.test]\n  ceiling: [.test]")?;
    let run = bed.ringfence.start(&policy, &["--quiet"], &bed.images.agent, &["sh", "-c", script])?;
    let name = run.name.clone();
    let has_line = |mark: usize, wanted: &str| run.lines().iter().skip(mark).any(|line| line == wanted);
    let view = View::begin(bed)?;
    view.until_shown("b.test not-allowed")?;
    view.until_shown("to permit it: - b.test")?;

    // The rule is shown before it is given, and nothing was permitted until then.
    view.press(b"p")?;
    view.until_shown("Host to permit")?;
    view.press(b"\r")?;
    view.until_shown("- b.test:443")?;
    let reached = || bed.web.log().iter().filter(|one| one.host == "b.test").count();
    let before = reached();
    let mark = run.lines().len();
    until("one more attempt", SOON, || has_line(mark, "rc 6"))?;
    ensure!(!has_line(0, "rc 0") && reached() == before, "reached before it was permitted");
    view.press(b"y")?;
    view.until_shown("allowed b.test:443")?;
    until("the agent reaches it", SOON, || has_line(mark, "rc 0"))?;
    ensure!(reached() > before, "the server saw no request");

    // A name outside the ceiling is refused, with the reason.
    view.press(b"x")?;
    view.until_shown("arrows move")?;
    view.press(b"p")?;
    view.until_shown("Host to permit")?;
    view.press(&[0x7f; 40])?;
    view.press(b"b.example\r")?;
    view.until_shown("- b.example:443")?;
    view.press(b"y")?;
    view.until_shown("outside-ceiling")?;
    let state = bed.ringfence.call(&["net", &name, "--json"])?;
    let state: Value = serde_json::from_str(&state.stdout)?;
    ensure!(state["allowed"] == serde_json::json!(["b.test:443"]), "{state}");

    // A signal gives the terminal back; so does the key.
    let other = View::begin(bed)?;
    other.until_shown("refusals of")?;
    kill(Pid::from_raw(i32::try_from(other.child.id())?), Signal::SIGTERM)?;
    let status = other.end()?;
    ensure!(status.code() == Some(143), "{status} {:?}", status.signal());
    view.press(b"x")?;
    view.until_shown("arrows move")?;
    view.press(b"s")?;
    view.until_shown("y: stop")?;
    view.press(b"y")?;
    view.until_shown("is stopped")?;
    view.press(b"x")?;
    view.until_shown("arrows move")?;
    view.press(b"q")?;
    ensure!(view.end()?.success(), "q ends it with 0");
    run.finish(SOON)?;

    let blind = bed.ringfence.call(&["ps", "--watch"])?;
    ensure!(
        blind.status.code() == Some(125) && blind.stderr.contains("ringfence events ID --follow"),
        "{} {}",
        blind.status,
        blind.stderr
    );
    Ok(())
}
