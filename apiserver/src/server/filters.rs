//! What every request passes, in upstream's order: who is it, acting for whom, is there room, may they, and in what time.

use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CACHE_CONTROL, CONNECTION, HeaderName, HeaderValue, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::body::Incoming;
use jiff::Timestamp;
use proto::status::Status;
use rand::RngExt;
use tokio::sync::OwnedSemaphorePermit;

use super::Response;
use super::inflight::InFlight;
use super::listener::Handler;
use super::metrics::{DURATION, IN_FLIGHT, LONG_RUNNING, REQUESTS};
use super::query::{Query, decode_path};
use super::request_info::RequestInfo;
use crate::audit::{self, Audit, Completion, Subject};
use crate::auth::{Authenticator, Authorizer, Decision, Peer, Request, UserInfo, authz, impersonation};
use crate::endpoints::negotiate::Output;
use crate::endpoints::{App, answer};
use crate::fairness::{Digest, Fairness, Seat};

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// How requests are kept from being too many.
pub enum Limits {
    /// By priority and fairness.
    Fair(Arc<Fairness>),
    /// By their number alone.
    Plain(InFlight),
}

/// A request's right to be served now.
enum Place {
    Seat(#[allow(dead_code, reason = "it is given back when it is dropped")] Seat),
    Plain(#[allow(dead_code, reason = "it is given back when it is dropped")] Option<OwnedSemaphorePermit>),
}

/// The filters, before the application.
pub struct Filters {
    /// What answers in the end.
    pub app: Arc<App>,
    /// Who is it?
    pub authenticator: Arc<dyn Authenticator>,
    /// May they?
    pub authorizer: Arc<dyn Authorizer>,
    /// Is there room?
    pub limits: Limits,
    /// Who asked what?
    pub audit: Option<Arc<Audit>>,
    /// --request-timeout
    pub timeout: Duration,
    /// --goaway-chance
    pub goaway: f64,
    /// The feature ConstrainedImpersonation.
    pub constrained_impersonation: bool,
}

/// A request that has passed the filters.
pub struct Passed {
    /// What it is about.
    pub info: RequestInfo,
    /// Its parameters.
    pub query: Query,
    /// Who makes it.
    pub user: Arc<UserInfo>,
    /// Its connection.
    pub peer: Arc<Peer>,
    /// The request; its body until someone takes it.
    pub request: http::Request<Option<Incoming>>,
}

impl Handler for Filters {
    async fn handle(self: Arc<Self>, peer: Arc<Peer>, request: http::Request<Incoming>) -> Response {
        let start = Instant::now();
        let given = request.headers().get(&AUDIT_ID).filter(|id| !id.is_empty()).cloned();
        let id = given.or_else(|| HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()).ok());
        let id = id.unwrap_or(HeaderValue::from_static(""));
        if self.goaway > 0.0
            && request.version() == http::Version::HTTP_2
            && rand::rng().random_bool(self.goaway)
        {
            peer.leave.cancel();
        }
        let query = Query::parse(request.uri().query());
        let path = request.uri().path();
        let info = RequestInfo::new(request.method(), path, &query);
        let mut response = match info {
            _ if decode_path(path).is_none() => malformed(),
            Ok(info) => {
                // Only what is served counts: whoever asks for anything else must not make series of their own.
                let served = self.app.serves(&info);
                let measured = served.then(|| Measured::new(&info, &query, request.method()));
                let response = self.pass(info, query, peer, request, &id).await;
                match measured {
                    Some(measured) => {
                        measured.finish(response.status().as_u16(), start);
                        if measured.long { response.map(|body| body.holding(measured)) } else { response }
                    }
                    None => response,
                }
            }
            Err(error) => {
                let path = proto::field::quote(path);
                plain(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    format!("Internal Server Error: {path}: failed to create RequestInfo: {error}\n"),
                )
            }
        };
        let headers = response.headers_mut();
        headers.insert(AUDIT_ID, id);
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
        response
    }
}

impl Filters {
    async fn pass(
        &self,
        info: RequestInfo,
        query: Query,
        peer: Arc<Peer>,
        request: http::Request<Incoming>,
        id: &HeaderValue,
    ) -> Response {
        let form = Output::of_failure(request.headers());
        let long = is_long_running(&info, &query);
        let time = match self.time_of(&query) {
            _ if long => self.timeout,
            Ok(time) => time,
            Err(status) => return answer::status(&status, form),
        };
        let user = match self.authenticate(&peer, &request).await {
            Ok(user) => user,
            Err(status) => {
                self.audit_refusal(&info, &query, &peer, &request, id);
                return refused(&status, form);
            }
        };
        let record = self.begin(&user, &info, &peer, &request, id);
        let Some(record) = record else {
            return self.serve(info, query, user, peer, request, time, long).await;
        };
        if let Err(status) = record.received() {
            return answer::status(&status, form);
        }
        let completion = Completion::new(record.clone(), long);
        let mut request = request;
        if record.wants_response() {
            // The answer is read, so it must be readable.
            request.headers_mut().remove(ACCEPT_ENCODING);
        }
        let is_delete = request.method() == http::Method::DELETE;
        let whole = record.wants_response() && !long;
        let serve = self.serve(info, query, user, peer, request, time, long);
        let response = audit::under(Some(record), serve).await;
        let code = response.status();
        let reads = whole || is_delete || code.is_client_error() || code.is_server_error();
        let (response, object) =
            if reads { audit::read_answer(response, whole).await } else { (response, None) };
        completion.answered(code.as_u16(), object);
        response.map(|body| body.holding(completion))
    }

