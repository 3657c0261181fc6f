//! The engine is somewhere else: behind TLS, behind ssh, in a docker context; and it is used by
//! somebody who is not root.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::command::{Output, bounded, run};
use integration::testbed::engine::variants::Product;
use integration::testbed::remote::{self, SSH_HOST, Sshd, TLS_PORT};
use integration::testbed::{Testbed, gitlab};
use nix::unistd::{Gid, Uid, chown};
use serde_json::{Value, json};

use crate::{Test, skip};

pub(crate) const TESTS: &[Test] = &[
    ("over TCP with TLS, and by a context", tls),
    ("over ssh", ssh),
    ("by somebody who may use the socket and is not root", unprivileged),
];

/// The agent's work in all of these: something permitted, something refused, something from
/// standard input.
const AGENT: &str =
    "curl -sS https://a.test/; curl -sS -m 5 https://b.test/ 2>/dev/null || echo refused; wc -c";

/// `ringfence run` with this AGENT and 100,000 bytes of input, told of the engine by `tell` alone.
fn agent(bed: &Testbed, policy: &Path, tell: impl FnOnce(&mut Command)) -> Result<Output> {
    let mut command = bed.ringfence.command();
    command.env_remove("DOCKER_HOST").arg("run").arg("--policy").arg(policy);
    command.args(["-i", &bed.images.agent, "sh", "-c", AGENT]);
    tell(&mut command);
    bounded(&mut command, &[b'x'; 100_000], Duration::from_secs(120))
}

fn works(output: &Output) -> Result<()> {
    ensure!(output.status.success() && output.stdout == "a.test /\nrefused\n100000\n", "{output:#?}");
    ensure!(output.stderr.contains("b.test"), "the summary names what was refused: {output:#?}");
    Ok(())
}

fn says(output: &Output, what: &str) -> Result<()> {
    ensure!(
        output.status.code() == Some(125) && output.stderr.contains(what),
        "`{what}` expected: {output:#?}"
    );
    Ok(())
}

fn tls(bed: &Testbed) -> Result<()> {
    if !bed.engine.is_private() || bed.engine.product() != Product::Docker {
        return skip("only a dockerd of the tests' own can be made to listen with TLS");
    }
    let (right, wrong) = (bed.fresh_directory("engine-tls")?, bed.fresh_directory("engine-tls-wrong")?);
    remote::certificates(&right)?;
    remote::certificates(&wrong)?;
    bed.engine.restart(&json!({
        "hosts": [format!("tcp://127.0.0.1:{TLS_PORT}")],
        "tlsverify": true,
        "tlscacert": right.join("ca.pem"),
        "tlscert": right.join("server.pem"),
        "tlskey": right.join("server-key.pem"),
    }))?;
    let tested = with_tls(bed, &right, &wrong);
    bed.engine.restart(&Value::Null)?;
    tested
}

/// Files of this machine cannot be given by such an engine, so its own name hosts and resolvers, on
/// its disk: root cannot fill them.
fn names_stay(bed: &Testbed, policy: &Path, host: &str, certificates: &Path) -> Result<()> {
    let script = "for f in hosts hostname resolv.conf; do [ -s /etc/$f ] && echo has $f; \
                  mount -o remount,rw /etc/$f; umount /etc/$f; head -c 9000000 /dev/zero > /etc/$f && echo filled $f; done
                  echo 1 > /proc/sys/kernel/ngroups_max && echo filled; echo written > /etc/other && cat /etc/other";
    let mut command = bed.ringfence.command();
    command.env_remove("DOCKER_HOST").arg("run").arg("--policy").arg(policy);
    command.args(["--user", "0:0", &bed.images.agent, "sh", "-c", script]);
    command.env("DOCKER_HOST", host).env("DOCKER_TLS_VERIFY", "1").env("DOCKER_CERT_PATH", certificates);
    let output = bounded(&mut command, b"", Duration::from_secs(120))?;
    let expected = "has hosts\nhas hostname\nhas resolv.conf\nwritten\n";
    ensure!(output.status.success() && output.stdout == expected, "{output:#?}");
    Ok(())
}

