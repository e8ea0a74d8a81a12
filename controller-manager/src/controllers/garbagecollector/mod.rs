//! Objects whose owners are gone are deleted, and owners wait for their objects where they must.
//!
//! Watches the metadata of everything that can be deleted. The graph is kept by one lock; what it says
//! must be looked at goes to two queues, and is decided on live objects.

mod graph;
mod plan;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use component_base::client::{DeleteOptions, Error, Patch, Preconditions, Resource};
use component_base::queue::{Next, Queue};
use parking_lot::Mutex;
use proto::meta::{ObjectMeta, OwnerReference};
use serde_json::{Value, json};

use crate::api::core::{Metadata, OwnedMeta};
use crate::common::kinds::Kinds;
use crate::context::Controller;
use graph::{FOREGROUND, Graph, Node, ORPHAN, Place, Uid, Work};
use plan::{Owner, Plan};

/// Owners known to be gone are remembered, up to this many.
const ABSENT_LIMIT: usize = 500;

/// When an owner of a kind that the server doesn't have is looked at again.
const UNKNOWN_KIND_RETRY: Duration = Duration::from_secs(30);

struct Collector {
    controller: Arc<Controller>,
    graph: Mutex<Graph>,
    absent: Mutex<HashSet<Uid>>,
    kinds: Arc<Kinds>,
    delete: Queue<Uid>,
    orphan: Queue<Uid>,
}

/// Starts the controller.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    if !controller.flags().bool("enable-garbage-collector") {
        return Ok(());
    }
    let workers = usize::try_from(controller.flags().int("concurrent-gc-syncs")).unwrap_or(20);
    let this = Arc::new(Collector {
        graph: Mutex::default(),
        absent: Mutex::default(),
        kinds: controller.kinds(),
        delete: Queue::new("garbage_collector_attempt_to_delete"),
        orphan: Queue::new("garbage_collector_attempt_to_orphan"),
        controller: controller.clone(),
    });
    let own = this.clone();
    this.kinds.subscribe(move |kind, change| {
        let old = change.old.as_deref().map(|object| &object.metadata);
        let new = change.new.as_deref().map(|object| &object.metadata);
        own.on_change(&kind.api_version, &kind.name, old, new);
    });
    let own = this.clone();
    let ready = async move { own.kinds.synced().await };
    let own = this.clone();
    controller.run(&this.delete, workers, ready, move |uid| {
        let own = own.clone();
        async move { own.attempt_delete(&uid).await }
    });
    let own = this.clone();
    let ready = async move { own.kinds.synced().await };
    let (queue, own2) = (this.orphan.clone(), this);
    controller.run(&queue, workers, ready, move |uid| {
        let own = own2.clone();
        async move { own.attempt_orphan(&uid).await }
    });
    Ok(())
}

impl Collector {
    fn enqueue(&self, work: Work) {
        work.delete.into_iter().for_each(|uid| self.delete.add(uid));
        work.orphan.into_iter().for_each(|uid| self.orphan.add(uid));
    }

    /// An event of a watched kind.
    fn on_change(
        &self,
        api_version: &Arc<str>,
        kind: &Arc<str>,
        old: Option<&OwnedMeta>,
        new: Option<&OwnedMeta>,
    ) {
        let mut work = Work::default();
        let mut graph = self.graph.lock();
        let replaced = old.filter(|old| new.is_none_or(|new| new.uid != old.uid));
        if let Some(gone) = replaced {
            self.note_absent(&gone.uid);
            work = graph.forget(&gone.uid);
        }
        if let Some(new) = new {
            let more = graph.observe(api_version, kind, new);
            work.delete.extend(more.delete);
            work.orphan.extend(more.orphan);
        }
        drop(graph);
        self.enqueue(work);
    }

    fn note_absent(&self, uid: &str) {
        let mut absent = self.absent.lock();
        if absent.len() >= ABSENT_LIMIT {
            absent.clear();
        }
        absent.insert(uid.into());
    }

    fn gone(&self, uid: &Uid) {
        self.note_absent(uid);
        let work = self.graph.lock().forget(uid);
        self.enqueue(work);
    }

