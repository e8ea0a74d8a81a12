//! Paths and their operations: a walk over the rows.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::operations::{Operation, Parameter, parameter};
use super::{Dialect, names};
use crate::registry::{Connect, Endpoint, Handler, Subresource, Verbs};

/// The documents about paths that belong to no version.
pub(super) const ROOTS: &[&str] = &["api", "apis", "version"];

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
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const WRITE: &[Parameter] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const FORCE: Parameter = ("force", "boolean");
/// The methods that proxies pass on.
const PROXIED: &[&str] = &["get", "put", "post", "delete", "options", "head", "patch"];
const DELETE: &[Parameter] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

/// The paths of a document.
pub(super) fn of(name: &str, rows: &[Arc<Endpoint>], dialect: Dialect) -> Map<String, Value> {
    let mut paths = Map::new();
    paths.insert(format!("/{name}/"), discovery(name, rows.first().map(AsRef::as_ref), dialect));
    for row in rows {
        resource(row, dialect, &mut paths);
    }
    paths
}

/// The path that lists what is below it.
fn discovery(name: &str, row: Option<&Endpoint>, dialect: Dialect) -> Value {
    let (id, tag, model) = match (name, row) {
        ("api", _) => ("getCoreAPIVersions".to_owned(), "core".to_owned(), Some("APIVersions")),
        ("apis", _) => ("getAPIVersions".to_owned(), "apis".to_owned(), Some("APIGroupList")),
        ("version", _) => ("getCodeVersion".to_owned(), "version".to_owned(), None),
        (_, Some(row)) => {
            let group = names::group(&row.group);
            let id = format!("get{}{}APIResources", names::capital(&group), names::capital(&row.version));
            (id, format!("{group}_{}", row.version), Some("APIResourceList"))
        }
        (name, None) => {
            let group = names::group(name.trim_start_matches("apis/"));
            (format!("get{}APIGroup", names::capital(&group)), group, Some("APIGroup"))
        }
    };
    let operation = Operation {
        id,
        tag,
        action: "",
        kind: None,
        parameters: Vec::new(),
        body: None,
        responses: vec![("200", model.map(|model| names::model(META, model)))],
        patches: false,
        watches: false,
        custom: false,
    };
    json!({"get": operation.print(dialect)})
}

/// Makes the operations of one resource.
struct Maker<'a> {
    row: &'a Endpoint,
    dialect: Dialect,
}

fn resource(row: &Endpoint, dialect: Dialect, paths: &mut Map<String, Value>) {
    let maker = Maker { row, dialect };
    let base = format!("/{}", names::document(row));
    let collection = match row.namespaced {
        true => format!("{base}/namespaces/{{namespace}}/{}", row.resource),
        false => format!("{base}/{}", row.resource),
    };
    let operations = [
        ("get", Verbs::LIST, maker.list(if row.namespaced { "Namespaced" } else { "" }, "")),
        ("post", Verbs::CREATE, maker.create()),
        ("delete", Verbs::DELETE_COLLECTION, maker.delete_collection()),
    ];
    maker.add(paths, collection.clone(), false, row.namespaced, operations);
    let named = format!("{collection}/{{name}}");
    let operations = [
        ("get", Verbs::GET, maker.read()),
        ("put", Verbs::UPDATE, maker.replace()),
        ("patch", Verbs::PATCH, maker.patch()),
        ("delete", Verbs::DELETE, maker.delete()),
    ];
    maker.add(paths, named.clone(), true, row.namespaced, operations);
    if row.namespaced && row.verbs.contains(Verbs::LIST) {
        let everywhere = [("get", Verbs::LIST, maker.list("", "ForAllNamespaces"))];
        maker.add(paths, format!("{base}/{}", row.resource), false, false, everywhere);
    }
    for sub in &row.subresources {
        maker.subresource(sub, &named, paths);
    }
}

