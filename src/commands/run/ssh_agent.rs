//! `--ssh-agent`: the person's ssh agent and known hosts.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use netpolicy::policy::Policy;

use crate::cli::run::RunArgs;
use crate::host::{account, open};
use crate::supervisor::spec::places;
use crate::supervisor::ssh_agent::known_hosts::KnownHosts;
use crate::supervisor::ssh_agent::{SshAgentRequest, WantedKey};
use crate::term::{self, COULD_NOT_RUN, Failure};
use crate::wire::ssh_agent::{FOLDER, KNOWN_HOSTS, SOCKET};

/// The socket's variable, which ssh and its relatives read.
const SOCKET_VARIABLE: &str = "SSH_AUTH_SOCK";
/// Variable by which git runs ssh.
const GIT_VARIABLE: &str = "GIT_SSH_COMMAND";
/// The most of a file of known hosts that is read.
const LONGEST: u64 = 8 << 20;

/// Takes the person's ssh agent where that was asked for, and lays what leads to it on the agent's
/// variables.
///
/// # Errors
/// When there is no ssh agent, or it could log in nowhere.
pub(super) async fn take(
    args: &RunArgs,
    policy: &Policy,
    env: &mut Vec<String>,
) -> Result<Option<SshAgentRequest>, Failure> {
    if !args.ssh_agent {
        return Ok(None);
    }
    let is_given = |env: &[String], name: &str| env.iter().any(|pair| pair.split('=').next() == Some(name));
    if is_given(env, SOCKET_VARIABLE) {
        let what = format!("--ssh-agent sets {SOCKET_VARIABLE}, which is given too");
        return Err(Failure::new(COULD_NOT_RUN, what).hint("leave one of them out"));
    }
    let mut known = known_hosts(policy)?;
    for named in &args.ssh_agent_plain {
        if !known.consent_to_plain(named) {
            let what = format!("--ssh-agent-plain {}: no such server", term::line(named));
            return Err(Failure::new(COULD_NOT_RUN, what)
                .hint("name one that the policy permits and your known hosts have: HOST or HOST:PORT"));
        }
    }
    let wanted = args.ssh_key.iter().map(|file| wanted(file)).collect::<Result<Vec<_>, _>>()?;
    let socket = std::env::var_os(SOCKET_VARIABLE).map(PathBuf::from);
    let request = SshAgentRequest::take(socket, &wanted, known).await?;
    let folder = format!("{}/{FOLDER}", places::NOTICE);
    env.push(format!("{SOCKET_VARIABLE}={folder}/{SOCKET}"));
    if !is_given(env, GIT_VARIABLE) {
        env.push(format!(
            "{GIT_VARIABLE}=ssh -o GlobalKnownHostsFile={folder}/{KNOWN_HOSTS} -o UserKnownHostsFile=/dev/null \
             -o StrictHostKeyChecking=yes -o CheckHostIP=no -o UpdateHostKeys=no"
        ));
    }
    tell(&request);
    Ok(Some(request))
}

/// Tells what the agent may have signed.
fn tell(request: &SshAgentRequest) {
    let listed = |names: Vec<String>| term::line(&names.join(", "));
    let names = request.known.names().into_iter().map(ToString::to_string).collect();
    let keys = listed(request.keys());
    term::talk(format_args!("your ssh agent signs logins of the agent at {}, with {keys}", listed(names)));
    let same: Vec<String> = request.known.same_key().iter().map(ToString::to_string).collect();
    if !same.is_empty() {
        term::essential(format_args!(
            "by your known hosts these have the key of such a server, so that a login there can be signed too: {}",
            listed(same)
        ));
    }
    let plain: Vec<String> = request.known.plain().iter().map(ToString::to_string).collect();
    if !plain.is_empty() {
        term::essential(format_args!(
            "--ssh-agent-plain: these, and whoever can read a host key of theirs, can have logins at every other \
             server signed: {}",
            listed(plain)
        ));
    }
}

/// Reads the person's known hosts for the servers that a policy permits.
///
/// # Errors
/// When a file is there and cannot be read whole, or somebody else may have written it: it may
/// revoke a key.
fn known_hosts(policy: &Policy) -> Result<KnownHosts, Failure> {
    let home = account::home().ok_or_else(|| {
        Failure::new(COULD_NOT_RUN, "--ssh-agent: your account has no home, where your known hosts are")
            .hint("set HOME to an absolute path")
    })?;
    let files =
        [home.join(".ssh/known_hosts"), home.join(".ssh/known_hosts2"), "/etc/ssh/ssh_known_hosts".into()];
    let mut texts = Vec::new();
    for file in &files {
        match open::read_trusted(file, LONGEST) {
            Ok(bytes) => texts.push(String::from_utf8_lossy(&bytes).into_owned()),
            Err(refused) if refused.is_missing() => {}
            Err(refused) => {
                let what = format!("--ssh-agent: cannot use your known hosts in {}", file.display());
                return Err(refused.explain(Failure::new(COULD_NOT_RUN, what)));
            }
        }
    }
    KnownHosts::read(&texts, policy).map_err(|why| {
        Failure::new(COULD_NOT_RUN, format!("--ssh-agent: {why}")).hint("take out what you need no more")
    })
}

/// Reads the public half of a key.
///
/// # Errors
/// When the file is something else, or somebody else may have written it.
fn wanted(file: &Path) -> Result<WantedKey, Failure> {
    let bytes = open::read_trusted(file, LONGEST).map_err(|refused| {
        let what = format!("--ssh-key: cannot use {}", term::line(&file.to_string_lossy()));
        refused.explain(Failure::new(COULD_NOT_RUN, what))
    })?;
    let text = String::from_utf8_lossy(&bytes);
    let key = text.split_ascii_whitespace().nth(1).and_then(|word| STANDARD.decode(word).ok());
    match key.filter(|_| !text.contains("PRIVATE KEY")) {
        Some(key) => Ok(WantedKey { file: file.to_owned(), key }),
        None => {
            let what = format!("--ssh-key: {} is no public key", term::line(&file.to_string_lossy()));
            Err(Failure::new(COULD_NOT_RUN, what).hint("give the file that ends in `.pub`"))
        }
    }
}
