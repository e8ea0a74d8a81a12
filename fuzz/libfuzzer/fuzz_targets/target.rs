//! One program for all targets: `FUZZ_TARGET` names the one to run.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<&'static fuzz::Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    fuzz::target(&name).unwrap_or_else(|| {
        let names: Vec<_> = fuzz::TARGETS.iter().map(|t| t.name).collect();
        panic!("FUZZ_TARGET must be one of {}", names.join(", "))
    })
});

fuzz_target!(|data: &[u8]| (TARGET.run)(data));
