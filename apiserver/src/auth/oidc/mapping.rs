//! From the claims of a token to a user, and what both must be like.

use std::collections::BTreeMap;

use cel::Value;
use serde_json::json;

use super::claims::Claims;
use super::config::{JwtConfig, PrefixedClaim};
use super::expressions::{Expression, texts};
use super::quoted;
use super::validate::Expressions;
use crate::auth::UserInfo;
use crate::auth::service_account::CREDENTIAL_ID;

/// How the tokens of one issuer become users.
pub(super) struct Mapping {
    pub(super) config: JwtConfig,
    pub(super) expressions: Expressions,
}

impl Mapping {
    /// The user that these claims make.
    pub(super) fn user(&self, claims: &Claims) -> Result<UserInfo, String> {
        let json = if self.expressions.need_claims() { claims.as_json() } else { serde_json::Value::Null };
        let value = Value::named(&json);
        let user = UserInfo {
            name: self.username(claims, &value)?,
            groups: self.groups(claims, &value)?,
            uid: self.uid(claims, &value)?,
            extra: self.extra(claims, &value)?,
        };
        self.check_claims(claims, &value)?;
        self.check_user(&user)?;
        Ok(user)
    }

    fn username<'a>(&'a self, claims: &Claims, value: &Value<'a>) -> Result<String, String> {
        if let Some(expression) = &self.expressions.username {
            let explain =
                |error: String| format!("oidc: error evaluating username claim expression: {error}");
            let made = expression.evaluate(value).map_err(explain)?;
            let made = made.as_str();
            let made =
                made.ok_or_else(|| explain("username claim expression must return a string".to_owned()))?;
            return match made {
                "" => Err("oidc: empty username via CEL expression is not allowed".to_owned()),
                name => Ok(name.to_owned()),
            };
        }
        let PrefixedClaim { claim, prefix, .. } = &self.config.claim_mappings.username;
        let name = claims.text(claim);
        let name = name.map_err(|error| format!("oidc: parse username claims {}: {error}", quoted(claim)))?;
        if claim == "email" && claims.has("email_verified") {
            let is_verified = claims.bool("email_verified");
            if !is_verified.map_err(|error| format!("oidc: parse 'email_verified' claim: {error}"))? {
                return Err("oidc: email not verified".to_owned());
            }
        }
        Ok(format!("{}{name}", prefix.as_deref().unwrap_or_default()))
    }

    fn groups<'a>(&'a self, claims: &Claims, value: &Value<'a>) -> Result<Vec<String>, String> {
        let PrefixedClaim { claim, prefix, .. } = &self.config.claim_mappings.groups;
        if !claim.is_empty() && claims.has(claim) {
            let groups = claims.texts(claim);
            let groups =
                groups.map_err(|error| format!("oidc: parse groups claim {}: {error}", quoted(claim)))?;
            let prefix = prefix.as_deref().unwrap_or_default();
            return Ok(groups.into_iter().map(|group| format!("{prefix}{group}")).collect());
        }
        let Some(expression) = &self.expressions.groups else { return Ok(Vec::new()) };
        let made = expression.evaluate(value).and_then(|made| texts(&made));
        made.map_err(|error| format!("oidc: error evaluating group claim expression: {error}"))
    }

    fn uid<'a>(&'a self, claims: &Claims, value: &Value<'a>) -> Result<String, String> {
        let claim = &self.config.claim_mappings.uid.claim;
        if !claim.is_empty() {
            let uid = claims.text(claim);
            return uid.map_err(|error| format!("oidc: parse uid claim {}: {error}", quoted(claim)));
        }
        let Some(expression) = &self.expressions.uid else { return Ok(String::new()) };
        let text = |made: Value<'_>| made.as_str().map(str::to_owned);
        let made = expression.evaluate(value).and_then(|made| {
            text(made).ok_or_else(|| "uid claim expression must return a string".to_owned())
        });
        made.map_err(|error| format!("oidc: error evaluating uid claim expression: {error}"))
    }

    fn extra<'a>(
        &'a self,
        claims: &Claims,
        value: &Value<'a>,
    ) -> Result<BTreeMap<String, Vec<String>>, String> {
        let mut extra = BTreeMap::new();
        if let Some(id) = claims.text("jti").ok().filter(|id| !id.is_empty()) {
            extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("JTI={id}")]);
        }
        for (key, expression) in &self.expressions.extra {
            let made = expression.evaluate(value)?;
            let values = texts(&made).map_err(|error| {
                format!("oidc: error evaluating extra claim expression: {}: {error}", expression.text())
            })?;
            if !values.is_empty() {
                extra.insert(key.clone(), values);
            }
        }
        Ok(extra)
    }

    fn check_claims<'a>(&'a self, claims: &Claims, value: &Value<'a>) -> Result<(), String> {
        for rule in self.config.claim_validation_rules.iter().filter(|rule| !rule.claim.is_empty()) {
            let (claim, wanted) = (&rule.claim, &rule.required_value);
            if !claims.has(claim) {
                return Err(format!("oidc: required claim {claim} not present in ID token"));
            }
            let found = claims.text(claim).map_err(|error| format!("oidc: parse claim {claim}: {error}"))?;
            if found != *wanted {
                return Err(format!(
                    "oidc: required claim {claim} value does not match. Got = {found}, want = {wanted}"
                ));
            }
        }
        check(&self.expressions.claim_rules, value)
            .map_err(|error| format!("oidc: error evaluating claim validation expression: {error}"))
    }

    fn check_user(&self, user: &UserInfo) -> Result<(), String> {
        let rules = &self.expressions.user_rules;
        if rules.is_empty() {
            return Ok(());
        }
        let json =
            json!({"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra});
        check(rules, &Value::named(&json))
            .map_err(|error| format!("oidc: error evaluating user info validation rule: {error}"))
    }
}

/// Whether all rules hold.
fn check<'a>(rules: &'a [(Expression, String)], value: &Value<'a>) -> Result<(), String> {
    let made: Vec<_> = rules.iter().map(|(rule, _)| rule.evaluate(value)).collect::<Result<_, _>>()?;
    for ((rule, message), made) in rules.iter().zip(made) {
        match made {
            Value::Bool(true) => {}
            Value::Bool(false) => {
                return Err(format!("validation expression '{}' failed: {message}", rule.text()));
            }
            _ => return Err("validation expression must return a boolean".to_owned()),
        }
    }
    Ok(())
}
