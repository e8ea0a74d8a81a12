//! Accepts ServiceAccount tokens that this cluster issued.

use std::sync::Arc;

use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::Value;

use super::claims::{self, Claims};
use super::jwt::Jwt;
use super::keys::PublicKey;
use super::legacy::{self, LegacyClaims};
use super::{Identity, claims as bound};
use crate::auth::objects::Objects;
use crate::auth::text::quoted_list;
use crate::auth::{Authenticated, Rejected, TokenAuthenticator};

/// Checks ServiceAccount tokens: those bound to objects, and those kept in Secrets.
pub struct ServiceAccountTokens {
    /// Accepted issuers; tokens of others are not this authenticator's business.
    pub issuers: Vec<String>,
    /// Keys that verify them.
    pub keys: Vec<PublicKey>,
    /// The server's own audiences.
    pub api_audiences: Vec<String>,
    /// Whether Secret-based tokens are looked up (--service-account-lookup).
    pub lookup: bool,
    /// What tokens are bound to.
    pub objects: Objects,
}

impl TokenAuthenticator for ServiceAccountTokens {
    fn authenticate_token<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Result<Option<Authenticated>, Rejected>> {
        Box::pin(async move { self.check(token, audiences, Timestamp::now().as_second()).await })
    }
}

impl ServiceAccountTokens {
    async fn check(
        &self,
        token: &str,
        audiences: &[String],
        now: i64,
    ) -> Result<Option<Authenticated>, Rejected> {
        let Some(jwt) = Jwt::parse(token) else { return Ok(None) };
        let issuer = jwt.text("iss");
        let is_legacy = issuer == legacy::ISSUER;
        if !is_legacy && !self.issuers.iter().any(|own| own == issuer) {
            return Ok(None);
        }
        if !jwt.is_signed_by_one_of(&self.keys) {
            return Err(Rejected("invalid signature of a service account token".to_owned()));
        }
        let payload = Value::Object(jwt.claims().clone());
        let wanted = if audiences.is_empty() { &self.api_audiences } else { audiences };
        let malformed = |error: serde_json::Error| Rejected(format!("malformed claims: {error}"));
        let (identity, matched) = if is_legacy {
            let claims: LegacyClaims = serde_json::from_value(payload).map_err(malformed)?;
            let matched = self.match_audiences(&claims.aud, wanted)?;
            let objects = self.lookup.then_some(&self.objects);
            (legacy::check(&claims, token, objects).await.map_err(Rejected)?, matched)
        } else {
            let claims: Claims = serde_json::from_value(payload).map_err(malformed)?;
            let matched = self.match_audiences(&claims.aud, wanted)?;
            (self.check_bound(&claims, now).await.map_err(|error| Rejected(error.to_string()))?, matched)
        };
        Ok(Some(Authenticated { user: Arc::new(identity.user()), audiences: matched }))
    }

    async fn check_bound(&self, claims: &Claims, now: i64) -> Result<Identity, claims::ClaimsError> {
        bound::check_times(claims, now)?;
        bound::check_bindings(claims, &self.objects, now).await
    }

    /// The wanted audiences that the token is for. A token that names none is for the server itself.
    fn match_audiences(&self, token: &[String], wanted: &[String]) -> Result<Vec<String>, Rejected> {
        let token = if token.is_empty() { &self.api_audiences } else { token };
        let matched: Vec<String> =
            wanted.iter().filter(|audience| token.contains(audience)).cloned().collect();
        if matched.is_empty() && !wanted.is_empty() {
            return Err(Rejected(format!(
                "token audiences {} is invalid for the target audiences {}",
                quoted_list(token),
                quoted_list(wanted)
            )));
        }
        Ok(matched)
    }
}

/// An audience claim: one string, or several.
pub(super) use super::claims::one_or_many as audiences;

#[cfg(test)]
mod tests {
    use super::super::{jwt, keys};
    use super::*;
    use serde_json::json;

    const NOW: i64 = 1_000_000;

    fn fixture() -> (keys::PrivateKey, ServiceAccountTokens) {
        let key = keys::tests::p256();
        let objects = Objects::fixed(&[(
            "serviceaccounts",
            "ns",
            json!({ "metadata": { "name": "bot", "uid": "u" } }),
        )]);
        let tokens = ServiceAccountTokens {
            issuers: vec!["https://issuer".into()],
            keys: vec![key.public().clone()],
            api_audiences: vec!["https://issuer".into()],
            lookup: true,
            objects,
        };
        (key, tokens)
    }

    fn payload() -> Value {
        json!({ "iss": "https://issuer", "sub": "system:serviceaccount:ns:bot", "aud": ["https://issuer"],
            "iat": NOW, "nbf": NOW, "exp": NOW + 600, "jti": "id",
            "kubernetes.io": { "namespace": "ns", "serviceaccount": { "name": "bot", "uid": "u" } } })
    }

    #[tokio::test]
    async fn a_good_token_is_its_account() {
        let (key, tokens) = fixture();
        let token = jwt::sign(&key, &payload()).unwrap();
        let found = tokens.check(&token, &[], NOW).await.unwrap().unwrap();
        assert_eq!(found.user.name, "system:serviceaccount:ns:bot");
        assert_eq!(found.audiences, ["https://issuer"]);
    }

    #[tokio::test]
    async fn tokens_of_others_are_left_to_others() {
        let (key, tokens) = fixture();
        let mut other = payload();
        other["iss"] = json!("https://elsewhere");
        let token = jwt::sign(&key, &other).unwrap();
        assert!(tokens.check(&token, &[], NOW).await.unwrap().is_none());
        assert!(tokens.check("abcdef.0123456789abcdef", &[], NOW).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn bad_tokens_are_rejected() {
        let (key, tokens) = fixture();
        let change = |edit: &dyn Fn(&mut Value)| {
            let mut claims = payload();
            edit(&mut claims);
            jwt::sign(&key, &claims).unwrap()
        };
        for (what, token) in [
            ("other key", jwt::sign(&keys::tests::p256(), &payload()).unwrap()),
            ("expired", change(&|c| c["exp"] = json!(NOW - 100))),
            ("audience", change(&|c| c["aud"] = json!(["vault"]))),
            ("uid", change(&|c| c["kubernetes.io"]["serviceaccount"]["uid"] = json!("old"))),
            ("no claims", change(&|c| c["kubernetes.io"] = json!({}))),
            ("wrong types", change(&|c| c["kubernetes.io"] = json!(["x"]))),
            ("gone pod", change(&|c| c["kubernetes.io"]["pod"] = json!({ "name": "p", "uid": "p" }))),
            ("legacy without secret", change(&|c| c["iss"] = json!(legacy::ISSUER))),
        ] {
            assert!(tokens.check(&token, &[], NOW).await.is_err(), "{what}");
        }
        let token = change(&|_| {});
        assert!(tokens.check(&token, &["vault".to_owned()], NOW).await.is_err());
    }
}
