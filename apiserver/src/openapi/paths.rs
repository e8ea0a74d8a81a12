//! Paths and their operations: a walk over the rows.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::operations::{Operation, Parameter, parameter};
use super::{Dialect, names};
use crate::registry::{Connect, Endpoint, Handler, Storage, Subresource, Verbs};

/// The documents about paths that belong to no version.
pub(super) const ROOTS: &[&str] =
    &[".well-known/openid-configuration", "api", "apis", "openid/v1/jwks", "version"];

const META: &str = "k8s.io/apimachinery/pkg/apis/meta/v1";

const LIST: &[Parameter] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("shardSelector", "string"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const STREAMS: &[Parameter] = &[
    ("container", "string"),
    ("stderr", "boolean"),
    ("stdin", "boolean"),
    ("stdout", "boolean"),
    ("tty", "boolean"),
];
const LOG: &[Parameter] = &[
    ("container", "string"),
    ("follow", "boolean"),
    ("insecureSkipTLSVerifyBackend", "boolean"),
    ("limitBytes", "integer"),
    ("previous", "boolean"),
    ("sinceSeconds", "integer"),
    ("stream", "string"),
    ("tailLines", "integer"),
    ("timestamps", "boolean"),
];
const WRITE: &[Parameter] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const FORCE: Parameter = ("force", "boolean");
/// The methods that proxies pass on.
const PROXIED: &[&str] = &["get", "put", "post", "delete", "options", "head", "patch"];
const CONNECTED: &[&str] = &["get", "post"];
const DELETE: &[Parameter] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

/// The path at the root of a document, if it has one: documents of custom resources have none.
pub(super) fn root(name: &str, rows: &[Row], dialect: Dialect) -> Option<(String, Value)> {
    let custom = rows.first().is_some_and(|row| row.endpoint.custom);
    (!custom).then(|| (format!("/{name}/"), discovery(name, rows.first().map(|row| &*row.endpoint), dialect)))
}

/// The path that lists what is below it.
fn discovery(name: &str, row: Option<&Endpoint>, dialect: Dialect) -> Value {
    let meta = |model: &str| Some(names::model(META, model));
    let (id, tag, description, media, model) = match (name, row) {
        (".well-known/openid-configuration", _) => (
            "getServiceAccountIssuerOpenIDConfiguration".to_owned(),
            "WellKnown".to_owned(),
            "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'",
            "application/json",
            None,
        ),
        ("openid/v1/jwks", _) => (
            "getServiceAccountIssuerOpenIDKeyset".to_owned(),
            "openid".to_owned(),
            "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)",
            "application/jwk-set+json",
            None,
        ),
        ("version", _) => (
            "getCodeVersion".to_owned(),
            "version".to_owned(),
            "get the version information for this server",
            "application/json",
            Some(names::model("k8s.io/apimachinery/pkg/version", "Info")),
        ),
        ("api", _) => (
            "getCoreAPIVersions".to_owned(),
            "core".to_owned(),
            "get available API versions",
            "",
            meta("APIVersions"),
        ),
        ("apis", _) => (
            "getAPIVersions".to_owned(),
            "apis".to_owned(),
            "get available API versions",
            "",
            meta("APIGroupList"),
        ),
        (_, Some(row)) => {
            let group = names::group(&row.group);
            let id = format!("get{}{}APIResources", names::capital(&group), names::capital(&row.version));
            (id, format!("{group}_{}", row.version), "get available resources", "", meta("APIResourceList"))
        }
        (name, None) => {
            let group = names::group(name.trim_start_matches("apis/"));
            let id = format!("get{}APIGroup", names::capital(&group));
            (id, group, "get information of a group", "", meta("APIGroup"))
        }
    };
    let operation = Operation {
        id,
        description: description.to_owned(),
        tag,
        action: "",
        kind: None,
        parameters: Vec::new(),
        body: None,
        responses: vec![("200", model)],
        media,
        patches: false,
        watches: false,
        custom: false,
    };
    json!({"get": operation.print(dialect)})
}

/// An endpoint and the storage row behind it.
#[derive(Clone)]
pub(super) struct Row {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) storage: Option<Arc<Storage>>,
}

/// Makes the operations of one resource.
struct Maker<'a> {
    row: &'a Endpoint,
    storage: Option<&'a Storage>,
    dialect: Dialect,
}

