//! The claims of ServiceAccount tokens: how they are written and when they still hold.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Identity;
use crate::auth::objects::{Objects, Record};

/// How far clocks may differ, in seconds.
const LEEWAY: i64 = 60;

/// An object by name and uid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// The `kubernetes.io` claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kubernetes {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(default)]
    pub serviceaccount: Reference,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// All claims of a token. Times are seconds of Unix time.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Claims {
    #[serde(default)]
    pub iss: String,
    #[serde(default)]
    pub sub: String,
    #[serde(default, deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    #[serde(default)]
    pub exp: Option<f64>,
    #[serde(default)]
    pub nbf: Option<f64>,
    #[serde(default)]
    pub iat: Option<f64>,
    #[serde(default)]
    pub jti: String,
    #[serde(default, rename = "kubernetes.io")]
    pub kubernetes: Kubernetes,
}

pub(super) fn one_or_many<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audience::deserialize(deserializer)? {
        Audience::One(one) => vec![one],
        Audience::Many(many) => many,
    })
}

/// What a new token says.
pub struct NewToken<'a> {
    pub issuer: &'a str,
    pub audiences: &'a [String],
    pub kubernetes: Kubernetes,
    pub now: i64,
    pub lifetime: i64,
    pub id: String,
}

impl NewToken<'_> {
    /// The claims to sign.
    pub fn claims(&self) -> Value {
        let account = &self.kubernetes.serviceaccount;
        json!({
            "iss": self.issuer,
            "sub": super::username(&self.kubernetes.namespace, &account.name),
            "aud": self.audiences,
            "iat": self.now,
            "nbf": self.now,
            "exp": self.now + self.lifetime,
            "jti": self.id,
            "kubernetes.io": self.kubernetes,
        })
    }
}

/// Why claims don't hold. These texts go to the log, never to the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsError {
    #[error("service account token has expired")]
    Expired,
    #[error("service account token is not valid yet")]
    NotValidYet,
    #[error("service account token is issued in the future")]
    IssuedInFuture,
    #[error("service account {0} not found")]
    NoAccount(String),
    #[error("service account {0} has been deleted")]
    AccountDeleted(String),
    #[error("{kind} UID ({actual}) does not match claim ({claimed})")]
    Uid { kind: &'static str, actual: String, claimed: String },
    #[error("service account token has been invalidated")]
    Invalidated,
}

/// Checks the times in the claims.
pub fn check_times(claims: &Claims, now: i64) -> Result<(), ClaimsError> {
    let (earliest, latest) = ((now - LEEWAY) as f64, (now + LEEWAY) as f64);
    if claims.nbf.is_some_and(|nbf| latest < nbf) {
        return Err(ClaimsError::NotValidYet);
    }
    if claims.exp.is_some_and(|exp| earliest > exp) {
        return Err(ClaimsError::Expired);
    }
    if claims.iat.is_some_and(|iat| latest < iat) {
        return Err(ClaimsError::IssuedInFuture);
    }
    Ok(())
}

/// Checks that everything the token is bound to still exists, and is what it was.
pub async fn check_bindings(claims: &Claims, objects: &Objects, now: i64) -> Result<Identity, ClaimsError> {
    let kubernetes = &claims.kubernetes;
    let namespace = &kubernetes.namespace;
    let account = &kubernetes.serviceaccount;
    let full_name = || format!("{namespace}/{}", account.name);
    let found = objects.find("serviceaccounts", namespace, &account.name).await;
    let found = found.ok_or_else(|| ClaimsError::NoAccount(full_name()))?;
    check_uid("service account", &found, account)?;
    if deleted_before(&found, now - LEEWAY) {
        return Err(ClaimsError::AccountDeleted(full_name()));
    }
    if let Some(secret) = &kubernetes.secret {
        check_bound(objects, "secrets", "secret", namespace, secret, now).await?;
    }
    if let Some(pod) = &kubernetes.pod {
        check_bound(objects, "pods", "pod", namespace, pod, now).await?;
    }
    // With a pod, the node is what the pod ran on when the token was made: told, not checked.
    if let (Some(node), None) = (&kubernetes.node, &kubernetes.pod) {
        check_bound(objects, "nodes", "node", "", node, now).await?;
    }
    Ok(Identity {
        namespace: namespace.clone(),
        name: account.name.clone(),
        uid: account.uid.clone(),
        pod: kubernetes.pod.clone(),
        node: kubernetes.node.clone(),
        token_id: claims.jti.clone(),
    })
}

