//! The account of the person who runs this program.

use nix::unistd::{Uid, User};

/// Returns the number of the account, and its name where the system knows one (getpwuid_r(3)).
pub(crate) fn of_caller() -> (u32, Option<String>) {
    let uid = Uid::current();
    (uid.as_raw(), User::from_uid(uid).ok().flatten().map(|account| account.name))
}
