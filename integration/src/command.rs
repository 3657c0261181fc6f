//! Other programs, run with a bound on their time.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The result of a program that has ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its output, as text.
    pub stdout: String,
    /// Its output, as it came.
    pub bytes: Vec<u8>,
    /// Its complaints, as text.
    pub stderr: String,
    /// The time that it took.
    pub took: Duration,
}

/// Runs a command to its end, with `input` on its standard input, at most `limit` long.
///
/// # Errors
/// When it cannot be started or does not end in time (it is killed then).
pub fn bounded(command: &mut Command, input: &[u8], limit: Duration) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{name}`"))?;
    let stdin = child.stdin.take();
    let input = input.to_vec();
    thread::spawn(move || stdin.map(|mut pipe| pipe.write_all(&input)));
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let Some(status) = wait(&mut child, limit)? else {
        child.kill().ok();
        child.wait().ok();
        bail!("`{name}` did not end within {} s and was killed", limit.as_secs());
    };
    let (bytes, complaint) = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
    Ok(Output {
        status,
        took: began.elapsed(),
        stdout: String::from_utf8_lossy(&bytes).into_owned(),
        stderr: String::from_utf8_lossy(&complaint).into_owned(),
        bytes,
    })
}

/// Waits for a child, at most `limit` long; `None` when it still runs then.
///
/// # Errors
/// When the child cannot be waited for.
pub fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a program that must succeed; its trimmed standard output.
///
/// # Errors
/// When it does not, with what it said.
pub fn run(program: &str, arguments: &[&str], limit: Duration) -> Result<String> {
    let output = bounded(Command::new(program).args(arguments), b"", limit)?;
    if !output.status.success() {
        bail!("`{program} {}` failed ({}): {}", arguments.join(" "), output.status, output.stderr.trim());
    }
    Ok(output.stdout.trim().to_owned())
}

/// `ip ARGUMENTS`, the arguments separated by blanks.
///
/// # Errors
/// When it fails.
pub fn ip(arguments: &str) -> Result<String> {
    run("ip", &arguments.split_whitespace().collect::<Vec<_>>(), Duration::from_secs(10))
}

/// Polls until `condition` holds, at most `limit` long.
///
/// # Errors
/// When it never held; `what` says what was waited for.
pub fn until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !condition() {
        if Instant::now() >= deadline {
            bail!("waited {} s in vain: {what}", limit.as_secs_f32());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut bytes).ok();
        }
        bytes
    })
}