    /// The resource of a place, and the namespace in which to look.
    fn locate(&self, place: &Place) -> Option<(Resource, String)> {
        let resource = self.kinds.resource(&place.api_version, &place.kind)?;
        let namespace = if resource.namespaced { place.namespace.to_string() } else { String::new() };
        Some((resource, namespace))
    }

    /// The live metadata of an object, if it is still the same one.
    async fn live(&self, place: &Place, uid: &str) -> anyhow::Result<Option<(Resource, ObjectMeta)>> {
        let Some((resource, namespace)) = self.locate(place) else {
            anyhow::bail!("no matches for kind \"{}\" in version \"{}\"", place.kind, place.api_version);
        };
        if resource.namespaced && namespace.is_empty() {
            return Ok(None);
        }
        let client = &self.controller.client;
        match client.get::<Metadata>(&resource, &namespace, &place.name).await {
            Ok(object) if object.metadata.uid == uid => Ok(Some((resource, object.metadata))),
            Ok(_) => Ok(None),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn attempt_delete(&self, uid: &Uid) -> anyhow::Result<Next> {
        let node = self.graph.lock().get(uid).cloned();
        let Some(node) = node else { return Ok(Next::Done) };
        if node.is_virtual {
            if self.kinds.resource(&node.place.api_version, &node.place.kind).is_none() {
                // A kind that the server doesn't have (yet): its objects can't be judged.
                tracing::debug!(kind = %node.place.kind, "An owner of unknown kind is left alone");
                return Ok(Next::After(UNKNOWN_KIND_RETRY));
            }
            match self.live(&node.place, uid).await? {
                None => self.gone(uid),
                Some(_) => self.graph.lock().exists(uid),
            }
            return Ok(Next::Done);
        }
        let Some((resource, live)) = self.live(&node.place, uid).await? else {
            self.gone(uid);
            return Ok(Next::Done);
        };
        let deleting_dependents = live.is_being_deleted() && live.finalizers.iter().any(|f| f == FOREGROUND);
        if deleting_dependents {
            return self.finish_foreground(uid, &resource, &live).await;
        }
        if live.is_being_deleted() || live.owner_references.is_empty() {
            return Ok(Next::Done);
        }
        let mut states = Vec::with_capacity(live.owner_references.len());
        for owner in &live.owner_references {
            states.push((owner.uid.clone(), self.owner_state(&node, owner).await?));
        }
        let state = |o: &OwnerReference| {
            states.iter().find(|(uid, _)| *uid == o.uid).map_or(Owner::Solid, |(_, s)| *s)
        };
        let dependents = self.dependents(uid);
        let view = plan::View {
            owners: &live.owner_references,
            finalizers: &live.finalizers,
            has_dependents: !dependents.is_empty(),
            dependent_waits: dependents.iter().any(|(_, n)| n.waits_for_dependents()),
        };
        match plan::plan(&view, state) {
            Plan::Keep => Ok(Next::Done),
            Plan::DropOwners(uids) => {
                self.drop_owners(&resource, &live, &uids).await?;
                Ok(Next::Done)
            }
            Plan::Delete { policy, unblock } => {
                if unblock {
                    self.unblock(&resource, &live).await?;
                }
                self.delete(&resource, &live, policy).await?;
                Ok(Next::Done)
            }
        }
    }

    fn dependents(&self, uid: &str) -> Vec<(Uid, Node)> {
        self.graph.lock().dependents(uid).into_iter().map(|(u, n)| (u, n.clone())).collect()
    }

    /// An owner that waits is let go once nothing blocks it; until then its dependents are looked at.
    async fn finish_foreground(
        &self,
        uid: &Uid,
        resource: &Resource,
        live: &ObjectMeta,
    ) -> anyhow::Result<Next> {
        let dependents = self.dependents(uid);
        let blocking: Vec<&(Uid, Node)> = dependents.iter().filter(|(_, n)| n.blocks(uid)).collect();
        if blocking.is_empty() {
            self.remove_finalizer(resource, live, FOREGROUND).await?;
            return Ok(Next::Done);
        }
        for (dependent, node) in blocking {
            if !node.waits_for_dependents() {
                self.delete.add(dependent.clone());
            }
        }
        Ok(Next::Done)
    }

    async fn owner_state(&self, node: &Node, owner: &OwnerReference) -> anyhow::Result<Owner> {
        if self.absent.lock().contains(owner.uid.as_str()) {
            return Ok(Owner::Gone);
        }
        let place = Place {
            api_version: owner.api_version.as_str().into(),
            kind: owner.kind.as_str().into(),
            namespace: node.place.namespace.clone(),
            name: owner.name.as_str().into(),
        };
        Ok(match self.live(&place, &owner.uid).await? {
            None => {
                self.note_absent(&owner.uid);
                Owner::Gone
            }
            Some((_, live)) => {
                let waits = live.is_being_deleted() && live.finalizers.iter().any(|f| f == FOREGROUND);
                if waits { Owner::Waiting } else { Owner::Solid }
            }
        })
    }

    /// Lets go of the dependents of an owner that asks for it, then of the owner.
    async fn attempt_orphan(&self, uid: &Uid) -> anyhow::Result<Next> {
        let node = self.graph.lock().get(uid).cloned();
        let Some(node) = node else { return Ok(Next::Done) };
        for (dependent, node) in self.dependents(uid) {
            if let Some((resource, live)) = self.live(&node.place, &dependent).await? {
                self.drop_owners(&resource, &live, &[uid.to_string()]).await?;
            }
        }
        if let Some((resource, live)) = self.live(&node.place, uid).await? {
            self.remove_finalizer(&resource, &live, ORPHAN).await?;
        }
        Ok(Next::Done)
    }

    async fn patch(&self, resource: &Resource, live: &ObjectMeta, patch: &Value) -> Result<(), Error> {
        let client = &self.controller.client;
        let outcome =
            client.patch::<Metadata>(resource, &live.namespace, &live.name, Patch::Merge, patch).await;
        match outcome {
            Err(error) if error.is_not_found() => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// A patch that holds only for the revision that was read; lists are replaced as a whole.
    fn guarded(live: &ObjectMeta, key: &str, value: Value) -> Value {
        json!({"metadata": {"uid": live.uid, "resourceVersion": live.resource_version, key: value}})
    }

    async fn drop_owners(
        &self,
        resource: &Resource,
        live: &ObjectMeta,
        uids: &[String],
    ) -> Result<(), Error> {
        let kept: Vec<&OwnerReference> =
            live.owner_references.iter().filter(|o| !uids.contains(&o.uid)).collect();
        if kept.len() == live.owner_references.len() {
            return Ok(());
        }
        self.patch(resource, live, &Self::guarded(live, "ownerReferences", json!(kept))).await
    }

    async fn unblock(&self, resource: &Resource, live: &ObjectMeta) -> anyhow::Result<()> {
        let mut owners = live.owner_references.clone();
        owners.iter_mut().for_each(|o| o.block_owner_deletion = o.block_owner_deletion.map(|_| false));
        self.patch(resource, live, &Self::guarded(live, "ownerReferences", json!(owners))).await?;
        Ok(())
    }

    async fn remove_finalizer(
        &self,
        resource: &Resource,
        live: &ObjectMeta,
        name: &str,
    ) -> anyhow::Result<()> {
        let kept: Vec<&String> = live.finalizers.iter().filter(|f| *f != name).collect();
        if kept.len() < live.finalizers.len() {
            self.patch(resource, live, &Self::guarded(live, "finalizers", json!(kept))).await?;
        }
        Ok(())
    }

    async fn delete(
        &self,
        resource: &Resource,
        live: &ObjectMeta,
        policy: &'static str,
    ) -> anyhow::Result<()> {
        let options = DeleteOptions {
            propagation_policy: Some(policy),
            grace_period_seconds: None,
            // An object that got new owners meanwhile must stay.
            preconditions: Some(Preconditions {
                uid: Some(live.uid.clone()),
                resource_version: Some(live.resource_version.clone()),
            }),
        };
        let client = &self.controller.client;
        match client.delete(resource, &live.namespace, &live.name, &options).await {
            Err(error) if error.is_not_found() => Ok(()),
            outcome => Ok(outcome?),
        }
    }
}
