//! From upstream's flags to the authenticators and authorizers of a server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto::schema::Mask;

use super::authn::Union;
use super::authn::bearer::{AudienceAgnostic, BearerToken, TokenCache, TokenUnion};
use super::authn::bootstrap_token::BootstrapTokens;
use super::authn::chain::Roots;
use super::authn::file::FileSource;
use super::authn::request_header::{FrontProxy, HeaderNames};
use super::authn::token_file::TokenFile;
use super::authn::x509::ClientCertificates;
use super::node::graph::Graph;
use super::node::{self, NodeAuthorizer};
use super::objects::Objects;
use super::oidc::config::{Anonymous, OidcFlags};
use super::rbac::RbacAuthorizer;
use super::rbac::index::{Index, Kind, SharedIndex};
use super::service_account::authenticator::ServiceAccountTokens;
use super::service_account::discovery::{self, Documents};
use super::service_account::issuer::Issuer;
use super::service_account::keys::{KeyError, PrivateKey, PublicKey, load_public_keys};
use super::{Authenticator, Authorizer, TokenAuthenticator, authz, oidc};
use crate::registry::{Local, TokenIssuer};

/// The values of upstream's authentication and authorization flags.
#[derive(Clone, Debug)]
pub struct AuthOptions {
    pub anonymous_auth: bool,
    /// Whether the flag was given.
    pub anonymous_auth_given: bool,
    pub authentication_config: Option<PathBuf>,
    pub oidc: OidcFlags,
    pub client_ca_file: Option<PathBuf>,
    pub requestheader_client_ca_file: Option<PathBuf>,
    pub requestheader_allowed_names: Vec<String>,
    pub requestheader_headers: HeaderNames,
    pub token_auth_file: Option<PathBuf>,
    pub enable_bootstrap_token_auth: bool,
    pub service_account_issuers: Vec<String>,
    pub service_account_key_files: Vec<PathBuf>,
    pub service_account_signing_key_file: Option<PathBuf>,
    pub service_account_lookup: bool,
    /// Seconds; 0: no limit.
    pub service_account_max_token_expiration: i64,
    pub service_account_extend_token_expiration: bool,
    pub service_account_jwks_uri: String,
    /// Host and port under which others reach the server.
    pub external_address: String,
    pub api_audiences: Vec<String>,
    pub authorization_modes: Vec<String>,
}

impl Default for AuthOptions {
    fn default() -> Self {
        AuthOptions {
            anonymous_auth: true,
            anonymous_auth_given: false,
            authentication_config: None,
            oidc: OidcFlags::default(),
            client_ca_file: None,
            requestheader_client_ca_file: None,
            requestheader_allowed_names: Vec::new(),
            requestheader_headers: HeaderNames::default(),
            token_auth_file: None,
            enable_bootstrap_token_auth: false,
            service_account_issuers: Vec::new(),
            service_account_key_files: Vec::new(),
            service_account_signing_key_file: None,
            service_account_lookup: true,
            service_account_max_token_expiration: 0,
            service_account_extend_token_expiration: true,
            service_account_jwks_uri: String::new(),
            external_address: String::new(),
            api_audiences: Vec::new(),
            authorization_modes: vec!["AlwaysAllow".to_owned()],
        }
    }
}

/// Why the options make no server.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    #[error("{0}")]
    Flag(String),
    #[error("unable to load client CA file: {0}")]
    ClientCa(String),
    #[error("unable to load request header client CA file: {0}")]
    RequestHeaderCa(String),
    #[error("{0}")]
    TokenFile(String),
    #[error("{0}")]
    Issuers(String),
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Everything that decides who someone is and what they may do.
pub struct AuthStack {
    pub authenticator: Arc<dyn Authenticator>,
    pub tokens: Arc<dyn TokenAuthenticator>,
    pub authorizer: Arc<dyn Authorizer>,
    pub issuer: Option<Arc<dyn TokenIssuer>>,
    /// Documents at [`discovery::CONFIGURATION_PATH`] and [`discovery::JWKS_PATH`], if they can be served.
    pub discovery: Option<Documents>,
    /// Follows the file of `--authentication-config`, if there is one.
    pub reload: Option<oidc::Reload>,
    /// Roles and bindings, for escalation checks. Kept up to date in every mode.
    pub rbac: SharedIndex,
}

