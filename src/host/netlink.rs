//! Requests to the kernel and its answers, over one netlink socket.
//!
//! ```text
//!  message (netlink-packet-*) ─bytes─▶ kernel ─bytes─▶ acknowledgement, or the messages of a dump
//! ```
//!
//! Blocking and on this thread: a handful of requests, once, and no second thread that would keep
//! capabilities.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

/// Longer than any datagram the kernel sends for a dump (32 KiB).
const LARGEST: usize = 64 * 1024;
/// The kernel's `NLM_F_DUMP_INTR`.
const DUMP_INTERRUPTED: u16 = 0x10;

/// A netlink socket of this namespace.
pub(crate) struct Netlink(OwnedFd);

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Netlink {
    /// Opens a socket of one of netlink's protocols.
    pub(crate) fn open(protocol: SockProtocol) -> io::Result<Self> {
        Self::listen(protocol, 0)
    }

    /// Opens a socket that hears what the kernel tells these groups, given as bits.
    pub(crate) fn listen(protocol: SockProtocol, groups: u32) -> io::Result<Self> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        // The kernel answers within the send; this only keeps a surprise from becoming a hang.
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::seconds(5))?;
        Ok(Netlink(fd))
    }

    /// Throws away what has arrived. More than the socket could hold is told as an error, which
    /// says the same: something changed.
    pub(crate) fn drain(&self) {
        let mut buffer = vec![0; LARGEST];
        loop {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(_) | Err(nix::errno::Errno::ENOBUFS | nix::errno::Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }

    /// Returns the socket itself.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Sends a request and waits for the kernel's yes or no.
    pub(crate) fn ask<T: NetlinkSerializable + NetlinkDeserializable>(
        &self,
        request: T,
        flags: u16,
    ) -> io::Result<()> {
        self.send(request, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        let mut answer = Err(io::Error::other("the kernel did not acknowledge"));
        self.receive::<T>(|payload| match payload {
            NetlinkPayload::Error(error) => {
                answer = if error.code.is_none() { Ok(()) } else { Err(error.to_io()) };
                false
            }
            _ => true,
        })?;
        answer
    }

    /// Asks the kernel for everything of a kind.
    pub(crate) fn dump<T>(&self, request: T) -> io::Result<Vec<T>>
    where
        T: NetlinkSerializable + NetlinkDeserializable,
    {
        let mut found = Vec::new();
        self.dump_each(request, |message| found.push(message))?;
        Ok(found)
    }

    /// Hands everything of a kind that the kernel has to `take`, one by one: a router has a million
    /// routes.
    pub(super) fn dump_each<T>(&self, request: T, mut take: impl FnMut(T)) -> io::Result<()>
    where
        T: NetlinkSerializable + NetlinkDeserializable,
    {
        self.send(request, NLM_F_REQUEST | NLM_F_DUMP)?;
        let mut answer = Ok(());
        self.receive::<T>(|payload| match payload {
            NetlinkPayload::InnerMessage(message) => {
                take(message);
                true
            }
            NetlinkPayload::Error(error) => {
                answer = Err(error.to_io());
                false
            }
            NetlinkPayload::Done(_) => false,
            _ => true,
        })?;
        answer
    }

    fn send<T: NetlinkSerializable>(&self, request: T, flags: u16) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        send(self.0.as_raw_fd(), &bytes, MsgFlags::empty())?;
        Ok(())
    }

    /// Hands each message that arrives to `take` until it says that this was the last.
    fn receive<T: NetlinkDeserializable>(
        &self,
        mut take: impl FnMut(NetlinkPayload<T>) -> bool,
    ) -> io::Result<()> {
        let mut buffer = vec![0; LARGEST];
        loop {
            let length = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            let mut rest = buffer.get(..length).unwrap_or_default();
            while !rest.is_empty() {
                let message = NetlinkMessage::<T>::deserialize(rest)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
                if message.header.flags & DUMP_INTERRUPTED != 0 {
                    return Err(io::Error::other("what was being listed changed meanwhile"));
                }
                let taken = (message.header.length as usize).next_multiple_of(4);
                rest = rest.get(taken..).unwrap_or_default();
                if !take(message.payload) {
                    return Ok(());
                }
            }
        }
    }
}
