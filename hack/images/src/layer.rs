//! One layer: the copied files as a deterministic tar, gzipped.

use crate::containerfile::Copy;
use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A layer and the two digests that name it.
pub(crate) struct Layer {
    pub(crate) compressed: Vec<u8>,
    /// sha256 of the tar, the config's `diff_id`.
    pub(crate) diff_id: String,
}

/// `sha256:<hex>` of `bytes`.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Packs what `copies` name below `context` into a layer.
pub(crate) fn build(copies: &[Copy], context: &Path) -> Result<Layer> {
    let mut entries = BTreeMap::new();
    for copy in copies {
        let source = context.join(copy.source.trim_start_matches('/'));
        let target = PathBuf::from(copy.target.trim_start_matches('/'));
        let meta = fs::symlink_metadata(&source).with_context(|| format!("COPY {}", source.display()))?;
        if meta.is_dir() {
            collect(&source, &target, &mut entries)?;
        } else if copy.target.ends_with('/') {
            entries.insert(target.join(source.file_name().unwrap_or_default()), source);
        } else {
            entries.insert(target, source);
        }
    }
    let tar = pack(&with_parents(entries))?;
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
    std::io::Write::write_all(&mut gzip, &tar)?;
    Ok(Layer { diff_id: digest(&tar), compressed: gzip.finish()? })
}

fn collect(folder: &Path, target: &Path, entries: &mut BTreeMap<PathBuf, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let to = target.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &to, entries)?;
        }
        entries.insert(to, entry.path());
    }
    Ok(())
}

/// Adds the folders above each entry: runtimes want them to exist. They have no source of their own.
fn with_parents(entries: BTreeMap<PathBuf, PathBuf>) -> BTreeMap<PathBuf, Option<PathBuf>> {
    let mut all: BTreeMap<PathBuf, Option<PathBuf>> = BTreeMap::new();
    for (target, source) in entries {
        for parent in target.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
            all.entry(parent.to_path_buf()).or_insert(None);
        }
        all.insert(target, Some(source));
    }
    all
}

fn pack(entries: &BTreeMap<PathBuf, Option<PathBuf>>) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (target, source) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        let meta = source.as_ref().map(fs::symlink_metadata).transpose()?;
        header.set_mode(meta.as_ref().map_or(0o755, |meta| meta.permissions().mode() & 0o7777));
        match (source, meta) {
            (Some(source), Some(meta)) if meta.file_type().is_symlink() => {
                header.set_entry_type(tar::EntryType::Symlink);
                tar.append_link(&mut header, target, fs::read_link(source)?)?;
            }
            (Some(source), Some(meta)) if meta.is_file() => {
                let bytes = fs::read(source)?;
                header.set_size(bytes.len() as u64);
                tar.append_data(&mut header, target, &bytes[..])?;
            }
            _ => {
                header.set_entry_type(tar::EntryType::Directory);
                tar.append_data(&mut header, target, std::io::empty())?;
            }
        }
    }
    Ok(tar.into_inner()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_twice_gives_the_same_layer() {
        let dir = std::env::temp_dir().join(format!("images-layer-{}", std::process::id()));
        fs::create_dir_all(dir.join("root/etc")).unwrap();
        fs::write(dir.join("root/etc/hosts"), "127.0.0.1 localhost\n").unwrap();
        fs::write(dir.join("run"), "#!").unwrap();
        let copies = [
            Copy { source: "root/".into(), target: "/".into() },
            Copy { source: "run".into(), target: "/usr/bin/run".into() },
        ];
        let (one, two) = (build(&copies, &dir).unwrap(), build(&copies, &dir).unwrap());
        assert_eq!(one.diff_id, two.diff_id);
        assert_eq!(one.compressed, two.compressed);
        let mut tar = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&one.compressed[..]), &mut tar).unwrap();
        let names: Vec<String> = tar::Archive::new(&tar[..])
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["etc", "etc/hosts", "usr", "usr/bin", "usr/bin/run"]);
        fs::remove_dir_all(dir).unwrap();
    }
}
