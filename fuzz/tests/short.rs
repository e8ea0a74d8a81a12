//! Every fuzz target for a moment: seeded mutations of its seeds.

use std::panic::catch_unwind;
use std::time::{Duration, Instant};

use fuzz::{Mutator, TARGETS};

/// Inputs per target.
const ROUNDS: u64 = 2_000;
/// An input that takes longer has hit something that grows too fast.
const SLOW: Duration = Duration::from_secs(5);
/// No more than this for a target, however slow the machine is.
const BUDGET: Duration = Duration::from_secs(6);

/// `FUZZ_ROUNDS` inputs per target (for longer runs: `FUZZ_SEED` too, and `FUZZ_TARGET` for one of them).
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

#[test]
fn no_input_breaks_a_target() {
    let (rounds, first) = (setting("FUZZ_ROUNDS", ROUNDS), setting("FUZZ_SEED", 1));
    let mut broken = Vec::new();
    let only = std::env::var("FUZZ_TARGET").ok();
    for target in TARGETS.iter().filter(|t| only.as_ref().is_none_or(|name| name == t.name)) {
        let begin = Instant::now();
        let mut check = |input: &[u8], what: String| {
            let start = Instant::now();
            let failed = catch_unwind(|| (target.run)(input)).is_err();
            if failed || start.elapsed() > SLOW {
                let shown = String::from_utf8_lossy(input).into_owned();
                broken.push(format!("{} {what} ({:?}): {shown:?}", target.name, start.elapsed()));
            }
        };
        for (i, seed) in target.seeds.iter().enumerate() {
            check(seed, format!("seed input {i}"));
        }
        let mut done = 0;
        for seed in first..first.saturating_add(rounds) {
            if rounds <= ROUNDS && begin.elapsed() > BUDGET {
                break;
            }
            check(&Mutator::new(seed).input(target.seeds), format!("FUZZ_SEED={seed}"));
            done += 1;
        }
        println!("{}: {done} of {rounds} in {:?}", target.name, begin.elapsed());
    }
    assert!(broken.is_empty(), "{} inputs:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn names_are_unique() {
    let mut names: Vec<_> = TARGETS.iter().map(|t| t.name).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
}
