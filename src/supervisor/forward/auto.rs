//! Forwards of whatever the agent listens on, at free ports of this machine (`-p auto`).
//!
//! ```text
//!  helper: ports that listen ─▶ Followed ─▶ new: take a free port, write it down, open it, say so
//!                                       └─▶ gone for a second: let the port go
//! ```
//! The agent decides on what it listens, so nothing here grows with it: so many ports at once, so
//! many in a run, and it never chooses the port of this machine.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::helper::Control;
use super::in_words;
use super::mapping::{Loopback, Mapping};
use super::reserved::Reserved;
use super::serving::{Room, serve};
use crate::supervisor::engine::Engine;
use crate::supervisor::live;
use crate::supervisor::spec::workflow::Helpers;
use crate::term::Failure;
use crate::wire::carrier::Opener;
use crate::wire::event::Observation;
use crate::wire::forward::AgentPort;

/// Time between two looks.
const BETWEEN: Duration = Duration::from_millis(500);
/// Looks in a row that do not find a port before it is let go: a server that restarts keeps it.
const MISSES: u8 = 3;
/// Ports at once, and different ports in one run.
const AT_ONCE: usize = 16;
const EVER: usize = 128;
/// Openings in one run, of whichever ports: an agent may close and open one without end.
const OPENINGS: usize = 1000;

/// Ports of the agent that are followed.
#[derive(Debug, Default)]
struct Followed {
    /// Those that are open now, with the looks that did not find them since.
    open: BTreeMap<AgentPort, u8>,
    /// All that were ever open, with the port of this machine that they had.
    ever: BTreeMap<AgentPort, u16>,
    /// Openings so far.
    openings: usize,
}

/// Result of a look.
#[derive(Debug, Default, PartialEq, Eq)]
struct Change {
    opens: Vec<AgentPort>,
    closes: Vec<AgentPort>,
    /// Ports for which there is no room.
    left_out: bool,
}

impl Followed {
    /// Compares what is open with what the agent listens on.
    fn look(&mut self, listens: &[AgentPort], leave: &[AgentPort]) -> Change {
        let mut change = Change::default();
        for (port, misses) in &mut self.open {
            *misses = if listens.contains(port) { 0 } else { *misses + 1 };
        }
        self.open.retain(|port, misses| {
            let stays = *misses < MISSES;
            if !stays {
                change.closes.push(*port);
            }
            stays
        });
        for port in listens.iter().filter(|port| !leave.contains(port)) {
            if self.open.contains_key(port) {
                continue;
            }
            let has_room = self.openings < OPENINGS
                && self.open.len() < AT_ONCE
                && (self.ever.len() < EVER || self.ever.contains_key(port));
            match has_room {
                true => {
                    self.openings += 1;
                    self.open.insert(*port, 0);
                    self.ever.entry(*port).or_insert(0);
                    change.opens.push(*port);
                }
                false => change.left_out = true,
            }
        }
        change
    }
}

/// Means to open a port for an agent's.
pub(super) struct Auto {
    /// The engine.
    pub(super) engine: Engine,
    /// The workflow's helpers.
    pub(super) helpers: Helpers,
    /// Opens conversations.
    pub(super) opener: Opener,
    /// Room for connections.
    pub(super) room: Room,
    /// Ports of the agent that are forwarded already.
    pub(super) leave: Vec<AgentPort>,
    /// Tells whether the person may be told: not while the agent has the screen.
    pub(super) speaks: bool,
}

impl Auto {
    /// Follows the agent's ports until the helper is lost or this future is dropped.
    pub(super) async fn follow(self, mut control: Control) {
        let (mut followed, mut serving) = (Followed::default(), BTreeMap::new());
        let mut told_of_room = false;
        while let Ok(listens) = control.ports().await {
            let change = followed.look(&listens, &self.leave);
            for port in change.closes {
                serving.remove(&port);
            }
            for port in change.opens {
                let before = followed.ever.get(&port).copied().unwrap_or_default();
                match self.open(port, before).await {
                    Ok((local, tasks)) => {
                        followed.ever.insert(port, local);
                        serving.insert(port, tasks);
                    }
                    Err(failure) => {
                        self.say(format!("port {port} of the agent is not forwarded: {}", failure.message))
                    }
                }
            }
            if change.left_out && !told_of_room {
                told_of_room = true;
                self.say(format!(
                    "the agent listens on more ports: {AT_ONCE} at once and {EVER} in all are forwarded, opened {OPENINGS} times together"
                ));
            }
            sleep(BETWEEN).await;
        }
    }

    /// Opens a port of this machine for one of the agent's: the one that it had before, where that
    /// is free.
    async fn open(&self, agent: AgentPort, before: u16) -> Result<(u16, JoinSet<()>), Failure> {
        let take = |local| Reserved::take(Mapping { at: Loopback::Both, local, agent });
        let reserved = match before {
            0 => take(0),
            before => take(before).or_else(|_| take(0)),
        }?;
        let local = reserved.local;
        live::note(&self.engine, &self.helpers, vec![(Observation::Forward, in_words(&reserved))]).await?;
        let opened = reserved.listen()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(opened, self.opener.clone(), self.room.clone()));
        // The person knows of a port that is the same again.
        if local != before {
            self.say(format!("http://localhost:{local} leads to port {agent} of the agent"));
        }
        Ok((local, tasks))
    }

    fn say(&self, words: String) {
        if self.speaks {
            crate::term::talk(words);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(numbers: impl IntoIterator<Item = u16>) -> Vec<AgentPort> {
        numbers.into_iter().map(|number| AgentPort::try_from(number).unwrap()).collect()
    }

    #[test]
    fn a_port_is_opened_once_and_let_go_after_some_looks() {
        let mut followed = Followed::default();
        let one = ports([3000]);
        assert_eq!(followed.look(&one, &[]).opens, one);
        assert_eq!(followed.look(&one, &[]), Change::default());
        // A server that restarts.
        assert_eq!(followed.look(&[], &[]), Change::default());
        assert_eq!(followed.look(&one, &[]), Change::default());
        for _ in 1..MISSES {
            assert_eq!(followed.look(&[], &[]), Change::default());
        }
        assert_eq!(followed.look(&[], &[]).closes, one);
        assert_eq!(followed.look(&one, &[]).opens, one);
        // One that is forwarded already is left.
        assert_eq!(followed.look(&ports([3000, 8000]), &ports([8000])), Change::default());
    }

    #[test]
    fn a_port_that_comes_and_goes_is_opened_so_many_times() {
        let mut followed = Followed::default();
        let one = ports([3000]);
        for _ in 0..OPENINGS {
            assert_eq!(followed.look(&one, &[]).opens, one);
            (0..MISSES).for_each(|_| drop(followed.look(&[], &[])));
        }
        let more = followed.look(&one, &[]);
        assert!(more.opens.is_empty() && more.left_out, "{more:?}");
    }

    #[test]
    fn an_agent_that_listens_everywhere_gets_so_many_ports() {
        let mut followed = Followed::default();
        let mut opened = 0;
        for round in 0..100 {
            let change = followed.look(&ports(round * 64 + 1000..round * 64 + 1064), &[]);
            assert!(followed.open.len() <= AT_ONCE);
            opened += change.opens.len();
        }
        assert!(opened <= EVER && followed.ever.len() == EVER, "{opened}");
        assert!(followed.look(&ports([60_000]), &[]).left_out);
    }
}
