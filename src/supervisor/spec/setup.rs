//! The setup script of a GitLab flow, which runs in the agent's container before its command.
//!
//! ```text
//!  setup_script, command ──wrap──▶ sh ─▶ bash, where the image has it ─▶ commands, one shell, the first failure ends it ─▶ exec command
//! ```
//! As in a job of GitLab's: one shell runs all commands, so that what one exports holds for the
//! next ones and for the command itself.

use super::image::Image;
use super::init;
use super::request::AgentRequest;
use crate::term::{COULD_NOT_RUN, Failure};

/// Chooses the shell: `$1` is the script, the other words are the command.
const SHELL: &str = "script=$1; shift
if command -v bash >/dev/null 2>&1; then exec bash -o pipefail -ec \"$script\" setup \"$@\"; fi
exec sh -ec \"$script\" setup \"$@\"";
/// Begins the script. Its end before the command is a failure, whatever its status.
const BEFORE: &str = "trap 'status=$?; echo \"setup_script of .gitlab/duo/agent-config.yml ended with status $status: the \
                      command was not started\" >&2; [ \"$status\" -ne 0 ] || status=1; exit \"$status\"' EXIT";
/// Ends the script.
const AFTER: &str = "trap - EXIT
exec \"$@\"";

/// Lets the agent run a script before its command. Without a script nothing changes.
///
/// # Errors
/// When there is no command.
pub(crate) fn wrap(asked: &mut AgentRequest, image: &Image, script: &[String]) -> Result<(), Failure> {
    if script.is_empty() {
        return Ok(());
    }
    let command = init::argv(asked.entrypoint.as_deref(), &asked.command, image);
    if command.is_empty() {
        let what = format!("the image `{}` has no command to run after the setup script", image.name);
        return Err(
            Failure::new(COULD_NOT_RUN, what).hint("give one: ringfence run --flow --project DIR COMMAND")
        );
    }
    let script = format!("{BEFORE}\n{}\n{AFTER}", script.join("\n"));
    asked.entrypoint = Some("/bin/sh".to_owned());
    let words = ["-c".to_owned(), SHELL.to_owned(), "setup".to_owned(), script];
    asked.command = words.into_iter().chain(command).collect();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Runs a wrapped command on this machine: status, stdout, stderr.
    fn run(script: &[&str], command: &[&str]) -> (Option<i32>, String, String) {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let mut asked = AgentRequest { command: words(command), ..Default::default() };
        wrap(&mut asked, &Image::default(), &words(script)).unwrap();
        let output = Command::new(asked.entrypoint.unwrap()).args(asked.command).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    #[test]
    fn the_command_follows_in_the_same_environment_with_its_words_and_status() {
        let (status, out, err) = run(
            &["cd /", "export A='1 2'", "echo ready"],
            &["sh", "-c", "echo \"$A|$1|$PWD\"; exit 7", "x", "a b"],
        );
        assert_eq!((status, out.as_str(), err.as_str()), (Some(7), "ready\n1 2|a b|/\n", ""));
    }

    #[test]
    fn a_script_that_fails_or_ends_keeps_the_command_from_starting() {
        for (script, status) in [
            (&["false", "echo no"][..], 1),
            (&["(exit 9)", "echo no"], 9),
            (&["exit 0"], 1),
            (&["no-such-program-anywhere"], 127),
            (&["cat <<END"], 1),
        ] {
            let (found, out, err) = run(script, &["echo", "started"]);
            assert!(!out.lines().any(|line| ["started", "no"].contains(&line)), "{script:?}: {out}");
            assert!(err.contains("the command was not started"), "{script:?}: {err}");
            assert_eq!(found, Some(status), "{script:?}");
        }
        // A shell that cannot read the script runs nothing of it.
        let (found, out, _) = run(&["echo 'open"], &["echo", "started"]);
        assert!(found != Some(0) && !out.contains("started"), "{found:?} {out}");
    }

    #[test]
    fn the_images_words_are_the_command_where_none_is_given() {
        let word = |text: &str| vec![text.to_owned()];
        let image = Image { entrypoint: word("/entry"), command: word("serve"), ..Default::default() };
        let mut asked = AgentRequest::default();
        wrap(&mut asked, &image, &word("true")).unwrap();
        assert_eq!(asked.command[4..], ["/entry", "serve"]);
        let mut plain = AgentRequest::default();
        wrap(&mut plain, &image, &[]).unwrap();
        assert!(plain.entrypoint.is_none() && plain.command.is_empty());
        assert!(wrap(&mut plain, &Image::default(), &word("true")).is_err());
    }
}
