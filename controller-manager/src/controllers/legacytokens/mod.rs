//! Token secrets that were made for service accounts in the past, and that nobody has used for long.
//!
//! Watches nothing: once a day it reads the secrets and what may refer to them. An unused one is labelled as invalid
//! first, and deleted when that label is as old as the period (KEP-2799).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use component_base::client::known::{CONFIG_MAPS, PODS, SECRETS, SERVICE_ACCOUNTS};
use component_base::client::{DeleteOptions, ListOptions, Patch, Preconditions};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan};
use proto::meta::ObjectMeta;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::core::{ConfigMap, Metadata};
use crate::context::Controller;

const INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// Says since when the use of tokens is noted.
const TRACKING: &str = "kube-apiserver-legacy-service-account-token-tracking";
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Account {
    metadata: ObjectMeta,
    secrets: Vec<Named>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
}

#[derive(Debug, PartialEq)]
enum Plan {
    Keep,
    /// Labels it as invalid since today.
    Mark,
    Delete,
}

/// Whether the secret is old and unused: what remains is to see whether something refers to it.
fn is_candidate(secret: &ObjectMeta, now: Timestamp, period: Span) -> bool {
    let Ok(before) = now.checked_sub(period) else { return false };
    let old = secret.creation_timestamp.is_some_and(|created| created.0 < before);
    let unused = match secret.labels.get(LAST_USED) {
        None => true,
        // A date that can't be read says nothing.
        Some(date) => date.parse::<Date>().is_ok_and(|date| date < day(before)),
    };
    old && unused && !secret.is_being_deleted()
}

/// Whether the account had this secret made for it.
fn was_made_for(secret: &ObjectMeta, account: &Account) -> bool {
    let uid = secret.annotations.get(ACCOUNT_UID).map(String::as_str).unwrap_or_default();
    (uid.is_empty() || uid == account.metadata.uid) && account.secrets.iter().any(|s| s.name == secret.name)
}

/// What to do with an unused secret.
fn plan(secret: &ObjectMeta, now: Timestamp, period: Span) -> Plan {
    let since = secret.labels.get(INVALID_SINCE).and_then(|date| date.parse::<Date>().ok());
    match (since, now.checked_sub(period)) {
        (None, _) => Plan::Mark,
        (Some(since), Ok(before)) if since < day(before) => Plan::Delete,
        _ => Plan::Keep,
    }
}

fn day(time: Timestamp) -> Date {
    time.to_zoned(TimeZone::UTC).date()
}

/// The names of the secrets that a pod uses: in volumes, variables and for pulling images.
fn secrets_of(pod: &Value, names: &mut HashSet<String>) {
    const FIELDS: &[&str] =
        &["secretRef", "secretKeyRef", "secret", "nodePublishSecretRef", "imagePullSecrets"];
    match pod {
        Value::Object(map) => {
            for (key, value) in map {
                if FIELDS.contains(&key.as_str()) {
                    let targets = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                    for target in targets {
                        let name = target["name"].as_str().or_else(|| target["secretName"].as_str());
                        names.extend(name.map(String::from));
                    }
                } else if key == "secretName" {
                    names.extend(value.as_str().map(String::from));
                }
                secrets_of(value, names);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| secrets_of(item, names)),
        _ => {}
    }
}

/// Starts the controller.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let period = controller.flags().duration("legacy-service-account-token-clean-up-period");
    if period.nanos <= 0 {
        anyhow::bail!(
            "failed to start the legacy service account token cleaner: invalid CleanUpPeriod: {period}"
        );
    }
    let period = period.nanos.nanoseconds();
    let own = controller.clone();
    controller.tasks.spawn("legacy service account tokens", async move {
        loop {
            if let Err(error) = clean(&own, period).await {
                tracing::warn!(controller = own.name, err = %error, "Looking for unused tokens failed");
            }
            tokio::time::sleep(INTERVAL).await;
        }
    });
    Ok(())
}

