//! A raw packet socket for ARP on one interface: the one place of the agent where system calls are made by hand.
#![allow(
    unsafe_code,
    reason = "AF_PACKET sockets have no safe interface; each call's arguments live past it"
)]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::arp::{Arp, ETHER_TYPE, LENGTH};

/// The socket.
pub(super) struct ArpSocket(AsyncFd<OwnedFd>);

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_size(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

impl ArpSocket {
    /// Opens a socket that sees the ARP packets of the interface of this index.
    pub(super) fn open(index: u32) -> io::Result<Self> {
        let protocol = ETHER_TYPE.to_be();
        let flags = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: plain integers.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, flags, libc::c_int::from(protocol)) })?;
        // SAFETY: the descriptor was just made and is owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: all zeroes is a valid sockaddr_ll.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as libc::c_ushort;
        address.sll_protocol = protocol;
        address.sll_ifindex = i32::try_from(index).map_err(io::Error::other)?;
        let length = mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the address is a sockaddr_ll of the given length and outlives the call.
        check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) })?;
        // SAFETY: the descriptor is owned by what is registered and closed only with it.
        Ok(Self(unsafe { AsyncFd::register(fd) }?))
    }

    /// Waits for a packet.
    pub(super) async fn receive(&self) -> io::Result<Vec<u8>> {
        self.0
            .async_io(Interest::READABLE, |fd| {
                // Padding follows the packet; what doesn't fit is cut.
                let mut frame = vec![0u8; LENGTH + 18];
                // SAFETY: the buffer has the given length and outlives the call.
                let n = check_size(unsafe {
                    libc::recv(fd.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), 0)
                })?;
                frame.truncate(n);
                Ok(frame)
            })
            .await
    }

    /// Sends a packet.
    pub(super) async fn send(&self, packet: &Arp) -> io::Result<()> {
        let bytes = packet.bytes();
        self.0
            .async_io(Interest::WRITABLE, |fd| {
                // SAFETY: the buffer has the given length and outlives the call.
                check_size(unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) })
                    .map(drop)
            })
            .await
    }
}
