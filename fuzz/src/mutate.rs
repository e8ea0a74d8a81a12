//! Seeded mutations of inputs, for runs without a fuzzer.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Longest input made.
const MAX: usize = 4096;

/// Pieces that grammars care about.
const PIECES: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b":",
    b",",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"null",
    b"true",
    b"-0",
    b"1e400",
    b"0x",
    b"99999999999999999999",
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!binary ",
    b"---\n",
    b"\n",
    b"\t",
    b"  ",
    b"- ",
    b"? ",
    b"| ",
    b"in (",
    b")",
    b"notin",
    b"!=",
    b"==",
    b"%00",
    b"%2f",
    b"+",
    b"&",
    b"=",
    b"\xff",
    b"\xc3\x28",
    b"\0",
    b"k8s\0",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02",
    b"$patch",
    b"$setElementOrder/",
    b"$retainKeys",
    b"$deleteFromPrimitiveList/",
    b"f:",
    b"k:{",
    b"v:",
    b"i:",
    b".",
    b"~1",
    b"~0",
    b"-",
    b"/",
    b"Ki",
    b"m",
    b"h",
    b"1.5",
];

/// A source of inputs that are the same for the same seed.
pub struct Mutator(StdRng);

impl Mutator {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Mutator(StdRng::seed_from_u64(seed))
    }

    /// A number below `n` (which isn't 0).
    fn below(&mut self, n: usize) -> usize {
        self.0.random_range(0..n.max(1))
    }

    /// One of these inputs, changed in a few places.
    pub fn input(&mut self, seeds: &[&[u8]]) -> Vec<u8> {
        let Some(first) = seeds.get(self.below(seeds.len())) else { return Vec::new() };
        let mut input = first.to_vec();
        for _ in 0..=self.below(6) {
            self.change(&mut input, seeds);
        }
        input.truncate(MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, seeds: &[&[u8]]) {
        let at = self.below(input.len() + 1);
        let end = (at + self.below(24)).min(input.len());
        match self.below(8) {
            0 => drop(input.drain(at..end)),
            1 => {
                let piece = PIECES[self.below(PIECES.len())];
                input.splice(at..at, piece.iter().copied());
            }
            2 => {
                let piece = PIECES[self.below(PIECES.len())];
                input.splice(at..end, piece.iter().copied());
            }
            3 if at < input.len() => input[at] = self.0.random(),
            4 if at < input.len() => input[at] ^= 1 << self.below(8),
            5 => {
                // Nesting and amplification: a piece many times.
                let piece = input[at..end].to_vec();
                let most = if self.below(16) == 0 { 400 } else { 4 };
                let times = 1 + self.below(most);
                if piece.len() * times < MAX {
                    input.splice(at..at, piece.repeat(times));
                }
            }
            6 => {
                let Some(other) = seeds.get(self.below(seeds.len())) else { return };
                let from = self.below(other.len() + 1);
                let to = (from + self.below(40)).min(other.len());
                input.splice(at..at, other[from..to].iter().copied());
            }
            _ => {
                for _ in 0..self.below(32) {
                    input.push(self.0.random());
                }
            }
        }
    }
}
