//! What is configured: the file of `--authentication-config`, and the `--oidc-*` flags, which say a part of the same.

use std::path::{Path, PathBuf};

use component_base::config::{self, Error};
use serde::{Deserialize, Serialize};

const KINDS: &[(&str, &str)] = &[
    ("apiserver.config.k8s.io/v1", "AuthenticationConfiguration"),
    ("apiserver.config.k8s.io/v1beta1", "AuthenticationConfiguration"),
    ("apiserver.config.k8s.io/v1alpha1", "AuthenticationConfiguration"),
];
/// The only policy of matching several audiences.
pub const MATCH_ANY: &str = "MatchAny";

/// Who may authenticate, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AuthenticationConfiguration {
    /// Issuers of tokens.
    pub jwt: Vec<JwtConfig>,
    /// Requests without credentials; absent: as the flag says.
    pub anonymous: Option<Anonymous>,
}

/// Which requests without credentials are served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Anonymous {
    /// Whether any are.
    pub enabled: bool,
    /// If there are any: only those that meet one of these.
    pub conditions: Vec<AnonymousCondition>,
}

/// A condition of requests without credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnonymousCondition {
    /// The path that is asked for.
    #[serde(rename(serialize = "Path"))]
    pub path: String,
}

/// An issuer, and what its tokens mean.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct JwtConfig {
    /// The issuer.
    pub issuer: Issuer,
    /// What its tokens must claim.
    pub claim_validation_rules: Vec<ClaimRule>,
    /// How claims make a user.
    pub claim_mappings: ClaimMappings,
    /// What that user must be like.
    pub user_validation_rules: Vec<UserRule>,
}

/// An issuer of tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Issuer {
    /// Its name, under which its discovery document is found too.
    pub url: String,
    /// Where the discovery document is instead.
    #[serde(rename = "discoveryURL")]
    pub discovery_url: String,
    /// Certificates in PEM that vouch for it; empty: the system's.
    pub certificate_authority: String,
    /// Whom tokens must be for.
    pub audiences: Vec<String>,
    /// How several of them are matched.
    pub audience_match_policy: String,
    /// By which way it is reached.
    pub egress_selector_type: String,
}

/// A claim that must have a value, or an expression that must be true.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClaimRule {
    pub claim: String,
    pub required_value: String,
    pub expression: String,
    pub message: String,
}

/// An expression about the user that must be true.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UserRule {
    pub expression: String,
    pub message: String,
}

/// How claims make a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClaimMappings {
    pub username: PrefixedClaim,
    pub groups: PrefixedClaim,
    pub uid: Claim,
    pub extra: Vec<ExtraMapping>,
}

/// A claim to whose value a prefix is added, or an expression.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PrefixedClaim {
    pub claim: String,
    pub prefix: Option<String>,
    pub expression: String,
}

/// A claim or an expression.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Claim {
    pub claim: String,
    pub expression: String,
}

/// The expression of one of a user's extra values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExtraMapping {
    pub key: String,
    pub value_expression: String,
}

impl AuthenticationConfiguration {
    /// Reads a file's content, strictly.
    pub fn parse(content: &[u8]) -> Result<Self, String> {
        if content.is_empty() {
            return Err("empty config data".to_owned());
        }
        let text = std::str::from_utf8(content).map_err(|error| error.to_string())?;
        let parsed = config::parse(Path::new(""), text, KINDS).map_err(|error| match error {
            Error::Read(_, error) => error.to_string(),
            Error::Yaml { reason, .. } | Error::Field { reason, .. } => reason,
            Error::Kind { kind, version, .. } => {
                format!("no kind {kind:?} is registered for version {version:?}")
            }
        });
        parsed.map(|(config, _)| config)
    }
}

/// The values of the `--oidc-*` flags.
#[derive(Clone, Debug, Default)]
pub struct OidcFlags {
    /// Whether any was given.
    pub given: bool,
    pub issuer_url: String,
    pub client_id: String,
    pub ca_file: Option<PathBuf>,
    pub username_claim: String,
    pub username_prefix: String,
    pub groups_claim: String,
    pub groups_prefix: String,
    pub signing_algs: Vec<String>,
    /// Of the form `claim=value`.
    pub required_claims: Vec<String>,
}

impl OidcFlags {
    /// The claims and values of `--oidc-required-claim`; of several values the last counts.
    pub fn required(&self) -> Result<Vec<ClaimRule>, String> {
        let mut rules: Vec<ClaimRule> = Vec::new();
        for pair in &self.required_claims {
            let (claim, value) = pair.split_once('=').ok_or_else(|| {
                let what = super::quoted(pair);
                format!("invalid argument {what} for \"--oidc-required-claim\" flag: malformed pair, expect string=string")
            })?;
            let (claim, required_value) = (claim.trim().to_owned(), value.trim().to_owned());
            rules.retain(|rule| rule.claim != claim);
            rules.push(ClaimRule { claim, required_value, ..ClaimRule::default() });
        }
        Ok(rules)
    }

