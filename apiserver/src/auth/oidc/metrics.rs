//! What is told about issuers and about the configuration, under upstream's names.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use component_base::metrics::{Family, Type};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

static LATENCY: Family = Family::histogram(
    "apiserver_authentication_jwt_authenticator_latency_seconds",
    "Time it takes to check a token that is not remembered.",
    &["result", "jwt_issuer_hash"],
    &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
);
static FETCHED: Family = Family::new(
    "apiserver_authentication_jwt_authenticator_jwks_fetch_last_timestamp_seconds",
    "When an issuer's keys were last fetched, by result.",
    Type::Gauge,
    &["result", "jwt_issuer_hash", "apiserver_id_hash"],
);
static KEY_SET: Family = Family::new(
    "apiserver_authentication_jwt_authenticator_jwks_fetch_last_key_set_info",
    "The hash of an issuer's keys that were last fetched.",
    Type::Gauge,
    &["jwt_issuer_hash", "apiserver_id_hash", "hash"],
);
static RELOADS: Family = Family::counter(
    "apiserver_authentication_config_controller_automatic_reloads_total",
    "How often the changed configuration was read, by status.",
    &["status", "apiserver_id_hash"],
);
static RELOADED: Family = Family::gauge(
    "apiserver_authentication_config_controller_automatic_reload_last_timestamp_seconds",
    "When the changed configuration was last read, by status.",
    &["status", "apiserver_id_hash"],
);
static CONFIG: Family = Family::gauge(
    "apiserver_authentication_config_controller_last_config_info",
    "The hash of the configuration in use.",
    &["apiserver_id_hash", "hash"],
);

/// A hash as labels show it.
pub(super) fn hash(data: &[u8]) -> String {
    if data.is_empty() {
        return String::new();
    }
    format!("sha256:{}", hex(&Sha256::digest(data)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hash of this server's identity.
fn server() -> &'static str {
    static SERVER: OnceLock<String> = OnceLock::new();
    SERVER.get_or_init(|| hash(identity(&component_base::daemon::hostname()).as_bytes()))
}

/// The identity of the server on a host, which upstream makes from the host's name.
fn identity(hostname: &str) -> String {
    let mut hasher = Sha256::new();
    for part in [hostname, "kube-apiserver"] {
        hasher.update(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
        hasher.update(part);
    }
    let digest = hasher.finalize();
    let bits = digest.iter().take(16).fold(0u128, |bits, byte| (bits << 8) | u128::from(*byte));
    // 26 letters of five bits: two bits of zeros are added to the 128.
    let letter = |at: u32| {
        let five = if at == 25 { bits << 2 } else { bits >> (123 - 5 * at) };
        char::from(b"abcdefghijklmnopqrstuvwxyz234567"[(five & 31) as usize])
    };
    format!("apiserver-{}", (0..26).map(letter).collect::<String>())
}

fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn result_of(is_good: bool) -> &'static str {
    if is_good { "success" } else { "failure" }
}

/// A token was checked.
pub(super) fn checked(issuer_hash: &str, is_good: bool, took: Duration) {
    LATENCY.with(&[result_of(is_good), issuer_hash]).observe_duration(took);
}

/// The hashes of issuers, and of their keys as they were last fetched.
static HASHES: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// What is told of the fetches of one issuer's keys.
pub(super) struct Fetches {
    issuer: String,
}

impl Fetches {
    /// Of the issuer's keys.
    pub(super) fn new(issuer: &str) -> Fetches {
        Fetches { issuer: hash(issuer.as_bytes()) }
    }

    /// Keys were fetched, or could not be.
    pub(super) fn record(&self, keys: Option<&[u8]>) {
        if let Some(keys) = keys {
            let keys = hash(keys);
            let before = HASHES.lock().insert(self.issuer.clone(), keys.clone());
            if let Some(before) = before.filter(|before| *before != keys) {
                KEY_SET.remove(&[&self.issuer, server(), &before]);
            }
            KEY_SET.with(&[&self.issuer, server(), &keys]).set(1.0);
        }
        FETCHED.with(&[result_of(keys.is_some()), &self.issuer, server()]).set(now());
    }
}

/// An issuer is no longer configured.
pub(super) fn forget(issuer: &str) {
    let issuer = hash(issuer.as_bytes());
    if let Some(keys) = HASHES.lock().remove(&issuer) {
        KEY_SET.remove(&[&issuer, server(), &keys]);
    }
    for is_good in [true, false] {
        FETCHED.remove(&[result_of(is_good), &issuer, server()]);
    }
}

/// A configuration is in use, in the place of the one before.
pub(super) fn configured(content: &[u8], before: &[u8]) {
    CONFIG.remove(&[server(), &hash(before)]);
    CONFIG.with(&[server(), &hash(content)]).set(1.0);
}

/// The changed configuration was read.
pub(super) fn reloaded(is_good: bool) {
    RELOADS.with(&[result_of(is_good), server()]).inc();
    RELOADED.with(&[result_of(is_good), server()]).set(now());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_upstreams() {
        assert_eq!(identity("a"), "apiserver-2tpgmlbwcz6wvzejdfn7mej2p4");
        assert_eq!(hash(b""), "");
        assert!(hash(b"x").starts_with("sha256:2d711642b726b044"));
    }
}
