//! Objects at rest: values are encrypted on their way to etcd and decrypted on their way back, in upstream's envelopes
//! (`k8s:enc:aescbc:v1:key1:…`), so that either server reads what the other wrote.
//!
//! The configuration lists providers per resource. The first one writes; all of them read. What another than the first
//! wrote is stale: it is written anew with the next update, even one that changes nothing.

mod cipher;
mod config;

use std::collections::HashMap;

pub use self::config::load;

use self::cipher::Cipher;

/// What encrypted values begin with.
const ENCRYPTED: &[u8] = b"k8s:enc:";

/// Why a value can't be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No provider knows the value.
    #[error("no matching prefix found")]
    NoPrefix,
    /// The provider has no such key.
    #[error("no matching key was found for the provided {0} transformer")]
    NoKey(&'static str),
    /// Only plain values are expected.
    #[error("identity transformer tried to read encrypted data")]
    Encrypted,
    /// Too short to be what it says.
    #[error("the stored data was shorter than the required size")]
    TooShort,
    /// Not whole blocks.
    #[error("the stored data is not a multiple of the block size")]
    Blocks,
    /// Wrong at its end.
    #[error("invalid padding on input")]
    Padding,
    /// Not what was written, or not with this key.
    #[error("cipher: message authentication failed")]
    Forged,
    /// The system has no randomness.
    #[error("unable to read sufficient random bytes")]
    Random,
}

/// One way to keep values.
enum Provider {
    /// As they are.
    Identity,
    /// Encrypted: what values begin with, the name in errors, and the keys, of which the first one writes.
    Keys { prefix: &'static str, name: &'static str, keys: Vec<(String, Cipher)> },
}

/// The providers of a resource.
struct Providers(Vec<Provider>);

impl Provider {
    fn seal(&self, value: &[u8], key: &str) -> Result<Vec<u8>, Error> {
        match self {
            Provider::Identity => Ok(value.to_vec()),
            Provider::Keys { prefix, name, keys } => {
                let (key_name, cipher) = keys.first().ok_or(Error::NoKey(name))?;
                let mut sealed = format!("{prefix}{key_name}:").into_bytes();
                cipher.seal(value, key.as_bytes(), &mut sealed)?;
                Ok(sealed)
            }
        }
    }

    /// The value, and whether another key should have it; `None`: it is another provider's.
    fn open(&self, value: &[u8], key: &str) -> Option<Result<(Vec<u8>, bool), Error>> {
        match self {
            Provider::Identity if value.starts_with(ENCRYPTED) => Some(Err(Error::Encrypted)),
            Provider::Identity => Some(Ok((value.to_vec(), false))),
            Provider::Keys { prefix, name, keys } => {
                let rest = value.strip_prefix(prefix.as_bytes())?;
                let mut failed = Error::NoKey(name);
                for (at, (key_name, cipher)) in keys.iter().enumerate() {
                    let sealed =
                        rest.strip_prefix(key_name.as_bytes()).and_then(|rest| rest.strip_prefix(b":"));
                    match sealed.map(|sealed| cipher.open(sealed, key.as_bytes())) {
                        Some(Ok(value)) => return Some(Ok((value, at > 0))),
                        Some(Err(error)) => failed = error,
                        None => {}
                    }
                }
                Some(Err(failed))
            }
        }
    }
}

impl Providers {
    fn open(&self, value: &[u8], key: &str) -> Result<(Vec<u8>, bool), Error> {
        let mut failed = None;
        for (at, provider) in self.0.iter().enumerate() {
            match provider.open(value, key) {
                Some(Ok((value, is_stale))) => return Ok((value, is_stale || at > 0)),
                // Others may know it yet.
                Some(Err(Error::Encrypted)) | None => {}
                Some(Err(error)) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or(Error::NoPrefix))
    }
}

/// How the values of all resources are kept.
pub struct Encryption {
    /// By (group, resource); `*` stands for any.
    resources: HashMap<(String, String), Providers>,
    /// The resource whose keys begin so, below the prefix of all keys.
    rows: HashMap<String, (String, String)>,
    /// With slashes at both ends.
    root: String,
}

impl Encryption {
    /// Says which keys belong to which resource: `(prefix of the row, group, resource)`.
    pub fn with_rows(
        mut self,
        etcd_prefix: &str,
        rows: impl Iterator<Item = (String, String, String)>,
    ) -> Self {
        self.root = format!("/{}/", etcd_prefix.trim_matches('/'));
        self.rows = rows.map(|(prefix, group, resource)| (prefix, (group, resource))).collect();
        self
    }

    fn providers(&self, key: &str) -> Option<&Providers> {
        let below = key.strip_prefix(&self.root)?;
        let mut steps = below.splitn(3, '/');
        let (first, second) = (steps.next()?, steps.next()?);
        let both = &below[..first.len() + 1 + second.len()];
        let known = self.rows.get(both).or_else(|| self.rows.get(first));
        let (group, resource) = match known {
            Some((group, resource)) => (group.as_str(), resource.as_str()),
            // Custom resources are kept below their group.
            None if first.contains('.') => (first, second),
            None => return None,
        };
        let find = |group: &str, resource: &str| self.resources.get(&(group.to_owned(), resource.to_owned()));
        find(group, resource).or_else(|| find(group, "*")).or_else(|| find("*", "*"))
    }

    /// The value to store under a key.
    pub fn seal(&self, value: Vec<u8>, key: &str) -> Result<Vec<u8>, Error> {
        match self.providers(key).and_then(|providers| providers.0.first()) {
            Some(provider) => provider.seal(&value, key),
            None => Ok(value),
        }
    }

