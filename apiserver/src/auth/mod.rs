//! Who asks, what for, and whether they may: the types that the filter chain and the implementations share.
//!
//! Invariants: an [`Authenticator`] answers `Ok(None)` when the request carries nothing it understands; an
//! [`Authorizer`] answers [`Decision::NoOpinion`] when it does not know, and only all of a chain's having no opinion
//! means a refusal.

pub mod authn;
pub mod authz;
pub mod impersonation;
pub mod node;
pub mod objects;
pub mod oidc;
pub mod options;
pub mod rbac;
pub mod review;
pub mod service_account;
pub mod text;

pub use options::{AuthOptions, AuthStack, build};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use proto::{fields, labels};
use rustls_pki_types::CertificateDer;

/// The group of everyone who proved an identity.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of everyone who did not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The user name of those who did not.
pub const ANONYMOUS: &str = "system:anonymous";
/// The group that may do everything.
pub const MASTERS: &str = "system:masters";

/// Who makes a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// User name.
    pub name: String,
    /// Unique id, if the authenticator knows one.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
    /// What else the authenticator tells, by lower-case key.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// A user known by name and groups only.
    pub fn new(name: impl Into<String>, groups: impl IntoIterator<Item = String>) -> Self {
        UserInfo { name: name.into(), groups: groups.into_iter().collect(), ..UserInfo::default() }
    }

    /// The user of requests without credentials.
    pub fn anonymous() -> Self {
        UserInfo::new(ANONYMOUS, [UNAUTHENTICATED.to_owned()])
    }

    /// The identity of the server's own requests.
    pub fn loopback() -> Self {
        UserInfo::new("system:apiserver", [MASTERS.to_owned(), AUTHENTICATED.to_owned()])
    }

    /// Whether the user is in the group.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}

/// The other end of a connection, shared by its requests.
#[derive(Debug)]
pub struct Peer {
    /// Where it connects from.
    pub address: SocketAddr,
    /// The chain it presented, leaf first; its possession of the leaf's key is proven, the chain is not yet verified.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Room for the client-certificate authenticator to remember its verdict for this connection.
    pub verified: parking_lot::Mutex<Option<VerifiedPeer>>,
    /// Cancelled when the connection shall end once its requests are answered.
    pub leave: tokio_util::sync::CancellationToken,
}

/// A remembered verdict on a client certificate.
#[derive(Debug, Clone)]
pub struct VerifiedPeer {
    /// Which state of the trusted CAs it was made against.
    pub generation: u64,
    /// When the chain stops being valid, in seconds of Unix time.
    pub not_after: i64,
    /// The identity.
    pub user: Arc<UserInfo>,
}

/// What an authenticator may look at.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Method.
    pub method: &'a http::Method,
    /// Target.
    pub uri: &'a http::Uri,
    /// Headers.
    pub headers: &'a http::HeaderMap,
    /// Connection.
    pub peer: &'a Peer,
}

/// An identity that was established.
#[derive(Debug, Clone)]
pub struct Authenticated {
    /// Who.
    pub user: Arc<UserInfo>,
    /// Audiences the credential is good for; empty when it is not bound to any.
    pub audiences: Vec<String>,
}

/// Why credentials are refused. Clients see only `Unauthorized`; this goes to the log.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Rejected(pub String);

/// Establishes who makes a request.
pub trait Authenticator: Send + Sync {
    /// `Ok(None)`: no credentials of this kind. `Err`: credentials of this kind that are not good.
    fn authenticate<'a>(
        &'a self,
        request: Request<'a>,
    ) -> BoxFuture<'a, Result<Option<Authenticated>, Rejected>>;
}

/// Checks bearer tokens, for requests and for TokenReview.
pub trait TokenAuthenticator: Send + Sync {
    /// Like [`Authenticator::authenticate`], for a token meant for one of these audiences (empty: the server's own).
    fn authenticate_token<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Result<Option<Authenticated>, Rejected>>;
}

/// What is to be done, as authorizers see it.
#[derive(Debug, Clone, Default)]
pub struct Attributes {
    /// Who.
    pub user: Arc<UserInfo>,
    /// API verb (`get`, `list`, …), or the lower-case HTTP method of a non-resource request.
    pub verb: String,
    /// Whether it is about a resource (else `path` counts).
    pub resource_request: bool,
    /// API group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Plural resource.
    pub resource: String,
    /// Subresource.
    pub subresource: String,
    /// Namespace.
    pub namespace: String,
    /// Object name.
    pub name: String,
    /// Path of a non-resource request.
    pub path: String,
    /// Field selector of a list, watch or deletecollection.
    pub field_selector: fields::Selector,
    /// Label selector of a list, watch or deletecollection.
    pub label_selector: labels::Selector,
}

impl Attributes {
    /// Whether the verb only reads.
    pub fn is_read_only(&self) -> bool {
        matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

/// What an authorizer thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Allowed; nobody else is asked.
    Allow,
    /// Denied; nobody else is asked.
    Deny,
    /// Ask the next.
    NoOpinion,
}

/// A decision, with its reason for people.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// The decision.
    pub decision: Decision,
    /// Why; may be empty.
    pub reason: String,
}

impl Verdict {
    /// Allowed for this reason.
    pub fn allow(reason: impl Into<String>) -> Self {
        Verdict { decision: Decision::Allow, reason: reason.into() }
    }

    /// Denied for this reason.
    pub fn deny(reason: impl Into<String>) -> Self {
        Verdict { decision: Decision::Deny, reason: reason.into() }
    }

    /// No opinion, for this reason.
    pub fn no_opinion(reason: impl Into<String>) -> Self {
        Verdict { decision: Decision::NoOpinion, reason: reason.into() }
    }
}

/// One rule a user is known to have, for SelfSubjectRulesReview.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// Verbs.
    pub verbs: Vec<String>,
    /// API groups; empty with `non_resource_urls`.
    pub groups: Vec<String>,
    /// Resources.
    pub resources: Vec<String>,
    /// Names; empty means all.
    pub resource_names: Vec<String>,
    /// Paths, for rules that are not about resources.
    pub non_resource_urls: Vec<String>,
}

/// All known rules of a user in a namespace.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The rules.
    pub rules: Vec<Rule>,
    /// Whether there may be more.
    pub incomplete: bool,
    /// Why there may be more.
    pub error: String,
}

/// Decides what a user may do.
pub trait Authorizer: Send + Sync {
    /// Decides.
    fn authorize<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Verdict>;

    /// Lists what the user may do in the namespace.
    fn rules<'a>(&'a self, user: &'a UserInfo, namespace: &'a str) -> BoxFuture<'a, Rules>;
}
