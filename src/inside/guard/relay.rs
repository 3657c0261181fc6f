//! Live changes on their way into the guard's container: a request a line, an answer a line.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use crate::inside::output;
use crate::term::Failure;
use crate::wire::control::{LONGEST, SOCKET, TURN};

/// Runs `ringfence guard control`, inside the guard's container: carries lines from stdin to the
/// guard, and its answers to stdout.
pub(crate) fn relay() -> Result<(), Failure> {
    let failed =
        |doing: &str, error: &std::io::Error| Failure::new(1, format!("control: {doing}")).caused_by(error);
    let guard = UnixStream::connect(SOCKET).map_err(|error| failed("no guard answers here", &error))?;
    guard
        .set_read_timeout(Some(TURN))
        .and_then(|()| guard.set_write_timeout(Some(TURN)))
        .map_err(|error| failed("cannot bound the time of an answer", &error))?;
    let mut answers = BufReader::new(&guard);
    let mut requests = std::io::stdin().lock().take(LONGEST * 4);
    loop {
        let (mut request, mut answer) = (Vec::new(), Vec::new());
        let read = requests.read_until(b'\n', &mut request);
        if read.map_err(|error| failed("cannot read the request", &error))? == 0 {
            return Ok(());
        }
        (&guard)
            .write_all(&request)
            .map_err(|error| failed("the guard does not take the request", &error))?;
        answers
            .read_until(b'\n', &mut answer)
            .map_err(|error| failed("the guard does not answer", &error))?;
        if answer.is_empty() {
            return Err(Failure::new(1, "control: the guard closed the connection"));
        }
        output::to_supervisor(&answer).map_err(|error| failed("cannot pass the answer on", &error))?;
    }
}
