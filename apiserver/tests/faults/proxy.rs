//! A TCP proxy on loopback whose link can be cut.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the link does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// It passes everything on.
    Open,
    /// Connections end, and new ones are refused.
    Closed,
    /// Nothing gets through, and nobody is told; what was sent arrives when the link opens again.
    Silent,
}

/// A link to one address.
pub(super) struct Link {
    /// Where the proxy listens.
    pub(super) port: u16,
    mode: watch::Sender<Mode>,
}

impl Link {
    /// Opens a link.
    pub(super) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (mode, seen) = watch::channel(Mode::Open);
        tokio::spawn(accept(listener, target, seen));
        Link { port, mode }
    }

    /// Changes what the link does.
    pub(super) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, mode: watch::Receiver<Mode>) {
    while let Ok((near, _)) = listener.accept().await {
        let mode = mode.clone();
        if *mode.borrow() != Mode::Closed {
            tokio::spawn(join(near, target, mode));
        }
    }
}

async fn join(near: TcpStream, target: SocketAddr, mode: watch::Receiver<Mode>) {
    let mut opened = mode.clone();
    // A silent link does not even connect.
    if opened.wait_for(|m| *m != Mode::Silent).await.is_err() {
        return;
    }
    let Ok(far) = TcpStream::connect(target).await else { return };
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = pump(near_in, far_out, mode.clone()) => {}
        () = pump(far_in, near_out, mode) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Mode>) {
    let mut buffer = vec![0; 16 << 10];
    let mut closed = mode.clone();
    let copy = async {
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let open = mode.wait_for(|m| *m != Mode::Silent).await.is_ok();
            if !open || to.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = copy => {}
        _ = closed.wait_for(|m| *m == Mode::Closed) => {}
    }
}
