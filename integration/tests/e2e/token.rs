//! GitLab tokens: the instance is asked before anything is created; what is wider, longer or
//! unknown is given to no agent.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::command::{Output, bounded};
use integration::ringfence::CREDENTIALS;
use integration::testbed::{Testbed, dns, proxy};

use crate::Test;

pub(crate) const TESTS: &[Test] = &[
    ("a token of the right scope is given to the agent", given),
    ("what is wider, longer, over, unknown or unreadable is refused", refused),
    ("the run ends with its token", ends),
    ("a token is revoked after the run where that is asked for", revoked),
    ("the token that glab has is judged like any other", from_glab),
    ("an instance behind the proxy is asked through it", behind_proxy),
];

/// Gives a command names for the testbed's servers, as a person's machine would have them; the
/// machine's own stay as they are.
const WITH_NAMES: &str = "set -e; mount --bind \"$1\" /etc/hosts; shift; exec \"$@\"";

/// `ringfence run --gitlab-token-env TOKEN … IMAGE sh -c SCRIPT` with a token in its environment.
fn run(bed: &Testbed, token: &str, policy: &str, options: &[&str], script: &str) -> Result<Output> {
    let options = [&["--gitlab-token-env", "TOKEN"], options].concat();
    bounded(prepared(bed, policy, &options, script)?.env("TOKEN", token), b"", Duration::from_secs(120))
}

/// `ringfence run … IMAGE sh -c SCRIPT` where the testbed's servers have names.
fn prepared(bed: &Testbed, policy: &str, options: &[&str], script: &str) -> Result<Command> {
    let folder = bed.fresh_directory("token")?;
    let names = folder.join("hosts");
    fs::write(&names, format!("127.0.0.1 localhost\n{} gitlab.test\n", dns::SHARED))?;
    let file = bed.ringfence.policy_file(policy)?;
    let before = ["-m", "sh", "-c", WITH_NAMES, "sh"].map(OsStr::new);
    let mut command = bed.ringfence.behind("unshare", [&before[..], &[names.as_os_str()]].concat());
    command.args(["run", "--policy"]).arg(file);
    command.args(options).arg(&bed.images.tiny).args(["sh", "-c", script]);
    Ok(command)
}

const PLAIN: &str = "version: 1\n";
const HERE: [&str; 2] = ["--gitlab", "https://gitlab.test"];

fn given(bed: &Testbed) -> Result<()> {
    for token in ["workflow-of-the-testbed", "oauth-of-the-testbed", "endless-of-the-testbed"] {
        let output = run(bed, token, PLAIN, &HERE, "echo \"$GITLAB_TOKEN\"")?;
        ensure!(output.status.success() && output.stdout.trim() == token, "{token}: {output:?}");
        ensure!(!output.stderr.contains(token), "shown: {output:?}");
    }
    let wider = "version: 1\ncredentials: {scopes: [ai_workflows, api]}\n";
    let output = run(bed, "wide-of-the-testbed", wider, &HERE, "echo \"$GITLAB_TOKEN\"")?;
    ensure!(output.stdout.trim() == "wide-of-the-testbed", "{output:?}");
    Ok(())
}

fn refused(bed: &Testbed) -> Result<()> {
    let short = "version: 1\ncredentials: {max-lifetime: 30d}\n";
    let cases: [(&str, &str, &[&str], &str); 7] = [
        ("wide-of-the-testbed", PLAIN, &HERE, "more than credentials.scopes permits: api"),
        ("workflow-of-the-testbed", short, &HERE, "longer than credentials.max-lifetime (30days)"),
        ("endless-of-the-testbed", short, &HERE, "it lives for ever"),
        ("past-of-the-testbed", PLAIN, &HERE, "it is over"),
        ("nobody-knows-this", PLAIN, &HERE, "does not know it"),
        ("workflow-of-the-testbed", PLAIN, &["--gitlab", "https://nowhere.test"], "cannot be reached"),
        ("workflow-of-the-testbed", PLAIN, &["--gitlab", "http://gitlab.test"], "in the clear"),
    ];
    for (token, policy, options, why) in cases {
        let output = run(bed, token, policy, options, "echo \"$GITLAB_TOKEN\"")?;
        ensure!(output.status.code() == Some(125), "{token}: {output:?}");
        ensure!(output.stdout.is_empty() && output.stderr.contains(why), "{token}, `{why}`: {output:?}");
        ensure!(!output.stderr.contains(token), "shown: {output:?}");
    }
    let oauth = run(
        bed,
        "oauth-of-the-testbed",
        PLAIN,
        &["--gitlab", "https://gitlab.test", "--revoke-token"],
        "true",
    )?;
    ensure!(oauth.status.code() == Some(125) && oauth.stderr.contains("cannot revoke itself"), "{oauth:?}");
    Ok(())
}

