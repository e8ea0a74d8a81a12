//! The shared API types of Keelson.

pub mod cri;
pub mod quantity;
pub mod schema;
