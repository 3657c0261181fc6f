//! A line that says what is waited for, on a terminal, once it has lasted for about a second.
//!
//! ```text
//!  progress("pulling x") ─▶ a thread waits ─┬─ dropped within a second ─▶ nothing was shown
//!                                           └─ later ─▶ the line, drawn again and again ─ dropped ─▶ cleared
//!  talk, data ─▶ aside: the line is cleared, the text written, the line drawn again
//!  leave_screen ─▶ the line is cleared, and none is drawn before the guard is dropped
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
static SCREEN: Mutex<Screen> = Mutex::new(Screen { others: 0, lines: 0, column_unknown: false });

/// State of the screen.
struct Screen {
    /// Others that write to it now: an agent, or a program that asks the person.
    others: usize,
    /// Lines of progress.
    lines: usize,
    /// Tells whether others may have left the cursor in the middle of a line.
    column_unknown: bool,
}

fn take<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something that may take its time. The line goes with it.
pub(crate) struct Progress(Option<Shown>);

struct Shown {
    detail: Arc<Mutex<String>>,
    end: Option<Sender<()>>,
    drawing: Option<JoinHandle<()>>,
}

/// Begins something that may take its time: `pulling debian:12`. Nothing is shown where nobody
/// looks, with `--quiet`, and with `TERM=dumb`.
pub(crate) fn progress(what: &str) -> Progress {
    if !shows_progress() {
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
            let mut screen = take(&SCREEN);
            if screen.others == 0 {
                // A line that is drawn behind others' words could not be cleared whole.
                if std::mem::take(&mut screen.column_unknown) {
                    new_line();
                }
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
    pub(crate) fn detail(&self, detail: String) {
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

/// Begins a new line on stderr.
fn new_line() {
    // A terminal that is gone shows nothing.
    let _ = Stream::Talk.write("\n");
}

/// Tells whether a line of progress would be shown.
pub(crate) fn shows_progress() -> bool {
    !is_quiet() && !is_dumb() && is_terminal(Stream::Talk)
}

/// Writes something while no line of progress is in its way.
pub(super) fn aside<T>(write: impl FnOnce() -> T) -> T {
    let screen = take(&SCREEN);
    if screen.others == 0 && screen.lines > 0 { LINES.suspend(write) } else { write() }
}

/// Time in which others have the screen.
pub(crate) struct LeftScreen(());

/// Leaves the screen to an agent, or to a program that asks the person: the line of progress is
/// cleared, and none is drawn meanwhile.
pub(crate) fn leave_screen() -> LeftScreen {
    let mut screen = take(&SCREEN);
    screen.others += 1;
    if screen.lines > 0 {
        // A terminal that is gone shows nothing.
        let _ = LINES.clear();
    }
    LeftScreen(())
}

impl Drop for LeftScreen {
    fn drop(&mut self) {
        let mut screen = take(&SCREEN);
        screen.others = screen.others.saturating_sub(1);
        screen.column_unknown = true;
    }
}
