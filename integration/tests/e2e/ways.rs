//! Ways into an agent that runs: the terminal of a person, and further programs in its container.

use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::command::{bounded, until, wait};
use integration::ringfence::follow;
use integration::testbed::Testbed;
use integration::testbed::engine::variants::Product;

use crate::detached::Detached;
use crate::leftovers::only_the_uplink;
use crate::{Test, skip};

pub(crate) const TESTS: &[Test] = &[
    ("two people attach, and both get the agent's status", attached),
    ("a terminal is left by its keys, and the agent goes on", left),
    ("a command has what the agent has, and its own status", confined),
    ("no name that the agent changes makes a command root", renamed),
    ("what cannot be entered is refused", refused),
    ("nobody enters a container before its covers are checked", before_the_check),
];

const LIMIT: Duration = Duration::from_secs(60);
/// Says what it hears, and ends with 5 at a word.
const ECHO: &str =
    "echo up; while read -r line; do echo \"got $line\"; [ \"$line\" = end ] && exit 5; done; echo closed";
/// Facts of a process that ringfence decides.
const FACTS: &str = "id -u; id -g; grep -E '^(NoNewPrivs|Seccomp|CapPrm|CapEff|CapBnd|Groups):' /proc/self/status; \
                     cat /proc/self/cgroup; ulimit -n; echo $RINGFENCE $MARK; pwd";

