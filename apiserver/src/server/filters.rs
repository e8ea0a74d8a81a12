//! What every request passes, in upstream's order: who is it, acting for whom, is there room, may they, and in what time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::body::Incoming;
use proto::status::Status;
use proto::{fields, labels};

use super::inflight::InFlight;
use super::listener::Handler;
use super::metrics::{DURATION, IN_FLIGHT, LONG_RUNNING, REQUESTS};
use super::query::Query;
use super::request_info::RequestInfo;
use super::{Body, Response};
use crate::auth::{
    Attributes, Authenticator, Authorizer, Decision, Peer, Request, UserInfo, authz, impersonation,
};
use crate::endpoints::{App, answer};

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// The filters, before the application.
pub struct Filters {
    /// What answers in the end.
    pub app: Arc<App>,
    /// Who is it?
    pub authenticator: Arc<dyn Authenticator>,
    /// May they?
    pub authorizer: Arc<dyn Authorizer>,
    /// Is there room?
    pub in_flight: InFlight,
    /// --request-timeout
    pub timeout: Duration,
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
        let audit_id = request.headers().get(&AUDIT_ID).cloned();
        let query = Query::parse(request.uri().query());
        let info = RequestInfo::new(request.method(), request.uri().path(), &query);
        let mut response = match info {
            Ok(info) => {
                let measured = Measured::new(&info, &query, request.method());
                let response = self.pass(info, query, peer, request).await;
                measured.finish(response.status().as_u16(), start);
                response
            }
            Err(error) => answer::status(&Status::bad_request(error.to_string())),
        };
        let headers = response.headers_mut();
        let made = || HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()).ok();
        if let Some(id) = audit_id.or_else(made) {
            headers.insert(AUDIT_ID, id);
        }
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
    ) -> Response {
        let user = match self.identify(&peer, &request).await {
            Ok(user) => user,
            Err(status) => return answer::status(&status),
        };
        let long = is_long_running(&info, &query);
        let _place = match self.in_flight.enter(&info.verb) {
            _ if long || user.in_group(crate::auth::MASTERS) => None,
            Ok(place) => place,
            Err(_) => return too_many(),
        };
        if let Err(status) = self.authorize(&info, &query, user.clone()).await {
            return answer::status(&status);
        }
        let passed = Passed { info, query, user, peer, request: request.map(Some) };
        if long {
            return self.app.clone().answer(passed).await;
        }
        match tokio::time::timeout(self.timeout, self.app.clone().answer(passed)).await {
            Ok(response) => response,
            Err(_) => {
                answer::status(&Status::timeout("request did not complete within the allotted timeout", 0))
            }
        }
    }

    /// Who asks, after impersonation.
    async fn identify(
        &self,
        peer: &Peer,
        request: &http::Request<Incoming>,
    ) -> Result<Arc<UserInfo>, Status> {
        let seen = Request { method: request.method(), uri: request.uri(), headers: request.headers(), peer };
        let user = match self.authenticator.authenticate(seen).await {
            Ok(Some(authenticated)) => authenticated.user,
            Ok(None) => return Err(Status::unauthorized("Unauthorized")),
            Err(error) => {
                tracing::info!(%error, address = %peer.address, "Unable to authenticate the request");
                return Err(Status::unauthorized("Unauthorized"));
            }
        };
        match impersonation::impersonated(request.headers(), &user, &*self.authorizer).await? {
            Some(other) => Ok(Arc::new(other)),
            None => Ok(user),
        }
    }

    async fn authorize(&self, info: &RequestInfo, query: &Query, user: Arc<UserInfo>) -> Result<(), Status> {
        let mut attributes = Attributes {
            user,
            verb: info.verb.clone(),
            resource_request: info.is_resource,
            group: info.group.clone(),
            version: info.version.clone(),
            resource: info.resource.clone(),
            subresource: info.subresource.clone(),
            namespace: info.namespace.clone(),
            name: info.name.clone(),
            path: info.path.clone(),
            ..Attributes::default()
        };
        if !info.verb_in_path && matches!(info.verb.as_str(), "list" | "watch" | "deletecollection") {
            // A selector that can't be parsed is refused later, with its reason; here it narrows nothing.
            let parse = |name| query.get(name).unwrap_or_default();
            attributes.field_selector = fields::Selector::parse(parse("fieldSelector")).unwrap_or_default();
            attributes.label_selector = labels::Selector::parse(parse("labelSelector")).unwrap_or_default();
        }
        let verdict = self.authorizer.authorize(&attributes).await;
        match verdict.decision {
            Decision::Allow => Ok(()),
            _ => Err(authz::forbidden(&attributes, &verdict.reason)),
        }
    }
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

fn too_many() -> Response {
    let mut response = http::Response::new(Body::from("Too many requests, please try again later.\n"));
    *response.status_mut() = http::StatusCode::TOO_MANY_REQUESTS;
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// The labels of a request's metrics; counts it as under way while it lives.
struct Measured {
    labels: [String; 7],
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
            _ => method.as_str().to_owned(),
        };
        let dry_run = query.get("dryRun").unwrap_or_default().to_owned();
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
        let measured = Measured { labels, long };
        measured.count(1.0);
        measured
    }

    fn count(&self, by: f64) {
        let [_, group, resource, scope, subresource, verb, version] = &self.labels;
        if self.long {
            LONG_RUNNING.with(&["apiserver", group, resource, scope, subresource, verb, version]).add(by);
        } else {
            let kind = if matches!(verb.as_str(), "GET" | "LIST" | "HEAD") { "readOnly" } else { "mutating" };
            IN_FLIGHT.with(&[kind]).add(by);
        }
    }

    fn finish(self, code: u16, start: Instant) {
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
