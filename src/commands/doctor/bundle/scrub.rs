//! Texts of others, without what names this person or machine.

use std::ffi::OsString;

/// Characters of the longest version that is kept.
const LONGEST: usize = 80;
/// The shortest value of a variable that is looked for: shorter ones are parts of other words.
const SHORTEST_VALUE: usize = 8;

/// Parts that are taken out of a text, each with the word that takes its place.
pub(super) struct Scrub(Vec<(String, String)>);

impl Scrub {
    /// Collects the home, the user's name, the machine's name and the values of all variables.
    pub(super) fn of_this_machine() -> Scrub {
        let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).ok();
        Scrub::of(std::env::vars_os().collect(), user, machine)
    }

    fn of(variables: Vec<(OsString, OsString)>, user: Option<String>, machine: String) -> Scrub {
        let mut parts: Vec<(String, String)> = Vec::new();
        for (name, value) in variables {
            let (name, value) = (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned());
            let shown = if name == "HOME" { "~".to_owned() } else { format!("${name}") };
            if value.len() >= SHORTEST_VALUE || name == "HOME" && value.len() > 1 {
                parts.push((value, shown));
            }
        }
        parts.extend(
            user.filter(|user| user.len() > 2 && user != "root").map(|user| (user, "USER".to_owned())),
        );
        parts.extend((machine.len() > 2 && machine != "localhost").then(|| (machine, "HOST".to_owned())));
        // A part of a longer text must not break it.
        parts.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        Scrub(parts)
    }

    /// Takes them out of a text.
    pub(super) fn text(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (part, shown)| text.replace(part, shown))
    }
}

/// Returns a version or a name of a closed kind: letters, digits and few signs, cut short.
pub(super) fn version(text: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || " ._+-~".contains(*c);
    text.chars().filter(plain).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_user_machine_and_values_are_taken_out() {
        let variables =
            [("HOME", "/home/anna"), ("TOKEN", "hunter2-hunter2"), ("CI", "true"), ("LONG", "/home/anna/x")];
        let variables = variables.map(|(name, value)| (name.into(), value.into())).to_vec();
        let scrub = Scrub::of(variables, Some("anna".to_owned()), "laptop-anna".to_owned());
        assert_eq!(
            scrub.text("on laptop-anna /home/anna/x /home/anna/y of anna is true: hunter2-hunter2"),
            "on HOST $LONG ~/y of USER is true: $TOKEN"
        );
        let root =
            Scrub::of(vec![("HOME".into(), "/".into())], Some("root".to_owned()), "localhost".to_owned());
        assert_eq!(root.text("/rootless of root on localhost"), "/rootless of root on localhost");
    }

    #[test]
    fn a_version_has_no_room_for_more() {
        assert_eq!(version("20.10.24+dfsg1 (x)\n\"a@b\""), "20.10.24+dfsg1 xab");
        assert_eq!(version(&"1".repeat(500)).len(), LONGEST);
    }
}
