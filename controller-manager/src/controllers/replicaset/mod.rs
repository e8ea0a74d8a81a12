//! ReplicaSets and ReplicationControllers: keeping a number of pods.
//!
//! Watches the sets and pods. Pods that were asked for and not yet seen are remembered as expectations.

mod plan;

use std::sync::Arc;

use component_base::client::Resource;
use component_base::client::known::{PODS, REPLICA_SETS, REPLICATION_CONTROLLERS};
use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store};
use proto::meta::{Key, ObjectMeta};
use proto::time::Time;

use crate::api::apps::{ReplicaSet, ReplicaSetStatus};
use crate::api::core::Pod;
use crate::common::claim::{self, Claimant};
use crate::common::expectations::Expectations;
use crate::common::template::pod_from_template;
use crate::common::{pod_control, pods, refs, write};
use crate::context::{BY_OWNER, Controller, Subject, enqueue_changes, orphan_key, owner_key};
use plan::Plan;

/// What differs between the two kinds.
struct Flavor {
    resource: Resource,
    api_version: &'static str,
    kind: &'static str,
    /// Whether the status counts pods that are being deleted.
    counts_terminating: bool,
    workers: &'static str,
    queue: &'static str,
}

struct Sets {
    controller: Arc<Controller>,
    flavor: Flavor,
    sets: Store<ReplicaSet>,
    pods: Store<Pod>,
    expectations: Expectations,
}

/// All ReplicaSets, indexed by owner.
pub(super) fn replica_sets(controller: &Controller) -> Store<ReplicaSet> {
    let store = controller.store::<ReplicaSet>(&REPLICA_SETS);
    store.add_index(BY_OWNER, |rs: &ReplicaSet| vec![owner_key(&rs.metadata)]);
    store
}

/// Starts the controller of ReplicaSets.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let sets = replica_sets(&controller);
    let flavor = Flavor {
        resource: REPLICA_SETS,
        api_version: "apps/v1",
        kind: "ReplicaSet",
        counts_terminating: true,
        workers: "concurrent-replicaset-syncs",
        queue: "replicaset",
    };
    run(controller, flavor, sets)
}

/// Starts the controller of ReplicationControllers.
pub fn start_replication(controller: Arc<Controller>) -> anyhow::Result<()> {
    let sets = controller.store::<ReplicaSet>(&REPLICATION_CONTROLLERS);
    sets.add_index(BY_OWNER, |rc: &ReplicaSet| vec![owner_key(&rc.metadata)]);
    let flavor = Flavor {
        resource: REPLICATION_CONTROLLERS,
        api_version: "v1",
        kind: "ReplicationController",
        counts_terminating: false,
        workers: "concurrent-rc-syncs",
        queue: "replicationmanager",
    };
    run(controller, flavor, sets)
}

fn run(controller: Arc<Controller>, flavor: Flavor, sets: Store<ReplicaSet>) -> anyhow::Result<()> {
    let queue: Queue<Key> = Queue::new(flavor.queue);
    let workers = usize::try_from(controller.flags().int(flavor.workers)).unwrap_or(5);
    let this = Arc::new(Sets {
        pods: controller.pods(),
        controller: controller.clone(),
        flavor,
        sets,
        expectations: Expectations::default(),
    });
    enqueue_changes(&this.sets, &queue);
    let (own, keys) = (this.clone(), queue.clone());
    this.pods.subscribe(move |change| own.on_pod(change, &keys));
    let own = this.clone();
    let ready = async move {
        own.sets.synced().await;
        own.pods.synced().await;
    };
    controller.run(&queue, workers, ready, move |key| {
        let this = this.clone();
        async move { this.sync(&key).await }
    });
    Ok(())
}

impl Sets {
    fn owner(&self, metadata: &ObjectMeta) -> Option<Arc<ReplicaSet>> {
        refs::controller_in(&self.sets, metadata, self.flavor.kind)
    }

