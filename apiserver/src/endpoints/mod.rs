//! The API's paths: which handler answers a request that has passed the filters.

pub mod answer;
mod collection;
pub mod decode;
pub mod discovery;
pub mod negotiate;
pub mod options;
mod patching;
pub mod proxy;
mod read;
pub mod render;
pub mod scale;
pub mod shape;
mod subresource;
pub mod table;
mod tracking;
mod watching;
mod write;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use component_base::health::Health;
use http::header::X_CONTENT_TYPE_OPTIONS;
use http::{HeaderValue, Method, StatusCode};
use indexmap::IndexSet;
use jiff::Timestamp;
use parking_lot::Mutex;
use proto::status::{Status, reason};
use proto::{content, schema};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use self::discovery::Discovery;
use self::negotiate::{Offer, Output, Transform};
use self::render::Render;
use self::shape::{Include, Shape};
use crate::admission::{Operation, Reinvocation, Review};
use crate::auth::Authorizer;
use crate::auth::service_account::discovery::{self as documents, Documents};
use crate::engine::{Engine, Store};
use crate::fairness::Fairness;
use crate::openapi::OpenApi;
use crate::registry::{Backing, Connect, Ctx, Endpoint, Handler, Local, Served, Verbs};
use crate::server::Response;
use crate::server::filters::Passed;
use crate::server::request_info::RequestInfo;

/// Largest body of a request (upstream's limit).
pub const MAX_BODY: usize = 3 << 20;

/// Everything that answers requests.
pub struct App {
    /// Resources.
    pub engine: Arc<Engine>,
    /// The server's own client.
    pub local: Arc<dyn Local>,
    /// Health checks.
    pub health: Health,
    /// Discovery documents.
    pub discovery: Discovery,
    /// OpenAPI documents.
    pub openapi: OpenApi,
    /// Priority and fairness, for its dumps.
    pub fairness: Option<Arc<Fairness>>,
    /// Where the keys of service account tokens are told.
    pub tokens: Option<Documents>,
    /// --min-request-timeout
    pub min_watch: Duration,
    /// --profiling: whoever measures may reset the metrics.
    pub profiling: bool,
    /// Decides on connections.
    pub authorizer: Arc<dyn Authorizer>,
    /// Kubelets and what else is proxied to.
    pub backends: proxy::Backends,
    /// Ends watches when the server stops.
    pub stopping: CancellationToken,
}

/// A request for a resource that is served.
pub(crate) struct Target {
    pub(crate) app: Arc<App>,
    pub(crate) served: Served,
    pub(crate) passed: Passed,
    pub(crate) output: Output,
    pub(crate) warnings: Warnings,
}

/// Texts for Warning headers, each once, collected while a request is worked on: they go out with its failure too.
#[derive(Clone, Default)]
pub(crate) struct Warnings(Arc<Mutex<IndexSet<String>>>);

impl Warnings {
    pub(crate) fn extend(&self, texts: impl IntoIterator<Item = String>) {
        self.0.lock().extend(texts);
    }

    fn tell(&self, response: &mut Response) {
        answer::warn(response, &self.0.lock());
    }
}

impl App {
    /// Answers a request.
    pub async fn answer(self: Arc<Self>, passed: Passed) -> Response {
        let form = Output::of_failure(passed.request.headers());
        let done = match &passed.info {
            info if info.is_resource => self.resource(passed).await,
            // Documents take a while to make.
            info if info.path.starts_with("/openapi/") => {
                let made = tokio::task::spawn_blocking(move || self.document_of_api(&passed)).await;
                made.unwrap_or_else(|failed| Err(Status::internal(failed)))
            }
            _ => self.other(passed),
        };
        done.unwrap_or_else(|status| answer::status(&status, form))
    }

    /// Whether a request's resource and subresource are served.
    pub fn serves(&self, info: &RequestInfo) -> bool {
        if !info.is_resource {
            return true;
        }
        let registry = self.engine.registry().load();
        let served = registry.find(&info.api_version(), &info.resource);
        served.is_some_and(|s| {
            info.subresource.is_empty() || s.endpoint.subresource(&info.subresource).is_some()
        })
    }

