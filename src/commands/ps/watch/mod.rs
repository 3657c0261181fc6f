//! `ringfence ps --watch`: the workflows on the engine as a view that goes on.
//!
//! ```text
//!  look: lists, usage ─┐
//!  feeds: events       ├─Message─▶ Dashboard::update ─▶ draw, at most 20 times a second
//!  keys, clock         │                └─ Effect ─▶ work (a thread, the code of `allow` and `stop`)
//!  work: answers ──────┘                                                          └─ answer ─▶ Message
//! ```

mod feeds;
mod look;
mod work;

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use self::feeds::Feeds;
use self::look::Look;
use self::work::Work;
use crate::cli::PsArgs;
use crate::dashboard::{self, Dashboard, Effect, Message};
use crate::host::clock::unix_seconds;
use crate::supervisor::engine;
use crate::supervisor::signals::{Signals, status_of_signal};
use crate::term::screen::{self, Screen};
use crate::term::{COULD_NOT_RUN, Failure};

/// News that wait to be shown.
const WAITING: usize = 64;
/// News that are taken over between two looks at the keys.
const AT_ONCE: usize = 256;
/// Time between two drawings.
const FRAME: Duration = Duration::from_millis(50);

/// Shows the view until a person or a signal ends it.
pub(super) async fn watch(engine_host: Option<&str>, args: &PsArgs) -> Result<u8, Failure> {
    check(args, screen::has_screen())?;
    let engine = engine::connect(engine_host).await?;
    let mut signals = Signals::new()?;
    let mut view = Dashboard::new(&engine.host, crate::term::stdout_has_colours(), unix_seconds());
    let (send, news) = mpsc::channel(WAITING);
    let look = Look::begin(engine_host, engine, send.clone());
    let mut work = Work::new(engine_host, send);
    let mut screen = Screen::take()?;
    let ended = show(&mut view, &mut screen, news, &look, &mut work, &mut signals).await;
    drop(screen);
    work.finish(&mut signals).await;
    ended
}

/// Refuses what is no view.
fn check(args: &PsArgs, has_screen: bool) -> Result<(), Failure> {
    let cannot = |what: &str| Failure::new(COULD_NOT_RUN, format!("ps --watch {what}"));
    if args.json {
        return Err(cannot("is a view for people, and --json is for programs").hint(
            "follow the events of a workflow: ringfence events ID --follow --json; or list once: ringfence ps --json",
        ));
    }
    if args.all {
        return Err(cannot("shows what is on the engine").hint("list what is over too: ringfence ps --all"));
    }
    if !has_screen {
        return Err(cannot("needs a terminal").hint(
            "follow the events of a workflow: ringfence events ID --follow; or list once: ringfence ps",
        ));
    }
    Ok(())
}

/// Shows news and does what keys ask for, until the end; the exit status.
async fn show(
    view: &mut Dashboard,
    screen: &mut Screen,
    mut news: mpsc::Receiver<Message>,
    look: &Look,
    work: &mut Work,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    let mut keys = screen::keys()?;
    let mut feeds = Feeds::new(work.news());
    let mut clock = interval(Duration::from_secs(1));
    clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut is_old, mut next_frame) = (true, Instant::now());
    loop {
        tokio::select! {
            biased;
            number = signals.next() => return Ok(status_of_signal(number)),
            key = keys.recv() => {
                // Without keys there is no terminal any more.
                let Some(key) = key else { return Ok(0) };
                match view.update(Message::Key(key)) {
                    Some(Effect::Quit) => return Ok(0),
                    Some(Effect::Redraw) => screen.clear()?,
                    Some(effect) => work.begin(&effect),
                    None => {}
                }
                (is_old, next_frame) = (true, Instant::now());
            }
            () = sleep_until(next_frame), if is_old => {
                screen.draw(|frame| dashboard::draw(view, frame))?;
                (is_old, next_frame) = (false, Instant::now() + FRAME);
            }
            _ = clock.tick() => {
                _ = view.update(Message::Clock(unix_seconds()));
                is_old = true;
            }
            Some(first) = news.recv() => {
                take(view, &mut feeds, look, work, first);
                for _ in 0..AT_ONCE {
                    let Ok(next) = news.try_recv() else { break };
                    take(view, &mut feeds, look, work, next);
                }
                is_old = true;
            }
        }
    }
}

/// Takes news over. A list says whose events are to be followed.
fn take(view: &mut Dashboard, feeds: &mut Feeds, look: &Look, work: &mut Work, message: Message) {
    match &message {
        Message::Listed(listed, _) => {
            // The view forgets those beyond its first ones, and so do the feeds.
            let shown = &listed[..listed.len().min(dashboard::MOST)];
            for id in feeds.follow(&look.engine(), shown, view.chosen_id()) {
                _ = view.update(Message::FollowEnded(id, None));
            }
        }
        Message::Answered { .. } => {
            look.soon();
            work.told();
        }
        _ => {}
    }
    _ = view.update(message);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_view_is_refused_and_pointed_elsewhere() {
        let args = |all, json| PsArgs { all, json, watch: true };
        let hint = |args: &PsArgs, has_screen| check(args, has_screen).err().and_then(|failure| failure.hint);
        assert_eq!(hint(&args(false, false), true), None);
        for (args, has_screen, wanted) in [
            (args(false, false), false, "ringfence events ID --follow"),
            (args(false, true), true, "ringfence events ID --follow --json"),
            (args(true, false), true, "ringfence ps --all"),
        ] {
            assert!(hint(&args, has_screen).is_some_and(|hint| hint.contains(wanted)), "{args:?}");
        }
    }
}
