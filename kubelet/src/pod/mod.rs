//! One pod on the node: what must be done ([`plan`]) and the doing of it ([`sync`]), step by step
//! ([`worker`]).

pub mod backoff;
pub mod hooks;
pub mod kill;
pub mod order;
pub mod plan;
pub mod restart;
pub mod start;
pub mod sync;
pub mod worker;
