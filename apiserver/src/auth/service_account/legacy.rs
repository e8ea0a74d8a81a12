//! Tokens stored in Secrets: they carry no times, and hold as long as their Secret has them.

use serde::Deserialize;

use super::{Identity, split_username};
use crate::auth::objects::Objects;

/// The issuer these tokens name.
pub const ISSUER: &str = "kubernetes/serviceaccount";
/// Marks a Secret whose token is no longer accepted.
const INVALID_SINCE_LABEL: &str = "kubernetes.io/legacy-token-invalid-since";

/// The claims of a token stored in a Secret.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct LegacyClaims {
    #[serde(default)]
    pub sub: String,
    #[serde(default, deserialize_with = "super::authenticator::audiences")]
    pub aud: Vec<String>,
    #[serde(default, rename = "kubernetes.io/serviceaccount/service-account.name")]
    pub name: String,
    #[serde(default, rename = "kubernetes.io/serviceaccount/service-account.uid")]
    pub uid: String,
    #[serde(default, rename = "kubernetes.io/serviceaccount/secret.name")]
    pub secret: String,
    #[serde(default, rename = "kubernetes.io/serviceaccount/namespace")]
    pub namespace: String,
}

/// Checks the claims; with `lookup`, also that the Secret still holds this very token.
pub async fn check(
    claims: &LegacyClaims,
    token: &str,
    objects: Option<&Objects>,
) -> Result<Identity, String> {
    for (claim, value) in [
        ("sub", &claims.sub),
        ("namespace", &claims.namespace),
        ("secretName", &claims.secret),
        ("serviceAccountName", &claims.name),
        ("serviceAccountUID", &claims.uid),
    ] {
        if value.is_empty() {
            return Err(format!("{claim} claim is missing"));
        }
    }
    if split_username(&claims.sub) != Some((&claims.namespace, &claims.name)) {
        return Err("sub claim is invalid".to_owned());
    }
    if let Some(objects) = objects {
        check_secret(claims, token, objects).await?;
    }
    Ok(Identity {
        namespace: claims.namespace.clone(),
        name: claims.name.clone(),
        uid: claims.uid.clone(),
        ..Identity::default()
    })
}

async fn check_secret(claims: &LegacyClaims, token: &str, objects: &Objects) -> Result<(), String> {
    let (namespace, name) = (&claims.namespace, &claims.name);
    let secret = objects.find("secrets", namespace, &claims.secret).await;
    let secret = secret.filter(|secret| secret.deletion_timestamp().is_none());
    let secret = secret.ok_or("Token has been invalidated")?;
    if !same(&secret.secret_data("token"), token.as_bytes()) {
        return Err("Token does not match server's copy".to_owned());
    }
    let account = objects.find("serviceaccounts", namespace, name).await;
    let account = account.ok_or_else(|| format!("serviceaccounts \"{name}\" not found"))?;
    if account.deletion_timestamp().is_some() {
        return Err(format!("ServiceAccount {namespace}/{name} has been deleted"));
    }
    if account.uid() != claims.uid {
        return Err(format!("ServiceAccount UID ({}) does not match claim ({})", account.uid(), claims.uid));
    }
    if secret.object()["metadata"]["labels"][INVALID_SINCE_LABEL]
        .as_str()
        .is_some_and(|since| !since.is_empty())
    {
        return Err(format!(
            "the token in secret {namespace}/{} for service account {namespace}/{name} has been marked invalid. \
             Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the \
             '{INVALID_SINCE_LABEL}' label from the secret to temporarily allow use of this token",
            claims.secret
        ));
    }
    Ok(())
}

/// Compares in a time that tells nothing about where the two differ.
pub(in crate::auth) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (x, y)| sum | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use serde_json::json;

    fn claims() -> LegacyClaims {
        LegacyClaims {
            sub: "system:serviceaccount:ns:bot".into(),
            name: "bot".into(),
            uid: "u".into(),
            secret: "s".into(),
            namespace: "ns".into(),
            aud: Vec::new(),
        }
    }

    fn objects(token: &str, labels: serde_json::Value) -> Objects {
        let token = base64::engine::general_purpose::STANDARD.encode(token);
        Objects::fixed(&[
            ("serviceaccounts", "ns", json!({ "metadata": { "name": "bot", "uid": "u" } })),
            (
                "secrets",
                "ns",
                json!({ "metadata": { "name": "s", "labels": labels }, "data": { "token": token } }),
            ),
        ])
    }

    #[tokio::test]
    async fn the_secret_must_hold_this_token() {
        assert!(check(&claims(), "t", Some(&objects("t", json!({})))).await.is_ok());
        assert!(check(&claims(), "t", Some(&objects("other", json!({})))).await.is_err());
        assert!(check(&claims(), "", Some(&Objects::fixed(&[]))).await.is_err());
        let invalid = objects("t", json!({ INVALID_SINCE_LABEL: "2024-01-01" }));
        assert!(check(&claims(), "t", Some(&invalid)).await.is_err());
        let other = LegacyClaims { sub: "system:serviceaccount:kube-system:admin".into(), ..claims() };
        assert!(check(&other, "t", Some(&objects("t", json!({})))).await.is_err());
        let recreated = LegacyClaims { uid: "old".into(), ..claims() };
        assert!(check(&recreated, "t", Some(&objects("t", json!({})))).await.is_err());
    }
}
