//! Deployments: rolling out pod templates through ReplicaSets.
//!
//! Watches Deployments and ReplicaSets; pods only for `Recreate`, which waits until the old ones are gone.

mod model;
mod plan;

use std::sync::Arc;

use component_base::client::known::{DEPLOYMENTS, REPLICA_SETS};
use component_base::client::{DeleteOptions, Patch};
use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store};
use proto::meta::{Key, ObjectMeta};
use proto::time::Time;
use serde_json::{Value, json};

use crate::api::apps::{Deployment, DeploymentStatus, ReplicaSet};
use crate::api::core::Pod;
use crate::common::claim::{self, Claimant};
use crate::common::events::Event;
use crate::common::{pods, refs, write};
use crate::context::{BY_OWNER, Controller, Subject, enqueue_changes, orphan_key, owner_key};
use plan::{Create, Plan, Update, View};

const KIND: &str = "Deployment";
const API: &str = "apps/v1";

struct Deployments {
    controller: Arc<Controller>,
    deployments: Store<Deployment>,
    replica_sets: Store<ReplicaSet>,
    pods: Store<Pod>,
}

/// Starts the controller.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let queue: Queue<Key> = Queue::new("deployment");
    let this = Arc::new(Deployments {
        deployments: controller.store(&DEPLOYMENTS),
        replica_sets: super::replicaset::replica_sets(&controller),
        pods: controller.pods(),
        controller: controller.clone(),
    });
    enqueue_changes(&this.deployments, &queue);
    let (own, keys) = (this.clone(), queue.clone());
    this.replica_sets.subscribe(move |change| own.on_replica_set(change, &keys));
    let (own, keys) = (this.clone(), queue.clone());
    this.pods.subscribe(move |change| own.on_pod(change, &keys));

    let workers = usize::try_from(controller.flags().int("concurrent-deployment-syncs")).unwrap_or(5);
    let own = this.clone();
    let ready = async move {
        own.deployments.synced().await;
        own.replica_sets.synced().await;
        own.pods.synced().await;
    };
    controller.run(&queue, workers, ready, move |key| {
        let this = this.clone();
        async move { this.sync(&key).await }
    });
    Ok(())
}

impl Deployments {
    fn owner(&self, metadata: &ObjectMeta) -> Option<Arc<Deployment>> {
        refs::controller_in(&self.deployments, metadata, KIND)
    }

    fn on_replica_set(&self, change: &Change<ReplicaSet>, queue: &Queue<Key>) {
        for rs in change.old.iter().chain(&change.new) {
            if let Some(deployment) = self.owner(&rs.metadata) {
                queue.add(deployment.metadata.key());
            }
        }
        let Some(rs) = &change.new else { return };
        let relabelled = change.old.as_ref().is_none_or(|old| {
            old.metadata.labels != rs.metadata.labels
                || old.metadata.owner_references != rs.metadata.owner_references
        });
        if rs.metadata.controller_of().is_none() && relabelled {
            for deployment in self.deployments.list_namespace(&rs.metadata.namespace) {
                let selector = &deployment.spec.selector;
                let matches = |s: proto::labels::Selector| s.matches_map(&rs.metadata.labels);
                if !selector.is_everything() && selector.compile().is_ok_and(matches) {
                    queue.add(deployment.metadata.key());
                }
            }
        }
    }