/// The paths of a resource.
pub(super) fn resource(row: &Row, dialect: Dialect) -> Map<String, Value> {
    let (row, storage) = (&*row.endpoint, row.storage.as_deref());
    let maker = Maker { row, storage, dialect };
    let mut paths = Map::new();
    let base = format!("/{}", names::document(row));
    let below = match row.namespaced {
        true => format!("namespaces/{{namespace}}/{}", row.resource),
        false => row.resource.to_string(),
    };
    let (collection, named) = (format!("{base}/{below}"), format!("{base}/{below}/{{name}}"));
    let mut add = |path: &str, operations: &[(&str, Verbs, Operation)]| {
        let mut item = Map::new();
        for (method, verb, operation) in operations {
            if row.verbs.contains(*verb) {
                item.insert((*method).to_owned(), Value::Object(operation.print(dialect)));
            }
        }
        maker.add(&mut paths, path, item);
    };
    let operations = [
        ("get", Verbs::LIST, maker.list(maker.scope(), "")),
        ("post", Verbs::CREATE, maker.create()),
        ("delete", Verbs::DELETE_COLLECTION, maker.delete_collection()),
    ];
    add(&collection, &operations);
    let operations = [
        ("get", Verbs::GET, maker.read()),
        ("put", Verbs::UPDATE, maker.replace()),
        ("patch", Verbs::PATCH, maker.patch()),
        ("delete", Verbs::DELETE, maker.delete()),
    ];
    add(&named, &operations);
    if row.namespaced {
        let path = format!("{base}/{}", row.resource);
        add(&path, &[("get", Verbs::LIST, maker.list("", "ForAllNamespaces"))]);
    }
    if !row.custom {
        // The old paths of watches; custom resources never had them.
        let watch = |path: &str| format!("{base}/watch/{path}");
        add(&watch(&below), &[("get", Verbs::WATCH, maker.watch_list(maker.scope(), ""))]);
        let one = (Verbs::WATCH, maker.watch());
        add(&watch(&format!("{below}/{{name}}")), &[("get", one.0, one.1)]);
        if row.namespaced {
            let list = maker.watch_list("", "ForAllNamespaces");
            add(&watch(&row.resource), &[("get", Verbs::WATCH, list)]);
        }
    }
    for sub in &row.subresources {
        maker.subresource(sub, &named, &mut paths);
    }
    paths
}

