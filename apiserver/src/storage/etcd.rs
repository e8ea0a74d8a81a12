//! The few etcd operations the server needs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, GetOptions, Identity, KvClient, LeaseClient,
    PutOptions, TlsOptions, Txn, TxnOp, TxnOpResponse, WatchClient, WatchOptions, WatchStream,
};

use super::Error;
use super::channel::Whole;
use super::encryption::Encryption;

/// One key's value.
#[derive(Debug, Clone)]
pub struct Kv {
    /// Key.
    pub key: String,
    /// Value.
    pub value: Bytes,
    /// Mod revision.
    pub revision: i64,
    /// Lease, or 0.
    pub lease: i64,
    /// Whether the value should be written anew, even unchanged: it is encrypted in an outdated way.
    pub stale: bool,
}

impl From<etcd_client::KeyValue> for Kv {
    fn from(kv: etcd_client::KeyValue) -> Self {
        let (revision, lease) = (kv.mod_revision(), kv.lease());
        let (key, value) = kv.into_key_value();
        // Keys are made from checked names, so they are text; a foreign key that is not can't match any object.
        let key =
            String::from_utf8(key).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
        Kv { key, value: Bytes::from(value), revision, lease, stale: false }
    }
}

impl Kv {
    /// A copy of a borrowed value.
    fn copy(kv: &etcd_client::KeyValue) -> Self {
        Kv {
            key: String::from_utf8_lossy(kv.key()).into_owned(),
            value: Bytes::copy_from_slice(kv.value()),
            revision: kv.mod_revision(),
            lease: kv.lease(),
            stale: false,
        }
    }
}

/// Part of a range of keys.
#[derive(Debug)]
pub struct Page {
    /// Keys in order.
    pub kvs: Vec<Kv>,
    /// The store's revision when it was read.
    pub revision: i64,
    /// Whether there are more.
    pub more: bool,
    /// How many keys the range has from `start` on.
    pub count: i64,
}

/// How a conditional write ended.
#[derive(Debug)]
pub enum Written {
    /// Stored at this revision.
    Done(i64),
    /// The key was not as expected: this is what is there.
    Lost(Option<Kv>),
}

/// How an attempt to raise a key's version ended.
#[derive(Debug)]
pub struct Raised {
    /// Whether the version was the expected one.
    pub won: bool,
    /// The key's version now.
    pub version: i64,
    /// The key's value now.
    pub value: String,
    /// The store's revision.
    pub revision: i64,
}

