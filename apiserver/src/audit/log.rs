//! The log backend: a line per event, in a file that is rotated or on standard output.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use futures::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::Mutex;
use proto::field::quote;
use serde_json::Value;

use super::backend::{Backend, Sink, Truncate, lost};
use super::event::line;

const NAME: &str = "log";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How the log is written.
#[derive(Debug, Clone)]
pub(super) struct Config {
    /// The file; `-` is standard output.
    pub(super) path: String,
    /// Whether lines are JSON, not upstream's old text form.
    pub(super) is_json: bool,
    /// Bytes of a file; 0: it is never rotated.
    pub(super) max_size: u64,
    /// Old files that are kept; 0: all.
    pub(super) max_backups: usize,
    /// Days that old files are kept; 0: for ever.
    pub(super) max_age: u32,
    /// Whether old files are compressed.
    pub(super) compress: bool,
}

/// The log.
pub(super) struct Log {
    config: Config,
    file: Mutex<Option<(File, u64)>>,
    /// Held by who deals with old files: two at once would compress the same.
    tidying: Arc<Mutex<()>>,
}

impl Log {
    /// Opens the log.
    pub(super) fn open(config: Config) -> io::Result<Self> {
        let file = if config.path == "-" { None } else { Some(open(Path::new(&config.path))?) };
        Ok(Log { config, file: Mutex::new(file), tidying: Arc::default() })
    }

    fn append(&self, line: &[u8]) -> io::Result<()> {
        let mut guard = self.file.lock();
        let Some((file, size)) = guard.as_mut() else {
            return io::stdout().lock().write_all(line);
        };
        let length = line.len() as u64;
        if self.config.max_size > 0 && *size > 0 && *size + length > self.config.max_size {
            (*file, *size) = self.rotate()?;
        }
        file.write_all(line)?;
        *size += length;
        Ok(())
    }

    /// Renames the file and begins a new one; old ones are dealt with in the background.
    fn rotate(&self) -> io::Result<(File, u64)> {
        let path = PathBuf::from(&self.config.path);
        let stamp = Timestamp::now().strftime("%Y-%m-%dT%H-%M-%S%.3f").to_string();
        let (stem, extension) = parts(&path);
        fs::rename(&path, path.with_file_name(format!("{stem}-{stamp}{extension}")))?;
        let (config, tidying) = (self.config.clone(), self.tidying.clone());
        std::thread::spawn(move || {
            let _alone = tidying.lock();
            if let Err(error) = tidy(&config) {
                tracing::warn!(%error, path = config.path, "removing old audit logs");
            }
        });
        open(&path)
    }

    fn text(&self, event: &Value) -> Vec<u8> {
        if self.config.is_json { line(event) } else { legacy(event).into_bytes() }
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

fn parts(path: &Path) -> (String, String) {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match name.rfind('.') {
        Some(at) => (name[..at].to_owned(), name[at..].to_owned()),
        None => (name, String::new()),
    }
}

/// Compresses rotated files and removes those that are too many or too old.
fn tidy(config: &Config) -> io::Result<()> {
    let path = Path::new(&config.path);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (stem, extension) = parts(path);
    let mut old: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?.path();
        let name = entry.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let plain = name.strip_suffix(".gz").unwrap_or(&name);
        if plain.starts_with(&format!("{stem}-")) && plain.ends_with(&extension) {
            old.push(entry);
        }
    }
    // The newest first: their names have their time.
    old.sort_unstable_by(|a, b| b.cmp(a));
    let oldest = (config.max_age > 0).then(|| SystemTime::now() - DAY * config.max_age);
    for (at, path) in old.iter().enumerate() {
        let too_many = config.max_backups > 0 && at >= config.max_backups;
        let too_old = oldest.is_some_and(|oldest| {
            fs::metadata(path).and_then(|data| data.modified()).is_ok_and(|changed| changed < oldest)
        });
        if too_many || too_old {
            fs::remove_file(path)?;
        } else if config.compress && path.extension().is_none_or(|extension| extension != "gz") {
            compress(path)?;
        }
    }
    Ok(())
}

fn compress(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    let mut encoder = GzEncoder::new(File::create(&name)?, Compression::default());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?;
    fs::remove_file(path)
}

/// Upstream's old text form.
fn legacy(event: &Value) -> String {
    let text = |path: &[&str]| proto::view::text_at(event, path).to_owned();
    let or = |text: String, other: &str| if text.is_empty() { other.to_owned() } else { text };
    let groups = |path: &[&str]| {
        let groups = proto::view::strs(proto::view::at(event, path));
        let quoted: Vec<String> = groups.iter().map(|group| quote(group)).collect();
        or(quoted.join(","), "<none>")
    };
    let address = event["sourceIPs"][0].as_str().unwrap_or("<none>");
    let code = event["responseStatus"]["code"].as_u64();
    format!(
        "{} AUDIT: id={} stage={} ip={} method={} user={} groups={} as={} asgroups={} user-agent={} namespace={} uri={} response={}\n",
        text(&["requestReceivedTimestamp"]),
        quote(&text(&["auditID"])),
        quote(&text(&["stage"])),
        quote(address),
        quote(&text(&["verb"])),
        quote(&or(text(&["user", "username"]), "<none>")),
        groups(&["user", "groups"]),
        quote(&or(text(&["impersonatedUser", "username"]), "<self>")),
        match event["impersonatedUser"].is_null() {
            true => "<lookup>".to_owned(),
            false => groups(&["impersonatedUser", "groups"]),
        },
        quote(&text(&["userAgent"])),
        or(text(&["objectRef", "namespace"]), "<none>"),
        quote(&text(&["requestURI"])),
        quote(&code.map_or_else(|| "<deferred>".to_owned(), |code| code.to_string())),
    )
}

impl Sink for Log {
    fn name(&self) -> &'static str {
        NAME
    }

