//! Binds claims to volumes, asks for volumes where there are none, and looks after those that nobody claims any more.
//!
//! Watches volumes, claims, storage classes and pods. A binding is four writes, in this order: the volume refers to the
//! claim, the volume is bound, the claim refers to the volume, the claim is bound. Each can be lost; the next look goes on
//! from what is there.

mod matching;
mod plan;
mod writes;

use std::fmt;
use std::sync::Arc;

use component_base::client::known::{PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES};
use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store};
use proto::meta::Key;

use crate::api::core::Pod;
use crate::api::storage::{PersistentVolume, PersistentVolumeClaim, StorageClass};
use crate::common::events::Event;
use crate::common::pods;
use crate::context::{BY_CLAIM, Controller, Subject};
use plan::{ClaimPlan, Reclaim, View, VolumePlan};

/// What is looked at. One worker looks, so that no two claims get the same volume.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Item {
    Volume(Box<str>),
    Claim(Key),
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Volume(name) => f.write_str(name),
            Item::Claim(key) => key.fmt(f),
        }
    }
}

struct Binder {
    controller: Arc<Controller>,
    volumes: Store<PersistentVolume>,
    claims: Store<PersistentVolumeClaim>,
    classes: Store<StorageClass>,
    pods: Store<Pod>,
    queue: Queue<Item>,
    dynamic: bool,
}

/// Starts the controller.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let this = Arc::new(Binder {
        volumes: controller.store(&PERSISTENT_VOLUMES),
        claims: controller.store(&PERSISTENT_VOLUME_CLAIMS),
        classes: controller.store(&STORAGE_CLASSES),
        pods: controller.pods_by_claim(),
        queue: Queue::new("volumes"),
        dynamic: controller.flags().bool("enable-dynamic-provisioning"),
        controller: controller.clone(),
    });
    let own = this.clone();
    this.volumes.subscribe(move |change: &Change<PersistentVolume>| own.on_volume(change));
    let own = this.clone();
    this.claims.subscribe(move |change: &Change<PersistentVolumeClaim>| {
        own.queue.add(Item::Claim(change.key()));
        let claim = change.latest();
        let volume = change.old.as_ref().map_or(&claim.spec.volume_name, |old| &old.spec.volume_name);
        for name in [volume, &claim.spec.volume_name].into_iter().filter(|name| !name.is_empty()) {
            own.queue.add(Item::Volume(name.as_str().into()));
        }
    });
    let own = this.clone();
    this.classes.subscribe(move |_: &Change<StorageClass>| own.wake_unbound());
    let own = this.clone();
    let ready = async move {
        own.volumes.synced().await;
        own.claims.synced().await;
        own.classes.synced().await;
        own.pods.synced().await;
    };
    let queue = this.queue.clone();
    controller.run(&queue, 1, ready, move |item| {
        let this = this.clone();
        async move {
            match item {
                Item::Claim(key) => this.sync_claim(&key).await,
                Item::Volume(name) => this.sync_volume(&name).await,
            }
        }
    });
    Ok(())
}

impl Binder {
    fn on_volume(&self, change: &Change<PersistentVolume>) {
        self.queue.add(Item::Volume(change.latest().metadata.name.as_str().into()));
        for volume in [&change.old, &change.new].into_iter().flatten() {
            if let Some(reference) = &volume.spec.claim_ref {
                self.queue.add(Item::Claim(Key::new(reference.namespace.as_str(), reference.name.as_str())));
            }
        }
        let free = |v: &Arc<PersistentVolume>| v.spec.claim_ref.is_none() && v.status.phase == "Available";
        if change.new.as_ref().is_some_and(free) || change.new.is_none() {
            self.wake_unbound();
        }
    }

    /// Claims without a volume look again.
    fn wake_unbound(&self) {
        self.claims.for_each(|claim| {
            if claim.status.phase != "Bound" {
                self.queue.add(Item::Claim(claim.metadata.key()));
            }
        });
    }

    fn record_claim(&self, claim: &PersistentVolumeClaim, event: &Event) {
        self.controller.record(&Subject::new("v1", "PersistentVolumeClaim", &claim.metadata), event);
    }

    fn record_volume(&self, volume: &PersistentVolume, event: &Event) {
        self.controller.record(&Subject::new("v1", "PersistentVolume", &volume.metadata), event);
    }

