//! Claims that an issuer keeps elsewhere (OpenID Connect Core 1.0, section 5.6.2): a token names an address at which another
//! token has the claim.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;

use super::claims::{self, Claims};
use super::http::{Client, status_text};
use super::quoted;
use super::verifier::{Accepted, Lookup, untrusted_issuer};
use crate::auth::service_account::jwt::Jwt;

/// Finds one claim, wherever it is.
pub(super) struct Resolver {
    claim: String,
    client: Arc<Client>,
    /// As tokens of the other issuers must be too.
    accepted: Accepted,
    issuers: Mutex<HashMap<String, Arc<Lookup>>>,
}

/// Where a claim is.
struct Endpoint {
    url: String,
    token: String,
}

impl Resolver {
    /// Of this claim.
    pub(super) fn new(claim: String, client: Arc<Client>, accepted: Accepted) -> Resolver {
        Resolver { claim, client, accepted, issuers: Mutex::default() }
    }

    /// Adds the claim to others, if it is elsewhere.
    pub(super) async fn expand(&self, claims: &mut Claims, now: Timestamp) -> Result<(), String> {
        if claims.has(&self.claim) {
            return Ok(());
        }
        if let Some(endpoint) = self.endpoint(claims)? {
            let value = self.resolve(&endpoint, now).await?;
            claims.0.insert(self.claim.clone(), value);
        }
        Ok(())
    }

    fn endpoint(&self, claims: &Claims) -> Result<Option<Endpoint>, String> {
        let Some(names) = claims.0.get("_claim_names") else { return Ok(None) };
        let sources = claims.0.get("_claim_sources").ok_or("oidc: no claim sources")?;
        let Some(source) = names.get(&self.claim) else { return Ok(None) };
        let source = claims::text(source)
            .map_err(|error| format!("oidc: error parsing distributed claim names: {error}"))?;
        let found = sources.get(&source).ok_or_else(|| {
            format!("id token _claim_names contained a source {source} missing in _claims_sources")
        })?;
        let text = |name: &str| {
            let text = found.get(name).map_or(Ok(String::new()), claims::text);
            text.map_err(|error| format!("oidc: could not parse claim sources: {error}"))
        };
        let endpoint = Endpoint { url: text("endpoint")?, token: text("access_token")? };
        // Without an address the source may have the claim itself, which is not supported.
        Ok(Some(endpoint).filter(|endpoint| !endpoint.url.is_empty()))
    }

    async fn resolve(&self, endpoint: &Endpoint, now: Timestamp) -> Result<Value, String> {
        let Endpoint { url, token } = endpoint;
        let token = self.fetch(url, token).await;
        let token = token
            .map_err(|error| format!("while getting distributed claim {}: {error}", quoted(&self.claim)))?;
        let no_issuer = || {
            let claim = quoted(&self.claim);
            format!("getting untrusted issuer from endpoint {url} failed for claim {claim}: malformed token")
        };
        let jwt = Jwt::parse(&token).ok_or_else(no_issuer)?;
        let issuer = untrusted_issuer(&jwt).ok_or_else(no_issuer)?;
        let verifier = self.issuer(&issuer).get().map_err(|_| {
            let what = quoted(&issuer);
            format!("verifying untrusted issuer {issuer} failed: verifier not initialized for issuer: {what}")
        })?;
        let verified = verifier.verify(&jwt, now).await;
        let verified = verified.map_err(|error| format!("verify distributed claim token: {error}"))?;
        verified.0.get(&self.claim).cloned().ok_or_else(|| {
            let (url, claim) = (quoted(url), &self.claim);
            format!("jwt returned by distributed claim endpoint {url} did not contain claim: {claim}")
        })
    }

    /// Another issuer, which is looked for from the first time on that it is needed.
    fn issuer(&self, issuer: &str) -> Arc<Lookup> {
        let mut issuers = self.issuers.lock();
        let start = || {
            let accepted = Accepted { issuer: issuer.to_owned(), ..self.accepted.clone() };
            Arc::new(Lookup::start(self.client.clone(), accepted, false))
        };
        issuers.entry(issuer.to_owned()).or_insert_with(start).clone()
    }

    async fn fetch(&self, url: &str, token: &str) -> Result<String, String> {
        let answer = self.client.get(url, token).await?;
        if !(200..=226).contains(&answer.status.as_u16()) {
            let status = status_text(answer.status);
            return Err(format!("error while getting distributed claim JWT: {status}"));
        }
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }
}