    /// Everything once it is known who asks.
    #[allow(clippy::too_many_arguments)]
    async fn serve(
        &self,
        info: RequestInfo,
        query: Query,
        user: Arc<UserInfo>,
        peer: Arc<Peer>,
        request: http::Request<Incoming>,
        time: Duration,
        long: bool,
    ) -> Response {
        let form = Output::of_failure(request.headers());
        let asked = || authz::attributes(&info, &query, user.clone());
        let (constrained, authorizer) = (self.constrained_impersonation, &*self.authorizer);
        let user = match impersonation::impersonated(request.headers(), asked, constrained, authorizer).await
        {
            Ok(None) => user,
            Ok(Some(acting)) => {
                audit::current(|record| record.impersonated(&acting.user, acting.constraint));
                Arc::new(acting.user)
            }
            Err(status) => return refused(&status, form),
        };
        let is_watch = info.verb == "watch";
        let place = match self.enter(&info, &query, &user, time, long && !is_watch).await {
            Ok(place) => place,
            Err(response) => return response,
        };
        if let Err(status) = self.authorize(&info, &query, user.clone()).await {
            return marked(refused(&status, form), &place);
        }
        let watching = match &self.limits {
            Limits::Fair(fairness) if is_watch => Some(fairness.watching(&info, &query)),
            _ => None,
        };
        let passed = Passed { info, query, user, peer, request: request.map(Some) };
        let answer = self.app.clone().answer(passed);
        let response = if long {
            answer.await
        } else {
            match tokio::time::timeout(time, answer).await {
                Ok(response) => response,
                Err(_) => {
                    let late = Status::timeout("request did not complete within the allotted timeout", 0);
                    answer::status(&late, form)
                }
            }
        };
        // A watch has its place only until it is under way.
        let response = marked(response, &place);
        if watching.is_some() { response.map(|body| body.holding(watching)) } else { response }
    }

    /// The time a request has that doesn't last as long as its client wants.
    fn time_of(&self, query: &Query) -> Result<Duration, Status> {
        let Some(text) = query.non_empty("timeout") else { return Ok(self.timeout) };
        match proto::time::Duration::from_str(text) {
            Ok(wanted) if wanted.nanos > 0 => Ok(wanted.to_std().min(self.timeout)),
            Ok(_) => Ok(self.timeout),
            Err(error) => {
                Err(Status::bad_request(format!("invalid timeout specified in the request URL - {error}")))
            }
        }
    }