impl AuthOptions {
    /// What is wrong with the values, as upstream says it.
    pub fn validate(&self) -> Vec<String> {
        let mut errors = Vec::new();
        match &self.authentication_config {
            None if self.oidc.given
                && (self.oidc.issuer_url.is_empty() || self.oidc.client_id.is_empty()) =>
            {
                errors.push("oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set".to_owned());
            }
            Some(_) if self.oidc.given => {
                errors.push("authentication-config file and oidc-* flags are mutually exclusive".to_owned());
            }
            _ => errors.extend(self.oidc.required().err()),
        }
        for (index, issuer) in self.service_account_issuers.iter().enumerate() {
            if issuer.is_empty() {
                errors.push("service-account-issuer should not be an empty string".to_owned());
            }
            if self.service_account_issuers[..index].contains(issuer) {
                errors.push(format!("service-account-issuer \"{issuer}\" is already specified"));
            }
        }
        if self.service_account_issuers.is_empty() {
            errors.push("service-account-issuer is a required flag".to_owned());
        }
        if self.service_account_key_files.is_empty() {
            let either =
                "either `--service-account-key-file` or `--service-account-signing-endpoint` must be set";
            errors.push(either.to_owned());
        }
        if self.authorization_modes.is_empty() {
            errors.push("at least one authorization-mode must be passed".to_owned());
        }
        for mode in &self.authorization_modes {
            match mode.as_str() {
                "AlwaysAllow" | "AlwaysDeny" | "Node" | "RBAC" => {}
                "ABAC" | "Webhook" => errors.push(format!("authorization-mode \"{mode}\" is not supported")),
                _ => errors.push(format!("authorization-mode \"{mode}\" is not a valid mode")),
            }
        }
        let mut distinct = self.authorization_modes.clone();
        distinct.sort();
        distinct.dedup();
        if distinct.len() < self.authorization_modes.len() {
            let modes = super::text::quoted_list(&self.authorization_modes);
            errors.push(format!("authorization-mode {modes} has mode specified more than once"));
        }
        errors
    }

    /// The server's own audiences: its issuers, unless given.
    fn audiences(&self) -> Vec<String> {
        if self.api_audiences.is_empty() {
            self.service_account_issuers.clone()
        } else {
            self.api_audiences.clone()
        }
    }
}

/// Makes the stack, and has it follow the objects it depends on.
pub fn build(options: &AuthOptions, local: Arc<dyn Local>) -> Result<AuthStack, OptionsError> {
    if let Some(error) = options.validate().into_iter().next() {
        return Err(OptionsError::Flag(error));
    }
    let mut keys: Vec<PublicKey> = Vec::new();
    for path in &options.service_account_key_files {
        keys.extend(load_public_keys(path)?);
    }
    let configured = oidc::configure(options).map_err(OptionsError::Issuers)?;
    let tokens = build_tokens(options, Objects::new(local.clone()), &keys, configured.issuers)?;
    let authenticator = build_authenticator(options, tokens.clone(), configured.anonymous)?;
    let rbac = follow_rbac(&*local);
    let authorizer = build_authorizer(options, rbac.clone(), &*local);
    Ok(AuthStack {
        authenticator,
        tokens,
        authorizer,
        issuer: build_issuer(options)?,
        discovery: build_discovery(options, &keys),
        reload: configured.reload,
        rbac,
    })
}

fn roots(path: &Path) -> Result<FileSource<Roots>, String> {
    FileSource::open(path, Roots::parse)
}

fn build_tokens(
    options: &AuthOptions,
    objects: Objects,
    keys: &[PublicKey],
    issuers: Arc<oidc::Issuers>,
) -> Result<Arc<dyn TokenAuthenticator>, OptionsError> {
    let api_audiences = options.audiences();
    let agnostic = |inner: Arc<dyn TokenAuthenticator>| {
        Arc::new(AudienceAgnostic { inner, api_audiences: api_audiences.clone() })
            as Arc<dyn TokenAuthenticator>
    };
    let mut union: Vec<Arc<dyn TokenAuthenticator>> = Vec::new();
    if let Some(path) = &options.token_auth_file {
        union.push(agnostic(Arc::new(TokenFile::load(path).map_err(OptionsError::TokenFile)?)));
    }
    union.push(Arc::new(ServiceAccountTokens {
        issuers: options.service_account_issuers.clone(),
        keys: keys.to_vec(),
        api_audiences: api_audiences.clone(),
        lookup: options.service_account_lookup,
        objects: objects.clone(),
    }));
    if options.enable_bootstrap_token_auth {
        union.push(agnostic(Arc::new(BootstrapTokens { objects })));
    }
    // After those that ask nobody: issuers may have to be asked for their keys.
    if options.authentication_config.is_some() || !issuers.is_empty() {
        union.push(agnostic(issuers));
    }
    Ok(Arc::new(TokenCache::new(Arc::new(TokenUnion(union)))))
}

fn build_authenticator(
    options: &AuthOptions,
    tokens: Arc<dyn TokenAuthenticator>,
    anonymous: Anonymous,
) -> Result<Arc<dyn Authenticator>, OptionsError> {
    let mut authenticators: Vec<Arc<dyn Authenticator>> = Vec::new();
    if let Some(path) = &options.requestheader_client_ca_file {
        let roots = roots(path).map_err(OptionsError::RequestHeaderCa)?;
        let names = options.requestheader_allowed_names.clone();
        authenticators.push(Arc::new(FrontProxy::new(roots, names, options.requestheader_headers.clone())));
    }
    if let Some(path) = &options.client_ca_file {
        let roots = roots(path).map_err(OptionsError::ClientCa)?;
        authenticators.push(Arc::new(ClientCertificates::new(roots)));
    }
    authenticators.push(Arc::new(BearerToken { tokens }));
    Ok(Arc::new(Union { authenticators, anonymous }))
}

