//! `meta/v1.Status`: what every failed request answers with, and what every client parses.
//!
//! A `Status` is built once, at the edge, with upstream's codes, reasons and texts; it is the error type of every API.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::field;

/// The machine-readable cause of a failure; an open set of names.
pub type Reason = Cow<'static, str>;

/// The reasons upstream's API machinery uses.
pub mod reason {
    #![allow(missing_docs)]
    pub const UNAUTHORIZED: &str = "Unauthorized";
    pub const FORBIDDEN: &str = "Forbidden";
    pub const NOT_FOUND: &str = "NotFound";
    pub const ALREADY_EXISTS: &str = "AlreadyExists";
    pub const CONFLICT: &str = "Conflict";
    pub const GONE: &str = "Gone";
    pub const EXPIRED: &str = "Expired";
    pub const INVALID: &str = "Invalid";
    pub const SERVER_TIMEOUT: &str = "ServerTimeout";
    pub const TIMEOUT: &str = "Timeout";
    pub const TOO_MANY_REQUESTS: &str = "TooManyRequests";
    pub const BAD_REQUEST: &str = "BadRequest";
    pub const METHOD_NOT_ALLOWED: &str = "MethodNotAllowed";
    pub const NOT_ACCEPTABLE: &str = "NotAcceptable";
    pub const REQUEST_ENTITY_TOO_LARGE: &str = "RequestEntityTooLarge";
    pub const UNSUPPORTED_MEDIA_TYPE: &str = "UnsupportedMediaType";
    pub const INTERNAL_ERROR: &str = "InternalError";
    pub const SERVICE_UNAVAILABLE: &str = "ServiceUnavailable";
    pub const STORE_READ_ERROR: &str = "StorageReadError";
}

/// The result of an operation that did not answer with an object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    #[serde(default = "kind")]
    kind: Cow<'static, str>,
    #[serde(rename = "apiVersion", default = "api_version")]
    api_version: Cow<'static, str>,
    #[serde(default)]
    metadata: ListMeta,
    /// `Success` or `Failure`.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub status: Cow<'static, str>,
    /// Text for people.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub message: String,
    /// Machine-readable cause.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub reason: Reason,
    /// What the failure is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<Details>>,
    /// The HTTP status code.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub code: u16,
    /// Texts for Warning headers, which go beside the body.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// The list metadata of a Status: empty but for a continue token on expired lists.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct ListMeta {
    #[serde(rename = "continue", default, skip_serializing_if = "String::is_empty")]
    continue_token: String,
}

/// What a failure is about.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Details {
    /// Name of the resource, when a single one is described.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// API group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Resource (upstream puts the plural here) or kind.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// UID of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// One entry for each thing that was wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// When to try again, in seconds.
    #[serde(skip_serializing_if = "is_zero32")]
    pub retry_after_seconds: i32,
}

/// One thing that was wrong.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// Machine-readable kind of cause.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: Cow<'static, str>,
    /// Text for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Path of the field.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

