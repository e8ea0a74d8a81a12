//! What outside bytes reach: every decoder and parser as a function of bytes that must neither panic nor hang, nor need
//! memory beyond the input's size times a constant. Where a result has a law (what is printed parses to the same), the
//! function asserts it.
//!
//! `make test` gives each target seeded mutations of its seeds for a moment (`tests/short.rs`), so that none can rot;
//! `make fuzz` gives them to libFuzzer (`libfuzzer/`), which searches by coverage.

mod generate;
mod mutate;
mod targets;

pub use generate::Source;
pub use mutate::Mutator;
pub use targets::TARGETS;

/// An entry point.
pub struct Target {
    /// Its name, for people and corpora.
    pub name: &'static str,
    /// Inputs to begin with.
    pub seeds: &'static [&'static [u8]],
    /// Takes an input; panics where a law is broken.
    pub run: fn(&[u8]),
}

/// The target of a name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|t| t.name == name)
}
