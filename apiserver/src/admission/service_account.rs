//! ServiceAccount: every pod runs as one, and gets its token, root certificate and pull secrets.

use std::sync::Arc;

use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use super::step::{Row, find, items, push, text};
use super::{Operation, Outcome, Review};
use crate::registry::Local;

pub(super) const SERVICE_ACCOUNT: Row = Row {
    name: "ServiceAccount",
    operations: &[Operation::Create, Operation::Update],
    mutate: Some(mutate),
    validate: Some(validate),
};

const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
const ENFORCE_ANNOTATION: &str = "kubernetes.io/enforce-mountable-secrets";
const VOLUME_PREFIX: &str = "kube-api-access-";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The lifetime that tells the token issuer that no one asked for one.
const TOKEN_SECONDS: i64 = 60 * 60 + 7;
const NAME_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

fn mutate<'a>(local: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        if review.operation != Operation::Create || !review.is("", "pods") || is_mirror(&review.object) {
            return Ok(());
        }
        if text(&review.object["spec"]["serviceAccountName"]).is_empty() {
            review.object["spec"]["serviceAccountName"] = json!("default");
        }
        let account = account_of(local, review).await?;
        let pod = &mut review.object;
        // The field's former name is still served beside it.
        pod["spec"]["serviceAccount"] = pod["spec"]["serviceAccountName"].clone();
        if should_mount_token(&account, pod) {
            mount_token(pod, &random_suffix());
        }
        let own = &account["imagePullSecrets"];
        if items(&pod["spec"]["imagePullSecrets"]).is_empty() && !items(own).is_empty() {
            pod["spec"]["imagePullSecrets"] =
                items(own).iter().map(|secret| json!({ "name": secret["name"] })).collect();
        }
        Ok(())
    })
}

fn validate<'a>(local: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        let is_pod = review.group().is_empty() && review.resource() == "pods";
        let ephemeral = review.subresource == "ephemeralcontainers" && review.operation == Operation::Update;
        let created = review.subresource.is_empty() && review.operation == Operation::Create;
        if !is_pod || !(ephemeral || created) {
            return Ok(());
        }
        let pod = &review.object;
        if created && is_mirror(pod) {
            return check_mirror(pod).map_err(|why| review.forbidden(why));
        }
        let name = text(&pod["spec"]["serviceAccountName"]);
        if name.is_empty() {
            let pod_name = text(&pod["metadata"]["name"]);
            let namespace = &review.namespace;
            return Err(
                review.forbidden(format!("no service account specified for pod {namespace}/{pod_name}"))
            );
        }
        let account = account_of(local, review).await?;
        if text(&account["metadata"]["annotations"][ENFORCE_ANNOTATION]) != "true" {
            return Ok(());
        }
        let checked = if ephemeral {
            check_containers(&account, pod, "ephemeralContainers", "ephemeral container")
        } else {
            check_secrets(&account, pod)
        };
        checked.map_err(|why| review.forbidden(why))
    })
}

async fn account_of(local: &Arc<dyn Local>, review: &Review) -> Result<Arc<Value>, proto::status::Status> {
    let name = text(&review.object["spec"]["serviceAccountName"]);
    find(local, "", "serviceaccounts", &review.namespace, name).await.map_err(|error| {
        let why =
            if error.is_not_found() { format!("serviceaccount \"{name}\" not found") } else { error.message };
        review.forbidden(format!("error looking up service account {}/{name}: {why}", review.namespace))
    })
}

fn is_mirror(pod: &Value) -> bool {
    pod["metadata"]["annotations"].get(MIRROR_ANNOTATION).is_some()
}