fn kind() -> Cow<'static, str> {
    Cow::Borrowed("Status")
}
fn api_version() -> Cow<'static, str> {
    Cow::Borrowed("v1")
}
fn is_zero(n: &u16) -> bool {
    *n == 0
}
fn is_zero32(n: &i32) -> bool {
    *n == 0
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

/// `resource.group`, or the resource alone in the core group.
pub fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

impl Status {
    /// A failure without details.
    pub fn failure(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Status {
            kind: kind(),
            api_version: api_version(),
            metadata: ListMeta::default(),
            status: Cow::Borrowed("Failure"),
            message: message.into(),
            reason: Cow::Borrowed(reason),
            details: None,
            code,
            warnings: Vec::new(),
        }
    }

    /// The same with these warnings before its own.
    pub fn warning(mut self, mut warnings: Vec<String>) -> Self {
        warnings.append(&mut self.warnings);
        Status { warnings, ..self }
    }

    /// A success with details of what was acted upon, as DELETE answers.
    pub fn success(details: Option<Details>) -> Self {
        Status {
            kind: kind(),
            api_version: api_version(),
            metadata: ListMeta::default(),
            status: Cow::Borrowed("Success"),
            message: String::new(),
            reason: Cow::Borrowed(""),
            details: details.map(Box::new),
            code: 0,
            warnings: Vec::new(),
        }
    }

    /// The same with details.
    pub fn with_details(mut self, details: Details) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// The same with a continue token in its list metadata, as an expired list carries.
    pub fn with_continue(mut self, token: String) -> Self {
        self.metadata.continue_token = token;
        self
    }

    fn about(self, group: &str, resource: &str, name: &str) -> Self {
        self.with_details(Details {
            group: group.to_owned(),
            kind: resource.to_owned(),
            name: name.to_owned(),
            ..Details::default()
        })
    }

    fn retry_after(mut self, seconds: i32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    /// Seconds to wait before trying again, if the server said.
    pub fn retry_after_seconds(&self) -> Option<i32> {
        self.details.as_ref().map(|d| d.retry_after_seconds).filter(|s| *s > 0)
    }

    /// Whether the reason is this one.
    pub fn is(&self, reason: &str) -> bool {
        self.reason == reason
    }

    /// 404.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {} not found", qualified(group, resource), field::quote(name));
        Self::failure(404, reason::NOT_FOUND, message).about(group, resource, name)
    }

    /// 404 for a path that nothing serves.
    pub fn unknown_path() -> Self {
        Self::failure(404, reason::NOT_FOUND, "the server could not find the requested resource")
            .with_details(Details::default())
    }

    /// 409 on create.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {} already exists", qualified(group, resource), field::quote(name));
        Self::failure(409, reason::ALREADY_EXISTS, message).about(group, resource, name)
    }

    /// 409 when every generated name was taken.
    pub fn generate_name_conflict(group: &str, resource: &str, name: &str, retry_after: i32) -> Self {
        let message = format!(
            "{} {} already exists, the server was not able to generate a unique name for the object",
            qualified(group, resource),
            field::quote(name)
        );
        Self::failure(409, reason::ALREADY_EXISTS, message)
            .about(group, resource, name)
            .retry_after(retry_after)
    }

    /// 401.
    pub fn unauthorized(message: &str) -> Self {
        let message = if message.is_empty() { "not authorized" } else { message };
        Self::failure(401, reason::UNAUTHORIZED, message)
    }

    /// 403, from admission and hooks.
    pub fn forbidden(group: &str, resource: &str, name: &str, why: impl fmt::Display) -> Self {
        let message = match (resource.is_empty() && group.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (_, true) => format!("{} is forbidden: {why}", qualified(group, resource)),
            _ => format!("{} {} is forbidden: {why}", qualified(group, resource), field::quote(name)),
        };
        Self::failure(403, reason::FORBIDDEN, message).about(group, resource, name)
    }

    /// 409 on update.
    pub fn conflict(group: &str, resource: &str, name: &str, why: impl fmt::Display) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {}: {why}",
            qualified(group, resource),
            field::quote(name)
        );
        Self::failure(409, reason::CONFLICT, message).about(group, resource, name)
    }

    /// 409 of server-side apply, one cause for each conflicting field.
    pub fn apply_conflict(causes: Vec<Cause>, message: impl Into<String>) -> Self {
        Self::failure(409, reason::CONFLICT, message).with_details(Details { causes, ..Details::default() })
    }

    /// 410 without a way on.
    pub fn gone(message: impl Into<String>) -> Self {
        Self::failure(410, reason::GONE, message)
    }

    /// 410: the resource version is too old.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(410, reason::EXPIRED, message)
    }

    /// 422 from validation.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[field::Error]) -> Self {
        let subject = format!("{} {} is invalid", qualified(group, kind), field::quote(name));
        let message =
            if errors.is_empty() { subject } else { format!("{subject}: {}", field::aggregate(errors)) };
        let causes = errors
            .iter()
            .map(|e| Cause { reason: e.kind.cause().into(), message: e.body(), field: e.path.clone() })
            .collect();
        Self::failure(422, reason::INVALID, message).with_details(Details {
            group: group.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            causes,
            ..Details::default()
        })
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(400, reason::BAD_REQUEST, message)
    }

    /// 429 with a time to wait.
    pub fn too_many_requests(message: impl Into<String>, retry_after: i32) -> Self {
        Self::failure(429, reason::TOO_MANY_REQUESTS, message)
            .with_details(Details { retry_after_seconds: retry_after, ..Details::default() })
    }

    /// 503.
    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::failure(503, reason::SERVICE_UNAVAILABLE, message)
    }

    /// 405.
    pub fn method_not_supported(group: &str, resource: &str, action: &str) -> Self {
        let message = format!(
            "{action} is not supported on resources of kind {}",
            field::quote(&qualified(group, resource))
        );
        Self::failure(405, reason::METHOD_NOT_ALLOWED, message).about(group, resource, "")
    }

    /// 500 that is worth another try.
    pub fn server_timeout(group: &str, resource: &str, operation: &str, retry_after: i32) -> Self {
        let message = format!(
            "The {operation} operation against {} could not be completed at this time, please try again.",
            qualified(group, resource)
        );
        Self::failure(500, reason::SERVER_TIMEOUT, message)
            .about(group, resource, operation)
            .retry_after(retry_after)
    }

    /// 500.
    pub fn internal(why: impl fmt::Display) -> Self {
        let message = format!("Internal error occurred: {why}");
        let causes = vec![Cause { message: why.to_string(), ..Cause::default() }];
        Self::failure(500, reason::INTERNAL_ERROR, message)
            .with_details(Details { causes, ..Details::default() })
    }

    /// 504.
    pub fn timeout(message: impl fmt::Display, retry_after: i32) -> Self {
        Self::failure(504, reason::TIMEOUT, format!("Timeout: {message}"))
            .with_details(Details { retry_after_seconds: retry_after, ..Details::default() })
    }

    /// 413.
    pub fn request_entity_too_large(message: impl fmt::Display) -> Self {
        Self::failure(413, reason::REQUEST_ENTITY_TOO_LARGE, format!("Request entity too large: {message}"))
    }

    /// 415, naming what would be accepted.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let list = accepted.join(", ");
        Self::failure(
            415,
            reason::UNSUPPORTED_MEDIA_TYPE,
            format!(
                "the body of the request was in an unknown format - accepted media types include: {list}"
            ),
        )
    }

    /// 406, naming what could be answered.
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        let list = accepted.join(", ");
        Self::failure(
            406,
            reason::NOT_ACCEPTABLE,
            format!("only the following media types are accepted: {list}"),
        )
    }

    /// Whether this tells of a missing object.
    pub fn is_not_found(&self) -> bool {
        self.is(reason::NOT_FOUND) || (self.reason.is_empty() && self.code == 404)
    }

    /// Whether this tells that the object is there already.
    pub fn is_already_exists(&self) -> bool {
        self.is(reason::ALREADY_EXISTS)
    }

    /// Whether this tells of a lost race.
    pub fn is_conflict(&self) -> bool {
        self.is(reason::CONFLICT) || (self.reason.is_empty() && self.code == 409)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_what_upstream_prints() {
        let json = serde_json::to_value(Status::not_found("apps", "deployments", "web")).expect("serializes");
        let want = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "deployments.apps \"web\" not found", "reason": "NotFound",
            "details": {"name": "web", "group": "apps", "kind": "deployments"}, "code": 404
        });
        assert_eq!(json, want);
    }

    #[test]
    fn forbidden_names_what_it_knows() {
        assert_eq!(Status::forbidden("", "", "", "no").message, "forbidden: no");
        assert_eq!(Status::forbidden("", "pods", "", "no").message, "pods is forbidden: no");
        assert_eq!(Status::forbidden("", "pods", "a", "no").message, "pods \"a\" is forbidden: no");
    }
}
