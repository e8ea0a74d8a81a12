use super::*;
use crate::auth::service_account::jwt::Jwt;
use serde_json::{Value, json};

/// Keys and tokens of all algorithms, made by another implementation.
fn vectors() -> (Vec<Key>, Value) {
    let vectors: Value = serde_json::from_str(include_str!("vectors.json")).unwrap();
    let document: Document = serde_json::from_value(vectors.clone()).unwrap();
    (document.keys().unwrap(), vectors["tokens"].clone())
}

fn verifies(keys: &[Key], token: &str) -> bool {
    let jwt = Jwt::parse(token).unwrap();
    keys.iter().any(|key| key.verifies(jwt.algorithm(), jwt.signed(), jwt.signature()))
}

#[test]
fn all_algorithms_are_known() {
    let (keys, tokens) = vectors();
    for algorithm in ALGORITHMS {
        let token = tokens[algorithm].as_str().unwrap();
        assert!(verifies(&keys, token), "{algorithm}");
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        bytes[7] ^= 1;
        assert!(!verifies(&keys, &format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&bytes))), "{algorithm}");
        bytes.truncate(7);
        assert!(!verifies(&keys, &format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&bytes))), "{algorithm}");
        assert!(!verifies(&keys, &format!("{signed}.")), "{algorithm}");
    }
}

#[test]
fn an_algorithm_needs_its_key() {
    let (keys, tokens) = vectors();
    let jwt = Jwt::parse(tokens["ES256"].as_str().unwrap()).unwrap();
    for algorithm in ["RS256", "PS256", "ES384", "ES512", "HS256", "none", "", "EdDSA"] {
        let found = keys.iter().any(|key| key.verifies(algorithm, jwt.signed(), jwt.signature()));
        assert!(!found, "{algorithm}");
    }
}

#[test]
fn sets_are_read_as_a_whole() {
    let read = |set: Value| serde_json::from_value::<Document>(set).unwrap().keys();
    for (key, error) in [
        (json!({"kty": "RSA", "n": "AQAB"}), "go-jose/go-jose: invalid RSA key, missing n/e values"),
        (
            json!({"kty": "EC", "crv": "P-256", "x": "AA"}),
            "go-jose/go-jose: invalid EC key, missing x/y values",
        ),
        (
            json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}),
            "go-jose/go-jose: invalid EC public key, wrong length for x",
        ),
        (json!({"kty": "EC", "crv": "secp256k1"}), "go-jose/go-jose: unsupported elliptic curve 'secp256k1'"),
        (json!({"kty": "OKP", "crv": "X25519", "x": "AA"}), "go-jose/go-jose: unknown curve X25519'"),
        (json!({"kty": "x"}), "go-jose/go-jose: unknown json web key type 'x'"),
        (json!({}), "go-jose/go-jose: unknown json web key type ''"),
    ] {
        assert_eq!(read(json!({"keys": [{"kty": "oct", "k": "AA"}, key]})), Err(error.to_owned()));
    }
    assert!(read(json!({"keys": [{"kty": "RSA", "n": "!", "e": "AQAB"}]})).is_err());
    // Read, and never used.
    let unused = json!([{"kty": "oct", "kid": "a"}, {"kty": "OKP", "crv": "Ed25519", "x": "AA"},
        {"kty": "RSA", "n": "", "e": ""}, {"kty": "RSA", "n": "AQAB", "e": "AA"},
        {"kty": "EC", "crv": "P-521", "x": URL_SAFE_NO_PAD.encode([255; 66]), "y": URL_SAFE_NO_PAD.encode([255; 66])}]);
    let keys = read(json!({"keys": unused})).unwrap();
    assert_eq!(keys[0].id(), "a");
    for algorithm in ALGORITHMS {
        assert!(!keys.iter().any(|key| key.verifies(algorithm, b"m", &[1; 132])), "{algorithm}");
    }
    assert_eq!(read(json!({"keys": null})), Ok(vec![]));
    assert_eq!(read(json!({})), Ok(vec![]));
}
