//! Output of detached runs, the agent's own and the words of the supervisor, and of all services.
//!
//! ```text
//!  the engine's log of the agent ─(newest 16 MiB)─▶ output/ID.jsonl    at the run's end: a line for the whole, one for each piece
//!  the same of each service      ─(newest 4 MiB)──▶ output/ID.NAME.jsonl    of every run: nobody has seen it
//!  talk of the supervisor        ─(2 MiB)────────▶ output/ID.txt       from the moment at which it left its caller
//!  gc ─▶ what no remembered run has, and the oldest beyond 512 MiB
//! ```

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use netpolicy::service::ServiceName;
use serde::{Deserialize, Serialize};

use super::history;
use crate::host::state;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::WorkflowId;

const OUTPUT: &str = "jsonl";
const SAID: &str = "txt";
/// The newest part of an agent's output is kept, in a file of this size at most.
const KEPT: usize = 16 << 20;
/// The newest part of a service's, in a file of this size at most.
const KEPT_OF_SERVICE: usize = 4 << 20;
/// A piece in the file is no longer, before it is written as JSON.
const LONGEST_PIECE: usize = 1 << 20;
/// Bytes of a line besides its piece, at most.
const LINE: usize = 32;
/// All runs together keep so much.
const KEPT_BYTES: u64 = 512 << 20;
/// A line of the file is no longer: a piece as an engine sends it, written as JSON.
const LONGEST_LINE: u64 = 8 << 20;
/// The longest account of a supervisor that is read.
const LONGEST_SAID: u64 = 4 << 20;

/// Container whose output is kept: a file in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutputSource {
    /// The run.
    pub(crate) run: WorkflowId,
    /// The service; none: the agent.
    pub(crate) service: Option<ServiceName>,
}

impl OutputSource {
    /// The agent of a run.
    pub(crate) fn agent(run: WorkflowId) -> OutputSource {
        OutputSource { run, service: None }
    }

    /// A service of a run.
    pub(crate) fn service(run: WorkflowId, name: ServiceName) -> OutputSource {
        OutputSource { run, service: Some(name) }
    }

    /// Returns the path of the file that holds its output, for people.
    pub(crate) fn place(&self) -> Result<PathBuf, Failure> {
        Ok(state::folder("output")?.join(self.file_name()))
    }

    /// Tells whether its output is kept.
    pub(crate) fn is_kept(&self) -> Result<bool, Failure> {
        Ok(self.place()?.exists())
    }

    fn file_name(&self) -> String {
        match &self.service {
            Some(name) => format!("{}.{name}.{OUTPUT}", self.run),
            None => format!("{}.{OUTPUT}", self.run),
        }
    }

    /// Returns the bytes of its file, at most.
    fn most(&self) -> usize {
        if self.service.is_some() { KEPT_OF_SERVICE } else { KEPT }
    }
}

impl std::fmt::Display for OutputSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.service {
            Some(name) => write!(f, "the service `{name}` of {}", self.run),
            None => write!(f, "{}", self.run),
        }
    }
}

/// Stream of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AgentStream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Piece of an agent's output.
pub(crate) type Piece = (AgentStream, Vec<u8>);

/// The first line of a file.
#[derive(Debug, Serialize, Deserialize)]
struct Heading {
    /// Version of the form.
    v: u32,
    /// Bytes before the first piece that were not kept.
    dropped: u64,
    /// Tells whether the agent had a terminal.
    terminal: bool,
}

/// A further line.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    stream: AgentStream,
    /// The piece, where it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    /// The piece, where it is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

/// The newest part of an agent's output.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct KeptOutput {
    /// Tells whether the agent had a terminal.
    pub(crate) terminal: bool,
    /// Bytes before the first piece that were not kept.
    pub(crate) dropped: u64,
    /// The pieces, in order.
    pub(crate) pieces: VecDeque<Piece>,
    /// Bytes of all pieces in the file.
    size: usize,
}

impl KeptOutput {
    /// Begins with nothing.
    pub(crate) fn new(terminal: bool) -> KeptOutput {
        KeptOutput { terminal, ..KeptOutput::default() }
    }

    /// Adds a piece of that output; the oldest go where there are too many.
    pub(crate) fn add(&mut self, of: &OutputSource, stream: AgentStream, bytes: &[u8]) {
        self.add_within(stream, bytes, of.most());
    }