/// Mirror pods are made by nodes, so they may use no one's credentials.
fn check_mirror(pod: &Value) -> Result<(), &'static str> {
    if !text(&pod["spec"]["serviceAccountName"]).is_empty() {
        return Err("a mirror pod may not reference service accounts");
    }
    if crate::auth::node::references_secrets(pod) {
        return Err("a mirror pod may not reference secrets");
    }
    let projects_token = |volume: &Value| {
        items(&volume["projected"]["sources"]).iter().any(|source| source["serviceAccountToken"].is_object())
    };
    if items(&pod["spec"]["volumes"]).iter().any(projects_token) {
        return Err("a mirror pod may not use ServiceAccountToken volume projections");
    }
    Ok(())
}

/// The pod decides, then the account; by default the token is mounted.
fn should_mount_token(account: &Value, pod: &Value) -> bool {
    let own = pod["spec"]["automountServiceAccountToken"].as_bool();
    own.or(account["automountServiceAccountToken"].as_bool()).unwrap_or(true)
}

fn random_suffix() -> String {
    let mut random = rand::rng();
    (0..5).filter_map(|_| NAME_ALPHABET.choose(&mut random)).map(|&byte| char::from(byte)).collect()
}

fn mount_token(pod: &mut Value, suffix: &str) {
    let spec = &mut pod["spec"];
    let existing = items(&spec["volumes"]).iter().map(|volume| text(&volume["name"]));
    let existing = existing.into_iter().find(|name| name.starts_with(VOLUME_PREFIX)).map(str::to_owned);
    let has_volume = existing.is_some();
    let name = existing.unwrap_or_else(|| format!("{VOLUME_PREFIX}{suffix}"));
    let mut is_needed = false;
    for list in ["initContainers", "containers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            // Whoever mounts something there themselves doesn't want the token.
            let occupied = |mount: &Value| text(&mount["mountPath"]) == MOUNT_PATH;
            if !items(&container["volumeMounts"]).iter().any(occupied) {
                let mount = json!({ "name": name, "readOnly": true, "mountPath": MOUNT_PATH });
                push(container, "volumeMounts", mount);
                is_needed = true;
            }
        }
    }
    if is_needed && !has_volume {
        push(spec, "volumes", json!({ "name": name, "projected": token_volume() }));
    }
}

fn token_volume() -> Value {
    json!({
        "defaultMode": 0o644,
        "sources": [
            { "serviceAccountToken": { "path": "token", "expirationSeconds": TOKEN_SECONDS } },
            { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
            { "downwardAPI": { "items": [{
                "path": "namespace",
                "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" },
            }] } },
        ],
    })
}

fn check_secrets(account: &Value, pod: &Value) -> Result<(), String> {
    let account_name = text(&account["metadata"]["name"]);
    for volume in items(&pod["spec"]["volumes"]) {
        let secret = &volume["secret"];
        let name = text(&secret["secretName"]);
        if secret.is_object() && !references(account, "secrets", name) {
            return Err(format!(
                "volume with secret.secretName=\"{name}\" is not allowed because service account {account_name} does \
                 not reference that secret"
            ));
        }
    }
    check_containers(account, pod, "initContainers", "init container")?;
    check_containers(account, pod, "containers", "container")?;
    for (index, secret) in items(&pod["spec"]["imagePullSecrets"]).iter().enumerate() {
        let name = text(&secret["name"]);
        if !references(account, "imagePullSecrets", name) {
            return Err(format!(
                "imagePullSecrets[{index}].name=\"{name}\" is not allowed because service account {account_name} does \
                 not reference that imagePullSecret"
            ));
        }
    }
    Ok(())
}

fn check_containers(account: &Value, pod: &Value, list: &str, what: &str) -> Result<(), String> {
    let account_name = text(&account["metadata"]["name"]);
    for container in items(&pod["spec"][list]) {
        let container_name = text(&container["name"]);
        for variable in items(&container["env"]) {
            let secret = &variable["valueFrom"]["secretKeyRef"];
            let name = text(&secret["name"]);
            if secret.is_object() && !references(account, "secrets", name) {
                return Err(format!(
                    "{what} {container_name} with envVar {} referencing secret.secretName=\"{name}\" is not allowed \
                     because service account {account_name} does not reference that secret",
                    text(&variable["name"])
                ));
            }
        }
        for source in items(&container["envFrom"]) {
            let secret = &source["secretRef"];
            let name = text(&secret["name"]);
            if secret.is_object() && !references(account, "secrets", name) {
                return Err(format!(
                    "{what} {container_name} with envFrom referencing secret.secretName=\"{name}\" is not allowed \
                     because service account {account_name} does not reference that secret"
                ));
            }
        }
    }
    Ok(())
}

