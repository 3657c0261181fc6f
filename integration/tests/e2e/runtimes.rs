//! Sandboxed runtimes: one that uses the fence's sockets works, one with a network stack of its own
//! never runs an agent, and its frames would stay inside.

use std::time::Instant;

use anyhow::{Result, ensure};
use integration::testbed::Testbed;
use integration::testbed::capture::Capture;
use integration::testbed::dns;
use integration::testbed::engine::variants::Product;
use serde_json::{Value, json};

use crate::failing::{container, end, talking_agent};
use crate::refused::{END, escapes};
use crate::{Test, attempts, expect, expect_status, skip};

pub(crate) const TESTS: &[Test] = &[
    ("runsc with the fence's sockets", sandboxed),
    ("runsc with a stack of its own is refused before the agent", own_stack),
    ("a runtime that the engine does not have", unknown),
    ("a policy's runtime is kept", by_policy),
    ("frames of a stack of its own stay inside", frames),
];

/// Tests with runsc registered, where the engine's tree has it.
fn with_runsc(bed: &Testbed, test: impl FnOnce() -> Result<()>) -> Result<()> {
    if !bed.engine.is_private() || bed.engine.product() != Product::Docker || !bed.engine.has_program("runsc")
    {
        return skip("no dockerd of the tests' own with runsc beside it");
    }
    bed.engine.restart(&json!({"runtimes": {
        "runsc": {"path": "/usr/bin/runsc", "runtimeArgs": ["--network=host"]},
        "runsc-own": {"path": "/usr/bin/runsc"},
    }}))?;
    let tested = test();
    bed.engine.restart(&Value::Null)?;
    tested
}

/// Its kernel says so.
const IN_GVISOR: &str = "dmesg | grep -q 'Starting gVisor' && echo sandboxed; ";

fn sandboxed(bed: &Testbed) -> Result<()> {
    with_runsc(bed, || {
        let policy = bed.ringfence.allowing(&["a.test", "plain.test:80"])?;
        let script = format!(
            "{IN_GVISOR} curl -sS https://a.test/ http://plain.test/; \
             curl -sS -m 5 https://b.test/ 2>/dev/null || echo refused; wc -c"
        );
        let options = ["-i", "--runtime", "runsc"];
        let agent = ["sh", "-c", &script];
        let outcome =
            bed.ringfence.run_with_input(&policy, &options, &bed.images.agent, &agent, &[b'x'; 10_000])?;
        expect_status(&outcome, 0)?;
        let said = "sandboxed\na.test /\nplain.test /\nrefused\n10000\n";
        expect(outcome.stdout == said, "what is permitted, and nothing else", &outcome)?;
        expect(
            outcome.has_event(&[("verdict", "deny"), ("host", "b.test")]),
            "the refusal is told",
            &outcome,
        )?;

        let gateway = bed.engine.gateway("bridge")?.to_string();
        let list = escapes(&gateway);
        let list: Vec<&str> = list.iter().map(String::as_str).collect();
        let command = attempts(&list);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let outcome = bed.ringfence.run(&policy, &["--runtime", "runsc"], &bed.images.agent, &command)?;
        expect(outcome.stdout.lines().count() == list.len(), "every escape was tried", &outcome)
    })
}

fn own_stack(bed: &Testbed) -> Result<()> {
    with_runsc(bed, || {
        let policy = bed.ringfence.allowing(&["a.test"])?;
        let outcome =
            bed.ringfence.run(&policy, &["--runtime", "runsc-own"], &bed.images.agent, &["echo", "ran"])?;
        expect_status(&outcome, 125)?;
        expect(outcome.stdout.is_empty(), "the agent did not run", &outcome)?;
        let why = "`runsc-own` does not reach the fence's filter";
        expect(outcome.stderr.contains(why), "why, and what to do", &outcome)?;
        expect(outcome.stderr.contains("--network=host"), "why, and what to do", &outcome)
    })
}

fn unknown(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let outcome = bed.ringfence.run(&policy, &["--runtime", "kata"], &bed.images.tiny, &["true"])?;
    expect_status(&outcome, 125)?;
    expect(outcome.stderr.contains("`kata`"), "which it is", &outcome)
}

fn by_policy(bed: &Testbed) -> Result<()> {
    with_runsc(bed, || {
        let policy = bed.ringfence.policy_file(&format!(
            "version: 1\nnetwork:\n  allow: [a.test]\n  dns:\n    upstreams: [\"{}\"]\ncontainer:\n  runtime: runsc\n",
            dns::ADDRESS
        ))?;
        let script = format!("{IN_GVISOR} curl -sS https://a.test/");
        let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &["sh", "-c", &script])?;
        expect(outcome.stdout == "sandboxed\na.test /\n", "the policy's runtime", &outcome)?;
        let outcome = bed.ringfence.run(&policy, &["--runtime", "runc"], &bed.images.agent, &["true"])?;
        expect_status(&outcome, 125)?;
        expect(outcome.stderr.contains("the policy demands `runsc`"), "not asked away", &outcome)
    })
}

/// The deed of a network stack of its own, with the right to do it: a frame written to the device,
/// past sockets and routes.
const FRAME: &str = "import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(('eth0', 0))
try:
    s.send(b'\\xff' * 6 + s.getsockname()[4] + b'\\x88\\xb5' + b'a stack of its own'.ljust(50))
    print('sent')
except OSError as error:
    print(error)
";

fn frames(bed: &Testbed) -> Result<()> {
    let write = |network: &str| {
        let run = ["run", "--rm", "--network", network, "--cap-add", "NET_RAW", &bed.images.agent];
        bed.engine.docker(&[&run[..], &["python3", "-c", FRAME]].concat())
    };
    let running = talking_agent(bed)?;
    let fence = container(bed, "fence")?;
    let capture = Capture::start_inside(bed.engine.process(&fence)?)?;
    let since = Instant::now();
    let said = write(&format!("container:{fence}"))?;
    let left = capture.came_by(END, since)?;
    drop(capture);
    end(bed, running)?;
    ensure!(left.is_empty(), "{} frames left the fence, the first: {} ({said})", left.len(), left[0]);

    // The same on a plain network is seen, or this says nothing.
    let holder = bed.engine.docker(&["run", "--detach", "--rm", &bed.images.tiny, "sleep", "30"])?;
    let (capture, since) = (Capture::start()?, Instant::now());
    let said = write("bridge")?;
    let seen = capture.came_by(&bed.engine.device("bridge")?, since)?;
    bed.engine.docker(&["rm", "--force", holder.trim()])?;
    ensure!(
        seen.iter().any(|frame| frame.has(b"a stack of its own")),
        "not seen ({said}) among {}",
        seen.len()
    );
    Ok(())
}
