//! Every namespace has a ConfigMap with the authorities of the server, for its pods to trust.
//!
//! Watches namespaces, and the ConfigMaps of this name.

use std::collections::BTreeMap;
use std::sync::Arc;

use component_base::client::known::{CONFIG_MAPS, NAMESPACES};
use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store, Watch};
use proto::meta::Key;
use serde_json::{Value, json};

use crate::api::core::{ConfigMap, Namespace};
use crate::common::write;
use crate::context::Controller;

const NAME: &str = "kube-root-ca.crt";
const FILE: &str = "ca.crt";
const NOTE: &str = "kubernetes.io/description";
const NOTE_TEXT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

/// What a namespace's ConfigMap needs.
#[derive(Debug, PartialEq)]
enum Plan {
    Nothing,
    Create,
    Update,
}

fn plan(namespace: Option<&Namespace>, current: Option<&ConfigMap>, bundle: &str) -> Plan {
    if namespace.is_none_or(|ns| ns.status.phase != "Active") {
        return Plan::Nothing;
    }
    let Some(current) = current else { return Plan::Create };
    let data = BTreeMap::from([(FILE.to_string(), bundle.to_string())]);
    let noted = current.metadata.annotations.get(NOTE).is_some_and(|n| !n.is_empty());
    if current.data == data && noted { Plan::Nothing } else { Plan::Update }
}

/// Starts the controller, if there is a file to publish.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let bundle = match controller.flags().non_empty("root-ca-file") {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|e| anyhow::anyhow!("error reading root-ca-file at {path}: {e}"))?,
        None => match controller.server_authorities() {
            Some(bundle) => bundle,
            None => return Ok(()),
        },
    };
    let queue: Queue<Key> = Queue::new("root_ca_cert_publisher");
    let namespaces: Store<Namespace> = controller.store(&NAMESPACES);
    let watch = Watch::new(CONFIG_MAPS).fields(format!("metadata.name={NAME}"));
    let maps: Store<ConfigMap> = controller.informers().watch(watch);
    let keys = queue.clone();
    namespaces.subscribe(move |change: &Change<Namespace>| {
        if change.new.is_some() {
            keys.add(change.key());
        }
    });
    let keys = queue.clone();
    maps.subscribe(move |change: &Change<ConfigMap>| {
        keys.add(Key::cluster(change.latest().metadata.namespace.as_str()));
    });
    let (all, have) = (namespaces.clone(), maps.clone());
    let ready = async move {
        all.synced().await;
        have.synced().await;
    };
    let (own, bundle): (_, Arc<str>) = (controller.clone(), bundle.into());
    controller.run(&queue, 1, ready, move |key| {
        let (controller, bundle) = (own.clone(), bundle.clone());
        let (namespace, current) = (namespaces.get_key(&key), maps.get(&key.name, NAME));
        async move {
            let plan = plan(namespace.as_deref(), current.as_deref(), &bundle);
            execute(&controller, &key.name, plan, current.as_deref(), &bundle).await
        }
    });
    Ok(())
}

async fn execute(
    controller: &Controller,
    namespace: &str,
    plan: Plan,
    current: Option<&ConfigMap>,
    bundle: &str,
) -> anyhow::Result<Next> {
    match (plan, current) {
        (Plan::Nothing, _) => {}
        (Plan::Update, Some(current)) => {
            write::update(controller, &CONFIG_MAPS, "ConfigMap", &current.metadata, |object| {
                object["data"] = json!({FILE: bundle});
                object["metadata"]["annotations"][NOTE] = json!(NOTE_TEXT);
            })
            .await?;
        }
        _ => {
            let object = json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": NAME, "namespace": namespace, "annotations": {NOTE: NOTE_TEXT}},
                "data": {FILE: bundle},
            });
            match controller.client.create::<Value>(&CONFIG_MAPS, namespace, &object).await {
                Err(error) if !error.is_already_exists() => return Err(error.into()),
                _ => {}
            }
        }
    }
    Ok(Next::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundle_is_kept_right() {
        let namespace = |phase: &str| {
            let mut ns = Namespace::default();
            ns.status.phase = phase.into();
            ns
        };
        let map = |text: &str| {
            let mut map = ConfigMap::default();
            map.data.insert(FILE.into(), text.into());
            map.metadata.annotations.insert(NOTE.into(), "note".into());
            map
        };
        let active = namespace("Active");
        assert_eq!(plan(Some(&active), None, "ca"), Plan::Create);
        assert_eq!(plan(Some(&active), Some(&map("ca")), "ca"), Plan::Nothing);
        assert_eq!(plan(Some(&active), Some(&map("old")), "ca"), Plan::Update);
        assert_eq!(plan(Some(&namespace("Terminating")), None, "ca"), Plan::Nothing);
        assert_eq!(plan(None, None, "ca"), Plan::Nothing);
    }
}
