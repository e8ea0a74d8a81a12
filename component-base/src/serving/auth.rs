//! Delegated authentication and authorization: who asks is settled by client certificates, a trusted front
//! proxy's headers, or the API server's review of a token; whether they may, by its review of the access.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderMap};
use http::{Method, Request};
use hyper::body::Incoming;
use parking_lot::{Mutex, RwLock};
use proto::status::Status;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client_ca::ClientCa;
use crate::client::Client;
use crate::client::known::{SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS};

/// The group that may do everything.
const MASTERS: &str = "system:masters";
const AUTHENTICATED: &str = "system:authenticated";
/// Remembered reviews; beyond that the old ones are swept.
const REMEMBERED: usize = 1024;

/// Who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct User {
    /// The name.
    pub username: String,
    /// The uid.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The groups.
    #[serde(deserialize_with = "proto::meta::nullable")]
    pub groups: Vec<String>,
    /// More.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "proto::meta::nullable")]
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    fn anonymous() -> Self {
        Self {
            username: "system:anonymous".into(),
            groups: vec!["system:unauthenticated".into()],
            ..Self::default()
        }
    }

    fn authenticated(mut self) -> Self {
        if !self.groups.iter().any(|group| group == AUTHENTICATED) {
            self.groups.push(AUTHENTICATED.into());
        }
        self
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Attributes {
    /// A path.
    Path {
        /// The method in lower case.
        verb: String,
        /// The path.
        path: String,
    },
    /// Access to an API resource, as which some daemons see their own paths.
    Resource {
        /// The verb.
        verb: String,
        /// Group, version and resource.
        group: String,
        /// The version.
        version: String,
        /// The resource.
        resource: String,
        /// The subresource.
        subresource: String,
        /// The name.
        name: String,
    },
}

impl Attributes {
    fn review(&self) -> (&'static str, Value) {
        match self {
            Self::Path { verb, path } => ("nonResourceAttributes", json!({ "verb": verb, "path": path })),
            Self::Resource { verb, group, version, resource, subresource, name } => (
                "resourceAttributes",
                json!({
                    "verb": verb, "group": group, "version": version,
                    "resource": resource, "subresource": subresource, "name": name,
                }),
            ),
        }
    }

    fn refusal(&self, user: &User, reason: &str) -> Status {
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let user = &user.username;
        match self {
            Self::Path { verb, path } => {
                Status::forbidden("", "", "", format!("User {user:?} cannot {verb} path {path:?}{reason}"))
            }
            Self::Resource { verb, group, resource, subresource, name, .. } => {
                let full = if subresource.is_empty() {
                    resource.clone()
                } else {
                    format!("{resource}/{subresource}")
                };
                let why = format!(
                    "User {user:?} cannot {verb} resource {full:?} in API group {group:?} at the cluster scope{reason}"
                );
                Status::forbidden(group, resource, name, why)
            }
        }
    }
}

/// Headers in which a front proxy names the user.
#[derive(Debug, Clone, Default)]
pub struct RequestHeaders {
    /// Common names that proxies may have; any if empty.
    pub allowed_names: Vec<String>,
    /// Headers with the name.
    pub username: Vec<String>,
    /// Headers with the uid.
    pub uid: Vec<String>,
    /// Headers with groups.
    pub groups: Vec<String>,
    /// Prefixes of headers with more.
    pub extra_prefixes: Vec<String>,
}

/// How to delegate.
#[derive(Clone)]
pub struct AuthOptions {
    /// Let those without credentials in, as `system:anonymous`.
    pub anonymous: bool,
    /// Authorities of client certificates.
    pub client_ca: ClientCa,
    /// Authorities of front proxies.
    pub proxy_ca: ClientCa,
    /// What front proxies say.
    pub headers: Arc<RwLock<RequestHeaders>>,
    /// Reviews tokens; without, tokens aren't accepted.
    pub tokens: Option<Client>,
    /// How long token reviews are remembered.
    pub token_ttl: Duration,
    /// Reviews access; without, only the paths and groups below are let through.
    pub access: Option<Client>,
    /// How long allowing reviews are remembered.
    pub allowed_ttl: Duration,
    /// How long denying reviews are remembered.
    pub denied_ttl: Duration,
    /// Paths that need no authorization; a trailing `*` matches the rest.
    pub always_allow: Vec<String>,
    /// Sees a request as access to something, by default to its path. Being allowed any of them is enough.
    pub attributes: Arc<dyn Fn(&Request<Incoming>) -> Vec<Attributes> + Send + Sync>,
}

impl Default for AuthOptions {
    fn default() -> Self {
        Self {
            anonymous: true,
            client_ca: ClientCa::default(),
            proxy_ca: ClientCa::default(),
            headers: Arc::default(),
            tokens: None,
            token_ttl: Duration::from_secs(10),
            access: None,
            allowed_ttl: Duration::from_secs(10),
            denied_ttl: Duration::from_secs(10),
            always_allow: ["/healthz", "/readyz", "/livez"].map(str::to_owned).to_vec(),
            attributes: Arc::new(|request| {
                let verb = request.method().as_str().to_ascii_lowercase();
                vec![Attributes::Path { verb, path: request.uri().path().to_owned() }]
            }),
        }
    }
}

/// What a connection's certificate proves.
#[derive(Default)]
pub(super) struct Peer {
    user: Option<User>,
    is_proxy: bool,
    /// A certificate that proves nothing.
    invalid: bool,
}

type Remembered<T> = Mutex<HashMap<u64, (Instant, T)>>;

/// Delegated authentication and authorization.
pub struct Delegated {
    options: AuthOptions,
    hasher: RandomState,
    tokens: Remembered<Option<User>>,
    access: Remembered<(bool, String)>,
}

impl Delegated {
    /// Delegates as the options say.
    pub fn new(options: AuthOptions) -> Self {
        Self { options, hasher: RandomState::new(), tokens: Mutex::default(), access: Mutex::default() }
    }

    /// What a request asks for.
    pub(super) fn attributes(&self, request: &Request<Incoming>) -> Vec<Attributes> {
        (self.options.attributes)(request)
    }

    /// Whether a user may do any of these; the last refusal otherwise.
    pub(super) async fn authorize_any(&self, user: &User, attributes: &[Attributes]) -> Result<(), Status> {
        let mut refusal = Status::forbidden("", "", "", "nothing is asked for");
        for attributes in attributes {
            match self.authorize(user, attributes).await {
                Ok(()) => return Ok(()),
                Err(status) => refusal = status,
            }
        }
        Err(refusal)
    }

    /// What a connection's certificates prove.
    pub(super) fn identify(&self, chain: Option<&[CertificateDer<'_>]>) -> Peer {
        let Some(chain) = chain.filter(|chain| !chain.is_empty()) else { return Peer::default() };
        let proxy = self.options.proxy_ca.verify(chain);
        let allowed = &self.options.headers.read().allowed_names;
        let is_proxy = proxy.is_some_and(|proxy| allowed.is_empty() || allowed.contains(&proxy.common_name));
        let user = self.options.client_ca.verify(chain).filter(|subject| !subject.common_name.is_empty());
        let user = user.map(|subject| {
            User { username: subject.common_name, groups: subject.organizations, ..User::default() }
                .authenticated()
        });
        Peer { invalid: user.is_none() && !is_proxy, user, is_proxy }
    }

    /// Who asks, or why that can't be said.
    pub(super) async fn authenticate(&self, peer: &Peer, headers: &HeaderMap) -> Result<User, String> {
        if peer.is_proxy
            && let Some(user) = self.options.headers.read().user(headers)
        {
            return Ok(user.authenticated());
        }
        if let Some(user) = &peer.user {
            return Ok(user.clone());
        }
        let mut why = peer.invalid.then(|| "x509: certificate signed by unknown authority".to_owned());
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.split_once(' '));
        if let Some((scheme, token)) = bearer
            && scheme.eq_ignore_ascii_case("bearer")
        {
            match self.review_token(token.trim()).await {
                Ok(Some(user)) => return Ok(user.authenticated()),
                Ok(None) => why = Some("invalid bearer token".to_owned()),
                Err(error) => why = Some(error),
            }
        }
        match why {
            Some(why) => Err(why),
            None if self.options.anonymous => Ok(User::anonymous()),
            None => Err("no credentials".to_owned()),
        }
    }

    async fn review_token(&self, token: &str) -> Result<Option<User>, String> {
        // Without a reviewer every token request is anonymous.
        let Some(client) = &self.options.tokens else {
            return Ok(self.options.anonymous.then(User::anonymous));
        };
        let key = self.hasher.hash_one(token);
        if let Some(known) = recall(&self.tokens, key) {
            return Ok(known);
        }
        let review = json!({ "apiVersion": TOKEN_REVIEWS.api_version(), "kind": "TokenReview", "spec": { "token": token } });
        let review: Value = client.create(&TOKEN_REVIEWS, "", &review).await.map_err(|e| e.to_string())?;
        let status = &review["status"];
        let user = match status["authenticated"].as_bool() {
            Some(true) => Some(serde_json::from_value(status["user"].clone()).map_err(|e| e.to_string())?),
            _ => None,
        };
        remember(&self.tokens, key, self.options.token_ttl, user.clone());
        Ok(user)
    }

    /// Whether a user may; the refusal otherwise.
    async fn authorize(&self, user: &User, attributes: &Attributes) -> Result<(), Status> {
        if let Attributes::Path { path, .. } = attributes
            && self.options.always_allow.iter().any(|allowed| match allowed.strip_suffix('*') {
                Some(prefix) => path.starts_with(prefix),
                None => path == allowed,
            })
        {
            return Ok(());
        }
        if user.groups.iter().any(|group| group == MASTERS) {
            return Ok(());
        }
        let Some(client) = &self.options.access else { return Err(attributes.refusal(user, "")) };
        let key = self.hasher.hash_one((&user.username, &user.uid, &user.groups, &user.extra, attributes));
        let (allowed, reason) = match recall(&self.access, key) {
            Some(known) => known,
            None => {
                let (field, value) = attributes.review();
                let mut spec = json!({ "user": user.username, "uid": user.uid, "groups": user.groups, "extra": user.extra });
                spec[field] = value;
                let review = json!({
                    "apiVersion": SUBJECT_ACCESS_REVIEWS.api_version(), "kind": "SubjectAccessReview", "spec": spec,
                });
                let review: Value =
                    client.create(&SUBJECT_ACCESS_REVIEWS, "", &review).await.map_err(|error| {
                        tracing::error!(err = %error, "Authorization error");
                        Status::failure(
                            500,
                            proto::status::reason::INTERNAL_ERROR,
                            format!("Internal Server Error: {error}"),
                        )
                    })?;
                let status = &review["status"];
                let allowed = status["allowed"].as_bool().unwrap_or(false)
                    && !status["denied"].as_bool().unwrap_or(false);
                let outcome = (allowed, status["reason"].as_str().unwrap_or_default().to_owned());
                let ttl = if allowed { self.options.allowed_ttl } else { self.options.denied_ttl };
                remember(&self.access, key, ttl, outcome.clone());
                outcome
            }
        };
        if allowed { Ok(()) } else { Err(attributes.refusal(user, &reason)) }
    }
}

fn recall<T: Clone>(known: &Remembered<T>, key: u64) -> Option<T> {
    let known = known.lock();
    known.get(&key).filter(|(until, _)| *until > Instant::now()).map(|(_, value)| value.clone())
}

fn remember<T>(known: &Remembered<T>, key: u64, ttl: Duration, value: T) {
    let now = Instant::now();
    let mut known = known.lock();
    if known.len() >= REMEMBERED {
        known.retain(|_, (until, _)| *until > now);
        if known.len() >= REMEMBERED {
            known.clear();
        }
    }
    known.insert(key, (now + ttl, value));
}

impl RequestHeaders {
    /// The user that a front proxy names.
    fn user(&self, headers: &HeaderMap) -> Option<User> {
        let values = |name: &String| {
            headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned)
        };
        let first = |names: &[String]| names.iter().flat_map(values).find(|value| !value.is_empty());
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for prefix in &self.extra_prefixes {
            let prefix = prefix.to_ascii_lowercase();
            for (name, value) in headers {
                if let (Some(key), Ok(value)) = (name.as_str().strip_prefix(&prefix), value.to_str()) {
                    extra.entry(unescape(key)).or_default().push(value.to_owned());
                }
            }
        }
        Some(User {
            username: first(&self.username)?,
            uid: first(&self.uid).unwrap_or_default(),
            groups: self.groups.iter().flat_map(values).collect(),
            extra,
        })
    }
}

