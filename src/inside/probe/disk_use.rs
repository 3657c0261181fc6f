//! The helper that counts what an agent has on the engine's disk, and says it again and again.
//!
//! ```text
//!  /proc/1/root ─▶ what was made or changed since process 1 began ─┐
//!  declared volumes, mounted here ─▶ the same                      ├─▶ one line     supervisor gone (end of stdin) ─▶ end
//!  /proc/*/task/*/fd ─▶ files without a name ──────────────────────┘
//! ```
//! It is in the agent's process namespace and sees its files by that. It may read everything there
//! (`DAC_READ_SEARCH`, `SYS_PTRACE`), writes nothing, and has no network. It holds more rights than
//! the agent, so the agent can end it or stop it, but neither trace it nor enter it; the supervisor
//! takes its silence for its end.
//!
//! A file is the agent's if its inode changed since process 1 began: no agent can set that time
//! back.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::{FileType, Mode, OFlags, Stat};

use crate::host::walk::{Bounds, Walked, walk};
use crate::inside::output;
use crate::term::Failure;
use crate::wire::disk_use::DiskUse;
use crate::wire::handover::COUNTED;

/// A folder below each other folder keeps a descriptor; the container has twice as many. A look
/// goes through the whole image, which may lie on a slow disk: meanwhile the engine's word on the
/// layer counts.
const BOUNDS: Bounds = Bounds { depth: 2000, entries: 12_000_000, time: Duration::from_secs(600) };
/// Open files are looked through within this time.
const OPEN_FILES: Duration = Duration::from_secs(120);
/// The time between two lines, at most.
const BEAT: Duration = Duration::from_secs(5);
/// No two looks are closer.
const SHORTEST: Duration = Duration::from_secs(2);
/// No two are further apart.
const LONGEST: Duration = Duration::from_secs(60);
/// A pause is so many times as long as the look before it, within these bounds.
const SHARE: u32 = 15;
/// Clocks of file systems go in steps, and so do those of processes.
const STEP: Duration = Duration::from_millis(50);
/// Steps of a process's clock in a second: the same on every platform that ringfence runs on,
/// whatever the kernel's own are.
const TICKS: f64 = 100.0;
/// File systems whose files are memory.
const IN_MEMORY: [i64; 3] = [0x0102_1994, 0x8584_58f6, 0x9584_58f6];

/// Says what the agent has, until nobody listens.
pub(crate) fn watch() -> Result<(), Failure> {
    let failed = |doing: &'static str| {
        move |error: io::Error| Failure::new(1, format!("disk: {doing}")).caused_by(&error)
    };
    let newest = Arc::new(Mutex::new(DiskUse::default()));
    let repeated = newest.clone();
    // A look may take long: a helper that was stopped is told from one that looks.
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(BEAT);
            let said = say(&repeated.lock().unwrap_or_else(PoisonError::into_inner));
            if said.is_err() {
                std::process::exit(1);
            }
        }
    });
    let stdin = io::stdin();
    // Once: a step of the clock would make other files the agent's.
    let since = began(Path::new("/proc/1")).map_err(failed("cannot look at the agent"))?;
    loop {
        let began = Instant::now();
        let found = look(Path::new("/proc"), &volumes(), since)
            .map_err(failed("cannot look at the agent's files"))?;
        *newest.lock().unwrap_or_else(PoisonError::into_inner) = found;
        say(&found).map_err(failed("nobody listens"))?;
        let pause = (began.elapsed() * SHARE).clamp(SHORTEST, LONGEST);
        let mut waited = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        let limit = PollTimeout::from(u16::try_from(pause.as_millis()).unwrap_or(u16::MAX));
        match poll(&mut waited, limit) {
            Ok(0) | Err(Errno::EINTR) => {}
            // Nobody ever writes: what can be read is the end.
            Ok(_) => return Ok(()),
            Err(error) => return Err(failed("cannot wait")(error.into())),
        }
    }
}

