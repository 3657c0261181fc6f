//! The one place where a failure becomes words and an exit status.

use std::process::ExitCode;

use super::escape::indented;
use super::printer::to_stderr;

/// ringfence could not run the agent: bad policy, no engine, refused.
pub(crate) const COULD_NOT_RUN: u8 = 125;

/// A failure as a person reads it: what failed, why (the chain), and what to do.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit status of the program.
    pub(crate) exit: u8,
    /// Failed action, and the thing on which it failed.
    pub(crate) message: String,
    /// Causes, outermost first.
    pub(crate) causes: Vec<String>,
    /// Advice what to do.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// A failure that ends the program with `exit`.
    pub(crate) fn new(exit: u8, message: impl Into<String>) -> Self {
        Failure { exit, message: message.into(), causes: Vec::new(), hint: None }
    }

    /// Adds an error and everything behind it as causes.
    pub(crate) fn caused_by(mut self, error: &(dyn std::error::Error + '_)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            if self.causes.last() != Some(&text) {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    /// Adds what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Writes the failure to stderr, `--quiet` or not.
    pub(crate) fn tell(&self) {
        to_stderr(&self.to_string());
    }

    /// Writes the failure to stderr; the exit status to end with.
    pub(crate) fn render(&self) -> ExitCode {
        self.tell();
        ExitCode::from(self.exit)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The words of engines, files and agents are among them.
        writeln!(f, "ringfence: {}", indented(&self.message, 11))?;
        for cause in &self.causes {
            writeln!(f, "  because: {}", indented(cause, 11))?;
        }
        if let Some(hint) = &self.hint {
            writeln!(f, "  hint: {}", indented(hint, 8))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_said_does_not_reach_the_terminal_raw() {
        let hostile = "no such image: a\u{1b}[2J\u{9b}m\u{202e}\nringfence: all is well";
        let mut failure = Failure::new(1, hostile).hint(hostile);
        failure.causes.push(hostile.to_owned());
        let text = failure.to_string();
        assert!(text.chars().all(|c| c == '\n' || netpolicy::diagnostic::is_harmless(c)), "{text:?}");
        assert_eq!(text.lines().filter(|line| line.starts_with("ringfence:")).count(), 1, "{text}");
    }
}
