//! Bootstrap tokens: short-lived Secrets that let a machine join the cluster.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::BoxFuture;
use jiff::Timestamp;

use crate::auth::objects::{Objects, Record};
use crate::auth::service_account::legacy::same;
use crate::auth::{Authenticated, Rejected, TokenAuthenticator, UserInfo};

const NAMESPACE: &str = "kube-system";
const SECRET_PREFIX: &str = "bootstrap-token-";
const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
const USER_PREFIX: &str = "system:bootstrap:";
const GROUP: &str = "system:bootstrappers";

/// Checks tokens of the form `<id>.<secret>`.
pub struct BootstrapTokens {
    pub objects: Objects,
}

impl TokenAuthenticator for BootstrapTokens {
    fn authenticate_token<'a>(
        &'a self,
        token: &'a str,
        _: &'a [String],
    ) -> BoxFuture<'a, Result<Option<Authenticated>, Rejected>> {
        Box::pin(async move {
            let Some((id, secret)) = parse(token) else { return Ok(None) };
            let name = format!("{SECRET_PREFIX}{id}");
            let Some(record) = self.objects.find("secrets", NAMESPACE, &name).await else { return Ok(None) };
            let user = user_of(&record, id, secret, Timestamp::now());
            Ok(user.map(|user| Authenticated { user: Arc::new(user), audiences: Vec::new() }))
        })
    }
}

fn parse(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let simple = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (id.len() == 6 && secret.len() == 16 && simple(id) && simple(secret)).then_some((id, secret))
}

/// The user of a token, if the Secret says that it may be used to authenticate.
fn user_of(record: &Record, id: &str, secret: &str, now: Timestamp) -> Option<UserInfo> {
    let data = |key: &str| record.secret_data(key);
    let usable = record.deletion_timestamp().is_none()
        && record.object()["type"] == SECRET_TYPE
        && same(&data("token-secret"), secret.as_bytes())
        && data("token-id") == id.as_bytes()
        && !has_expired(&data("expiration"), now)
        && data("usage-bootstrap-authentication") == b"true";
    if !usable {
        return None;
    }
    let extra = String::from_utf8(data("auth-extra-groups")).ok()?;
    let mut groups = BTreeSet::from([GROUP.to_owned()]);
    for group in extra.split(',').filter(|group| !group.is_empty()) {
        if !is_bootstrap_group(group) {
            return None;
        }
        groups.insert(group.to_owned());
    }
    Some(UserInfo::new(format!("{USER_PREFIX}{id}"), groups))
}

/// A time that can't be read counts as past.
fn has_expired(expiration: &[u8], now: Timestamp) -> bool {
    if expiration.is_empty() {
        return false;
    }
    let text = std::str::from_utf8(expiration).unwrap_or_default();
    text.parse::<Timestamp>().map_or(true, |expiration| now >= expiration)
}

/// Tokens may only give groups below `system:bootstrappers:`.
fn is_bootstrap_group(group: &str) -> bool {
    let Some(name) = group.strip_prefix("system:bootstrappers:") else { return false };
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let Some((&last, start)) = name.as_bytes().split_last() else { return false };
    start.len() <= 255 && start.iter().all(|&b| lower(b) || b == b':' || b == b'-') && lower(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use serde_json::{Value, json};

    async fn ask(edit: impl FnOnce(&mut Value), token: &str) -> Option<Authenticated> {
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let mut secret = json!({
            "metadata": { "name": "bootstrap-token-abcdef" },
            "type": SECRET_TYPE,
            "data": {
                "token-id": encode("abcdef"),
                "token-secret": encode("0123456789abcdef"),
                "usage-bootstrap-authentication": encode("true"),
                "auth-extra-groups": encode("system:bootstrappers:kubeadm:default-node-token"),
            },
        });
        edit(&mut secret);
        let tokens = BootstrapTokens { objects: Objects::fixed(&[("secrets", NAMESPACE, secret)]) };
        tokens.authenticate_token(token, &[]).await.unwrap()
    }

    #[tokio::test]
    async fn a_good_token() {
        let found = ask(|_| {}, "abcdef.0123456789abcdef").await.unwrap();
        assert_eq!(found.user.name, "system:bootstrap:abcdef");
        assert_eq!(found.user.groups, [GROUP, "system:bootstrappers:kubeadm:default-node-token"]);
    }

    #[tokio::test]
    async fn bad_tokens() {
        for token in [
            "abcdef.0123456789abcdee",
            "abcdef",
            "ABCDEF.0123456789abcdef",
            "bbcdef.0123456789abcdef",
            "abcdef.",
            "",
        ] {
            assert!(ask(|_| {}, token).await.is_none(), "{token}");
        }
        let encode = |text: &str| json!(base64::engine::general_purpose::STANDARD.encode(text));
        for (field, value) in [
            ("expiration", encode("2020-01-01T00:00:00Z")),
            ("expiration", encode("soon")),
            ("usage-bootstrap-authentication", encode("false")),
            ("auth-extra-groups", encode("system:masters")),
            ("auth-extra-groups", encode("system:bootstrappers:")),
            ("token-id", encode("other1")),
            ("token-secret", encode("")),
        ] {
            let found = ask(|secret| secret["data"][field] = value.clone(), "abcdef.0123456789abcdef").await;
            assert!(found.is_none(), "{field}");
        }
        assert!(ask(|s| s["type"] = json!("Opaque"), "abcdef.0123456789abcdef").await.is_none());
        let deleted = |s: &mut Value| s["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert!(ask(deleted, "abcdef.0123456789abcdef").await.is_none());
    }
}
