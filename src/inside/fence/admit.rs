//! A container that starts in a fence that stands: its first program is asked what is at every
//! place, and waits for the word.
//!
//! ```text
//!  supervisor ═ exec's stdin, stdout ═ this program ── abstract socket ── src/inside/init
//!     look, go ─▶                        ◀─ listening, asked, found, gone
//! ```
//! It runs as a user who owns nothing in the fence's container, and drops every capability. Other
//! containers of the fence can reach the socket, or hold its name: a start fails by that, and
//! nothing begins.

use std::io::{self, BufRead as _, BufReader, Read as _, StdinLock, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::Deserialize;

use super::{capabilities, covers, failed, failure};
use crate::inside::output;
use crate::term::Failure;
use crate::wire::handover::Cover;
use crate::wire::init::{Admitted, InitKeys};

/// The whole of a start takes no longer than this.
const WHOLE: Duration = Duration::from_secs(25);
/// A client of the socket says its word within this time.
const WORD: Duration = Duration::from_secs(2);
/// The first program, and the supervisor, answer within this time.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest word.
const LONGEST_WORD: u64 = 256;

/// First line of the supervisor's.
#[derive(Deserialize)]
struct Expected {
    covers: Vec<Cover>,
    keys: InitKeys,
}

/// Runs `ringfence fence admit`.
pub(crate) fn admit() -> Result<(), Failure> {
    capabilities::drop_all()?;
    std::thread::Builder::new()
        .name("end".to_owned())
        .spawn(|| {
            std::thread::sleep(WHOLE);
            std::process::exit(1);
        })
        .map_err(failed("cannot bound the time"))?;
    let mut stdin = io::stdin().lock();
    let mut text = String::new();
    stdin.read_line(&mut text).map_err(failed("cannot read from stdin"))?;
    let Expected { covers, keys } =
        serde_json::from_str(&text).map_err(failed("what is on stdin is not what was expected"))?;
    let listener = covers::listen().map_err(failed("cannot wait for the first program"))?;
    say(&Admitted::Listening)?;
    let mut client = loop {
        let (stream, _) = listener.accept().map_err(failed("cannot wait for the first program"))?;
        if let Ok(Some(client)) = asks(stream, &keys) {
            break client;
        }
        output::complain("fence", "another program came in the place of the first one");
    };
    drop(listener);
    say(&Admitted::Asked)?;
    hear(&mut stdin, &Admitted::Look)?;
    let other = covers::other(&mut client.stream, &mut client.words, &covers);
    if let Some(other) = other.map_err(failed("the first program was lost"))? {
        return Err(failure(other));
    }
    say(&Admitted::Found)?;
    hear(&mut stdin, &Admitted::Go)?;
    let word = format!("{}\n", keys.go);
    client.stream.write_all(word.as_bytes()).map_err(failed("the first program was lost"))?;
    say(&Admitted::Gone)
}

/// The first program.
struct Client {
    stream: UnixStream,
    words: BufReader<UnixStream>,
}

/// Hears who a client is; none for another one than the first program.
fn asks(stream: UnixStream, keys: &InitKeys) -> io::Result<Option<Client>> {
    stream.set_read_timeout(Some(WORD))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut words = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    (&mut words).take(LONGEST_WORD).read_line(&mut first)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok((first.strip_suffix('\n') == Some(&keys.ask)).then_some(Client { stream, words }))
}

fn say(step: &Admitted) -> Result<(), Failure> {
    let mut line = serde_json::to_vec(step).map_err(failed("cannot speak to the supervisor"))?;
    line.push(b'\n');
    output::to_supervisor(&line).map_err(failed("cannot speak to the supervisor"))
}

fn hear(stdin: &mut StdinLock<'_>, wanted: &Admitted) -> Result<(), Failure> {
    let mut line = String::new();
    stdin.take(LONGEST_WORD).read_line(&mut line).map_err(failed("cannot hear the supervisor"))?;
    match serde_json::from_str::<Admitted>(&line) {
        Ok(step) if step == *wanted => Ok(()),
        _ => Err(failure("the supervisor does not let the container begin")),
    }
}
