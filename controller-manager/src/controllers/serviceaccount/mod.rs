//! Every namespace has a service account named `default`.
//!
//! Watches service accounts and namespaces.

use std::sync::Arc;

use component_base::client::known::{NAMESPACES, SERVICE_ACCOUNTS};
use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store};
use proto::meta::Key;
use serde_json::{Value, json};

use crate::api::core::{Metadata, Namespace};
use crate::context::{Controller, enqueue_changes};

const NAME: &str = "default";

/// Starts the controller.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let queue: Queue<Key> = Queue::new("serviceaccount");
    let namespaces: Store<Namespace> = controller.store(&NAMESPACES);
    let accounts: Store<Metadata> = controller.store(&SERVICE_ACCOUNTS);
    enqueue_changes(&namespaces, &queue);
    let keys = queue.clone();
    accounts.subscribe(move |change: &Change<Metadata>| {
        let metadata = &change.latest().metadata;
        if change.new.is_none() && metadata.name == NAME {
            keys.add(Key::cluster(metadata.namespace.as_str()));
        }
    });
    let (all, have) = (namespaces.clone(), accounts.clone());
    let ready = async move {
        all.synced().await;
        have.synced().await;
    };
    let own = controller.clone();
    controller.run(&queue, 1, ready, move |key| {
        let (controller, namespaces, accounts) = (own.clone(), namespaces.clone(), accounts.clone());
        async move {
            let namespace = namespaces.get_key(&key);
            if is_missing(namespace.as_deref(), &accounts) {
                create(&controller, &key.name).await?;
            }
            Ok(Next::Done)
        }
    });
    Ok(())
}

fn is_missing(namespace: Option<&Namespace>, accounts: &Store<Metadata>) -> bool {
    namespace.is_some_and(|ns| ns.status.phase == "Active" && accounts.get(&ns.metadata.name, NAME).is_none())
}

async fn create(controller: &Controller, namespace: &str) -> anyhow::Result<()> {
    let account = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": NAME, "namespace": namespace},
    });
    match controller.client.create::<Value>(&SERVICE_ACCOUNTS, namespace, &account).await {
        Err(error) if !error.is_already_exists() => Err(error.into()),
        _ => Ok(()),
    }
}
