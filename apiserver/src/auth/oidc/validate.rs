//! What is wrong with a configuration, in upstream's words; and its expressions, compiled on the way.

use std::collections::HashSet;

use proto::content::is_domain_prefixed_path;
use proto::field::{Error, Errors, Path, quote};

use super::config::{
    AuthenticationConfiguration, Claim, ClaimMappings, ClaimRule, Issuer, JwtConfig, MATCH_ANY,
    PrefixedClaim, UserRule,
};
use super::expressions::{About, Expression};
use crate::auth::authn::chain::Roots;
use crate::registry::callback::Url;

const ISSUERS_MAX: usize = 64;
const BOTH: &str = "claim and expression can't both be set";
const EMAIL_UNVERIFIED: &str = "claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression";

/// The expressions of one issuer.
#[derive(Default)]
pub(super) struct Expressions {
    pub(super) username: Option<Expression>,
    pub(super) groups: Option<Expression>,
    pub(super) uid: Option<Expression>,
    /// With their keys.
    pub(super) extra: Vec<(String, Expression)>,
    /// With their messages.
    pub(super) claim_rules: Vec<(Expression, String)>,
    pub(super) user_rules: Vec<(Expression, String)>,
}

impl Expressions {
    /// Whether any is about claims.
    pub(super) fn need_claims(&self) -> bool {
        let one = self.username.is_some() || self.groups.is_some() || self.uid.is_some();
        one || !self.extra.is_empty() || !self.claim_rules.is_empty()
    }
}

/// What is wrong with the whole. No issuer may be one of the `disallowed`.
pub(super) fn validate(config: &AuthenticationConfiguration, disallowed: &[String]) -> Errors {
    let root = Path::new("jwt");
    if config.jwt.len() > ISSUERS_MAX {
        return vec![Error::too_many(&root, config.jwt.len(), ISSUERS_MAX)];
    }
    let mut errors = Errors::new();
    let (mut urls, mut discovery_urls) = (HashSet::new(), HashSet::new());
    for (index, jwt) in config.jwt.iter().enumerate() {
        let path = root.index(index);
        errors.extend(compile(jwt, &path, disallowed).1);
        let issuer = path.child("issuer");
        if !urls.insert(&jwt.issuer.url) {
            errors.push(Error::duplicate(&issuer.child("url"), jwt.issuer.url.as_str()));
        }
        let discovery = jwt.issuer.discovery_url.as_str();
        if !discovery.is_empty() && !discovery_urls.insert(discovery) {
            errors.push(Error::duplicate(&issuer.child("discoveryURL"), discovery));
        }
    }
    if let Some(anonymous) = &config.anonymous
        && !anonymous.enabled
        && !anonymous.conditions.is_empty()
    {
        let shown = serde_json::to_string(&anonymous.conditions).unwrap_or_default();
        let detail = "enabled should be set to true when conditions are defined";
        errors.push(Error::invalid_as(&Path::new("anonymous").child("conditions"), shown, detail));
    }
    errors
}

/// The expressions of an issuer, and what is wrong with it. It may not be one of the `disallowed`.
pub(super) fn compile(jwt: &JwtConfig, path: &Path, disallowed: &[String]) -> (Expressions, Errors) {
    let (mut made, mut errors) = (Expressions::default(), Errors::new());
    issuer(&jwt.issuer, &path.child("issuer"), disallowed, &mut errors);
    let rules = &jwt.claim_validation_rules;
    claim_rules(rules, &path.child("claimValidationRules"), &mut made, &mut errors);
    claim_mappings(&jwt.claim_mappings, &path.child("claimMappings"), &mut made, &mut errors);
    user_rules(&jwt.user_validation_rules, &path.child("userValidationRules"), &mut made, &mut errors);
    (made, errors)
}

