//! Hashes that become part of names.

use std::hash::Hasher as _;

use serde_json::Value;

/// FNV-1 with 32 bits, over several pieces.
pub fn fnv32(pieces: &[&[u8]]) -> u32 {
    pieces
        .iter()
        .flat_map(|piece| piece.iter())
        .fold(0x811c_9dc5_u32, |hash, byte| hash.wrapping_mul(0x0100_0193) ^ u32::from(*byte))
}

/// FNV-1a with 32 bits, over several pieces.
pub fn fnv32a(pieces: &[&[u8]]) -> u32 {
    pieces
        .iter()
        .flat_map(|piece| piece.iter())
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// FNV-1a with 64 bits, for in-memory comparisons.
pub fn fnv64(bytes: &[u8]) -> u64 {
    let mut hasher = fnv::FnvHasher::default();
    hasher.write(bytes);
    hasher.finish()
}

/// Spells a number with letters that can form no word, and that are valid in names.
pub fn safe_encode(number: u32) -> String {
    const ALPHANUMS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    number
        .to_string()
        .bytes()
        .map(|digit| char::from(ALPHANUMS[usize::from(digit) % ALPHANUMS.len()]))
        .collect()
}

/// The hash of a pod template. A collision count makes another hash for the same template.
///
/// Hashes are compared with nothing: an existing object is recognised by its template, so this needs
/// to be stable, not equal to another implementation's.
pub fn template_hash(template: &Value, collision_count: Option<i32>) -> String {
    let text = template.to_string();
    let count = collision_count.map(|n| (n as u32).to_le_bytes());
    let mut pieces: Vec<&[u8]> = vec![text.as_bytes()];
    if let Some(count) = &count {
        pieces.push(count);
    }
    safe_encode(fnv32a(&pieces))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spelled_without_vowels() {
        assert_eq!(safe_encode(0), "4");
        assert_eq!(safe_encode(123), "567");
    }

    #[test]
    fn known_hashes() {
        assert_eq!(fnv32a(&[b"a"]), 0xe40c_292c);
        assert_eq!(fnv32(&[b"a"]), 0x050c_5d7e);
    }
}
