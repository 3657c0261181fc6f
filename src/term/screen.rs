//! The whole screen of a person's terminal, for a view that changes.
//!
//! ```text
//!  take ─▶ raw keys, the other screen, no cursor ─▶ draw, draw, … ─▶ drop, or a panic ─▶ as it was before
//!  talk meanwhile ─▶ kept, to a bound ──────────────────────────────────────────────────▶ stderr
//! ```

use std::io::{self, IsTerminal, Stdout};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{
    self, DisableBracketedPaste, EnableBracketedPaste, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers,
};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::{Frame, Terminal};
use tokio::sync::mpsc;

use super::printer::{hold_talk, is_dumb, release_talk};
use super::progress::{LeftScreen, leave_screen};
use super::{COULD_NOT_RUN, Failure};

/// Set while the screen is taken.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// Keys that wait to be read.
const WAITING: usize = 64;
/// Characters of a paste that are looked at.
const LONGEST_PASTE: usize = 4096;

/// Key that a person pressed, or text that a person pasted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    /// A letter, a digit or a sign.
    Char(char),
    /// A text, at once.
    Paste(String),
    /// One up.
    Up,
    /// One down.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// To the first.
    Home,
    /// To the last.
    End,
    /// To the next list.
    Tab,
    /// Yes, go on.
    Enter,
    /// Back.
    Escape,
    /// Takes a letter away.
    Backspace,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-L, or a terminal of another size: the screen is drawn anew.
    Redraw,
}

/// The screen, until it is dropped.
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    _left: LeftScreen,
}

/// Tells whether a person sits at a terminal that can show a view.
pub(crate) fn has_screen() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal() && !is_dumb()
}

impl Screen {
    /// Takes the screen.
    ///
    /// # Errors
    /// When the terminal does not obey.
    pub(crate) fn take() -> Result<Screen, Failure> {
        restore_before_panics();
        let left = leave_screen();
        hold_talk();
        TAKEN.store(true, Ordering::SeqCst);
        let taken = || {
            enable_raw_mode()?;
            execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste, Hide)?;
            Terminal::new(CrosstermBackend::new(io::stdout()))
        };
        match taken() {
            Ok(terminal) => Ok(Screen { terminal, _left: left }),
            Err(error) => {
                restore();
                Err(cannot(&error))
            }
        }
    }

    /// Draws. What did not change is not written again.
    ///
    /// # Errors
    /// When the terminal is gone, or a panic has given it back.
    pub(crate) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> Result<(), Failure> {
        if !TAKEN.load(Ordering::SeqCst) {
            return Err(Failure::new(COULD_NOT_RUN, "the view has ended by a fault"));
        }
        self.terminal.draw(draw).map(|_| ()).map_err(|error| cannot(&error))
    }

    /// Forgets what was drawn, so that everything is written again. The terminal is asked for
    /// nothing: one that does not answer would end the view.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(crate) fn clear(&mut self) -> Result<(), Failure> {
        let cleared = self.terminal.size().and_then(|size| self.terminal.resize(size.into()));
        cleared.map_err(|error| cannot(&error))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn cannot(error: &io::Error) -> Failure {
    Failure::new(COULD_NOT_RUN, "cannot draw on the terminal").caused_by(error)
}

/// Gives the terminal back as it was, once.
fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // A terminal that is gone needs nothing.
        let _ = execute!(io::stdout(), DisableBracketedPaste, LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
        release_talk();
    }
}

/// Has the terminal given back before a panic is told, else nobody would read it.
fn restore_before_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            told(panic);
        }));
    });
}

/// Reads keys, by a thread that ends with the program. A terminal that hung up does not end the
/// receiver: crossterm reads on from it, and the next drawing fails instead.
///
/// # Errors
/// When there can be no thread.
pub(crate) fn keys() -> Result<mpsc::Receiver<Key>, Failure> {
    let (send, keys) = mpsc::channel(WAITING);
    let read = move || {
        while let Ok(event) = event::read() {
            if let Some(key) = key(event)
                && send.blocking_send(key).is_err()
            {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("keys".to_owned())
        .spawn(read)
        .map_err(|error| Failure::new(COULD_NOT_RUN, "cannot read keys").caused_by(&error))?;
    Ok(keys)
}

/// Reads what a terminal tells; nothing where it is of no meaning here.
fn key(event: Event) -> Option<Key> {
    match event {
        Event::Key(KeyEvent { code, modifiers, kind, .. }) if kind != KeyEventKind::Release => {
            pressed(code, modifiers)
        }
        Event::Paste(text) => Some(Key::Paste(text.chars().take(LONGEST_PASTE).collect())),
        Event::Resize(..) => Some(Key::Redraw),
        _ => None,
    }
}

fn pressed(code: KeyCode, modifiers: KeyModifiers) -> Option<Key> {
    if modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) {
        return match code {
            KeyCode::Char('c') => Some(Key::Interrupt),
            KeyCode::Char('l') => Some(Key::Redraw),
            _ => None,
        };
    }
    Some(match code {
        KeyCode::Char(letter) => Key::Char(letter),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Tab | KeyCode::BackTab => Key::Tab,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart() {
        let with = |code, modifiers| key(Event::Key(KeyEvent::new(code, modifiers)));
        assert_eq!(with(KeyCode::Char('p'), KeyModifiers::NONE), Some(Key::Char('p')));
        assert_eq!(with(KeyCode::Char('G'), KeyModifiers::SHIFT), Some(Key::Char('G')));
        assert_eq!(with(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Interrupt));
        assert_eq!(with(KeyCode::Char('y'), KeyModifiers::CONTROL), None);
        assert_eq!(with(KeyCode::F(1), KeyModifiers::NONE), None);
        let let_go = KeyEvent::new_with_kind(KeyCode::Enter, KeyModifiers::NONE, KeyEventKind::Release);
        assert_eq!(key(Event::Key(let_go)), None);
        assert_eq!(key(Event::Resize(3, 4)), Some(Key::Redraw));
    }

    #[test]
    fn a_paste_is_bounded_and_stays_whole_letters() {
        let Some(Key::Paste(text)) = key(Event::Paste("€".repeat(LONGEST_PASTE + 1))) else {
            panic!("no paste")
        };
        assert_eq!(text, "€".repeat(LONGEST_PASTE));
    }
}
