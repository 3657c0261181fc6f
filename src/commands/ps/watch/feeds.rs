//! The events of all workflows whose guards run.

use std::collections::HashMap;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::commands::events::feed::EventFeed;
use crate::dashboard::{Listed, Message};
use crate::supervisor::engine::Engine;
use crate::wire::event::Line;
use crate::wire::{Role, WorkflowId};

/// Workflows whose events are followed at once: each is a connection to the engine.
const MOST: usize = 64;
/// Events of one message.
const AT_ONCE: usize = 500;

/// The feeds, until this is dropped.
pub(super) struct Feeds {
    send: mpsc::Sender<Message>,
    running: HashMap<WorkflowId, JoinHandle<()>>,
}

impl Feeds {
    pub(super) fn new(send: mpsc::Sender<Message>) -> Feeds {
        Feeds { send, running: HashMap::new() }
    }

    /// Follows the workflows of a list, as long as their guards run. One whose feed broke off is
    /// followed anew.
    pub(super) fn follow(&mut self, engine: &Engine, listed: &[Listed]) {
        let is_there = |id: &WorkflowId| listed.iter().any(|one| one.found.id == *id);
        self.running.retain(|id, feed| {
            let stays = is_there(id) && !feed.is_finished();
            if !stays {
                feed.abort();
            }
            stays
        });
        for one in listed.iter().filter(|one| one.found.guard == "running") {
            let Some(guard) = one.found.container(Role::Guard) else { continue };
            if self.running.len() < MOST && !self.running.contains_key(&one.found.id) {
                let feed = EventFeed::of(engine, one.found.id, guard);
                let feed = tokio::spawn(feed_on(feed, one.found.id, self.send.clone()));
                self.running.insert(one.found.id, feed);
            }
        }
    }
}

impl Drop for Feeds {
    fn drop(&mut self) {
        self.running.values().for_each(JoinHandle::abort);
    }
}

/// Sends events on until they end. A view that is slow has the engine wait.
async fn feed_on(mut feed: EventFeed, id: WorkflowId, send: mpsc::Sender<Message>) {
    if send.send(Message::FollowBegan(id)).await.is_err() {
        return;
    }
    // Where it breaks off, the next list says whether there is anything to follow.
    while let Ok(Some(text)) = feed.next().await {
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let lines: Vec<Line> = lines.filter_map(Line::read).collect();
        for part in lines.chunks(AT_ONCE) {
            if send.send(Message::Events(id, part.to_vec())).await.is_err() {
                return;
            }
        }
    }
}
