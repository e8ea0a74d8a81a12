//! Continue tokens, in upstream's format: where the next page of a list begins, and at which revision.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use proto::status::Status;
use serde::{Deserialize, Serialize};

/// What a token holds; absent fields read as Go reads them.
#[derive(Serialize, Deserialize)]
struct Token {
    #[serde(default)]
    v: String,
    #[serde(default)]
    rv: i64,
    #[serde(default)]
    start: String,
}

const VERSION: &str = "meta.k8s.io/v1";
/// Go's `RawURLEncoding`: no padding, and the last character's unused bits don't count.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// The token of the page after a key, for a list of the keys with a prefix.
pub fn encode(prefix: &str, revision: i64, after: &str) -> String {
    let start = format!("/{}\0", after.strip_prefix(prefix).unwrap_or(after));
    let token = Token { v: VERSION.to_owned(), rv: revision, start };
    BASE64.encode(serde_json::to_vec(&token).unwrap_or_default())
}

/// The revision to go on at (negative: whatever is current) and the key to start from.
pub fn decode(prefix: &str, text: &str) -> Result<(i64, String), Status> {
    let bad = |why: &dyn std::fmt::Display| {
        Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
    };
    let bytes =
        decode_base64(text).map_err(|at| bad(&format_args!("illegal base64 data at input byte {at}")))?;
    let token: Token = serde_json::from_slice(&bytes).map_err(|e| bad(&e))?;
    if token.v != VERSION {
        return Err(bad(&format_args!("server does not recognize this encoded version {}", token.v)));
    }
    if token.rv == 0 {
        return Err(bad(&"incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
    }
    if token.start.is_empty() {
        return Err(bad(&"encoded start key empty (version meta.k8s.io/v1)"));
    }
    // A key that leaves the list's prefix must not come of it.
    let key = token.start.strip_prefix('/').unwrap_or(&token.start);
    if key.split('/').any(|s| s == ".." || s == "." || s.is_empty()) {
        return Err(bad(&token.start));
    }
    Ok((token.rv, format!("{prefix}{key}")))
}

/// The bytes, or where the text goes wrong as Go counts.
fn decode_base64(text: &str) -> Result<Vec<u8>, usize> {
    let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if let Some(at) = text.bytes().position(|b| !valid(b)) {
        return Err(at);
    }
    BASE64.decode(text).map_err(|_| text.len().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_upstreams() {
        let token = encode("default/", 7, "default/a");
        assert_eq!(
            String::from_utf8(BASE64.decode(&token).expect("base64")).expect("text"),
            "{\"v\":\"meta.k8s.io/v1\",\"rv\":7,\"start\":\"/a\\u0000\"}"
        );
        assert_eq!(decode("default/", &token).expect("valid"), (7, "default/a\0".to_owned()));
        // Without the slash, as upstream's list from etcd has it.
        let bare = BASE64.encode(r#"{"v":"meta.k8s.io/v1","rv":7,"start":"a\u0000"}"#);
        assert_eq!(decode("default/", &bare).expect("valid"), (7, "default/a\0".to_owned()));
    }

    #[test]
    fn what_is_no_token_is_told_as_upstream_tells_it() {
        let json = |text: &str| BASE64.encode(text);
        for (token, why) in [
            ("x".to_owned(), "illegal base64 data at input byte 0"),
            ("ab!".to_owned(), "illegal base64 data at input byte 2"),
            (json("{}"), "server does not recognize this encoded version "),
            (json(r#"{"v":"v1"}"#), "server does not recognize this encoded version v1"),
            (
                json(r#"{"v":"meta.k8s.io/v1","start":"a"}"#),
                "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ),
            (json(r#"{"v":"meta.k8s.io/v1","rv":1}"#), "encoded start key empty (version meta.k8s.io/v1)"),
            (json(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../b"}"#), "../b"),
            (json(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"a//b"}"#), "a//b"),
        ] {
            let refused = decode("", &token).expect_err("refused");
            assert_eq!(refused.code, 400);
            assert_eq!(refused.message, format!("invalid continue token: continue key is not valid: {why}"));
        }
    }
}
