//! The agent's identity towards git, given by environment variables, so that nothing is written
//! into the project or the image.
//!
//! ```text
//!  the project is somebody's ─▶ safe.directory      the caller's git: user.name, user.email (unless the project has its own)
//!  ssh is not permitted      ─▶ url.https://HOST/.insteadOf, where https to the same host is
//!  files are covered         ─▶ excludes and attributes of ringfence's own, so that no stand-in is added
//!  a GitLab token is given   ─▶ a helper for its instance alone, which reads the token where the agent has it
//! ```

use std::process::Stdio;

use super::aftermath;
use super::masks::{Plan, for_git};
use super::mounts::Bind;
use super::ssh_remotes::SshAccount;
use crate::host::programs;

/// The variable that holds the agent's token, and the name of the file that holds it.
pub(crate) const TOKEN: &str = "GITLAB_TOKEN";

/// A helper that answers with the token, whichever of both ways it was given. It is no secret
/// itself.
const HELPER: &str = r#"!f() { test "$1" = get || exit 0; t=$GITLAB_TOKEN; test -n "$t" || t=$(cat /run/secrets/GITLAB_TOKEN) || exit 0; echo username=oauth2; echo "password=$t"; }; f"#;

/// Git settings for the agent, as pairs of name and value.
#[derive(Debug, Default)]
pub(crate) struct Settings(Vec<(String, String)>);

impl Settings {
    /// Adds the settings for a project that is mounted at `place`, and whose repository is
    /// configured by the file `config` in a mount.
    pub(crate) fn for_project(&mut self, place: &str, (mount, config): (&Bind, &str)) {
        // git refuses a directory that another user owns; the mount is the one that was asked for.
        self.add("safe.directory", place);
        for key in ["user.name", "user.email"] {
            if !aftermath::has_key(mount, config, key)
                && let Some(value) = of_caller(key)
            {
                self.add(key, &value);
            }
        }
    }

    /// Adds the settings for an instance of GitLab, by its name and port, whose token the agent
    /// has.
    pub(crate) fn for_instance(&mut self, authority: &str) {
        let key = format!("credential.https://{authority}.helper");
        // An empty one ends what the image has: a helper there might keep the token.
        self.add(&key, "");
        self.add(&key, HELPER);
    }

    /// Adds the settings for directories with covers, so that git adds no stand-in.
    pub(crate) fn for_covers(&mut self, plans: &[Plan]) {
        let for_git = for_git(plans).unwrap_or_default();
        for_git.settings.iter().for_each(|(key, value)| self.add(key, value));
    }

    /// Adds the settings by which git uses https for accounts that it would reach by ssh.
    pub(crate) fn for_https(&mut self, accounts: &[SshAccount]) {
        let settings = accounts.iter().flat_map(SshAccount::by_https);
        settings.for_each(|(key, value)| self.add(&key, &value));
    }

    fn add(&mut self, key: &str, value: &str) {
        self.0.push((key.to_owned(), value.to_owned()));
    }

    /// Adds them to variables, behind what a person gave there already.
    pub(crate) fn lay_on(self, env: &mut Vec<String>) {
        const COUNT: &str = "GIT_CONFIG_COUNT=";
        let given = env.iter().rev().find_map(|pair| pair.strip_prefix(COUNT));
        let first: usize = match given.map(str::parse) {
            None => 0,
            Some(Ok(count)) => count,
            // git itself refuses it, and says so.
            Some(Err(_)) => return,
        };
        if self.0.is_empty() {
            return;
        }
        env.retain(|pair| !pair.starts_with(COUNT));
        env.push(format!("{COUNT}{}", first + self.0.len()));
        for (number, (key, value)) in (first..).zip(self.0) {
            env.push(format!("GIT_CONFIG_KEY_{number}={key}"));
            env.push(format!("GIT_CONFIG_VALUE_{number}={value}"));
        }
    }
}

/// Returns the host and port of an instance's URL.
pub(crate) fn authority(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    (!authority.is_empty() && authority.chars().all(plain)).then(|| authority.trim_end_matches(":443"))
}

/// Reads a setting of the caller's own git. The question is asked outside of any repository: an
/// agent may have written what a project's configuration says.
fn of_caller(key: &str) -> Option<String> {
    let output = programs::command("git")
        .ok()?
        .args(["config", "--get", key])
        .current_dir("/")
        .env_remove("GIT_DIR")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let value = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_behind_those_of_the_person() {
        let mut settings = Settings::default();
        settings.add("a.b", "c");
        let mut env: Vec<String> =
            ["X=y", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=k", "GIT_CONFIG_VALUE_0=v"]
                .map(str::to_owned)
                .into();
        settings.lay_on(&mut env);
        assert_eq!(
            env,
            [
                "X=y",
                "GIT_CONFIG_KEY_0=k",
                "GIT_CONFIG_VALUE_0=v",
                "GIT_CONFIG_COUNT=2",
                "GIT_CONFIG_KEY_1=a.b",
                "GIT_CONFIG_VALUE_1=c"
            ]
        );
        let mut env = Vec::new();
        Settings::default().lay_on(&mut env);
        assert_eq!(env, Vec::<String>::new());
    }

    #[test]
    fn a_helper_is_for_one_instance_alone() {
        assert_eq!(authority("https://gitlab.corp.example/sub"), Some("gitlab.corp.example"));
        assert_eq!(authority("https://gitlab.corp.example:8443"), Some("gitlab.corp.example:8443"));
        assert_eq!(authority("https://gitlab.com:443/"), Some("gitlab.com"));
        for other in
            ["http://gitlab.com", "https://", "https://me:pw@gitlab.com", "gitlab.com", "https://a b"]
        {
            assert_eq!(authority(other), None, "{other}");
        }
    }
}
