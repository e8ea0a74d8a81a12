//! The shared API types of Keelson.

pub mod content;
pub mod cri;
pub mod cron;
pub mod field;
pub mod fields;
pub mod go;
pub mod json;
pub mod labels;
pub mod meta;
pub mod protobuf;
pub mod quantity;
pub mod quota;
pub mod resources;
pub mod reviews;
pub mod schema;
pub mod status;
pub mod time;
pub mod view;
pub mod yaml;
