//! Operations in either form of the specification.

use serde_json::{Map, Value, json};

use super::Dialect;

const OBJECTS: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const CUSTOM: &[&str] = &["application/json", "application/yaml"];
const WATCHES: &[&str] =
    &["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
const PATCHES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
const CUSTOM_PATCHES: &[&str] =
    &["application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"];

/// A query parameter: its name and type.
pub(super) type Parameter = (&'static str, &'static str);

/// What an operation does, whatever the form.
pub(super) struct Operation {
    /// Its unique name.
    pub(super) id: String,
    pub(super) description: String,
    pub(super) tag: String,
    /// `x-kubernetes-action`; empty for none.
    pub(super) action: &'static str,
    /// Group, version and kind, if it is about one.
    pub(super) kind: Option<(String, String, String)>,
    pub(super) parameters: Vec<Parameter>,
    /// The model of the body, and whether there must be one.
    pub(super) body: Option<(String, bool)>,
    /// The codes of success and their model; no model is a plain text.
    pub(super) responses: Vec<(&'static str, Option<String>)>,
    /// The type of an answer that is no Kubernetes object; empty for the usual types.
    pub(super) media: &'static str,
    /// Whether it patches.
    pub(super) patches: bool,
    /// Whether it can watch.
    pub(super) watches: bool,
    /// Whether it is about custom resources, which have no protobuf.
    pub(super) custom: bool,
}

impl Operation {
    /// The operation's object.
    pub(super) fn print(&self, dialect: Dialect) -> Map<String, Value> {
        let mut out = Map::new();
        out.insert("operationId".to_owned(), Value::from(self.id.as_str()));
        if !self.description.is_empty() {
            out.insert("description".to_owned(), Value::from(self.description.as_str()));
        }
        out.insert("tags".to_owned(), json!([self.tag]));
        if !self.action.is_empty() {
            out.insert("x-kubernetes-action".to_owned(), Value::from(self.action));
        }
        if let Some((group, version, kind)) = &self.kind {
            let kind = json!({"group": group, "version": version, "kind": kind});
            out.insert("x-kubernetes-group-version-kind".to_owned(), kind);
        }
        let mut parameters: Vec<Value> =
            self.parameters.iter().map(|(name, kind)| parameter(name, kind, "query", dialect)).collect();
        match dialect {
            Dialect::V2 => {
                if let Some((model, required)) = &self.body {
                    let mut body = json!({"name": "body", "in": "body", "schema": dialect.reference(model)});
                    if *required {
                        body["required"] = Value::Bool(true);
                    }
                    parameters.insert(0, body);
                }
                if self.kind.is_some() {
                    out.insert("consumes".to_owned(), json!(self.consumed()));
                } else if self.responses.iter().any(|(_, model)| model.is_some()) {
                    out.insert("consumes".to_owned(), json!(self.produced()));
                }
                out.insert("produces".to_owned(), json!(self.produced()));
                out.insert("schemes".to_owned(), json!(["https"]));
            }
            Dialect::V3 => {
                if let Some((model, required)) = &self.body {
                    let mut body = json!({"content": content(self.consumed(), &dialect.reference(model))});
                    if *required {
                        body["required"] = Value::Bool(true);
                    }
                    out.insert("requestBody".to_owned(), body);
                }
            }
        }
        if !parameters.is_empty() {
            out.insert("parameters".to_owned(), Value::Array(parameters));
        }
        out.insert("responses".to_owned(), self.answers(dialect));
        out
    }

    fn consumed(&self) -> &'static [&'static str] {
        match (self.patches, self.custom) {
            (true, _) => self.patch_types(),
            (false, true) => CUSTOM,
            (false, false) => &["*/*"],
        }
    }

    fn patch_types(&self) -> &'static [&'static str] {
        if self.custom { CUSTOM_PATCHES } else { PATCHES }
    }

    fn produced(&self) -> Vec<&'static str> {
        if self.media == "text/plain" {
            return [&[self.media], OBJECTS].concat();
        }
        if !self.media.is_empty() {
            return vec![self.media];
        }
        if self.responses.iter().any(|(_, model)| model.is_none()) {
            return vec!["*/*"];
        }
        let mut types = if self.custom { CUSTOM } else { OBJECTS }.to_vec();
        if self.watches && !self.custom {
            types.extend(WATCHES);
        }
        types
    }

    fn answers(&self, dialect: Dialect) -> Value {
        let mut answers = Map::new();
        for (code, model) in &self.responses {
            let description = match *code {
                "201" => "Created",
                "202" => "Accepted",
                _ => "OK",
            };
            let schema =
                model.as_ref().map_or_else(|| json!({"type": "string"}), |model| dialect.reference(model));
            let mut answer = json!({"description": description});
            match dialect {
                Dialect::V2 => answer["schema"] = schema,
                Dialect::V3 => answer["content"] = content(&self.produced(), &schema),
            }
            answers.insert((*code).to_owned(), answer);
        }
        answers.insert("401".to_owned(), json!({"description": "Unauthorized"}));
        Value::Object(answers)
    }
}

fn content(types: &[&str], schema: &Value) -> Value {
    Value::Object(types.iter().map(|name| ((*name).to_owned(), json!({"schema": schema}))).collect())
}

/// A parameter.
pub(super) fn parameter(name: &str, kind: &str, place: &str, dialect: Dialect) -> Value {
    let mut parameter = json!({"name": name, "in": place});
    match dialect {
        Dialect::V2 => {
            parameter["type"] = Value::from(kind);
            parameter["uniqueItems"] = Value::Bool(true);
        }
        Dialect::V3 => parameter["schema"] = json!({"type": kind, "uniqueItems": true}),
    }
    if place == "path" {
        parameter["required"] = Value::Bool(true);
    }
    parameter
}
