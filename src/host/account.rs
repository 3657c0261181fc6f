//! The account of the person who runs this program.

use std::path::PathBuf;

use nix::unistd::{Uid, User};

/// Returns an account by its name, where the system knows one, and its number.
pub(crate) fn shown(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)).ok().flatten() {
        Some(account) => format!("{} ({uid})", account.name),
        None => format!("user {uid}"),
    }
}

/// Returns the person who runs this program, for the decision log.
pub(crate) fn caller_in_words() -> String {
    let (uid, name) = of_caller();
    name.map_or_else(|| format!("user {uid}"), |name| format!("{name} (uid {uid})"))
}

/// Returns the number of the account, and its name where the system knows one (getpwuid_r(3)).
pub(crate) fn of_caller() -> (u32, Option<String>) {
    let uid = Uid::current();
    (uid.as_raw(), User::from_uid(uid).ok().flatten().map(|account| account.name))
}

/// Returns the person's home: HOME where that is an absolute path, else the account's.
pub(crate) fn home() -> Option<PathBuf> {
    let absolute = |path: &PathBuf| path.is_absolute();
    std::env::var_os("HOME").map(PathBuf::from).filter(absolute).or_else(|| {
        User::from_uid(Uid::effective()).ok().flatten().map(|account| account.dir).filter(absolute)
    })
}