fn issuer(issuer: &Issuer, path: &Path, disallowed: &[String], errors: &mut Errors) {
    let at = path.child("url");
    match issuer.url.as_str() {
        "" => errors.push(Error::required(&at, "")),
        text => url(text, disallowed, &at, errors),
    }
    let discovery = issuer.discovery_url.as_str();
    if !discovery.is_empty() {
        let at = path.child("discoveryURL");
        if !issuer.url.is_empty() && issuer.url.trim_end_matches('/') == discovery.trim_end_matches('/') {
            errors.push(Error::invalid(&at, discovery, "discoveryURL must be different from URL"));
        }
        url(discovery, &[], &at, errors);
    }
    audiences(issuer, path, errors);
    if !issuer.certificate_authority.is_empty()
        && let Err(error) = Roots::parse(issuer.certificate_authority.as_bytes())
    {
        errors.push(Error::invalid(&path.child("certificateAuthority"), "<omitted>", error));
    }
    let way = issuer.egress_selector_type.as_str();
    if !matches!(way, "" | "controlplane" | "cluster") {
        let detail = "egress selector must be either controlplane or cluster";
        errors.push(Error::invalid(&path.child("egressSelectorType"), way, detail));
    }
}

fn url(text: &str, disallowed: &[String], path: &Path, errors: &mut Errors) {
    let mut refuse = |detail: String| errors.push(Error::invalid(path, text, detail));
    if disallowed.iter().any(|other| other == text) {
        let mut others: Vec<&str> = disallowed.iter().map(String::as_str).collect();
        others.sort_unstable();
        others.dedup();
        refuse(format!("URL must not overlap with disallowed issuers: [{}]", others.join(" ")));
    }
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(why) => return refuse(format!("parse {}: {why}", quote(text))),
    };
    for (wrong, detail) in [
        (url.scheme != "https", "URL scheme must be https"),
        (url.user.is_some(), "URL must not contain a username or password"),
        (!url.query.is_empty(), "URL must not contain a query"),
        (!url.fragment.is_empty(), "URL must not contain a fragment"),
    ] {
        if wrong {
            refuse(detail.to_owned());
        }
    }
}

fn audiences(issuer: &Issuer, path: &Path, errors: &mut Errors) {
    let (at, policy_at) = (path.child("audiences"), path.child("audienceMatchPolicy"));
    let (list, policy) = (&issuer.audiences, issuer.audience_match_policy.as_str());
    if list.is_empty() {
        errors.push(Error::required(&at, format!("at least one {at} is required")));
        return;
    }
    let mut seen = HashSet::new();
    for (index, audience) in list.iter().enumerate() {
        if audience.is_empty() {
            errors.push(Error::required(&at.index(index), ""));
        }
        if !seen.insert(audience) {
            errors.push(Error::duplicate(&at.index(index), audience.as_str()));
        }
    }
    let refusal = match list.len() {
        1 if policy.is_empty() => return,
        1 => "audienceMatchPolicy must be empty or MatchAny for single audience",
        _ => "audienceMatchPolicy must be MatchAny for multiple audiences",
    };
    if policy != MATCH_ANY {
        errors.push(Error::invalid(&policy_at, policy, refusal));
    }
}

/// Compiles, or tells why not.
fn expression(
    text: &str,
    about: About,
    is_rule: bool,
    path: &Path,
    errors: &mut Errors,
) -> Option<Expression> {
    match Expression::compile(text, about, is_rule) {
        Ok(expression) => Some(expression),
        Err(why) => {
            errors.push(Error::invalid(path, text, why));
            None
        }
    }
}

fn claim_rules(rules: &[ClaimRule], path: &Path, made: &mut Expressions, errors: &mut Errors) {
    let (mut claims, mut expressions) = (HashSet::new(), HashSet::new());
    for (index, rule) in rules.iter().enumerate() {
        let at = path.index(index);
        match (rule.claim.as_str(), rule.expression.as_str()) {
            ("", "") => errors.push(Error::required(&at, "claim or expression is required")),
            (claim, "") => {
                if !rule.message.is_empty() {
                    let detail = "may not be specified when claim is set";
                    errors.push(Error::invalid(&at.child("message"), rule.message.as_str(), detail));
                }
                if !claims.insert(claim) {
                    errors.push(Error::duplicate(&at.child("claim"), claim));
                }
            }
            ("", text) => {
                if !rule.required_value.is_empty() {
                    let detail = "may not be specified when expression is set";
                    errors.push(Error::invalid(
                        &at.child("requiredValue"),
                        rule.required_value.as_str(),
                        detail,
                    ));
                }
                let at = at.child("expression");
                if !expressions.insert(text) {
                    errors.push(Error::duplicate(&at, text));
                    continue;
                }
                let expression = expression(text, About::Claims, true, &at, errors);
                made.claim_rules.extend(expression.map(|made| (made, rule.message.clone())));
            }
            (claim, _) => errors.push(Error::invalid(&at, claim, BOTH)),
        }
    }
}

