//! A witness that a testbed leaves nothing on the machine. It is outside of the testbed's
//! namespaces, and looks before and after.
//!
//! ```text
//!  Witness::begin ─▶ shell in the machine's own namespaces ─┬─ look ─▶ lines before
//!  the testbed comes, works, goes ──────────────────────────┴─ look ─▶ lines after ─▶ what is there now and was not, or the reverse
//! ```

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Files, by place and content where tests have no business; links, addresses, routes, rules and
/// the firewall; mounts; users. What other programs of a machine change all the time is left out:
/// logs, package lists, sockets of running services.
const LOOK: &str = r"
find /etc -xdev -type f -exec cksum {} + 2>/dev/null
find /etc -xdev ! -type f -printf 'there %y %p\n' 2>/dev/null
find /opt /srv -xdev -maxdepth 3 -printf 'there %y %p\n' 2>/dev/null
find /run /var/run/ -xdev -mindepth 1 -maxdepth 2 ! -path '*/ringfence-testbed*' ! -path '/run/systemd*' ! -path '/run/user*' ! -path '/run/udev*' ! -path '/run/lock*' ! -path '/run/log*' -printf 'there %y %p\n' 2>/dev/null
find / /var/lib -xdev -mindepth 1 -maxdepth 1 -printf 'there %y %p\n' 2>/dev/null
find $HOME -xdev -mindepth 1 -maxdepth 1 ! -name '.cargo' ! -name '.*history' -printf 'there %y %p\n' 2>/dev/null
ip -oneline link show 2>/dev/null | cut -d: -f2 | sed 's/^/link/'
ip -oneline address show 2>/dev/null | awk '{print $2, $4}' | sed 's/^/address /'
for family in -4 -6; do ip $family route show table all 2>/dev/null | sed 's/ expires [^ ]*//; s/^/route /'; ip $family rule show 2>/dev/null | sed 's/^/rule /'; done
nft list ruleset 2>/dev/null | sed 's/packets [0-9]* bytes [0-9]*//; s/^/firewall /'
cut -d' ' -f5 /proc/self/mountinfo | sed 's/^/mount /'
echo END
";
/// The longest time for what is on its way out.
const PATIENCE: Duration = Duration::from_secs(10);

/// A shell that stays in the namespaces in which it was started, and what it saw first.
#[derive(Debug)]
pub struct Witness {
    shell: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    before: BTreeSet<String>,
}

impl Witness {
    /// Looks at the machine as it is now. Call it before the process moves into other namespaces.
    ///
    /// # Errors
    /// When there is no shell.
    pub fn begin() -> Result<Self> {
        let mut shell =
            Command::new("sh").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let input = shell.stdin.take().context("no stdin")?;
        let output = BufReader::new(shell.stdout.take().context("no stdout")?);
        let mut witness = Self { shell, input, output, before: BTreeSet::new() };
        witness.before = witness.look()?;
        Ok(witness)
    }

    /// Tells what has changed: with `+` what is there and was not, with `-` what is gone. Waits a
    /// moment for what goes by itself.
    ///
    /// # Errors
    /// When the shell has ended.
    pub fn changes(&mut self) -> Result<Vec<String>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.look()?;
            let come = now.difference(&self.before).map(|line| format!("+ {line}"));
            let gone = self.before.difference(&now).map(|line| format!("- {line}"));
            let changes: Vec<String> = come.chain(gone).collect();
            if changes.is_empty() || Instant::now() > deadline {
                return Ok(changes);
            }
            thread::sleep(Duration::from_secs(1));
        }
    }

    fn look(&mut self) -> Result<BTreeSet<String>> {
        self.input.write_all(LOOK.as_bytes())?;
        self.input.flush()?;
        let mut lines = BTreeSet::new();
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line)? == 0 {
                anyhow::bail!("the witness has ended");
            }
            match line.trim_end() {
                "END" => return Ok(lines),
                line => _ = lines.insert(line.to_owned()),
            }
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.shell.kill().ok();
        self.shell.wait().ok();
    }
}

/// The processes in this process's network namespace besides itself, by name: what a private engine
/// left running. Those that are about to end are waited for.
///
/// # Errors
/// When /proc cannot be read.
pub fn others_inside() -> Result<Vec<String>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let others = others_now()?;
        if others.is_empty() || Instant::now() > deadline {
            return Ok(others);
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// Ends the processes of this name in this process's network namespace.
pub(super) fn end_inside(name: &str) {
    for (pid, found) in inside().unwrap_or_default() {
        if found == name {
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
    }
}

fn others_now() -> Result<Vec<String>> {
    Ok(inside()?.into_iter().map(|(_, name)| format!("process {name}")).collect())
}

/// The processes in this process's network namespace besides itself.
fn inside() -> Result<Vec<(i32, String)>> {
    let own = std::fs::read_link("/proc/self/ns/net")?;
    let mut others = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let path = entry.path();
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let Some(pid) = pid.filter(|pid| *pid != std::process::id()) else { continue };
        if std::fs::read_link(path.join("ns/net")).ok().as_ref() != Some(&own) {
            continue;
        }
        let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
        others.push((i32::try_from(pid)?, name.trim().to_owned()));
    }
    Ok(others)
}
