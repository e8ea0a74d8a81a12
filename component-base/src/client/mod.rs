//! The client of the API server.
//!
//! It speaks JSON over one shared HTTP/2 connection. Bodies are serde types chosen by the caller: a slim
//! struct for what is read, a [`serde_json::Value`] for what is edited by path. Requests wait for the
//! client-side rate limit; those that the server asks to repeat (429 and 5xx with `Retry-After`) are.

mod config;
mod limit;
mod resource;
mod transport;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use proto::meta::ListMeta;
use proto::status::Status;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use config::{Auth, Config, ConfigError, Source, TokenProvider};
pub use resource::{Resource, encode, known, query};

use crate::metrics::Family;

/// How often a request is repeated because the server asked for it.
const MAX_RETRIES: u32 = 10;

static REQUESTS: Family = Family::counter(
    "rest_client_requests_total",
    "[ALPHA] Number of HTTP requests, partitioned by status code, method, and host.",
    &["code", "host", "method"],
);
static RETRIES: Family = Family::counter(
    "rest_client_request_retries_total",
    "[ALPHA] Number of request retries, partitioned by status code, verb, and host.",
    &["code", "host", "verb"],
);
static LATENCY: Family = Family::histogram(
    "rest_client_request_duration_seconds",
    "[ALPHA] Request latency in seconds. Broken down by verb, and host.",
    &["host", "verb"],
    &[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0],
);

const JSON: &str = "application/json";

/// A request that failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The server's answer.
    #[error("{}", .0.message)]
    Api(Box<Status>),
    /// No answer.
    #[error("{0}")]
    Transport(String),
    /// No answer in time.
    #[error("the request timed out")]
    Timeout,
    /// An answer that can't be read, or a request that can't be written.
    #[error("{0}")]
    Decode(String),
}

impl Error {
    /// The server's answer, if it gave one.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Api(status) => Some(status),
            _ => None,
        }
    }

    /// Whether the server gave this reason; see [`proto::status::reason`].
    pub fn is(&self, reason: &str) -> bool {
        self.status().is_some_and(|status| status.reason == reason)
    }

    /// The HTTP code of the server's answer; 0 without one.
    pub fn code(&self) -> u16 {
        self.status().map_or(0, |status| status.code)
    }

    /// The object isn't there.
    pub fn is_not_found(&self) -> bool {
        self.is(proto::status::reason::NOT_FOUND)
    }

    /// The object has changed.
    pub fn is_conflict(&self) -> bool {
        self.is(proto::status::reason::CONFLICT)
    }

    /// The object is there already.
    pub fn is_already_exists(&self) -> bool {
        self.is(proto::status::reason::ALREADY_EXISTS)
    }

    /// The revision is too old to start from.
    pub fn is_expired(&self) -> bool {
        self.is(proto::status::reason::EXPIRED) || self.is(proto::status::reason::GONE) || self.code() == 410
    }

    /// The namespace is going away.
    pub fn is_namespace_terminating(&self) -> bool {
        let causes =
            self.status().and_then(|status| status.details.as_deref()).map(|details| &details.causes);
        self.code() == 403
            && causes.is_some_and(|causes| causes.iter().any(|cause| cause.reason == "NamespaceTerminating"))
    }
}

/// A list of objects.
#[derive(Debug, Clone, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub struct List<T> {
    /// The revision, and where the next page starts.
    #[serde(default)]
    pub metadata: ListMeta,
    /// The objects.
    #[serde(default = "Vec::new", deserialize_with = "proto::meta::nullable")]
    pub items: Vec<T>,
}

/// What to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ListOptions {
    /// A label selector.
    pub labels: String,
    /// A field selector.
    pub fields: String,
    /// At most this many objects; 0 means all.
    pub limit: u32,
    /// Where the last page ended.
    pub continue_token: String,
    /// The revision to read at; empty means the latest, `0` any.
    pub resource_version: String,
}

