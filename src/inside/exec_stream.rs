//! stdin and stdout of a program that the supervisor runs in a helper, as one stream of bytes.

use std::io;
use std::os::fd::AsFd;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::unix::pipe;

use super::output;

/// Runs a program that carries the stream, on a runtime of its own. A read of stdin that still
/// waits does not hold up its end.
///
/// # Errors
/// When the runtime does not start.
pub(crate) fn block_on<T>(carrying: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let carried = runtime.block_on(carrying);
    runtime.shutdown_background();
    Ok(carried)
}

/// Returns stdin: a pipe that can be waited for, where the engine gives one.
pub(crate) fn input() -> Box<dyn AsyncRead + Send + Unpin> {
    match io::stdin().as_fd().try_clone_to_owned().and_then(pipe::Receiver::from_owned_fd) {
        Ok(pipe) => Box::new(pipe),
        Err(_) => Box::new(tokio::io::stdin()),
    }
}

/// Returns stdout, in the same way.
///
/// # Errors
/// When it is closed.
pub(crate) fn output() -> io::Result<Box<dyn AsyncWrite + Send + Unpin>> {
    let stdout = output::log()?;
    Ok(match pipe::Sender::from_owned_fd(stdout.try_clone()?) {
        Ok(pipe) => Box::new(pipe),
        Err(_) => Box::new(tokio::fs::File::from_std(stdout.into())),
    })
}
