//! Sends a log to a reader, from where they want and for as long as they want.

use super::line::{Stream, parse};
use super::read::tail_start;
use bytes::Bytes;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::fs::File;
use std::future::Future;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use tokio::net::unix::pipe;
use tokio::sync::mpsc::Sender;

/// What a reader wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Go on as the log grows.
    pub follow: bool,
    /// Begin with the last so many lines.
    pub tail: Option<usize>,
    /// Nothing before this, in nanoseconds since the epoch.
    pub since: Option<i128>,
    /// Each line begins with its time.
    pub timestamps: bool,
    /// So many bytes and no more.
    pub limit: Option<u64>,
    /// Only of this output.
    pub only: Option<Stream>,
}

/// Turns lines of the file into what the reader sees.
struct Filter {
    options: Options,
    left: Option<u64>,
    /// The last line sent was partial, so the next continues it.
    continues: bool,
}

impl Filter {
    fn new(options: Options) -> Filter {
        Filter { left: options.limit, options, continues: false }
    }

    /// Appends what is to be seen of a line; tells whether there may be more.
    fn add(&mut self, raw: &[u8], out: &mut Vec<u8>) -> bool {
        let Ok(line) = parse(raw) else {
            tracing::debug!("A line of a container's log isn't in the format");
            return true;
        };
        if self.options.only.is_some_and(|only| only != line.stream) {
            return true;
        }
        if let Some(since) = self.options.since {
            let time = line.time.parse::<jiff::Timestamp>().map(|t| t.as_nanosecond());
            if time.is_ok_and(|t| t < since) {
                return true;
            }
        }
        let begin = out.len();
        if self.options.timestamps && !self.continues {
            out.extend_from_slice(line.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(line.text);
        self.continues = line.partial;
        if let Some(left) = &mut self.left {
            let added = (out.len() - begin) as u64;
            if added >= *left {
                out.truncate(begin + usize::try_from(*left).unwrap_or(usize::MAX));
                *left = 0;
                return false;
            }
            *left -= added;
        }
        true
    }
}

/// Sends until the end: that of the log, of the limit, or of the container if the reader follows.
/// `runs` tells whether the container still does.
pub async fn send<F, Fut>(path: &Path, options: Options, to: Sender<Bytes>, runs: F) -> io::Result<()>
where
    F: Fn() -> Fut,
    Fut: Future<Output = bool>,
{
    const CHUNK: usize = 32 * 1024;
    let mut file = File::open(path)?;
    let start = match options.tail {
        Some(lines) => tail_start(&mut file, lines)?,
        None => 0,
    };
    file.seek(SeekFrom::Start(start))?;
    let follow = options.follow;
    let mut filter = Filter::new(options);
    let mut watcher = follow.then(|| watch(path)).flatten();
    let (mut pending, mut buffer) = (Vec::new(), vec![0; CHUNK]);
    let mut ending = false;
    loop {
        let count = file.read(&mut buffer)?;
        pending.extend_from_slice(&buffer[..count]);
        let complete = pending.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        let mut out = Vec::new();
        let mut more = true;
        for line in pending[..complete].split_inclusive(|b| *b == b'\n') {
            more = filter.add(line, &mut out);
            if !more {
                break;
            }
        }
        pending.drain(..complete);
        // The reader may have gone.
        if !out.is_empty() && to.send(out.into()).await.is_err() {
            return Ok(());
        }
        if !more || (count == 0 && (!follow || ending)) {
            return Ok(());
        }
        if count > 0 {
            continue;
        }
        if let Some(next) = rotated(path, &file) {
            file = next;
            watcher = watch(path);
            continue;
        }
        tokio::select! {
            () = grown(&mut watcher) => {}
            () = to.closed() => return Ok(()),
            // What it wrote last is read in another round.
            () = tokio::time::sleep(Duration::from_secs(1)) => ending = !runs().await,
        }
    }
}

/// The new file, if the log was rotated.
fn rotated(path: &Path, file: &File) -> Option<File> {
    let next = File::open(path).ok()?;
    let same = next.metadata().ok()?.ino() == file.metadata().ok()?.ino();
    (!same).then_some(next)
}

fn watch(path: &Path) -> Option<pipe::Receiver> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok()?;
    inotify.add_watch(path, AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_MOVE_SELF).ok()?;
    pipe::Receiver::from_owned_fd_unchecked(OwnedFd::from(inotify)).ok()
}

async fn grown(watcher: &mut Option<pipe::Receiver>) {
    let Some(watcher) = watcher else { return std::future::pending().await };
    if watcher.readable().await.is_err() {
        return std::future::pending().await;
    }
    let mut notices = [0u8; 1024];
    while watcher.try_read(&mut notices).is_ok_and(|n| n > 0) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(options: Options) -> String {
        let path = std::env::temp_dir().join(format!("log-{}", uuid::Uuid::new_v4()));
        let text = "2024-01-01T00:00:01Z stdout F one\n2024-01-01T00:00:02Z stderr F two\n\
                    2024-01-01T00:00:03Z stdout P thr\n2024-01-01T00:00:04Z stdout F ee\n";
        std::fs::write(&path, text).unwrap();
        let (to, mut from) = tokio::sync::mpsc::channel(16);
        send(&path, options, to, || async { false }).await.unwrap();
        let mut out = Vec::new();
        while let Some(bytes) = from.recv().await {
            out.extend_from_slice(&bytes);
        }
        std::fs::remove_file(path).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn readers_get_what_they_want() {
        assert_eq!(read(Options::default()).await, "one\ntwo\nthree\n");
        assert_eq!(read(Options { tail: Some(3), ..Default::default() }).await, "two\nthree\n");
        assert_eq!(read(Options { limit: Some(5), ..Default::default() }).await, "one\nt");
        assert_eq!(read(Options { only: Some(Stream::Stderr), ..Default::default() }).await, "two\n");
        let since = "2024-01-01T00:00:02Z".parse::<jiff::Timestamp>().unwrap().as_nanosecond();
        let timed = Options { since: Some(since), timestamps: true, ..Default::default() };
        assert_eq!(read(timed).await, "2024-01-01T00:00:02Z two\n2024-01-01T00:00:03Z three\n");
        // A reader who follows leaves with the container.
        assert_eq!(read(Options { follow: true, ..Default::default() }).await, "one\ntwo\nthree\n");
    }
}
