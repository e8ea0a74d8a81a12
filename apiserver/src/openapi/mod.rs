//! OpenAPI documents, made from the rows and the schema table: version 2 of everything, version 3 by group and
//! version.
//!
//! Documents are made when first asked for and kept until the rows they were made from change.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH, LOCATION, VARY};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

use crate::endpoints::answer;
use crate::registry::{Endpoint, Registry};
use crate::server::{Body, Response};

mod names;
mod operations;
mod paths;
mod schemas;
#[cfg(test)]
mod tests;

/// The two forms of the specification.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    V2,
    V3,
}

impl Dialect {
    /// A reference to the schema of a model.
    fn reference(self, model: &str) -> Value {
        match self {
            Dialect::V2 => json!({"$ref": format!("#/definitions/{model}")}),
            Dialect::V3 => json!({"$ref": format!("#/components/schemas/{model}")}),
        }
    }
}

/// A finished document.
#[derive(Clone)]
struct Document {
    body: Bytes,
    hash: String,
}

impl Document {
    fn of(value: &Value) -> Document {
        let body = serde_json::to_vec(value).unwrap_or_default();
        let hash = Sha512::digest(&body).iter().map(|byte| format!("{byte:02X}")).collect();
        Document { body: body.into(), hash }
    }
}

/// A document and the rows it was made from.
struct Made {
    rows: Vec<Arc<Endpoint>>,
    document: Document,
}

/// Serves OpenAPI documents.
#[derive(Default)]
pub struct OpenApi {
    made: Mutex<HashMap<String, Made>>,
}

impl OpenApi {
    /// The answer to a request below `/openapi`; `None` if there is no such document.
    pub fn answer(
        &self,
        registry: &Registry,
        path: &str,
        query: &str,
        headers: &HeaderMap,
    ) -> Option<Response> {
        let path = path.trim_end_matches('/');
        match path {
            "/openapi/v2" => {
                // The protobuf form of version 2 isn't served; clients that ask for nothing else are told so.
                let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
                if !accept.contains("json") && !accept.contains("*/*") {
                    return Some(answer::bytes(
                        StatusCode::NOT_ACCEPTABLE,
                        "application/json",
                        Body::Full(Bytes::new()),
                    ));
                }
                let rows: Vec<_> = served(registry).cloned().collect();
                let document = self.document("v2", rows, |rows| document_v2(rows));
                Some(respond(&document, headers, "no-cache, private"))
            }
            "/openapi/v3" => {
                let index = self.index(registry);
                Some(respond(&Document::of(&index), headers, "no-cache, private"))
            }
            _ => {
                let name = path.strip_prefix("/openapi/v3/")?;
                let document = self.v3(registry, name)?;
                let asked = query.split('&').find_map(|pair| pair.strip_prefix("hash="));
                match asked {
                    Some(hash) if hash == document.hash => {
                        Some(respond(&document, headers, "public, immutable"))
                    }
                    Some(_) => Some(redirect(name, &document)),
                    None => Some(respond(&document, headers, "no-cache, private")),
                }
            }
        }
    }

    fn index(&self, registry: &Registry) -> Value {
        let mut names: Vec<String> = paths::ROOTS.iter().map(|name| (*name).to_owned()).collect();
        for endpoint in served(registry) {
            names.push(names::document(endpoint));
            if !endpoint.group.is_empty() {
                names.push(format!("apis/{}", endpoint.group));
            }
        }
        let mut paths = Map::new();
        for name in names {
            if !paths.contains_key(&name)
                && let Some(document) = self.v3(registry, &name)
            {
                let url = format!("/openapi/v3/{name}?hash={}", document.hash);
                paths.insert(name, json!({"serverRelativeURL": url}));
            }
        }
        json!({"paths": paths})
    }

    fn v3(&self, registry: &Registry, name: &str) -> Option<Document> {
        let rows: Vec<_> = served(registry).filter(|row| names::document(row) == name).cloned().collect();
        let group = name.strip_prefix("apis/").unwrap_or_default();
        let plain = paths::ROOTS.contains(&name)
            || served(registry).any(|row| !group.is_empty() && row.group == group);
        if rows.is_empty() && !plain {
            return None;
        }
        Some(self.document(name, rows, |rows| document_v3(name, rows)))
    }

    fn document(
        &self,
        name: &str,
        rows: Vec<Arc<Endpoint>>,
        make: impl FnOnce(&[Arc<Endpoint>]) -> Value,
    ) -> Document {
        let mut made = self.made.lock();
        if let Some(made) = made.get(name)
            && made.rows.len() == rows.len()
            && made.rows.iter().zip(&rows).all(|(old, new)| Arc::ptr_eq(old, new))
        {
            return made.document.clone();
        }
        let document = Document::of(&make(&rows));
        made.insert(name.to_owned(), Made { rows, document: document.clone() });
        document
    }
}

fn served(registry: &Registry) -> impl Iterator<Item = &Arc<Endpoint>> {
    registry.endpoints().filter(|row| !row.verbs.is_empty() || !row.subresources.is_empty())
}

fn respond(document: &Document, headers: &HeaderMap, cache: &'static str) -> Response {
    let tag = format!("\"{}\"", document.hash);
    let known = headers
        .get(IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|tags| tags.contains(&tag));
    let mut response = match known {
        true => answer::bytes(StatusCode::NOT_MODIFIED, "application/json", Body::Full(Bytes::new())),
        false => answer::bytes(StatusCode::OK, "application/json", Body::Full(document.body.clone())),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    response
}

fn redirect(name: &str, document: &Document) -> Response {
    let mut response =
        answer::bytes(StatusCode::MOVED_PERMANENTLY, "application/json", Body::Full(Bytes::new()));
    if let Ok(location) = HeaderValue::from_str(&format!("/openapi/v3/{name}?hash={}", document.hash)) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": component_base::version::info()["gitVersion"]})
}

fn document_v3(name: &str, rows: &[Arc<Endpoint>]) -> Value {
    let paths = paths::of(name, rows, Dialect::V3);
    let schemas = schemas::reachable(&paths, rows, Dialect::V3);
    json!({
        "openapi": "3.0.0",
        "info": info(),
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"BearerToken": bearer_token()}},
    })
}

fn document_v2(rows: &[Arc<Endpoint>]) -> Value {
    let mut by_document: BTreeMap<String, Vec<Arc<Endpoint>>> = BTreeMap::new();
    for row in rows {
        by_document.entry(names::document(row)).or_default().push(row.clone());
        if !row.group.is_empty() {
            by_document.entry(format!("apis/{}", row.group)).or_default();
        }
    }
    for root in paths::ROOTS {
        by_document.entry((*root).to_owned()).or_default();
    }
    let mut paths = Map::new();
    for (name, rows) in &by_document {
        paths.extend(paths::of(name, rows, Dialect::V2));
    }
    let definitions = schemas::reachable(&paths, rows, Dialect::V2);
    json!({
        "swagger": "2.0",
        "info": info(),
        "paths": paths,
        "definitions": definitions,
        "securityDefinitions": {"BearerToken": bearer_token()},
        "security": [{"BearerToken": []}],
    })
}

fn bearer_token() -> Value {
    json!({"type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header"})
}
