//! Patches: pure functions from trees to trees.
//!
//! JSON patches, merge patches and strategic merge patches work on *printed* trees, what a client sees of an object
//! (see [`proto::json::print`]); the caller makes the result canonical again. Server-side apply and the tracking
//! of managed fields are in [`managed`].

use proto::status::{Details, Status, reason};
use serde_json::Value;

pub mod fields;
mod json_patch;
pub mod managed;
mod strategic;
pub mod typed;

pub use json_patch::{Failed, apply_steps, json_patch, merge_patch};
pub use strategic::strategic_merge_patch;

/// A patched tree, and what strict validation has against the patch.
#[derive(Debug, Clone, PartialEq)]
pub struct Patched {
    /// The printed tree.
    pub value: Value,
    /// Errors such as `duplicate field "spec"`.
    pub strict: Vec<String>,
}

/// Why a patch can't be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The patch is malformed.
    #[error("{0}")]
    BadRequest(String),
    /// The patch doesn't fit the object.
    #[error("{0}")]
    Unprocessable(String),
    /// The patch asks for too much.
    #[error("{0}")]
    TooLarge(String),
    /// The patch doesn't fit the schema; upstream answers with an error of no kind.
    #[error("{0}")]
    Internal(String),
    /// An applied configuration sets fields that others own.
    #[error("{0}")]
    Conflict(managed::Conflicts),
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        match error {
            Error::BadRequest(message) => Status::bad_request(message),
            // As upstream, without the reason: clients get a text of their own.
            Error::Unprocessable(_) => Status::failure(
                422,
                reason::INVALID,
                "the server rejected our request due to an error in our request",
            )
            .with_details(Details::default()),
            Error::TooLarge(message) => Status::request_entity_too_large(message),
            Error::Internal(message) => Status::failure(500, "", message),
            Error::Conflict(conflicts) => conflicts.into_status(),
        }
    }
}
