//! Files that may be replaced while the server runs: reread when they change.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

/// How often a file is looked at, at most; only while it is in use.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A file's parsed content. A new content that can't be parsed leaves the old one in place.
pub struct FileSource<T> {
    path: PathBuf,
    parse: fn(&[u8]) -> Result<T, String>,
    state: Mutex<State<T>>,
}

struct State<T> {
    current: Arc<T>,
    /// Counts the contents there have been.
    generation: u64,
    seen: Option<(SystemTime, u64)>,
    checked: Instant,
}

impl<T> FileSource<T> {
    /// Reads the file, which must be good at the start.
    pub fn open(path: impl Into<PathBuf>, parse: fn(&[u8]) -> Result<T, String>) -> Result<Self, String> {
        let path = path.into();
        let explain = |error: String| format!("{}: {error}", path.display());
        let seen = fingerprint(&path);
        let bytes = std::fs::read(&path).map_err(|error| explain(error.to_string()))?;
        let current = Arc::new(parse(&bytes).map_err(explain)?);
        let state = State { current, generation: 1, seen, checked: Instant::now() };
        Ok(FileSource { path, parse, state: Mutex::new(state) })
    }

    /// The content, and which one it is.
    pub fn get(&self) -> (Arc<T>, u64) {
        let mut state = self.state.lock();
        if state.checked.elapsed() >= CHECK_INTERVAL {
            state.checked = Instant::now();
            self.reload(&mut state);
        }
        (state.current.clone(), state.generation)
    }

    fn reload(&self, state: &mut State<T>) {
        let now = fingerprint(&self.path);
        if now.is_none() || now == state.seen {
            return;
        }
        state.seen = now;
        let parsed = std::fs::read(&self.path)
            .map_err(|error| error.to_string())
            .and_then(|bytes| (self.parse)(&bytes));
        match parsed {
            Ok(content) => {
                state.current = Arc::new(content);
                state.generation += 1;
                tracing::info!(path = %self.path.display(), "Reloaded changed file");
            }
            Err(error) => {
                tracing::error!(path = %self.path.display(), error, "Ignoring unusable new content of file");
            }
        }
    }
}

fn fingerprint(path: &std::path::Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Result<String, String> {
        match std::str::from_utf8(bytes) {
            Ok("bad") => Err("bad".to_owned()),
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn good_changes_are_taken_and_bad_ones_ignored() {
        let path = std::env::temp_dir().join(format!("keelson-file-{}", std::process::id()));
        std::fs::write(&path, "one").unwrap();
        let source = FileSource::open(&path, text).unwrap();
        let age = |source: &FileSource<String>| {
            source.state.lock().checked -= CHECK_INTERVAL * 2;
        };
        assert_eq!(source.get(), (Arc::new("one".to_owned()), 1));
        std::fs::write(&path, "three").unwrap();
        age(&source);
        assert_eq!(source.get(), (Arc::new("three".to_owned()), 2));
        std::fs::write(&path, "bad").unwrap();
        age(&source);
        assert_eq!(source.get().1, 2);
        std::fs::remove_file(&path).unwrap();
        age(&source);
        assert_eq!(source.get().1, 2);
        assert!(FileSource::open(&path, text).is_err());
    }
}
