//! Signatures of a run, as they are told at its end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Users that are named of each server and key; an agent may choose a user's name for each
/// signature.
const NAMED: usize = 5;
/// The most of a user's name that is written down.
const LONGEST_USER: usize = 64;

/// Logins at one server with one key.
#[derive(Debug, Default)]
struct Logins {
    count: usize,
    /// The users, each once, as they came.
    users: Vec<String>,
}

/// Signatures that were given away, by server and key: few, whatever an agent does.
#[derive(Debug, Clone, Default)]
pub(super) struct Signatures(Arc<Mutex<BTreeMap<(String, String), Logins>>>);

/// Returns a user's name, which the agent chose, in quotes and without anything that a terminal
/// obeys.
pub(super) fn quoted(user: &str) -> String {
    format!("{:?}", user.chars().take(LONGEST_USER).collect::<String>())
}

impl Signatures {
    /// Adds one.
    pub(super) fn add(&self, servers: &str, key: &str, user: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let logins = all.entry((servers.to_owned(), key.to_owned())).or_default();
        let user = quoted(user);
        logins.count += 1;
        if !logins.users.contains(&user) {
            logins.users.push(user);
        }
    }

    /// Says what was signed; a line for each server and key.
    pub(super) fn in_words(&self) -> Vec<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = |((servers, key), Logins { count, users }): (&(String, String), &Logins)| {
            let logins = if *count == 1 { "login" } else { "logins" };
            let mut named = users.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
            match users.len().saturating_sub(NAMED) {
                0 => {}
                more => named += &format!(" and {more} more (see the events `ssh-signed`)"),
            }
            let text = format!("your ssh agent signed {count} {logins} at {servers} with {key}, as {named}");
            crate::term::line(&text)
        };
        all.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_is_told_whatever_names_of_users_an_agent_chooses() {
        let signatures = Signatures::default();
        for number in 0..1000 {
            signatures.add("git.test", "\"me\"", &format!("!{number:04}@x with \"key\"\u{1b}[2J"));
        }
        signatures.add("git.test", "\"other\"", "git");
        signatures.add("prod.test", "\"me\"", "root");
        signatures.add("prod.test", "\"me\"", "root");
        let lines = signatures.in_words();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines.iter().all(|line| !line.contains('\u{1b}')), "{lines:?}");
        assert!(lines[0].contains("signed 1000 logins at git.test") && lines[0].contains("and 995 more"));
        assert!(lines[0].contains(r#"as "!0000@x with \"key\""#), "{lines:?}");
        assert_eq!(lines[1], "your ssh agent signed 1 login at git.test with \"other\", as \"git\"");
        assert_eq!(lines[2], "your ssh agent signed 2 logins at prod.test with \"me\", as \"root\"");
    }
}
