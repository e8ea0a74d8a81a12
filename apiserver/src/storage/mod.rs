//! Objects in etcd, laid out as upstream does, so that a cluster's data can be taken over and given back.
//!
//! Invariants:
//! - A key is `<--etcd-prefix>/<row's prefix>[/<namespace>]/<name>`; its value one object in the row's stored version,
//!   in a JSON or protobuf envelope, without `metadata.resourceVersion`, which is the key's mod revision.
//! - Every write is one transaction on one key, conditional on the revision its writer saw.

mod channel;
pub mod codec;
pub mod compact;
pub mod encryption;
pub mod etcd;
pub mod keys;
pub mod lease;

/// Why etcd could not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The revision is compacted away.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
    /// The revision is not there yet.
    #[error("etcdserver: mvcc: required revision is a future revision")]
    Future,
    /// The value is too large for etcd.
    #[error("etcdserver: request is too large")]
    TooLarge,
    /// The value can't be encrypted.
    #[error("unable to transform the value: {0}")]
    Encryption(#[from] encryption::Error),
    /// etcd can't be reached or refuses.
    #[error("{0}")]
    Unavailable(String),
}

impl From<etcd_client::Error> for Error {
    fn from(error: etcd_client::Error) -> Self {
        let etcd_client::Error::GRpcStatus(status) = &error else {
            return Error::Unavailable(error.to_string());
        };
        let message = status.message();
        if message.contains("has been compacted") {
            Error::Compacted
        } else if message.contains("is a future revision") {
            Error::Future
        } else if message.contains("request is too large") || message.contains("larger than max") {
            Error::TooLarge
        } else {
            Error::Unavailable(message.to_owned())
        }
    }
}
