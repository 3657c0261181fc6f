//! Refusals on the person's terminal, outside of the agent's screen: its title, and a notification.
//!
//! ```text
//!  guard's lines ─▶ ShownRefusal ─(watch)─▶ TerminalTitle ─▶ OSC 2, OSC 9
//!                                           at most once a second, between two sequences of the agent's
//! ```
//! The agent can write a title too, so a title proves nothing: the events do. What stands in it is
//! made of the letters of host names, of digits and of fixed words.

use std::io::StdoutLock;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::escape_state::{END_SEQUENCE, EscapeState};
use super::{to_screen, write_all};

/// Titles do not follow each other faster.
const TITLE_PAUSE: Duration = Duration::from_secs(1);
/// Notifications do not follow each other faster.
const NOTIFY_PAUSE: Duration = Duration::from_secs(10);
/// Characters of a target that are shown.
const LONGEST: usize = 80;
/// Keeps the present title, where a terminal can do that (XTWINOPS).
const KEEP: &[u8] = b"\x1b[22;2t";
/// Empties the title, and has the terminal take the one that was kept.
const RESTORE: &[u8] = b"\x1b]2;\x07\x1b[23;2t";
/// A terminal that stands still for so long is left as it is: the run's end must not wait for it.
const END_LIMIT: Duration = Duration::from_secs(1);

/// Refusals of a run so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ShownRefusal {
    /// Number of the attempts.
    pub(crate) attempts: u64,
    /// Target of the latest.
    pub(crate) latest: String,
}

/// Surfaces on which refusals are shown during a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Surfaces {
    /// The terminal's title.
    pub(crate) title: bool,
    /// Notifications of the terminal.
    pub(crate) notify: bool,
}

/// The screen as the agent left it, and what ringfence did to it.
#[derive(Debug, Default)]
struct Screen {
    state: EscapeState,
    /// The terminal's own title was kept.
    is_kept: bool,
    /// Nothing more is written.
    is_over: bool,
}

type SharedScreen = Arc<Mutex<Screen>>;

fn locked(screen: &SharedScreen) -> MutexGuard<'_, Screen> {
    screen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The terminal's title while an agent has the screen.
pub(crate) struct TerminalTitle {
    surfaces: Surfaces,
    screen: SharedScreen,
    refusals: watch::Receiver<ShownRefusal>,
    /// There is something to write.
    is_pending: bool,
    next: Instant,
    next_notice: Instant,
}

impl TerminalTitle {
    /// Begins to show refusals; nothing where there is no surface for them. The terminal is as it
    /// was once the second value is dropped.
    pub(crate) fn begin(
        surfaces: Surfaces,
        refusals: watch::Receiver<ShownRefusal>,
    ) -> Option<(TerminalTitle, TitleEnd)> {
        if surfaces == Surfaces::default() {
            return None;
        }
        let (screen, now) = (SharedScreen::default(), Instant::now());
        let end = TitleEnd(Arc::clone(&screen));
        let title =
            TerminalTitle { surfaces, screen, refusals, is_pending: false, next: now, next_notice: now };
        Some((title, end))
    }

    /// Takes in what the agent wrote.
    pub(super) fn passed(&mut self, output: &[u8]) {
        let mut screen = locked(&self.screen);
        screen.state = screen.state.after(output);
    }

    fn is_between_sequences(&self) -> bool {
        locked(&self.screen).state.is_ground()
    }

    /// Waits until there is something to write, its time has come, and no sequence is open.
    pub(super) async fn due(&mut self) {
        if !self.is_pending {
            if self.refusals.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            self.is_pending = true;
        }
        if !self.is_between_sequences() {
            // More of the agent's output has to come first.
            std::future::pending::<()>().await;
        }
        sleep_until(self.next).await;
    }

    /// Tells whether it would not have to wait: output that never ends must not hold it up.
    pub(super) fn is_due(&mut self) -> bool {
        self.is_pending |= self.refusals.has_changed().unwrap_or(false);
        self.is_pending && self.is_between_sequences() && Instant::now() >= self.next
    }

