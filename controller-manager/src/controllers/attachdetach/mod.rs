//! Volumes of CSI drivers are attached to the nodes whose pods use them, and detached when none does any more.
//!
//! Watches pods, claims, volumes, drivers, nodes and attachments; the key is the node. An attachment is an object that the
//! driver acts on. A node's kubelet mounts what the node's status has, and says there what is still mounted.

mod plan;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use component_base::client::known::{
    CSI_DRIVERS, NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, VOLUME_ATTACHMENTS,
};
use component_base::client::{DeleteOptions, Patch};
use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api::condition_is_true;
use crate::api::core::{Node, Pod};
use crate::api::storage::{CsiDriver, CsiSource, PersistentVolume, PersistentVolumeClaim, VolumeAttachment};
use crate::common::events::Event;
use crate::common::pods;
use crate::context::{BY_CLAIM, BY_NODE, Controller, Subject, claims_of};
use plan::{View, Wanted};

/// Set by kubelets that leave attaching to this controller.
const MANAGED: &str = "volumes.kubernetes.io/controller-managed-attach-detach";
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// How long a node that is not ready may keep a volume mounted that no pod of its uses.
const UNMOUNT_TIMEOUT: Duration = Duration::from_secs(360);
/// Between two looks at what a kubelet has still mounted; its status comes as an event, but time has none.
const RECHECK: Duration = Duration::from_secs(60);
/// Index of attachments: the node. Index of volumes: the claim.
const BY_ATTACHED_NODE: &str = "attached node";
const BY_VOLUME: &str = "volume";

struct Attacher {
    controller: Arc<Controller>,
    pods: Store<Pod>,
    nodes: Store<Node>,
    claims: Store<PersistentVolumeClaim>,
    volumes: Store<PersistentVolume>,
    drivers: Store<CsiDriver>,
    attachments: Store<VolumeAttachment>,
    queue: Queue<String>,
    /// Since when a node waits for its kubelet to unmount.
    waiting: Mutex<HashMap<String, Instant>>,
    may_force: bool,
}

/// Starts the controller.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let this = Arc::new(Attacher {
        pods: controller.pods_by_claim(),
        nodes: controller.nodes(),
        claims: controller.store(&PERSISTENT_VOLUME_CLAIMS),
        volumes: controller.store(&PERSISTENT_VOLUMES),
        drivers: controller.store(&CSI_DRIVERS),
        attachments: controller.store(&VOLUME_ATTACHMENTS),
        queue: Queue::new("attach_detach"),
        waiting: Mutex::default(),
        may_force: !controller.flags().bool("disable-force-detach-on-timeout"),
        controller: controller.clone(),
    });
    this.attachments.add_index(BY_ATTACHED_NODE, |a| vec![a.spec.node_name.clone()]);
    this.attachments.add_index(BY_VOLUME, |a| a.spec.source.persistent_volume_name.iter().cloned().collect());
    this.subscribe();
    let own = this.clone();
    let ready = async move {
        own.pods.synced().await;
        own.nodes.synced().await;
        own.claims.synced().await;
        own.volumes.synced().await;
        own.drivers.synced().await;
        own.attachments.synced().await;
    };
    let queue = this.queue.clone();
    controller.run(&queue, 10, ready, move |node| {
        let this = this.clone();
        async move { this.sync(&node).await }
    });
    Ok(())
}

/// The name of the attachment of a volume to a node; drivers and kubelets compute it too.
fn attachment_name(source: &CsiSource, node: &str) -> String {
    let digest = Sha256::digest(format!("{}{}{node}", source.volume_handle, source.driver));
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("csi-{hex}")
}

/// The name by which a node's status knows a volume.
fn unique_name(source: &CsiSource) -> String {
    format!("kubernetes.io/csi/{}^{}", source.driver, source.volume_handle)
}

/// Whether its containers have ended, so that it needs no volumes.
fn is_over(pod: &Pod) -> bool {
    let runs = |c: &crate::api::core::ContainerStatus| c.state.running.is_some();
    pods::is_terminal(pod)
        || pod.metadata.is_being_deleted()
            && !pod.status.container_statuses.is_empty()
            && !pod.status.container_statuses.iter().any(runs)
}

