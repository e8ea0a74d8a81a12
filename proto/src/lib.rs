//! The shared API types of Keelson.

pub mod content;
pub mod cri;
pub mod field;
pub mod quantity;
pub mod schema;
pub mod view;
