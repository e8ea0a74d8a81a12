//! The kernel's notices about files.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::net::unix::pipe;

/// The notices about a directory, or about a file, read as the stream of bytes that they are.
pub struct Watcher(pipe::Receiver);

impl Watcher {
    /// Watches from now on; not what can't be watched.
    pub fn new(path: &Path) -> Option<Watcher> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok()?;
        let flags = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF;
        inotify.add_watch(path, flags).ok()?;
        Some(Watcher(pipe::Receiver::from_owned_fd_unchecked(OwnedFd::from(inotify)).ok()?))
    }

    /// Waits for a change, and for those that come right with it.
    pub async fn changed(&mut self) {
        if self.0.readable().await.is_ok() {
            // Notices are read only to be rid of them: the files themselves tell what there is.
            let mut notices = [0u8; 4096];
            while self.0.try_read(&mut notices).is_ok_and(|n| n > 0) {}
        }
    }
}
