//! Folders that are for secrets as a whole. There is a safer way to what a person wants of one.
//!
//! Known secrets in them are covered, as in every mount. The other files are shown, and may tell as
//! much, so a warning says what to use instead. No agent may write in these folders: programs of
//! this machine believe what is in them, and some run it.

use std::path::Path;

use super::report::shown;
use crate::term::{COULD_NOT_RUN, Failure, Warning};
use crate::workspace::mounts::Bind;

/// A folder by the end of its path, what it holds, and what to use instead.
type SecretFolder = (&'static str, &'static str, &'static str);

const TOKEN: &str = "give one short-lived token: --secret NAME=FILE";
const CLOUD: &str = "give short-lived credentials for one task: --secret NAME=FILE";
const AGENT: &str = "--home NAME keeps a login, settings and history of the agent's own";

const FOLDERS: &[SecretFolder] = &[
    (".ssh", "keys", "use git over https with a token: --secret GITLAB_TOKEN=FILE"),
    (".gnupg", "keys", "sign on this machine, after the run"),
    (".password-store", "passwords", TOKEN),
    (".local/share/keyrings", "passwords", TOKEN),
    (".config/op", "logins", TOKEN),
    (".aws", "logins", CLOUD),
    (".azure", "logins", CLOUD),
    (".config/gcloud", "logins", CLOUD),
    (".oci", "logins", CLOUD),
    (".kube", "logins", CLOUD),
    (".docker", "logins", "the engine pulls images with them by itself; for the agent, --secret NAME=FILE"),
    (".config/gh", "logins", TOKEN),
    (".config/glab-cli", "logins", TOKEN),
    (".terraform.d", "logins", TOKEN),
    (".claude", "an agent's login, settings and history", AGENT),
    (".codex", "an agent's login, settings and history", AGENT),
    (".gemini", "an agent's login, settings and history", AGENT),
    (".config/opencode", "an agent's settings", AGENT),
    (".local/share/opencode", "an agent's login and history", AGENT),
    (".mozilla", "a browser's logins", TOKEN),
    (".config/google-chrome", "a browser's logins", TOKEN),
    (".config/chromium", "a browser's logins", TOKEN),
];

/// Warns of a mount of such a folder, or of a part of one, and refuses it if the agent may write
/// it.
///
/// # Errors
/// When the agent may write it.
pub(super) fn check(bind: &Bind) -> Result<(), Failure> {
    let Some((name, holds, instead)) = around(&bind.source) else { return Ok(()) };
    let path = shown(&bind.source);
    let called = format!("--mount {path}:{}", bind.target);
    if bind.writable {
        let what = format!(
            "{called}:rw: programs of this machine believe or run what is in {name}, so no agent may write it"
        );
        return Err(Failure::new(COULD_NOT_RUN, what)
            .hint(format!("{instead}; --unmask {path} gives it all the same, with every secret in it")));
    }
    if bind.directory {
        crate::term::warn(Warning::Noted(format!(
            "{called}: {name} is for {holds}; what is known as a secret there is covered, the rest can be read. Instead: {instead}"
        )));
    }
    Ok(())
}

/// Returns the folder for secrets that a path is, or lies in.
fn around(path: &Path) -> Option<&'static SecretFolder> {
    FOLDERS.iter().find(|(name, ..)| path.ancestors().any(|above| above.ends_with(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_for_secrets_is_known_wherever_it_lies() {
        for (path, expected) in [
            ("/home/ann/.ssh", Some(".ssh")),
            ("/home/ann/.ssh/config", Some(".ssh")),
            ("/srv/backup/.config/gcloud", Some(".config/gcloud")),
            ("/home/ann/.claude/projects/x", Some(".claude")),
            ("/home/ann/.config", None),
            ("/home/ann/ssh", None),
            ("/home/ann/my.ssh", None),
            ("/home/ann/gcloud", None),
        ] {
            assert_eq!(around(Path::new(path)).map(|(name, ..)| *name), expected, "{path}");
        }
    }
}
