//! The agent's start: its first program reports the file at the place of every cover, and waits
//! here for permission to go on.
//!
//! One connection is served, and the name is free afterwards. Services are in this network
//! namespace before the agent: the client says a word that `src/inside/init` alone has, and knows
//! the fence by another one.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use super::{failed, failure};
use crate::inside::output;
use crate::term::Failure;
use crate::wire::handover::{Cover, INIT_SOCKET};
use crate::wire::init::InitKeys;

/// Listing thousands of places takes the other side less.
const PATIENCE: Duration = Duration::from_secs(20);
/// Two numbers, or the words of an error.
const LONGEST_LINE: u64 = 4096;

/// Waits beside everything else for the agent's first program; nothing to do where there are no
/// covers.
pub(super) fn expect(covers: Vec<Cover>, keys: Option<InitKeys>) -> Result<(), Failure> {
    if covers.is_empty() {
        return Ok(());
    }
    let keys = keys.ok_or_else(|| failure("nobody could know the agent's first program by its word"))?;
    let listener = listen().map_err(failed("cannot wait for the agent's first program"))?;
    let serve = move || {
        let served = listener.accept().and_then(|(stream, _)| {
            drop(listener);
            answer(stream, &covers, &keys)
        });
        match served {
            Ok(None) => {}
            Ok(Some(cover)) => output::complain("fence", format_args!("no agent: {cover}")),
            Err(error) => {
                output::complain("fence", format_args!("no agent: its first program was lost: {error}"));
            }
        }
    };
    std::thread::Builder::new()
        .name("covers".to_owned())
        .spawn(serve)
        .map(drop)
        .map_err(failed("cannot wait for the agent's first program"))
}

pub(super) fn listen() -> io::Result<UnixListener> {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(INIT_SOCKET)?)
}

/// Asks for every place, and says go if each is as expected; else what is not.
fn answer(mut stream: UnixStream, covers: &[Cover], keys: &InitKeys) -> io::Result<Option<String>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut found = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    (&mut found).take(LONGEST_LINE).read_line(&mut first)?;
    if first.strip_suffix('\n') != Some(&keys.ask) {
        return Err(io::Error::other("another program came in its place"));
    }
    if let Some(moved) = moved(covers) {
        return Ok(Some(moved));
    }
    if let Some(other) = other(&mut stream, &mut found, covers)? {
        return Ok(Some(other));
    }
    // Once more: what was moved and came back in between would have its cover on something else.
    if let Some(moved) = moved(covers) {
        return Ok(Some(moved));
    }
    stream.write_all(format!("{}\n", keys.go).as_bytes())?;
    Ok(None)
}

/// Asks for what is at every place; returns, in words, the first that is something else.
pub(super) fn other(
    stream: &mut UnixStream,
    found: &mut BufReader<UnixStream>,
    covers: &[Cover],
) -> io::Result<Option<String>> {
    let mut places = Vec::new();
    for cover in covers {
        places.extend_from_slice(cover.at.as_bytes());
        places.push(0);
    }
    places.push(0);
    stream.write_all(&places)?;
    for cover in covers {
        let mut line = String::new();
        found.take(LONGEST_LINE).read_line(&mut line)?;
        if line != format!("{} {}\n", cover.device, cover.inode) {
            let line = line.trim_end().escape_debug();
            return Ok(Some(format!("{} is not covered there: {line}", cover.at)));
        }
    }
    Ok(None)
}

/// Returns why a covered file is not where it was when the covers were made. A folder that is
/// closed to the fence, which has no power over other users' files, counts as unchanged.
fn moved(covers: &[Cover]) -> Option<String> {
    let beneath = covers.iter().filter_map(|cover| Some((cover, cover.beneath.as_ref()?)));
    beneath.into_iter().find_map(|(cover, beneath)| match std::fs::symlink_metadata(&beneath.at) {
        Ok(found) if (found.dev(), found.ino()) == (beneath.device, beneath.inode) => None,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
        _ => Some(format!("what {} covers was moved meanwhile", cover.at)),
    })
}