fn references(account: &Value, field: &str, name: &str) -> bool {
    items(&account[field]).iter().any(|reference| text(&reference["name"]) == name)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Cluster, admit, review};
    use super::*;

    async fn create(account: Value, spec: Value) -> Result<Value, String> {
        let mut account = account;
        account["metadata"]["namespace"] = json!("ns");
        account["metadata"]["name"] = json!("default");
        let local = Cluster::holding(&[("", "serviceaccounts", account)]);
        let pod = json!({ "metadata": { "namespace": "ns", "generateName": "p-" }, "spec": spec });
        let mut review = review(Operation::Create, "", "pods", pod);
        admit(SERVICE_ACCOUNT, &local, &mut review).await.map_err(|status| status.message)?;
        Ok(review.object["spec"].take())
    }

    fn containers() -> Value {
        json!({ "containers": [{ "name": "a" }, { "name": "b", "volumeMounts": [{ "name": "x", "mountPath": MOUNT_PATH }] }] })
    }

    #[tokio::test]
    async fn a_pod_gets_its_account_token_and_pull_secrets() {
        let spec = create(json!({ "imagePullSecrets": [{ "name": "pull" }] }), containers()).await.unwrap();
        assert_eq!(
            (&spec["serviceAccountName"], &spec["serviceAccount"]),
            (&json!("default"), &json!("default"))
        );
        assert_eq!(spec["imagePullSecrets"], json!([{ "name": "pull" }]));
        let volume = &spec["volumes"][0];
        assert!(
            text(&volume["name"]).starts_with(VOLUME_PREFIX)
                && text(&volume["name"]).len() == VOLUME_PREFIX.len() + 5
        );
        assert_eq!(volume["projected"]["sources"].as_array().unwrap().len(), 3);
        assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], volume["name"]);
        assert_eq!(spec["containers"][1]["volumeMounts"].as_array().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn the_token_can_be_declined() {
        let no_token = json!({ "automountServiceAccountToken": false });
        assert!(create(no_token.clone(), containers()).await.unwrap()["volumes"].is_null());
        let mut spec = containers();
        spec["automountServiceAccountToken"] = json!(true);
        assert!(create(no_token, spec).await.unwrap()["volumes"].is_array());
    }

    #[tokio::test]
    async fn refusals() {
        let error = create(json!({}), json!({ "serviceAccountName": "gone" })).await.unwrap_err();
        assert_eq!(
            error,
            "pods \"p-\" is forbidden: error looking up service account ns/gone: serviceaccount \"gone\" not found"
        );
        let strict = json!({ "metadata": { "annotations": { ENFORCE_ANNOTATION: "true" } }, "secrets": [{ "name": "ok" }] });
        let with = |name: &str| json!({ "containers": [], "volumes": [{ "name": "v", "secret": { "secretName": name } }] });
        assert!(create(strict.clone(), with("ok")).await.is_ok());
        let error = create(strict, with("other")).await.unwrap_err();
        assert!(error.contains(r#"volume with secret.secretName="other" is not allowed"#), "{error}");
    }

    #[test]
    fn mirror_pods_use_nothing() {
        assert!(check_mirror(&json!({ "spec": {} })).is_ok());
        assert!(check_mirror(&json!({ "spec": { "serviceAccountName": "x" } })).is_err());
        assert!(
            check_mirror(&json!({ "spec": { "volumes": [{ "secret": { "secretName": "s" } }] } })).is_err()
        );
    }
}
