//! The node as the API shows it.

pub mod info;
pub mod keeper;
pub mod machine;
pub mod status;