    /// The issuer that the flags name, if they do.
    pub fn issuer(&self) -> Result<Option<JwtConfig>, String> {
        if self.issuer_url.is_empty() || self.client_id.is_empty() {
            return Ok(None);
        }
        let username_prefix = match self.username_prefix.as_str() {
            // Only addresses are taken for unique among issuers.
            "" if self.username_claim != "email" => format!("{}#", self.issuer_url),
            "-" => String::new(),
            given => given.to_owned(),
        };
        let prefixed = |claim: &str, prefix: String| PrefixedClaim {
            claim: claim.to_owned(),
            prefix: Some(prefix),
            expression: String::new(),
        };
        let groups = match self.groups_claim.as_str() {
            "" => PrefixedClaim::default(),
            claim => prefixed(claim, self.groups_prefix.clone()),
        };
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).map_err(|error| format!("open {}: {error}", path.display()))
        };
        Ok(Some(JwtConfig {
            issuer: Issuer {
                url: self.issuer_url.clone(),
                audiences: vec![self.client_id.clone()],
                certificate_authority: self.ca_file.as_ref().map(read).transpose()?.unwrap_or_default(),
                ..Issuer::default()
            },
            claim_mappings: ClaimMappings {
                username: prefixed(&self.username_claim, username_prefix),
                groups,
                ..ClaimMappings::default()
            },
            claim_validation_rules: self.required()?,
            ..JwtConfig::default()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_strictly() {
        let file = |body: &str| {
            let text =
                format!("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n{body}");
            AuthenticationConfiguration::parse(text.as_bytes())
        };
        let config = file(
            "jwt: [{issuer: {url: https://i, discoveryURL: https://d, audiences: [a]}, claimMappings: {username: {claim: sub, prefix: ''}, extra: [{key: a/b, valueExpression: claims.x}]}}]\nanonymous: {enabled: true, conditions: [{path: /healthz}]}",
        )
        .unwrap();
        assert_eq!(config.jwt[0].issuer.discovery_url, "https://d");
        assert_eq!(config.jwt[0].claim_mappings.username.prefix.as_deref(), Some(""));
        assert_eq!(config.anonymous.unwrap().conditions[0].path, "/healthz");
        assert_eq!(file("jwt: []").unwrap(), AuthenticationConfiguration::default());
        assert_eq!(file("jwts: []").unwrap_err(), "strict decoding error: unknown field \"jwts\"");
        assert!(file("jwt: 1").is_err() && file("jwt: [").is_err());
        assert_eq!(AuthenticationConfiguration::parse(b"").unwrap_err(), "empty config data");
        assert!(AuthenticationConfiguration::parse(b"\xff").is_err());
        assert_eq!(
            AuthenticationConfiguration::parse(b"{apiVersion: v1, kind: Pod}").unwrap_err(),
            "no kind \"Pod\" is registered for version \"v1\""
        );
    }

    #[test]
    fn flags_say_the_same() {
        let flags = OidcFlags {
            issuer_url: "https://i".into(),
            client_id: "c".into(),
            username_claim: "sub".into(),
            groups_claim: "groups".into(),
            groups_prefix: "g:".into(),
            required_claims: vec!["hd = example.com".into(), "n=a=b".into(), "hd=x".into()],
            ..OidcFlags::default()
        };
        let prefix = |username_claim: &str, username_prefix: &str| {
            let (username_claim, username_prefix) = (username_claim.into(), username_prefix.into());
            let flags = OidcFlags { username_claim, username_prefix, ..flags.clone() };
            flags.issuer().unwrap().unwrap().claim_mappings.username.prefix.unwrap()
        };
        for (claim, given, used) in
            [("sub", "", "https://i#"), ("email", "", ""), ("sub", "-", ""), ("sub", "o:", "o:")]
        {
            assert_eq!(prefix(claim, given), used, "{claim} {given}");
        }
        let issuer = flags.issuer().unwrap().unwrap();
        let rules: Vec<_> = issuer
            .claim_validation_rules
            .iter()
            .map(|r| (r.claim.as_str(), r.required_value.as_str()))
            .collect();
        assert_eq!(rules, [("n", "a=b"), ("hd", "x")]);
        assert_eq!(issuer.claim_mappings.groups.prefix.as_deref(), Some("g:"));
        assert!(OidcFlags { required_claims: vec!["x".into()], ..flags.clone() }.issuer().is_err());
        assert_eq!(OidcFlags { client_id: String::new(), ..flags }.issuer(), Ok(None));
    }
}