    /// The value stored under a key, and whether it should be written anew; `None`: it is as it is.
    pub fn open(&self, value: &[u8], key: &str) -> Option<Result<(Vec<u8>, bool), Error>> {
        self.providers(key).map(|providers| providers.open(value, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encryption(resources: &str) -> Encryption {
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n{resources}"
        );
        let rows = [
            ("secrets", "", "secrets"),
            ("services/specs", "", "services"),
            ("deployments", "apps", "deployments"),
        ];
        let rows =
            rows.map(|(prefix, group, resource)| (prefix.to_owned(), group.to_owned(), resource.to_owned()));
        config::parse(text.as_bytes()).expect("good").with_rows("/registry", rows.into_iter())
    }

    const KEY1: &str = "{name: key1, secret: MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=}";
    const KEY2: &str = "{name: key2, secret: YWJjZGVmZ2hpamtsbW5vcGFiY2RlZmdoaWprbG1ub3A=}";

    #[test]
    fn values_go_there_and_back() {
        for (provider, prefix) in [
            ("aescbc", "k8s:enc:aescbc:v1:key1:"),
            ("aesgcm", "k8s:enc:aesgcm:v1:key1:"),
            ("secretbox", "k8s:enc:secretbox:v1:key1:"),
        ] {
            let encryption = encryption(&format!(
                "- {{resources: [secrets], providers: [{{{provider}: {{keys: [{KEY1}]}}}}, {{identity: {{}}}}]}}"
            ));
            let key = "/registry/secrets/default/a";
            let sealed = encryption.seal(b"secret".to_vec(), key).expect("sealed");
            assert!(sealed.starts_with(prefix.as_bytes()), "{provider}");
            assert_ne!(sealed, encryption.seal(b"secret".to_vec(), key).expect("sealed"), "{provider}");
            assert_eq!(encryption.open(&sealed, key), Some(Ok((b"secret".to_vec(), false))));
            // What is plain still reads, and is stale.
            assert_eq!(encryption.open(b"plain", key), Some(Ok((b"plain".to_vec(), true))));
            let mut broken = sealed.clone();
            broken.truncate(prefix.len() + 5);
            assert_eq!(encryption.open(&broken, key), Some(Err(Error::TooShort)), "{provider}");
            assert_eq!(encryption.open(&sealed, "/registry/configmaps/a/b"), None);
        }
    }

    #[test]
    fn a_value_belongs_to_its_key() {
        let encryption =
            encryption(&format!("- {{resources: [secrets], providers: [{{aesgcm: {{keys: [{KEY1}]}}}}]}}"));
        let sealed = encryption.seal(b"secret".to_vec(), "/registry/secrets/a/b").expect("sealed");
        assert_eq!(encryption.open(&sealed, "/registry/secrets/a/c"), Some(Err(Error::Forged)));
        assert_eq!(encryption.open(b"plain", "/registry/secrets/a/b"), Some(Err(Error::NoPrefix)));
    }

    #[test]
    fn keys_are_rotated() {
        let old =
            encryption(&format!("- {{resources: [secrets], providers: [{{aescbc: {{keys: [{KEY1}]}}}}]}}"));
        let new = encryption(&format!(
            "- {{resources: [secrets], providers: [{{aescbc: {{keys: [{KEY2}, {KEY1}]}}}}]}}"
        ));
        let after =
            encryption(&format!("- {{resources: [secrets], providers: [{{aescbc: {{keys: [{KEY2}]}}}}]}}"));
        let key = "/registry/secrets/a/b";
        let sealed = old.seal(b"x".to_vec(), key).expect("sealed");
        assert_eq!(new.open(&sealed, key), Some(Ok((b"x".to_vec(), true))));
        assert_eq!(after.open(&sealed, key), Some(Err(Error::NoKey("AES"))));
    }

    #[test]
    fn the_more_specific_resource_counts() {
        let encryption = encryption(&format!(
            "- {{resources: [secrets], providers: [{{identity: {{}}}}]}}\n- {{resources: ['*.apps'], providers: [{{aesgcm: {{keys: [{KEY1}]}}}}]}}\n- {{resources: ['*.*'], providers: [{{secretbox: {{keys: [{KEY1}]}}}}]}}"
        ));
        let prefix = |key: &str| {
            let sealed = encryption.seal(b"x".to_vec(), key).expect("sealed");
            String::from_utf8_lossy(&sealed).split(":v1:").next().unwrap_or_default().to_owned()
        };
        assert_eq!(prefix("/registry/secrets/a/b"), "x");
        assert_eq!(prefix("/registry/deployments/a/b"), "k8s:enc:aesgcm");
        assert_eq!(prefix("/registry/services/specs/a/b"), "k8s:enc:secretbox");
        assert_eq!(prefix("/registry/example.com/widgets/a/b"), "k8s:enc:secretbox");
        assert_eq!(prefix("/registry/masterleases/10.0.0.1"), "x");
    }

    #[test]
    fn what_upstream_wrote_is_read() {
        let encryption =
            encryption(&format!("- {{resources: [secrets], providers: [{{aescbc: {{keys: [{KEY1}]}}}}]}}"));
        let mut sealed = b"k8s:enc:aescbc:v1:key1:".to_vec();
        sealed.extend(UPSTREAM);
        assert_eq!(
            encryption.open(&sealed, "/registry/secrets/a/b"),
            Some(Ok((b"hello from upstream".to_vec(), false)))
        );
    }

    /// The vector 0, 1, … 15, then two blocks that Go made.
    const UPSTREAM: &[u8] = b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\xf6\x45\x42\x87\xb1\x07\xdb\xe2\x8d\x03\x64\x3c\x7f\xae\x94\x53\xd4\x81\x2c\x03\xc3\xc7\x04\xbf\xee\x5d\xb1\xd7\xb9\x83\x5a\x95";
}
