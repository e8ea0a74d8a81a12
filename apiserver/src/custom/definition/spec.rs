//! The spec of a definition, in the form upstream validates: what all versions have in common stands on its own, so that errors
//! about the only version's schema are at `spec.validation`.

use proto::content;
use proto::field::{Error, Errors, Path, quote};
use proto::view::{at, strs, text_at};
use serde_json::Value;

use super::rules::Rules;
use super::{conversion, field_path, schema};
use crate::custom::schema::Schema;
use crate::custom::version;

/// How many fields of a version selectors may name.
const MAX_SELECTABLE: usize = 8;
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];

/// What each version may say for itself, or all together.
#[derive(Default)]
struct Part {
    /// Whether there is a `schema`, and what is in it.
    schema: Option<Option<Schema>>,
    subresources: Value,
    columns: Vec<Value>,
    selectable: Vec<Value>,
}

/// A spec.
pub(super) struct Spec<'a> {
    value: &'a Value,
    versions: Vec<(&'a Value, Part)>,
    common: Part,
}

impl<'a> Spec<'a> {
    /// The spec of a definition.
    pub(super) fn of(definition: &'a Value) -> Self {
        let list = |version: &Value, name: &str| at(version, &[name]).as_array().cloned().unwrap_or_default();
        let part = |version: &Value| Part {
            schema: version.get("schema").filter(|schema| schema.is_object()).map(|schema| {
                schema.get("openAPIV3Schema").filter(|schema| schema.is_object()).map(Schema::parse)
            }),
            subresources: at(version, &["subresources"]).clone(),
            columns: list(version, "additionalPrinterColumns"),
            selectable: list(version, "selectableFields"),
        };
        let mut versions: Vec<(&Value, Part)> = version::all(definition).map(|v| (v, part(v))).collect();
        let mut common = Part::default();
        let same = |test: &dyn Fn(&Part, &Part) -> bool| {
            versions.first().is_some_and(|(_, first)| versions.iter().all(|(_, part)| test(first, part)))
        };
        let schemas = same(&|a, b| a.schema == b.schema);
        let subresources = same(&|a, b| a.subresources == b.subresources);
        let columns = same(&|a, b| a.columns == b.columns);
        let selectable = same(&|a, b| a.selectable == b.selectable);
        for (_, part) in &mut versions {
            if schemas {
                common.schema = part.schema.take();
            }
            if subresources {
                common.subresources = part.subresources.take();
            }
            if columns {
                common.columns = std::mem::take(&mut part.columns);
            }
            if selectable {
                common.selectable = std::mem::take(&mut part.selectable);
            }
        }
        Spec { value: at(definition, &["spec"]), versions, common }
    }

    /// All schemas there are.
    pub(super) fn schemas(&self) -> impl Iterator<Item = &Schema> {
        let parts = std::iter::once(&self.common).chain(self.versions.iter().map(|(_, part)| part));
        parts.filter_map(|part| part.schema.as_ref()?.as_ref())
    }

    /// Whether each version has a schema.
    pub(super) fn has_all_schemas(&self) -> bool {
        let given = |part: &Part| matches!(part.schema, Some(Some(_)));
        given(&self.common) || self.versions.iter().all(|(_, part)| given(part))
    }

    /// The versions that have too many selectable fields, as they had before.
    pub(super) fn kept_many_selectable(&self, old: &Spec) -> Vec<String> {
        let mut kept = Vec::new();
        let many = |new: &Part, old: &Part| {
            old.selectable.len() > MAX_SELECTABLE && new.selectable == old.selectable
        };
        if many(&self.common, &old.common) {
            kept.push(String::new());
        }
        for (version, part) in &self.versions {
            let name = text_at(version, &["name"]);
            let before = old.versions.iter().find(|(v, _)| text_at(v, &["name"]) == name);
            if before.is_some_and(|(_, before)| many(part, before)) {
                kept.push(name.to_owned());
            }
        }
        kept
    }

    /// Whether unknown fields of objects are pruned.
    fn prunes(&self) -> bool {
        at(self.value, &["preserveUnknownFields"]) != &Value::Bool(true)
    }

    fn subresources<'b>(&'b self, part: &'b Part) -> &'b Value {
        let own = self.versions.iter().any(|(_, part)| part.subresources.is_object());
        if own { &part.subresources } else { &self.common.subresources }
    }