impl Maker<'_> {
    /// Adds a path. What all its operations take is said once, at the path.
    fn add(&self, paths: &mut Map<String, Value>, path: &str, mut item: Map<String, Value>) {
        if item.is_empty() {
            return;
        }
        let mut shared = vec![parameter("pretty", "string", "query", self.dialect)];
        for name in ["name", "namespace", "path"] {
            if path.contains(&format!("{{{name}}}")) {
                shared.push(parameter(name, "string", "path", self.dialect));
            }
        }
        let taken = |operation: &Value| -> Vec<Value> {
            operation["parameters"].as_array().cloned().unwrap_or_default()
        };
        let mut common: Option<Vec<Value>> = None;
        for operation in item.values() {
            let own = taken(operation);
            match &mut common {
                None => common = Some(own),
                Some(common) => common.retain(|parameter| own.contains(parameter)),
            }
        }
        let mut common = common.unwrap_or_default();
        common.retain(|parameter| parameter["in"] != "body");
        for operation in item.values_mut().filter_map(Value::as_object_mut) {
            if let Some(Value::Array(own)) = operation.get_mut("parameters") {
                own.retain(|parameter| !common.contains(parameter));
                if own.is_empty() {
                    operation.remove("parameters");
                }
            }
        }
        shared.append(&mut common);
        shared.sort_by_key(|parameter| parameter["name"].as_str().map(str::to_owned));
        item.insert("parameters".to_owned(), Value::Array(shared));
        paths.insert(path.to_owned(), Value::Object(item));
    }

    fn model(&self, kind: &str) -> String {
        let row = self.row;
        if row.custom {
            return names::custom(&row.group, &row.version, kind);
        }
        let api = proto::schema::lookup(&row.group, &row.version, kind);
        api.or(row.schema.as_deref()).map_or_else(|| names::model(META, "Status"), names::of_type)
    }

    fn id(&self, verb: &str, tail: &str) -> String {
        let group = names::capital(&names::group(&self.row.group));
        format!("{verb}{group}{}{tail}", names::capital(&self.row.version))
    }

    fn scope(&self) -> &'static str {
        if self.row.namespaced { "Namespaced" } else { "" }
    }

    fn operation(&self, verb: &str, action: &'static str, responses: &[&'static str]) -> Operation {
        let row = self.row;
        let model = self.model(&row.kind);
        Operation {
            id: self.id(verb, &format!("{}{}", self.scope(), row.kind)),
            description: self.description(verb, ""),
            tag: format!("{}_{}", names::group(&row.group), row.version),
            action,
            kind: Some((row.group.to_string(), row.version.to_string(), row.kind.to_string())),
            parameters: Vec::new(),
            body: None,
            responses: responses.iter().map(|code| (*code, Some(model.clone()))).collect(),
            media: "",
            patches: false,
            watches: false,
            custom: row.custom,
        }
    }

    /// What an operation of the resource or of a subresource does.
    fn description(&self, verb: &str, sub: &str) -> String {
        let kind = &self.row.kind;
        let of = if sub.is_empty() { String::new() } else { format!(" {sub} of") };
        match verb {
            "read" | "replace" => format!("{verb}{of} the specified {kind}"),
            "patch" => format!("partially update{of} the specified {kind}"),
            _ => format!("{verb}{of} {}{kind}", names::article(kind)),
        }
    }

    fn list(&self, scope: &str, suffix: &str) -> Operation {
        let list = self.model(&self.row.list_kind);
        let kind = &self.row.kind;
        let watches = self.row.verbs.contains(Verbs::WATCH);
        let verb = if watches && !self.row.custom { "list or watch" } else { "list" };
        Operation {
            id: self.id("list", &format!("{scope}{kind}{suffix}")),
            description: format!("{verb} objects of kind {kind}"),
            parameters: LIST.to_vec(),
            responses: vec![("200", Some(list))],
            watches,
            ..self.operation("list", "list", &[])
        }
    }

    fn watch(&self) -> Operation {
        Operation {
            description: format!(
                "watch changes to an object of kind {}. deprecated: use the 'watch' parameter with a list operation \
                 instead, filtered to a single item with the 'fieldSelector' parameter.",
                self.row.kind
            ),
            parameters: LIST.to_vec(),
            responses: vec![("200", Some(names::model(META, "WatchEvent")))],
            watches: true,
            ..self.operation("watch", "watch", &[])
        }
    }

    fn watch_list(&self, scope: &str, suffix: &str) -> Operation {
        let kind = &self.row.kind;
        Operation {
            id: self.id("watch", &format!("{scope}{kind}List{suffix}")),
            description: format!(
                "watch individual changes to a list of {kind}. deprecated: use the 'watch' parameter with a list \
                 operation instead."
            ),
            action: "watchlist",
            ..self.watch()
        }
    }

    fn create(&self) -> Operation {
        let body = Some((self.model(&self.row.kind), true));
        Operation {
            parameters: WRITE.to_vec(),
            body,
            ..self.operation("create", "post", &["200", "201", "202"])
        }
    }

    fn read(&self) -> Operation {
        let parameters = if self.row.custom { vec![("resourceVersion", "string")] } else { Vec::new() };
        Operation { parameters, ..self.operation("read", "get", &["200"]) }
    }

    fn replace(&self) -> Operation {
        let body = Some((self.model(&self.row.kind), true));
        Operation { parameters: WRITE.to_vec(), body, ..self.operation("replace", "put", &["200", "201"]) }
    }

    fn patch(&self) -> Operation {
        let mut parameters = WRITE.to_vec();
        parameters.push(FORCE);
        let body = Some((names::model(META, "Patch"), true));
        let codes: &[&str] = if self.row.custom { &["200"] } else { &["200", "201"] };
        Operation { parameters, body, patches: true, ..self.operation("patch", "patch", codes) }
    }

    fn delete(&self) -> Operation {
        let model = match self.storage.is_some_and(|storage| storage.hooks.return_deleted) {
            true => self.model(&self.row.kind),
            false => names::model(META, "Status"),
        };
        Operation {
            parameters: DELETE.to_vec(),
            body: Some((names::model(META, "DeleteOptions"), false)),
            responses: vec![("200", Some(model.clone())), ("202", Some(model))],
            ..self.operation("delete", "delete", &[])
        }
    }

    fn delete_collection(&self) -> Operation {
        let custom = self.row.custom;
        let mut parameters: Vec<Parameter> = LIST
            .iter()
            .filter(|(name, _)| custom || !["allowWatchBookmarks", "watch"].contains(name))
            .copied()
            .collect();
        if !custom {
            parameters.extend(DELETE);
            parameters.sort_unstable();
        }
        Operation {
            id: self.id("delete", &format!("Collection{}{}", self.scope(), self.row.kind)),
            description: format!("delete collection of {}", self.row.kind),
            parameters,
            body: (!custom).then(|| (names::model(META, "DeleteOptions"), false)),
            responses: vec![("200", Some(names::model(META, "Status")))],
            ..self.operation("delete", "deletecollection", &[])
        }
    }

    fn subresource(&self, sub: &Subresource, named: &str, paths: &mut Map<String, Value>) {
        let row = self.row;
        let own = || (row.group.to_string(), row.version.to_string(), row.kind.to_string());
        let kind = match &sub.kind {
            Some((group, version, kind)) => (group.to_string(), version.to_string(), kind.to_string()),
            None => own(),
        };
        let model = match proto::schema::lookup(&kind.0, &kind.1, &kind.2) {
            _ if sub.kind.is_none() => self.model(&row.kind),
            Some(ty) => names::of_type(ty),
            None => names::model(META, "Status"),
        };
        // Operations on custom resources name their kind, even where they are about a scale.
        let kind = if row.custom { own() } else { kind };
        let tail = format!("{}{}{}", self.scope(), row.kind, names::capital(&sub.name));
        let path = format!("{named}/{}", sub.name);
        if let Handler::Connect(connect) = sub.handler
            && !matches!(connect, Connect::PodLog)
        {
            let (methods, parameters) = match connect {
                Connect::PodProxy | Connect::ServiceProxy | Connect::NodeProxy => {
                    (PROXIED, vec![("path", "string")])
                }
                Connect::PodPortForward => (CONNECTED, vec![("ports", "integer")]),
                Connect::PodExec => (CONNECTED, [&[("command", "string")], STREAMS].concat()),
                _ => (CONNECTED, STREAMS.to_vec()),
            };
            let all = |suffix: &str| -> Map<String, Value> {
                let print = |method: &&str| {
                    let verb = method.to_uppercase();
                    let operation = Operation {
                        id: self.id("connect", &format!("{}{tail}{suffix}", names::capital(method))),
                        description: format!("connect {verb} requests to {} of {}", sub.name, row.kind),
                        kind: Some(kind.clone()),
                        parameters: parameters.clone(),
                        responses: vec![("200", None)],
                        ..self.operation("connect", "connect", &[])
                    };
                    ((*method).to_owned(), Value::Object(operation.print(self.dialect)))
                };
                methods.iter().map(print).collect()
            };
            self.add(paths, &path, all(""));
            if methods == PROXIED {
                self.add(paths, &format!("{path}/{{path}}"), all("WithPath"));
            }
            return;
        }
        let mut item = Map::new();
        let mut put = |method: &str, verb: &str, operation: Operation| {
            let operation = Operation {
                id: self.id(verb, &tail),
                description: self.description(verb, &sub.name),
                kind: Some(kind.clone()),
                ..operation
            };
            item.insert(method.to_owned(), Value::Object(operation.print(self.dialect)));
        };
        let answers = |operation: Operation| Operation {
            responses: operation.responses.into_iter().map(|(code, _)| (code, Some(model.clone()))).collect(),
            ..operation
        };
        let body = || Some((model.clone(), true));
        if let Handler::Connect(_) = sub.handler {
            let log = Operation {
                parameters: LOG.to_vec(),
                responses: vec![("200", None)],
                media: "text/plain",
                ..self.read()
            };
            put("get", "read", log);
        } else {
            if sub.verbs.contains(Verbs::GET) {
                put("get", "read", answers(self.read()));
            }
            if sub.verbs.contains(Verbs::CREATE) {
                put("post", "create", Operation { body: body(), ..answers(self.create()) });
            }
            if sub.verbs.contains(Verbs::UPDATE) {
                put("put", "replace", Operation { body: body(), ..answers(self.replace()) });
            }
            if sub.verbs.contains(Verbs::PATCH) {
                put("patch", "patch", answers(self.patch()));
            }
        }
        self.add(paths, &path, item);
    }
}
