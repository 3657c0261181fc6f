//! Store of the events of runs on this machine, in parts, with limits of age and size.
//!
//! ```text
//!  lines ─▶ events/ID.jsonl ─(64 MiB)─▶ events/ID.2.jsonl ─▶ …        one run has no more than the guard's bound
//!  gc ─▶ runs older than 90 days, and the oldest beyond 2 GiB, go whole; the newest stays
//! ```
//! No part is ever renamed or written again: the first is locked by the supervisor of the run for
//! its whole life.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::runs;
use crate::host::state;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::WorkflowId;

/// A part has no more bytes, but for one line.
const PART: u64 = 64 << 20;
/// Runs that nobody has supervised for so long are forgotten.
const KEPT_FOR: Duration = Duration::from_secs(90 * 24 * 3600);
/// All runs together keep so much.
const KEPT_BYTES: u64 = 2 << 30;
/// The longest line that is looked for at the end of a part.
const LONGEST: u64 = 32 << 20;

/// Returns the name of a part, from 1.
fn name(id: WorkflowId, part: u32) -> String {
    if part == 1 { format!("{id}.jsonl") } else { format!("{id}.{part}.jsonl") }
}

/// Returns the run and the number of a part.
fn of_name(name: &str) -> Option<(WorkflowId, u32)> {
    let stem = name.strip_suffix(".jsonl")?;
    match stem.split_once('.') {
        None => Some((stem.parse().ok()?, 1)),
        Some((id, part)) => {
            let part = part.parse().ok().filter(|part| *part > 1)?;
            let (id, written) = (id.parse().ok()?, name);
            (self::name(id, part) == written).then_some((id, part))
        }
    }
}

/// Lists the parts that there are of a run, in order.
pub(crate) fn parts(id: WorkflowId) -> Result<Vec<PathBuf>, Failure> {
    Ok(parts_in(&state::folder("events")?, id))
}

fn parts_in(folder: &Path, id: WorkflowId) -> Vec<PathBuf> {
    (1..).map(|part| folder.join(name(id, part))).take_while(|path| path.exists()).collect()
}

/// Lists the runs that events are kept of.
pub(crate) fn runs() -> Result<Vec<WorkflowId>, Failure> {
    let folder = state::folder("events")?;
    let mut all: Vec<WorkflowId> = names(&folder)?.filter_map(|name| Some(of_name(&name)?.0)).collect();
    all.sort();
    all.dedup();
    Ok(all)
}

fn names(folder: &Path) -> Result<impl Iterator<Item = String> + use<>, Failure> {
    let entries = fs::read_dir(folder).map_err(|error| cannot("list", folder, &error))?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()))
}

fn cannot(do_what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("cannot {do_what} {}", path.display())).caused_by(error)
}

/// Reads all events that are kept of a run.
pub(crate) fn read(id: WorkflowId) -> Result<Vec<u8>, Failure> {
    let mut all = Vec::new();
    for path in parts(id)? {
        File::open(&path)
            .and_then(|mut file| file.read_to_end(&mut all))
            .map_err(|error| cannot("read", &path, &error))?;
    }
    Ok(all)
}

/// Writes the parts of one run.
pub(crate) struct Writer {
    folder: PathBuf,
    id: WorkflowId,
    part: u32,
    size: u64,
    most: u64,
    file: File,
    /// Kept open for its lock.
    first: Option<File>,
}

impl Writer {
    /// Begins the store of a new run, locked as far as files can be here (see
    /// [`state::are_events_held`]).
    pub(crate) fn begin(id: WorkflowId) -> Result<Writer, Failure> {
        let folder = state::folder("events")?;
        let path = folder.join(name(id, 1));
        let file = create(&path).map_err(|error| cannot("write events to", &path, &error))?;
        let _ = file.try_lock();
        Ok(Writer { folder, id, part: 1, size: 0, most: PART, file, first: None })
    }

    /// Returns the file that is written now.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join(name(self.id, self.part))
    }

    /// Adds a line, with its end.
    pub(crate) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.size >= self.most {
            let next = create(&self.folder.join(name(self.id, self.part + 1)))?;
            let before = std::mem::replace(&mut self.file, next);
            self.first.get_or_insert(before);
            (self.part, self.size) = (self.part + 1, 0);
        }
        self.file.write_all(line)?;
        self.size += u64::try_from(line.len()).unwrap_or(u64::MAX);
        Ok(())
    }
}

/// Makes a file that was not there, for its owner alone.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Events that were added to those that are kept of a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Added {
    /// Lines.
    pub(crate) lines: u64,
    /// Nothing was: somebody on this machine still writes them.
    pub(crate) are_held: bool,
    /// Events that neither this machine nor the engine has any more: the first and the last.
    pub(crate) missing: Option<(u64, u64)>,
}