fn say(found: &DiskUse) -> io::Result<()> {
    output::to_supervisor(&found.text()?)
}

/// Returns the places where declared volumes are mounted.
fn volumes() -> Vec<PathBuf> {
    (0..).map(|number| Path::new(COUNTED).join(number.to_string())).take_while(|path| path.exists()).collect()
}

/// Looks once.
fn look(proc: &Path, volumes: &[PathBuf], since: (i64, i64)) -> io::Result<DiskUse> {
    let mut count = Count { since, ..Count::default() };
    let mut found = DiskUse { layer: count.tree(&proc.join("1/root"))?, ..DiskUse::default() };
    for volume in volumes {
        found.volumes = found.volumes.saturating_add(count.tree(volume)?);
    }
    found.nameless = count.open_files(proc);
    Ok(DiskUse { files: count.files, cut_short: count.cut_short, ..found })
}

/// Returns the time at which a process began: seconds and nanoseconds of the wall clock.
fn began(process: &Path) -> io::Result<(i64, i64)> {
    let strange = || io::Error::other("the kernel does not say when the agent began");
    let text = std::fs::read_to_string(process.join("stat"))?;
    // The name may hold anything, and ends with the last bracket.
    let (_, fields) = text.rsplit_once(')').ok_or_else(strange)?;
    let ticks: f64 =
        fields.split_whitespace().nth(19).and_then(|ticks| ticks.parse().ok()).ok_or_else(strange)?;
    let uptime = std::fs::read_to_string("/proc/uptime")?;
    let uptime: f64 =
        uptime.split_whitespace().next().and_then(|seconds| seconds.parse().ok()).ok_or_else(strange)?;
    let age = Duration::try_from_secs_f64(uptime - ticks / TICKS).unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
    let at = now.saturating_sub(age).saturating_sub(STEP);
    Ok((i64::try_from(at.as_secs()).map_err(io::Error::other)?, i64::from(at.subsec_nanos())))
}

/// Counts what is the agent's.
#[derive(Default)]
struct Count {
    since: (i64, i64),
    files: u64,
    cut_short: bool,
}

impl Count {
    /// Adds a tree; its bytes.
    fn tree(&mut self, root: &Path) -> io::Result<u64> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root: OwnedFd = rustix::fs::open(root, flags, Mode::empty())?;
        let device = rustix::fs::fstat(&root)?.st_dev;
        // Files with several names count once.
        let mut linked = HashSet::new();
        let (mut bytes, mut files, mut hidden) = (0u64, 0u64, false);
        let walked = walk(
            root,
            BOUNDS,
            |entry| {
                let stat = entry.stat;
                if stat.st_dev != device || !self.is_new(stat) {
                    return;
                }
                let several = entry.kind() != FileType::Directory && stat.st_nlink > 1;
                if !several || linked.insert(stat.st_ino) {
                    files += 1;
                    bytes = bytes.saturating_add(blocks(stat));
                }
            },
            |_| hidden = true,
        )?;
        self.files = self.files.saturating_add(files);
        self.cut_short |= hidden || walked == Walked::CutShort;
        Ok(bytes)
    }

    /// Adds files that have no name any more and that a process keeps open; their bytes.
    fn open_files(&mut self, proc: &Path) -> u64 {
        let until = Instant::now() + OPEN_FILES;
        let mut seen = HashSet::new();
        let mut bytes = 0u64;
        for process in numbered(proc) {
            let process = proc.join(process);
            // Threads may have descriptors of their own.
            for thread in numbered(&process.join("task")) {
                let thread = process.join("task").join(thread);
                let all = thread.join("fd");
                let open = numbered(&all).map(|number| all.join(number));
                for file in open.chain([thread.join("exe")]) {
                    if Instant::now() > until {
                        self.cut_short = true;
                        return bytes;
                    }
                    // What was closed meanwhile is gone.
                    let Ok(stat) = rustix::fs::stat(&file) else { continue };
                    let nameless =
                        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 0;
                    if nameless && is_on_disk(&file) && seen.insert((stat.st_dev, stat.st_ino)) {
                        bytes = bytes.saturating_add(blocks(&stat));
                        self.files += 1;
                    }
                }
            }
        }
        bytes
    }

    fn is_new(&self, stat: &Stat) -> bool {
        (stat.st_ctime, stat.st_ctime_nsec as i64) >= self.since
    }
}

