//! Connections of the fenced agent's ssh, request by request.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::sleep;

use super::filter::{Filter, Judged, Login};
use super::keys::{Keys, is_strong_signature};
use super::known_hosts::{KnownHosts, Server, names};
use super::message::{read, write};
use super::permission::Permission;
use super::persons_agent::{Connection, PersonsAgent};
use super::signatures::{Signatures, quoted};
use super::turns::Turns;
use crate::supervisor::engine::Engine;
use crate::supervisor::live;
use crate::supervisor::spec::workflow::Helpers;
use crate::term::Warning;
use crate::wire::event::Observation;

/// Answer to a request that is refused.
const FAILURE: &[u8] = &[5];
/// Time that each request takes at least: an agent may ask without end, and this machine is not to
/// be busy with it.
const PACE: Duration = Duration::from_millis(5);

/// Everything that a connection needs.
pub(super) struct Way {
    pub(super) engine: Engine,
    pub(super) helpers: Helpers,
    pub(super) permission: Permission,
    pub(super) agent: PersonsAgent,
    pub(super) known: Arc<KnownHosts>,
    pub(super) keys: Arc<Keys>,
    pub(super) signatures: Signatures,
    pub(super) turns: Turns,
    /// Servers at which plain logins were refused, and told.
    pub(super) plain: Mutex<BTreeSet<String>>,
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
                Judged::Pass if !self.turns.are_over() => self.pass(&mut own, &request).await?,
                Judged::Login(login) => self.sign(&mut own, &request, &login).await?,
                Judged::Plain(servers) => {
                    self.tell_plain(servers);
                    FAILURE.to_vec()
                }
                Judged::Pass | Judged::Refused => FAILURE.to_vec(),
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

    /// Has a login signed, if it is permitted before and after: the person's agent may ask the
    /// person, who may cut the network meanwhile.
    async fn sign(
        &self,
        own: &mut Option<Connection>,
        request: &[u8],
        login: &Login<'_, '_>,
    ) -> io::Result<Vec<u8>> {
        let Some(_turn) = self.turns.next().await else { return Ok(FAILURE.to_vec()) };
        if !self.permission.holds(login.servers).await || !self.is_written_down(login).await {
            return Ok(FAILURE.to_vec());
        }
        let answer = self.pass(own, request).await;
        if !answer.as_deref().is_ok_and(is_strong_signature) {
            if self.turns.unsigned() {
                crate::term::warn(Warning::SshAgentAskedNoMore);
            }
            return answer.map(|_| FAILURE.to_vec());
        }
        if !self.permission.holds(login.servers).await {
            return Ok(FAILURE.to_vec());
        }
        self.signatures.add(&names(login.servers), &self.keys.shown(login.key), login.user);
        answer
    }

    /// Writes a login into the guard's log; `false` where it may not be there for good.
    async fn is_written_down(&self, login: &Login<'_, '_>) -> bool {
        let (user, servers) = (quoted(login.user), names(login.servers));
        let what = format!("a login as {user} at {servers} with {}", self.keys.shown(login.key));
        live::note(&self.engine, &self.helpers, vec![(Observation::SshSigned, what)]).await.is_ok()
    }

    /// Tells the person once of a server whose logins name no server.
    fn tell_plain(&self, servers: &BTreeSet<Server>) {
        let Some(server) = servers.first() else { return };
        let mut told = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(names(servers)) {
            crate::term::warn(Warning::SshLoginPlain { server: server.as_option() });
        }
    }
}
