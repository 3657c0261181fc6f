//! The person's ssh agent, for logins of a fenced agent at permitted servers.
//!
//! ```text
//!  ssh in the container ─▶ SSH_AUTH_SOCK, a socket of `fence ssh-agent` ═ carrier ═ engine's exec ═ here
//!     ─▶ Filter: a login at a permitted server? ─▶ Turns ─▶ Permission ─▶ event ─▶ the person's agent ─▶ Permission
//! ```
//! The person's socket is never mounted. The helper in the fence's container moves bytes and knows
//! nothing of them; what may be asked is decided here. Each signature is in the log before it is
//! made. With this process the way is gone.

mod filter;
mod host_key;
mod keys;
pub(crate) mod known_hosts;
mod message;
mod permission;
mod persons_agent;
mod serving;
mod signatures;
mod turns;
mod wire;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use netpolicy::policy::Policy;
use tokio::task::JoinSet;

use self::keys::Keys;
pub(crate) use self::keys::WantedKey;
use self::known_hosts::KnownHosts;
use self::permission::Permission;
use self::persons_agent::PersonsAgent;
use self::serving::Way;
use self::signatures::Signatures;
use self::turns::Turns;
use crate::supervisor::engine::Engine;
use crate::supervisor::helper_carrier::HelperCarrier;
use crate::supervisor::spec::workflow::Helpers;
use crate::term::{COULD_NOT_RUN, Failure, Warning};
use crate::wire::ssh_agent::{CONNECTIONS, HELPER};

/// An ssh agent that a run may use.
#[derive(Debug)]
pub(crate) struct SshAgentRequest {
    agent: PersonsAgent,
    keys: Arc<Keys>,
    /// Servers at which a login is signed.
    pub(crate) known: Arc<KnownHosts>,
}

impl SshAgentRequest {
    /// Takes the agent that the person's environment names, with the wanted keys, or all.
    ///
    /// # Errors
    /// When there is none of the person's own, it lacks a key, or no server is known and permitted.
    pub(crate) async fn take(
        socket: Option<PathBuf>,
        wanted: &[WantedKey],
        known: KnownHosts,
    ) -> Result<SshAgentRequest, Failure> {
        let socket = socket.filter(|path| !path.as_os_str().is_empty()).ok_or_else(|| {
            cannot("SSH_AUTH_SOCK names no ssh agent").hint("start one: eval $(ssh-agent), then ssh-add")
        })?;
        let agent = PersonsAgent::at(&socket)
            .ok_or_else(|| cannot(format!("{} is no socket of yours", socket.display())))?;
        if known.is_empty() {
            let why = "no server that the policy permits is in your known hosts";
            return Err(cannot(why).hint("permit it (--allow HOST:22), and connect to it once yourself"));
        }
        let keys = agent.keys().await;
        let keys = keys.map_err(|error| cannot("your ssh agent does not answer").caused_by(&error))?;
        if keys.is_empty() {
            return Err(cannot("your ssh agent holds no key").hint("add one: ssh-add"));
        }
        let keys = match wanted {
            [] => keys,
            wanted => keys.only(wanted).map_err(|file| {
                cannot(format!("your ssh agent does not hold the key of {}", file.display()))
                    .hint("add it: ssh-add, with the file without `.pub`")
            })?,
        };
        Ok(SshAgentRequest { agent, keys: Arc::new(keys), known: Arc::new(known) })
    }

    /// Returns the keys as a person knows them.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.keys.all_shown()
    }
}

fn cannot(why: impl std::fmt::Display) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("--ssh-agent: {why}"))
}

/// The way to the person's agent, as long as this value lives.
#[derive(Debug)]
pub(crate) struct SshAgent {
    tasks: JoinSet<()>,
    signatures: Signatures,
}

impl SshAgent {
    /// Opens the way, for a run with this policy.
    ///
    /// # Errors
    /// When the helper cannot be started.
    pub(crate) async fn begin(
        engine: &Engine,
        helpers: &Helpers,
        policy: &Policy,
        request: &SshAgentRequest,
    ) -> Result<SshAgent, Failure> {
        let what = "the ssh agent's helper in the fence";
        let carrier =
            HelperCarrier::open(engine, &helpers.fence, ["fence", "ssh-agent"], Some(HELPER), what).await?;
        let signatures = Signatures::default();
        let way = Arc::new(Way {
            engine: engine.clone(),
            helpers: helpers.clone(),
            permission: Permission::new(engine, helpers, policy),
            agent: request.agent.clone(),
            known: Arc::clone(&request.known),
            keys: Arc::clone(&request.keys),
            signatures: signatures.clone(),
            turns: Turns::default(),
            plain: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let handle = |conversation, is_full: bool| {
                let way = Arc::clone(&way);
                async move {
                    if !is_full {
                        let _ = way.serve(conversation).await;
                    }
                }
            };
            carrier.serve(CONNECTIONS, handle).await;
            crate::term::warn(Warning::SshAgentLost);
        });
        Ok(SshAgent { tasks, signatures })
    }
}

/// Tells what was signed, however the run ends: services may have used the way before the agent.
impl Drop for SshAgent {
    fn drop(&mut self) {
        self.tasks.abort_all();
        self.signatures.in_words().iter().for_each(crate::term::essential);
    }
}