fn with_tls(bed: &Testbed, right: &Path, wrong: &Path) -> Result<()> {
    let host = format!("tcp://127.0.0.1:{TLS_PORT}");
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let by_variables = |certificates: &Path| {
        agent(bed, &policy, |command| {
            command
                .env("DOCKER_HOST", &host)
                .env("DOCKER_TLS_VERIFY", "1")
                .env("DOCKER_CERT_PATH", certificates);
        })
    };
    works(&by_variables(right)?)?;
    names_stay(bed, &policy, &host, right)?;
    // Somebody else's authority: neither does the engine's certificate count, nor ours there.
    says(&by_variables(wrong)?, "certificate")?;
    let anonymous = bed.fresh_directory("engine-tls-anonymous")?;
    fs::copy(right.join("ca.pem"), anonymous.join("ca.pem"))?;
    says(&by_variables(&anonymous)?, "no container engine answers")?;
    // No authority is not every authority.
    says(&by_variables(&right.join("mistyped"))?, "mistyped/ca.pem")?;
    // In the clear the engine says nothing.
    says(
        &agent(bed, &policy, |command| {
            command.env("DOCKER_HOST", &host);
        })?,
        "no container engine answers",
    )?;

    // As docker's own client writes a context.
    let configuration = bed.fresh_directory("engine-contexts")?;
    let material = |file: &str| right.join(file).display().to_string();
    let endpoint = format!(
        "host={host},ca={},cert={},key={}",
        material("ca.pem"),
        material("cert.pem"),
        material("key.pem")
    );
    let mut create = Command::new("docker");
    create.env("DOCKER_CONFIG", &configuration).args(["context", "create", "far", "--docker", &endpoint]);
    let created = bounded(&mut create, b"", Duration::from_secs(30))?;
    ensure!(created.status.success(), "{created:?}");
    let with = |context: Option<&str>| {
        agent(bed, &policy, |command| {
            command.env("DOCKER_CONFIG", &configuration);
            if let Some(context) = context {
                command.env("DOCKER_CONTEXT", context);
            }
        })
    };
    works(&with(Some("far"))?)?;
    says(&with(Some("gone"))?, "docker has no context `gone`")?;
    let mut choose = Command::new("docker");
    choose.env("DOCKER_CONFIG", &configuration).args(["context", "use", "far"]);
    ensure!(bounded(&mut choose, b"", Duration::from_secs(30))?.status.success(), "docker context use");
    works(&with(None)?)
}

fn ssh(bed: &Testbed) -> Result<()> {
    if !bed.engine.is_private() {
        return skip("an ssh server is started only where mounts are the tests' own");
    }
    let sshd = Sshd::start(&bed.fresh_directory("ssh")?, bed.engine.host())?;
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let to = |host: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path =
            std::env::join_paths(std::iter::once(sshd.client.clone()).chain(std::env::split_paths(&path)));
        agent(bed, &policy, |command| {
            command.env("DOCKER_HOST", host).env("PATH", path.unwrap_or_default());
        })
    };
    works(&to(&format!("ssh://{SSH_HOST}"))?)?;
    works(&to("ssh://root@127.0.0.1:2222")?)?;
    // What ssh says is what the person reads.
    says(&to("ssh://nobody@127.0.0.1:2222")?, "ssh: ")?;
    says(&to("ssh://127.0.0.1:2223")?, "Connection refused")
}

/// A user and a group that nobody has.
const USER: u32 = 47_110;
const GROUP: u32 = 47_111;

fn unprivileged(bed: &Testbed) -> Result<()> {
    let Some(socket) = bed.engine.host().strip_prefix("unix://").filter(|_| bed.engine.is_private()) else {
        return skip("the socket of an engine that is not ours keeps its group");
    };
    chown(socket, None, Some(Gid::from_raw(GROUP)))?;
    run("chmod", &["660", socket], Duration::from_secs(5))?;
    // A user who is not root does not get into the tests' own directory.
    let home = tempfile::Builder::new().prefix("ringfence-testbed-user-").tempdir()?;
    let program = home.path().join("ringfence");
    fs::copy(bed.ringfence.executable(), &program)?;
    let policy = home.path().join("policy.yml");
    fs::copy(bed.ringfence.allowing(&["gitlab.test"])?, &policy)?;
    let project = home.path().join("project");
    fs::create_dir(&project)?;
    for path in [home.path(), &project] {
        chown(path, Some(Uid::from_raw(USER)), Some(Gid::from_raw(USER)))?;
    }
    let call = |groups: &str, arguments: &[&str]| -> Result<Output> {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", &USER.to_string(), "--regid", &USER.to_string(), groups])
            .args(["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"])
            .arg(&program)
            .args(arguments)
            .current_dir(home.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", home.path())
            .env("DOCKER_HOST", bed.engine.host());
        bounded(&mut command, b"", Duration::from_secs(120))
    };
    let group = format!("--groups={GROUP}");
    let policy = policy.to_string_lossy();
    let agent = "id -u; git clone --quiet https://gitlab.test/group/project.git; curl -sS -m 5 https://b.test/ 2>/dev/null || echo refused";
    let arguments =
        ["run", "--policy", &policy, "--project", "project", &bed.images.agent, "sh", "-c", agent];

    let output = call(&group, &arguments)?;
    ensure!(output.status.success() && output.stdout == format!("{USER}\nrefused\n"), "{output:#?}");
    let file = project.join("project").join(gitlab::FILE.0);
    let meta =
        fs::metadata(&file).with_context(|| format!("{} was not cloned: {output:#?}", file.display()))?;
    ensure!(std::os::unix::fs::MetadataExt::uid(&meta) == USER, "the clone is the user's own");
    for arguments in [&["ps", "--json"][..], &["gc"]] {
        let output = call(&group, arguments)?;
        ensure!(output.status.success(), "{arguments:?}: {output:#?}");
    }
    let without = call("--clear-groups", &arguments)?;
    says(&without, "ermission denied")?;
    ensure!(without.stderr.contains("group docker"), "and what to do: {without:#?}");
    Ok(())
}
