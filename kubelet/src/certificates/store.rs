//! Certificates on disk.

use anyhow::{Context, bail};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use x509_parser::prelude::{FromDer, X509Certificate};

/// When a certificate holds, in seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Life {
    /// From.
    pub from: i64,
    /// Until.
    pub until: i64,
}

/// The certificates of one purpose.
pub struct Store {
    directory: PathBuf,
    name: String,
}

impl Store {
    /// Certificates named `name` in `directory`.
    pub fn new(directory: &Path, name: &str) -> Store {
        Store { directory: directory.to_path_buf(), name: name.to_string() }
    }

    /// What leads to the latest.
    pub fn current(&self) -> PathBuf {
        self.directory.join(format!("{}-current.pem", self.name))
    }

    /// How long the latest holds.
    pub fn life(&self) -> anyhow::Result<Life> {
        let path = self.current();
        let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        life_of(&text)
    }

    /// Keeps a new one and makes it the latest.
    pub fn update(&self, certificate: &[u8], key: &[u8]) -> anyhow::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let stamp = jiff::Zoned::now().strftime("%Y-%m-%d-%H-%M-%S").to_string();
        let path = self.directory.join(format!("{}-{stamp}.pem", self.name));
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(certificate)?;
        file.write_all(key)?;
        file.sync_all()?;
        let fresh = self.directory.join(format!("{}-updated.pem", self.name));
        fs::remove_file(&fresh).ok();
        symlink(&path, &fresh)?;
        // One rename, so that there is always one that can be read.
        fs::rename(&fresh, self.current())?;
        Ok(())
    }
}

/// How long the certificates in a PEM file hold: until the first of them ends.
pub(super) fn life_of(text: &[u8]) -> anyhow::Result<Life> {
    let blocks = pem::parse_many(text)?;
    let mut life: Option<Life> = None;
    for block in blocks.iter().filter(|b| b.tag() == "CERTIFICATE") {
        let (_, certificate) = X509Certificate::from_der(block.contents())?;
        let validity = certificate.validity();
        let (from, until) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        life = Some(match life {
            None => Life { from, until },
            Some(l) => Life { from: l.from.max(from), until: l.until.min(until) },
        });
    }
    match life {
        Some(life) => Ok(life),
        None => bail!("no certificate found"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_is_current() {
        let dir = std::env::temp_dir().join(format!("certificates-{}", uuid::Uuid::new_v4()));
        let store = Store::new(&dir, "kubelet-client");
        assert!(store.life().is_err());
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["n".to_string()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        store.update(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        let want: jiff::Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(store.life().unwrap().until, want.as_second());
        fs::remove_dir_all(dir).unwrap();
    }
}
