//! The changes that this machine made to a run of its own while the run goes on:
//! `$XDG_STATE_HOME/ringfence/changes/ID.jsonl`, a line each.
//!
//! The guard enforces changes, and everybody who may use the engine can ask it. What a supervisor
//! does on this machine for an agent goes by the changes that were made here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use netpolicy::policy::Policy;

use crate::host::state;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::WorkflowId;
use crate::wire::control::Change;
use crate::wire::live_rules::LiveRules;

const ENDING: &str = "jsonl";
/// The most that is read: some reloads of a policy with ten thousand names.
const MOST: u64 = 64 << 20;

/// Writes a change down, whole or not at all.
///
/// # Errors
/// When the file cannot be written. Where the change may have taken something away, the changes of
/// the run cannot be read from then on: nobody knows what was taken.
pub(crate) fn add(id: WorkflowId, change: &Change) -> Result<(), Failure> {
    let path = path(id)?;
    add_to(&path, change, |mut file, line| file.write_all(line))
        .map_err(|error| cannot("write", &path, &error))
}

fn add_to(
    path: &Path,
    change: &Change,
    write: impl FnOnce(&File, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut line = serde_json::to_vec(change)?;
    line.push(b'\n');
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    // Another change of this machine may be written just now.
    file.lock()?;
    let before = file.metadata()?.len();
    let written = write(&file, &line);
    if written.is_err() {
        // A byte that is no change needs no room on a full disk.
        let unreadable = u64::from(!matches!(change, Change::Allow(_)));
        file.set_len(before)?;
        file.set_len(before + unreadable)?;
    }
    written
}

/// Returns the number of bytes of a run's changes: another number tells of another change.
pub(crate) fn length(id: WorkflowId) -> u64 {
    path(id).ok().and_then(|path| fs::metadata(path).ok()).map_or(0, |about| about.len())
}

/// Returns the rules of a run after the changes that were made here.
///
/// # Errors
/// When the changes cannot be read whole: then nobody knows what was taken away.
pub(crate) fn rules_after(id: WorkflowId, base: &Policy) -> io::Result<LiveRules> {
    let path = path(id).map_err(|failure| io::Error::other(failure.message))?;
    read(&path, base)
}

fn read(path: &Path, base: &Policy) -> io::Result<LiveRules> {
    let mut rules = LiveRules::new(base.clone());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(rules),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    if file.take(MOST + 1).read_to_string(&mut text)? as u64 > MOST {
        return Err(io::Error::other("there are too many changes"));
    }
    for line in text.split_inclusive('\n') {
        let change: Change = serde_json::from_str(line)?;
        // What a run could not follow was not made.
        let _ = rules.apply(&change);
    }
    Ok(rules)
}

/// Forgets the changes of a run of which nothing is left.
pub(crate) fn forget(id: WorkflowId) -> Result<(), Failure> {
    let path = path(id)?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cannot("remove", &path, &error)),
        _ => Ok(()),
    }
}

/// Forgets changes of which there is no run any more: one was made while its run ended.
pub(crate) fn sweep(has_run: impl Fn(WorkflowId) -> bool) -> Result<(), Failure> {
    sweep_in(&state::folder("changes")?, has_run)
}

fn sweep_in(folder: &Path, has_run: impl Fn(WorkflowId) -> bool) -> Result<(), Failure> {
    for entry in fs::read_dir(folder).map_err(|error| cannot("list", folder, &error))?.flatten() {
        let path = entry.path();
        let id = path.file_stem().and_then(|id| id.to_str()).and_then(|id| id.parse().ok());
        if let (Some(ENDING), Some(id)) = (path.extension().and_then(|end| end.to_str()), id)
            && !has_run(id)
        {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(cannot("remove", &path, &error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn path(id: WorkflowId) -> Result<PathBuf, Failure> {
    Ok(state::folder("changes")?.join(format!("{id}.{ENDING}")))
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("cannot {what} {}", path.display())).caused_by(error)
}

#[cfg(test)]
mod tests {
    use netpolicy::load::rule_from_command_line;

    use super::*;

    fn rule(flag: &str, text: &str) -> std::sync::Arc<netpolicy::policy::Rule> {
        rule_from_command_line(flag, text).unwrap().into()
    }

    #[test]
    fn a_change_that_cannot_be_written_leaves_no_half_of_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        let base = Policy::nothing();
        let allow =
            |port: u16| Change::Allow(rule("--allow", &format!("host.docker.internal:{port}/loopback")));
        let all = |mut file: &File, line: &[u8]| file.write_all(line);
        let half = |mut file: &File, line: &[u8]| {
            file.write_all(&line[..line.len() / 2])?;
            Err(io::ErrorKind::StorageFull.into())
        };
        add_to(&path, &allow(3000), all).unwrap();
        assert!(add_to(&path, &allow(4000), half).is_err());
        assert_eq!(read(&path, &base).unwrap().allow.len(), 1);
        add_to(&path, &allow(5000), all).unwrap();
        assert_eq!(read(&path, &base).unwrap().allow.len(), 2);
        // What was to be taken away must not stay because the disk is full.
        let deny = Change::Deny(rule("--deny", "host.docker.internal"));
        let nothing = |_: &File, _: &[u8]| Err(io::ErrorKind::StorageFull.into());
        assert!(add_to(&path, &deny, nothing).is_err());
        assert!(read(&path, &base).is_err());
        add_to(&path, &allow(6000), all).unwrap();
        assert!(read(&path, &base).is_err(), "it stays so");
    }

    #[test]
    fn changes_without_a_run_are_swept_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let [gone, stays] = ["00000001", "00000002"].map(|id| id.parse::<WorkflowId>().unwrap());
        for name in [format!("{gone}.jsonl"), format!("{stays}.jsonl"), "notes.txt".to_owned()] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        sweep_in(folder.path(), |id| id == stays).unwrap();
        let mut left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [format!("{stays}.jsonl").as_str(), "notes.txt"]);
    }

    #[test]
    fn changes_are_followed_in_their_order_and_half_of_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        let base = Policy::nothing();
        assert!(read(&path, &base).unwrap().allow.is_empty(), "no file is no change");
        let allow = Change::Allow(rule("--allow", "host.docker.internal:3000/loopback"));
        let deny = Change::Deny(rule("--deny", "host.docker.internal"));
        let write = |changes: &[&Change]| {
            let lines: Vec<String> =
                changes.iter().map(|change| serde_json::to_string(change).unwrap() + "\n").collect();
            fs::write(&path, lines.concat()).unwrap();
            read(&path, &base).unwrap()
        };
        assert_eq!(write(&[&allow]).allow.len(), 1);
        let after = write(&[&allow, &deny]);
        assert_eq!((after.allow.len(), after.deny.len()), (0, 1));
        let after = write(&[&deny, &allow]);
        assert_eq!((after.allow.len(), after.deny.len()), (1, 0));
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 4]).unwrap();
        assert!(read(&path, &base).is_err(), "nobody knows what the last line says");
    }
}