/// How to reach etcd.
#[derive(Debug, Clone, Default)]
pub struct Servers {
    /// URLs.
    pub urls: Vec<String>,
    /// PEM of the CAs that etcd's certificate is checked against.
    pub ca: Option<Vec<u8>>,
    /// PEM of the client certificate and its key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// A member of etcd that takes longer for a key is stopped or cut off; so is one that takes longer for a page.
const ATTEMPT: Duration = Duration::from_millis(1500);
const PAGE_ATTEMPT: Duration = Duration::from_secs(6);
/// How often that may be so; the last attempt takes as long as it takes.
const ATTEMPTS: usize = 6;

/// Reads; anew if there is no answer in time, for another member may answer.
async fn again<T, F>(time: Duration, read: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, etcd_client::Error>>,
{
    for _ in 1..ATTEMPTS {
        if let Ok(answer) = tokio::time::timeout(time, read()).await {
            return Ok(answer?);
        }
    }
    Ok(read().await?)
}

/// A client; clones share connections.
#[derive(Clone)]
pub struct Etcd {
    kv: KvClient,
    watch: WatchClient,
    lease: LeaseClient,
    encryption: Option<Arc<Encryption>>,
}

impl Etcd {
    /// Prepares connections; they are made when first needed.
    pub async fn connect(servers: &Servers) -> Result<Self, Error> {
        let mut options = ConnectOptions::new()
            // A member that is cut off is given up after 15 s, not after upstream's 40; etcd allows a ping in 5 s.
            .with_keep_alive(Duration::from_secs(10), Duration::from_secs(5))
            // etcd takes pings on idle connections for an attack.
            .with_keep_alive_while_idle(false)
            .with_connect_timeout(Duration::from_secs(20));
        if servers.urls.iter().any(|u| u.starts_with("https://")) || servers.ca.is_some() {
            let mut tls = TlsOptions::new();
            if let Some(ca) = &servers.ca {
                tls = tls.ca_certificate(Certificate::from_pem(ca));
            }
            if let Some((cert, key)) = &servers.identity {
                tls = tls.identity(Identity::from_pem(cert, key));
            }
            options = options.with_tls(tls);
        }
        let client = Client::connect_with_balanced_channel(&servers.urls, Some(options), Whole).await?;
        Ok(Etcd {
            kv: client.kv_client().max_decoding_message_size(usize::MAX),
            watch: client.watch_client().max_decoding_message_size(usize::MAX),
            lease: client.lease_client(),
            encryption: None,
        })
    }

    /// The same client, which encrypts values on their way.
    pub fn with_encryption(mut self, encryption: Option<Arc<Encryption>>) -> Self {
        self.encryption = encryption;
        self
    }

    /// A value from etcd as it was before it was encrypted. One that can't be decrypted stays as it is, and decodes to nothing.
    fn open(&self, mut kv: Kv) -> Kv {
        let opened = self.encryption.as_ref().and_then(|encryption| encryption.open(&kv.value, &kv.key));
        match opened {
            None => {}
            Some(Ok((value, stale))) => (kv.value, kv.stale) = (value.into(), stale),
            Some(Err(error)) => tracing::error!(key = %kv.key, %error, "unable to transform a value of etcd"),
        }
        kv
    }

    /// A value that a watch has brought.
    pub fn copy(&self, kv: &etcd_client::KeyValue) -> Kv {
        self.open(Kv::copy(kv))
    }

    /// Reads a key linearizably, with the store's revision.
    pub async fn get(&self, key: &str) -> Result<(Option<Kv>, i64), Error> {
        let mut response = again(ATTEMPT, || async { self.kv.clone().get(key, None).await }).await?;
        let revision = response.header().map_or(0, |h| h.revision());
        let kv = response.take_kvs().into_iter().next().map(Kv::from);
        Ok((kv.map(|kv| self.open(kv)), revision))
    }

    /// The store's revision, linearizably.
    pub async fn revision(&self, key: &str) -> Result<i64, Error> {
        let options = GetOptions::new().with_count_only();
        let response =
            again(ATTEMPT, || async { self.kv.clone().get(key, Some(options.clone())).await }).await?;
        Ok(response.header().map_or(0, |h| h.revision()))
    }

    /// Reads keys from `start` up to (not including) `end`; at a revision if it is not 0, else as they are now.
    pub async fn range(&self, start: &str, end: &str, limit: i64, revision: i64) -> Result<Page, Error> {
        let options = GetOptions::new().with_range(end).with_limit(limit).with_revision(revision);
        let mut response =
            again(PAGE_ATTEMPT, || async { self.kv.clone().get(start, Some(options.clone())).await }).await?;
        Ok(Page {
            revision: response.header().map_or(0, |h| h.revision()),
            more: response.more(),
            count: response.count(),
            kvs: response.take_kvs().into_iter().map(|kv| self.open(kv.into())).collect(),
        })
    }

    /// Writes a key if its mod revision is as expected (0: if it is absent).
    pub async fn put(&self, key: &str, expected: i64, value: Vec<u8>, lease: i64) -> Result<Written, Error> {
        let value = match &self.encryption {
            Some(encryption) => encryption.seal(value, key)?,
            None => value,
        };
        let options = (lease != 0).then(|| PutOptions::new().with_lease(lease));
        self.write(key, expected, TxnOp::put(key, value, options)).await
    }

    /// Deletes a key if its mod revision is as expected.
    pub async fn delete(&self, key: &str, expected: i64) -> Result<Written, Error> {
        self.write(key, expected, TxnOp::delete(key, None)).await
    }

    async fn write(&self, key: &str, expected: i64, operation: TxnOp) -> Result<Written, Error> {
        let txn = Txn::new()
            .when([Compare::mod_revision(key, CompareOp::Equal, expected)])
            .and_then([operation])
            .or_else([TxnOp::get(key, None)]);
        let response = self.kv.clone().txn(txn).await?;
        if response.succeeded() {
            return Ok(Written::Done(response.header().map_or(0, |h| h.revision())));
        }
        let current = match response.op_responses().into_iter().next() {
            Some(TxnOpResponse::Get(mut get)) => {
                get.take_kvs().into_iter().next().map(|kv| self.open(kv.into()))
            }
            _ => None,
        };
        Ok(Written::Lost(current))
    }

    /// Writes a key whatever is there.
    pub async fn put_always(&self, key: &str, value: Vec<u8>, lease: i64) -> Result<(), Error> {
        let options = (lease != 0).then(|| PutOptions::new().with_lease(lease));
        self.kv.clone().put(key, value, options).await?;
        Ok(())
    }

    /// Deletes a key whatever is there.
    pub async fn delete_always(&self, key: &str) -> Result<(), Error> {
        self.kv.clone().delete(key, None).await?;
        Ok(())
    }

    /// Watches keys from `start` up to `end`, from a revision on.
    pub async fn watch(
        &self,
        start: &str,
        end: &str,
        from: i64,
        previous: bool,
    ) -> Result<WatchStream, Error> {
        let mut options =
            WatchOptions::new().with_range(end).with_start_revision(from).with_progress_notify();
        if previous {
            options = options.with_prev_key();
        }
        Ok(self.watch.clone().watch(start, Some(options)).await?)
    }

    /// Grants a lease.
    pub async fn grant(&self, seconds: i64) -> Result<i64, Error> {
        Ok(self.lease.clone().grant(seconds, None).await?.id())
    }

    /// Drops history before a revision.
    pub async fn compact(&self, revision: i64) -> Result<(), Error> {
        self.kv.clone().compact(revision, None).await?;
        Ok(())
    }

    /// Raises a key's version from the expected one by writing the value.
    pub async fn raise_version(&self, key: &str, expected: i64, value: String) -> Result<Raised, Error> {
        let txn = Txn::new()
            .when([Compare::version(key, CompareOp::Equal, expected)])
            .and_then([TxnOp::put(key, value.clone(), None)])
            .or_else([TxnOp::get(key, None)]);
        let response = self.kv.clone().txn(txn).await?;
        let revision = response.header().map_or(0, |h| h.revision());
        if response.succeeded() {
            return Ok(Raised { won: true, version: expected + 1, value, revision });
        }
        let (version, value) = match response.op_responses().first() {
            Some(TxnOpResponse::Get(get)) => {
                let kv = get.kvs().first();
                (
                    kv.map_or(0, |kv| kv.version()),
                    kv.and_then(|kv| kv.value_str().ok()).unwrap_or_default().to_owned(),
                )
            }
            _ => (0, String::new()),
        };
        Ok(Raised { won: false, version, value, revision })
    }
}
