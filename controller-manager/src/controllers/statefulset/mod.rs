//! StatefulSets: pods with stable names, storage and order.
//!
//! Watches StatefulSets, their pods and revisions, and claims.

mod claims;
mod identity;
mod plan;

use std::collections::HashSet;
use std::sync::Arc;

use component_base::client::known::{CONTROLLER_REVISIONS, PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS};
use component_base::client::{DeleteOptions, Error, Patch, Resource};
use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store};
use proto::meta::{Key, ObjectMeta};
use proto::time::Time;
use serde_json::{Value, json};

use crate::api::apps::{ControllerRevision, StatefulSet, StatefulSetStatus};
use crate::api::core::{Metadata, Pod};
use crate::common::claim::{self, Claimant};
use crate::common::events::Event;
use crate::common::hash::{fnv32, safe_encode};
use crate::common::history::{self, History};
use crate::common::{pods, refs, write};
use crate::context::{BY_OWNER, Controller, Subject, enqueue_changes, orphan_key};
use plan::{Step, View};

const KIND: &str = "StatefulSet";
const API: &str = "apps/v1";
const HASH: &str = "controller.kubernetes.io/hash";
static OWNERS: Resource = STATEFUL_SETS;
static OWNED_PODS: Resource = PODS;
static OWNED_REVISIONS: Resource = CONTROLLER_REVISIONS;

struct Sets {
    controller: Arc<Controller>,
    sets: Store<StatefulSet>,
    pods: Store<Pod>,
    claims: Store<Metadata>,
    revisions: Store<ControllerRevision>,
}

/// Starts the controller.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let workers = usize::try_from(controller.flags().int("concurrent-statefulset-syncs")).unwrap_or(5);
    let queue: Queue<Key> = Queue::new("statefulset");
    let this = Arc::new(Sets {
        sets: controller.store(&STATEFUL_SETS),
        pods: controller.pods(),
        claims: controller.store(&PERSISTENT_VOLUME_CLAIMS),
        revisions: super::daemonset::revisions(&controller),
        controller: controller.clone(),
    });
    enqueue_changes(&this.sets, &queue);
    let (own, keys) = (this.clone(), queue.clone());
    this.pods.subscribe(move |change: &Change<Pod>| {
        let (metadata, leaving) = (&change.latest().metadata, change.new.is_none());
        if let Some(set) = own.owner(metadata) {
            keys.add(set.metadata.key());
        } else if metadata.controller_of().is_none() && !leaving {
            for set in own.sets.list_namespace(&metadata.namespace) {
                let matches = |s: proto::labels::Selector| s.matches_map(&metadata.labels);
                if set.spec.selector.compile().is_ok_and(matches) {
                    keys.add(set.metadata.key());
                }
            }
        }
    });
    let own = this.clone();
    let ready = async move {
        own.sets.synced().await;
        own.pods.synced().await;
        own.claims.synced().await;
        own.revisions.synced().await;
    };
    controller.run(&queue, workers, ready, move |key| {
        let this = this.clone();
        async move { this.sync(&key).await }
    });
    Ok(())
}

impl Sets {
    fn owner(&self, metadata: &ObjectMeta) -> Option<Arc<StatefulSet>> {
        refs::controller_in(&self.sets, metadata, KIND)
    }