impl Attacher {
    fn subscribe(self: &Arc<Self>) {
        let own = self.clone();
        self.pods.subscribe(move |change: &Change<Pod>| {
            for pod in [&change.old, &change.new].into_iter().flatten() {
                if !pod.spec.node_name.is_empty() && claims_of(pod).next().is_some() {
                    own.queue.add(pod.spec.node_name.clone());
                }
            }
        });
        let own = self.clone();
        self.nodes.subscribe(move |change: &Change<Node>| {
            let facts = |n: &Arc<Node>| {
                let (status, managed) = (&n.status, n.metadata.annotations.get(MANAGED).cloned());
                (
                    status.volumes_in_use.clone(),
                    status.volumes_attached.clone(),
                    n.spec.taints.clone(),
                    managed,
                )
            };
            if change.old.as_ref().map(facts) != change.new.as_ref().map(facts) {
                own.queue.add(change.latest().metadata.name.clone());
            }
        });
        let own = self.clone();
        self.claims.subscribe(move |change: &Change<PersistentVolumeClaim>| {
            let bound = |claim: &Arc<PersistentVolumeClaim>| claim.status.phase == "Bound";
            if change.old.as_ref().is_some_and(bound) != change.new.as_ref().is_some_and(bound) {
                for pod in own.pods.by_index(BY_CLAIM, &change.key().to_string()) {
                    own.queue.add(pod.spec.node_name.clone());
                }
            }
        });
        let own = self.clone();
        self.attachments.subscribe(move |change: &Change<VolumeAttachment>| {
            own.queue.add(change.latest().spec.node_name.clone());
            // Another node may wait for it.
            if change.new.is_none() {
                for pod in own.users(&change.latest().spec.source.persistent_volume_name) {
                    own.queue.add(pod.spec.node_name.clone());
                }
            }
        });
    }

    /// The placed pods that use a volume.
    fn users(&self, volume: &Option<String>) -> Vec<Arc<Pod>> {
        let volume = volume.as_ref().and_then(|name| self.volumes.get("", name));
        let Some(claim) = volume.as_ref().and_then(|v| v.spec.claim_ref.as_ref()) else { return Vec::new() };
        let mut pods = self.pods.by_index(BY_CLAIM, &format!("{}/{}", claim.namespace, claim.name));
        pods.retain(|pod| !pod.spec.node_name.is_empty() && !is_over(pod));
        pods
    }

    /// The volumes that the pods of a node need attached.
    fn wanted(&self, node: &str) -> BTreeMap<String, Wanted> {
        let mut wanted: BTreeMap<String, Wanted> = BTreeMap::new();
        for pod in self.pods.by_index(BY_NODE, node).iter().filter(|pod| !is_over(pod)) {
            for key in claims_of(pod) {
                let claim = self.claims.get_key(&key).filter(|claim| claim.status.phase == "Bound");
                let volume = claim.and_then(|claim| {
                    let volume = self.volumes.get("", &claim.spec.volume_name)?;
                    let uid = &volume.spec.claim_ref.as_ref()?.uid;
                    (*uid == claim.metadata.uid).then_some(volume)
                });
                let Some((volume, source)) = volume.and_then(|v| Some((v.clone(), v.spec.csi.clone()?)))
                else {
                    continue;
                };
                let driver = self.drivers.get("", &source.driver);
                if driver.is_some_and(|driver| driver.spec.attach_required == Some(false)) {
                    continue;
                }
                let entry = wanted
                    .entry(attachment_name(&source, node))
                    .or_insert_with(|| Wanted { volume, pods: BTreeSet::new() });
                entry.pods.insert((pod.metadata.namespace.clone(), pod.metadata.name.clone()));
            }
        }
        wanted
    }

    /// The attachments of a node that bear the names that this controller gives.
    fn attachments(&self, node: &str) -> Vec<Arc<VolumeAttachment>> {
        let with_name = |attachment: Arc<VolumeAttachment>| {
            let volume = self.volumes.get("", attachment.spec.source.persistent_volume_name.as_ref()?)?;
            let source = volume.spec.csi.as_ref()?;
            (attachment_name(source, node) == attachment.metadata.name).then(|| {
                let mut attachment = VolumeAttachment::clone(&attachment);
                attachment.unique_name = Some(unique_name(source));
                Arc::new(attachment)
            })
        };
        self.attachments.by_index(BY_ATTACHED_NODE, node).into_iter().filter_map(with_name).collect()
    }

    /// The volumes of these that another node has, and the pods that use them there.
    fn elsewhere(
        &self,
        node: &str,
        wanted: &BTreeMap<String, Wanted>,
    ) -> BTreeMap<String, Vec<(String, String)>> {
        let mut found = BTreeMap::new();
        for volume in wanted.values().map(|wanted| &wanted.volume.metadata.name) {
            if self.attachments.by_index(BY_VOLUME, volume).iter().any(|a| a.spec.node_name != node) {
                let users =
                    self.users(&Some(volume.clone())).into_iter().filter(|pod| pod.spec.node_name != node);
                let names = users.map(|pod| (pod.metadata.namespace.clone(), pod.metadata.name.clone()));
                found.insert(volume.clone(), names.collect());
            }
        }
        found
    }

    /// Whether a volume may be taken from a node whose kubelet hasn't unmounted it.
    fn may_force(&self, name: &str, node: &Node) -> bool {
        if node.spec.taints.iter().any(|taint| taint.key == OUT_OF_SERVICE) {
            return true;
        }
        let since = self.waiting.lock().get(name).copied();
        self.may_force
            && !condition_is_true(&node.status.conditions, "Ready")
            && since.is_some_and(|since| since.elapsed() > UNMOUNT_TIMEOUT)
    }