    async fn sync_claim(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(cached) = self.claims.get_key(key) else { return Ok(Next::Done) };
        let (volumes, classes) = (self.volumes.list(), self.classes.list());
        let view = View { volumes: &volumes, classes: &classes, dynamic: self.dynamic };
        let mut claim = PersistentVolumeClaim::clone(&cached);
        match plan::claim(&claim, &view) {
            ClaimPlan::Bind(volume) => self.bind(&volume, claim).await?,
            ClaimPlan::Pending(event) => {
                if let Some(event) = event {
                    self.record_claim(&claim, &event);
                }
                self.set_claim_phase(&mut claim, "Pending", None).await?;
            }
            ClaimPlan::WaitForConsumer => {
                self.record_claim(&claim, &self.waiting_for(key));
                self.set_claim_phase(&mut claim, "Pending", None).await?;
            }
            ClaimPlan::Lost(event) => {
                if self.set_claim_phase(&mut claim, "Lost", None).await? {
                    self.record_claim(&claim, &event);
                }
            }
            ClaimPlan::SetClass(class) => self.set_class(&mut claim, &class).await?,
            ClaimPlan::Provision(provisioner) => self.ask_for_volume(&mut claim, &provisioner).await?,
            ClaimPlan::Stuck(event) => self.record_claim(&claim, &event),
        }
        Ok(Next::Done)
    }

    /// Says which pods a claim waits for.
    fn waiting_for(&self, key: &Key) -> Event {
        let mut names: Vec<String> = self
            .pods
            .by_index(BY_CLAIM, &key.to_string())
            .iter()
            .filter(|pod| pod.spec.node_name.is_empty() && !pods::is_terminal(pod))
            .map(|pod| pod.metadata.name.clone())
            .collect();
        names.sort();
        match names.as_slice() {
            [] => Event::normal(
                "WaitForFirstConsumer",
                "waiting for first consumer to be created before binding",
            ),
            [one] => Event::normal("WaitForPodScheduled", format!("waiting for pod {one} to be scheduled")),
            all => Event::normal(
                "WaitForPodScheduled",
                format!("waiting for pods {} to be scheduled", all.join(",")),
            ),
        }
    }

    async fn sync_volume(&self, name: &str) -> anyhow::Result<Next> {
        let Some(cached) = self.volumes.get("", name) else { return Ok(Next::Done) };
        let mut volume = PersistentVolume::clone(&cached);
        let claim = self.claim_of(&volume).await?;
        match plan::volume(&volume, claim.as_ref()) {
            VolumePlan::Phase(phase) => drop(self.set_volume_phase(&mut volume, phase, "").await?),
            VolumePlan::WakeClaim => {
                if let Some(claim) = &claim {
                    self.queue.add(Item::Claim(claim.metadata.key()));
                }
            }
            VolumePlan::Mismatch(of_volume, of_claim) => {
                self.record_volume(&volume, &of_volume);
                if let Some(claim) = &claim {
                    self.record_claim(claim, &of_claim);
                }
            }
            VolumePlan::Unbind { keep_name } => self.unbind(&mut volume, keep_name).await?,
            VolumePlan::Release(reclaim) => {
                if !matches!(&*volume.status.phase, "Released" | "Failed") {
                    self.set_volume_phase(&mut volume, "Released", "").await?;
                }
                self.reclaim(&mut volume, reclaim).await?;
            }
        }
        Ok(Next::Done)
    }

    /// The claim that a volume refers to. Before a volume is given up, the server is asked: caches of two kinds don't move
    /// together.
    async fn claim_of(&self, volume: &PersistentVolume) -> anyhow::Result<Option<PersistentVolumeClaim>> {
        let Some(reference) = volume.spec.claim_ref.as_ref().filter(|r| !r.uid.is_empty()) else {
            return Ok(None);
        };
        let cached = self.claims.get(&reference.namespace, &reference.name);
        if let Some(claim) = cached.filter(|claim| claim.metadata.uid == reference.uid) {
            return Ok(Some(PersistentVolumeClaim::clone(&claim)));
        }
        let client = &self.controller.client;
        match client.get(&PERSISTENT_VOLUME_CLAIMS, &reference.namespace, &reference.name).await {
            Ok(claim) => Ok(Some(claim)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn reclaim(&self, volume: &mut PersistentVolume, reclaim: Reclaim) -> anyhow::Result<()> {
        let event = match reclaim {
            Reclaim::Nothing => return Ok(()),
            Reclaim::Fail(event) => event,
            Reclaim::DeleteHostPath(path) => {
                let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(path)).await?;
                match removed {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        Event::warning("VolumeFailedDelete", error.to_string())
                    }
                    _ => return self.delete_volume(volume).await,
                }
            }
        };
        if self.set_volume_phase(volume, "Failed", &event.message).await? {
            self.record_volume(volume, &event);
        }
        Ok(())
    }
}
