//! The two streams, and what `--quiet`, `NO_COLOR` and `TERM` mean for them.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::escape::{indented, lines};
use super::progress;

/// `--quiet` was given.
static QUIET: AtomicBool = AtomicBool::new(false);
/// `--verbose` was given.
static VERBOSE: AtomicBool = AtomicBool::new(false);
/// Terminals that show a title's sequence as text, or have none.
const WITHOUT_TITLE: [&str; 3] = ["", "dumb", "linux"];

/// Talk that goes into a file is no longer than this, twice: while the run goes on, and at its end.
const MOST_KEPT: usize = 1 << 20;
/// Says that there was more.
const MORE: &str = "ringfence: more was said and not kept\n";

/// The file for talk, once nobody looks at stderr any more.
static KEPT: Mutex<Option<KeptTalk>> = Mutex::new(None);

/// Talk that waits while a view has the screen; no longer than [`MOST_KEPT`].
static HELD: Mutex<Option<String>> = Mutex::new(None);

struct KeptTalk {
    file: File,
    left: usize,
}

impl KeptTalk {
    fn write(&mut self, text: &str) -> io::Result<()> {
        match self.left {
            0 => Ok(()),
            left if text.len() > left => {
                self.left = 0;
                whole(&mut self.file, MORE)
            }
            left => {
                self.left = left - text.len();
                whole(&mut self.file, text)
            }
        }
    }
}

/// Has talk go into a file from now on, as much as there is room for.
pub(crate) fn keep_talk(file: File) {
    *KEPT.lock().unwrap_or_else(PoisonError::into_inner) = Some(KeptTalk { file, left: MOST_KEPT });
}

/// Makes room in that file for the account of a run's end.
pub(crate) fn renew_kept_talk() {
    if let Some(kept) = KEPT.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        kept.left = MOST_KEPT;
    }
}

/// Holds talk back from now on, as much as there is room for.
pub(super) fn hold_talk() {
    HELD.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default();
}

/// Writes the talk that was held back, and holds no more.
pub(super) fn release_talk() {
    let held = HELD.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(text) = held.filter(|text| !text.is_empty()) {
        // Talk that nobody reads is no reason to stop.
        let _ = Stream::Talk.write(&text);
    }
}

/// Adds a text to those that are held back, as long as there is room.
fn hold(held: &mut String, text: &str) {
    if held.len() + text.len() <= MOST_KEPT {
        held.push_str(text);
    } else if !held.ends_with(MORE) {
        held.push_str(MORE);
    }
}

/// Holds a text back, where talk is held.
fn is_held(text: &str) -> bool {
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    held.as_mut().map(|held| hold(held, text)).is_some()
}

/// Stream to which a text goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// Data: stdout.
    Data,
    /// Talk: stderr.
    Talk,
}

impl Stream {
    /// Writes all of a text.
    pub(super) fn write(self, text: &str) -> io::Result<()> {
        match self {
            Stream::Data => whole(io::stdout().lock(), text),
            Stream::Talk if is_held(text) => Ok(()),
            Stream::Talk => match KEPT.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                Some(kept) => kept.write(text),
                None => whole(io::stderr().lock(), text),
            },
        }
    }
}

/// Keeps talk, most warnings and progress back from now on; what is essential stays.
pub(crate) fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Tells everything at length from now on.
pub(crate) fn be_verbose() {
    VERBOSE.store(true, Ordering::Relaxed);
}

/// Tells whether a person wants everything at length.
pub(crate) fn is_verbose() -> bool {
    VERBOSE.load(Ordering::Relaxed)
}

pub(super) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Says one thing to the person, on stderr.
pub(crate) fn talk(what: impl Display) {
    if !is_quiet() {
        essential(what);
    }
}

/// Says a text of several lines that is laid out already, on stderr.
pub(crate) fn talk_lines(text: impl Display) {
    if !is_quiet() {
        to_stderr(&lines(&text.to_string()));
    }
}

/// Says what nobody may miss, on stderr, `--quiet` or not: why a run ended, what was put back.
pub(crate) fn essential(what: impl Display) {
    to_stderr(&format!("ringfence: {}\n", indented(&what.to_string(), 11)));
}

/// Says a text of several lines that nobody may miss, on stderr, `--quiet` or not.
pub(crate) fn essential_lines(text: impl Display) {
    to_stderr(&lines(&text.to_string()));
}

/// Writes escaped text to stderr.
pub(super) fn to_stderr(text: &str) {
    // Talk that nobody reads is no reason to stop.
    let _ = write(Stream::Talk, text);
}

/// Writes help to stdout or the words of a usage error to stderr, both as clap laid them out.
pub(crate) fn usage(text: &clap::builder::StyledStr, is_error: bool) -> io::Result<()> {
    let stream = if is_error { Stream::Talk } else { Stream::Data };
    let text = if colours(stream) { text.ansi().to_string() } else { text.to_string() };
    write(stream, &text)
}

/// Asks a person on the terminal, and reads one line of stdin.
pub(crate) fn ask(question: &str) -> io::Result<String> {
    write(Stream::Talk, &lines(question))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer)
}

/// Writes all of a text, without a line of progress in its way.
pub(super) fn write(stream: Stream, text: &str) -> io::Result<()> {
    progress::aside(|| stream.write(text))
}

fn whole(mut stream: impl Write, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes())?;
    stream.flush()
}

/// Tells whether a person looks at the stream.
pub(super) fn is_terminal(stream: Stream) -> bool {
    match stream {
        Stream::Data => io::stdout().is_terminal(),
        Stream::Talk => io::stderr().is_terminal(),
    }
}

/// Tells whether stdout is a person's terminal that has a title.
pub(crate) fn stdout_has_title() -> bool {
    !is_quiet() && is_terminal(Stream::Data) && has_title(&std::env::var("TERM").unwrap_or_default())
}

fn has_title(term: &str) -> bool {
    !WITHOUT_TITLE.contains(&term) && !term.starts_with("vt")
}

/// Tells whether stdout takes colours.
pub(crate) fn stdout_has_colours() -> bool {
    colours(Stream::Data)
}

/// Tells whether stderr takes colours.
pub(super) fn has_colours() -> bool {
    colours(Stream::Talk)
}

fn colours(stream: Stream) -> bool {
    is_terminal(stream) && !is_dumb() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Tells whether the terminal obeys nothing.
pub(super) fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn talk_is_held_to_a_bound_while_a_view_has_the_screen() {
        let mut held = String::new();
        let (more, most) = ("x".repeat(MOST_KEPT), "y".repeat(MOST_KEPT));
        ["one\n", &more, &most].into_iter().for_each(|text| hold(&mut held, text));
        assert_eq!(held, format!("one\n{MORE}"));
    }

    #[test]
    fn kept_talk_is_bounded_and_has_room_for_the_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut kept = KeptTalk { file: file.reopen().unwrap(), left: 10 };
        for text in ["12345\n", "123456\n", "1\n"] {
            kept.write(text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), format!("12345\n{MORE}"));
        kept.left = 10;
        kept.write("the end\n").unwrap();
        assert!(std::fs::read_to_string(file.path()).unwrap().ends_with("the end\n"));
    }
}