    fn claimant<'a>(&'a self, set: &'a StatefulSet, objects: &'static Resource) -> Claimant<'a> {
        Claimant {
            controller: &self.controller,
            objects,
            owners: &OWNERS,
            owner: &set.metadata,
            reference: refs::controller_ref(&set.metadata, API, KIND),
        }
    }

    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(set) = self.sets.get_key(key) else { return Ok(Next::Done) };
        let Ok(selector) = set.spec.selector.compile() else { return Ok(Next::Done) };
        let orphans = orphan_key(&key.namespace);
        let mut revisions = self.revisions.by_index(BY_OWNER, &set.metadata.uid);
        revisions.extend(self.revisions.by_index(BY_OWNER, &orphans));
        let sorted = claim::sort(&set.metadata, &selector, revisions);
        let revisions = self.claimant(&set, &OWNED_REVISIONS).claim(sorted).await?;
        let mut pods = self.pods.by_index(BY_OWNER, &set.metadata.uid);
        pods.extend(self.pods.by_index(BY_OWNER, &orphans));
        // Only pods with a fitting name can be members.
        pods.retain(|p| identity::ordinal(&set, &p.metadata.name).is_some());
        let sorted = claim::sort(&set.metadata, &selector, pods);
        let pods = self.claimant(&set, &OWNED_PODS).claim(sorted).await?;

        let history = history::sort(&set.spec.template, &revisions);
        let update = self.update_revision(&set, &history).await?;
        let update_template = set.spec.template.to_value();
        let current = revisions.iter().find(|r| r.metadata.name == set.status.current_revision);
        let current_template = current.map(|r| history::template_of(r));
        let stale = |ordinal: i32| self.has_stale_claim(&set, ordinal);
        let off = |pod: &Pod| !self.claims_without_owners(&set, pod).is_empty();
        let view = View {
            set: &set,
            pods: &pods,
            current: match (&current, &current_template) {
                (Some(revision), Some(template)) => (&revision.metadata.name, template),
                _ => (&update, &update_template),
            },
            update: (&update, &update_template),
            stale_claim: &stale,
            claims_off: &off,
            now: Time::now(),
        };
        let plan = plan::plan(&view);
        let outcome = self.execute(&set, &plan.steps).await;
        self.write_status(&set, &plan.status).await?;
        outcome?;
        self.limit_history(&set, &history, &pods, &plan.status).await?;
        let min_ready = set.spec.min_ready_seconds;
        if min_ready > 0 && plan.status.available_replicas != plan.status.ready_replicas {
            let wait = pods::next_available(pods.iter().map(Arc::as_ref), min_ready, Time::now());
            return Ok(Next::After(std::time::Duration::from_secs(wait.unwrap_or(1))));
        }
        Ok(Next::Done)
    }

    fn has_stale_claim(&self, set: &StatefulSet, ordinal: i32) -> bool {
        let policy = set.spec.persistent_volume_claim_retention_policy.as_ref();
        if policy.is_none_or(|p| p.when_scaled != "Delete") {
            return false;
        }
        let pod = identity::pod_name(set, ordinal);
        let names = identity::claim_names(set, ordinal);
        let claims = names.iter().filter_map(|(_, name)| self.claims.get(&set.metadata.namespace, name));
        let of_pod = |m: &ObjectMeta| m.owner_references.iter().any(|o| o.kind == "Pod" && o.name == pod);
        claims.into_iter().any(|claim| of_pod(&claim.metadata))
    }

    fn claims_without_owners(
        &self,
        set: &StatefulSet,
        pod: &Pod,
    ) -> Vec<(Arc<Metadata>, Vec<proto::meta::OwnerReference>)> {
        let Some(ordinal) = identity::ordinal(set, &pod.metadata.name) else { return Vec::new() };
        let names = identity::claim_names(set, ordinal).into_iter();
        let claims = names.filter_map(|(_, name)| self.claims.get(&set.metadata.namespace, &name));
        claims
            .filter_map(|claim| {
                let owners = claims::owners(set, &pod.metadata, &claim.metadata)?;
                Some((claim, owners))
            })
            .collect()
    }

    /// Makes sure that the template has a revision, and returns its name.
    async fn update_revision(&self, set: &StatefulSet, history: &History) -> anyhow::Result<String> {
        let client = &self.controller.client;
        let namespace = &set.metadata.namespace;
        if let Some(current) = &history.current {
            if current.revision < history.number {
                let patch = json!({"metadata": {"uid": current.metadata.uid}, "revision": history.number});
                let name = &current.metadata.name;
                client.patch::<Value>(&CONTROLLER_REVISIONS, namespace, name, Patch::Merge, &patch).await?;
            }
            return Ok(current.metadata.name.clone());
        }
        let data = history::snapshot(&set.spec.template);
        let text = data.to_string();
        let mut collisions = set.status.collision_count.unwrap_or(0);
        loop {
            let hash = safe_encode(fnv32(&[text.as_bytes(), collisions.to_string().as_bytes()]));
            let name = format!("{}-{hash}", set.metadata.name);
            let mut labels = set.spec.template.labels();
            labels.insert(HASH.into(), hash);
            let revision = json!({
                "apiVersion": API,
                "kind": "ControllerRevision",
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    "labels": labels,
                    "annotations": set.metadata.annotations,
                    "ownerReferences": [refs::controller_ref(&set.metadata, API, KIND)],
                },
                "data": data,
                "revision": history.number,
            });
            match client.create::<Value>(&CONTROLLER_REVISIONS, namespace, &revision).await {
                Ok(_) => return Ok(name),
                Err(error) if error.is_already_exists() => {
                    let existing: ControllerRevision =
                        client.get(&CONTROLLER_REVISIONS, namespace, &name).await?;
                    if existing.data.to_value() == data {
                        return Ok(name);
                    }
                    collisions += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn execute(&self, set: &StatefulSet, steps: &[Step]) -> anyhow::Result<()> {
        let subject = Subject::new(API, KIND, &set.metadata);
        for step in steps {
            match step {
                Step::Create { ordinal, pod } => {
                    let name = identity::pod_name(set, *ordinal);
                    let outcome = self.create_pod(set, &subject, *ordinal, pod).await;
                    if outcome.as_ref().err().is_some_and(Error::is_already_exists) {
                        outcome?;
                    } else {
                        self.record(&subject, "Create", &name, outcome)?;
                    }
                }
                Step::Claims(pod) => {
                    if let Some(ordinal) = identity::ordinal(set, &pod.metadata.name) {
                        self.create_claims(set, &subject, &pod.metadata.name, ordinal).await?;
                    }
                    self.give_owners(set, &subject, pod).await?;
                }
                Step::Repair(pod) => self.repair(set, &subject, pod).await?,
                Step::Owners(pod) => self.give_owners(set, &subject, pod).await?,
                Step::Delete(pod) => {
                    let options = DeleteOptions::uid(&pod.metadata.uid);
                    let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
                    let outcome = match self.controller.client.delete(&PODS, namespace, name, &options).await
                    {
                        Err(error) if error.is_not_found() => Ok(()),
                        outcome => outcome,
                    };
                    self.record(&subject, "Delete", name, outcome)?;
                }
            }
        }
        Ok(())
    }

    /// Records that something was done to a pod, or that it failed.
    fn record(
        &self,
        subject: &Subject,
        verb: &str,
        pod: &str,
        outcome: Result<(), Error>,
    ) -> Result<(), Error> {
        let set = &subject.metadata.name;
        let reason = |good: bool| match (verb, good) {
            ("Create", true) => "SuccessfulCreate",
            ("Create", false) => "FailedCreate",
            ("Delete", true) => "SuccessfulDelete",
            ("Delete", false) => "FailedDelete",
            (_, true) => "SuccessfulUpdate",
            (_, false) => "FailedUpdate",
        };
        let event = match &outcome {
            Ok(()) => {
                Event::normal(reason(true), format!("{verb} Pod {pod} in StatefulSet {set} successful"))
            }
            Err(error) => {
                let message = format!("{verb} Pod {pod} in StatefulSet {set} failed error: {error}");
                Event::warning(reason(false), message)
            }
        };
        self.controller.record(subject, &event);
        outcome
    }

    async fn create_pod(
        &self,
        set: &StatefulSet,
        subject: &Subject,
        ordinal: i32,
        pod: &Value,
    ) -> Result<(), Error> {
        self.create_claims(set, subject, &identity::pod_name(set, ordinal), ordinal).await?;
        let client = &self.controller.client;
        client.create::<Metadata>(&PODS, &set.metadata.namespace, pod).await.map(drop)
    }

    async fn create_claims(
        &self,
        set: &StatefulSet,
        subject: &Subject,
        pod: &str,
        ordinal: i32,
    ) -> Result<(), Error> {
        let namespace = &set.metadata.namespace;
        let set_name = &set.metadata.name;
        for (name, claim) in identity::claims(set, ordinal) {
            if let Some(existing) = self.claims.get(namespace, &name) {
                if existing.metadata.is_being_deleted() {
                    return Err(Error::Decode(format!("pvc {name} is being deleted")));
                }
                continue;
            }
            let client = &self.controller.client;
            match client.create::<Value>(&PERSISTENT_VOLUME_CLAIMS, namespace, &claim).await {
                Ok(_) => {
                    let message = format!("Create Claim {name} Pod {pod} in StatefulSet {set_name} success");
                    self.controller.record(subject, &Event::normal("SuccessfulCreate", message));
                }
                Err(error) if error.is_already_exists() => {}
                Err(error) => {
                    let message = format!(
                        "Create Claim {name} for Pod {pod} in StatefulSet {set_name} failed error: {error}"
                    );
                    self.controller.record(subject, &Event::warning("FailedCreate", message));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    async fn give_owners(&self, set: &StatefulSet, subject: &Subject, pod: &Pod) -> anyhow::Result<()> {
        for (claim, owners) in self.claims_without_owners(set, pod) {
            let kind = "PersistentVolumeClaim";
            let outcome =
                write::update(&self.controller, &PERSISTENT_VOLUME_CLAIMS, kind, &claim.metadata, |object| {
                    object["metadata"]["ownerReferences"] = json!(owners);
                })
                .await;
            match outcome {
                Err(error) if error.is_conflict() => return Err(error.into()),
                Err(error) => self.record(subject, "Update", &pod.metadata.name, Err(error))?,
                Ok(_) => {}
            }
        }
        Ok(())
    }

    async fn repair(&self, set: &StatefulSet, subject: &Subject, pod: &Pod) -> anyhow::Result<()> {
        self.give_owners(set, subject, pod).await?;
        let name = &pod.metadata.name;
        let Some(ordinal) = identity::ordinal(set, name) else { return Ok(()) };
        if identity::is_complete(set, pod, ordinal) {
            return Ok(());
        }
        let outcome = write::update(&self.controller, &PODS, "Pod", &pod.metadata, |object| {
            identity::give_identity(set, object, ordinal);
            identity::give_storage(set, object, ordinal);
        })
        .await;
        self.record(subject, "Update", name, outcome.map(drop))?;
        Ok(())
    }

    async fn limit_history(
        &self,
        set: &StatefulSet,
        history: &History,
        pods: &[Arc<Pod>],
        status: &StatefulSetStatus,
    ) -> anyhow::Result<()> {
        let Ok(limit) = usize::try_from(set.spec.revision_history_limit.unwrap_or(10)) else { return Ok(()) };
        let mut live: HashSet<&str> = pods
            .iter()
            .filter_map(|p| p.metadata.labels.get(identity::REVISION))
            .map(String::as_str)
            .collect();
        live.extend([status.current_revision.as_str(), &status.update_revision]);
        let dead: Vec<_> = history.old.iter().filter(|r| !live.contains(r.metadata.name.as_str())).collect();
        for revision in dead.iter().take(dead.len().saturating_sub(limit)) {
            let options = DeleteOptions::uid(&revision.metadata.uid);
            let (namespace, name) = (&revision.metadata.namespace, &revision.metadata.name);
            match self.controller.client.delete(&CONTROLLER_REVISIONS, namespace, name, &options).await {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    async fn write_status(&self, set: &StatefulSet, status: &StatefulSetStatus) -> anyhow::Result<()> {
        if *status == set.status {
            return Ok(());
        }
        let resource = STATEFUL_SETS.sub("status");
        write::update(&self.controller, &resource, KIND, &set.metadata, |object| {
            write::merge(&mut object["status"], status);
        })
        .await?;
        Ok(())
    }
}
