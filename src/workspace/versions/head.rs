//! Resolves HEAD to a commit, by loose and packed references.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::Doubt;
use super::folder::{self, Closed};
use super::object::{Form, ObjectId};
use crate::workspace::aftermath::gitdir::refs;

/// A reference may name another; git follows five.
const MOST_STEPS: usize = 5;

/// Reads which commit HEAD names; none where there is no commit yet. `own` is the working tree's
/// folder, `common` the repository's, which is another one for a linked working tree.
pub(crate) fn commit(own: &OwnedFd, common: &OwnedFd, form: Form) -> Result<Option<ObjectId>, Doubt> {
    let unreadable = |name: &str| Doubt::Unreadable(format!("the reference {name}"));
    let mut name = "HEAD".to_owned();
    for _ in 0..=MOST_STEPS {
        let text = match loose(if is_own(&name) { own } else { common }, &name) {
            Ok(text) => text,
            Err(Closed::Absent) => return packed(common, &name, form),
            Err(Closed::Unfit) => return Err(unreadable(&name)),
        };
        let value = refs::value(&text).ok_or_else(|| unreadable(&name))?;
        match value.strip_prefix("ref: ") {
            Some(target) => name = target.to_owned(),
            None => return form.parse(value.as_bytes()).map(Some).ok_or_else(|| unreadable(&name)),
        }
    }
    Err(unreadable(&name))
}

/// Says whether a linked working tree has a reference for itself.
fn is_own(name: &str) -> bool {
    let own = ["refs/bisect/", "refs/worktree/", "refs/rewritten/"];
    !name.starts_with("refs/") || own.iter().any(|start| name.starts_with(start))
}

fn loose(here: &OwnedFd, name: &str) -> Result<Vec<u8>, Closed> {
    let path = Path::new(name);
    let folder = folder::descend(here, path.parent().unwrap_or(Path::new("")))?;
    folder::read(folder, path.file_name().unwrap_or_default(), refs::LONGEST)
}

/// Finds a reference in `packed-refs`.
fn packed(common: &OwnedFd, name: &str, form: Form) -> Result<Option<ObjectId>, Doubt> {
    let unreadable = || Doubt::Unreadable("packed-refs".to_owned());
    let text = folder::read_if_there(common, OsStr::new("packed-refs"), refs::LARGEST)
        .map_err(|_| unreadable())?
        .unwrap_or_default();
    let mut named = text.split(|byte| *byte == b'\n').filter_map(|line| {
        let space = line.iter().position(|byte| *byte == b' ')?;
        (&line[space + 1..] == name.as_bytes()).then(|| &line[..space])
    });
    match (named.next(), named.next()) {
        (None, _) => Ok(None),
        (Some(object), None) => form.parse(object).map(Some).ok_or_else(unreadable),
        (Some(_), Some(_)) => Err(unreadable()),
    }
}