async fn check_bound(
    objects: &Objects,
    resource: &str,
    kind: &'static str,
    namespace: &str,
    claimed: &Reference,
    now: i64,
) -> Result<(), ClaimsError> {
    let found = objects.find(resource, namespace, &claimed.name).await.ok_or(ClaimsError::Invalidated)?;
    check_uid(kind, &found, claimed)?;
    if deleted_before(&found, now - LEEWAY) { Err(ClaimsError::Invalidated) } else { Ok(()) }
}

fn check_uid(kind: &'static str, found: &Record, claimed: &Reference) -> Result<(), ClaimsError> {
    if found.uid() == claimed.uid {
        return Ok(());
    }
    Err(ClaimsError::Uid { kind, actual: found.uid().to_owned(), claimed: claimed.uid.clone() })
}

/// A pod that is shutting down keeps its token until it must be gone.
fn deleted_before(found: &Record, time: i64) -> bool {
    match found.deletion_timestamp() {
        None => false,
        Some(text) => text.parse::<Timestamp>().map_or(true, |deletion| deletion.as_second() < time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(value: Value) -> Claims {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn times() {
        let now = 1_000_000;
        for (value, expected) in [
            (json!({ "exp": now - 61 }), Err(ClaimsError::Expired)),
            (json!({ "exp": now - 59 }), Ok(())),
            (json!({ "nbf": now + 61 }), Err(ClaimsError::NotValidYet)),
            (json!({ "iat": now + 61 }), Err(ClaimsError::IssuedInFuture)),
            (json!({ "iat": now, "nbf": now, "exp": now + 10 }), Ok(())),
            (json!({}), Ok(())),
        ] {
            assert_eq!(check_times(&claims(value.clone()), now), expected, "{value}");
        }
    }

    #[test]
    fn written_claims_read_back() {
        let kubernetes = Kubernetes {
            namespace: "ns".into(),
            serviceaccount: Reference { name: "bot".into(), uid: "u".into() },
            warnafter: Some(7),
            ..Kubernetes::default()
        };
        let audiences = ["api".to_owned()];
        let token = NewToken {
            issuer: "i",
            audiences: &audiences,
            kubernetes: kubernetes.clone(),
            now: 5,
            lifetime: 10,
            id: "j".into(),
        };
        let read = claims(token.claims());
        assert_eq!(read.sub, "system:serviceaccount:ns:bot");
        assert_eq!((read.exp, read.aud, read.kubernetes), (Some(15.0), vec!["api".to_owned()], kubernetes));
        assert_eq!(claims(json!({ "aud": "one" })).aud, ["one"]);
    }

    async fn outcome(kubernetes: Value) -> Result<Identity, ClaimsError> {
        let objects = Objects::fixed(&[
            ("serviceaccounts", "ns", json!({ "metadata": { "name": "bot", "uid": "sa" } })),
            ("pods", "ns", json!({ "metadata": { "name": "p", "uid": "pod" } })),
            (
                "pods",
                "ns",
                json!({ "metadata": { "name": "going", "uid": "g", "deletionTimestamp": "1970-01-12T13:46:30Z" } }),
            ),
            (
                "pods",
                "ns",
                json!({ "metadata": { "name": "gone", "uid": "g", "deletionTimestamp": "1970-01-01T00:00:00Z" } }),
            ),
            ("nodes", "", json!({ "metadata": { "name": "n", "uid": "node" } })),
        ]);
        check_bindings(&claims(json!({ "kubernetes.io": kubernetes })), &objects, 1_000_000).await
    }

    #[tokio::test]
    async fn bound_objects_must_exist_and_be_the_same() {
        let account = json!({ "name": "bot", "uid": "sa" });
        let with = |field: &str, name: &str, uid: &str| {
            let mut value = json!({ "namespace": "ns", "serviceaccount": account });
            value[field] = json!({ "name": name, "uid": uid });
            value
        };
        assert!(outcome(json!({ "namespace": "ns", "serviceaccount": account })).await.is_ok());
        assert!(outcome(with("pod", "p", "pod")).await.is_ok());
        assert!(outcome(with("pod", "going", "g")).await.is_ok());
        assert!(outcome(with("node", "n", "node")).await.is_ok());
        for bad in [
            with("pod", "p", "other"),
            with("pod", "absent", "pod"),
            with("pod", "gone", "g"),
            with("secret", "absent", "s"),
            with("node", "n", "other"),
            json!({ "namespace": "other", "serviceaccount": account }),
            json!({ "namespace": "ns", "serviceaccount": { "name": "bot", "uid": "old" } }),
            json!({}),
        ] {
            assert!(outcome(bad.clone()).await.is_err(), "{bad}");
        }
        // The node of a pod-bound token may be gone.
        let mut both = with("pod", "p", "pod");
        both["node"] = json!({ "name": "gone", "uid": "x" });
        assert_eq!(outcome(both).await.unwrap().node.unwrap().name, "gone");
    }
}