    /// A deleted pod may be the last one that `Recreate` waited for.
    fn on_pod(&self, change: &Change<Pod>, queue: &Queue<Key>) {
        let (Some(pod), None) = (&change.old, &change.new) else { return };
        let owner = pod.metadata.controller_of().filter(|o| o.kind == "ReplicaSet");
        let rs = owner.and_then(|o| self.replica_sets.get(&pod.metadata.namespace, &o.name));
        let deployment = rs.and_then(|rs| self.owner(&rs.metadata));
        if let Some(deployment) = deployment.filter(|d| d.spec.strategy.kind == "Recreate") {
            queue.add(deployment.metadata.key());
        }
    }

    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(deployment) = self.deployments.get_key(key) else { return Ok(Next::Done) };
        let metadata = &deployment.metadata;
        let selector = match deployment.spec.selector.compile() {
            Ok(selector) => selector,
            Err(error) => anyhow::bail!("deployment {key} has invalid label selector: {error}"),
        };
        let mut candidates = self.replica_sets.by_index(BY_OWNER, &metadata.uid);
        candidates.extend(self.replica_sets.by_index(BY_OWNER, &orphan_key(&metadata.namespace)));
        let replica_sets = if deployment.spec.selector.is_everything() {
            Vec::new()
        } else {
            let claimant = Claimant {
                controller: &self.controller,
                objects: &REPLICA_SETS,
                owners: &DEPLOYMENTS,
                owner: metadata,
                reference: refs::controller_ref(metadata, API, KIND),
            };
            claimant.claim(claim::sort(metadata, &selector, candidates)).await?
        };
        let running_pods = if deployment.spec.strategy.kind == "Recreate" {
            self.running_pods(&replica_sets)
        } else {
            Vec::new()
        };
        let view = View { deployment: &deployment, replica_sets, running_pods, now: Time::now() };
        let plan = plan::plan(&view);
        let again = plan.again_after;
        self.execute(&deployment, plan).await?;
        Ok(again.map_or(Next::Done, Next::After))
    }

    fn running_pods(&self, replica_sets: &[Arc<ReplicaSet>]) -> Vec<String> {
        let of = |rs: &Arc<ReplicaSet>| self.pods.by_index(BY_OWNER, &rs.metadata.uid);
        let pods = replica_sets.iter().flat_map(of);
        pods.filter(|p| !pods::is_terminal(p)).map(|p| owner_key(&p.metadata)).collect()
    }

    async fn execute(&self, deployment: &Deployment, plan: Plan) -> anyhow::Result<()> {
        let controller = &self.controller;
        let subject = Subject::new(API, KIND, &deployment.metadata);
        for event in &plan.events {
            controller.record(&subject, event);
        }
        if let Some(create) = &plan.create {
            self.create(deployment, &subject, create).await?;
        }
        for update in &plan.updates {
            // A ReplicaSet that was made just now has its sizes already.
            if !update.uid.is_empty() {
                self.update(&subject, update).await?;
            }
        }
        for (name, uid) in &plan.deletes {
            let options = DeleteOptions::uid(uid);
            let namespace = &deployment.metadata.namespace;
            match controller.client.delete(&REPLICA_SETS, namespace, name, &options).await {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
        }
        if let Some(rollback) = plan.rollback {
            let event = rollback.event;
            write::update(controller, &DEPLOYMENTS, KIND, &deployment.metadata, |object| {
                if let Some((template, annotations)) = rollback.to {
                    object["spec"]["template"] = template;
                    object["metadata"]["annotations"] = json!(annotations);
                }
                if let Some(annotations) = object["metadata"]["annotations"].as_object_mut() {
                    annotations.remove(model::ROLLBACK_TO);
                }
            })
            .await?;
            controller.record(&subject, &event);
            return Ok(());
        }
        if let Some(status) = &plan.status {
            self.write_status(deployment, status, plan.revision.as_deref()).await?;
        }
        Ok(())
    }

    async fn write_status(
        &self,
        deployment: &Deployment,
        status: &DeploymentStatus,
        revision: Option<&str>,
    ) -> anyhow::Result<()> {
        let resource = DEPLOYMENTS.sub("status");
        write::update(&self.controller, &resource, KIND, &deployment.metadata, |object| {
            write::merge(&mut object["status"], status);
            if let Some(revision) = revision {
                object["metadata"]["annotations"][model::REVISION] = json!(revision);
            }
        })
        .await?;
        Ok(())
    }

    async fn create(
        &self,
        deployment: &Deployment,
        subject: &Subject,
        create: &Create,
    ) -> anyhow::Result<()> {
        let namespace = &deployment.metadata.namespace;
        let client = &self.controller.client;
        let error = match client.create::<Value>(&REPLICA_SETS, namespace, &create.object).await {
            Ok(_) => {
                if create.replicas > 0 {
                    let message =
                        format!("Scaled up replica set {} from 0 to {}", create.name, create.replicas);
                    self.controller.record(subject, &Event::normal("ScalingReplicaSet", message));
                }
                return Ok(());
            }
            Err(error) => error,
        };
        if error.is_already_exists() {
            let existing: ReplicaSet = client.get(&REPLICA_SETS, namespace, &create.name).await?;
            let ours = existing.metadata.is_controlled_by(&deployment.metadata.uid)
                && existing.spec.template.same_ignoring_hash(&deployment.spec.template);
            if ours {
                return Ok(());
            }
            // Another template has the same hash: the count makes the next hash another one.
            let mut status = deployment.status.clone();
            status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
            self.write_status(deployment, &status, None).await?;
        } else if !error.is_namespace_terminating() {
            let message = format!("Failed to create new replica set \"{}\": {error}", create.name);
            if let Some(status) = plan::create_failed(deployment, &message, Time::now()) {
                self.write_status(deployment, &status, None).await?;
            }
            self.controller.record(subject, &Event::warning("ReplicaSetCreateError", message));
        }
        Err(error.into())
    }

    async fn update(&self, subject: &Subject, update: &Update) -> anyhow::Result<()> {
        let mut patch = json!({"metadata": {
            "uid": update.uid,
            "resourceVersion": update.resource_version,
            "annotations": update.annotations,
        }});
        if let Some(replicas) = update.replicas {
            patch["spec"]["replicas"] = json!(replicas);
        }
        if let Some(seconds) = update.min_ready_seconds {
            patch["spec"]["minReadySeconds"] = json!(seconds);
        }
        let namespace = &subject.metadata.namespace;
        let client = &self.controller.client;
        client.patch::<Value>(&REPLICA_SETS, namespace, &update.name, Patch::Merge, &patch).await?;
        for event in &update.events {
            self.controller.record(subject, event);
        }
        Ok(())
    }
}
