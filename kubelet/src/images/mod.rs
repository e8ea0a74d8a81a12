//! Images: pulled when a container needs them, removed when the disk fills up.

pub mod gc;
pub mod keyring;
pub mod name;
pub mod pull;