    fn on_pod(&self, change: &Change<Pod>, queue: &Queue<Key>) {
        let pod = change.latest();
        let leaving = change.new.as_ref().is_none_or(|p| p.metadata.is_being_deleted());
        let old_owner = change.old.as_ref().and_then(|p| self.owner(&p.metadata));
        if let Some(set) = self.owner(&pod.metadata) {
            let key = set.metadata.key();
            if leaving {
                self.expectations.deleted(&key, &pod.metadata.name);
            } else if change.old.is_none() {
                self.expectations.created(&key, 1);
            }
            queue.add(key);
        }
        if let Some(set) = old_owner.filter(|set| !pod.metadata.is_controlled_by(&set.metadata.uid)) {
            queue.add(set.metadata.key());
        }
        let is_orphan = pod.metadata.controller_of().is_none();
        let relabelled = change.old.as_ref().is_none_or(|old| {
            old.metadata.labels != pod.metadata.labels
                || old.metadata.owner_references != pod.metadata.owner_references
        });
        if is_orphan && !leaving && relabelled {
            for set in self.sets.list_namespace(&pod.metadata.namespace) {
                let matches = |s: proto::labels::Selector| s.matches_map(&pod.metadata.labels);
                if !set.spec.selector.is_everything() && set.spec.selector.compile().is_ok_and(matches) {
                    queue.add(set.metadata.key());
                }
            }
        }
    }

    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(set) = self.sets.get_key(key) else {
            self.expectations.forget(key);
            return Ok(Next::Done);
        };
        let up_to_date = self.expectations.satisfied(key);
        let Ok(selector) = set.spec.selector.compile() else { return Ok(Next::Done) };
        let metadata = &set.metadata;
        let mut all = self.pods.by_index(BY_OWNER, &metadata.uid);
        let terminating = all
            .iter()
            .filter(|p| pods::is_terminating(p) && selector.matches_map(&p.metadata.labels))
            .count();
        all.extend(self.pods.by_index(BY_OWNER, &orphan_key(&metadata.namespace)));
        all.retain(|pod| pods::is_active(pod));
        let claimant = Claimant {
            controller: &self.controller,
            objects: &PODS,
            owners: &self.flavor.resource,
            owner: metadata,
            reference: refs::controller_ref(metadata, self.flavor.api_version, self.flavor.kind),
        };
        let active = claimant.claim(claim::sort(metadata, &selector, all)).await?;

        let failure = if up_to_date && !metadata.is_being_deleted() {
            let related = self.related_pods(&set, &active);
            let plan = plan::plan(&set, &active, &related, Time::now());
            self.execute(&set, &plan).await.err()
        } else {
            None
        };
        let now = Time::now();
        let terminating = self.flavor.counts_terminating.then_some(terminating);
        let message = failure.as_ref().map(ToString::to_string);
        let status = plan::status(&set, &active, terminating, message.as_deref(), now);
        self.write_status(&set, &status).await?;
        if let Some(failure) = failure {
            return Err(failure.into());
        }
        let min_ready = set.spec.min_ready_seconds;
        if min_ready > 0 && status.ready_replicas != status.available_replicas {
            let pods = active.iter().map(Arc::as_ref);
            let wait = pods::next_available(pods, min_ready, now).unwrap_or(1);
            return Ok(Next::After(std::time::Duration::from_secs(wait)));
        }
        Ok(Next::Done)
    }

    /// The pods of all sets of the same owner.
    fn related_pods(&self, set: &ReplicaSet, active: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
        let Some(owner) = set.metadata.controller_of() else { return active.to_vec() };
        let siblings = self.sets.by_index(BY_OWNER, &owner.uid);
        siblings.iter().flat_map(|s| self.pods.by_index(BY_OWNER, &s.metadata.uid)).collect()
    }

    async fn execute(&self, set: &ReplicaSet, plan: &Plan) -> Result<(), component_base::client::Error> {
        let flavor = &self.flavor;
        let subject = Subject::new(flavor.api_version, flavor.kind, &set.metadata);
        let key = set.metadata.key();
        match plan {
            Plan::Nothing => Ok(()),
            Plan::Create(count) => {
                let reference = refs::controller_ref(&set.metadata, flavor.api_version, flavor.kind);
                let template = set.spec.template.to_value();
                let pod = pod_from_template(&template, &set.metadata.name, &reference);
                self.expectations.set(&key, *count, []);
                let pods = vec![pod; *count];
                pod_control::create_all(&self.controller, &subject, &self.expectations, &pods).await
            }
            Plan::Delete(names) => {
                self.expectations.set(&key, 0, names.iter().cloned());
                pod_control::delete_all(&self.controller, &subject, &self.expectations, names).await
            }
        }
    }

    async fn write_status(&self, set: &ReplicaSet, status: &ReplicaSetStatus) -> anyhow::Result<()> {
        if *status == set.status {
            return Ok(());
        }
        let resource = self.flavor.resource.sub("status");
        write::update(&self.controller, &resource, self.flavor.kind, &set.metadata, |object| {
            write::merge(&mut object["status"], status);
        })
        .await?;
        Ok(())
    }
}
