//! The hash that tells whether a running container was made from the present spec.

/// Hashes what can't change without a restart: name and image.
///
/// The bytes hashed are those upstream feeds to its hash: the JSON of both fields, printed as a list of
/// decimal bytes. Only so are its containers recognized, and ours by it.
pub fn container_hash(name: &str, image: &str) -> u64 {
    let json = serde_json::json!({ "image": image, "name": name }).to_string();
    let bytes: Vec<String> = go_escape(&json).bytes().map(|b| b.to_string()).collect();
    u64::from(fnv32a(format!("([]uint8)[{}]", bytes.join(" ")).as_bytes()))
}

/// Go's JSON writes three characters as escapes that serde leaves alone.
fn go_escape(json: &str) -> String {
    json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")
}

/// The 32-bit FNV-1a hash.
fn fnv32a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, b| (hash ^ u32::from(*b)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_upstreams() {
        assert_eq!(container_hash("test_container", "foo/image:v1"), 0x8e45_cbd0);
    }
}