/// Undoes percent-encoding; a text that isn't encoded right stays as it is.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let hex =
            (byte == b'%').then(|| tail.get(..2)).flatten().and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(value) => {
                out.push(value);
                rest = &tail[2..];
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

/// The verb under which a method is authorized when a daemon sees its paths as resources.
pub fn verb_of(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> Attributes {
        Attributes::Path { verb: "get".into(), path: path.into() }
    }

    #[tokio::test]
    async fn without_a_reviewer_only_open_paths_and_masters_pass() {
        let delegated = Delegated::new(AuthOptions {
            always_allow: vec!["/healthz".into(), "/open/*".into()],
            ..Default::default()
        });
        let anonymous = User::anonymous();
        assert!(delegated.authorize(&anonymous, &path("/healthz")).await.is_ok());
        assert!(delegated.authorize(&anonymous, &path("/open/x")).await.is_ok());
        let refusal = delegated.authorize(&anonymous, &path("/metrics")).await.unwrap_err();
        assert_eq!(
            (refusal.code, refusal.message.as_str()),
            (403, "forbidden: User \"system:anonymous\" cannot get path \"/metrics\"")
        );
        let master = User { groups: vec![MASTERS.into()], ..User::default() };
        assert!(delegated.authorize(&master, &path("/metrics")).await.is_ok());
    }

    #[tokio::test]
    async fn only_trusted_proxies_may_name_users() {
        let headers = RequestHeaders {
            username: vec!["X-Remote-User".into()],
            groups: vec!["X-Remote-Group".into()],
            extra_prefixes: vec!["X-Remote-Extra-".into()],
            ..Default::default()
        };
        let options = AuthOptions { headers: Arc::new(RwLock::new(headers)), ..Default::default() };
        let delegated = Delegated::new(options);
        let mut map = HeaderMap::new();
        map.insert("x-remote-user", "jane".parse().unwrap());
        map.append("x-remote-group", "a".parse().unwrap());
        map.append("x-remote-group", "b".parse().unwrap());
        map.insert("x-remote-extra-acme%2fx", "y".parse().unwrap());
        let user = delegated.authenticate(&Peer { is_proxy: true, ..Peer::default() }, &map).await.unwrap();
        assert_eq!(
            (user.username.as_str(), user.groups.join(",").as_str()),
            ("jane", "a,b,system:authenticated")
        );
        assert_eq!(user.extra["acme/x"], ["y"]);
        let user = delegated.authenticate(&Peer::default(), &map).await.unwrap();
        assert_eq!(user, User::anonymous());
        assert!(delegated.authenticate(&Peer { invalid: true, ..Peer::default() }, &map).await.is_err());
    }
}
