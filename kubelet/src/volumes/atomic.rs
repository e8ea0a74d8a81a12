//! Replaces a directory's files all at once.
//!
//! ```text
//! file        -> ..data/file
//! ..data      -> ..2026_01_02_15_04_05.123456789
//! ..2026_01_02_15_04_05.123456789/file
//! ```
//!
//! A change is one rename of `..data`, so a reader sees either all old files or all new ones.

use super::content::Files;
use crate::sys::SharedSys;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// Makes `dir` hold exactly `files`. Writes nothing if it does already. `apply` sets the owner of
/// all below it before the new files become visible.
pub(super) fn write(
    dir: &Path,
    files: &Files,
    sys: &SharedSys,
    apply: impl Fn() -> Result<(), String>,
) -> io::Result<()> {
    let data = dir.join(DATA);
    let old = fs::read_link(&data).ok().map(|target| dir.join(target));
    let visible: BTreeSet<&str> = files.keys().map(|path| first_part(path)).collect();
    let stale = stale_links(dir, &visible)?;
    let same = old.as_deref().is_some_and(|old| holds(old, files));
    if !same {
        let fresh = timestamped(dir)?;
        for (path, file) in files {
            let target = fresh.join(path);
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(&target, &file.bytes)?;
            fs::set_permissions(&target, fs::Permissions::from_mode(file.mode))?;
            if let Some(uid) = file.uid {
                sys.chown(&target, Some(uid), None)?;
            }
        }
        apply().map_err(io::Error::other)?;
        let name = fresh.file_name().unwrap_or_default().to_os_string();
        let new = dir.join(NEW_DATA);
        remove_if_there(&new)?;
        symlink(&name, &new)?;
        fs::rename(&new, &data)?;
    }
    for part in &visible {
        let link = dir.join(part);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(part), &link)?;
        }
    }
    for link in stale {
        remove_if_there(&link)?;
    }
    if let (false, Some(old)) = (same, old) {
        match fs::remove_dir_all(old) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

fn first_part(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

fn holds(dir: &Path, files: &Files) -> bool {
    let same = |(path, file): (&String, &super::content::File)| {
        fs::read(dir.join(path)).is_ok_and(|bytes| bytes == file.bytes)
    };
    files.iter().all(same) && count(dir).is_ok_and(|n| n == files.len())
}

fn count(dir: &Path) -> io::Result<usize> {
    let mut files = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        files += if entry.file_type()?.is_dir() { count(&entry.path())? } else { 1 };
    }
    Ok(files)
}

fn stale_links(dir: &Path, visible: &BTreeSet<&str>) -> io::Result<Vec<PathBuf>> {
    let mut stale = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !visible.contains(name.as_ref()) {
            stale.push(entry.path());
        }
    }
    Ok(stale)
}

fn timestamped(dir: &Path) -> io::Result<PathBuf> {
    let now = jiff::Zoned::now().strftime("..%Y_%m_%d_%H_%M_%S").to_string();
    let path = dir.join(format!("{now}.{}", rand::random::<u32>()));
    fs::DirBuilder::new().mode(0o755).create(&path)?;
    // The mode given at creation is subject to the umask.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
