//! Bootstrap tokens: signing the cluster's public information with them, and deleting expired ones.
//!
//! Two controllers; both watch the tokens, which are secrets of `kube-system`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use component_base::client::DeleteOptions;
use component_base::client::known::{CONFIG_MAPS, SECRETS};
use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store, Watch};
use proto::meta::Key;
use proto::time::Time;
use serde_json::json;

use crate::api::core::{ConfigMap, Secret};
use crate::common::write;
use crate::context::{Controller, enqueue_changes};

const TOKEN_NAMESPACE: &str = "kube-system";
const TOKEN_TYPE: &str = "bootstrap.kubernetes.io/token";
const TOKEN_PREFIX: &str = "bootstrap-token-";
const INFO_NAMESPACE: &str = "kube-public";
const INFO_NAME: &str = "cluster-info";
const KUBECONFIG: &str = "kubeconfig";
const SIGNATURE_PREFIX: &str = "jws-kubeconfig-";

fn tokens(controller: &Controller) -> Store<Secret> {
    let watch = Watch::new(SECRETS).namespace(TOKEN_NAMESPACE).fields(format!("type={TOKEN_TYPE}"));
    controller.informers().watch(watch)
}

fn text(secret: &Secret, key: &str) -> String {
    let bytes = secret.data.get(key).and_then(|v| STANDARD.decode(v).ok());
    bytes.and_then(|b| String::from_utf8(b).ok()).unwrap_or_default()
}

/// How long the token still lives: zero if it has expired, nothing if it never does.
fn remaining(secret: &Secret, now: Time) -> Option<Duration> {
    let expiration = text(secret, "expiration");
    if expiration.is_empty() {
        return None;
    }
    // What can't be read counts as expired.
    let Ok(at) = expiration.parse::<jiff::Timestamp>() else { return Some(Duration::ZERO) };
    Some(Duration::try_from(at.duration_since(now.0)).unwrap_or_default())
}

/// The id and secret of a token that may sign.
fn signing_token(secret: &Secret, now: Time) -> Option<(String, String)> {
    let id = text(secret, "token-id");
    let value = text(secret, "token-secret");
    let named = secret.metadata.name.strip_prefix(TOKEN_PREFIX) == Some(id.as_str());
    let well_formed = id.len() == 6 && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let alive = remaining(secret, now).is_none_or(|left| !left.is_zero());
    let usable = text(secret, "usage-bootstrap-signing") == "true" && !value.is_empty();
    (named && well_formed && alive && usable).then_some((id, value))
}

/// A detached signature of `content`: a client that knows the token can check it.
fn signature(content: &str, id: &str, secret: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(json!({"alg": "HS256", "kid": id}).to_string());
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let tag = ring::hmac::sign(&key, message.as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(tag))
}

/// The data of the public information with the right signatures, if it lacks them.
fn plan(info: &ConfigMap, tokens: &[Arc<Secret>], now: Time) -> Option<BTreeMap<String, String>> {
    let content = info.data.get(KUBECONFIG)?;
    let unsigned = info.data.iter().filter(|(key, _)| !key.starts_with(SIGNATURE_PREFIX));
    let mut data: BTreeMap<String, String> = unsigned.map(|(k, v)| (k.clone(), v.clone())).collect();
    for (id, secret) in tokens.iter().filter_map(|t| signing_token(t, now)) {
        data.insert(format!("{SIGNATURE_PREFIX}{id}"), signature(content, &id, &secret));
    }
    (data != info.data).then_some(data)
}

/// Starts the controller that signs.
pub fn start_signing(controller: Arc<Controller>) -> anyhow::Result<()> {
    let queue: Queue<Key> = Queue::new("bootstrap_signer_queue");
    let tokens = tokens(&controller);
    let watch =
        Watch::new(CONFIG_MAPS).namespace(INFO_NAMESPACE).fields(format!("metadata.name={INFO_NAME}"));
    let infos: Store<ConfigMap> = controller.informers().watch(watch);
    let key = Key::new(INFO_NAMESPACE, INFO_NAME);
    let keys = queue.clone();
    tokens.subscribe(move |_: &Change<Secret>| keys.add(key.clone()));
    enqueue_changes(&infos, &queue);
    let (all, info) = (tokens.clone(), infos.clone());
    let ready = async move {
        all.synced().await;
        info.synced().await;
    };
    let own = controller.clone();
    controller.run(&queue, 1, ready, move |key| {
        let (controller, tokens, info) = (own.clone(), tokens.clone(), infos.get_key(&key));
        async move {
            let Some(info) = info else { return Ok(Next::Done) };
            if let Some(data) = plan(&info, &tokens.list(), Time::now()) {
                write::update(&controller, &CONFIG_MAPS, "ConfigMap", &info.metadata, |object| {
                    object["data"] = json!(data);
                })
                .await?;
            }
            Ok(Next::Done)
        }
    });
    Ok(())
}

/// Starts the controller that deletes expired tokens.
pub fn start_cleaning(controller: Arc<Controller>) -> anyhow::Result<()> {
    let queue: Queue<Key> = Queue::new("token_cleaner");
    let tokens = tokens(&controller);
    enqueue_changes(&tokens, &queue);
    let all = tokens.clone();
    let ready = async move { all.synced().await };
    let own = controller.clone();
    controller.run(&queue, 1, ready, move |key| {
        let (controller, token) = (own.clone(), tokens.get_key(&key));
        async move {
            let Some(token) = token else { return Ok(Next::Done) };
            match remaining(&token, Time::now()) {
                None => Ok(Next::Done),
                Some(left) if !left.is_zero() => Ok(Next::After(left)),
                Some(_) => {
                    let options = DeleteOptions::uid(&token.metadata.uid);
                    let client = &controller.client;
                    match client.delete(&SECRETS, &key.namespace, &key.name, &options).await {
                        Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error.into()),
                        _ => Ok(Next::Done),
                    }
                }
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(id: &str, expiration: &str) -> Arc<Secret> {
        let encode = |text: &str| STANDARD.encode(text);
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": format!("{TOKEN_PREFIX}{id}")},
                "data": {
                    "token-id": encode(id), "token-secret": encode("0123456789abcdef"),
                    "usage-bootstrap-signing": encode("true"), "expiration": encode(expiration),
                },
            }))
            .unwrap(),
        )
    }

    #[test]
    fn living_tokens_sign() {
        let now: Time = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        let mut info = ConfigMap::default();
        info.data.insert(KUBECONFIG.into(), "content".into());
        info.data.insert(format!("{SIGNATURE_PREFIX}gone00"), "x".into());
        let tokens = [token("abcdef", "2026-01-02T00:00:00Z"), token("ghijkl", "2025-01-01T00:00:00Z")];
        let data = plan(&info, &tokens, now).unwrap();
        let keys: Vec<&str> = data.keys().map(String::as_str).collect();
        assert_eq!(keys, ["jws-kubeconfig-abcdef", "kubeconfig"]);
        assert!(data["jws-kubeconfig-abcdef"].starts_with("eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9.."));
        info.data = data;
        assert_eq!(plan(&info, &tokens, now), None);
    }

    #[test]
    fn expiry() {
        let now: Time = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(remaining(&token("abcdef", "2026-01-01T00:01:00Z"), now), Some(Duration::from_secs(60)));
        assert_eq!(remaining(&token("abcdef", "2025-01-01T00:01:00Z"), now), Some(Duration::ZERO));
        assert_eq!(remaining(&token("abcdef", "soon"), now), Some(Duration::ZERO));
        assert_eq!(remaining(&token("abcdef", ""), now), None);
    }
}
