//! Options that requests carry in their query, checked as upstream checks them.

use proto::field::{Error, Errors, Path};
use proto::status::Status;
use proto::{fields, labels};
use serde_json::{Value, json};

use crate::cache::entry::Selection;
use crate::custom::Version;
use crate::engine::{At, meta, token};
use crate::registry::{Endpoint, Storage};
use crate::server::query::Query;

/// ListOptions.
#[derive(Debug, Clone)]
pub struct ListOptions {
    /// What is selected.
    pub selection: Selection,
    /// `resourceVersion`
    pub revision: Option<i64>,
    /// `resourceVersionMatch`
    pub exact: Option<bool>,
    /// `limit`
    pub limit: usize,
    /// `continue`
    pub continue_token: String,
    /// `timeoutSeconds`
    pub timeout: Option<u64>,
    /// `allowWatchBookmarks`
    pub bookmarks: bool,
    /// `sendInitialEvents`
    pub initial: Option<bool>,
}

impl ListOptions {
    /// Reads and checks the options of a list or a watch.
    pub fn parse(query: &Query, endpoint: &Endpoint, storage: &Storage, watch: bool) -> Result<Self, Status> {
        let selection = selection(query, endpoint, storage)?;
        let text = query.get("resourceVersion").unwrap_or_default();
        let matching = query.get("resourceVersionMatch").unwrap_or_default();
        let continue_token = query.get("continue").unwrap_or_default().to_owned();
        let initial = query.flag("sendInitialEvents");
        let errors = check(text, matching, !continue_token.is_empty(), initial, watch);
        if !errors.is_empty() {
            return Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errors));
        }
        let number =
            |name| -> Result<Option<i64>, Status> { query.non_empty(name).map(parse_integer).transpose() };
        let revision = (!text.is_empty()).then(|| meta::parse_revision(text)).transpose().map_err(|e| {
            // Upstream's watch and list answer differently.
            if watch {
                Status::failure(500, "", e.of_option())
            } else {
                Status::bad_request(format!("invalid resource version: {}", e.of_option()))
            }
        })?;
        if !watch && !continue_token.is_empty() {
            token::decode("", &continue_token)?;
        }
        if !continue_token.is_empty() && revision.is_some_and(|r| r != 0) {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        Ok(ListOptions {
            selection,
            revision,
            exact: (!matching.is_empty()).then_some(matching == "Exact"),
            limit: usize::try_from(number("limit")?.unwrap_or(0)).unwrap_or(0),
            continue_token,
            timeout: number("timeoutSeconds")?.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0),
            bookmarks: query.flag("allowWatchBookmarks").unwrap_or(false),
            initial,
        })
    }

    /// How fresh a list must be.
    pub fn at(&self) -> At {
        match (self.revision, self.exact) {
            (None, _) => At::Latest,
            (Some(revision), Some(true)) => At::Exact(revision),
            (Some(0), _) => At::Any,
            // Upstream's legacy rule: a page of a given revision is of exactly that one.
            (Some(revision), None) if self.limit > 0 => At::Exact(revision),
            (Some(revision), _) => At::NotOlderThan(revision),
        }
    }
}

/// A number in a query, with Go's errors.
pub fn parse_integer(text: &str) -> Result<i64, Status> {
    text.parse().map_err(|error: std::num::ParseIntError| {
        use std::num::IntErrorKind::{NegOverflow, PosOverflow};
        let range = matches!(error.kind(), PosOverflow | NegOverflow);
        let why = if range { "value out of range" } else { "invalid syntax" };
        Status::bad_request(format!("strconv.ParseInt: parsing {}: {why}", proto::field::quote(text)))
    })
}