impl Maker<'_> {
    fn add<const N: usize>(
        &self,
        paths: &mut Map<String, Value>,
        path: String,
        named: bool,
        namespaced: bool,
        operations: [(&str, Verbs, Operation); N],
    ) {
        let mut item = Map::new();
        for (method, verb, operation) in operations {
            if self.row.verbs.contains(verb) {
                item.insert(method.to_owned(), operation.print(self.dialect));
            }
        }
        self.finish(paths, path, named, namespaced, item);
    }

    fn finish(
        &self,
        paths: &mut Map<String, Value>,
        path: String,
        named: bool,
        namespaced: bool,
        mut item: Map<String, Value>,
    ) {
        if item.is_empty() {
            return;
        }
        let mut parameters = Vec::new();
        if named {
            parameters.push(parameter("name", "string", "path", self.dialect));
        }
        if namespaced {
            parameters.push(parameter("namespace", "string", "path", self.dialect));
        }
        parameters.push(parameter("pretty", "string", "query", self.dialect));
        item.insert("parameters".to_owned(), Value::Array(parameters));
        paths.insert(path, Value::Object(item));
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
            tag: format!("{}_{}", names::group(&row.group), row.version),
            action,
            kind: Some((row.group.to_string(), row.version.to_string(), row.kind.to_string())),
            parameters: Vec::new(),
            body: None,
            responses: responses.iter().map(|code| (*code, Some(model.clone()))).collect(),
            patches: false,
            watches: false,
            custom: row.custom,
        }
    }

    fn list(&self, scope: &str, suffix: &str) -> Operation {
        let list = self.model(&self.row.list_kind);
        Operation {
            id: self.id("list", &format!("{scope}{}{suffix}", self.row.kind)),
            parameters: LIST.to_vec(),
            responses: vec![("200", Some(list))],
            watches: self.row.verbs.contains(Verbs::WATCH),
            ..self.operation("list", "list", &[])
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
        self.operation("read", "get", &["200"])
    }

    fn replace(&self) -> Operation {
        let body = Some((self.model(&self.row.kind), true));
        Operation { parameters: WRITE.to_vec(), body, ..self.operation("replace", "put", &["200", "201"]) }
    }

    fn patch(&self) -> Operation {
        let mut parameters = WRITE.to_vec();
        parameters.push(FORCE);
        let body = Some((names::model(META, "Patch"), true));
        Operation { parameters, body, patches: true, ..self.operation("patch", "patch", &["200", "201"]) }
    }

    fn delete(&self) -> Operation {
        let status = names::model(META, "Status");
        Operation {
            parameters: DELETE.to_vec(),
            body: Some((names::model(META, "DeleteOptions"), false)),
            responses: vec![("200", Some(status.clone())), ("202", Some(status))],
            ..self.operation("delete", "delete", &[])
        }
    }

    fn delete_collection(&self) -> Operation {
        let mut parameters: Vec<Parameter> =
            LIST.iter().filter(|(name, _)| !name.contains("atch")).copied().collect();
        parameters.extend(DELETE);
        parameters.sort_unstable();
        Operation {
            id: self.id("delete", &format!("Collection{}{}", self.scope(), self.row.kind)),
            parameters,
            body: Some((names::model(META, "DeleteOptions"), false)),
            responses: vec![("200", Some(names::model(META, "Status")))],
            ..self.operation("delete", "deletecollection", &[])
        }
    }

    fn subresource(&self, sub: &Subresource, named: &str, paths: &mut Map<String, Value>) {
        let row = self.row;
        let kind = match &sub.kind {
            Some((group, version, kind)) => (group.to_string(), version.to_string(), kind.to_string()),
            None => (row.group.to_string(), row.version.to_string(), row.kind.to_string()),
        };
        let model = match proto::schema::lookup(&kind.0, &kind.1, &kind.2) {
            _ if sub.kind.is_none() => self.model(&row.kind),
            Some(ty) => names::of_type(ty),
            None => names::model(META, "Status"),
        };
        let tail = format!("{}{}{}", self.scope(), row.kind, names::capital(&sub.name));
        let mut item = Map::new();
        let mut put = |method: &str, verb: &str, operation: Operation| {
            let responses =
                operation.responses.into_iter().map(|(code, _)| (code, Some(model.clone()))).collect();
            let operation =
                Operation { id: self.id(verb, &tail), kind: Some(kind.clone()), responses, ..operation };
            item.insert(method.to_owned(), operation.print(self.dialect));
        };
        if let Handler::Connect(Connect::PodLog) = sub.handler {
            let responses = vec![("200", None)];
            let log = Operation { id: self.id("read", &tail), responses, ..self.read() };
            item.insert("get".to_owned(), log.print(self.dialect));
        } else if let Handler::Connect(connect) = sub.handler {
            let passes = matches!(connect, Connect::PodProxy | Connect::ServiceProxy | Connect::NodeProxy);
            let methods = if passes { PROXIED } else { &["get", "post"] };
            let connect = |method: &str, suffix: &str| Operation {
                id: self.id("connect", &format!("{}{tail}{suffix}", names::capital(method))),
                kind: Some(kind.clone()),
                responses: vec![("200", None)],
                ..self.operation("connect", "connect", &[])
            };
            let all = |suffix: &str| -> Map<String, Value> {
                let print =
                    |method: &&str| ((*method).to_owned(), connect(method, suffix).print(self.dialect));
                methods.iter().map(print).collect()
            };
            item = all("");
            if passes {
                let path = format!("{named}/{}/{{path}}", sub.name);
                self.finish(paths, path, true, row.namespaced, all("WithPath"));
            }
        } else {
            if sub.verbs.contains(Verbs::GET) {
                put("get", "read", self.read());
            }
            if sub.verbs.contains(Verbs::CREATE) {
                put("post", "create", Operation { body: Some((model.clone(), true)), ..self.create() });
            }
            if sub.verbs.contains(Verbs::UPDATE) {
                put("put", "replace", Operation { body: Some((model.clone(), true)), ..self.replace() });
            }
            if sub.verbs.contains(Verbs::PATCH) {
                put("patch", "patch", self.patch());
            }
        }
        self.finish(paths, format!("{named}/{}", sub.name), true, row.namespaced, item);
    }
}
