//! PodDisruptionBudgets: how many of the pods they select may be evicted now.
//!
//! Watches budgets, pods, and the workloads that say how many pods there should be; those of other kinds are asked for
//! their scale. Evictions that were granted and never happened are noted, on the budget and on the pod.

mod plan;
mod stale;

use std::collections::HashMap;
use std::sync::Arc;

use component_base::client::known::{
    DEPLOYMENTS, POD_DISRUPTION_BUDGETS, REPLICA_SETS, REPLICATION_CONTROLLERS, STATEFUL_SETS,
};
use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store};
use proto::meta::{Key, ObjectMeta, OwnerReference};
use proto::time::Time;
use serde::Deserialize;
use serde_json::json;

use crate::api::apps::{Deployment, ReplicaSet, StatefulSet};
use crate::api::core::Pod;
use crate::api::policy::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use crate::common::events::Event;
use crate::common::kinds::Kinds;
use crate::common::{discovery, selector, write};
use crate::context::{Controller, Subject};

const KIND: &str = "PodDisruptionBudget";
const API: &str = "policy/v1";

struct Budgets {
    controller: Arc<Controller>,
    budgets: Store<PodDisruptionBudget>,
    pods: Store<Pod>,
    replication_controllers: Store<ReplicaSet>,
    replica_sets: Store<ReplicaSet>,
    deployments: Store<Deployment>,
    stateful_sets: Store<StatefulSet>,
    kinds: Arc<Kinds>,
    queue: Queue<Key>,
}

/// Starts the controller.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let this = Arc::new(Budgets {
        budgets: controller.store(&POD_DISRUPTION_BUDGETS),
        pods: controller.pods(),
        replication_controllers: controller.store(&REPLICATION_CONTROLLERS),
        replica_sets: controller.store(&REPLICA_SETS),
        deployments: controller.store(&DEPLOYMENTS),
        stateful_sets: controller.store(&STATEFUL_SETS),
        kinds: controller.kinds(),
        queue: Queue::new("disruption"),
        controller: controller.clone(),
    });
    crate::context::enqueue_changes(&this.budgets, &this.queue);
    let own = this.clone();
    this.pods.subscribe(move |change: &Change<Pod>| own.on_pod(change));
    let own = this.clone();
    let ready = async move {
        own.budgets.synced().await;
        own.pods.synced().await;
        own.replication_controllers.synced().await;
        own.replica_sets.synced().await;
        own.deployments.synced().await;
        own.stateful_sets.synced().await;
    };
    let own = this.clone();
    controller.run(&this.queue, 1, ready, move |key| {
        let this = own.clone();
        async move { this.sync(&key).await }
    });
    stale::start(&controller, this.pods.clone());
    Ok(())
}

/// A controller that says how many pods it wants.
#[derive(Deserialize)]
struct Scale {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: ScaleSpec,
}

#[derive(Default, Deserialize)]
struct ScaleSpec {
    #[serde(default)]
    replicas: i32,
}

