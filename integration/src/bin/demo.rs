//! `cargo demo`: a real workflow in its own fence, in a world made on this machine.
//!
//! Without arguments: an agent clones a repository, calls GitLab's API, lets a real coding agent
//! talk to its model, and then tries to get out. One table says what happened; the exit status is 1
//! when anything did not behave. `cargo demo -- IMAGE COMMAND…` runs the reader's own agent in the
//! same world; IMAGE may be a name on the engine, a tar of `docker save`, or `agent` for the
//! testbed's own image.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use integration::cargo::Beside;
use integration::ringfence::Outcome;
use integration::testbed::canary::{FOREIGN_DNS, PORT};
use integration::testbed::netns::{HOST_LAN, HOST_LINK};
use integration::testbed::site::Site;
use integration::testbed::{Testbed, dns, gitlab, setup};
use serde_json::Value;

/// The rules of the demo's policy.
const POLICY: &str = "  allow:
    - gitlab.test
    - model.test
    - a.test
    - meta.test
    - private.test";

/// One thing that the agent does.
struct Step {
    what: &'static str,
    permitted: bool,
    how: How,
    /// Fields of the event that decided it.
    event: Vec<(&'static str, String)>,
}

enum How {
    /// A client, as a line of shell; it works when its status is 0.
    Client(String),
    /// An attempt of the probe.
    Probe(String),
}

/// The result of a step.
struct Row {
    what: String,
    verdict: String,
    why: String,
    latency: String,
    good: bool,
}

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    // The alias `demo` ends in `--` already; the reader's own comes after it.
    if arguments.first().is_some_and(|first| first == "--") {
        arguments.remove(0);
    }
    match demo(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo(arguments: &[String]) -> Result<ExitCode> {
    if arguments.first().is_some_and(|first| first == "--help" || first == "-h") {
        println!(
            "cargo demo                      the demo\ncargo demo -- IMAGE COMMAND…    your own agent in the demo's world"
        );
        return Ok(ExitCode::SUCCESS);
    }
    let say = |text: &str| eprintln!("demo: {text}");
    let (site, materials) = Site::claim(Beside::Nothing, &say)?;
    let bed = Testbed::up(materials, 0, &say)?;
    let shown = match arguments.split_first() {
        None => show(&bed),
        Some((image, command)) => run_own(&bed, image, command),
    };
    bed.down()?;
    site.leave()?;
    shown
}

/// The demo proper.
fn show(bed: &Testbed) -> Result<ExitCode> {
    let steps = steps();
    let project = bed.fresh_directory("project")?;
    std::fs::write(project.join("agent.sh"), script(&steps))?;
    let policy = bed.ringfence.policy(POLICY)?;
    let project = project.to_string_lossy();

    eprintln!("demo: ringfence run --policy policy.yml --project {project} AGENT sh agent.sh");
    bed.canaries.take();
    let outcome = bed.ringfence.run(
        &policy,
        &["--project", &project, "-e", "GITLAB_TOKEN", "-e", "OPENAI_API_KEY"],
        &bed.images.agent,
        &["sh", "agent.sh"],
    )?;
    let heard = bed.canaries.take();
    let left = bed.engine.of_ringfence()?;

    let mut rows: Vec<Row> =
        steps.iter().enumerate().map(|(index, step)| judge(index, step, &outcome)).collect();
    rows.push(row(
        "canaries on host, intranet, metadata",
        heard.is_empty(),
        if heard.is_empty() { "heard nothing" } else { "HEARD SOMETHING" },
        &heard.first().map(|one| format!("{} from {}", one.canary, one.from)).unwrap_or_default(),
    ));
    let clean = left.iter().all(|one| one == "network ringfence-uplink");
    rows.push(row(
        "left on the engine",
        clean,
        if clean { "the shared uplink" } else { "TOO MUCH" },
        &left.join(", "),
    ));

    let events = keep_events(&outcome.events_file)?;
    print_table(&rows);
    println!("\nevents: {}", events.display());
    let good = outcome.status == 0 && rows.iter().all(|row| row.good);
    if !good {
        eprintln!("\ndemo: something did not behave; the run:\n{}", outcome.shown());
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn steps() -> Vec<Step> {
    let client = |what, command: &str, host: &str| Step {
        what,
        permitted: true,
        how: How::Client(command.to_owned()),
        event: vec![("host", host.to_owned()), ("verdict", "allow".to_owned()), ("phase", "open".to_owned())],
    };
    let refused = |what, command: &str, fields: &[(&'static str, &str)]| Step {
        what,
        permitted: false,
        how: How::Client(command.to_owned()),
        event: denied(fields),
    };
    let probe = |what, attempt: String, fields: &[(&'static str, &str)]| Step {
        what,
        permitted: false,
        how: How::Probe(attempt),
        event: denied(fields),
    };
    let python = "import gitlab, os; gl = gitlab.Gitlab('https://gitlab.test', private_token=os.environ['GITLAB_TOKEN']); \
         gl.auth(); assert gl.version()[0] and gl.projects.list()[0].path == 'project'";
    let codex = format!(
        "codex exec --skip-git-repo-check -c model_provider=testbed -c 'model_providers.testbed={{name=\"testbed\", \
         base_url=\"https://model.test/v1\", wire_api=\"responses\", env_key=\"OPENAI_API_KEY\"}}' 'Does the fence hold?' \
         </dev/null | grep -q '{}'",
        gitlab::MODEL_SAYS
    );
    let shared = format!("curl -sS --max-time 5 --resolve a.test:443:{} https://a.test/", dns::SHARED);
    vec![
        client(
            "git clone https://gitlab.test/…",
            "git clone -q https://gitlab.test/group/project.git",
            "gitlab.test",
        ),
        client("python-gitlab: auth, version, projects", &format!("python3 -c \"{python}\""), "gitlab.test"),
        Step {
            what: "codex --version",
            permitted: true,
            how: How::Client("codex --version".to_owned()),
            event: Vec::new(),
        },
        client("codex exec, with its model", &codex, "model.test"),
        client("curl https://a.test/", "curl -sS https://a.test/", "a.test"),
        Step {
            what: "a dev server on localhost",
            permitted: true,
            how: How::Client(
                "python3 -m http.server 3000 >/dev/null 2>&1 & p=$!; r=1; for i in $(seq 100); do \
                 curl -sf http://localhost:3000/ >/dev/null && r=0 && break; sleep 0.05; done; kill $p; (exit $r)"
                    .to_owned(),
            ),
            event: Vec::new(),
        },
        refused("b.test, on the same address, by name", "curl -sS https://b.test/", &[("host", "b.test")]),
        refused(
            "b.test over a.test's virtual address",
            "curl -sS --max-time 5 --connect-to b.test:443:a.test:443 https://b.test/",
            &[("reason", "sni-mismatch")],
        ),
        refused("a.test by its real address", &shared, &[("address", dns::SHARED), ("port", "443")]),
        refused(
            "an allowed name on the intranet",
            "curl -sS --max-time 5 https://private.test/",
            &[("host", "private.test")],
        ),
        refused(
            "an allowed name that is metadata",
            "curl -sS --max-time 5 https://meta.test/",
            &[("host", "meta.test")],
        ),
        probe("the intranet, TCP", format!("tcp 10.99.0.5:{PORT}"), &[("address", "10.99.0.5")]),
        probe(
            "metadata, TCP",
            "tcp 169.254.169.254:80".to_owned(),
            &[("address", "169.254.169.254"), ("port", "80")],
        ),
        probe("the host's LAN address, TCP", format!("tcp {HOST_LAN}:{PORT}"), &[("address", HOST_LAN)]),
        probe("the host's link address, TCP", format!("tcp {HOST_LINK}:{PORT}"), &[("address", HOST_LINK)]),
        probe("the host, below the routes", format!("dontroute-tcp eth0 {HOST_LAN}:{PORT}"), &[("address", HOST_LAN)]),
        probe(
            "the host, by UDP",
            format!("udp {HOST_LAN}:{PORT}"),
            &[("kind", "datagram"), ("address", HOST_LAN)],
        ),
        probe(
            "the internet, by UDP",
            "udp 198.51.100.10:443".to_owned(),
            &[("kind", "datagram"), ("port", "443")],
        ),
        probe("broadcast", format!("broadcast eth0 {PORT}"), &[("address", "255.255.255.255")]),
        probe("multicast", format!("multicast eth0 224.0.0.1:{PORT}"), &[("address", "224.0.0.1")]),
        probe("IPv6 link-local", format!("tcp6 eth0 [fe80::1]:{PORT}"), &[]),
        probe("ping", format!("icmp {HOST_LAN}"), &[("address", HOST_LAN), ("protocol", "icmp")]),
        refused(
            "a foreign name server",
            &format!("dig +short +time=2 @{FOREIGN_DNS} secret.leak.test | grep ."),
            &[("host", "secret.leak.test")],
        ),
        probe("the gate's own port", "tcp 127.0.0.1:65443".to_owned(), &[("port", "65443")]),
    ]
}

fn denied(fields: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    if fields.is_empty() {
        return Vec::new();
    }
    let verdict = [("verdict", "deny".to_owned())];
    verdict.into_iter().chain(fields.iter().map(|(key, value)| (*key, (*value).to_owned()))).collect()
}

/// The agent: each step, and a line that says how it went.
fn script(steps: &[Step]) -> String {
    let mut script = String::from("export HOME=/tmp/home; mkdir -p $HOME; cd /workspace\n");
    for (index, step) in steps.iter().enumerate() {
        match &step.how {
            How::Client(command) => script.push_str(&format!(
                "s=$(date +%s%N); {{ {command} ; }} >/tmp/out 2>&1; r=$?; e=$(date +%s%N)\n\
                 echo \"step {index} $r $(( (e - s) / 1000 ))\"; test $r = 0 || sed 's/^/step {index}: /' /tmp/out >&2\n"
            )),
            How::Probe(attempt) => script.push_str(&format!("echo \"probe {index} $(probe {attempt})\"\n")),
        }
    }
    script.push_str("exit 0\n");
    script
}

fn judge(index: usize, step: &Step, outcome: &Outcome) -> Row {
    let (worked, micros) = result_of(index, step, &outcome.stdout).unwrap_or((!step.permitted, 0));
    let fields: Vec<(&str, &str)> = step.event.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let event = (!fields.is_empty()).then(|| outcome.event(&fields));
    let why = match event {
        None if step.permitted => "inside the fence".to_owned(),
        None => "no way out".to_owned(),
        Some(None) => "NO EVENT".to_owned(),
        Some(Some(event)) => {
            let part = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            if step.permitted { format!("rule {}", part("rule")) } else { part("reason") }
        }
    };
    let good = worked == step.permitted && why != "NO EVENT";
    let verdict = if worked { "permitted" } else { "refused" };
    let latency = if micros < 10_000 {
        format!("{}.{:02} ms", micros / 1000, micros % 1000 / 10)
    } else {
        format!("{} ms", micros / 1000)
    };
    Row { what: step.what.to_owned(), verdict: verdict.to_owned(), why, latency, good }
}

/// Reads whether the step worked, and its microseconds, from the output.
fn result_of(index: usize, step: &Step, stdout: &str) -> Option<(bool, u64)> {
    match step.how {
        How::Client(_) => {
            let start = format!("step {index} ");
            let line = stdout.lines().find_map(|line| line.strip_prefix(&start))?;
            let (status, micros) = line.split_once(' ')?;
            Some((status == "0", micros.parse().ok()?))
        }
        How::Probe(_) => {
            let start = format!("probe {index} ");
            let line = stdout.lines().find_map(|line| line.strip_prefix(&start))?;
            let line: Value = serde_json::from_str(line).ok()?;
            Some((line["ok"].as_bool()?, line["micros"].as_u64()?))
        }
    }
}

fn row(what: &str, good: bool, verdict: &str, why: &str) -> Row {
    Row {
        what: what.to_owned(),
        verdict: verdict.to_owned(),
        why: why.to_owned(),
        latency: String::new(),
        good,
    }
}

fn print_table(rows: &[Row]) {
    let widest = |part: fn(&Row) -> &str, head: &str| {
        rows.iter().map(|row| part(row).chars().count()).max().unwrap_or_default().max(head.len())
    };
    let (what, verdict) = (widest(|row| &row.what, "what"), widest(|row| &row.verdict, "verdict"));
    let (why, latency) = (widest(|row| &row.why, "rule or reason"), widest(|row| &row.latency, "latency"));
    println!(
        "\n   {:what$}  {:verdict$}  {:why$}  {:>latency$}",
        "what", "verdict", "rule or reason", "latency"
    );
    println!("   {}", "-".repeat(what + verdict + why + latency + 6));
    for row in rows {
        let mark = if row.good { "ok" } else { "!!" };
        println!(
            "{mark} {:what$}  {:verdict$}  {:why$}  {:>latency$}",
            row.what, row.verdict, row.why, row.latency
        );
    }
}

/// Copies the decision log out of the testbed, which is removed.
fn keep_events(file: &Path) -> Result<PathBuf> {
    let kept = setup::target_directory()?.join("testbed/demo-events.jsonl");
    std::fs::copy(file, &kept).with_context(|| format!("no events at {}", file.display()))?;
    Ok(kept)
}

/// The reader's own agent, with this terminal.
fn run_own(bed: &Testbed, image: &str, command: &[String]) -> Result<ExitCode> {
    let image = own_image(bed, image)?;
    let policy = bed.ringfence.policy(POLICY)?;
    let events = bed.directory.path().join("own-events.jsonl");
    let mut ringfence = bed.ringfence.command();
    ringfence.arg("run").arg("--policy").arg(&policy).arg("--events").arg(&events).arg("-i");
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        ringfence.arg("-t");
    }
    eprintln!("demo: the policy is\n{POLICY}");
    let status = ringfence
        .arg(image)
        .args(command)
        .stdin(Stdio::inherit())
        .stdout(Stdio::inherit())
        .stderr(Stdio::inherit())
        .status()?;
    if events.exists() {
        eprintln!("events: {}", keep_events(&events)?.display());
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}

fn own_image(bed: &Testbed, image: &str) -> Result<String> {
    if image == "agent" {
        return Ok(bed.images.agent.clone());
    }
    if bed.engine.try_docker(&["image", "inspect", image])?.status.success() {
        return Ok(image.to_owned());
    }
    if Path::new(image).is_file() {
        let loaded = bed.engine.docker(&["load", "--quiet", "--input", image])?;
        let name =
            loaded.lines().last().and_then(|line| line.split_once(": ")).map(|(_, name)| name.to_owned());
        return name.with_context(|| format!("docker load said: {loaded}"));
    }
    bail!(
        "image {image} is not on the engine {}; set DOCKER_HOST to the engine that has it, give a tar of \
         `docker save`, or `agent` for the demo's own image",
        bed.engine.host()
    )
}
