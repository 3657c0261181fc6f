//! Changes of git's configuration that an agent may leave behind. `keys.txt` lists the permitted
//! names; every other change is put back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use super::config::{Entry, Name};
use super::lfs;

const TEXT: &str = include_str!("keys.txt");

/// Conditions under which a change may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum May {
    Free,
    Remote,
    Fetch,
    Fresh,
    Branch,
    Merge,
    Module,
    Update,
    Base,
    Lfs,
    Initial,
}

/// The values of a name, in their order.
pub(crate) type Values<'a> = Vec<Option<&'a [u8]>>;

/// All values of each name, or their digests where they are secret.
pub(crate) type All<'a> = BTreeMap<&'a [u8], Values<'a>>;

/// Entries by name.
pub(crate) fn by_name(entries: &[Entry]) -> All<'_> {
    let mut all = All::new();
    for entry in entries {
        all.entry(&entry.name).or_default().push(entry.value.as_deref());
    }
    all
}

/// Facts about a configuration file that decide which values it may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyContext<'a> {
    /// Set when the file was not there before the run.
    pub(crate) new: bool,
    /// The value that `core.worktree` may then have.
    pub(crate) tree: Option<&'a str>,
    /// Branches that were there before the run.
    pub(crate) branches: &'a BTreeSet<String>,
}

/// Tells whether the values that `name` has `after` a run may stay.
pub(super) fn may_stay(name: &[u8], before: &All<'_>, after: &All<'_>, place: KeyContext<'_>) -> bool {
    let parts = Name::of(name);
    let (none, was) = (Values::new(), before.get(name));
    let now = after.get(name).unwrap_or(&none);
    let added = was.is_none_or(Vec::is_empty);
    let each = |good: &dyn Fn(&str) -> bool| {
        added
            && now
                .iter()
                .all(|value| value.and_then(|value| std::str::from_utf8(value).ok()).is_some_and(good))
    };
    let has = |all: &All<'_>, section: &[u8], which: &[u8], keys: [&[u8]; 2]| {
        keys.iter().any(|key| all.contains_key([section, b".", which, b".", key].concat().as_slice()))
    };
    let has_address =
        |all: &All<'_>, section: &[u8], which: &[u8]| has(all, section, which, [b"url", b"pushurl"]);
    match may(&parts) {
        Some(May::Free) => true,
        // A second address of a remote would take part of what is pushed.
        Some(May::Remote | May::Module) => {
            let which = parts.subsection.unwrap_or_default();
            let named = parts.section != b"remote" || is_plain(which);
            named && !has_address(before, parts.section, which) && each(&is_on_a_network)
        }
        // What a fetch overwrites.
        Some(May::Fetch) => {
            let which = parts.subsection.unwrap_or_default();
            is_plain(which)
                && !has_address(before, b"remote", which)
                && each(&|value| is_fetched_apart(value, which))
        }
        Some(May::Fresh) => {
            let which = parts.subsection.unwrap_or_default();
            is_plain(which) && !has_address(before, b"remote", which)
        }
        // Where a branch is pushed to follows from all three.
        Some(May::Branch) => {
            let which = parts.subsection.unwrap_or_default();
            !follows(before, which)
                && each(&|value| {
                    value == "."
                        || has_address(before, b"remote", value.as_bytes())
                        || (has_address(after, b"remote", value.as_bytes())
                            && all_good(after, before, value, place))
                })
        }
        Some(May::Merge) => {
            let which = String::from_utf8_lossy(parts.subsection.unwrap_or_default());
            let remote = format!("branch.{which}.remote");
            !follows(before, which.as_bytes())
                && now.len() <= 1
                && (now.is_empty() || may_stay(remote.as_bytes(), before, after, place))
                && each(&|value| {
                    let branch = value.strip_prefix("refs/heads/").unwrap_or_default();
                    is_branch(branch) && (branch == which || !place.branches.contains(&*which))
                })
        }
        Some(May::Update) => each(&|value| matches!(value, "checkout" | "rebase" | "merge" | "none")),
        Some(May::Base) => each(&|value| value == "base"),
        Some(May::Lfs) => each(&|value| lfs::is_value(parts.key, value)),
        Some(May::Initial) => place.new,
        // A submodule's repository names its folder.
        None if name == b"core.worktree" => place.new && each(&|value| place.tree == Some(value)),
        None => false,
    }
}

