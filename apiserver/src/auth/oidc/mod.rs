//! Tokens of OpenID Connect issuers: the `--oidc-*` flags, and `--authentication-config`, which is read again when it changes.
//!
//! Each issuer is looked for in the background from the start on; its tokens are refused until it is found. A token that
//! names another issuer is not its authenticator's business. Nothing in a token is believed before its signature was checked,
//! except which issuer is to check it.

mod authenticator;
mod claims;
pub mod config;
mod distributed;
mod expressions;
mod http;
mod jwks;
mod keyset;
mod mapping;
mod metrics;
mod reload;
mod validate;
mod verifier;

use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::RwLock;
use proto::field::{Error, Path, aggregate};

use super::text::{quoted, quoted_list};
use super::{Authenticated, Rejected, TokenAuthenticator};
use authenticator::JwtAuthenticator;
use config::{Anonymous, AuthenticationConfiguration};

pub use reload::Reload;

/// What the options say about tokens of issuers and about requests without credentials.
pub struct Configured {
    pub issuers: Arc<Issuers>,
    pub anonymous: Anonymous,
    /// Follows the file, if there is one.
    pub reload: Option<Reload>,
}

/// Starts what the options say.
pub fn configure(options: &super::AuthOptions) -> Result<Configured, String> {
    let disallowed = &options.service_account_issuers;
    let (mut config, mut algorithms) =
        (AuthenticationConfiguration::default(), options.oidc.signing_algs.clone());
    let mut content = Vec::new();
    if let Some(path) = &options.authentication_config {
        let read = std::fs::read(path).map_err(|error| format!("open {}: {error}", path.display()));
        let loaded = read.and_then(|read| {
            content = read;
            AuthenticationConfiguration::parse(&content)
        });
        config = loaded.map_err(|error| {
            let path = quoted(&path.display().to_string());
            format!("failed to load authentication configuration from file {path}: {error}")
        })?;
        algorithms = jwks::ALGORITHMS.iter().map(|name| (*name).to_owned()).collect();
    } else {
        config.jwt.extend(options.oidc.issuer()?);
    }
    let from_flag = || Anonymous { enabled: options.anonymous_auth, conditions: Vec::new() };
    if config.anonymous.is_some() && options.anonymous_auth_given {
        let detail = "--anonymous-auth flag cannot be set when anonymous field is configured in authentication configuration file";
        return Err(Error::forbidden(&Path::new("anonymous"), detail).to_string());
    }
    // Issuers that are the server's own are found when they are made.
    let errors = validate::validate(&config, &[]);
    if !errors.is_empty() {
        return Err(format!("invalid authentication configuration: {}", aggregate(&errors)));
    }
    if algorithms.is_empty() {
        algorithms.push("RS256".to_owned());
    }
    let issuers = Arc::new(Issuers::start(&config, algorithms.into(), disallowed.clone())?);
    let anonymous = config.anonymous.clone().unwrap_or_else(from_flag);
    let reload = options
        .authentication_config
        .as_ref()
        .map(|path| Reload::new(path.clone(), content, config.anonymous.clone(), issuers.clone()));
    Ok(Configured { issuers, anonymous, reload })
}

/// The issuers there are at the moment.
pub struct Issuers {
    current: RwLock<Arc<[JwtAuthenticator]>>,
    algorithms: Arc<[String]>,
    /// Whose tokens are the server's own.
    disallowed: Vec<String>,
}

impl Issuers {
    fn start(
        config: &AuthenticationConfiguration,
        algorithms: Arc<[String]>,
        disallowed: Vec<String>,
    ) -> Result<Issuers, String> {
        let issuers = Issuers { current: RwLock::new(Arc::new([])), algorithms, disallowed };
        *issuers.current.write() = issuers.make(config)?;
        Ok(issuers)
    }

    fn make(&self, config: &AuthenticationConfiguration) -> Result<Arc<[JwtAuthenticator]>, String> {
        let start = |jwt| JwtAuthenticator::start(jwt, &self.algorithms, &self.disallowed);
        config.jwt.iter().map(start).collect()
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.current.read().is_empty()
    }

    /// Puts others in their place. Requests under way keep those they have.
    fn replace(&self, others: Arc<[JwtAuthenticator]>) {
        let old = std::mem::replace(&mut *self.current.write(), others.clone());
        for gone in old.iter().filter(|old| !others.iter().any(|new| new.issuer() == old.issuer())) {
            metrics::forget(gone.issuer());
        }
    }
}

impl TokenAuthenticator for Issuers {
    fn authenticate_token<'a>(
        &'a self,
        token: &'a str,
        _: &'a [String],
    ) -> BoxFuture<'a, Result<Option<Authenticated>, Rejected>> {
        Box::pin(async move {
            let current = self.current.read().clone();
            for issuer in current.iter() {
                // No two are of the same issuer: the first that knows the token decides.
                if let Some(found) = issuer.authenticate(token).await? {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        })
    }
}

#[cfg(test)]
mod tests;
