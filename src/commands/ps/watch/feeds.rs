//! The events of all workflows whose guards run.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::commands::events::feed::EventFeed;
use crate::dashboard::{Listed, Message};
use crate::supervisor::engine::Engine;
use crate::wire::event::Line;
use crate::wire::{Role, WorkflowId};

/// Workflows whose events are followed at once: each is a connection to the engine.
const MOST: usize = 64;
/// Events of one message.
const AT_ONCE: usize = 500;
/// The longest line that is read, in bytes: each feed may keep one.
const LONGEST: usize = 1 << 20;
/// Shortest time between two readings of one log. A feed that breaks off again doubles it.
const SHORTEST_PAUSE: Duration = Duration::from_secs(2);
/// Longest time between two readings. A feed that lasted as long is no broken one.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The feeds, until this is dropped.
pub(super) struct Feeds {
    send: mpsc::Sender<Message>,
    running: HashMap<WorkflowId, Feed>,
    /// Pauses of feeds that broke off.
    pauses: HashMap<WorkflowId, Pause>,
}

/// A feed, and when it began.
struct Feed {
    task: JoinHandle<()>,
    began: Instant,
}

/// Time in which a log is not read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pause {
    length: Duration,
    until: Instant,
}

impl Pause {
    /// Returns the pause after a feed that broke off now.
    fn after(before: Option<Pause>, lasted: Duration, now: Instant) -> Pause {
        let length = match before {
            Some(before) if lasted < LONGEST_PAUSE => (before.length * 2).min(LONGEST_PAUSE),
            _ => SHORTEST_PAUSE,
        };
        Pause { length, until: now + length }
    }
}

impl Feeds {
    pub(super) fn new(send: mpsc::Sender<Message>) -> Feeds {
        Feeds { send, running: HashMap::new(), pauses: HashMap::new() }
    }

    /// Follows the workflows of a list, as long as their guards run, the chosen one first. One
    /// whose feed broke off is followed anew, after a pause. Returns those that are followed no
    /// more.
    pub(super) fn follow(
        &mut self,
        engine: &Engine,
        listed: &[Listed],
        chosen: Option<WorkflowId>,
    ) -> Vec<WorkflowId> {
        let now = Instant::now();
        self.leave(listed, now);
        let mut left = Vec::new();
        let mut wanted: Vec<&Listed> = listed.iter().filter(|one| one.found.guard == "running").collect();
        wanted.sort_by_key(|one| Some(one.found.id) != chosen);
        for one in wanted {
            let id = one.found.id;
            let Some(guard) = one.found.container(Role::Guard) else { continue };
            if self.running.contains_key(&id) {
                continue;
            }
            if let Some(pause) = self.pauses.get(&id).filter(|pause| now < pause.until) {
                // After the first break the guard may have ended since the list was made.
                left.extend((pause.length > SHORTEST_PAUSE).then_some(id));
                continue;
            }
            if self.running.len() >= MOST {
                if Some(id) != chosen {
                    break;
                }
                left.extend(self.make_room(listed));
            }
            let feed = EventFeed::of(engine, id, guard).within(LONGEST);
            let task = tokio::spawn(feed_on(feed, id, self.send.clone()));
            self.running.insert(id, Feed { task, began: now });
        }
        left
    }

    /// Ends the feeds of those that are not listed, and notes which broke off.
    fn leave(&mut self, listed: &[Listed], now: Instant) {
        let find = |id: &WorkflowId| listed.iter().find(|one| one.found.id == *id);
        self.pauses.retain(|id, _| find(id).is_some());
        let pauses = &mut self.pauses;
        self.running.retain(|id, feed| {
            let found = find(id);
            if found.is_some() && !feed.task.is_finished() {
                return true;
            }
            feed.task.abort();
            if found.is_some_and(|found| found.found.guard == "running") {
                let pause = Pause::after(pauses.get(id).copied(), now - feed.began, now);
                pauses.insert(*id, pause);
            }
            false
        });
    }

    /// Ends the feed of the workflow that is listed last.
    fn make_room(&mut self, listed: &[Listed]) -> Option<WorkflowId> {
        let last = listed.iter().rev().map(|one| one.found.id).find(|id| self.running.contains_key(id))?;
        self.running.remove(&last)?.task.abort();
        Some(last)
    }
}

impl Drop for Feeds {
    fn drop(&mut self) {
        self.running.values().for_each(|feed| feed.task.abort());
    }
}

/// Sends events on until they end. A view that is slow has the engine wait.
async fn feed_on(mut feed: EventFeed, id: WorkflowId, send: mpsc::Sender<Message>) {
    let mut has_begun = false;
    // Where it breaks off, the next list says whether there is anything to follow.
    while let Ok(Some(text)) = feed.next().await {
        // An engine that gives no log was followed in nothing.
        if !std::mem::replace(&mut has_begun, true) && send.send(Message::FollowBegan(id)).await.is_err() {
            return;
        }
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let lines: Vec<Line> = lines.filter_map(Line::read).collect();
        for part in lines.chunks(AT_ONCE) {
            if send.send(Message::Events(id, part.to_vec())).await.is_err() {
                return;
            }
        }
    }
    if feed.is_too_long() {
        drop(feed);
        let why = format!("a line of its log is longer than {} MiB; it is not followed", LONGEST >> 20);
        _ = send.send(Message::FollowEnded(id, Some(why))).await;
        // Another reading would end there again: this one lasts as long as the workflow.
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_that_breaks_off_again_and_again_is_read_ever_more_seldom() {
        let now = Instant::now();
        let mut pause = None;
        let mut seconds = Vec::new();
        for _ in 0..7 {
            pause = Some(Pause::after(pause, Duration::from_secs(1), now));
            seconds.extend(pause.map(|pause| pause.length.as_secs()));
        }
        assert_eq!(seconds, [2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(Pause::after(pause, LONGEST_PAUSE, now).length, SHORTEST_PAUSE);
    }
}
