//! A line that says what is waited for, on a terminal, once it has lasted for about a second.
//!
//! ```text
//!  progress("pulling x") ─▶ a thread waits ─┬─ dropped within a second ─▶ nothing was shown
//!                                           └─ later ─▶ the line, drawn again and again ─ dropped ─▶ cleared
//!  talk, data ─▶ aside: the line is cleared, the text written, the line drawn again
//!  leave_to_agent ─▶ the line is cleared, and none is drawn before the guard is dropped
//! ```

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::escape::line;
use super::printer::{Stream, is_dumb, is_quiet, is_terminal};

/// Shortest time that is worth a word of progress.
const WORTH_A_WORD: Duration = Duration::from_secs(1);
/// The line does not change more often.
const REFRESH: Duration = Duration::from_millis(200);

/// All lines of progress.
static LINES: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)));
/// Held while something is written or drawn.
static SCREEN: Mutex<Screen> = Mutex::new(Screen { agents: 0, lines: 0 });

/// Line of progress on the screen.
struct Screen {
    /// Agents that have it: one, or none.
    agents: usize,
    /// Lines of progress.
    lines: usize,
}

fn take<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something that may take its time. The line goes with it.
pub struct Progress(Option<Shown>);

struct Shown {
    detail: Arc<Mutex<String>>,
    end: Option<Sender<()>>,
    drawing: Option<JoinHandle<()>>,
}

/// Begins something that may take its time: `pulling debian:12`. Nothing is shown where nobody
/// looks, with `--quiet`, and with `TERM=dumb`.
pub fn progress(what: &str) -> Progress {
    if is_quiet() || is_dumb() || !is_terminal(Stream::Talk) {
        return Progress(None);
    }
    let (what, detail) = (line(what), Arc::new(Mutex::new(String::new())));
    let (end, ended) = mpsc::channel();
    let shared = Arc::clone(&detail);
    let wait = move || {
        if ended.recv_timeout(WORTH_A_WORD) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        draw(&what, &shared, &ended);
    };
    // Without a thread nothing is shown, and the work goes on.
    let drawing = std::thread::Builder::new().name("progress".to_owned()).spawn(wait).ok();
    Progress(Some(Shown { detail, end: Some(end), drawing }))
}

/// Draws the line until its end.
fn draw(what: &str, detail: &Mutex<String>, ended: &Receiver<()>) {
    let bar = {
        take(&SCREEN).lines += 1;
        LINES.add(ProgressBar::new_spinner().with_style(style()))
    };
    loop {
        let detail = line(&take(detail));
        let words = if detail.is_empty() { what.to_owned() } else { format!("{what}: {detail}") };
        {
            let screen = take(&SCREEN);
            if screen.agents == 0 {
                bar.set_message(words);
                bar.tick();
            }
        }
        if ended.recv_timeout(REFRESH) != Err(RecvTimeoutError::Timeout) {
            break;
        }
    }
    let mut screen = take(&SCREEN);
    bar.finish_and_clear();
    LINES.remove(&bar);
    screen.lines -= 1;
}

fn style() -> ProgressStyle {
    let style = ProgressStyle::with_template("ringfence: {msg} {spinner}");
    style.unwrap_or_else(|_| ProgressStyle::default_spinner()).tick_chars("-\\|/ ")
}

impl Progress {
    /// Says how far it is.
    pub fn detail(&self, detail: String) {
        if let Some(shown) = &self.0 {
            *take(&shown.detail) = detail;
        }
    }
}

impl Drop for Progress {
    /// Waits until the line is gone.
    fn drop(&mut self) {
        if let Some(shown) = &mut self.0 {
            shown.end = None;
            let _ = shown.drawing.take().map(JoinHandle::join);
        }
    }
}

/// Writes something while no line of progress is in its way.
pub(super) fn aside<T>(write: impl FnOnce() -> T) -> T {
    let screen = take(&SCREEN);
    if screen.agents == 0 && screen.lines > 0 { LINES.suspend(write) } else { write() }
}

/// The time in which an agent has the screen.
pub struct AgentsScreen(());

/// Leaves the screen to an agent: the line of progress is cleared, and none is drawn meanwhile.
pub fn leave_to_agent() -> AgentsScreen {
    let mut screen = take(&SCREEN);
    screen.agents += 1;
    if screen.lines > 0 {
        // A terminal that is gone shows nothing.
        let _ = LINES.clear();
    }
    AgentsScreen(())
}

impl Drop for AgentsScreen {
    fn drop(&mut self) {
        let mut screen = take(&SCREEN);
        screen.agents = screen.agents.saturating_sub(1);
    }
}