impl ListOptions {
    fn query(&self) -> String {
        let limit = if self.limit == 0 { String::new() } else { self.limit.to_string() };
        query(&[
            ("labelSelector", &self.labels),
            ("fieldSelector", &self.fields),
            ("limit", &limit),
            ("continue", &self.continue_token),
            ("resourceVersion", &self.resource_version),
        ])
    }
}

/// What a patch is.
#[derive(Debug, Clone, Copy)]
pub enum Patch<'a> {
    /// RFC 7386.
    Merge,
    /// Upstream's, with merge keys.
    Strategic,
    /// RFC 6902.
    Json,
    /// Server-side apply.
    Apply {
        /// Who owns the fields.
        manager: &'a str,
        /// Take fields from others.
        force: bool,
    },
}

/// How to delete.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteOptions {
    /// The grace period in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_period_seconds: Option<i64>,
    /// `Orphan`, `Background` or `Foreground`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propagation_policy: Option<&'static str>,
    /// What must hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preconditions: Option<Preconditions>,
}

/// What must hold of an object that is deleted.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preconditions {
    /// Its uid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Its revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
}

impl DeleteOptions {
    /// Deletes only the object with this uid.
    pub fn uid(uid: impl Into<String>) -> Self {
        let preconditions = Preconditions { uid: Some(uid.into()), resource_version: None };
        Self { preconditions: Some(preconditions), ..Self::default() }
    }
}

/// A client; clones share its connection and rate limit.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    user_agent: HeaderValue,
    timeout: Option<Duration>,
    limited: bool,
    auth: Arc<Auth>,
}

struct Shared {
    server: String,
    host: String,
    transport: transport::Transport,
    limiter: Option<limit::Limiter>,
    impersonate: Option<(String, Vec<String>)>,
}