fn build_authorizer(options: &AuthOptions, rbac: SharedIndex, local: &dyn Local) -> Arc<dyn Authorizer> {
    let mut chain: Vec<Arc<dyn Authorizer>> = vec![Arc::new(authz::PrivilegedGroup)];
    for mode in &options.authorization_modes {
        chain.push(match mode.as_str() {
            "Node" => {
                let graph = Arc::new(Graph::default());
                node::follow(&graph, local);
                Arc::new(NodeAuthorizer::new(graph))
            }
            "RBAC" => Arc::new(RbacAuthorizer::new(rbac.clone())),
            "AlwaysAllow" => Arc::new(authz::AlwaysAllow),
            // Anything else was refused by validate().
            _ => Arc::new(authz::AlwaysDeny),
        });
    }
    Arc::new(authz::Chain(chain))
}

fn follow_rbac(local: &dyn Local) -> SharedIndex {
    let index = Arc::new(Index::default());
    for (resource, kind) in [
        ("clusterroles", Kind::ClusterRole),
        ("clusterrolebindings", Kind::ClusterRoleBinding),
        ("roles", Kind::Role),
        ("rolebindings", Kind::RoleBinding),
    ] {
        let index = index.clone();
        let apply = move |old: Option<&_>, new: Option<&_>, _: i64| index.apply(kind, old, new);
        local.subscribe("rbac.authorization.k8s.io", resource, Mask::ALL, Box::new(apply));
    }
    index
}

fn build_issuer(options: &AuthOptions) -> Result<Option<Arc<dyn TokenIssuer>>, OptionsError> {
    let (Some(path), Some(issuer)) =
        (&options.service_account_signing_key_file, options.service_account_issuers.first())
    else {
        return Ok(None);
    };
    Ok(Some(Arc::new(Issuer {
        key: PrivateKey::load(path)?,
        issuer: issuer.clone(),
        api_audiences: options.audiences(),
        max_seconds: options.service_account_max_token_expiration,
        extend: options.service_account_extend_token_expiration,
    })))
}

fn build_discovery(options: &AuthOptions, keys: &[PublicKey]) -> Option<Documents> {
    let issuer = options.service_account_issuers.first()?;
    let made =
        discovery::documents(issuer, &options.service_account_jwks_uri, &options.external_address, keys);
    made.inspect_err(|error| {
        tracing::warn!(%error, "OpenID discovery of the service account issuer is not served");
    })
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_checked() {
        let good = AuthOptions {
            service_account_issuers: vec!["https://issuer".into()],
            service_account_key_files: vec!["sa.pub".into()],
            authorization_modes: vec!["Node".into(), "RBAC".into()],
            ..AuthOptions::default()
        };
        assert!(good.validate().is_empty());
        let modes = |list: &[&str]| AuthOptions {
            authorization_modes: list.iter().map(|m| (*m).to_owned()).collect(),
            ..good.clone()
        };
        for (options, text) in [
            (
                AuthOptions { service_account_issuers: vec![], ..good.clone() },
                "service-account-issuer is a required flag",
            ),
            (AuthOptions { service_account_key_files: vec![], ..good.clone() }, "--service-account-key-file"),
            (
                AuthOptions { oidc: OidcFlags { given: true, ..Default::default() }, ..good.clone() },
                "oidc-issuer-url and oidc-client-id must be specified together",
            ),
            (
                AuthOptions {
                    oidc: OidcFlags { given: true, ..Default::default() },
                    authentication_config: Some("x".into()),
                    ..good.clone()
                },
                "authentication-config file and oidc-* flags are mutually exclusive",
            ),
            (
                AuthOptions {
                    oidc: OidcFlags { required_claims: vec!["x".into()], ..Default::default() },
                    ..good.clone()
                },
                "invalid argument \"x\" for \"--oidc-required-claim\" flag: malformed pair, expect string=string",
            ),
            (modes(&[]), "at least one authorization-mode must be passed"),
            (modes(&["Foo"]), "authorization-mode \"Foo\" is not a valid mode"),
            (modes(&["Webhook"]), "not supported"),
            (
                modes(&["RBAC", "RBAC"]),
                "authorization-mode [\"RBAC\" \"RBAC\"] has mode specified more than once",
            ),
        ] {
            let errors = options.validate();
            assert!(errors.iter().any(|error| error.contains(text)), "{errors:?}");
        }
    }
}
