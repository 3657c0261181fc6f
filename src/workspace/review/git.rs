//! A git directory of ringfence's own, by which git shows objects of a project and nothing else.
//!
//! ```text
//!  own folder: config, HEAD, no hooks, no index, no references ──alternates──▶ the project's objects, to be read
//! ```
//! git gets no configuration but the one written here, no variable but those set here, and never
//! looks at the working tree, save for the patterns of files that are not to be added.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use sha1::Digest as _;

use crate::host::programs;

/// A question to git takes no longer.
const TIME: Duration = Duration::from_secs(120);
/// Nor has it a longer answer.
const LARGEST: u64 = 256 << 20;
const STEP: Duration = Duration::from_millis(5);

/// Configuration of our own git directory. Nothing here starts a program, follows a path, reads a
/// cache that an agent may have written, or reaches a network.
const CONFIG: &str = "[core]
	bare = true
	hooksPath = /dev/null
	fsmonitor = false
	untrackedCache = false
	commitGraph = false
	multiPackIndex = false
	attributesFile = /dev/null
	excludesFile = /dev/null
	pager = cat
	sshCommand = false
	askPass = false
	gitProxy = false
	useReplaceRefs = false
[protocol]
	allow = never
[gc]
	auto = 0
[maintenance]
	auto = false
[log]
	showSignature = false
	mailmap = false
[submodule]
	recurse = false
[diff]
	external =
[pack]
	useBitmaps = false
";

/// The directory; removed when it is dropped.
pub(crate) struct Git {
    dir: tempfile::TempDir,
}

impl Git {
    /// Makes one below `state` that shows `objects`, a folder without links on the way. `shallow`
    /// is where its history begins.
    pub(crate) fn new(state: &Path, objects: &Path, sha256: bool, shallow: Option<&[u8]>) -> io::Result<Git> {
        let dir = tempfile::Builder::new().prefix("review-").tempdir_in(state)?;
        let at = dir.path();
        let bytes = objects.as_os_str().as_bytes();
        if bytes.iter().any(u8::is_ascii_control) || matches!(bytes.first(), Some(b'"' | b'#')) {
            return Err(io::Error::other("its path has letters that git cannot be given"));
        }
        for folder in ["objects/info", "refs", "info"] {
            fs::create_dir_all(at.join(folder))?;
        }
        fs::write(at.join("HEAD"), "ref: refs/heads/none\n")?;
        let format = match sha256 {
            true => "\trepositoryformatversion = 1\n[extensions]\n\tobjectFormat = sha256\n",
            false => "\trepositoryformatversion = 0\n",
        };
        fs::write(at.join("config"), format!("{CONFIG}[core]\n{format}"))?;
        fs::write(at.join("objects/info/alternates"), [bytes, b"\n"].concat())?;
        if let Some(shallow) = shallow {
            fs::write(at.join("shallow"), shallow)?;
        }
        Ok(Git { dir })
    }

    /// Gives it patterns of files that are not to be added.
    pub(crate) fn exclude(&self, patterns: &[u8]) -> io::Result<()> {
        fs::write(self.dir.path().join("info/exclude"), patterns)
    }

    /// Asks git a question about objects.
    pub(crate) fn ask(&self, words: &[&str]) -> io::Result<Vec<u8>> {
        self.answer(&mut self.command(words)?, b"")
    }

    /// Asks git a question about what it reads.
    pub(super) fn ask_about(&self, words: &[&str], input: &[u8]) -> io::Result<Vec<u8>> {
        self.answer(&mut self.command(words)?, input)
    }

    /// Returns those of these objects that cannot be read, or do not have the content that their
    /// names say.
    pub(super) fn forged(&self, objects: &[String]) -> io::Result<Vec<String>> {
        let input: Vec<u8> = objects.iter().flat_map(|object| format!("{object}\n").into_bytes()).collect();
        let mut command = self.command(&["cat-file", "--batch"])?;
        let read = |from: ChildStdout| forged_in(BufReader::new(from));
        let (status, forged, said) = self.talk(&mut command, &input, read)?;
        match status.success() {
            true => Ok(forged),
            // It stops at what it cannot read.
            false => Ok(vec![String::from_utf8_lossy(&said).trim().to_owned()]),
        }
    }

