//! OpenAPI documents, made from the rows and the schema table: version 2 of everything, version 3 by group and
//! version, each as JSON and as protobuf.
//!
//! Documents are made when first asked for, piece by piece, and kept compressed until the rows they were made from
//! change.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzDecoder, GzEncoder};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, ETAG, EXPIRES, HeaderName, HeaderValue,
    IF_NONE_MATCH, LOCATION, VARY,
};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

use self::paths::Row;
use crate::endpoints::answer;
use crate::registry::{Endpoint, Registry};
use crate::server::{Body, Response};

mod docs;
mod gnostic;
mod names;
mod operations;
mod paths;
mod schemas;
#[cfg(test)]
mod tests;

const JSON: &str = "application/json";
/// The types that ask for protobuf; answers are of the first.
const PROTOBUF_V2: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
];
const PROTOBUF_V3: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v3@v1.0+protobuf",
];
/// How long what is addressed by its hash may be kept: a year.
const FOREVER: i64 = 365 * 24;

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

    /// A reference stands alone in version 3: one that says more is wrapped.
    fn wrapped(self, mut schema: Value) -> Value {
        let Value::Object(map) = &mut schema else { return schema };
        if self == Dialect::V3
            && map.len() > 1
            && let Some(reference) = map.remove("$ref")
        {
            map.insert("allOf".to_owned(), json!([{"$ref": reference}]));
        }
        schema
    }

    /// The media types of a request, whether each is protobuf, and what the answer is called.
    fn offers(self) -> [(&'static str, bool, &'static str); 3] {
        let [new, old] = if self == Dialect::V2 { PROTOBUF_V2 } else { PROTOBUF_V3 };
        [(JSON, false, JSON), (new, true, new), (old, true, new)]
    }
}

/// A finished document: both of its forms, compressed.
struct Document {
    json: Bytes,
    /// Of the JSON, in capital hexadecimal digits.
    hash: String,
    protobuf: OnceLock<Bytes>,
    name: String,
    rows: Vec<Row>,
    dialect: Dialect,
}

/// What documents were made, and from which rows.
#[derive(Default)]
struct Made {
    documents: HashMap<String, Arc<Document>>,
    /// The newest registry seen, its rows by document, and the list of the documents once it was asked for.
    seen: Option<(Arc<Registry>, Arc<BTreeMap<String, Vec<Row>>>, Option<Arc<Document>>)>,
}

/// Serves OpenAPI documents.
#[derive(Default)]
pub struct OpenApi {
    made: Mutex<Made>,
}

impl OpenApi {
    /// The answer to a request below `/openapi`; `None` if there is no such document. Making a document takes a while.
    pub fn answer(
        &self,
        registry: &Arc<Registry>,
        path: &str,
        query: &str,
        headers: &HeaderMap,
    ) -> Option<Response> {
        let path = path.trim_end_matches('/');
        let mut made = self.made.lock();
        if path == "/openapi/v3" {
            return Some(respond(&made.index(registry), JSON, false, headers));
        }
        let (name, dialect) = match path {
            "/openapi/v2" => ("", Dialect::V2),
            _ => (path.strip_prefix("/openapi/v3/")?, Dialect::V3),
        };
        let document = made.document(registry, name)?;
        drop(made);
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let Some((protobuf, media)) = negotiate(accept, dialect) else {
            return Some(answer::bytes(StatusCode::NOT_ACCEPTABLE, JSON, Body::Full(Bytes::new())));
        };
        let asked =
            query.split('&').find_map(|pair| pair.strip_prefix("hash=")).filter(|hash| !hash.is_empty());
        if dialect == Dialect::V2 || asked.is_none() {
            return Some(respond(&document, media, protobuf, headers));
        }
        if asked != Some(&document.hash) {
            return Some(redirect(name, &document));
        }
        let mut response = respond(&document, media, protobuf, headers);
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        let until = jiff::Timestamp::now().checked_add(jiff::Span::new().hours(FOREVER)).unwrap_or_default();
        put(headers, EXPIRES, &until.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string());
        Some(response)
    }
}

impl Made {
    /// The rows of each document of version 3.
    fn rows(&mut self, registry: &Arc<Registry>) -> Arc<BTreeMap<String, Vec<Row>>> {
        if let Some((seen, rows, _)) = &self.seen
            && Arc::ptr_eq(seen, registry)
        {
            return rows.clone();
        }
        let mut rows: BTreeMap<String, Vec<Row>> =
            paths::ROOTS.iter().map(|name| ((*name).to_owned(), Vec::new())).collect();
        for endpoint in served(registry) {
            let served = registry.find(&endpoint.api_version(), &endpoint.resource);
            let row =
                Row { endpoint: endpoint.clone(), storage: served.and_then(|served| served.storage.clone()) };
            rows.entry(names::document(endpoint)).or_default().push(row);
            if !endpoint.group.is_empty() && !endpoint.custom {
                rows.entry(format!("apis/{}", endpoint.group)).or_default();
            }
        }
        let rows = Arc::new(rows);
        self.documents.retain(|name, _| name.is_empty() || rows.contains_key(name));
        self.seen = Some((registry.clone(), rows.clone(), None));
        rows
    }

