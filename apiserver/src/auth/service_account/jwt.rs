//! Compact JSON Web Signatures: the form of a token, without any meaning of its claims.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::keys::{PrivateKey, PublicKey};

/// A token taken apart. Nothing in it can be trusted before [`Jwt::is_signed_by_one_of`] says so.
pub struct Jwt<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    algorithm: String,
    key_id: String,
    claims: Map<String, Value>,
}

impl<'a> Jwt<'a> {
    /// Takes a token apart; `None` if it isn't one.
    pub fn parse(token: &'a str) -> Option<Jwt<'a>> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header = decode_object(header)?;
        // Extensions that must be understood aren't.
        if header.contains_key("crit") {
            return None;
        }
        let text = |field: &str| header.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(Jwt {
            signed,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
            algorithm: text("alg"),
            key_id: text("kid"),
            claims: decode_object(claims)?,
        })
    }

    /// The claims; true only if the signature has been verified.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// The algorithm that the token names.
    pub fn algorithm(&self) -> &str {
        &self.algorithm
    }

    /// The key that the token names, if it does.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// What is signed.
    pub fn signed(&self) -> &[u8] {
        self.signed.as_bytes()
    }

    /// The signature.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// A claim that is text.
    pub fn text(&self, claim: &str) -> &str {
        self.claims.get(claim).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether one of the keys made the signature: the key the token names, else any.
    pub fn is_signed_by_one_of(&self, keys: &[PublicKey]) -> bool {
        let named = |key: &&PublicKey| !self.key_id.is_empty() && key.id() == self.key_id;
        let use_named = keys.iter().any(|key| named(&key));
        keys.iter()
            .filter(|key| !use_named || named(key))
            .filter(|key| key.algorithm().name() == self.algorithm)
            .any(|key| key.verifies(self.signed.as_bytes(), &self.signature))
    }
}

fn decode_object(part: &str) -> Option<Map<String, Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Signs the claims.
pub fn sign(key: &PrivateKey, claims: &Value) -> Result<String, ring::error::Unspecified> {
    let header = json!({ "alg": key.public().algorithm().name(), "kid": key.public().id() });
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", encode(&header), encode(claims));
    let signature = key.sign(signed.as_bytes())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

#[cfg(test)]
mod tests {
    use super::super::keys::tests::p256;
    use super::*;

    fn forge(header: Value, claims: Value, signature: &[u8]) -> String {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (header, claims) = (header.to_string(), claims.to_string());
        format!("{}.{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()), encode(signature))
    }

    #[test]
    fn only_the_signers_token_is_accepted() {
        let (key, other) = (p256(), p256());
        let keys = [other.public().clone(), key.public().clone()];
        let token = sign(&key, &json!({ "sub": "x" })).unwrap();
        let jwt = Jwt::parse(&token).unwrap();
        assert!(jwt.is_signed_by_one_of(&keys));
        assert_eq!(jwt.text("sub"), "x");
        assert!(!jwt.is_signed_by_one_of(&keys[..1]));
        assert!(!jwt.is_signed_by_one_of(&[]));

        let stranger = sign(&p256(), &json!({ "sub": "x" })).unwrap();
        assert!(!Jwt::parse(&stranger).unwrap().is_signed_by_one_of(&keys));
    }

    #[test]
    fn tampering_is_noticed() {
        let key = p256();
        let keys = [key.public().clone()];
        let token = sign(&key, &json!({ "sub": "x" })).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let other = URL_SAFE_NO_PAD.encode(r#"{"sub":"admin"}"#);
        let swapped = format!("{}.{other}.{}", parts[0], parts[2]);
        assert!(!Jwt::parse(&swapped).unwrap().is_signed_by_one_of(&keys));
        let unsigned = format!("{}.{}.", parts[0], parts[1]);
        assert!(!Jwt::parse(&unsigned).unwrap().is_signed_by_one_of(&keys));
    }

    #[test]
    fn the_token_does_not_choose_its_algorithm() {
        let key = p256();
        let keys = [key.public().clone()];
        for algorithm in ["none", "None", "", "HS256", "RS256", "ES384"] {
            let header = json!({ "alg": algorithm, "kid": key.public().id() });
            let token = forge(header, json!({ "sub": "admin" }), b"");
            assert!(!Jwt::parse(&token).unwrap().is_signed_by_one_of(&keys), "{algorithm}");
        }
    }

    #[test]
    fn garbage_is_no_token() {
        for token in ["", ".", "..", "...", "a.b.c", "e30.e30", "e30.W10.", "e30.e30.!", "\u{1f600}.e30.e30"]
        {
            assert!(Jwt::parse(token).is_none(), "{token}");
        }
        let critical = forge(json!({ "alg": "ES256", "crit": ["b64"] }), json!({}), b"");
        assert!(Jwt::parse(&critical).is_none());
    }
}