    fn write<'a>(&'a self, events: &'a [Value]) -> BoxFuture<'a, Result<(), String>> {
        let done = events.iter().try_for_each(|event| self.append(&self.text(event)));
        Box::pin(std::future::ready(done.map_err(|error| error.to_string())))
    }
}

/// The log, written while the request waits.
pub(super) struct Blocking {
    pub(super) log: Log,
    /// Whether a request fails that can't be recorded.
    pub(super) is_strict: bool,
    pub(super) truncate: Option<Truncate>,
}

impl Backend for Blocking {
    fn take(&self, event: &Value) -> bool {
        let cut = match &self.truncate {
            Some(truncate) => match truncate.cut(event) {
                Some(event) => event,
                None => {
                    lost(NAME, 1, "event is too large even after truncating");
                    return true;
                }
            },
            None => event.clone(),
        };
        if let Err(error) = self.log.append(&self.log.text(&cut)) {
            lost(NAME, 1, &error.to_string());
            return !self.is_strict;
        }
        true
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn full_files_are_rotated_compressed_and_removed() {
        let directory = std::env::temp_dir().join(format!("audit-{}", uuid::Uuid::new_v4()));
        let path = directory.join("audit.log");
        let config = Config {
            path: path.to_string_lossy().into_owned(),
            is_json: true,
            max_size: 100,
            max_backups: 2,
            max_age: 0,
            compress: true,
        };
        let log = Log::open(config.clone()).expect("opens");
        for at in 0..5 {
            log.append(format!("{at:0>80}\n").as_bytes()).expect("written");
            std::thread::sleep(Duration::from_millis(2));
        }
        let names = || -> Vec<String> {
            let entries = fs::read_dir(&directory).expect("a directory").flatten();
            let mut names: Vec<String> =
                entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        // The rotations' own threads may not be there yet; whoever comes last leaves the same.
        for _ in 0..8 {
            let _alone = log.tidying.lock();
            tidy(&config).expect("tidied");
        }
        let names = names();
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(names.contains(&"audit.log".to_owned()), "{names:?}");
        assert_eq!(names.iter().filter(|name| name.ends_with(".gz")).count(), 2, "{names:?}");
        assert!(fs::read_to_string(&path).expect("text").ends_with("4\n"));
        fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn the_old_form_is_upstreams() {
        let event = json!({
            "auditID": "i", "stage": "ResponseComplete", "requestURI": "/api", "verb": "get", "sourceIPs": ["::1"],
            "user": {"username": "u", "groups": ["a", "b"]}, "responseStatus": {"code": 200},
            "requestReceivedTimestamp": "2020-01-01T00:00:00.000000Z",
        });
        assert_eq!(
            legacy(&event),
            "2020-01-01T00:00:00.000000Z AUDIT: id=\"i\" stage=\"ResponseComplete\" ip=\"::1\" method=\"get\" user=\"u\" groups=\"a\",\"b\" as=\"<self>\" asgroups=<lookup> user-agent=\"\" namespace=<none> uri=\"/api\" response=\"200\"\n"
        );
    }
}