    /// Asks git which of these paths of a working tree, each ended by a zero byte, are ignored, and
    /// by which pattern.
    pub(crate) fn ignored(&self, tree: &Path, paths: &[u8]) -> io::Result<Vec<u8>> {
        let words = ["check-ignore", "--no-index", "-v", "-z", "--stdin"];
        let mut command = self.command(&words)?;
        command.env("GIT_WORK_TREE", tree).current_dir(tree);
        self.answer(&mut command, paths)
    }

    fn command(&self, words: &[&str]) -> io::Result<Command> {
        let mut command = programs::command("git")?;
        let path = command.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value);
        let path = path.map_or_else(|| OsStr::new("/usr/bin:/bin").to_owned(), OsStr::to_owned);
        let at = self.dir.path();
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", at)
            .env("LC_ALL", "C")
            .env("GIT_DIR", at)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_ALLOW_PROTOCOL", "")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "false")
            .env("GIT_SSH_COMMAND", "false")
            .env("GIT_PAGER", "cat")
            .arg("--no-pager")
            .args(words)
            .current_dir(at);
        Ok(command)
    }

    fn answer(&self, command: &mut Command, input: &[u8]) -> io::Result<Vec<u8>> {
        let all = |from: ChildStdout| read(Some(from));
        let (status, answer, said) = self.talk(command, input, all)?;
        // 1 of `check-ignore`: none of them.
        if status.success() || (status.code() == Some(1) && answer.is_empty() && said.is_empty()) {
            return Ok(answer);
        }
        let said = String::from_utf8_lossy(&said);
        Err(io::Error::other(format!("git says: {}", said.trim().lines().next().unwrap_or("nothing"))))
    }

    /// Starts git, gives it `input`, and reads what it says; its status, what was read, and its
    /// errors.
    fn talk<T: Send + 'static>(
        &self,
        command: &mut Command,
        input: &[u8],
        listen: impl FnOnce(ChildStdout) -> io::Result<T> + Send + 'static,
    ) -> io::Result<(ExitStatus, T, Vec<u8>)> {
        let until = Instant::now() + TIME;
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let input = input.to_vec();
        // git may end before it has read all.
        let writing = std::thread::spawn(move || stdin.map(|mut to| to.write_all(&input)));
        let stdout = stdout.ok_or_else(|| io::Error::other("git has no output"))?;
        let reading = std::thread::spawn(move || listen(stdout));
        let talking = std::thread::spawn(move || read(stderr));
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() > until {
                child.kill()?;
                child.wait()?;
                return Err(io::Error::other(format!("git did not answer within {} s", TIME.as_secs())));
            }
            std::thread::sleep(STEP);
        };
        let _ = writing.join();
        let panicked = |_| io::Error::other("reading git's answer failed");
        Ok((status, reading.join().map_err(panicked)??, talking.join().map_err(panicked)??))
    }
}

/// Reads objects as `cat-file --batch` gives them, and computes their names.
fn forged_in(mut from: impl BufRead) -> io::Result<Vec<String>> {
    let (mut forged, mut line) = (Vec::new(), String::new());
    while from.read_line(&mut line)? > 0 {
        let mut words = line.trim_end().split(' ');
        let (name, kind, size) = (words.next().unwrap_or_default(), words.next(), words.next());
        let size: Option<u64> = size.and_then(|size| size.parse().ok());
        match (kind, size) {
            (Some(kind), Some(size)) => {
                let head = format!("{kind} {size}\0");
                let mut sum: Box<dyn sha1::digest::DynDigest> = match name.len() {
                    64 => Box::new(sha2::Sha256::new()),
                    _ => Box::new(sha1::Sha1::new()),
                };
                sum.update(head.as_bytes());
                let mut left = size;
                while left > 0 {
                    let bytes = from.fill_buf()?;
                    let some = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    if some == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    sum.update(&bytes[..some]);
                    from.consume(some);
                    left -= some as u64;
                }
                // The end of its line.
                from.read_exact(&mut [0])?;
                if hex::encode(sum.finalize()) != name {
                    forged.push(name.to_owned());
                }
            }
            _ => forged.push(name.to_owned()),
        }
        line.clear();
    }
    Ok(forged)
}

fn read(from: Option<impl Read>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(LARGEST).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}