    fn other(&self, passed: Passed) -> Result<Response, Status> {
        let path = passed.info.path.as_str();
        let get = passed.request.method() == Method::GET;
        let resets = self.profiling && passed.request.method() == Method::DELETE;
        if let Some(answer) = self.health.answer(path, passed.request.uri().query().unwrap_or_default()) {
            let code = StatusCode::from_u16(answer.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = answer::text(code, answer.body);
            // As upstream, which sends the header with the sum of the checks and with failures.
            if !code.is_success() || path.matches('/').count() == 1 {
                response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            }
            return Ok(response);
        }
        if let Some(fairness) = self.fairness.as_ref().filter(|_| path.starts_with("/debug/")) {
            let query = passed.request.uri().query().unwrap_or_default();
            return Ok(answer::text(StatusCode::OK, fairness.dump(path, query).ok_or_else(missing)?));
        }
        match path.trim_end_matches('/') {
            "/metrics" if resets => {
                component_base::metrics::reset();
                Ok(answer::text(StatusCode::OK, component_base::metrics::RESET))
            }
            "/metrics/slis" if resets => {
                component_base::health::reset_indicators();
                Ok(answer::text(StatusCode::OK, component_base::metrics::RESET))
            }
            "/metrics" => {
                let body = component_base::metrics::render();
                Ok(answer::bytes(StatusCode::OK, component_base::metrics::CONTENT_TYPE, body))
            }
            "/metrics/slis" => {
                let content = component_base::metrics::CONTENT_TYPE;
                Ok(answer::bytes(StatusCode::OK, content, component_base::health::indicators()))
            }
            "/version" if !get => Err(not_allowed()),
            "/version" => {
                let body = serde_json::to_vec_pretty(&component_base::version::info()).unwrap_or_default();
                Ok(answer::bytes(StatusCode::OK, "application/json", body))
            }
            documents::CONFIGURATION_PATH => self.document("application/json", |d| &d.configuration),
            documents::JWKS_PATH => self.document("application/jwk-set+json", |d| &d.key_set),
            _ => match self.discovery.answer(&self.engine.registry().load(), &passed)? {
                Some(_) if !get && !matches!(path, "/" | "/index.html") => Err(not_allowed()),
                Some(response) => Ok(response),
                None => Ok(no_page()),
            },
        }
    }

    fn document_of_api(&self, passed: &Passed) -> Result<Response, Status> {
        let registry = self.engine.registry().load();
        let (query, headers) = (passed.request.uri().query().unwrap_or_default(), passed.request.headers());
        self.openapi.answer(&registry, &passed.info.path, query, headers).ok_or_else(missing)
    }

    /// One of the documents by which others verify service account tokens.
    fn document(&self, media: &'static str, pick: fn(&Documents) -> &Vec<u8>) -> Result<Response, Status> {
        let body = pick(self.tokens.as_ref().ok_or_else(missing)?).clone();
        let mut response = answer::bytes(StatusCode::OK, media, body);
        let cache = http::HeaderValue::from_static("public, max-age=3600");
        response.headers_mut().insert(http::header::CACHE_CONTROL, cache);
        Ok(response)
    }

    async fn resource(self: Arc<Self>, passed: Passed) -> Result<Response, Status> {
        let info = &passed.info;
        let registry = self.engine.registry().load();
        let served = registry.find(&info.api_version(), &info.resource).cloned();
        let served = served.filter(|s| !s.endpoint.verbs.is_empty() || !s.endpoint.subresources.is_empty());
        let Some(served) = served else {
            let known = registry.endpoints().any(|e| e.group == *info.group);
            return if known { Err(missing()) } else { Ok(no_page()) };
        };
        let endpoint = served.endpoint.clone();
        let is_namespace = endpoint.group.is_empty() && endpoint.resource == "namespaces";
        if !endpoint.namespaced && !info.namespace.is_empty() && !is_namespace {
            return Err(missing());
        }
        if endpoint.namespaced && info.namespace.is_empty() {
            match info.verb.as_str() {
                "list" | "watch" => {}
                "create" | "deletecollection" if info.name.is_empty() => return Err(not_allowed()),
                _ => return Err(missing()),
            }
        }
        // Upstream routes HEAD to what is not an object alone.
        if passed.request.method() == Method::HEAD && info.subresource != "proxy" {
            return Err(not_allowed());
        }
        if !info.name.is_empty() && info.verb != "list" && info.verb != "watch" {
            let wrong = content::is_path_segment_name(&info.name);
            if !wrong.is_empty() {
                let name = proto::field::quote(&info.name);
                return Err(Status::bad_request(format!(
                    "Name parameter invalid: {name}: {}",
                    wrong.join(";")
                )));
            }
        }
        let form = Output::of_failure(passed.request.headers());
        let tables = match endpoint.subresource(&info.subresource) {
            Some(subresource) => subresource.tables,
            None => !matches!(endpoint.backing, Backing::Create(_)),
        };
        let streams = matches!(info.verb.as_str(), "list" | "watch");
        let offer = Offer { custom: endpoint.custom, streams, tables, metadata: true };
        let output = Output::negotiate(passed.request.headers(), &passed.query, offer);
        let output = output.or_else(|status| match info.subresource.as_str() {
            // What these answer with is not an object.
            "log" | "exec" | "attach" | "portforward" | "proxy" => Ok(Output::JSON),
            _ => Err(status),
        })?;
        let deprecated = endpoint.deprecated.clone();
        let warnings = Warnings::default();
        warnings.extend(deprecated.map(Cow::into_owned));
        let target = Target { app: self, served, passed, output, warnings: warnings.clone() };
        let mut response = target.route().await.unwrap_or_else(|mut status| {
            warnings.extend(std::mem::take(&mut status.warnings));
            answer::status(&status, form)
        });
        warnings.tell(&mut response);
        Ok(response)
    }
}

fn missing() -> Status {
    Status::unknown_path()
}

fn not_allowed() -> Status {
    let text = "the server does not allow this method on the requested resource";
    Status::failure(405, reason::METHOD_NOT_ALLOWED, text).with_details(Default::default())
}

/// What upstream's mux answers where no API is.
fn no_page() -> Response {
    let mut response = answer::text(StatusCode::NOT_FOUND, "404 page not found\n");
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

impl Target {
    fn info(&self) -> &RequestInfo {
        &self.passed.info
    }

    async fn route(self) -> Result<Response, Status> {
        let endpoint = self.served.endpoint.clone();
        if !self.info().subresource.is_empty() {
            let Some(sub) = endpoint.subresource(&self.info().subresource) else { return Err(missing()) };
            return match &sub.handler {
                // A proxy passes every method on.
                Handler::Connect(connect) if sub.name == "proxy" => self.connect(*connect).await,
                Handler::Connect(connect) => self.check(sub.verbs)?.connect(*connect).await,
                Handler::Create(create) => self.check(sub.verbs)?.post_to(*create, sub.kind.as_ref()).await,
                Handler::Object(hooks) => self.check(sub.verbs)?.object_subresource(hooks).await,
                Handler::Scale(scale) => self.check(sub.verbs)?.scale(scale).await,
            };
        }
        match &endpoint.backing {
            Backing::Create(create) => return self.check(endpoint.verbs)?.post_to(*create, None).await,
            Backing::Computed(compute) => return self.check(endpoint.verbs)?.computed(*compute).await,
            Backing::Stored(..) => {}
        }
        let target = self.check(endpoint.verbs)?;
        match target.info().verb.as_str() {
            "get" => target.get().await,
            "list" => target.list().await,
            "watch" => target.watch().await,
            "create" => target.create().await,
            "update" => target.update(None).await,
            "patch" => target.patch(None).await,
            "delete" => target.delete().await,
            "deletecollection" => target.delete_collection().await,
            _ => Err(missing()),
        }
    }

    /// Passes a connection on, after admission. A log is read, not connected to: admission doesn't see it.
    async fn connect(self, connect: Connect) -> Result<Response, Status> {
        if connect != Connect::PodLog {
            self.admit_connection().await?;
        }
        let Target { app, passed, .. } = self;
        let Passed { info, query, user, request, .. } = passed;
        let (parts, body) = request.into_parts();
        let request = http::Request::from_parts(parts, body.ok_or_else(missing)?);
        let wanted = proxy::Wanted { connect, info, query, user, request };
        proxy::connect(&app.backends, &*app.local, &*app.authorizer, wanted).await
    }

    async fn admit_connection(&self) -> Result<(), Status> {
        let ctx = self.ctx("connect", Value::Null);
        let kind =
            ctx.endpoint.subresource(&ctx.subresource).and_then(|s| s.kind.clone()).unwrap_or_default();
        let object = match schema::lookup(&kind.0, &kind.1, &kind.2) {
            Some(ty) => {
                proxy::options::object(&kind.2, ty, &self.passed.query, &self.passed.info.rest.join("/"))
            }
            None => Value::Null,
        };
        let mut review = Review {
            operation: Operation::Connect,
            endpoint: ctx.endpoint.clone(),
            kind: (kind.0.to_string(), kind.1.to_string(), kind.2.to_string()),
            subresource: ctx.subresource,
            namespace: ctx.namespace,
            name: ctx.name,
            user: ctx.user,
            object,
            old: Arc::new(Value::Null),
            options: Value::Null,
            dry_run: false,
            warnings: Vec::new(),
            annotations: Vec::new(),
            reinvocation: Reinvocation::default(),
        };
        let chain = self.app.engine.admission();
        chain.mutate(&mut review).await?;
        chain.validate(&mut review).await
    }

    /// Refuses verbs that are not served.
    fn check(self, verbs: Verbs) -> Result<Self, Status> {
        let named = !self.info().name.is_empty();
        let verb = match self.info().verb.as_str() {
            "get" => Verbs::GET,
            "list" => Verbs::LIST,
            "watch" => Verbs::WATCH,
            "create" if !named || !self.info().subresource.is_empty() => Verbs::CREATE,
            "update" if named => Verbs::UPDATE,
            "patch" if named => Verbs::PATCH,
            "delete" => Verbs::DELETE,
            "deletecollection" => Verbs::DELETE_COLLECTION,
            _ => Verbs::NONE,
        };
        if verb.is_empty() || !verbs.contains(verb) {
            return Err(not_allowed());
        }
        Ok(self)
    }

    fn store(&self) -> Result<Arc<Store>, Status> {
        self.app.engine.store_of(&self.served)
    }

    /// Namespace of the object: namespaces themselves have none.
    fn namespace(&self) -> &str {
        if self.served.endpoint.namespaced { &self.info().namespace } else { "" }
    }

    fn render(&self, store: &Arc<Store>) -> Result<Render, Status> {
        let version = store.codec.version(&self.served.endpoint).ok_or_else(missing)?;
        Ok(Render { shape: self.shape(self.served.endpoint.clone())?, store: store.clone(), version })
    }

    /// The wanted shape of an endpoint's objects.
    fn shape(&self, endpoint: Arc<Endpoint>) -> Result<Shape, Status> {
        let include = match self.output.transform {
            Transform::Table(_) => Include::parse(self.passed.query.get("includeObject"))?,
            _ => Include::Metadata,
        };
        Ok(Shape { output: self.output, endpoint, include, now: Timestamp::now() })
    }

    fn ctx(&self, verb: &'static str, options: Value) -> Ctx {
        let info = self.info();
        Ctx {
            user: self.passed.user.clone(),
            verb,
            namespace: self.namespace().to_owned(),
            name: info.name.clone(),
            subresource: info.subresource.clone(),
            dry_run: options.get("dryRun").and_then(Value::as_array).is_some_and(|d| !d.is_empty()),
            now: Timestamp::now(),
            options: Arc::new(options),
            endpoint: self.served.endpoint.clone(),
            storage: self.served.storage.clone(),
            local: self.app.local.clone(),
        }
    }

    /// Whether the client takes gzip.
    fn gzip(&self) -> bool {
        let header = self.passed.request.headers().get(http::header::ACCEPT_ENCODING);
        header
            .and_then(|v| v.to_str().ok())
            .is_some_and(|v| v.split(',').any(|e| e.trim().starts_with("gzip")))
    }
}