impl Client {
    /// A client of the configured server; nothing is sent yet.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let uri: http::Uri = config
            .server
            .parse()
            .map_err(|e| ConfigError::Invalid(format!("server {:?}: {e}", config.server)))?;
        let user_agent = HeaderValue::from_str(&config.user_agent)
            .map_err(|e| ConfigError::Invalid(format!("user agent {:?}: {e}", config.user_agent)))?;
        Ok(Self {
            shared: Arc::new(Shared {
                transport: transport::Transport::new(&config)?,
                limiter: limit::Limiter::new(config.qps, config.burst),
                impersonate: config.impersonate,
                host: uri.authority().map(ToString::to_string).unwrap_or_default(),
                server: config.server,
            }),
            user_agent,
            timeout: config.timeout,
            limited: true,
            auth: Arc::new(config.auth),
        })
    }

    /// The same connection under a user agent that ends in `/part`, as upstream names parts of a daemon.
    pub fn named(&self, part: &str) -> Self {
        let name = format!("{}/{part}", self.user_agent.to_str().unwrap_or("keelson"));
        let user_agent = HeaderValue::from_str(&name).unwrap_or_else(|_| self.user_agent.clone());
        Self { user_agent, ..self.clone() }
    }

    /// The same client with a time limit on each request.
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self.clone() }
    }

    /// The same client, not held back by the rate limit.
    pub fn unlimited(&self) -> Self {
        Self { limited: false, ..self.clone() }
    }

    /// The same connection with other credentials. The client certificate, if any, still applies to the
    /// connection: build such clients from a [`Config`] without one.
    pub fn with_auth(&self, auth: Auth) -> Self {
        Self { auth: Arc::new(auth), ..self.clone() }
    }

    /// Reads certificate files again; requests from now on use new connections.
    pub fn reload(&self) -> Result<(), ConfigError> {
        self.shared.transport.reload()
    }

    /// The server's URL.
    pub fn server(&self) -> &str {
        &self.shared.server
    }

    /// Reads an object.
    pub async fn get<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
    ) -> Result<T, Error> {
        decode(&self.request(Method::GET, &resource.path(namespace, name), None).await?)
    }

    /// Reads one page of objects, or all if there is no limit.
    pub async fn list<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<List<T>, Error> {
        let path = resource.path(namespace, "") + &options.query();
        decode(&self.request(Method::GET, &path, None).await?)
    }

    /// Creates an object.
    pub async fn create<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        namespace: &str,
        object: &impl Serialize,
    ) -> Result<T, Error> {
        decode(&self.request(Method::POST, &resource.path(namespace, ""), Some(json(object)?)).await?)
    }

    /// Posts to a subresource of an object: `binding`, `eviction`, `token`.
    pub async fn create_sub<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        object: &impl Serialize,
    ) -> Result<T, Error> {
        decode(&self.request(Method::POST, &resource.path(namespace, name), Some(json(object)?)).await?)
    }

    /// Replaces an object. Only an object that was read whole may be written back.
    pub async fn update<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        object: &impl Serialize,
    ) -> Result<T, Error> {
        decode(&self.request(Method::PUT, &resource.path(namespace, name), Some(json(object)?)).await?)
    }

    /// Patches an object.
    pub async fn patch<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        kind: Patch<'_>,
        patch: &impl Serialize,
    ) -> Result<T, Error> {
        let mut path = resource.path(namespace, name);
        let media_type = match kind {
            Patch::Merge => "application/merge-patch+json",
            Patch::Strategic => "application/strategic-merge-patch+json",
            Patch::Json => "application/json-patch+json",
            Patch::Apply { manager, force } => {
                path += &query(&[("fieldManager", manager), ("force", if force { "true" } else { "" })]);
                "application/apply-patch+yaml"
            }
        };
        let (_, body) = json(patch)?;
        decode(&self.request(Method::PATCH, &path, Some((media_type, body))).await?)
    }

    /// Deletes an object.
    pub async fn delete(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<(), Error> {
        let path = resource.path(namespace, name);
        self.request(Method::DELETE, &path, Some(json(options)?)).await.map(drop)
    }

    /// Deletes all objects that the options select.
    pub async fn delete_collection(
        &self,
        resource: &Resource,
        namespace: &str,
        select: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<(), Error> {
        let path = resource.path(namespace, "") + &select.query();
        self.request(Method::DELETE, &path, Some(json(options)?)).await.map(drop)
    }

    /// Sends any request and reads the whole answer; an answer that isn't 2xx is an error.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Bytes)>,
    ) -> Result<Bytes, Error> {
        if self.limited
            && let Some(limiter) = &self.shared.limiter
        {
            limiter.wait().await;
        }
        let work = async {
            let response = self.send(method, path, body, JSON).await?;
            let body = response.into_body().collect().await.map_err(|e| Error::Transport(describe(&e)))?;
            Ok(body.to_bytes())
        };
        match self.timeout {
            Some(limit) => tokio::time::timeout(limit, work).await.unwrap_or(Err(Error::Timeout)),
            None => work.await,
        }
    }

    /// Opens a stream: the answer's body is left to the caller. Not rate-limited and without time limit.
    pub async fn stream(&self, path: &str) -> Result<Incoming, Error> {
        self.stream_as(path, JSON).await
    }

    /// Opens a stream in the form that `accept` asks for.
    pub async fn stream_as(&self, path: &str, accept: &'static str) -> Result<Incoming, Error> {
        Ok(self.send(Method::GET, path, None, accept).await?.into_body())
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Bytes)>,
        accept: &'static str,
    ) -> Result<Response<Incoming>, Error> {
        let host = self.shared.host.as_str();
        let mut attempt = 0;
        loop {
            let request = self.build(&method, path, &body, accept).await?;
            let start = Instant::now();
            let outcome = self.shared.transport.pool().request(request).await;
            LATENCY.with(&[host, method.as_str()]).observe_since(start);
            let response = match outcome {
                Ok(response) => response,
                Err(error) => {
                    REQUESTS.with(&["<error>", host, method.as_str()]).inc();
                    self.shared.transport.reload_if_changed();
                    let path = path.split('?').next().unwrap_or_default();
                    let text = describe(&error);
                    return Err(Error::Transport(format!("{method} {}{path}: {text}", self.shared.server)));
                }
            };
            let code = response.status();
            REQUESTS.with(&[code.as_str(), host, method.as_str()]).inc();
            if code.is_success() {
                return Ok(response);
            }
            attempt += 1;
            if code == StatusCode::UNAUTHORIZED && attempt == 1 && self.shared.transport.reload_if_changed() {
                continue;
            }
            let retry_after: Option<u64> =
                response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            let repeat = code == StatusCode::TOO_MANY_REQUESTS || code.is_server_error();
            match retry_after {
                // A 429 of the eviction subresource is an answer, not overload; it carries no Retry-After header of 1s or more
                // unless the server wants it repeated, and upstream's client repeats it too.
                Some(seconds) if repeat && attempt <= MAX_RETRIES => {
                    RETRIES.with(&[code.as_str(), host, method.as_str()]).inc();
                    tokio::time::sleep(Duration::from_secs(seconds)).await;
                }
                _ => return Err(Error::Api(Box::new(read_status(response).await))),
            }
        }
    }

    async fn build(
        &self,
        method: &Method,
        path: &str,
        body: &Option<(&'static str, Bytes)>,
        accept: &'static str,
    ) -> Result<Request<transport::Body>, Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.shared.server))
            .header(ACCEPT, accept)
            .header(USER_AGENT, &self.user_agent);
        if let Some(value) = self.authorization().await? {
            request = request.header(AUTHORIZATION, value);
        }
        if let Some((user, groups)) = &self.shared.impersonate {
            request = request.header("Impersonate-User", user);
            for group in groups {
                request = request.header("Impersonate-Group", group);
            }
        }
        if let Some((media_type, _)) = body {
            request = request.header(CONTENT_TYPE, *media_type);
        }
        let bytes = body.as_ref().map(|(_, bytes)| bytes.clone()).unwrap_or_default();
        request.body(Full::new(bytes)).map_err(|e| Error::Decode(e.to_string()))
    }

    async fn authorization(&self) -> Result<Option<HeaderValue>, Error> {
        use base64::Engine;
        let text = match &*self.auth {
            Auth::None => return Ok(None),
            Auth::Token(token) => format!("Bearer {token}"),
            Auth::TokenFile(path) => {
                let token = std::fs::read_to_string(path)
                    .map_err(|e| Error::Transport(format!("token file {}: {e}", path.display())))?;
                format!("Bearer {}", token.trim())
            }
            Auth::Basic(user, password) => {
                format!(
                    "Basic {}",
                    base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))
                )
            }
            Auth::Provider(provide) => format!("Bearer {}", provide().await.map_err(Error::Transport)?),
        };
        let mut value =
            HeaderValue::from_str(&text).map_err(|e| Error::Transport(format!("credentials: {e}")))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