    /// Waits for a place. Long requests other than watches need none.
    async fn enter(
        &self,
        info: &RequestInfo,
        query: &Query,
        user: &Arc<UserInfo>,
        time: Duration,
        exempt: bool,
    ) -> Result<Place, Response> {
        match &self.limits {
            _ if exempt => Ok(Place::Plain(None)),
            Limits::Fair(fairness) => {
                let entered = fairness.enter(Digest { info, query, user }, time).await;
                entered.map(Place::Seat).map_err(|refused| {
                    let mut response = too_many(refused.seconds);
                    refused.headers(response.headers_mut());
                    response
                })
            }
            Limits::Plain(_) if info.verb == "watch" || user.in_group(crate::auth::MASTERS) => {
                Ok(Place::Plain(None))
            }
            Limits::Plain(limits) => limits.enter(&info.verb).map(Place::Plain).map_err(|_| too_many(1)),
        }
    }

    async fn authenticate(
        &self,
        peer: &Peer,
        request: &http::Request<Incoming>,
    ) -> Result<Arc<UserInfo>, Status> {
        let seen = Request { method: request.method(), uri: request.uri(), headers: request.headers(), peer };
        match self.authenticator.authenticate(seen).await {
            Ok(Some(authenticated)) => Ok(authenticated.user),
            Ok(None) => Err(Status::unauthorized("Unauthorized")),
            Err(error) => {
                tracing::info!(%error, address = %peer.address, "Unable to authenticate the request");
                Err(Status::unauthorized("Unauthorized"))
            }
        }
    }

    /// The record of a request, if it gets one.
    fn begin(
        &self,
        user: &UserInfo,
        info: &RequestInfo,
        peer: &Peer,
        request: &http::Request<Incoming>,
        id: &HeaderValue,
    ) -> Option<Arc<audit::Record>> {
        let audit = self.audit.as_ref()?;
        let uri = request.uri();
        audit.begin(&Subject {
            id: id.to_str().unwrap_or_default(),
            user,
            info,
            uri: uri.path_and_query().map_or("/", |path| path.as_str()),
            headers: request.headers(),
            peer: peer.address.ip(),
            received: Timestamp::now(),
        })
    }

    /// Records a request whose credentials were refused.
    fn audit_refusal(
        &self,
        info: &RequestInfo,
        query: &Query,
        peer: &Peer,
        request: &http::Request<Incoming>,
        id: &HeaderValue,
    ) {
        let Some(record) = self.begin(&UserInfo::default(), info, peer, request, id) else { return };
        let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let scheme = header.and_then(|value| value.trim().split_once(' ')).map(|(scheme, _)| scheme);
        let has = |name: &str| scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(name));
        let methods = [
            ("basic", has("basic")),
            ("bearer", has("bearer")),
            ("access_token", query.non_empty("access_token").is_some()),
            ("x509", !peer.certificates.is_empty()),
        ];
        let attempted: Vec<&str> =
            methods.into_iter().filter(|(_, tried)| *tried).map(|(name, _)| name).collect();
        record.unauthenticated(&attempted);
    }

    async fn authorize(&self, info: &RequestInfo, query: &Query, user: Arc<UserInfo>) -> Result<(), Status> {
        let attributes = authz::attributes(info, query, user);
        let verdict = self.authorizer.authorize(&attributes).await;
        let allowed = verdict.decision == Decision::Allow;
        audit::current(|record| {
            record.annotate("authorization.k8s.io/decision", if allowed { "allow" } else { "forbid" });
            record.annotate("authorization.k8s.io/reason", &verdict.reason);
        });
        if allowed { Ok(()) } else { Err(authz::forbidden(&attributes, &verdict.reason)) }
    }
}

