//! `--ssh-agent`: the person's ssh agent and known hosts.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use netpolicy::policy::Policy;

use crate::cli::run::RunArgs;
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
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let files =
        [home.join(".ssh/known_hosts"), home.join(".ssh/known_hosts2"), "/etc/ssh/ssh_known_hosts".into()];
    let texts: Vec<String> = files.iter().filter_map(|file| read(file)).collect();
    let known = KnownHosts::read(&texts, policy);
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
    let names: Vec<String> = request.known.names().into_iter().map(ToString::to_string).collect();
    let keys = match request.keys() {
        1 => "1 key".to_owned(),
        keys => format!("{keys} keys"),
    };
    term::talk(format_args!(
        "your ssh agent signs logins of the agent, with {keys}, at: {}",
        term::line(&names.join(", "))
    ));
    Ok(Some(request))
}

/// Reads the public half of a key.
///
/// # Errors
/// When the file is something else.
fn wanted(file: &Path) -> Result<WantedKey, Failure> {
    let text = read(file).unwrap_or_default();
    let key = text.split_ascii_whitespace().nth(1).and_then(|word| STANDARD.decode(word).ok());
    match key.filter(|_| !text.contains("PRIVATE KEY")) {
        Some(key) => Ok(WantedKey { file: file.to_owned(), key }),
        None => {
            let what = format!("--ssh-key: {} is no public key", term::line(&file.to_string_lossy()));
            Err(Failure::new(COULD_NOT_RUN, what).hint("give the file that ends in `.pub`"))
        }
    }
}

/// Reads a file; what is no text, or too much of it, names no server.
fn read(file: &Path) -> Option<String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(file).ok()?.take(LONGEST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