    /// The list of the documents of version 3.
    fn index(&mut self, registry: &Arc<Registry>) -> Arc<Document> {
        let rows = self.rows(registry);
        if let Some((_, _, Some(index))) = &self.seen {
            return index.clone();
        }
        let mut paths = Map::new();
        for name in rows.keys() {
            if let Some(document) = self.document(registry, name) {
                let url = format!("/openapi/v3/{name}?hash={}", document.hash);
                paths.insert(name.clone(), json!({"serverRelativeURL": url}));
            }
        }
        let mut printer = Printer::new();
        printer.write(json!({"paths": paths}).to_string().as_bytes());
        let index = Arc::new(printer.finish("", Vec::new(), Dialect::V3));
        if let Some((_, _, kept)) = &mut self.seen {
            *kept = Some(index.clone());
        }
        index
    }

    /// A document of version 3 or, without a name, that of version 2.
    fn document(&mut self, registry: &Arc<Registry>, name: &str) -> Option<Arc<Document>> {
        let by_name = self.rows(registry);
        let (rows, dialect) = match name {
            "" => (by_name.values().flatten().cloned().collect(), Dialect::V2),
            name => (by_name.get(name)?.clone(), Dialect::V3),
        };
        let same = |document: &Document| {
            let pairs = document.rows.iter().zip(&rows);
            document.rows.len() == rows.len()
                && pairs.into_iter().all(|(old, new): (&Row, &Row)| Arc::ptr_eq(&old.endpoint, &new.endpoint))
        };
        if let Some(document) = self.documents.get(name)
            && same(document)
        {
            return Some(document.clone());
        }
        let mut printer = Printer::new();
        pieces(name, &rows, dialect, &mut |section, name, value| printer.put(section, name, value));
        printer.close();
        let document = Arc::new(printer.finish(name, rows, dialect));
        self.documents.insert(name.to_owned(), document.clone());
        Some(document)
    }
}

fn served(registry: &Registry) -> impl Iterator<Item = &Arc<Endpoint>> {
    registry.endpoints().filter(|row| !row.verbs.is_empty() || !row.subresources.is_empty())
}

/// The form that a client likes best of those there are, and its name.
fn negotiate(accept: &str, dialect: Dialect) -> Option<(bool, &'static str)> {
    let accept = if accept.trim().is_empty() { "*/*" } else { accept };
    let mut clauses: Vec<(&str, f32)> = accept.split(',').map(clause).collect();
    clauses.sort_by(|a, b| b.1.total_cmp(&a.1));
    clauses.iter().find_map(|(wanted, _)| {
        let (kind, subtype) = wanted.split_once('/')?;
        let offers = dialect.offers().into_iter();
        let fits = |of: &str, wanted: &str| wanted == "*" || of == wanted;
        offers
            .filter(|(media, ..)| {
                media.split_once('/').is_some_and(|(own, sub)| fits(own, kind) && fits(sub, subtype))
            })
            .map(|(_, protobuf, media)| (protobuf, media))
            .next()
    })
}

/// The type of a clause of `Accept` and its weight.
fn clause(text: &str) -> (&str, f32) {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q=")).and_then(|weight| weight.parse().ok());
    (media, weight.unwrap_or(1.0))
}

