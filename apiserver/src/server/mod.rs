//! The HTTPS front: connections, the filters every request passes, and the bodies of answers.

pub mod body;
pub mod filters;
pub mod inflight;
pub mod listener;
pub mod metrics;
pub mod query;
pub mod request_info;
pub mod tls;

pub use body::Body;

/// An answer.
pub type Response = http::Response<Body>;