    /// What is wrong with the spec.
    pub(super) fn validate(&self, path: &Path, rules: &mut Rules) -> Errors {
        let mut errors = Errors::new();
        self.group(path, &mut errors);
        let (at_scope, scope) = (path.child("scope"), text_at(self.value, &["scope"]));
        match scope {
            "" => errors.push(Error::required(&at_scope, "")),
            "Cluster" | "Namespaced" => {}
            other => errors.push(Error::not_supported(&at_scope, other, &["Cluster", "Namespaced"])),
        }
        rules.require_structural |= self.prunes();
        self.schemas_are_there(path, rules, &mut errors);
        self.need_structure(path, rules, &mut errors);
        self.each_version(path, rules, &mut errors);
        self.names(path, &mut errors);
        if let Some(Some(common)) = &self.common.schema {
            let has_status = std::iter::once(&self.common)
                .chain(self.versions.iter().map(|(_, part)| part))
                .any(|part| has_status(&part.subresources));
            errors.extend(schema::validate(&path.child("validation"), common, has_status, rules));
        }
        errors.extend(subresources(&self.common.subresources, &path.child("subresources")));
        for (i, column) in self.common.columns.iter().enumerate() {
            errors.extend(self::column(column, &path.child("additionalPrinterColumns").index(i)));
        }
        self.common_selectable(path, rules, &mut errors);
        let conversion = at(self.value, &["conversion"]);
        let strategy = text_at(conversion, &["strategy"]);
        if conversion.is_object() && strategy != "None" && !self.prunes() {
            let at = path.child("conversion").child("strategy");
            let detail = "must be None if spec.preserveUnknownFields is true";
            errors.push(Error::invalid(&at, strategy, detail));
        }
        let permitted = conversion::Rules {
            require_recognized: rules.require_recognized_review,
            allow_invalid_bundle: rules.allow_invalid_bundle,
        };
        errors.extend(conversion::validate(conversion, &path.child("conversion"), permitted));
        errors
    }

    fn group(&self, path: &Path, errors: &mut Errors) {
        let (at, group) = (path.child("group"), text_at(self.value, &["group"]));
        let messages = content::is_dns1123_subdomain(group);
        if group.is_empty() {
            errors.push(Error::required(&at, ""));
        } else if !messages.is_empty() {
            errors.push(Error::invalid(&at, group, messages.join(",")));
        } else if !group.contains('.') {
            errors.push(Error::invalid(&at, group, "should be a domain with at least one dot"));
        }
    }

    fn schemas_are_there(&self, path: &Path, rules: &Rules, errors: &mut Errors) {
        if matches!(self.common.schema, Some(Some(_))) || !rules.require_schema && !self.prunes() {
            return;
        }
        for (i, (version, part)) in self.versions.iter().enumerate() {
            let detail = match (rules.require_schema, version["served"] == true) {
                (true, _) => "",
                (false, true) => "because otherwise all fields are pruned",
                (false, false) => continue,
            };
            if !matches!(part.schema, Some(Some(_))) {
                let at = path.child("versions").index(i).child("schema").child("openAPIV3Schema");
                errors.push(Error::required(&at, detail));
            }
        }
    }

    fn need_structure(&self, path: &Path, rules: &mut Rules, errors: &mut Errors) {
        let any = |test: &mut dyn FnMut(&Schema) -> bool| self.schemas().any(|schema| schema.any(test));
        if any(&mut |s| s.default.is_some()) {
            rules.require_structural = true;
            if !self.prunes() {
                let at = path.child("preserveUnknownFields");
                errors.push(Error::invalid(
                    &at,
                    true,
                    "must be false in order to use defaults in the schema",
                ));
            }
        }
        rules.require_structural |= any(&mut |s| {
            s.embedded_resource
                || s.preserve_unknown_fields.is_some()
                || s.int_or_string
                || !s.list_map_keys.is_empty()
                || s.list_type.is_some()
                || !s.validations.is_empty()
        });
    }