fn respond(document: &Document, media: &'static str, protobuf: bool, headers: &HeaderMap) -> Response {
    let header =
        |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let tag = format!("\"{}\"", document.hash);
    let (code, body) = match header(IF_NONE_MATCH).contains(&tag) {
        true => (StatusCode::NOT_MODIFIED, Bytes::new()),
        false => (StatusCode::OK, if protobuf { document.protobuf() } else { document.json.clone() }),
    };
    let zipped = header(ACCEPT_ENCODING).split(',').any(|coding| coding.trim().starts_with("gzip"));
    let body = if zipped { body } else { unpack(&body) };
    let sent = !body.is_empty();
    let mut response = answer::bytes(code, media, Body::Full(body));
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if zipped && sent {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    put(headers, ETAG, &tag);
    response
}

fn redirect(name: &str, document: &Document) -> Response {
    let mut response = answer::bytes(StatusCode::MOVED_PERMANENTLY, JSON, Body::Full(Bytes::new()));
    let location = format!("/openapi/v3/{name}?hash={}", document.hash);
    put(response.headers_mut(), LOCATION, &location);
    response
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn unpack(packed: &[u8]) -> Bytes {
    let mut decoder = GzDecoder::new(Vec::new());
    let written = decoder.write_all(packed).and_then(|()| decoder.finish());
    written.unwrap_or_default().into()
}

impl Document {
    fn protobuf(&self) -> Bytes {
        let make = || {
            let mut packed = GzEncoder::new(Vec::new(), Compression::default());
            // Messages joined are one message of all their fields.
            pieces(&self.name, &self.rows, self.dialect, &mut |section, name, value| {
                let _ = packed.write_all(&gnostic::encode(&piece(section, name, value), self.dialect));
            });
            packed.finish().unwrap_or_default().into()
        };
        self.protobuf.get_or_init(make).clone()
    }
}

/// Prints JSON as its pieces come, compressed and hashed.
struct Printer {
    packed: GzEncoder<Vec<u8>>,
    hash: Sha512,
    /// The objects that are open, outermost first.
    open: Vec<&'static str>,
    /// Whether the innermost has a field already.
    filled: bool,
}

impl Printer {
    fn new() -> Printer {
        let packed = GzEncoder::new(Vec::new(), Compression::default());
        Printer { packed, hash: Sha512::new(), open: Vec::new(), filled: false }
    }

    fn write(&mut self, text: &[u8]) {
        self.hash.update(text);
        // Writes to memory don't fail.
        let _ = self.packed.write_all(text);
    }

    /// Adds a field to the object at a path.
    fn put(&mut self, section: &'static [&'static str], name: &str, value: Value) {
        if self.open.is_empty() {
            self.write(b"{");
            self.open.push("");
        }
        let shared = self.open.iter().skip(1).zip(section).take_while(|(own, wanted)| own == wanted).count();
        while self.open.len() > shared + 1 {
            self.write(b"}");
            self.open.pop();
            self.filled = true;
        }
        for part in &section[shared..] {
            self.field(part);
            self.write(b"{");
            self.open.push(part);
            self.filled = false;
        }
        self.field(name);
        self.write(value.to_string().as_bytes());
        self.filled = true;
    }

    fn field(&mut self, name: &str) {
        if self.filled {
            self.write(b",");
        }
        self.write(Value::from(name).to_string().as_bytes());
        self.write(b":");
    }

    fn close(&mut self) {
        while self.open.pop().is_some() {
            self.write(b"}");
        }
    }

    fn finish(self, name: &str, rows: Vec<Row>, dialect: Dialect) -> Document {
        let hash = self.hash.finalize().iter().map(|byte| format!("{byte:02X}")).collect();
        let json = self.packed.finish().unwrap_or_default().into();
        Document { json, hash, protobuf: OnceLock::new(), name: name.to_owned(), rows, dialect }
    }
}

/// A document that has one field of the object at a path.
fn piece(section: &[&str], name: &str, value: Value) -> Value {
    let inner = Value::Object(Map::from_iter([(name.to_owned(), value)]));
    section
        .iter()
        .rev()
        .fold(inner, |inner, part| Value::Object(Map::from_iter([((*part).to_owned(), inner)])))
}

/// Takes a field of the object at a path of a document.
type Put<'a> = dyn FnMut(&'static [&'static str], &str, Value) + 'a;

/// Makes a document, piece by piece.
fn pieces(name: &str, rows: &[Row], dialect: Dialect, put: &mut Put<'_>) {
    let custom = dialect == Dialect::V3 && rows.first().is_some_and(|row| row.endpoint.custom);
    match dialect {
        Dialect::V2 => put(&[], "swagger", json!("2.0")),
        Dialect::V3 => put(&[], "openapi", json!("3.0.0")),
    }
    put(&[], "info", if custom { custom_info() } else { info() });
    let mut wanted = Vec::new();
    for (path, item) in paths(name, rows, dialect) {
        schemas::references(&item, &mut wanted);
        put(&["paths"], &path, item);
    }
    let section: &'static [&'static str] = match dialect {
        Dialect::V2 => &["definitions"],
        Dialect::V3 => &["components", "schemas"],
    };
    schemas::reachable(wanted, rows, dialect, &mut |model, schema| put(section, model, schema));
    if custom {
        return;
    }
    match dialect {
        Dialect::V2 => {
            put(&[], "securityDefinitions", json!({"BearerToken": bearer_token()}));
            put(&[], "security", json!([{"BearerToken": []}]));
        }
        Dialect::V3 => put(&["components"], "securitySchemes", json!({"BearerToken": bearer_token()})),
    }
}

/// The paths of a document, made as they are taken.
fn paths(name: &str, rows: &[Row], dialect: Dialect) -> Box<dyn Iterator<Item = (String, Value)>> {
    let mut by_document: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    match dialect {
        Dialect::V3 => drop(by_document.insert(name.to_owned(), rows.to_vec())),
        Dialect::V2 => {
            paths::ROOTS.iter().for_each(|root| drop(by_document.insert((*root).to_owned(), Vec::new())));
            for row in rows {
                by_document.entry(names::document(&row.endpoint)).or_default().push(row.clone());
                if !row.endpoint.group.is_empty() && !row.endpoint.custom {
                    by_document.entry(format!("apis/{}", row.endpoint.group)).or_default();
                }
            }
        }
    }
    Box::new(by_document.into_iter().flat_map(move |(name, rows)| {
        let root = paths::root(&name, &rows, dialect);
        root.into_iter().chain(rows.into_iter().flat_map(move |row| paths::resource(&row, dialect)))
    }))
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": component_base::version::info()["gitVersion"]})
}

fn custom_info() -> Value {
    json!({"title": "Kubernetes CRD Swagger", "version": "v0.1.0"})
}

fn bearer_token() -> Value {
    json!({"type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header"})
}