#[cfg(test)]
#[path = "../init/word.rs"]
mod word;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;
    use std::process::Command;

    use super::*;
    use crate::wire::handover::Beneath;
    use crate::wire::init;

    fn cover(at: &Path, like: &Path) -> Cover {
        let like = like.metadata().unwrap();
        let at = at.to_str().unwrap().to_owned();
        Cover { at, device: like.dev(), inode: like.ino(), beneath: None }
    }

    fn above(at: &Path, like: &Path) -> Vec<Cover> {
        let like = like.metadata().unwrap();
        let at = at.to_str().unwrap().to_owned();
        let beneath = Beneath { at: at.clone(), device: like.dev(), inode: like.ino() };
        vec![Cover { at, device: like.dev(), inode: like.ino(), beneath: Some(beneath) }]
    }

    /// Runs the real program, in a network namespace where this test is the fence.
    #[test]
    fn only_an_agent_whose_covers_are_in_place_begins() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let program = root.join("init");
        std::fs::write(&program, init::PROGRAM.unwrap()).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        for file in ["cover", "other"] {
            std::fs::write(root.join(file), "").unwrap();
        }
        std::fs::create_dir(root.join("real")).unwrap();
        std::fs::hard_link(root.join("cover"), root.join("real/cover")).unwrap();
        symlink("real", root.join("link")).unwrap();
        let keys = InitKeys { ask: "ask".to_owned(), go: "go".to_owned() };
        let run_with = |own: [&str; 2], words: &[&str]| {
            let output =
                Command::new(&program).args(own).args(words).env("RUST_BACKTRACE", "0").output().unwrap();
            (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
        };
        let run = |words: &[&str]| run_with(["ask", "go"], words);
        let right = || vec![cover(&root.join("cover"), &root.join("cover"))];
        // Nobody listens.
        assert_eq!(run(&["echo", "ran"]), (125, String::new()));
        for (covers, words, expected) in [
            (right(), vec!["echo", "ran"], (0, "ran\n")),
            (right(), vec!["sh", "-c", "kill -PIPE $$; exit 3"], (-1, "")),
            (right(), vec!["/nowhere"], (127, "")),
            (right(), vec!["no-such-program"], (127, "")),
            (right(), vec!["/"], (126, "")),
            (vec![cover(&root.join("cover"), &root.join("other"))], vec!["echo", "ran"], (125, "")),
            (vec![cover(&root.join("nothing"), &root.join("other"))], vec!["echo", "ran"], (125, "")),
            (above(&root.join("cover"), &root.join("cover")), vec!["echo", "ran"], (0, "ran\n")),
            (above(&root.join("cover"), &root.join("other")), vec!["echo", "ran"], (125, "")),
            // A link on the way: what is covered is elsewhere.
            (vec![cover(&root.join("link/cover"), &root.join("cover"))], vec!["echo", "ran"], (125, "")),
        ] {
            expect(covers, Some(keys.clone())).unwrap();
            if expected.0 == -1 {
                use std::os::unix::process::ExitStatusExt as _;
                let status = Command::new(&program).args(["ask", "go"]).args(&words).status().unwrap();
                assert_eq!(status.signal(), Some(13), "signals are as the agent gets them");
                continue;
            }
            let (status, text) = run(&words);
            assert_eq!((status, &*text), expected, "{words:?}");
        }
        // A program that does not have the word is not served, and its connection was the only one.
        for own in [["wrong", "go"], ["", "go"]] {
            expect(right(), Some(keys.clone())).unwrap();
            assert_eq!(run_with(own, &["echo", "ran"]), (125, String::new()), "{own:?}");
            assert_eq!(run(&["echo", "ran"]), (125, String::new()), "nobody listens any more");
        }
        // One who took the fence's name does not have the other word.
        for own in [["ask", "other"], ["ask", ""]] {
            expect(right(), Some(keys.clone())).unwrap();
            assert_eq!(run_with(own, &["echo", "ran"]), (125, String::new()), "{own:?}");
        }
        assert!(expect(right(), None).is_err());
    }

    /// One who took the fence's name, and says a byte from time to time.
    #[test]
    fn no_byte_from_time_to_time_keeps_a_first_program_waiting() {
        const NAME: &[u8] = b"ringfence-test-of-a-slow-word";
        const LIMIT: Duration = Duration::from_secs(2);
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(NAME).unwrap()).unwrap();
        let speak = |said: &'static [u8], between: Duration| {
            let listener = listener.try_clone().unwrap();
            std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                for byte in said {
                    // The program has gone.
                    if stream.write_all(&[*byte]).is_err() {
                        return;
                    }
                    std::thread::sleep(between);
                }
                // What is closed unread is reset.
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                stream.read_to_end(&mut Vec::new()).unwrap();
            })
        };
        // The control: the same bytes, in time.
        let spoken = speak(b"\0\0go\n", Duration::from_millis(50));
        word::await_word(NAME, b"ask", b"go", LIMIT).unwrap();
        spoken.join().unwrap();
        for said in [&[b'x'; 600][..], b"\0\0gggggggggggggggggggggggggggggggggggggg"] {
            let began = std::time::Instant::now();
            let spoken = speak(said, Duration::from_millis(300));
            let error = word::await_word(NAME, b"ask", b"go", LIMIT).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
            assert!((LIMIT..LIMIT * 3).contains(&began.elapsed()), "{:?}", began.elapsed());
            // Its thread ends with the program; here it hears to the end.
            drop(spoken);
        }
    }
}
