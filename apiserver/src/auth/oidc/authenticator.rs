//! Accepts the tokens of one issuer.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use proto::field::{Path, aggregate};

use super::config::JwtConfig;
use super::distributed::Resolver;
use super::http::Client;
use super::jwks::ALGORITHMS;
use super::mapping::Mapping;
use super::metrics;
use super::quoted;
use super::validate::compile;
use super::verifier::{Accepted, Lookup, untrusted_issuer, well_known};
use crate::auth::service_account::jwt::Jwt;
use crate::auth::{Authenticated, Rejected, UserInfo};

/// Accepts the tokens of one issuer, once it was found.
pub(super) struct JwtAuthenticator {
    mapping: Mapping,
    lookup: Lookup,
    resolver: Option<Resolver>,
    issuer_hash: String,
}

impl JwtAuthenticator {
    /// Begins to look for the issuer.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub(super) fn start(
        config: &JwtConfig,
        algorithms: &Arc<[String]>,
        disallowed: &[String],
    ) -> Result<Self, String> {
        let (expressions, errors) = compile(config, &Path::default(), disallowed);
        if !errors.is_empty() {
            return Err(aggregate(&errors));
        }
        for algorithm in algorithms.iter() {
            if !ALGORITHMS.contains(&algorithm.as_str()) {
                return Err(format!("oidc: unsupported signing alg: {}", quoted(algorithm)));
            }
        }
        let issuer = &config.issuer;
        if !issuer.egress_selector_type.is_empty() {
            let way = quoted(&issuer.egress_selector_type);
            return Err(format!("oidc: egress lookup required with egress selector type {way}"));
        }
        let rewrite = Some(issuer.discovery_url.clone()).filter(|url| !url.is_empty());
        let rewrite = rewrite.map(|url| (well_known(&issuer.url), url));
        let client = Client::new(&issuer.certificate_authority, rewrite);
        let client = Arc::new(client.map_err(|error| format!("Failed to read the CA contents: {error}"))?);
        let accepted = Accepted {
            issuer: issuer.url.clone(),
            audiences: issuer.audiences.clone(),
            algorithms: algorithms.clone(),
        };
        let claim = &config.claim_mappings.groups.claim;
        let resolver =
            (!claim.is_empty()).then(|| Resolver::new(claim.clone(), client.clone(), accepted.clone()));
        Ok(JwtAuthenticator {
            issuer_hash: metrics::hash(issuer.url.as_bytes()),
            mapping: Mapping { config: config.clone(), expressions },
            lookup: Lookup::start(client, accepted, true),
            resolver,
        })
    }

    /// The issuer.
    pub(super) fn issuer(&self) -> &str {
        &self.mapping.config.issuer.url
    }

    /// Waits until the issuer is found.
    pub(super) async fn ready(&self) {
        self.lookup.ready().await;
    }

    /// Why tokens can't be checked, if they can't.
    pub(super) fn health(&self) -> Result<(), String> {
        let explain = |error: String| {
            let issuer = quoted(self.issuer());
            format!("oidc: authenticator for issuer {issuer} is not healthy: {error}")
        };
        self.lookup.get().map(drop).map_err(explain)
    }

    /// Whose token it is, if it is this issuer's.
    pub(super) async fn authenticate(&self, token: &str) -> Result<Option<Authenticated>, Rejected> {
        let Some(jwt) = Jwt::parse(token) else { return Ok(None) };
        if untrusted_issuer(&jwt).as_deref() != Some(self.issuer()) {
            return Ok(None);
        }
        let start = Instant::now();
        let user = self.check(&jwt, Timestamp::now()).await;
        metrics::checked(&self.issuer_hash, user.is_ok(), start.elapsed());
        let user = Arc::new(user.map_err(Rejected)?);
        Ok(Some(Authenticated { user, audiences: Vec::new() }))
    }

    async fn check(&self, jwt: &Jwt<'_>, now: Timestamp) -> Result<UserInfo, String> {
        let verifier = self.lookup.get().map_err(|_| "oidc: authenticator not initialized".to_owned())?;
        let verified = verifier.verify(jwt, now).await;
        let mut claims = verified.map_err(|error| format!("oidc: verify token: {error}"))?;
        if let Some(resolver) = &self.resolver {
            let expanded = resolver.expand(&mut claims, now).await;
            expanded.map_err(|error| format!("oidc: could not expand distributed claims: {error}"))?;
        }
        self.mapping.user(&claims)
    }
}

#[cfg(test)]
mod tests;
