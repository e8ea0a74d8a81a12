//! The netlink socket.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::sockopt::{RcvBuf, ReceiveTimeout, SndBufForce};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto, setsockopt,
    socket,
};
use nix::sys::time::TimeVal;

use super::Batch;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// Why a transaction failed. Nothing of it took effect.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket failed.
    #[error("netlink: {0}")]
    Socket(#[from] io::Error),
    /// The kernel refused a message.
    #[error("netfilter refused message {message} of {total}: {error}")]
    Refused {
        /// Which message.
        message: u32,
        /// Of how many.
        total: u32,
        /// Why.
        error: io::Error,
    },
}

/// A connection to netfilter.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
}

impl Socket {
    /// Opens one.
    pub fn open() -> io::Result<Self> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        // A kernel that doesn't answer within this is stuck; waiting longer would hide it.
        setsockopt(&fd, ReceiveTimeout, &TimeVal::new(60, 0))?;
        setsockopt(&fd, RcvBuf, &(1 << 20))?;
        Ok(Socket { fd })
    }

    /// Makes a transaction take effect.
    pub fn commit(&self, batch: Batch) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        let (bytes, last) = batch.finish();
        self.send(&bytes)?;
        let mut refusal = None;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let n = self.receive(&mut buffer)?;
            for (header, body) in messages(&buffer[..n]) {
                if header.kind != NLMSG_ERROR {
                    continue;
                }
                let code = body.get(..4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_ne_bytes);
                if code != 0 && refusal.is_none() {
                    let error = io::Error::from_raw_os_error(-code);
                    refusal = Some(Error::Refused { message: header.sequence, total: last, error });
                }
                if header.sequence >= last || code != 0 {
                    // A refused transaction may or may not say something about its last message; what is
                    // left in the socket is skipped by its sequence next time.
                    return self.drain(refusal);
                }
            }
        }
    }

    /// Reads leftovers without waiting, so that the next transaction doesn't take them for its own.
    fn drain(&self, refusal: Option<Error>) -> Result<(), Error> {
        let mut buffer = vec![0; 64 * 1024];
        while recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).is_ok_and(|n| n > 0) {}
        refusal.map_or(Ok(()), Err)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        // The kernel takes a transaction in one piece.
        setsockopt(&self.fd, SndBufForce, &(bytes.len() * 2 + 4096))?;
        sendto(self.fd.as_raw_fd(), bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        Ok(())
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match recv(self.fd.as_raw_fd(), buffer, MsgFlags::empty()) {
                Err(nix::Error::EINTR) => {}
                other => return Ok(other?),
            }
        }
    }

    /// Sends one request and gives each message of the answer to `look`.
    pub(crate) fn ask(&self, request: &[u8], mut look: impl FnMut(&[u8])) -> io::Result<()> {
        self.send(request)?;
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let n = self.receive(&mut buffer)?;
            for (header, body) in messages(&buffer[..n]) {
                match header.kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => {
                        let code =
                            body.get(..4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_ne_bytes);
                        return if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) };
                    }
                    _ => look(body),
                }
            }
        }
    }
}

struct Header {
    kind: u16,
    sequence: u32,
}

/// The messages in a datagram. Stops at what isn't one.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (Header, &[u8])> {
    std::iter::from_fn(move || {
        let len = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let sequence = u32::from_ne_bytes(bytes.get(8..12)?.try_into().ok()?);
        let body = bytes.get(16..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some((Header { kind, sequence }, body))
    })
}