    fn add_within(&mut self, stream: AgentStream, bytes: &[u8], most: usize) {
        for piece in bytes.chunks(LONGEST_PIECE) {
            self.size += size_in_file(piece);
            self.pieces.push_back((stream, piece.to_vec()));
        }
        while self.size > most
            && let Some((_, oldest)) = self.pieces.pop_front()
        {
            self.size -= size_in_file(&oldest);
            self.dropped = self.dropped.saturating_add(oldest.len() as u64);
        }
    }

    /// Writes it down, in the place of what was there.
    pub(crate) fn write(&self, of: &OutputSource) -> Result<(), Failure> {
        let path = of.place()?;
        self.write_to(&path).map_err(|error| cannot("write", &path, &error))
    }

    fn write_to(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        let mut file = tempfile::Builder::new().suffix(state::UNFINISHED).tempfile_in(folder)?;
        let mut writer = BufWriter::new(file.as_file_mut());
        let heading = Heading { v: 1, dropped: self.dropped, terminal: self.terminal };
        serde_json::to_writer(&mut writer, &heading)?;
        for (stream, bytes) in &self.pieces {
            let (log, base64) = match std::str::from_utf8(bytes) {
                Ok(text) => (Some(text.to_owned()), None),
                Err(_) => (None, Some(STANDARD.encode(bytes))),
            };
            writer.write_all(b"\n")?;
            serde_json::to_writer(&mut writer, &Written { stream: *stream, log, base64 })?;
        }
        writer.write_all(b"\n")?;
        writer.flush()?;
        drop(writer);
        file.persist(path).map(drop).map_err(|error| error.error)
    }

    /// Reads what is kept; none where nothing is.
    pub(crate) fn of(source: &OutputSource) -> Result<Option<KeptOutput>, Failure> {
        let path = source.place()?;
        match File::open(&path) {
            Ok(file) => KeptOutput::read(file).map(Some).map_err(|error| cannot("read", &path, &error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(cannot("read", &path, &error)),
        }
    }

    fn read(file: impl Read) -> io::Result<KeptOutput> {
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        let mut next = |line: &mut Vec<u8>| -> io::Result<bool> {
            line.clear();
            (&mut reader).take(LONGEST_LINE).read_until(b'\n', line)?;
            if line.len() as u64 == LONGEST_LINE && !line.ends_with(b"\n") {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long"));
            }
            Ok(line.ends_with(b"\n"))
        };
        if !next(&mut line)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let heading: Heading = serde_json::from_slice(&line)?;
        let mut kept =
            KeptOutput { dropped: heading.dropped, terminal: heading.terminal, ..KeptOutput::default() };
        while next(&mut line)? {
            let Written { stream, log, base64 } = serde_json::from_slice(&line)?;
            let bytes = match (log, base64) {
                (Some(text), _) => text.into_bytes(),
                (None, Some(text)) => STANDARD.decode(text).map_err(io::Error::other)?,
                (None, None) => Vec::new(),
            };
            kept.size += size_in_file(&bytes);
            kept.pieces.push_back((stream, bytes));
        }
        Ok(kept)
    }

    /// Leaves the last lines.
    pub(crate) fn tail(&mut self, lines: u64) {
        let is_ended = self.pieces.back().is_none_or(|(_, last)| last.ends_with(b"\n"));
        // The end of the last line begins no other.
        let mut wanted = lines.saturating_add(u64::from(is_ended && lines > 0));
        let mut left = VecDeque::new();
        while wanted > 0
            && let Some((stream, bytes)) = self.pieces.pop_back()
        {
            let ends = bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
            let mut from = 0;
            for end in ends {
                wanted -= 1;
                if wanted == 0 {
                    from = end + 1;
                    break;
                }
            }
            left.push_front((stream, bytes[from..].to_vec()));
        }
        self.pieces = left;
    }
}

/// Returns the bytes that a piece has in the file, at most.
fn size_in_file(piece: &[u8]) -> usize {
    let escaped = |byte: &u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 2,
        0..32 => 6,
        _ => 1,
    };
    let bytes = match std::str::from_utf8(piece) {
        Ok(text) => text.as_bytes().iter().map(escaped).sum(),
        Err(_) => piece.len().div_ceil(3) * 4,
    };
    bytes + LINE
}

/// Lists the services of a run whose output is kept.
pub(crate) fn kept_services(run: WorkflowId) -> Result<Vec<ServiceName>, Failure> {
    let folder = state::folder("output")?;
    let entries = fs::read_dir(&folder).map_err(|error| cannot("list", &folder, &error))?;
    let name = |entry: fs::DirEntry| match parts(&entry.path())? {
        (id, Some(service), OUTPUT) if id == run => Some(service),
        _ => None,
    };
    let mut names: Vec<_> = entries.flatten().filter_map(name).collect();
    names.sort();
    Ok(names)
}

/// Reads the name of a file in the folder: a run, a service of it, the ending.
fn parts(path: &Path) -> Option<(WorkflowId, Option<ServiceName>, &str)> {
    let ending = path.extension()?.to_str()?;
    let stem = path.file_stem()?.to_str()?;
    let (id, service) = match stem.split_once('.') {
        Some((id, service)) => (id, Some(service.parse().ok()?)),
        None => (stem, None),
    };
    Some((id.parse().ok()?, service, ending))
}

/// Makes the file for what the supervisor of a run says once it has left its caller.
pub(crate) fn begin_said(id: WorkflowId) -> Result<File, Failure> {
    let path = path_of_said(id)?;
    let made = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path);
    made.map_err(|error| cannot("write", &path, &error))
}