fn json(object: &impl Serialize) -> Result<(&'static str, Bytes), Error> {
    let bytes = serde_json::to_vec(object).map_err(|e| Error::Decode(e.to_string()))?;
    Ok(("application/json", bytes.into()))
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|e| Error::Decode(format!("reading the server's answer: {e}")))
}

/// Reads an answer that isn't 2xx: a `Status`, or whatever a proxy in between wrote.
async fn read_status(response: Response<Incoming>) -> Status {
    let code = response.status();
    let body = match response.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => Bytes::new(),
    };
    match serde_json::from_slice::<Status>(&body) {
        Ok(mut status) if status.code != 0 || !status.message.is_empty() => {
            status.code = code.as_u16();
            status
        }
        _ => {
            let text = String::from_utf8_lossy(&body[..body.len().min(1024)]).trim().to_owned();
            let reason = match code.as_u16() {
                401 => proto::status::reason::UNAUTHORIZED,
                403 => proto::status::reason::FORBIDDEN,
                404 => proto::status::reason::NOT_FOUND,
                409 => proto::status::reason::CONFLICT,
                410 => proto::status::reason::GONE,
                429 => proto::status::reason::TOO_MANY_REQUESTS,
                503 => proto::status::reason::SERVICE_UNAVAILABLE,
                _ => "",
            };
            let text = if text.is_empty() { format!("the server answered {code}") } else { text };
            Status::failure(code.as_u16(), reason, text)
        }
    }
}

/// An error with its causes, which hyper keeps out of its own text.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