/// Adds the lines of a guard's log that are not kept yet. While a supervisor writes them, nothing
/// is.
pub(crate) fn add(id: WorkflowId, log: &[u8]) -> Result<Added, Failure> {
    add_in(&state::folder("events")?, id, log, PART)
}

fn add_in(folder: &Path, id: WorkflowId, log: &[u8], most: u64) -> Result<Added, Failure> {
    let path = folder.join(name(id, 1));
    let failed = |error: io::Error| cannot("write", &path, &error);
    // A run of which nothing was written is none that events are kept of.
    if !log.contains(&b'\n') {
        return Ok(Added::default());
    }
    let first = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc_nofollow())
        .open(&path)
        .map_err(failed)?;
    match first.try_lock() {
        Err(fs::TryLockError::WouldBlock) => return Ok(Added { are_held: true, ..Added::default() }),
        // Where there are no locks, no supervisor holds one.
        Ok(()) | Err(fs::TryLockError::Error(_)) => {}
    }
    let parts = parts_in(folder, id);
    let part = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    let mut file = match parts.last() {
        Some(last) if part > 1 => OpenOptions::new()
            .read(true)
            .write(true)
            .open(last)
            .map_err(|error| cannot("write", last, &error))?,
        _ => first.try_clone().map_err(failed)?,
    };
    let (size, last) = end_of(&mut file).map_err(failed)?;
    let mut writer = Writer { folder: folder.to_owned(), id, part, size, most, file, first: Some(first) };
    let mut next = last.map_or(0, |last| last.saturating_add(1));
    let mut added = Added::default();
    for line in log.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
        let Some(number) = number(line).filter(|number| *number >= next) else { continue };
        if number > next && added.missing.is_none() {
            added.missing = Some((next, number - 1));
        }
        writer.write(line).map_err(|error| cannot("write", &writer.path(), &error))?;
        added.lines += 1;
        next = number.saturating_add(1);
    }
    Ok(added)
}

fn libc_nofollow() -> i32 {
    i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0)
}

/// Takes away a line that was not written whole; the size that is left, and the number of the last
/// event.
fn end_of(file: &mut File) -> io::Result<(u64, Option<u64>)> {
    let size = file.seek(SeekFrom::End(0))?;
    let begin = size.saturating_sub(LONGEST);
    file.seek(SeekFrom::Start(begin))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let size = begin + u64::try_from(whole).unwrap_or(0);
    file.set_len(size)?;
    file.seek(SeekFrom::End(0))?;
    let last = tail[..whole].split_inclusive(|byte| *byte == b'\n').next_back();
    Ok((size, last.and_then(number)))
}

/// Returns the number of an event.
fn number(line: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Numbered {
        seq: u64,
    }
    serde_json::from_slice::<Numbered>(line).ok().map(|line| line.seq)
}

/// Forgets the events of old runs, and of the oldest beyond what all may keep. Runs that are on the
/// engine (`living`) or supervised stay, and so does the newest.
pub(crate) fn sweep(living: &[WorkflowId]) -> Result<(), Failure> {
    let folder = state::folder("events")?;
    let stays = |id: &WorkflowId| living.contains(id) || runs::is_supervised(*id);
    sweep_in(&folder, SystemTime::now(), KEPT_BYTES, stays)
}

