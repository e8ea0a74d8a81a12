//! The shape a request wants objects in, wherever they come from: as they are, as rows of a Table, or their metadata alone.

use std::sync::Arc;

use http::StatusCode;
use jiff::Timestamp;
use proto::schema::{self, Type};
use proto::status::{Status, reason};
use serde_json::{Value, json};

use super::negotiate::{Format, Output, Transform};
use super::{answer, decode, table};
use crate::registry::{Ages, Endpoint};
use crate::server::Response;
use crate::storage::codec::schema_of;

/// What a Table row shows of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Include {
    /// Metadata.
    Metadata,
    /// Nothing.
    None,
    /// All of it.
    Object,
}

impl Include {
    /// From the parameter `includeObject`.
    pub fn parse(text: Option<&str>) -> Result<Self, Status> {
        match text.unwrap_or_default() {
            "" | "Metadata" => Ok(Include::Metadata),
            "None" => Ok(Include::None),
            "Object" => Ok(Include::Object),
            other => Err(Status::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {}: must be 'Metadata', 'Object', 'None', or empty",
                proto::field::quote(other)
            ))),
        }
    }
}

/// The shape of answers about one endpoint's objects.
#[derive(Clone)]
pub struct Shape {
    /// Encoding and transformation.
    pub output: Output,
    /// Whose objects, in which version.
    pub endpoint: Arc<Endpoint>,
    /// What Table rows show.
    pub include: Include,
    /// When, for ages.
    pub now: Timestamp,
}

impl Shape {
    /// Refuses to show a list as an object's metadata, and the other way round.
    pub(super) fn fits(&self, list: bool) -> Result<(), Status> {
        let Transform::Metadata(_, asked) = self.output.transform else { return Ok(()) };
        if asked == list {
            return Ok(());
        }
        let package = decode::internal_package(&self.endpoint.group);
        let (wanted, is, kind) = match list {
            true => ("PartialObjectMetadata", "a list", &self.endpoint.list_kind),
            false => ("PartialObjectMetadataList", "not a list", &self.endpoint.kind),
        };
        let ty = match (self.endpoint.custom, list) {
            (true, true) => "unstructured.UnstructuredList".to_owned(),
            (true, false) => "unstructured.Unstructured".to_owned(),
            (false, _) => format!("{package}.{kind}"),
        };
        let text = format!("you requested {wanted}, but the requested object is {is} (*{ty})");
        Err(Status::failure(406, reason::NOT_ACCEPTABLE, text))
    }

    /// An object of the endpoint's version in this shape, and its type, if it has one.
    pub(super) fn value(&self, value: Value) -> (Value, Option<&Type>) {
        match self.output.transform {
            Transform::None => (value, schema_of(&self.endpoint)),
            Transform::Metadata(version, _) => (metadata_only(&value, version), partial_type()),
            Transform::Table(version) => {
                let revision = value.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
                let mut table = table::head(&self.endpoint, version, &json!({"resourceVersion": revision}));
                table["rows"] = json!([self.row(&value, version, &Ages::at(self.now))]);
                (table, None)
            }
        }
    }

    /// An answer with one object of the endpoint's version.
    pub fn object(&self, code: StatusCode, value: Value) -> Result<Response, Status> {
        self.fits(false)?;
        let (value, ty) = self.value(value);
        Ok(answer::object(code, self.output, &value, ty))
    }

    /// An answer with a list of objects that aren't stored.
    pub fn objects(&self, values: Vec<Value>) -> Result<Response, Status> {
        self.fits(true)?;
        let endpoint = &self.endpoint;
        // As text, a typed list without items would say null.
        let bare = values.is_empty() && self.output.format != Format::Protobuf;
        let (list, ty) = match self.output.transform {
            Transform::None => {
                let list = json!({
                    "kind": endpoint.list_kind, "apiVersion": endpoint.api_version(),
                    "metadata": {}, "items": values,
                });
                (list, schema::lookup(&endpoint.group, &endpoint.version, &endpoint.list_kind))
            }
            Transform::Metadata(version, _) => {
                let items: Vec<_> = values.iter().map(|value| metadata_only(value, version)).collect();
                let list = json!({
                    "kind": "PartialObjectMetadataList", "apiVersion": format!("meta.k8s.io/{version}"),
                    "metadata": {}, "items": items,
                });
                (list, schema::lookup("meta.k8s.io", "v1", "PartialObjectMetadataList"))
            }
            Transform::Table(version) => {
                let mut table = table::head(endpoint, version, &json!({}));
                let ages = Ages::at(self.now);
                table["rows"] = values.iter().map(|value| self.row(value, version, &ages)).collect();
                (table, None)
            }
        };
        Ok(answer::object(StatusCode::OK, self.output, &list, ty.filter(|_| !bare)))
    }

    /// A Table's row.
    pub(super) fn row(&self, object: &Value, version: &str, ages: &Ages) -> Value {
        table::row(&self.endpoint, object, version, self.include, ages)
    }
}

pub(super) fn partial_type() -> Option<&'static Type> {
    schema::lookup("meta.k8s.io", "v1", "PartialObjectMetadata")
}

/// The object's metadata alone.
pub(super) fn metadata_only(value: &Value, version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": value.get("metadata").cloned().unwrap_or_else(|| json!({})),
    })
}
