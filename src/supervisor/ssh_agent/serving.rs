//! Connections of the fenced agent's ssh, request by request.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::sleep;

use super::filter::{Filter, Judged, Login};
use super::keys::Keys;
use super::known_hosts::KnownHosts;
use super::message::{read, write};
use super::permission::Permission;
use super::persons_agent::{Connection, PersonsAgent};
use super::signatures::Signatures;
use crate::supervisor::engine::Engine;
use crate::supervisor::live;
use crate::supervisor::spec::workflow::Helpers;
use crate::wire::event::Observation;

/// Answer to a request that is refused.
const FAILURE: &[u8] = &[5];
/// Time that each request takes at least: an agent may ask without end, and this machine is not to
/// be busy with it.
const PACE: Duration = Duration::from_millis(5);
/// The most of a user's name that is written down.
const LONGEST_USER: usize = 64;

/// Everything that a connection needs.
pub(super) struct Way {
    pub(super) engine: Engine,
    pub(super) helpers: Helpers,
    pub(super) permission: Permission,
    pub(super) agent: PersonsAgent,
    pub(super) known: Arc<KnownHosts>,
    pub(super) keys: Arc<Keys>,
    pub(super) signatures: Signatures,
}

impl Way {
    /// Serves one connection to its end.
    pub(super) async fn serve(
        &self,
        mut conversation: impl AsyncRead + AsyncWrite + Unpin,
    ) -> io::Result<()> {
        let mut filter = Filter::new(&self.known, &self.keys);
        let mut own = None;
        while let Some(request) = read(&mut conversation).await? {
            sleep(PACE).await;
            let answer = match filter.judge(&request) {
                Judged::List => self.keys.answer(),
                Judged::Pass => self.pass(&mut own, &request).await?,
                Judged::Login(login) if self.may_sign(&login).await => self.pass(&mut own, &request).await?,
                Judged::Login(_) | Judged::Refused => FAILURE.to_vec(),
            };
            write(&mut conversation, &answer).await?;
        }
        conversation.shutdown().await
    }

    /// Passes a request on, by one connection for all of the agent's, since a session is bound to
    /// a connection.
    async fn pass(&self, own: &mut Option<Connection>, request: &[u8]) -> io::Result<Vec<u8>> {
        let own = match own {
            Some(own) => own,
            None => own.insert(self.agent.connect().await?),
        };
        own.ask(request).await
    }

    /// Tells whether a login may be signed now, counts it, and has it in the log before it is.
    async fn may_sign(&self, login: &Login<'_, '_>) -> bool {
        let Some(server) = login.servers.first() else { return false };
        if !self.permission.holds(login.servers).await {
            return false;
        }
        let comment = self.keys.comment(login.key).filter(|comment| !comment.is_empty());
        let user: String = login.user.chars().take(LONGEST_USER).collect();
        let what =
            format!("a login as {user}@{server} with {}", comment.unwrap_or("a key without a comment"));
        let notes = vec![(Observation::SshSigned, what.clone())];
        self.signatures.count(&what) && live::note(&self.engine, &self.helpers, notes).await.is_ok()
    }
}