    fn each_version(&self, path: &Path, rules: &Rules, errors: &mut Errors) {
        let at_versions = path.child("versions");
        let mut names: Vec<&str> = Vec::new();
        let mut unique = true;
        for (i, (version, part)) in self.versions.iter().enumerate() {
            let at = at_versions.index(i);
            let name = text_at(version, &["name"]);
            unique &= !names.contains(&name);
            names.push(name);
            let messages = content::is_dns1035_label(name);
            if !messages.is_empty() {
                errors.push(Error::invalid(&at.child("name"), name, messages.join(",")));
            }
            self.version(version, part, &at, rules, errors);
        }
        if !unique {
            let shown = at(self.value, &["versions"]).clone();
            errors.push(Error::invalid(&at_versions, shown, "must contain unique version names"));
        }
        if self.versions.iter().filter(|(version, _)| version["storage"] == true).count() != 1 {
            let shown = at(self.value, &["versions"]).clone();
            let detail = "must have exactly one version marked as storage version";
            errors.push(Error::invalid(&at_versions, shown, detail));
        }
    }

    fn version(&self, version: &Value, part: &Part, path: &Path, rules: &Rules, errors: &mut Errors) {
        if let Some(text) = version["deprecationWarning"].as_str() {
            let at = path.child("deprecationWarning");
            let messages = deprecation_warning(version["deprecated"] == true, text);
            errors.extend(messages.into_iter().map(|m| Error::invalid(&at, text, m)));
        }
        if let Some(Some(schema)) = &part.schema {
            let has_status = has_status(self.subresources(part));
            errors.extend(schema::validate(&path.child("schema"), schema, has_status, rules));
        }
        errors.extend(subresources(&part.subresources, &path.child("subresources")));
        for (i, column) in part.columns.iter().enumerate() {
            errors.extend(self::column(column, &path.child("additionalPrinterColumns").index(i)));
        }
        if !part.selectable.is_empty() {
            let at = path.child("selectableFields");
            match &part.schema {
                Some(Some(schema)) => {
                    let many = rules.allow_many_selectable.iter().any(|v| v == text_at(version, &["name"]));
                    errors.extend(selectable(&part.selectable, schema, &at, many));
                }
                _ => errors.push(Error::invalid(
                    &at,
                    "",
                    "may only be set when `version.schema.openAPIV3Schema` is not included",
                )),
            }
        }
    }

    fn common_selectable(&self, path: &Path, rules: &Rules, errors: &mut Errors) {
        if self.common.selectable.is_empty() {
            return;
        }
        let at = path.child("selectableFields");
        match &self.common.schema {
            Some(Some(schema)) => {
                let many = rules.allow_many_selectable.iter().any(String::is_empty);
                errors.extend(selectable(&self.common.selectable, schema, &at, many));
            }
            _ => {
                errors.push(Error::invalid(&at, "", "may only be set when validations.schema is included"));
            }
        }
    }

    fn names(&self, path: &Path, errors: &mut Errors) {
        let (names, path) = (at(self.value, &["names"]), path.child("names"));
        for field in ["plural", "singular", "kind", "listKind"] {
            if text_at(names, &[field]).is_empty() {
                errors.push(Error::required(&path.child(field), ""));
            }
        }
        errors.extend(self::names(names, &path));
    }
}

fn has_status(subresources: &Value) -> bool {
    at(subresources, &["status"]).is_object()
}

fn deprecation_warning(deprecated: bool, text: &str) -> Vec<String> {
    if !deprecated {
        return vec!["can only be set for deprecated versions".to_owned()];
    }
    let mut messages = Vec::new();
    if text.len() > 256 {
        messages.push("must be <= 256 characters long".to_owned());
    }
    if text.is_empty() {
        messages.push("must not be an empty string".to_owned());
    }
    // What Go's quoting would escape is not printable.
    let printable = |c: char| matches!(c, '"' | '\\') || quote(&c.to_string()).chars().nth(1) == Some(c);
    if let Some((i, _)) = text.char_indices().find(|(_, c)| !printable(*c)) {
        messages.push(format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {i}"
        ));
    }
    messages
}

