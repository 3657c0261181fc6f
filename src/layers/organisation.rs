//! The organisation's policy when it cannot be used: whom to ask, and what to send.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::host::account;
use crate::term::Failure;

/// Adds who can mend the file and what such a person needs to know. A user can neither mend the
/// organisation's policy nor do without it.
pub(crate) fn explain(mut failure: Failure, file: &Path) -> Failure {
    let you = account::shown(rustix::process::geteuid().as_raw());
    let what = match std::fs::metadata(file) {
        Ok(found) => format!(
            "{} belongs to {}, mode {:03o}",
            file.display(),
            account::shown(found.uid()),
            found.mode() & 0o7777
        ),
        Err(error) => format!("{} cannot be looked at: {error}", file.display()),
    };
    failure.causes.push(format!("{what}; you are {you}"));
    let to_do = failure.hint.take().map(|hint| format!(" (to do there: {hint})")).unwrap_or_default();
    failure.hint(format!(
        "no run goes without the organisation's policy: send these lines to the administrator of this machine, root{to_do}"
    ))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::super::{OF_A_RUN, Wanted, load_under};

    fn told(text: &str, mode: u32) -> String {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let file = dir.path().join("policy.yml");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let failure = load_under(&file, &Wanted::default(), &OF_A_RUN).map(drop).unwrap_err();
        failure.to_string().replace(&dir.path().display().to_string(), "DIR")
    }

    #[test]
    fn a_person_learns_whom_to_ask_and_what_to_send() {
        for (text, mode, why) in [
            ("version: 1\n", 0o666, "others than its owner can write it"),
            ("version: 1\nnetwork: [unclosed\n", 0o644, "not YAML"),
            ("version: 1\nnetwork: {alow: []}\n", 0o644, "alow"),
        ] {
            let told = told(text, mode);
            // Only root's file counts at all.
            let why = if rustix::process::geteuid().is_root() { why } else { "it must belong to root" };
            assert!(told.contains(why), "{told}");
            let you = crate::host::account::shown(rustix::process::geteuid().as_raw());
            let facts = format!("DIR/policy.yml belongs to {you}, mode {mode:03o}; you are {you}");
            assert!(told.contains(&facts), "{told}");
            assert!(told.contains("send these lines to the administrator of this machine"), "{told}");
        }
    }

    #[test]
    fn a_policy_of_a_persons_own_is_theirs_to_mend() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("own.yml");
        fs::write(&file, "version: 1\nnetwork: {alow: []}\n").unwrap();
        let wanted = Wanted { policies: vec![file.display().to_string()], ..Wanted::default() };
        let told =
            load_under(&dir.path().join("none.yml"), &wanted, &OF_A_RUN).map(drop).unwrap_err().to_string();
        assert!(told.contains("alow") && !told.contains("administrator"), "{told}");
    }
}