fn user_rules(rules: &[UserRule], path: &Path, made: &mut Expressions, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (index, rule) in rules.iter().enumerate() {
        let (at, text) = (path.index(index).child("expression"), rule.expression.as_str());
        if text.is_empty() {
            errors.push(Error::required(&at, ""));
        } else if !seen.insert(text) {
            errors.push(Error::duplicate(&at, text));
        } else {
            let expression = expression(text, About::User, true, &at, errors);
            made.user_rules.extend(expression.map(|made| (made, rule.message.clone())));
        }
    }
}

fn claim_mappings(mappings: &ClaimMappings, path: &Path, made: &mut Expressions, errors: &mut Errors) {
    made.username = prefixed(&mappings.username, &path.child("username"), true, errors);
    made.groups = prefixed(&mappings.groups, &path.child("groups"), false, errors);
    let Claim { claim, expression: text } = &mappings.uid;
    let at = path.child("uid");
    match (claim.as_str(), text.as_str()) {
        (_, "") => {}
        ("", text) => made.uid = expression(text, About::Claims, false, &at.child("expression"), errors),
        _ => errors.push(Error::invalid(&at, "", BOTH)),
    }
    let mut keys = HashSet::new();
    for (index, mapping) in mappings.extra.iter().enumerate() {
        let (at, key) = (path.child("extra").index(index), mapping.key.as_str());
        extra_key(key, &at.child("key"), errors);
        if !keys.insert(key) {
            errors.push(Error::duplicate(&at.child("key"), key));
            continue;
        }
        let at = at.child("valueExpression");
        match mapping.value_expression.as_str() {
            "" => errors.push(Error::required(&at, "")),
            text => {
                let expression = expression(text, About::Claims, false, &at, errors);
                made.extra.extend(expression.map(|made| (key.to_owned(), made)));
            }
        }
    }
    let uses = |expression: &Expression| expression.uses_claim("email_verified");
    let verified = made.username.as_ref().is_some_and(uses)
        || made.extra.iter().any(|(_, expression)| uses(expression))
        || made.claim_rules.iter().any(|(expression, _)| uses(expression));
    if made.username.as_ref().is_some_and(|expression| expression.uses_claim("email")) && !verified {
        let at = path.child("username").child("expression");
        errors.push(Error::invalid(&at, mappings.username.expression.as_str(), EMAIL_UNVERIFIED));
    }
}

fn extra_key(key: &str, path: &Path, errors: &mut Errors) {
    errors.extend(is_domain_prefixed_path(path, key));
    if key != key.to_lowercase() {
        errors.push(Error::invalid(path, key, "must be lowercase"));
    }
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let reserved =
        |own: &str| domain.strip_suffix(own).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if reserved("kubernetes.io") || reserved("k8s.io") {
        let detail = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use";
        errors.push(Error::invalid(path, key, detail));
    }
}

fn prefixed(
    mapping: &PrefixedClaim,
    path: &Path,
    is_required: bool,
    errors: &mut Errors,
) -> Option<Expression> {
    match (mapping.claim.as_str(), mapping.expression.as_str()) {
        ("", "") if is_required => errors.push(Error::required(path, "claim or expression is required")),
        ("", "") => {}
        ("", text) => {
            let fits = mapping.prefix.is_none();
            if let Some(prefix) = &mapping.prefix {
                let detail = "may not be specified when expression is set";
                errors.push(Error::invalid(&path.child("prefix"), prefix.as_str(), detail));
            }
            return expression(text, About::Claims, false, &path.child("expression"), errors)
                .filter(|_| fits);
        }
        (_, "") if mapping.prefix.is_some() => {}
        (_, "") => {
            let detail =
                "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
            errors.push(Error::required(&path.child("prefix"), detail));
        }
        _ => errors.push(Error::invalid(path, "", BOTH)),
    }
    None
}

#[cfg(test)]
mod tests;