/// An answer that says under which objects of flow control it was made.
fn marked(mut response: Response, place: &Place) -> Response {
    if let Place::Seat(seat) = place {
        seat.headers(response.headers_mut());
    }
    response
}

/// Whether a request lasts as long as its client wants (upstream's rule).
fn is_long_running(info: &RequestInfo, query: &Query) -> bool {
    if !info.is_resource {
        return info.path.starts_with("/debug/pprof/");
    }
    matches!(info.verb.as_str(), "watch" | "proxy")
        || matches!(info.subresource.as_str(), "attach" | "exec" | "proxy" | "portforward")
        || (info.subresource == "log" && query.flag("follow").unwrap_or(false))
}

fn too_many(seconds: u64) -> Response {
    let mut response =
        answer::text(StatusCode::TOO_MANY_REQUESTS, "Too many requests, please try again later.\n");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// What a request is answered that the filters turn away.
fn refused(status: &Status, form: Output) -> Response {
    let mut response = answer::status(status, form);
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A text for what no handler is reached for.
fn plain(code: StatusCode, text: String) -> Response {
    let mut response = answer::text(code, text);
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// What Go's server answers to a path that can't be decoded.
fn malformed() -> Response {
    let mut response = answer::text(StatusCode::BAD_REQUEST, "400 Bad Request");
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The labels of a request's metrics; counts it as under way while it lives.
struct Measured {
    labels: [String; 7],
    kind: &'static str,
    long: bool,
}

impl Measured {
    fn new(info: &RequestInfo, query: &Query, method: &http::Method) -> Self {
        let scope = match (info.is_resource, info.name.is_empty(), info.namespace.is_empty()) {
            (false, ..) => "",
            (true, false, _) => "resource",
            (true, true, false) => "namespace",
            (true, true, true) => "cluster",
        };
        let verb = match info.verb.as_str() {
            "list" => "LIST".to_owned(),
            "watch" => "WATCH".to_owned(),
            "deletecollection" => "DELETECOLLECTION".to_owned(),
            "proxy" => "CONNECT".to_owned(),
            _ if matches!(info.subresource.as_str(), "exec" | "attach" | "portforward" | "proxy" | "log") => {
                "CONNECT".to_owned()
            }
            _ => match method.as_str() {
                known @ ("GET" | "POST" | "PUT" | "PATCH" | "DELETE") => known.to_owned(),
                _ => "OTHER".to_owned(),
            },
        };
        let dry_run = match query.all("dryRun").all(|value| value == "All") {
            true => query.get("dryRun").unwrap_or_default().to_owned(),
            false => "invalid".to_owned(),
        };
        let long = is_long_running(info, query);
        let labels = [
            dry_run,
            info.group.clone(),
            info.resource.clone(),
            scope.to_owned(),
            info.subresource.clone(),
            verb,
            info.version.clone(),
        ];
        let kind =
            if matches!(info.verb.as_str(), "get" | "list" | "head") { "readOnly" } else { "mutating" };
        let measured = Measured { labels, kind, long };
        measured.count(1.0);
        measured
    }

    fn count(&self, by: f64) {
        let [_, group, resource, scope, subresource, verb, version] = &self.labels;
        if self.long {
            LONG_RUNNING.with(&["apiserver", group, resource, scope, subresource, verb, version]).add(by);
        } else {
            IN_FLIGHT.with(&[self.kind]).add(by);
        }
    }

    fn finish(&self, code: u16, start: Instant) {
        let [dry_run, group, resource, scope, subresource, verb, version] = &self.labels;
        let code = code.to_string();
        REQUESTS
            .with(&[&code, "apiserver", dry_run, group, resource, scope, subresource, verb, version])
            .inc();
        if !self.long {
            DURATION
                .with(&["apiserver", dry_run, group, resource, scope, subresource, verb, version])
                .observe_since(start);
        }
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        self.count(-1.0);
    }
}
