//! Container logs in the format of the container runtime interface.

pub mod follow;
pub mod keeper;
pub mod line;
pub mod paths;
pub mod read;
pub mod rotate;
