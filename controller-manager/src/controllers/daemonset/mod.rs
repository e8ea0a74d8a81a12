//! DaemonSets: one pod on each node that fits.
//!
//! Watches DaemonSets, their pods and revisions, and nodes.

mod plan;
mod template;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use component_base::client::known::{CONTROLLER_REVISIONS, DAEMON_SETS, PODS};
use component_base::client::{DeleteOptions, Patch, Resource};
use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store};
use parking_lot::Mutex;
use proto::meta::{Key, ObjectMeta};
use proto::time::Time;
use serde_json::{Value, json};

use crate::api::apps::{ControllerRevision, DaemonSet, DaemonSetStatus};
use crate::api::core::{Node, Pod};
use crate::common::claim::{self, Claimant};
use crate::common::events::Event;
use crate::common::expectations::Expectations;
use crate::common::hash::template_hash;
use crate::common::template::pod_from_template;
use crate::common::{history, pod_control, refs, write};
use crate::context::{BY_OWNER, Controller, Subject, enqueue_changes, orphan_key, owner_key};
use plan::{Plan, View};
use template::REVISION_HASH;

static OWNERS: Resource = DAEMON_SETS;
static OWNED_PODS: Resource = PODS;
static OWNED_REVISIONS: Resource = CONTROLLER_REVISIONS;
const KIND: &str = "DaemonSet";
const API: &str = "apps/v1";
/// The most pods that are created or deleted in one go.
const BURST: usize = 250;
const BACKOFF_START: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(900);

struct Daemons {
    controller: Arc<Controller>,
    daemon_sets: Store<DaemonSet>,
    revisions: Store<ControllerRevision>,
    pods: Store<Pod>,
    nodes: Store<Node>,
    expectations: Expectations,
    /// When failed pods were last replaced: by DaemonSet and node.
    failures: Mutex<HashMap<(String, String), Failure>>,
}

#[derive(Clone, Copy)]
struct Failure {
    last: Instant,
    delay: Duration,
}

/// All ControllerRevisions, indexed by owner.
pub(super) fn revisions(controller: &Controller) -> Store<ControllerRevision> {
    let store = controller.store::<ControllerRevision>(&CONTROLLER_REVISIONS);
    store.add_index(BY_OWNER, |r: &ControllerRevision| vec![owner_key(&r.metadata)]);
    store
}

/// Starts the controller.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let queue: Queue<Key> = Queue::new("daemonset");
    let this = Arc::new(Daemons {
        daemon_sets: controller.store(&DAEMON_SETS),
        revisions: revisions(&controller),
        pods: controller.pods(),
        nodes: controller.nodes(),
        controller: controller.clone(),
        expectations: Expectations::default(),
        failures: Mutex::default(),
    });
    enqueue_changes(&this.daemon_sets, &queue);
    let (own, keys) = (this.clone(), queue.clone());
    this.pods.subscribe(move |change| own.on_pod(change, &keys));
    let (own, keys) = (this.clone(), queue.clone());
    this.nodes.subscribe(move |change| own.on_node(change, &keys));
    let (own, keys) = (this.clone(), queue.clone());
    this.revisions.subscribe(move |change: &Change<ControllerRevision>| {
        if let Some(ds) = own.owner(&change.latest().metadata) {
            keys.add(ds.metadata.key());
        }
    });
    let workers = usize::try_from(controller.flags().int("concurrent-daemonset-syncs")).unwrap_or(2);
    let own = this.clone();
    let ready = async move {
        own.daemon_sets.synced().await;
        own.revisions.synced().await;
        own.pods.synced().await;
        own.nodes.synced().await;
    };
    controller.run(&queue, workers, ready, move |key| {
        let this = this.clone();
        async move { this.sync(&key).await }
    });
    Ok(())
}

impl Daemons {
    fn owner(&self, metadata: &ObjectMeta) -> Option<Arc<DaemonSet>> {
        refs::controller_in(&self.daemon_sets, metadata, KIND)
    }

    fn on_pod(&self, change: &Change<Pod>, queue: &Queue<Key>) {
        let pod = change.latest();
        let leaving = change.new.as_ref().is_none_or(|p| p.metadata.is_being_deleted());
        if let Some(ds) = self.owner(&pod.metadata) {
            let key = ds.metadata.key();
            if leaving {
                self.expectations.deleted(&key, &pod.metadata.name);
            } else if change.old.is_none() {
                self.expectations.created(&key, 1);
            }
            queue.add(key);
            return;
        }
        if pod.metadata.controller_of().is_none() && !leaving {
            for ds in self.daemon_sets.list_namespace(&pod.metadata.namespace) {
                let matches = |s: proto::labels::Selector| s.matches_map(&pod.metadata.labels);
                if !ds.spec.selector.is_everything() && ds.spec.selector.compile().is_ok_and(matches) {
                    queue.add(ds.metadata.key());
                }
            }
        }
    }

