//! The fence's word: the first program shows the fence what is at each place, and waits for it.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// The longest list of places.
const LONGEST_LIST: usize = 64 << 20;
/// The longest word.
const LONGEST_WORD: u64 = 256;

/// Shows the fence what is at each place, and waits for its word. `ask` tells the fence that this
/// is the agent's first program, and `go` tells this program that the fence has spoken: services in
/// the same network could reach the socket, or have taken its name. `limit` is the time for all of
/// it: such a service could say a byte from time to time, or never let it connect.
pub(crate) fn await_word(socket: &'static [u8], ask: &[u8], go: &[u8], limit: Duration) -> io::Result<()> {
    let (tell, told) = mpsc::channel();
    let (ask, go) = (ask.to_owned(), go.to_owned());
    let asking = std::thread::Builder::new().spawn(move || {
        // Nobody hears it where the time is over.
        let _ = tell.send(word_of_fence(socket, &ask, &go));
    })?;
    let said = told.recv_timeout(limit).map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
    // What begins the agent is one thread alone.
    asking.join().map_err(|_| io::Error::other("the wait was ended"))?;
    said
}

fn word_of_fence(socket: &[u8], ask: &[u8], go: &[u8]) -> io::Result<()> {
    let mut fence = UnixStream::connect_addr(&SocketAddr::from_abstract_name(socket)?)?;
    fence.write_all(&[ask, b"\n"].concat())?;
    let mut places = Vec::new();
    let mut buffer = [0; 4096];
    // An empty path ends the list.
    while !places.ends_with(b"\0\0") {
        let length = fence.read(&mut buffer)?;
        if length == 0 || places.len() > LONGEST_LIST {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        places.extend_from_slice(&buffer[..length]);
    }
    let mut found = String::new();
    for place in places.split(|byte| *byte == 0).filter(|place| !place.is_empty()) {
        match look(Path::new(OsStr::from_bytes(place))) {
            Ok((device, inode)) => found.push_str(&format!("{device} {inode}\n")),
            Err(error) => found.push_str(&format!("{}\n", error.to_string().replace('\n', " "))),
        }
    }
    fence.write_all(found.as_bytes())?;
    let mut word = Vec::new();
    fence.take(LONGEST_WORD).read_to_end(&mut word)?;
    if !go.is_empty() && word == [go, b"\n"].concat() {
        Ok(())
    } else {
        Err(io::Error::other("the fence found a cover out of its place"))
    }
}

/// Returns device and inode of the file at a path that no link leads through.
fn look(place: &Path) -> io::Result<(u64, u64)> {
    if place.canonicalize()? != place {
        return Err(io::Error::other("a link leads there"));
    }
    let found = place.symlink_metadata()?;
    Ok((found.dev(), found.ino()))
}