/// Reads what the supervisor of a run has said since it left its caller; none of a run that never
/// left.
pub(crate) fn said(id: WorkflowId) -> Result<Option<String>, Failure> {
    let path = path_of_said(id)?;
    let read = File::open(&path).and_then(|file| {
        let mut bytes = Vec::new();
        file.take(LONGEST_SAID).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    });
    match read {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot("read", &path, &error)),
    }
}

/// Forgets what no remembered run has, and the oldest beyond what all may keep. Runs that are on
/// the engine (`living`) stay.
pub(crate) fn sweep(living: &[WorkflowId]) -> Result<(), Failure> {
    let folder = state::folder("output")?;
    sweep_in(&folder, KEPT_BYTES, |id| history::is_remembered(*id), |id| living.contains(id))
}

fn sweep_in(
    folder: &Path,
    most: u64,
    is_remembered: impl Fn(&WorkflowId) -> bool,
    lives: impl Fn(&WorkflowId) -> bool,
) -> Result<(), Failure> {
    state::remove_unfinished(folder);
    let entries = fs::read_dir(folder).map_err(|error| cannot("list", folder, &error))?;
    let mut all: Vec<(SystemTime, u64, PathBuf, WorkflowId)> = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let id = parts(&path).filter(|(.., ending)| [OUTPUT, SAID].contains(ending)).map(|(id, ..)| id);
        if let (Some(id), Ok(about)) = (id, fs::symlink_metadata(&path)) {
            all.push((about.modified().unwrap_or(SystemTime::UNIX_EPOCH), about.len(), path, id));
        }
    }
    all.sort();
    let mut left: u64 = all.iter().map(|(_, size, ..)| size).sum();
    for (_, size, path, id) in all {
        if !lives(&id) && (!is_remembered(&id) || left > most) {
            fs::remove_file(&path).map_err(|error| cannot("remove", &path, &error))?;
            left = left.saturating_sub(size);
        }
    }
    Ok(())
}