/// What is wrong with names, wanted or accepted.
pub(super) fn names(names: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for field in ["plural", "singular"] {
        let name = text_at(names, &[field]);
        let messages = content::is_dns1035_label(name);
        if !name.is_empty() && !messages.is_empty() {
            errors.push(Error::invalid(&path.child(field), name, messages.join(",")));
        }
    }
    for field in ["kind", "listKind"] {
        let name = text_at(names, &[field]);
        let messages = content::is_dns1035_label(&name.to_lowercase());
        if !name.is_empty() && !messages.is_empty() {
            let detail = format!("may have mixed case, but should otherwise match: {}", messages.join(","));
            errors.push(Error::invalid(&path.child(field), name, detail));
        }
    }
    let each = |field: &'static str, errors: &mut Errors| {
        for (i, name) in strs(at(names, &[field])).into_iter().enumerate() {
            let messages = content::is_dns1035_label(name);
            if !messages.is_empty() {
                errors.push(Error::invalid(&path.child(field).index(i), name, messages.join(",")));
            }
        }
    };
    each("shortNames", &mut errors);
    let kind = text_at(names, &["kind"]);
    if !kind.is_empty() && kind == text_at(names, &["listKind"]) {
        errors.push(Error::invalid(&path.child("listKind"), kind, "kind and listKind may not be the same"));
    }
    each("categories", &mut errors);
    errors
}

fn column(column: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let text = |field: &str| text_at(column, &[field]);
    if text("name").is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    }
    let one_of = |list: &[&str]| format!("must be one of {}", list.join(","));
    match text("type") {
        "" => errors.push(Error::required(&path.child("type"), one_of(&COLUMN_TYPES))),
        ty if !COLUMN_TYPES.contains(&ty) => {
            errors.push(Error::invalid(&path.child("type"), ty, one_of(&COLUMN_TYPES)));
        }
        _ => {}
    }
    let format = text("format");
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
        errors.push(Error::invalid(&path.child("format"), format, one_of(&COLUMN_FORMATS)));
    }
    let at = path.child("JSONPath");
    match text("jsonPath") {
        "" => errors.push(Error::required(&at, "")),
        json_path => errors.extend(simple_path(json_path, &at)),
    }
    errors
}

fn simple_path(text: &str, path: &Path) -> Option<Error> {
    let detail = "must be a simple json path starting with .";
    (!text.starts_with('.')).then(|| Error::invalid(path, text, detail))
}

fn subresources(subresources: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let scale = at(subresources, &["scale"]);
    if !scale.is_object() {
        return errors;
    }
    let cases = [
        ("specReplicasPath", "scale.specReplicasPath", ".spec."),
        ("statusReplicasPath", "scale.statusReplicasPath", ".status."),
    ];
    for (field, name, prefix) in cases {
        let (at, text) = (path.child(name), text_at(scale, &[field]));
        if text.is_empty() {
            errors.push(Error::required(&at, ""));
        } else if let Some(error) = simple_path(text, &at) {
            errors.push(error);
        } else if !text.starts_with(prefix) {
            let detail = format!("should be a json path under {}", prefix.trim_end_matches('.'));
            errors.push(Error::invalid(&at, text, detail));
        }
    }
    let (at, text) = (path.child("scale.labelSelectorPath"), text_at(scale, &["labelSelectorPath"]));
    if !text.is_empty() {
        if let Some(error) = simple_path(text, &at) {
            errors.push(error);
        } else if !text.starts_with(".spec.") && !text.starts_with(".status.") {
            let detail = "should be a json path under either .spec or .status";
            errors.push(Error::invalid(&at, text, detail));
        }
    }
    errors
}

fn selectable(fields: &[Value], schema: &Schema, path: &Path, many: bool) -> Errors {
    let mut errors = Errors::new();
    let mut seen: Vec<Vec<String>> = Vec::new();
    for (i, field) in fields.iter().enumerate() {
        let (at, text) = (path.index(i).child("jsonPath"), text_at(field, &["jsonPath"]));
        if text.is_empty() {
            errors.push(Error::required(&at, ""));
            continue;
        }
        let found = match field_path::follow(text, schema, false) {
            Ok(found) => found,
            Err(error) => {
                errors.push(Error::invalid(&at, text, format!("is an invalid path: {error}")));
                continue;
            }
        };
        if found.steps.first().is_some_and(|first| first == "metadata") {
            errors.push(Error::invalid(&at, text, "must not point to fields in metadata"));
        }
        if !found.schema.is_some_and(|s| matches!(s.ty.as_str(), "string" | "boolean" | "integer")) {
            errors.push(Error::invalid(
                &at,
                text,
                "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.",
            ));
        }
        if seen.contains(&found.steps) {
            errors.push(Error::duplicate(&at, text));
        } else {
            seen.push(found.steps);
        }
    }
    if seen.len() > MAX_SELECTABLE && !many {
        errors.push(Error::too_many(path, seen.len(), MAX_SELECTABLE));
    }
    errors
}