    /// Returns what writes these sequences to a stream, unless the title's end was written
    /// meanwhile.
    pub(super) fn writer(&self, bytes: Vec<u8>) -> impl FnOnce(&mut StdoutLock<'_>) + Send + 'static {
        let screen = Arc::clone(&self.screen);
        move |out| {
            if !locked(&screen).is_over {
                // A terminal that is gone shows nothing.
                let _ = write_all(out, &bytes);
            }
        }
    }

    /// Returns the sequences to write now.
    pub(super) fn sequences(&mut self) -> Vec<u8> {
        let text = words(&self.refusals.borrow_and_update());
        let (mut screen, now) = (locked(&self.screen), Instant::now());
        self.is_pending = false;
        self.next = now + TITLE_PAUSE;
        let mut bytes = Vec::new();
        if screen.is_over {
            return bytes;
        }
        if self.surfaces.title {
            if !std::mem::replace(&mut screen.is_kept, true) {
                bytes.extend_from_slice(KEEP);
            }
            bytes.extend_from_slice(format!("\x1b]2;{text}\x07").as_bytes());
        }
        if self.surfaces.notify && now >= self.next_notice {
            self.next_notice = now + NOTIFY_PAUSE;
            bytes.extend_from_slice(format!("\x1b]9;{text}\x07").as_bytes());
        }
        bytes
    }
}

/// Puts the terminal's title back when it is dropped, and ends a sequence that the agent left open.
pub(crate) struct TitleEnd(SharedScreen);

impl TitleEnd {
    /// Returns the sequences that leave the terminal as it was.
    fn sequences(&self) -> Vec<u8> {
        let mut screen = locked(&self.0);
        screen.is_over = true;
        let mut bytes = Vec::new();
        if !std::mem::take(&mut screen.state).is_ground() {
            bytes.extend_from_slice(END_SEQUENCE);
        }
        if std::mem::take(&mut screen.is_kept) {
            bytes.extend_from_slice(RESTORE);
        }
        bytes
    }
}

impl Drop for TitleEnd {
    fn drop(&mut self) {
        let bytes = self.sequences();
        if !bytes.is_empty() {
            within(END_LIMIT, move || to_screen(&bytes));
        }
    }
}

/// Does something on a thread of its own, and waits for it no longer than this. The thread goes on.
fn within(limit: Duration, work: impl FnOnce() + Send + 'static) {
    let (done, is_done) = std::sync::mpsc::channel();
    let begun = std::thread::Builder::new().name("title".to_owned()).spawn(move || {
        work();
        let _ = done.send(());
    });
    if begun.is_ok() {
        let _ = is_done.recv_timeout(limit);
    }
}

/// Writes what was refused in few words.
fn words(refused: &ShownRefusal) -> String {
    let plain = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_:".contains(*c);
    let target: String = refused.latest.chars().filter(plain).collect();
    let cut = target.len().saturating_sub(LONGEST);
    let dots = if cut > 0 { "..." } else { "" };
    format!("ringfence: refused {dots}{} ({} refused)", &target[cut..], refused.attempts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOTH: Surfaces = Surfaces { title: true, notify: true };

    fn refused(attempts: u64, latest: &str) -> ShownRefusal {
        ShownRefusal { attempts, latest: latest.to_owned() }
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).unwrap().replace('\u{1b}', "^").replace('\u{7}', "$")
    }

    #[tokio::test(start_paused = true)]
    async fn a_title_waits_for_its_time_and_for_the_end_of_a_sequence() {
        let (sender, receiver) = watch::channel(ShownRefusal::default());
        let (mut title, end) = TerminalTitle::begin(BOTH, receiver).unwrap();
        assert!(!title.is_due());
        sender.send_replace(refused(1, "a.test:443"));
        title.passed(b"text \x1b[3");
        assert!(!title.is_due(), "a sequence is open");
        title.passed(b"1m");
        title.due().await;
        let words = "ringfence: refused a.test:443 (1 refused)";
        assert_eq!(text(&title.sequences()), format!("^[22;2t^]2;{words}$^]9;{words}$"));
        // A flood: one title a second, with the newest count, and a notification every ten.
        for attempts in 2..1000 {
            sender.send_replace(refused(attempts, "b.test"));
            assert!(!title.is_due());
        }
        title.due().await;
        assert_eq!(text(&title.sequences()), "^]2;ringfence: refused b.test (999 refused)$");
        assert!(!title.is_due());
        tokio::time::advance(NOTIFY_PAUSE).await;
        sender.send_replace(refused(1000, "b.test"));
        assert!(title.is_due() && text(&title.sequences()).contains("^]9;"));
        title.passed(b"\x1b]2;an agent's");
        assert_eq!(text(&end.sequences()), "^\\^\\^]2;$^[23;2t");
        sender.send_replace(refused(1001, "c.test"));
        title.passed(b"\x07");
        tokio::time::advance(NOTIFY_PAUSE).await;
        assert_eq!((title.sequences(), end.sequences()), (Vec::new(), Vec::new()));
    }

    #[test]
    fn a_terminal_that_stands_still_does_not_hold_the_end_up() {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let began = std::time::Instant::now();
        within(Duration::from_millis(50), move || {
            let _ = receiver.recv();
        });
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        drop(sender);
        // The control: what does not stand still is waited for.
        let (sender, receiver) = std::sync::mpsc::channel();
        within(Duration::from_secs(20), move || sender.send(7).unwrap());
        assert_eq!(receiver.try_recv(), Ok(7));
    }

    #[test]
    fn without_a_surface_there_is_no_title() {
        let (_sender, receiver) = watch::channel(ShownRefusal::default());
        assert!(TerminalTitle::begin(Surfaces::default(), receiver).is_none());
    }

    proptest! {
        #[test]
        fn nothing_but_letters_of_names_reaches_the_terminal(latest in any::<String>(), attempts in any::<u64>()) {
            let shown = words(&refused(attempts, &latest));
            let plain = |c: char| c.is_ascii_alphanumeric() || " ().-_:".contains(c);
            prop_assert!(shown.chars().all(plain) && shown.len() < 150, "{shown:?}");
        }
    }
}