fn path_of_said(id: WorkflowId) -> Result<PathBuf, Failure> {
    Ok(state::folder("output")?.join(format!("{id}.{SAID}")))
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("cannot {what} {}", path.display())).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(pieces: &[(AgentStream, &[u8])], most: usize) -> KeptOutput {
        let mut kept = KeptOutput::new(false);
        pieces.iter().for_each(|(stream, bytes)| kept.add_within(*stream, bytes, most));
        kept
    }

    fn text(kept: &KeptOutput) -> String {
        let bytes: Vec<u8> = kept.pieces.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn output_is_read_as_it_was_written_whatever_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0000002a.jsonl");
        let pieces: &[(AgentStream, &[u8])] = &[
            (AgentStream::Stdout, b"hello\n"),
            (AgentStream::Stderr, b"\xff\x00\x1b[2J"),
            (AgentStream::Stdout, "half of a line".as_bytes()),
        ];
        let before = kept(pieces, 1000);
        before.write_to(&path).unwrap();
        assert_eq!(KeptOutput::read(File::open(&path).unwrap()).unwrap(), before);
        // A person may look at the file itself.
        let raw = fs::read_to_string(&path).unwrap();
        assert!(!raw.contains('\u{1b}') && raw.contains("hello"), "{raw}");
    }

    #[test]
    fn a_flood_leaves_its_newest_part_and_says_how_much_went() {
        let mut flood = KeptOutput::new(false);
        for number in 0..10_000 {
            flood.add_within(AgentStream::Stdout, format!("{number:07}\n").as_bytes(), 100 * (9 + LINE));
        }
        assert_eq!((flood.size, flood.dropped), (100 * (9 + LINE), 80_000 - 800));
        assert!(text(&flood).starts_with("0009900\n") && text(&flood).ends_with("0009999\n"));
        assert_eq!(kept(&[(AgentStream::Stdout, &[b'x'; 900])], 800).dropped, 900);
    }

    #[test]
    fn the_file_is_no_larger_than_what_may_be_kept_whatever_the_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0000002a.jsonl");
        for piece in [&[1; 50][..], b"\n", b"\xff", "\"\\\t\u{8}\u{7f}ä".as_bytes(), &[b'x'; 3000]] {
            let mut kept = KeptOutput::new(false);
            for _ in 0..2000 {
                kept.add_within(AgentStream::Stderr, piece, 64 << 10);
            }
            kept.write_to(&path).unwrap();
            let size = fs::metadata(&path).unwrap().len();
            // The first line is no piece.
            assert!((32 << 10..(64 << 10) + 100).contains(&size), "{piece:?}: {size}");
        }
        let mut long = KeptOutput::new(false);
        long.add_within(AgentStream::Stdout, &vec![1; LONGEST_PIECE + 1], KEPT);
        assert_eq!(long.pieces.len(), 2);
        long.write_to(&path).unwrap();
        assert_eq!(KeptOutput::read(File::open(&path).unwrap()).unwrap(), long);
        let line = vec![b'x'; usize::try_from(LONGEST_LINE).unwrap() + 1];
        assert_eq!(KeptOutput::read(&*line).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_tail_has_the_last_lines() {
        let pieces: &[(AgentStream, &[u8])] = &[
            (AgentStream::Stdout, b"a\nb\nc"),
            (AgentStream::Stderr, b"c\nd\n"),
            (AgentStream::Stdout, b"e"),
        ];
        for (lines, expected) in [(0, ""), (1, "e"), (2, "d\ne"), (3, "cc\nd\ne"), (9, "a\nb\ncc\nd\ne")] {
            let mut kept = kept(pieces, 1000);
            kept.tail(lines);
            assert_eq!(text(&kept), expected, "{lines}");
        }
        let mut ended = kept(&pieces[..2], 1000);
        ended.tail(1);
        assert_eq!(text(&ended), "d\n");
    }

    #[test]
    fn what_nobody_remembers_goes_and_then_the_oldest() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let day = std::time::Duration::from_secs(86_400);
        for (name, age) in [
            ("00000001.txt", 9),
            ("00000002.jsonl", 8),
            ("00000003.jsonl", 7),
            ("00000001.db.jsonl", 7),
            ("00000003.up..jsonl", 7),
            ("notes.txt", 9),
            (".tmpa.part", 1),
            (".tmpb.part", 0),
        ] {
            let file = File::create(folder.path().join(name)).unwrap();
            file.set_len(100).unwrap();
            file.set_modified(now - day * age).unwrap();
        }
        let left = || {
            let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().collect::<Vec<_>>();
            names.sort_by_key(fs::DirEntry::file_name);
            names.iter().map(|entry| entry.file_name().into_string().unwrap()).collect::<Vec<_>>()
        };
        sweep_in(folder.path(), 1000, |id| id.number() != 1, |id| id.number() == 1).unwrap();
        assert_eq!(left().len(), 7, "the living stay");
        assert_eq!(left()[0], ".tmpb.part", "one that is being written stays");
        fs::remove_file(folder.path().join(".tmpb.part")).unwrap();
        sweep_in(folder.path(), 1000, |id| id.number() != 1, |_| false).unwrap();
        assert_eq!(left(), ["00000002.jsonl", "00000003.jsonl", "00000003.up..jsonl", "notes.txt"]);
        sweep_in(folder.path(), 100, |_| true, |_| false).unwrap();
        assert_eq!(left(), ["00000003.jsonl", "00000003.up..jsonl", "notes.txt"]);
    }
}
