//! The usage that quotas count, as it is: admission only ever raises it.
//!
//! Watches quotas, the metadata of every kind, and, once some quota counts what they use, pods, services and claims.
//! A quota is computed anew when something that it counts goes away or uses less.

mod charges;
mod plan;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use component_base::client::Resource;
use component_base::client::known::RESOURCE_QUOTAS;
use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store, Watch};
use parking_lot::Mutex;
use proto::meta::Key;
use proto::resources::{Amounts, add};
use proto::time::Time;

use crate::api::policy::ResourceQuota;
use crate::common::kinds::Kinds;
use crate::common::write;
use crate::context::Controller;
use charges::Charge;

/// When names of a quota that nothing counts are looked at again.
const UNKNOWN_KIND_RETRY: Duration = Duration::from_secs(30);
/// How long the first list of a kind may take.
const FILL: Duration = Duration::from_secs(30);

struct Quotas {
    controller: Arc<Controller>,
    quotas: Store<ResourceQuota>,
    kinds: Arc<Kinds>,
    /// What objects use, for the kinds where that is more than their number.
    charges: Mutex<HashMap<Resource, Store<Charge>>>,
    queue: Queue<Key>,
}

/// Starts the controller.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let workers = usize::try_from(controller.flags().int("concurrent-resource-quota-syncs")).unwrap_or(5);
    let period = controller.flags().duration("resource-quota-sync-period").to_std();
    let this = Arc::new(Quotas {
        quotas: controller.store(&RESOURCE_QUOTAS),
        kinds: controller.kinds(),
        charges: Mutex::default(),
        queue: Queue::new("resourcequota_primary"),
        controller: controller.clone(),
    });
    // Quotas that don't say yet what is used block every creation; they don't wait behind the others.
    let urgent: Queue<Key> = Queue::new("resourcequota_priority");
    let (own, first) = (this.clone(), urgent.clone());
    this.quotas.subscribe(move |change: &Change<ResourceQuota>| {
        let (Some(new), old) = (&change.new, &change.old) else { return };
        if old.as_ref().is_some_and(|old| old.spec.hard == new.spec.hard && old.spec.same_scopes(&new.spec)) {
            return;
        }
        let queue = if plan::is_urgent(new) { &first } else { &own.queue };
        queue.add(change.key());
    });
    let own = this.clone();
    this.kinds.subscribe(move |kind, change| {
        if change.new.is_none() {
            own.replenish(&kind.resource, &change.latest().metadata.namespace);
        }
    });
    for queue in [&urgent, &this.queue] {
        let (own, this) = (this.clone(), this.clone());
        let ready = async move {
            own.quotas.synced().await;
            own.kinds.synced().await;
        };
        controller.run(queue, workers, ready, move |key| {
            let this = this.clone();
            async move { this.sync(&key).await }
        });
    }
    if !period.is_zero() {
        controller.tasks.spawn("resource quota resync", async move {
            loop {
                tokio::time::sleep(period).await;
                this.quotas.for_each(|quota| this.queue.add(quota.metadata.key()));
            }
        });
    }
    Ok(())
}

impl Quotas {
    /// Something of this kind uses less in this namespace.
    fn replenish(&self, resource: &Resource, namespace: &str) {
        for quota in self.quotas.list_namespace(namespace) {
            let counts = |name: &String| proto::quota::counts(&resource.group, &resource.plural, name);
            if quota.status.hard.keys().any(counts) {
                self.queue.add(quota.metadata.key());
            }
        }
    }

    /// What the objects of a kind use; started when first needed.
    async fn charges(
        self: &Arc<Self>,
        resource: &Resource,
        project: charges::Project,
    ) -> anyhow::Result<Store<Charge>> {
        let (store, is_new) = {
            let mut charges = self.charges.lock();
            let found = charges.get(resource).cloned();
            let is_new = found.is_none();
            let informers = self.controller.informers();
            let store =
                found.unwrap_or_else(|| informers.watch(Watch::with_projection(resource.clone(), project)));
            charges.insert(resource.clone(), store.clone());
            (store, is_new)
        };
        if is_new {
            let (own, resource) = (self.clone(), resource.clone());
            store.subscribe(move |change: &Change<Charge>| {
                if plan::may_free(change) {
                    own.replenish(&resource, &change.latest().metadata.namespace);
                }
            });
        }
        if tokio::time::timeout(FILL, store.synced()).await.is_err() {
            anyhow::bail!("{} not yet synced", resource.plural);
        }
        Ok(store)
    }

    async fn sync(self: &Arc<Self>, key: &Key) -> anyhow::Result<Next> {
        let Some(quota) = self.quotas.get_key(key) else { return Ok(Next::Done) };
        let mut usage = Amounts::new();
        let mut failure = None;
        for kind in self.kinds.watched() {
            match self.usage(&kind.resource, &quota).await {
                Ok(used) => add(&mut usage, &used),
                Err(error) => failure = Some(error),
            }
        }
        // A name that nothing counts may be that of a kind which is about to be served.
        let uncounted = |name: &String| !usage.contains_key(name) && !quota.status.used.contains_key(name);
        let again = quota.spec.hard.keys().any(uncounted);
        if let Some(status) = plan::plan(&quota, usage) {
            let resource = RESOURCE_QUOTAS.sub("status");
            let written =
                write::update(&self.controller, &resource, "ResourceQuota", &quota.metadata, |object| {
                    write::merge(&mut object["status"], &status);
                })
                .await;
            match written {
                // It went in the meantime.
                Err(error) if error.is_not_found() => return Ok(Next::Done),
                outcome => drop(outcome?),
            }
        }
        match failure {
            Some(error) => Err(error),
            None if again => Ok(Next::After(UNKNOWN_KIND_RETRY)),
            None => Ok(Next::Done),
        }
    }

    /// What the objects of one kind use of what the quota counts.
    async fn usage(self: &Arc<Self>, resource: &Resource, quota: &ResourceQuota) -> anyhow::Result<Amounts> {
        let (group, plural) = (&*resource.group, &*resource.plural);
        let names = plan::counted(quota, group, plural);
        if names.is_empty() || !resource.namespaced || proto::quota::is_ignored(group, plural) {
            return Ok(Amounts::new());
        }
        let namespace = &quota.metadata.namespace;
        let Some(project) = charges::projection(group, plural) else {
            let count = self.kinds.count(resource, namespace);
            let count = count.ok_or_else(|| anyhow::anyhow!("{plural} not yet synced"))?;
            // Scopes are about pods and claims alone.
            return Ok(plan::numbers(names, if quota.spec.has_scopes() { 0 } else { count }));
        };
        let store = self.charges(resource, project).await?;
        let objects = store.list_namespace(namespace);
        Ok(plan::sum(quota, names, objects.iter().map(|o| &**o), Time::now().0.as_second()))
    }
}