async fn clean(controller: &Controller, period: Span) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let client = &controller.client;
    let tracking: ConfigMap = client.get(&CONFIG_MAPS, "kube-system", TRACKING).await?;
    let since =
        tracking.data.get("since").ok_or_else(|| anyhow::anyhow!("configMap does not have since label"))?;
    let since: Date =
        since.parse().map_err(|why| anyhow::anyhow!("error parsing trackedSince time: {why}"))?;
    // From the first whole day on, use is known for sure.
    let known = since.tomorrow()?.to_zoned(TimeZone::UTC)?.timestamp();
    if now < known.checked_add(period)? {
        return Ok(());
    }
    let options =
        ListOptions { fields: "type=kubernetes.io/service-account-token".into(), ..Default::default() };
    let secrets = controller.reader.list::<Metadata>(&SECRETS, "", &options).await?.items;
    let mut accounts: HashMap<String, BTreeMap<String, Account>> = HashMap::new();
    let mut mounted: HashMap<String, HashSet<String>> = HashMap::new();
    for secret in
        secrets.iter().map(|secret| &secret.metadata).filter(|secret| is_candidate(secret, now, period))
    {
        let namespace = &secret.namespace;
        if !accounts.contains_key(namespace) {
            let all = ListOptions::default();
            let list = controller.reader.list::<Account>(&SERVICE_ACCOUNTS, namespace, &all).await?.items;
            let by_name = list.into_iter().map(|account| (account.metadata.name.clone(), account)).collect();
            accounts.insert(namespace.clone(), by_name);
            let mut names = HashSet::new();
            for pod in controller.reader.list::<Value>(&PODS, namespace, &all).await?.items {
                secrets_of(&pod["spec"], &mut names);
            }
            mounted.insert(namespace.clone(), names);
        }
        let account = secret.annotations.get(ACCOUNT_NAME).and_then(|name| accounts[namespace].get(name));
        let used = mounted.get(namespace).is_some_and(|names| names.contains(&secret.name));
        if used || !account.is_some_and(|account| was_made_for(secret, account)) {
            continue;
        }
        let outcome = match plan(secret, now, period) {
            Plan::Keep => Ok(()),
            Plan::Mark => {
                let metadata = json!({"uid": secret.uid, "labels": {INVALID_SINCE: day(now).to_string()}});
                let patch = json!({"metadata": metadata});
                client.patch::<Value>(&SECRETS, namespace, &secret.name, Patch::Merge, &patch).await.map(drop)
            }
            Plan::Delete => {
                let version = Some(secret.resource_version.clone());
                let preconditions = Some(Preconditions { uid: None, resource_version: version });
                let options = DeleteOptions { preconditions, ..Default::default() };
                client.delete(&SECRETS, namespace, &secret.name, &options).await
            }
        };
        match outcome {
            Err(error) if !error.is_not_found() && !error.is_conflict() => {
                tracing::warn!(secret = %secret.key(), err = %error, "An unused token secret can't be changed");
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn secret(created: &str, labels: Value) -> ObjectMeta {
        serde_json::from_value(json!({
            "name": "default-token-x", "creationTimestamp": created, "labels": labels,
            "annotations": {ACCOUNT_NAME: "default", ACCOUNT_UID: "1"},
        }))
        .unwrap()
    }

    /// After upstream's TestLegacySATokenCleanUp; the period is 30 days.
    #[test]
    fn unused_tokens_are_marked_then_deleted() {
        let (now, period) = (time("2026-06-30T12:00:00Z"), (30 * 24).hours());
        let old = "2026-01-01T00:00:00Z";
        for (what, created, labels, wanted) in [
            ("never used", old, json!({}), Some(Plan::Mark)),
            ("young", "2026-06-20T00:00:00Z", json!({}), None),
            ("used lately", old, json!({LAST_USED: "2026-06-20"}), None),
            ("used on the last day that counts", old, json!({LAST_USED: "2026-05-31"}), None),
            ("used long ago", old, json!({LAST_USED: "2026-05-30"}), Some(Plan::Mark)),
            ("used sometime", old, json!({LAST_USED: "last summer"}), None),
            ("marked lately", old, json!({INVALID_SINCE: "2026-06-20"}), Some(Plan::Keep)),
            ("marked long ago", old, json!({INVALID_SINCE: "2026-05-30"}), Some(Plan::Delete)),
            ("marked sometime", old, json!({INVALID_SINCE: "2026"}), Some(Plan::Mark)),
        ] {
            let secret = secret(created, labels);
            let found = is_candidate(&secret, now, period).then(|| plan(&secret, now, period));
            assert_eq!(found, wanted, "{what}");
        }
    }

    #[test]
    fn only_secrets_made_for_an_account_go() {
        let account = |uid: &str, name: &str| Account {
            metadata: ObjectMeta { uid: uid.into(), ..Default::default() },
            secrets: vec![Named { name: name.into() }],
        };
        let secret = secret("2026-01-01T00:00:00Z", json!({}));
        assert!(was_made_for(&secret, &account("1", "default-token-x")));
        assert!(!was_made_for(&secret, &account("2", "default-token-x")));
        assert!(!was_made_for(&secret, &account("1", "mine")));
    }

    #[test]
    fn pods_name_secrets_in_many_places() {
        let pod = json!({
            "volumes": [
                {"secret": {"secretName": "a"}},
                {"projected": {"sources": [{"secret": {"name": "b"}}]}},
                {"rbd": {"secretRef": {"name": "c"}}},
                {"azureFile": {"secretName": "d"}},
            ],
            "imagePullSecrets": [{"name": "e"}],
            "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "f", "key": "x"}}}],
                "envFrom": [{"secretRef": {"name": "g"}}]}],
        });
        let mut names = HashSet::new();
        secrets_of(&pod, &mut names);
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort();
        assert_eq!(names, ["a", "b", "c", "d", "e", "f", "g"]);
    }
}