    /// Only what decides where daemons run concerns DaemonSets.
    fn on_node(&self, change: &Change<Node>, queue: &Queue<Key>) {
        let unchanged = |old: &Node, new: &Node| {
            old.metadata.labels == new.metadata.labels && old.spec.taints == new.spec.taints
        };
        if let (Some(old), Some(new)) = (&change.old, &change.new)
            && unchanged(old, new)
        {
            return;
        }
        self.daemon_sets.for_each(|ds| queue.add(ds.metadata.key()));
    }

    fn claimant<'a>(&'a self, ds: &'a DaemonSet, objects: &'static Resource) -> Claimant<'a> {
        Claimant {
            controller: &self.controller,
            objects,
            owners: &OWNERS,
            owner: &ds.metadata,
            reference: refs::controller_ref(&ds.metadata, API, KIND),
        }
    }

    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(ds) = self.daemon_sets.get_key(key) else {
            self.expectations.forget(key);
            return Ok(Next::Done);
        };
        let subject = Subject::new(API, KIND, &ds.metadata);
        if ds.spec.selector.is_everything() {
            let message = "This daemon set is selecting all pods. A non-empty selector is required.";
            self.controller.record(&subject, &Event::warning("SelectingAll", message));
            return Ok(Next::Done);
        }
        if ds.metadata.is_being_deleted() {
            return Ok(Next::Done);
        }
        let selector = ds.spec.selector.compile().map_err(anyhow::Error::msg)?;
        let orphans = orphan_key(&ds.metadata.namespace);

        let mut revisions = self.revisions.by_index(BY_OWNER, &ds.metadata.uid);
        revisions.extend(self.revisions.by_index(BY_OWNER, &orphans));
        let claims = claim::sort(&ds.metadata, &selector, revisions);
        let revisions = self.claimant(&ds, &OWNED_REVISIONS).claim(claims).await?;
        let mut pods = self.pods.by_index(BY_OWNER, &ds.metadata.uid);
        pods.extend(self.pods.by_index(BY_OWNER, &orphans));
        let claims = claim::sort(&ds.metadata, &selector, pods);
        let pods = self.claimant(&ds, &OWNED_PODS).claim(claims).await?;

        let history = history::sort(&ds.spec.template, &revisions);
        let hash = self.current_revision(&ds, &history, &pods).await?;
        let nodes = self.nodes.list();
        let backoff = |node: &str| self.backoff(&ds, node);
        let now = Time::now();
        let view = View { ds: &ds, nodes: &nodes, pods: &pods, hash: &hash, now, backoff: &backoff };
        let up_to_date = self.expectations.satisfied(key);
        let mut again = None;
        let mut outcome = Ok(());
        if up_to_date {
            let plan = plan::plan(&view);
            again = plan.again_after;
            outcome = self.execute(&ds, &subject, &plan, &hash).await;
            if outcome.is_ok() {
                for old in plan::beyond_limit(&ds, &history.old, &pods) {
                    self.delete_revision(&old.metadata).await?;
                }
            }
        }
        let status = plan::status(&view, up_to_date);
        self.write_status(&ds, &status).await?;
        outcome?;
        let min_ready = ds.spec.min_ready_seconds;
        if min_ready > 0 && status.number_ready != status.number_available {
            let wait = Duration::from_secs(u64::try_from(min_ready).unwrap_or(1));
            again = Some(again.map_or(wait, |a| a.min(wait)));
        }
        Ok(again.map_or(Next::Done, Next::After))
    }

    /// Makes sure that the current template has a revision, and returns its hash.
    async fn current_revision(
        &self,
        ds: &DaemonSet,
        history: &history::History,
        pods: &[Arc<Pod>],
    ) -> anyhow::Result<String> {
        let Some(current) = &history.current else { return self.snapshot(ds, history.number).await };
        let hash = current.metadata.labels.get(REVISION_HASH).cloned();
        let hash = hash.unwrap_or_else(|| current.metadata.name.clone());
        if current.revision < history.number || !current.metadata.labels.contains_key(REVISION_HASH) {
            let patch = json!({
                "metadata": {"uid": current.metadata.uid, "labels": {REVISION_HASH: hash}},
                "revision": history.number,
            });
            self.patch_revision(&current.metadata, &patch).await?;
        }
        for duplicate in &history.duplicates {
            for pod in pods.iter().filter(|p| p.metadata.labels.get(REVISION_HASH) != Some(&hash)) {
                let same =
                    pod.metadata.labels.get(REVISION_HASH) == duplicate.metadata.labels.get(REVISION_HASH);
                if same {
                    let patch = json!({"metadata": {"labels": {REVISION_HASH: hash}}});
                    let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
                    let client = &self.controller.client;
                    client.patch::<Value>(&PODS, namespace, name, Patch::Merge, &patch).await?;
                }
            }
            self.delete_revision(&duplicate.metadata).await?;
        }
        Ok(hash)
    }

    async fn patch_revision(&self, metadata: &ObjectMeta, patch: &Value) -> anyhow::Result<()> {
        let (namespace, name) = (&metadata.namespace, &metadata.name);
        let client = &self.controller.client;
        client.patch::<Value>(&CONTROLLER_REVISIONS, namespace, name, Patch::Merge, patch).await?;
        Ok(())
    }

    async fn delete_revision(&self, metadata: &ObjectMeta) -> anyhow::Result<()> {
        let options = DeleteOptions::uid(&metadata.uid);
        let (namespace, name) = (&metadata.namespace, &metadata.name);
        match self.controller.client.delete(&CONTROLLER_REVISIONS, namespace, name, &options).await {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn snapshot(&self, ds: &DaemonSet, number: i64) -> anyhow::Result<String> {
        let data = history::snapshot(&ds.spec.template);
        let hash = template_hash(&data, ds.status.collision_count);
        let name = format!("{}-{hash}", ds.metadata.name);
        let namespace = &ds.metadata.namespace;
        let mut labels = ds.spec.template.labels();
        labels.insert(REVISION_HASH.into(), hash.clone());
        let revision = json!({
            "apiVersion": API,
            "kind": "ControllerRevision",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": labels,
                "annotations": ds.metadata.annotations,
                "ownerReferences": [refs::controller_ref(&ds.metadata, API, KIND)],
            },
            "data": data,
            "revision": number,
        });
        let client = &self.controller.client;
        let error = match client.create::<Value>(&CONTROLLER_REVISIONS, namespace, &revision).await {
            Ok(_) => return Ok(hash),
            Err(error) => error,
        };
        if error.is_already_exists() {
            let existing: ControllerRevision = client.get(&CONTROLLER_REVISIONS, namespace, &name).await?;
            if existing.data.to_value() == data {
                return Ok(hash);
            }
            let mut status = ds.status.clone();
            status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
            self.write_status(ds, &status).await?;
        }
        Err(error.into())
    }

    fn failure_key(ds: &DaemonSet, node: &str) -> (String, String) {
        (format!("{}/{}", ds.metadata.uid, ds.status.observed_generation), node.to_string())
    }

    fn backoff(&self, ds: &DaemonSet, node: &str) -> Option<Duration> {
        let failures = self.failures.lock();
        let failure = failures.get(&Self::failure_key(ds, node))?;
        failure.delay.checked_sub(failure.last.elapsed()).filter(|left| !left.is_zero())
    }

    fn note_failure(&self, ds: &DaemonSet, node: &str) {
        let mut failures = self.failures.lock();
        failures.retain(|_, f| f.last.elapsed() < BACKOFF_MAX * 2);
        let first = Failure { last: Instant::now(), delay: BACKOFF_START };
        failures
            .entry(Self::failure_key(ds, node))
            .and_modify(|f| {
                f.last = Instant::now();
                f.delay = (f.delay * 2).min(BACKOFF_MAX);
            })
            .or_insert(first);
    }

    async fn execute(
        &self,
        ds: &DaemonSet,
        subject: &Subject,
        plan: &Plan,
        hash: &str,
    ) -> anyhow::Result<()> {
        for event in &plan.events {
            self.controller.record(subject, event);
        }
        for node in &plan.failed_on {
            self.note_failure(ds, node);
        }
        let create = &plan.create_on[..plan.create_on.len().min(BURST)];
        let delete = &plan.delete[..plan.delete.len().min(BURST)];
        if create.is_empty() && delete.is_empty() {
            return Ok(());
        }
        let template = template::pod_template(ds, hash);
        let reference = refs::controller_ref(&ds.metadata, API, KIND);
        let pods: Vec<Value> = create
            .iter()
            .map(|node| {
                let mut template = template.clone();
                template::pin(&mut template, node);
                pod_from_template(&template, &ds.metadata.name, &reference)
            })
            .collect();
        self.expectations.set(&ds.metadata.key(), create.len(), delete.iter().cloned());
        let created = pod_control::create_all(&self.controller, subject, &self.expectations, &pods).await;
        pod_control::delete_all(&self.controller, subject, &self.expectations, delete).await?;
        Ok(created?)
    }

    async fn write_status(&self, ds: &DaemonSet, status: &DaemonSetStatus) -> anyhow::Result<()> {
        if *status == ds.status {
            return Ok(());
        }
        let resource = DAEMON_SETS.sub("status");
        write::update(&self.controller, &resource, KIND, &ds.metadata, |object| {
            write::merge(&mut object["status"], status);
        })
        .await?;
        Ok(())
    }
}