fn check(revision: &str, matching: &str, continued: bool, initial: Option<bool>, watch: bool) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("resourceVersionMatch");
    let mut forbid = |text: &str| errors.push(Error::forbidden(&path, text));
    if watch {
        if initial.is_some() && matching != "NotOlderThan" {
            forbid("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
        }
        // A watch of the old kind from the start is one with initial events to upstream, and checked as such.
        if continued && matching.is_empty() && initial.is_none() && matches!(revision, "" | "0") {
            forbid("resourceVersionMatch is forbidden when continue is provided");
        }
        if !matching.is_empty() {
            if initial.is_none() {
                forbid("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
            }
            if continued {
                forbid("resourceVersionMatch is forbidden when continue is provided");
            }
            if matching != "NotOlderThan" {
                errors.push(Error::not_supported(&path, matching, &["NotOlderThan"]));
            }
        }
        return errors;
    }
    if !matching.is_empty() {
        if revision.is_empty() {
            forbid("resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if continued {
            forbid("resourceVersionMatch is forbidden when continue is provided");
        }
        if matching == "Exact" && revision == "0" {
            forbid("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
        if !matches!(matching, "Exact" | "NotOlderThan") {
            errors.push(Error::not_supported(&path, matching, &["Exact", "NotOlderThan", ""]));
        }
    }
    if initial.is_some() {
        errors.push(Error::forbidden(
            &Path::new("sendInitialEvents"),
            "sendInitialEvents is forbidden for list",
        ));
    }
    errors
}

/// The selectors of a request, in the storage row's names.
pub fn selection(query: &Query, endpoint: &Endpoint, storage: &Storage) -> Result<Selection, Status> {
    let labels = labels::Selector::parse(query.get("labelSelector").unwrap_or_default())
        .map_err(|e| Status::bad_request(e.to_string()))?;
    let mut fields = fields::Selector::parse(query.get("fieldSelector").unwrap_or_default())
        .map_err(|e| Status::bad_request(e.to_string()))?;
    for requirement in &mut fields.requirements {
        if let Some((_, own)) = endpoint.field_labels.iter().find(|(l, _)| *l == requirement.field) {
            requirement.field = own.to_string();
        }
        let name = requirement.field.as_str();
        // A custom resource's versions each have selectable fields of their own.
        let own = |version: &Version| version.selectable.iter().any(|field| field == name);
        let known = matches!(name, "metadata.name" | "metadata.namespace")
            || Version::of(endpoint).map_or_else(|| storage.selectable.iter().any(|s| s.name == name), own);
        if !known {
            return Err(Status::bad_request(if storage.selectable.is_empty() && !endpoint.custom {
                format!(
                    "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                    proto::field::quote(name)
                )
            } else {
                format!("field label not supported: {name}")
            }));
        }
    }
    Ok(Selection { labels, fields })
}

/// How strictly a body's unknown and duplicate fields are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// Dropped silently.
    Ignore,
    /// Dropped with a warning.
    Warn,
    /// Refused.
    Strict,
}

/// CreateOptions, UpdateOptions or PatchOptions.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// `fieldManager`
    pub manager: String,
    /// `fieldValidation`
    pub strictness: Strictness,
    /// `force`
    pub force: Option<bool>,
    /// The options object, for hooks and admission.
    pub object: Value,
}

impl WriteOptions {
    /// Reads and checks options of this kind. `apply`: of a server-side apply.
    pub fn parse(query: &Query, kind: &str, apply: bool) -> Result<Self, Status> {
        let dry_run: Vec<&str> = query.all("dryRun").collect();
        let manager = query.get("fieldManager").unwrap_or_default();
        let validation = query.get("fieldValidation").unwrap_or_default();
        let force = query.flag("force");
        let mut errors = Errors::new();
        let path = Path::new("fieldManager");
        if kind == "PatchOptions" {
            if apply && manager.is_empty() {
                errors.push(Error::required(&path, "is required for apply patch"));
            }
            if !apply && force.is_some() {
                errors
                    .push(Error::forbidden(&Path::new("force"), "may not be specified for non-apply patch"));
            }
        }
        meta::validate_manager(manager, &path, &mut errors);
        if dry_run.iter().any(|v| *v != "All") {
            errors.push(Error::not_supported(&Path::new("dryRun"), json!(dry_run), &["All"]));
        }
        let strictness = match validation {
            "" | "Warn" => Strictness::Warn,
            "Strict" => Strictness::Strict,
            "Ignore" => Strictness::Ignore,
            other => {
                let valid = ["", "Ignore", "Strict", "Warn"];
                errors.push(Error::not_supported(&Path::new("fieldValidation"), other, &valid));
                Strictness::Warn
            }
        };
        if !errors.is_empty() {
            return Err(Status::invalid("meta.k8s.io", kind, "", &errors));
        }
        let mut object = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
        if !dry_run.is_empty() {
            object["dryRun"] = json!(dry_run);
        }
        for (name, value) in [("fieldManager", manager), ("fieldValidation", validation)] {
            if !value.is_empty() {
                object[name] = value.into();
            }
        }
        if let Some(force) = force {
            object["force"] = force.into();
        }
        Ok(WriteOptions { manager: manager.to_owned(), strictness, force, object })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(query: &str, watch: bool) -> Result<ListOptions, Status> {
        let endpoint = Endpoint::new("", "v1", "configmaps", "ConfigMap");
        let storage = Storage::new("", "v1", "configmaps", "ConfigMap");
        ListOptions::parse(&Query::parse(Some(query)), &endpoint, &storage, watch)
    }

    #[test]
    fn revisions_mean_what_upstream_says() {
        let at = |q: &str| list(q, false).expect("valid").at();
        assert_eq!(at(""), At::Latest);
        assert_eq!(at("resourceVersion=0"), At::Any);
        assert_eq!(at("resourceVersion=7"), At::NotOlderThan(7));
        assert_eq!(at("resourceVersion=7&limit=5"), At::Exact(7));
        assert_eq!(at("resourceVersion=7&limit=5&resourceVersionMatch=NotOlderThan"), At::NotOlderThan(7));
        assert_eq!(at("resourceVersion=7&resourceVersionMatch=Exact"), At::Exact(7));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let message = |q: &str, watch| list(q, watch).expect_err("refused").message;
        assert_eq!(
            message("resourceVersionMatch=Exact", false),
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
        );
        assert_eq!(
            message("fieldSelector=spec.x%3Dy", false),
            "\"spec.x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
        assert!(message("sendInitialEvents=true", true).contains("requires setting resourceVersionMatch"));
        let invalid =
            "resourceVersion: Invalid value: \"x\": strconv.ParseUint: parsing \"x\": invalid syntax";
        assert_eq!(message("resourceVersion=x", false), format!("invalid resource version: {invalid}"));
        assert_eq!(message("resourceVersion=x", true), invalid);
        assert_eq!(list("resourceVersion=x", true).expect_err("refused").code, 500);
        assert_eq!(
            message("limit=99999999999999999999", false),
            "strconv.ParseInt: parsing \"99999999999999999999\": value out of range"
        );
        assert_eq!(
            message("continue=x&resourceVersion=5", false),
            "invalid continue token: continue key is not valid: illegal base64 data at input byte 0"
        );
        assert!(
            message("continue=x", true)
                .contains("resourceVersionMatch is forbidden when continue is provided")
        );
    }
}
