//! Things that a policy permits work, with real clients.

use std::fs;

use anyhow::Result;
use integration::testbed::{Testbed, gitlab};

use crate::{Test, expect, expect_status};

pub(crate) const TESTS: &[Test] = &[
    ("curl over https", curl_over_https),
    ("curl over http", curl_over_http),
    ("git clone into the project", git_clone),
    ("python-gitlab", python_gitlab),
    ("a coding agent's CLI starts", coding_agent),
    ("a server that speaks first", banner),
    ("plain tcp both ways", echo),
    ("a name under a wildcard", wildcard),
    ("an intranet name with private", private),
    ("a dev server on localhost", localhost),
    ("exit status passes", exit_status),
    ("stdout and stderr stay apart", streams),
    ("standard input arrives", input),
    ("environment arrives", environment),
    ("--allow without a policy file's rule", allow_flag),
];

fn curl_over_https(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let before = bed.web.log().len();
    let outcome =
        bed.ringfence.run(&policy, &[], &bed.images.agent, &["curl", "-sS", "https://a.test/hello"])?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout.trim() == "a.test /hello", "the server's page", &outcome)?;
    let request = bed.web.log().get(before).cloned().unwrap_or_default();
    expect(request.sni.as_deref() == Some("a.test"), "the server saw the SNI", &outcome)?;
    expect(outcome.has_event(&[("verdict", "allow"), ("host", "a.test")]), "an event says so", &outcome)
}

fn curl_over_http(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["plain.test:80"])?;
    let outcome = bed.ringfence.run(
        &policy,
        &[],
        &bed.images.agent,
        &["curl", "-sS", "http://plain.test/one", "http://plain.test/two"],
    )?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout == "plain.test /one\nplain.test /two\n", "both pages of one connection", &outcome)
}

fn git_clone(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["gitlab.test"])?;
    let project = bed.fresh_directory("clone")?;
    let outcome = bed.ringfence.run(
        &policy,
        &["--project", &project.to_string_lossy()],
        &bed.images.agent,
        &["git", "clone", "--quiet", "https://gitlab.test/group/project.git"],
    )?;
    expect_status(&outcome, 0)?;
    let file = fs::read_to_string(project.join("project").join(gitlab::FILE.0)).unwrap_or_default();
    expect(file == gitlab::FILE.1, "the file is in the project directory", &outcome)
}

fn python_gitlab(bed: &Testbed) -> Result<()> {
    let script = "import gitlab, os\n\
         gl = gitlab.Gitlab('https://gitlab.test', private_token=os.environ['GITLAB_TOKEN'])\n\
         gl.auth()\n\
         print(gl.user.username, gl.version()[0], [p.path_with_namespace for p in gl.projects.list()])";
    let policy = bed.ringfence.allowing(&["gitlab.test"])?;
    let outcome =
        bed.ringfence.run(&policy, &["-e", "GITLAB_TOKEN"], &bed.images.agent, &["python3", "-c", script])?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout.trim() == "agent 18.3.0 ['group/project']", "what the API says", &outcome)
}

fn coding_agent(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["model.test:80"])?;
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &["codex", "--version"])?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout.starts_with("codex-cli"), "its version", &outcome)
}

fn banner(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["ssh.test:22"])?;
    let outcome =
        bed.ringfence.run(&policy, &[], &bed.images.agent, &["sh", "-c", "sleep 1 | nc -w 2 ssh.test 22"])?;
    expect(outcome.stdout.starts_with("SSH-2.0-testbed"), "the banner arrives unasked", &outcome)
}

fn echo(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["echo.test:7777/tcp"])?;
    let script = "import socket\n\
         s = socket.create_connection(('echo.test', 7777), 5)\n\
         s.sendall(b'x' * 3000000); s.shutdown(socket.SHUT_WR)\n\
         n = 0\n\
         while True:\n    b = s.recv(65536)\n    n += len(b)\n    if not b: break\n\
         print(n)";
    // The server echoes while it reads, so the sender must read too: send in the background.
    let script = script.replace(
        "s.sendall(b'x' * 3000000); s.shutdown(socket.SHUT_WR)",
        "import threading; threading.Thread(target=lambda: (s.sendall(b'x' * 3000000), s.shutdown(socket.SHUT_WR))).start()",
    );
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &["python3", "-c", &script])?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout.trim() == "3000000", "every byte comes back after a half-close", &outcome)
}

fn wildcard(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["*.wild.test"])?;
    let outcome = bed.ringfence.run(
        &policy,
        &[],
        &bed.images.agent,
        &["curl", "-sS", "https://one.wild.test/", "https://two.wild.test/"],
    )?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout == "one.wild.test /\ntwo.wild.test /\n", "both names work", &outcome)
}

fn private(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.policy("  allow:\n    - host: private.test\n      private: [10.99.0.0/16]")?;
    let outcome =
        bed.ringfence.run(&policy, &[], &bed.images.agent, &["curl", "-sS", "https://private.test/"])?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout.trim() == "private.test /", "the intranet's page", &outcome)
}

fn localhost(bed: &Testbed) -> Result<()> {
    let script = "cd /tmp && echo local > page && python3 -m http.server 3000 >/dev/null 2>&1 & \
         for i in $(seq 100); do curl -s http://localhost:3000/page && exit 0; sleep 0.1; done; exit 1";
    let policy = bed.ringfence.allowing(&[])?;
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &["sh", "-c", script])?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout.trim() == "local", "the agent's own page", &outcome)
}

fn exit_status(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    for status in [0, 1, 42] {
        let outcome =
            bed.ringfence.run(&policy, &[], &bed.images.tiny, &["sh", "-c", &format!("exit {status}")])?;
        expect_status(&outcome, status)?;
    }
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.tiny, &["no-such-program"])?;
    expect_status(&outcome, 127)
}

fn streams(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let outcome = bed.ringfence.run(
        &policy,
        &["--quiet"],
        &bed.images.tiny,
        &["sh", "-c", "echo out; echo err >&2"],
    )?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout == "out\n", "stdout is the agent's alone", &outcome)?;
    expect(
        outcome.stderr.contains("err") && !outcome.stderr.contains("out\n"),
        "stderr has the rest",
        &outcome,
    )
}

fn input(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let outcome =
        bed.ringfence.run_with_input(&policy, &["-i"], &bed.images.tiny, &["wc", "-c"], &[b'x'; 100_000])?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout.trim() == "100000", "every byte was read, then the end", &outcome)
}

fn environment(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let outcome =
        bed.ringfence.run(&policy, &["-e", "WORD=a b"], &bed.images.tiny, &["sh", "-c", "echo \"$WORD\""])?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout == "a b\n", "the value, whole", &outcome)
}

fn allow_flag(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&[])?;
    let outcome = bed.ringfence.run(
        &policy,
        &["--allow", "a.test"],
        &bed.images.agent,
        &["curl", "-sS", "https://a.test/"],
    )?;
    expect_status(&outcome, 0)
}