/// Returns what has a number for its name. A folder that is gone, or that nobody may list, has
/// nothing.
fn numbered(folder: &Path) -> impl Iterator<Item = OsString> {
    let listed = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = listed.map(|entry| entry.file_name());
    names.filter(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit))
}

fn is_on_disk(file: &Path) -> bool {
    // What cannot be told counts.
    rustix::fs::statfs(file).map_or(true, |system| !IN_MEMORY.contains(&system.f_type))
}

fn blocks(stat: &Stat) -> u64 {
    // st_blocks counts 512 bytes, whatever the file system's blocks are.
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    use super::*;

    fn since_now() -> Count {
        std::thread::sleep(Duration::from_millis(20));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let since = (now.as_secs() as i64, i64::from(now.subsec_nanos()));
        std::thread::sleep(Duration::from_millis(20));
        Count { since, ..Count::default() }
    }

    #[test]
    fn this_process_began_after_the_machine_and_before_now() {
        let (seconds, _) = began(Path::new("/proc/self")).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        assert!((now - 3600..=now).contains(&seconds), "{seconds} {now}");
        assert!(began(Path::new("/proc/1")).unwrap() <= began(Path::new("/proc/self")).unwrap());
    }

    #[test]
    fn what_was_there_before_does_not_count_and_all_that_came_does() {
        let dir = tempfile::tempdir_in(".").unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("before"), vec![1; 1 << 20]).unwrap();
        let mut count = since_now();
        assert_eq!(count.tree(dir.path()).unwrap(), 0);
        std::fs::create_dir(path("folder")).unwrap();
        std::fs::write(path("folder/new"), vec![1; 1 << 20]).unwrap();
        for number in 0..10 {
            File::create(path(&number.to_string())).unwrap();
            std::fs::hard_link(path("folder/new"), path(&format!("{number} again"))).unwrap();
        }
        File::create(path("hole")).unwrap().set_len(1 << 40).unwrap();
        // Times that a program can set are set to long ago.
        File::open(path("folder/new")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        let bytes = count.tree(dir.path()).unwrap();
        assert!((1 << 20..2 << 20).contains(&bytes), "{bytes}");
        assert_eq!((count.files, count.cut_short), (13, false));
        // Space beyond the end is space.
        let reserved = File::create(path("reserved")).unwrap();
        let keep = rustix::fs::FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&reserved, keep, 0, 8 << 20).unwrap();
        assert!(count.tree(dir.path()).unwrap() >= bytes + (8 << 20));
    }

    #[test]
    fn files_without_a_name_are_found_where_they_are_open() {
        let dir = tempfile::tempdir_in(".").unwrap();
        let script = "exec 3>gone 4>named 5>/dev/shm/gone-$$ 6>&3; head -c 3000000 /dev/zero | tee /dev/fd/4 /dev/fd/5 >&3;
                      rm gone /dev/shm/gone-$$; echo ready; cat";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
        // The processes of this child alone.
        let proc = dir.path().join("proc");
        std::fs::create_dir(&proc).unwrap();
        std::os::unix::fs::symlink(format!("/proc/{}", child.id()), proc.join("7")).unwrap();
        let mut count = Count::default();
        let bytes = count.open_files(&proc);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!((3_000_000..3_300_000).contains(&bytes), "{bytes}");
        assert_eq!((count.files, count.cut_short), (1, false));
        assert_eq!(Count::default().open_files(&proc), 0, "the child has ended");
    }
}