    async fn sync(&self, name: &str) -> anyhow::Result<Next> {
        let attachments = self.attachments(name);
        let gone;
        let node = match self.nodes.get("", name) {
            Some(node) if node.metadata.annotations.get(MANAGED).is_none_or(|v| v != "true") => {
                return Ok(Next::Done);
            }
            Some(node) => node,
            // What a node had that is gone is let go.
            None => {
                gone = Arc::new(Node::default());
                gone
            }
        };
        let is_there = !node.metadata.name.is_empty();
        let wanted = if is_there { self.wanted(name) } else { BTreeMap::new() };
        let elsewhere = self.elsewhere(name, &wanted);
        let view = View { node: &node, wanted: &wanted, attachments: &attachments, elsewhere: &elsewhere };
        let plan = plan::plan(&view, self.may_force(name, &node));
        if plan.waiting {
            self.waiting.lock().entry(name.into()).or_insert_with(Instant::now);
        } else {
            self.waiting.lock().remove(name);
        }
        for (attachment, text) in &plan.blocked {
            self.tell_pods(&wanted[attachment], &Event::warning("FailedAttachVolume", text.as_str()));
        }
        let client = &self.controller.client;
        for attachment in &plan.attach {
            let object = new_attachment(attachment, name, &wanted[attachment]);
            match client.create::<Value>(&VOLUME_ATTACHMENTS, "", &object).await {
                Err(error) if !error.is_already_exists() => {
                    let volume = &wanted[attachment].volume.metadata.name;
                    let text = format!("AttachVolume.Attach failed for volume {volume:?} : {error}");
                    self.tell_pods(&wanted[attachment], &Event::warning("FailedAttachVolume", text));
                    return Err(error.into());
                }
                _ => {}
            }
        }
        if let Some(attached) = plan.attached.filter(|_| is_there) {
            self.tell_attached(&node, &attached, &wanted, &attachments);
            // The node lets go of nothing that its status still has.
            let patch = json!({"status": {"volumesAttached": attached}});
            client.patch::<Value>(&NODES.sub("status"), "", name, Patch::Merge, &patch).await?;
        }
        for attachment in &attachments {
            if let (Some(wanted), Some(error)) =
                (wanted.get(&attachment.metadata.name), &attachment.status.attach_error)
                && !attachment.status.attached
            {
                let volume = &wanted.volume.metadata.name;
                let text = format!("AttachVolume.Attach failed for volume {volume:?} : {}", error.message);
                self.tell_pods(wanted, &Event::warning("FailedAttachVolume", text));
            }
        }
        for attachment in &plan.detach {
            let options = DeleteOptions::uid(&attachment.metadata.uid);
            match client.delete(&VOLUME_ATTACHMENTS, "", &attachment.metadata.name, &options).await {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
        }
        Ok(if plan.waiting { Next::After(RECHECK) } else { Next::Done })
    }

    fn tell_pods(&self, wanted: &Wanted, event: &Event) {
        for (namespace, name) in &wanted.pods {
            if let Some(pod) = self.pods.get(namespace, name) {
                self.controller.record(&Subject::new("v1", "Pod", &pod.metadata), event);
            }
        }
    }

    /// Tells the pods whose volumes have just been attached.
    fn tell_attached(
        &self,
        node: &Node,
        attached: &[crate::api::core::AttachedVolume],
        wanted: &BTreeMap<String, Wanted>,
        attachments: &[Arc<VolumeAttachment>],
    ) {
        for new in attached.iter().filter(|volume| !node.status.volumes_attached.contains(volume)) {
            let attachment = attachments.iter().find(|a| a.volume_name().as_ref() == Some(&new.name));
            if let Some(wanted) = attachment.and_then(|a| wanted.get(&a.metadata.name)) {
                let volume = &wanted.volume.metadata.name;
                let text = format!("AttachVolume.Attach succeeded for volume {volume:?} ");
                self.tell_pods(wanted, &Event::normal("SuccessfulAttachVolume", text));
            }
        }
    }
}

fn new_attachment(name: &str, node: &str, wanted: &Wanted) -> Value {
    let driver = wanted.volume.spec.csi.as_ref().map(|source| source.driver.as_str()).unwrap_or_default();
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "VolumeAttachment",
        "metadata": {"name": name},
        "spec": {
            "attacher": driver,
            "nodeName": node,
            "source": {"persistentVolumeName": wanted.volume.metadata.name},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_upstreams() {
        let source = CsiSource { driver: "testDriver".into(), volume_handle: "volume-1".into() };
        assert_eq!(unique_name(&source), "kubernetes.io/csi/testDriver^volume-1");
        let name = attachment_name(&source, "node-1");
        assert_eq!((name.len(), &name[..4]), (68, "csi-"));
        assert_ne!(name, attachment_name(&source, "node-2"));
    }
}