/// An attachment that goes on.
struct Attached {
    child: Child,
    input: Option<ChildStdin>,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Attached {
    fn begin(bed: &Testbed, words: &[&str]) -> Result<Attached> {
        let mut command = bed.ringfence.command();
        command.arg("attach").args(words);
        Attached::of(command)
    }

    /// Begins one on a terminal, which `script` makes.
    fn on_a_terminal(bed: &Testbed, words: &[&str]) -> Result<Attached> {
        let line = format!("{} attach {}", bed.ringfence.executable().display(), words.join(" "));
        let script = "exec script -qec \"$1\" /dev/null";
        Attached::of(bed.ringfence.behind("sh", ["-c", script, "sh", &line]))
    }

    fn of(mut command: Command) -> Result<Attached> {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
        let lines = follow(child.stdout.take());
        Ok(Attached { input: child.stdin.take(), child, lines })
    }

    fn say(&mut self, typed: &str) -> Result<()> {
        let input = self.input.as_mut().context("an input")?;
        Ok(input.write_all(typed.as_bytes()).and_then(|()| input.flush())?)
    }

    fn ends(&mut self, code: i32) -> Result<()> {
        let status = wait(&mut self.child, LIMIT)?.context("the attachment ends")?;
        ensure!(status.code() == Some(code), "{status:?} {:?}", self.lines);
        Ok(())
    }

    fn hears(&self, line: &str) -> Result<()> {
        let heard = || self.lines.lock().is_ok_and(|lines| lines.iter().any(|one| one.trim_end() == line));
        until(&format!("`{line}` is heard"), LIMIT, heard)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn attached(bed: &Testbed) -> Result<()> {
    let detached = Detached::start(bed, "attached", &["-i"], &["sh", "-c", ECHO])?;
    detached.until_printed("up")?;
    let mut one = Attached::begin(bed, &[&detached.name])?;
    let mut other = Attached::begin(bed, &[&detached.id, "--no-stdin"])?;
    // Both hear it once both are attached: what is said before goes by.
    let both = || {
        let said = one.say("hello\n").is_ok();
        let hears =
            |of: &Attached| of.lines.lock().is_ok_and(|lines| lines.iter().any(|line| line == "got hello"));
        thread::sleep(Duration::from_millis(100));
        said && hears(&one) && hears(&other)
    };
    until("both hear the agent", LIMIT, both)?;
    one.say("end\n")?;
    one.hears("got end")?;
    other.hears("got end")?;
    one.ends(5)?;
    other.ends(5)?;
    let waited = detached.call(&["wait", &detached.id])?;
    ensure!(waited.stdout == "5\n", "{waited:?}");
    let events = detached.call(&["events", "--json", &detached.id])?;
    ensure!(events.stdout.matches("\"attached\"").count() == 2, "{events:?}");
    only_the_uplink(bed)
}

fn left(bed: &Testbed) -> Result<()> {
    let detached = Detached::start(bed, "left", &["-it"], &["sh", "-c", ECHO])?;
    detached.until_printed("up")?;
    for (keys, line, typed) in
        [(&[][..], "one", "\u{10}\u{11}"), (&["--detach-keys", "ctrl-x,y"], "two", "\u{18}y")]
    {
        let mut attachment = Attached::on_a_terminal(bed, &[&[&*detached.id], keys].concat())?;
        attachment.say(&format!("{line}\n"))?;
        // The terminal takes keys as they are once the agent has answered.
        attachment.hears(&format!("got {line}"))?;
        attachment.say(typed)?;
        attachment.ends(0)?;
    }
    // A pipe is no terminal.
    let refused = bounded(bed.ringfence.command().args(["attach", &detached.id]), b"end\n", LIMIT)?;
    ensure!(refused.status.code() == Some(125) && refused.stderr.contains("--no-stdin"), "{refused:?}");
    // The control: without the keys it ends with the agent.
    let mut attachment = Attached::on_a_terminal(bed, &[&detached.id])?;
    attachment.say("end\n")?;
    attachment.ends(5)?;
    only_the_uplink(bed)
}

fn confined(bed: &Testbed) -> Result<()> {
    let project = bed.fresh_directory("ways")?.join("confined");
    std::fs::create_dir_all(&project)?;
    std::os::unix::fs::chown(&project, Some(4321), Some(4321))?;
    let project = project.to_str().context("a path of text")?;
    let script = format!("{FACTS}; echo up; exec sleep 600");
    let options = ["--project", project, "-e", "MARK=mine", "--open-files", "777"];
    let detached = Detached::start(bed, "confined", &options, &["sh", "-c", &script])?;
    detached.until_printed("up")?;
    let own = detached.call(&["logs", &detached.id])?.stdout;
    let own = own.strip_suffix("up\n").context("the agent's facts")?;
    let exec = |words: &[&str]| detached.call(&[&["exec"], words].concat());
    let run = exec(&[&detached.id, "sh", "-c", FACTS])?;
    ensure!(facts(&run.stdout) == facts(own), "the command has:\n{}\nthe agent:\n{own}", run.stdout);
    ensure!(own.starts_with("4321\n4321\n") && own.contains("777\n1 mine\n/workspace\n"), "{own}");
    let run = exec(&["-e", "MORE=1", "-w", "/tmp", &detached.id, "sh", "-c", "echo $MORE; pwd; exit 9"])?;
    ensure!(run.status.code() == Some(9) && run.stdout == "1\n/tmp\n", "{run:?}");
    let run = exec(&[&detached.id, "no-such-program"])?;
    ensure!([Some(126), Some(127)].contains(&run.status.code()), "{run:?}");
    let piped = ["exec", "-i", &detached.id, "cat"];
    let run = bounded(bed.ringfence.command().args(piped), b"through", LIMIT)?;
    ensure!(run.stdout == "through", "{run:?}");
    // Its network is the agent's.
    let run = exec(&[&detached.id, "curl", "-sS", "--max-time", "5", "http://evil.test/"])?;
    ensure!(!run.status.success(), "{run:?}");
    let events = detached.call(&["events", "--json", &detached.id])?.stdout;
    ensure!(events.contains("evil.test") && events.contains("\"deny\""), "{events}");
    detached.stop()?;
    only_the_uplink(bed)
}

/// Returns the facts of a process. A list of groups that names only the process's own is an empty
/// one: Podman gives the agent that list, and a further command none.
fn facts(told: &str) -> String {
    let own = told.lines().nth(1).unwrap_or_default();
    let alone = |line: &str| line.strip_prefix("Groups:").is_some_and(|groups| groups.trim() == own);
    told.lines()
        .map(|line| if alone(line) { "Groups:" } else { line }.trim_end())
        .collect::<Vec<_>>()
        .join("\n")
}

fn renamed(bed: &Testbed) -> Result<()> {
    let image = format!("ringfence-testbed/renamed-{}", std::process::id());
    let container = format!("ringfence-testbed-renamed-{}", std::process::id());
    let script = "echo 'worker:x:77:78::/tmp:/bin/sh' >> /etc/passwd; chmod 666 /etc/passwd";
    bed.engine.docker(&[
        "run",
        "--name",
        &container,
        "--network",
        "none",
        &bed.images.agent,
        "sh",
        "-c",
        script,
    ])?;
    let committed = bed.engine.docker(&["commit", "--change", "USER worker", &container, &image]);
    bed.engine.docker(&["rm", "--force", &container])?;
    committed?;
    let script = "id -u; echo 'worker:x:0:0::/root:/bin/sh' > /etc/passwd && echo up; exec sleep 600";
    let detached = Detached::start_of(bed, "renamed", &[], &image, &["sh", "-c", script])?;
    detached.until_printed("up")?;
    let run = detached.call(&["exec", &detached.id, "id", "-u"])?;
    ensure!(run.stdout == "77\n", "{run:?}");
    // The control: the engine by itself goes by the agent's words.
    let agent = format!("ringfence-{}-agent", detached.id);
    ensure!(bed.engine.docker(&["exec", &agent, "id", "-u"])? == "0", "the attack works");
    detached.stop()?;
    bed.engine.docker(&["rmi", &image])?;
    only_the_uplink(bed)
}

fn refused(bed: &Testbed) -> Result<()> {
    let detached = Detached::start(bed, "refused", &[], &["sh", "-c", "echo up; exec sleep 600"])?;
    detached.until_printed("up")?;
    let secret = format!("glpat-{}", "a1B2c3D4e5F6g7H8i9J0");
    let run = detached.call(&["exec", &detached.id, "echo", &secret])?;
    ensure!(run.status.code() == Some(125) && run.stderr.contains("argument:1"), "{run:?}");
    let run = detached.call(&["exec", "-e", &format!("X={secret}"), &detached.id, "true"])?;
    ensure!(run.status.code() == Some(125) && run.stderr.contains("env:X"), "{run:?}");
    // The control: with consent it is sent, and not written down.
    let rule = run.stderr.split_once("env:X: ").and_then(|(_, rest)| rest.split_whitespace().next());
    let allowed = format!("{}@env:X", rule.context("the rule is named")?);
    let words = [
        "exec",
        "--allow-secret",
        &allowed,
        "-e",
        &format!("X={secret}"),
        &detached.id,
        "sh",
        "-c",
        "echo $X",
    ];
    let run = detached.call(&words)?;
    ensure!(run.stdout.trim() == secret, "{run:?}");
    let events = detached.call(&["events", "--json", &detached.id])?.stdout;
    ensure!(events.contains("exec-started") && !events.contains(&secret), "{events}");
    detached.stop()?;
    for words in [&["exec", &detached.name, "true"][..], &["attach", &detached.id]] {
        let run = detached.call(words)?;
        ensure!(run.status.code() == Some(125) && run.stderr.contains("does not run"), "{run:?}");
    }
    only_the_uplink(bed)
}

/// A run in the foreground whose fence stands still between its proof and the agent's start, so
/// that the check of the covers takes as long as the test wants. A service that gets ready at a
/// word makes the room in between.
fn before_the_check(bed: &Testbed) -> Result<()> {
    if bed.engine.product() == Product::Podman {
        return skip("this engine starts no container while its fence stands still");
    }
    let project = bed.fresh_directory("ways")?.join("checked");
    std::fs::create_dir_all(&project)?;
    std::fs::write(project.join(".env"), "PASSWORD=planted-before-the-check\n")?;
    let policy = bed.ringfence.policy_file(&format!(
        "version: 1\nservices:\n  gate:\n    image: {}\n    command: [sleep, \"600\"]\n    ready: {{command: [test, -e, /tmp/go]}}\n",
        bed.images.tiny
    ))?;
    let project = project.to_str().context("a path of text")?;
    let script = "cat .env; echo up; exec sleep 600";
    let mut running =
        bed.ringfence.start(&policy, &["--project", project], &bed.images.agent, &["sh", "-c", script])?;
    let part = |role: &str| {
        let label = format!("label=dev.ringfence.role={role}");
        bed.engine.docker(&["ps", "--quiet", "--filter", &label])
    };
    until("the service runs", LIMIT, || part("service").is_ok_and(|id| !id.is_empty()))?;
    let (fence, service) = (part("fence")?, part("service")?);
    let enter = || bed.ringfence.call(&["exec", &running.name, "cat", ".env"]);
    let checked = (|| {
        bed.engine.docker(&["pause", &fence])?;
        let ready = bed.engine.docker(&["exec", &service, "touch", "/tmp/go"]);
        let entered = ready.and_then(|_| {
            until("the agent's container runs", LIMIT, || part("agent").is_ok_and(|id| !id.is_empty()))?;
            // Its supervisor has had the time to take it for begun.
            thread::sleep(Duration::from_secs(1));
            Ok((enter()?, bed.ringfence.call(&["attach", "--no-stdin", &running.name])?))
        });
        bed.engine.docker(&["unpause", &fence])?;
        entered
    })();
    let (entered, attached) = checked?;
    for refused in [&entered, &attached] {
        ensure!(
            refused.status.code() == Some(125) && refused.stderr.contains("still starting"),
            "{refused:?}"
        );
    }
    // The control: the same words enter once the covers are checked.
    let opens = || enter().is_ok_and(|entered| entered.status.success() && entered.stdout.is_empty());
    let opened = until("the covers are checked", LIMIT, opens);
    let up = running.wait_for_line("up", LIMIT);
    crate::failing::end(bed, running)?;
    opened.and(up)?;
    only_the_uplink(bed)
}
