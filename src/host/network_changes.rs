//! Changes of this machine's network, as its kernel tells of them.
//!
//! ```text
//!  kernel ──a notice──▶ a thread: wait for the rest of the burst, all notices away ──▶ the caller reads anew
//! ```

use std::io;
use std::time::Duration;

use tokio::sync::mpsc;

/// Changes come in bursts: an engine makes a bridge, gives it an address, then routes.
#[cfg(target_os = "linux")]
pub(crate) const BURST: Duration = Duration::from_millis(300);
/// The thread looks so often whether anybody still listens.
#[cfg(target_os = "linux")]
const LOOK: Duration = Duration::from_secs(5);

/// Changes, from the moment of [`NetworkChanges::listen`].
pub(crate) struct NetworkChanges(mpsc::Receiver<()>);

impl NetworkChanges {
    /// Begins to listen.
    ///
    /// # Errors
    /// The kernel's; on another kernel than Linux always.
    #[cfg(target_os = "linux")]
    pub(crate) fn listen() -> io::Result<NetworkChanges> {
        let notices = super::network::notices()?;
        // One that waits stands for all that come before it is heard.
        let (changed, changes) = mpsc::channel(1);
        let listen = move || linux::listen(&notices, &changed);
        std::thread::Builder::new().name("network".to_owned()).spawn(listen)?;
        Ok(NetworkChanges(changes))
    }

    /// Begins to listen.
    ///
    /// # Errors
    /// The kernel's; on another kernel than Linux always.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn listen() -> io::Result<NetworkChanges> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Waits until something has changed. Dropped before its end, it takes no change away.
    ///
    /// # Errors
    /// When nothing is heard any more.
    pub(crate) async fn come(&mut self) -> io::Result<()> {
        self.0.recv().await.ok_or_else(|| io::Error::other("the kernel is not heard any more"))
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::AsFd as _;

    use nix::errno::Errno;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use tokio::sync::mpsc;

    use super::{BURST, LOOK};
    use crate::host::netlink::Netlink;

    /// Listens until nobody waits for it, or the kernel gives no answer.
    pub(super) fn listen(notices: &Netlink, changed: &mpsc::Sender<()>) {
        let look = PollTimeout::try_from(LOOK).unwrap_or(PollTimeout::MAX);
        while !changed.is_closed() {
            match poll(&mut [PollFd::new(notices.as_fd(), PollFlags::POLLIN)], look) {
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(_) => return,
            }
            std::thread::sleep(BURST);
            notices.drain();
            // A full channel holds one that was not heard yet.
            let _ = changed.try_send(());
        }
    }
}
