//! Keeps container logs from growing without bound.
//!
//! A full log is renamed with the time, the runtime is told to open a new one, and older ones are
//! compressed. The newest of those few is left alone, as the runtime may still write to it.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Bounds of a container's logs.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Bytes of one file.
    pub max_size: u64,
    /// Files, the open one among them.
    pub max_files: usize,
}

/// Removes a log and what rotation made of it.
pub fn remove_all(log: &Path) {
    for path in rotated(log).into_iter().chain([log.to_path_buf()]) {
        fs::remove_file(path).ok();
    }
}

/// Files rotation made of a log, the oldest first: their names end in times.
pub fn rotated(log: &Path) -> Vec<PathBuf> {
    let (Some(dir), Some(name)) = (log.parent(), log.file_name().and_then(|n| n.to_str())) else {
        return Vec::new();
    };
    let prefix = format!("{name}.");
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let named = entries.filter(|e| e.file_name().to_str().is_some_and(|n| n.starts_with(&prefix)));
    let mut paths: Vec<_> = named.map(|e| e.path()).collect();
    paths.sort();
    paths
}

/// Whether a log is due.
pub fn is_full(log: &Path, policy: Policy) -> bool {
    fs::metadata(log).is_ok_and(|m| m.len() > policy.max_size)
}

/// Makes room: removes what is too much, compresses the rest, renames the log. The caller then has the
/// runtime open a new one; if that fails, the returned name is to be renamed back.
pub fn rotate(log: &Path, policy: Policy) -> io::Result<PathBuf> {
    let mut old = rotated(log);
    for half_done in old.extract_if(.., |p| p.extension().is_some_and(|e| e == "tmp")) {
        fs::remove_file(half_done)?;
    }
    // With the log and its fresh copy there will be two more.
    let keep = policy.max_files.saturating_sub(2);
    while old.len() > keep {
        fs::remove_file(old.remove(0))?;
    }
    for path in old.iter().filter(|p| p.extension().is_none_or(|e| e != "gz")) {
        compress(path)?;
    }
    let stamp = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S").to_string();
    let target = PathBuf::from(format!("{}.{stamp}", log.display()));
    fs::rename(log, &target)?;
    Ok(target)
}

fn compress(path: &Path) -> io::Result<()> {
    let done = PathBuf::from(format!("{}.gz", path.display()));
    let half = PathBuf::from(format!("{}.tmp", path.display()));
    let mut input = fs::File::open(path)?;
    let mut output = flate2::write::GzEncoder::new(fs::File::create(&half)?, flate2::Compression::default());
    io::copy(&mut input, &mut output)?;
    output.finish()?;
    fs::rename(half, done)?;
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_files_are_kept() {
        let dir = std::env::temp_dir().join(format!("rotate-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(&dir).unwrap();
        let log = dir.join("0.log");
        let policy = Policy { max_size: 4, max_files: 3 };
        for stamp in ["20240101-000000", "20240102-000000", "20240103-000000"] {
            fs::write(dir.join(format!("0.log.{stamp}")), "old").unwrap();
        }
        fs::write(&log, "enough").unwrap();
        assert!(is_full(&log, policy));
        let target = rotate(&log, policy).unwrap();
        assert!(!log.exists() && target.exists());
        let names: Vec<_> =
            rotated(&log).iter().map(|p| p.file_name().unwrap().to_str().unwrap().to_string()).collect();
        assert_eq!(names.len(), 2);
        assert_eq!(names[0], "0.log.20240103-000000.gz");
        fs::remove_dir_all(dir).unwrap();
    }
}