fn ends(bed: &Testbed) -> Result<()> {
    let began = Instant::now();
    let events = bed.fresh_directory("token-ends")?.join("events.jsonl");
    let options = [&HERE[..], &["--events", events.to_str().context("a path of text")?]].concat();
    let output = run(bed, "brief-of-the-testbed", PLAIN, &options, "echo up; sleep 100")?;
    ensure!(output.status.code() == Some(124), "124 expected: {output:?}");
    ensure!(output.stdout.trim() == "up", "{output:?}");
    ensure!(output.stderr.contains("GitLab token is over"), "{output:?}");
    ensure!(output.stderr.contains("GitLab token ends in"), "with a warning before: {output:?}");
    ensure!(began.elapsed() < Duration::from_secs(60), "it took {:?}", began.elapsed());
    let log = fs::read_to_string(events)?;
    let (warned, over) = (log.find("\"token-ends\""), log.find("\"token-over\""));
    ensure!(warned.is_some() && warned < over, "both are in the events, in this order: {log}");
    Ok(())
}

fn revoked(bed: &Testbed) -> Result<()> {
    let count = |bed: &Testbed| bed.web.log().iter().filter(|request| request.method == "DELETE").count();
    let before = count(bed);
    let kept = run(bed, "workflow-of-the-testbed", PLAIN, &HERE, "exit 3")?;
    ensure!(kept.status.code() == Some(3) && count(bed) == before, "{kept:?}");
    let options = ["--gitlab", "https://gitlab.test", "--revoke-token"];
    let output = run(bed, "workflow-of-the-testbed", PLAIN, &options, "exit 3")?;
    ensure!(output.status.code() == Some(3), "the agent's own status: {output:?}");
    let log = bed.web.log();
    let last = log.iter().rfind(|request| request.method == "DELETE").context("a request to revoke it")?;
    ensure!(last.path == "/api/v4/personal_access_tokens/self", "{last:?}");
    ensure!(last.header("private-token") == Some("workflow-of-the-testbed"), "{last:?}");
    Ok(())
}

/// A glab that knows one instance.
const GLAB: &str = "#!/bin/sh\ntest \"$*\" = 'config get token --host gitlab.test' && echo \"$TOKEN\"\n";

fn from_glab(bed: &Testbed) -> Result<()> {
    let folder = bed.fresh_directory("glab")?;
    let program = folder.join("glab");
    fs::write(&program, GLAB)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let path = format!("{}:{}", folder.display(), std::env::var("PATH")?);
    let run = |token: &str, url: &str| {
        let mut command =
            prepared(bed, PLAIN, &["--gitlab-token-glab", "--gitlab", url], "echo \"$GITLAB_TOKEN\"")?;
        bounded(command.env("TOKEN", token).env("PATH", &path), b"", Duration::from_secs(120))
    };
    let output = run("workflow-of-the-testbed", "https://gitlab.test")?;
    ensure!(output.stdout.trim() == "workflow-of-the-testbed", "{output:?}");
    let output = run("wide-of-the-testbed", "https://gitlab.test")?;
    ensure!(output.status.code() == Some(125) && output.stderr.contains("permits: api"), "{output:?}");
    ensure!(!output.stderr.contains("wide-of-the-testbed"), "shown: {output:?}");
    let output = run("workflow-of-the-testbed", "https://other.test")?;
    ensure!(
        output.status.code() == Some(125) && output.stderr.contains("glab has no token for other.test"),
        "{output:?}"
    );
    Ok(())
}

fn behind_proxy(bed: &Testbed) -> Result<()> {
    let policy = |port: u16| {
        let proxy =
            format!("{{url: \"http://{}:{port}\", credentials-env: {}}}", proxy::ADDRESS, CREDENTIALS.0);
        format!("version: 1\nnetwork:\n  proxy: {proxy}\n")
    };
    bed.proxies.take();
    let output =
        run(bed, "workflow-of-the-testbed", &policy(proxy::GUARDED), &HERE, "echo \"$GITLAB_TOKEN\"")?;
    ensure!(output.stdout.trim() == "workflow-of-the-testbed", "{output:?}");
    let asked = bed.proxies.take();
    ensure!(asked.iter().any(|one| one.target == "gitlab.test:443"), "the proxy was asked: {asked:?}");
    let output = run(bed, "workflow-of-the-testbed", &policy(proxy::FORBIDDING), &HERE, "true")?;
    ensure!(output.status.code() == Some(125), "nothing goes around the proxy: {output:?}");
    ensure!(output.stderr.contains("the proxy answered 403"), "{output:?}");
    Ok(())
}