/// Tells whether all addresses of a remote that an agent made may stay.
fn all_good(after: &All<'_>, before: &All<'_>, remote: &str, place: KeyContext<'_>) -> bool {
    ["url", "pushurl"].into_iter().all(|key| {
        let name = format!("remote.{remote}.{key}");
        !after.contains_key(name.as_bytes()) || may_stay(name.as_bytes(), before, after, place)
    })
}

/// Tells whether any entry says where a branch is pushed to.
fn follows(all: &All<'_>, branch: &[u8]) -> bool {
    let keys: [&[u8]; 3] = [b"remote", b"pushremote", b"merge"];
    keys.iter().any(|key| all.contains_key([b"branch.", branch, b".", key].concat().as_slice()))
}

/// Tells whether git accepts a name for a branch. Stricter than git itself.
fn is_branch(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(['-', '/', '.'])
        && !name.contains("..")
        && name.chars().all(|c| !c.is_control() && !c.is_whitespace() && !" ~^:?*[\\".contains(c))
}

/// Tells whether a refspec fetches branches to references of the remote's own, where they overwrite
/// nothing of the person's.
fn is_fetched_apart(refspec: &str, remote: &[u8]) -> bool {
    let Ok(remote) = std::str::from_utf8(remote) else { return false };
    let own = format!("refs/remotes/{remote}/");
    refspec.trim_start_matches('+').split_once(':').is_some_and(|(from, to)| {
        let from = from.strip_prefix("refs/heads/").unwrap_or_default();
        let to = to.strip_prefix(&own).unwrap_or_default();
        from == to && (from == "*" || is_branch(from))
    })
}

fn may(name: &Name<'_>) -> Option<May> {
    static LIST: OnceLock<Vec<(May, &'static str)>> = OnceLock::new();
    let list = LIST.get_or_init(|| TEXT.lines().filter_map(line).collect());
    list.iter().find(|(_, pattern)| fits(pattern, name)).map(|(may, _)| *may)
}

/// Reads a line of the list; an unknown word permits nothing.
fn line(text: &'static str) -> Option<(May, &'static str)> {
    let (word, pattern) = text.split_once(' ')?;
    let may = match word {
        "free" => May::Free,
        "remote" => May::Remote,
        "fetch" => May::Fetch,
        "fresh" => May::Fresh,
        "branch" => May::Branch,
        "merge" => May::Merge,
        "module" => May::Module,
        "update" => May::Update,
        "base" => May::Base,
        "lfs" => May::Lfs,
        "initial" => May::Initial,
        _ => return None,
    };
    Some((may, pattern.trim()))
}

fn fits(pattern: &str, name: &Name<'_>) -> bool {
    let wanted = Name::of(pattern.as_bytes());
    wanted.section == name.section
        && match (wanted.subsection, name.subsection) {
            (Some(b"*"), subsection) => subsection.is_some(),
            (wanted, subsection) => wanted == subsection,
        }
        && (wanted.key == b"*" || wanted.key == name.key)
}

/// Tells whether git takes a remote's name for no address: git looks for a remote of that name
/// first, whatever it is given.
fn is_plain(name: &[u8]) -> bool {
    name.first().is_some_and(u8::is_ascii_alphanumeric)
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// Tells whether an address leads to another machine by a way of git's own. A path may hold a
/// repository with hooks of the agent's; `NAME::` starts a program; a text that begins with `-` is
/// an option.
fn is_on_a_network(address: &str) -> bool {
    let plain = address.chars().all(|c| c.is_ascii_graphic())
        && !address.contains("::")
        // ssh takes the brackets off.
        && !address.contains("[-");
    let (host, scheme) = match address.split_once("://") {
        Some((scheme, rest)) => (rest.split('/').next().unwrap_or_default(), Some(scheme)),
        None => (address.split_once(':').map_or("", |(host, _)| host), None),
    };
    let host_alone = host.rsplit('@').next().unwrap_or_default();
    let known = match scheme {
        Some(scheme) => ["https", "http", "ssh", "git+ssh", "git"].contains(&scheme),
        // `host:path`: with a slash before the colon, or a drive's letter, it is a path.
        None => !host.contains('/') && !host.contains('\\') && host_alone.len() > 1,
    };
    plain
        && known
        && !host.is_empty()
        && !host.starts_with('-')
        && !host_alone.is_empty()
        && !host_alone.starts_with('-')
}

#[cfg(test)]
mod tests;
