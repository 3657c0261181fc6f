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

/// Writes a change down.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn add(id: WorkflowId, change: &Change) -> Result<(), Failure> {
    let path = path(id)?;
    let added = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).and_then(|mut file| {
        let mut line = serde_json::to_vec(change)?;
        line.push(b'\n');
        file.write_all(&line)
    });
    added.map_err(|error| cannot("write", &path, &error))
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