impl Budgets {
    fn on_pod(&self, change: &Change<Pod>) {
        let metadata = &change.latest().metadata;
        let mut found: Vec<Arc<PodDisruptionBudget>> = Vec::new();
        for budget in self.budgets.list_namespace(&metadata.namespace) {
            let selector = selector::compile(budget.spec.selector.as_ref());
            let Ok(selector) = selector else { continue };
            let selects = |pod: &Arc<Pod>| selector.matches_map(&pod.metadata.labels);
            if change.new.as_ref().is_some_and(selects) {
                found.push(budget.clone());
            }
            if change.old.as_ref().is_some_and(selects) || change.new.as_ref().is_some_and(selects) {
                self.queue.add(budget.metadata.key());
            }
        }
        if let [first, _, ..] = found.as_slice() {
            let text = format!(
                "Pod {:?}/{:?} matches multiple PodDisruptionBudgets.  Chose {:?} arbitrarily.",
                metadata.namespace, metadata.name, first.metadata.name
            );
            let event = Event::warning("MultiplePodDisruptionBudgets", text);
            self.controller.record(&Subject::new("v1", "Pod", metadata), &event);
        }
    }

    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(budget) = self.budgets.get_key(key) else { return Ok(Next::Done) };
        let error = match self.try_sync(&budget).await {
            Ok(next) => return Ok(next),
            Err(error) => error,
        };
        if error.downcast_ref::<component_base::client::Error>().is_some_and(|e| e.is_conflict()) {
            return Err(error);
        }
        tracing::warn!(budget = %key, err = %error, "Failed to sync PDB");
        // Nothing may be evicted where nobody knows how much is left.
        if let Some(status) = plan::fail_safe(&budget, &error.to_string(), Time::now()) {
            self.write(&budget, &status).await?;
        }
        Ok(Next::Done)
    }

    async fn try_sync(&self, budget: &PodDisruptionBudget) -> anyhow::Result<Next> {
        let subject = Subject::new(API, KIND, &budget.metadata);
        let record = |event: &Event| self.controller.record(&subject, event);
        let selector = selector::compile(budget.spec.selector.as_ref()).map_err(|why| {
            record(&Event::warning("NoPods", format!("Failed to get pods: {why}")));
            anyhow::anyhow!(why)
        })?;
        let mut pods = self.pods.list_namespace(&budget.metadata.namespace);
        pods.retain(|pod| selector.matches_map(&pod.metadata.labels));
        if pods.is_empty() {
            record(&Event::normal("NoPods", "No matching pods found"));
        }
        let expected = self.expected(budget, &pods).await.inspect_err(|why| {
            let text = format!("Failed to calculate the number of expected pods: {why}");
            record(&Event::warning("CalculateExpectedPodCountFailed", text));
        })?;
        let plan = plan::plan(budget, &pods, expected, Time::now());
        for event in &plan.events {
            record(event);
        }
        for (pod, event) in &plan.pod_events {
            self.controller.record(&Subject::new("v1", "Pod", &pod.metadata), event);
        }
        if let Some(status) = &plan.status {
            self.write(budget, status).await?;
        }
        Ok(plan.again.map_or(Next::Done, Next::After))
    }

    async fn write(
        &self,
        budget: &PodDisruptionBudget,
        status: &PodDisruptionBudgetStatus,
    ) -> anyhow::Result<()> {
        let resource = POD_DISRUPTION_BUDGETS.sub("status");
        write::update(&self.controller, &resource, KIND, &budget.metadata, |object| {
            object["status"] = json!(status);
        })
        .await?;
        Ok(())
    }

    /// How many pods there should be, and which ones nobody manages.
    async fn expected(
        &self,
        budget: &PodDisruptionBudget,
        pods: &[Arc<Pod>],
    ) -> anyhow::Result<plan::Expected> {
        let mut expected = plan::Expected { count: 0, unmanaged: false };
        if !plan::needs_scale(budget) {
            expected.count = i32::try_from(pods.len()).unwrap_or(i32::MAX);
            return Ok(expected);
        }
        let mut scales: HashMap<String, i32> = HashMap::new();
        for pod in pods {
            let Some(owner) = pod.metadata.controller_of() else {
                expected.unmanaged = true;
                continue;
            };
            if scales.contains_key(&owner.uid) {
                continue;
            }
            match self.scale_of(owner, &pod.metadata.namespace).await? {
                Some((uid, scale)) => scales.insert(uid, scale),
                None => anyhow::bail!("found no controllers for pod {:?}", pod.metadata.name),
            };
        }
        expected.count = scales.values().fold(0, |sum, scale| sum.saturating_add(*scale));
        Ok(expected)
    }

    /// The uid and the wanted number of pods of a pod's controller, or of the Deployment behind it.
    async fn scale_of(
        &self,
        owner: &OwnerReference,
        namespace: &str,
    ) -> anyhow::Result<Option<(String, i32)>> {
        let is = |kind: &str, groups: &[&str]| owner.kind == kind && groups.contains(&owner.group());
        if is("ReplicationController", &[""]) {
            let found = self.replication_controllers.get(namespace, &owner.name);
            if let Some(found) = found.filter(|object| object.metadata.uid == owner.uid) {
                return Ok(Some((owner.uid.clone(), found.spec.replicas.unwrap_or(1))));
            }
        }
        if is("ReplicaSet", &["apps", "extensions"]) {
            let found = self.replica_sets.get(namespace, &owner.name);
            if let Some(found) = found.filter(|object| object.metadata.uid == owner.uid) {
                match found.metadata.controller_of() {
                    Some(above) if above.kind == "Deployment" => {
                        let deployment = self.deployments.get(namespace, &above.name);
                        if let Some(deployment) = deployment.filter(|object| object.metadata.uid == above.uid)
                        {
                            return Ok(Some((above.uid.clone(), deployment.spec.replicas.unwrap_or(1))));
                        }
                    }
                    _ => return Ok(Some((owner.uid.clone(), found.spec.replicas.unwrap_or(1)))),
                }
            }
        }
        if is("StatefulSet", &["apps"]) {
            let found = self.stateful_sets.get(namespace, &owner.name);
            if let Some(found) = found.filter(|object| object.metadata.uid == owner.uid) {
                return Ok(Some((owner.uid.clone(), found.spec.replicas.unwrap_or(1))));
            }
        }
        self.ask_scale(owner, namespace).await
    }

    async fn ask_scale(
        &self,
        owner: &OwnerReference,
        namespace: &str,
    ) -> anyhow::Result<Option<(String, i32)>> {
        let Some(resource) = self.kinds.resource(&owner.api_version, &owner.kind) else {
            anyhow::bail!("no matches for kind {:?} in version {:?}", owner.kind, owner.api_version);
        };
        let client = &self.controller.client;
        match client.get::<Scale>(&resource.sub("scale"), namespace, &owner.name).await {
            Ok(scale) if scale.metadata.uid == owner.uid => {
                Ok(Some((scale.metadata.uid, scale.spec.replicas)))
            }
            Ok(_) => Ok(None),
            Err(error) if error.is_not_found() => {
                if !discovery::has_subresource(client, &resource, "scale").await? {
                    let name = proto::status::qualified(&resource.group, &resource.plural);
                    anyhow::bail!("{name} does not implement the scale subresource");
                }
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}