fn sweep_in(
    folder: &Path,
    now: SystemTime,
    most: u64,
    stays: impl Fn(&WorkflowId) -> bool,
) -> Result<(), Failure> {
    let mut runs: Vec<(SystemTime, u64, WorkflowId)> = Vec::new();
    let mut ids: Vec<WorkflowId> = names(folder)?.filter_map(|name| Some(of_name(&name)?.0)).collect();
    ids.sort();
    ids.dedup();
    for id in ids {
        let known: Vec<fs::Metadata> =
            parts_in(folder, id).iter().filter_map(|path| fs::symlink_metadata(path).ok()).collect();
        let newest = known.iter().filter_map(|part| part.modified().ok()).max().unwrap_or(now);
        runs.push((newest, known.iter().map(fs::Metadata::len).sum(), id));
    }
    runs.sort();
    let newest = runs.last().map(|(.., id)| *id);
    let mut left: u64 = runs.iter().map(|(_, size, _)| size).sum();
    for (written, size, id) in runs {
        let is_old = now.duration_since(written).is_ok_and(|age| age > KEPT_FOR);
        if (!is_old && left <= most) || Some(id) == newest || stays(&id) {
            continue;
        }
        // The last part first: what is left after a failure still begins with its beginning.
        for path in parts_in(folder, id).iter().rev() {
            fs::remove_file(path).map_err(|error| cannot("remove", path, &error))?;
        }
        left = left.saturating_sub(size);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> WorkflowId {
        format!("{number:08x}").parse().unwrap()
    }

    fn lines(numbers: std::ops::Range<u64>) -> Vec<u8> {
        numbers.flat_map(|seq| format!("{{\"seq\":{seq},\"x\":\"0123456789\"}}\n").into_bytes()).collect()
    }

    fn kept(folder: &Path, id: WorkflowId) -> Vec<u8> {
        parts_in(folder, id).iter().flat_map(|path| fs::read(path).unwrap()).collect()
    }

    #[test]
    fn names_and_runs_belong_to_each_other() {
        for part in [1, 2, 17] {
            assert_eq!(of_name(&name(id(42), part)), Some((id(42), part)));
        }
        for none in
            ["x.jsonl", "0000002a.1.jsonl", "0000002a.02.jsonl", "0000002a.json", "0000002a.2.3.jsonl"]
        {
            assert_eq!(of_name(none), None, "{none}");
        }
    }

    #[test]
    fn what_is_missing_is_added_in_parts_and_nothing_twice() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let add = |log: &[u8]| add_in(at, id(1), log, 100).unwrap();
        assert_eq!(add(&lines(0..5)), Added { lines: 5, ..Added::default() });
        assert_eq!(add(&lines(0..5)), Added::default());
        assert_eq!(add(&lines(3..12)), Added { lines: 7, ..Added::default() });
        assert_eq!(kept(at, id(1)), lines(0..12));
        assert!(parts_in(at, id(1)).len() >= 3);
        // A supervisor that was killed in the midst of a line.
        let last = parts_in(at, id(1)).pop().unwrap();
        OpenOptions::new().append(true).open(&last).unwrap().write_all(b"{\"seq\":12,\"x").unwrap();
        assert_eq!(add(&lines(0..14)).lines, 2);
        assert_eq!(kept(at, id(1)), lines(0..14));
        // The engine has rotated the rest away: that is said, and what there is is kept.
        assert_eq!(add(&lines(20..22)), Added { lines: 2, missing: Some((14, 19)), ..Added::default() });
        assert_eq!(add_in(at, id(2), &lines(7..9), 100).unwrap().missing, Some((0, 6)));
        // A line that is not whole yet comes with its end.
        assert_eq!(add_in(at, id(3), b"{\"seq\":0}\n{\"seq\":1", 100).unwrap().lines, 1);
        // Of a run that wrote nothing there is nothing to keep.
        assert_eq!(add_in(at, id(4), b"", 100).unwrap(), Added::default());
        assert!(parts_in(at, id(4)).is_empty());
    }

    #[test]
    fn nothing_is_added_while_a_supervisor_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name(id(1), 1));
        let mut writer = Writer {
            folder: folder.path().to_owned(),
            id: id(1),
            part: 1,
            size: 0,
            most: 100,
            file: create(&path).unwrap(),
            first: None,
        };
        writer.file.try_lock().unwrap();
        for number in 0..12 {
            writer.write(&lines(number..number + 1)).unwrap();
        }
        let held = Added { are_held: true, ..Added::default() };
        assert_eq!(add_in(folder.path(), id(1), &lines(0..50), 100).unwrap(), held);
        drop(writer);
        assert_eq!(add_in(folder.path(), id(1), &lines(0..50), 100).unwrap().lines, 38);
        assert_eq!(kept(folder.path(), id(1)), lines(0..50));
    }

    #[test]
    fn old_runs_go_whole_and_the_newest_and_the_living_stay() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let now = SystemTime::now();
        let day = Duration::from_secs(24 * 3600);
        for (number, age) in [(1, 200), (2, 100), (3, 100), (4, 50), (5, 40), (6, 30)] {
            add_in(at, id(number), &lines(0..10), 100).unwrap();
            for path in parts_in(at, id(number)) {
                File::options().write(true).open(path).unwrap().set_modified(now - day * age).unwrap();
            }
        }
        fs::write(at.join("notes.txt"), "a person's").unwrap();
        let left = || (1..7).filter(|number| !parts_in(at, id(*number)).is_empty()).collect::<Vec<_>>();
        sweep_in(at, now, 1 << 20, |run| *run == id(2)).unwrap();
        assert_eq!(left(), [2, 4, 5, 6]);
        sweep_in(at, now, 700, |_| false).unwrap();
        assert_eq!(left(), [5, 6]);
        sweep_in(at, now + day * 1000, 0, |_| false).unwrap();
        assert_eq!(left(), [6]);
        assert!(at.join("notes.txt").exists());
    }
}
