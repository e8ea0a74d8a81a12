//! Registers the node, keeps its status and its lease.

use super::info::Info;
use super::machine::{self, Machine};
use super::status::{self, Inputs, Pressure};
use crate::api::now;
use crate::config::KubeletConfiguration;
use crate::kubelet::Kubelet;
use crate::resources::List;
use component_base::client::known::{LEASES, NODES};
use component_base::client::{Client, Error, Patch};
use component_base::events::EventType::{Normal, Warning};
use component_base::watch::{Informers, Object, Store, Watch};
use k8s_openapi::api::core::v1::{ContainerImage, Node, NodeStatus, Taint};
use parking_lot::Mutex;
use proto::cri;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Attaching is left to the controller manager.
const ATTACH: &str = "volumes.kubernetes.io/controller-managed-attach-detach";
/// What the administrator chose as the node's address, for a cloud's controller to heed.
const PROVIDED_IP: &str = "alpha.kubernetes.io/provided-node-ip";
const UNINITIALIZED: &str = "node.cloudprovider.kubernetes.io/uninitialized";

/// What the flags say about the node.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The node's name.
    pub name: String,
    /// The host's name.
    pub hostname: String,
    /// The node's addresses, the main one first.
    pub node_ips: Vec<IpAddr>,
    /// Labels of a new node.
    pub labels: BTreeMap<String, String>,
    /// Taints of a new node.
    pub taints: Vec<Taint>,
    /// A cloud's controller initializes the node.
    pub external_cloud: bool,
}

/// The node's own object, as the watch keeps it.
pub struct Watched(pub Arc<Node>);

impl Object for Watched {
    fn namespace(&self) -> &str {
        ""
    }
    fn name(&self) -> &str {
        self.0.metadata.name.as_deref().unwrap_or_default()
    }
    fn uid(&self) -> &str {
        self.0.metadata.uid.as_deref().unwrap_or_default()
    }
    fn resource_version(&self) -> &str {
        self.0.metadata.resource_version.as_deref().unwrap_or_default()
    }
}

fn read(bytes: &[u8]) -> Result<Watched, serde_json::Error> {
    let mut node: Node = serde_json::from_slice(bytes)?;
    node.metadata.managed_fields = None;
    Ok(Watched(Arc::new(node)))
}

/// Keeps the Node object.
pub struct Keeper {
    kubelet: Arc<Kubelet>,
    client: Client,
    options: Options,
    machine: Machine,
    capacity: List,
    allocatable: List,
    pressure: Arc<Mutex<Pressure>>,
    changed: Arc<Notify>,
}

impl Keeper {
    /// Keeps the node as these options and facts say.
    pub fn new(
        kubelet: Arc<Kubelet>,
        client: Client,
        options: Options,
        machine: Machine,
        capacity: List,
        allocatable: List,
        pressure: Arc<Mutex<Pressure>>,
        changed: Arc<Notify>,
    ) -> Keeper {
        Keeper { kubelet, client, options, machine, capacity, allocatable, pressure, changed }
    }

    fn config(&self) -> &KubeletConfiguration {
        &self.kubelet.settings.config
    }

    /// Registers the node and keeps its status until the process ends.
    pub async fn run(self: Arc<Self>) -> anyhow::Result<()> {
        if self.config().register_node {
            self.register().await;
        }
        let mut reported: Option<Instant> = None;
        let report_every =
            self.config().node_status_report_frequency.map_or(Duration::from_secs(300), |d| d.to_std());
        loop {
            let due = reported.is_none_or(|at| at.elapsed() >= report_every);
            match self.report(due).await {
                Ok(true) => reported = Some(Instant::now()),
                Ok(false) => {}
                Err(e) => tracing::error!(error = %e, "Error updating node status, will retry"),
            }
            let every = self.config().node_status_update_frequency.to_std();
            tokio::time::timeout(every, self.changed.notified()).await.ok();
        }
    }

    async fn register(&self) {
        let mut wait = Duration::from_millis(100);
        loop {
            match self.try_register().await {
                Ok(()) => {
                    tracing::info!(node = self.options.name, "Successfully registered node");
                    return;
                }
                Err(e) => {
                    tracing::error!(node = self.options.name, error = %e, "Unable to register node with API server")
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(7));
        }
    }

    async fn try_register(&self) -> Result<(), Error> {
        let initial = self.initial().await;
        match self.client.create::<Node>(&NODES, "", &initial).await {
            Ok(_) => Ok(()),
            Err(e) if e.is_already_exists() => {
                tracing::info!(node = self.options.name, "Node was previously registered");
                self.reconcile(&initial).await
            }
            Err(e) => Err(e),
        }
    }

    fn default_labels(&self) -> BTreeMap<String, String> {
        let arch = component_base::version::arch();
        let mut labels = BTreeMap::from([
            ("kubernetes.io/hostname".to_string(), self.options.hostname.clone()),
            ("kubernetes.io/os".to_string(), "linux".to_string()),
            ("kubernetes.io/arch".to_string(), arch.to_string()),
            ("beta.kubernetes.io/os".to_string(), "linux".to_string()),
            ("beta.kubernetes.io/arch".to_string(), arch.to_string()),
        ]);
        labels.extend(self.options.labels.clone());
        labels
    }

    async fn initial(&self) -> Node {
        let mut taints = self.options.taints.clone();
        if self.options.external_cloud {
            taints.push(Taint {
                key: UNINITIALIZED.into(),
                value: Some("true".into()),
                effect: "NoSchedule".into(),
                time_added: None,
            });
        }
        let mut annotations = BTreeMap::new();
        if self.config().enable_controller_attach_detach {
            annotations.insert(ATTACH.to_string(), "true".to_string());
        }
        if let Some(ips) = self.provided_ips() {
            annotations.insert(PROVIDED_IP.to_string(), ips);
        }
        let mut node = Node::default();
        node.metadata.name = Some(self.options.name.clone());
        node.metadata.labels = Some(self.default_labels());
        node.metadata.annotations = (!annotations.is_empty()).then_some(annotations);
        let spec = node.spec.get_or_insert_default();
        spec.taints = (!taints.is_empty()).then_some(taints);
        let provider = &self.config().provider_id;
        spec.provider_id = (!provider.is_empty()).then(|| provider.clone());
        node.status = Some(self.status(&NodeStatus::default()).await);
        node
    }

    fn provided_ips(&self) -> Option<String> {
        let given = self.options.external_cloud && !self.options.node_ips.is_empty();
        given.then(|| self.options.node_ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
    }

    /// A node that was there already keeps what others wrote; labels and the annotation of ours follow.
    async fn reconcile(&self, initial: &Node) -> Result<(), Error> {
        let existing: Node = self.client.get(&NODES, "", &self.options.name).await?;
        let labels = existing.metadata.labels.clone().unwrap_or_default();
        const OWN: &[&str] = &[
            "kubernetes.io/hostname",
            "kubernetes.io/os",
            "kubernetes.io/arch",
            "beta.kubernetes.io/os",
            "beta.kubernetes.io/arch",
            "topology.kubernetes.io/zone",
            "topology.kubernetes.io/region",
            "failure-domain.beta.kubernetes.io/zone",
            "failure-domain.beta.kubernetes.io/region",
            "node.kubernetes.io/instance-type",
            "beta.kubernetes.io/instance-type",
        ];
        let wanted = initial.metadata.labels.iter().flatten();
        let changed: BTreeMap<_, _> =
            wanted.filter(|(k, v)| OWN.contains(&k.as_str()) && labels.get(*k) != Some(v)).collect();
        let annotation =
            |node: &Node, key: &str| node.metadata.annotations.as_ref().and_then(|a| a.get(key).cloned());
        let mut annotations = serde_json::Map::new();
        for key in [ATTACH, PROVIDED_IP] {
            let want = annotation(initial, key);
            if annotation(&existing, key) != want && (key == ATTACH || want.is_some()) {
                annotations.insert(key.into(), want.map_or(Value::Null, Value::String));
            }
        }
        if changed.is_empty() && annotations.is_empty() {
            return Ok(());
        }
        let patch = json!({ "metadata": { "labels": changed, "annotations": annotations } });
        let node = &self.options.name;
        self.client.patch::<serde::de::IgnoredAny>(&NODES, "", node, Patch::Strategic, &patch).await.map(drop)
    }

    /// Writes the status if it changed or is due; tells whether it did.
    async fn report(&self, due: bool) -> Result<bool, Error> {
        let node: Node = match self.kubelet.own_node() {
            Some(node) => Node::clone(&node),
            None => self.client.get(&NODES, "", &self.options.name).await?,
        };
        let old = node.status.clone().unwrap_or_default();
        let new = self.status(&old).await;
        let changed = status::differs(&old, &new);
        if !changed && !due {
            return Ok(false);
        }
        self.tell_readiness(&old, &new);
        let patch = status::patch(&node, &new);
        let sub = NODES.sub("status");
        let written: Node = self.client.patch(&sub, "", &self.options.name, Patch::Strategic, &patch).await?;
        if let Some(store) = self.kubelet.node_store.as_ref() {
            // The watch will bring it too, but perhaps only after the next look.
            store.apply(Watched(Arc::new(written)));
        }
        Ok(true)
    }

    fn tell_readiness(&self, old: &NodeStatus, new: &NodeStatus) {
        let ready = |s: &NodeStatus| {
            s.conditions.iter().flatten().find(|c| c.type_ == "Ready").map(|c| c.status == "True")
        };
        let name = &self.options.name;
        match (ready(old), ready(new)) {
            (Some(true), Some(false)) => {
                self.kubelet.events.node(
                    Normal,
                    "NodeNotReady",
                    format!("Node {name} status is now: NodeNotReady"),
                );
            }
            (Some(false), Some(true)) => {
                self.kubelet.events.node(
                    Normal,
                    "NodeReady",
                    format!("Node {name} status is now: NodeReady"),
                );
            }
            _ => {}
        }
        let boot = |s: &NodeStatus| s.node_info.as_ref().map(|i| i.boot_id.clone()).unwrap_or_default();
        if !boot(old).is_empty() && boot(old) != boot(new) {
            let text = format!("Node {name} has been rebooted, boot id: {}", boot(new));
            self.kubelet.events.node(Warning, "Rebooted", text);
        }
    }

    async fn status(&self, old: &NodeStatus) -> NodeStatus {
        let (addresses, not_ready, features) =
            (self.addresses(), self.look_at_runtime().await, self.kubelet.info.get());
        let inputs = Inputs {
            machine: &self.machine,
            capacity: &self.capacity,
            allocatable: &self.allocatable,
            addresses,
            images: self.images().await,
            runtime_version: format!(
                "{}://{}",
                features.runtime_name,
                status::plain_version(&features.runtime_version)
            ),
            handlers: &features.handlers,
            supplemental_groups_policy: Some(features.supplemental_groups_policy),
            port: i32::from(self.config().port),
            not_ready: &not_ready,
            pressure: *self.pressure.lock(),
            now: now(),
        };
        status::generate(old, &inputs)
    }

    /// The node's addresses; none if a cloud's controller sets them.
    fn addresses(&self) -> Option<Vec<(String, String)>> {
        if self.options.external_cloud && self.options.node_ips.is_empty() {
            return None;
        }
        let own = self.own_node_addresses();
        if self.options.external_cloud && own.is_some() {
            // Set by the cloud's controller by now.
            return None;
        }
        let ips = node_ips(&self.options);
        let mut list: Vec<_> = ips.iter().map(|ip| ("InternalIP".to_string(), ip.to_string())).collect();
        list.push(("Hostname".to_string(), self.options.hostname.clone()));
        Some(list)
    }

    fn own_node_addresses(&self) -> Option<()> {
        let node = self.kubelet.own_node()?;
        let addresses = node.status.as_ref()?.addresses.as_ref()?;
        (!addresses.is_empty()).then_some(())
    }

    async fn images(&self) -> Vec<ContainerImage> {
        const NAMES: usize = 5;
        let Ok(response) = self.kubelet.cri.list_images(cri::ListImagesRequest::default()).await else {
            return Vec::new();
        };
        let mut images = response.images;
        images.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
        let max = self.config().node_status_max_images;
        if let Ok(max) = usize::try_from(max) {
            images.truncate(max);
        }
        let convert = |i: cri::Image| ContainerImage {
            names: Some(i.repo_digests.into_iter().chain(i.repo_tags).take(NAMES).collect()),
            size_bytes: Some(i64::try_from(i.size).unwrap_or(i64::MAX)),
        };
        images.into_iter().map(convert).collect()
    }

    /// Asks the runtime how it is; tells why the node isn't ready.
    async fn look_at_runtime(&self) -> Vec<String> {
        look_at_runtime(&self.kubelet.cri, &self.kubelet.info).await
    }

    /// Keeps the lease until the process ends.
    pub async fn keep_lease(self: Arc<Self>) -> anyhow::Result<()> {
        const NAMESPACE: &str = "kube-node-lease";
        let seconds = self.config().node_lease_duration_seconds;
        let every = Duration::from_secs(seconds.max(4).unsigned_abs()) / 4;
        let client = self.client.named("lease").with_timeout(every);
        let mut last = None;
        loop {
            if let Err(e) = self.renew(&client, NAMESPACE, seconds, &mut last).await {
                tracing::error!(error = %e, "Failed to update lease");
                tokio::time::sleep(Duration::from_millis(500)).await;
                if let Err(e) = self.renew(&client, NAMESPACE, seconds, &mut last).await {
                    tracing::error!(error = %e, "Failed to update lease");
                }
            }
            tokio::time::sleep(every).await;
        }
    }

    /// Renews the lease as it was last written; after a failure, as the API has it.
    async fn renew(
        &self,
        client: &Client,
        namespace: &str,
        seconds: i64,
        last: &mut Option<Value>,
    ) -> Result<(), Error> {
        let name = &self.options.name;
        let renewed = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        let mut lease: Value = match last.take() {
            Some(lease) => lease,
            None => match client.get(&LEASES, namespace, name).await {
                Ok(lease) => lease,
                Err(e) if e.is_not_found() => json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": { "name": name, "namespace": namespace },
                }),
                Err(e) => return Err(e),
            },
        };
        lease["spec"]["holderIdentity"] = json!(name);
        lease["spec"]["leaseDurationSeconds"] = json!(seconds);
        lease["spec"]["renewTime"] = json!(renewed);
        if lease["metadata"]["ownerReferences"].is_null()
            && let Some(uid) = self.kubelet.own_node().and_then(|n| n.metadata.uid.clone())
        {
            lease["metadata"]["ownerReferences"] =
                json!([{ "apiVersion": "v1", "kind": "Node", "name": name, "uid": uid }]);
        }
        let written = if lease["metadata"]["resourceVersion"].is_null() {
            client.create::<Value>(&LEASES, namespace, &lease).await?
        } else {
            client.update::<Value>(&LEASES, namespace, name, &lease).await?
        };
        *last = Some(written);
        Ok(())
    }
}

/// The node's addresses: those given, or that of the default route.
pub fn node_ips(options: &Options) -> Vec<IpAddr> {
    if !options.node_ips.is_empty() {
        return options.node_ips.clone();
    }
    machine::default_address().into_iter().collect()
}

/// Asks the runtime for its version, conditions and features, and keeps them; tells why the node isn't
/// ready.
pub async fn look_at_runtime(cri: &cri::Client, info: &Info) -> Vec<String> {
    let (version, status) =
        tokio::join!(cri.version(cri::VersionRequest::default()), cri.status(cri::StatusRequest::default()));
    let status = match (version, status) {
        (Ok(version), Ok(status)) => {
            info.update(|f| {
                f.runtime_name = version.runtime_name;
                f.runtime_version = version.runtime_version;
            });
            status
        }
        (Err(e), _) | (_, Err(e)) => {
            return vec![format!(
                "container runtime status check may not have completed yet: {}",
                e.message()
            )];
        }
    };
    let conditions = status.status.map(|s| s.conditions).unwrap_or_default();
    let find = |kind: &str| conditions.iter().find(|c| c.r#type == kind);
    let describe = |c: &cri::RuntimeCondition| {
        format!("{}={} reason:{} message:{}", c.r#type, c.status, c.reason, c.message)
    };
    let mut not_ready = Vec::new();
    match find("RuntimeReady") {
        Some(c) if c.status => {}
        other => not_ready.push(format!(
            "container runtime not ready: {}",
            other.map_or_else(|| "RuntimeReady=false".to_string(), describe)
        )),
    }
    let network = match find("NetworkReady") {
        Some(c) if c.status => String::new(),
        other => format!(
            "container runtime network not ready: {}",
            other.map_or_else(|| "NetworkReady=false".to_string(), describe)
        ),
    };
    if !network.is_empty() {
        not_ready.push(network.clone());
    }
    info.update(|f| {
        f.network_error = network;
        f.handlers = status.runtime_handlers;
        f.supplemental_groups_policy = status.features.is_some_and(|f| f.supplemental_groups_policy);
    });
    not_ready
}

/// Watches the node's own object and keeps what pods are admitted by.
pub fn watch(informers: &Informers, name: &str, info: &Arc<Info>) -> Store<Watched> {
    let store = informers.watch(Watch::with_projection(NODES, read).fields(format!("metadata.name={name}")));
    let info = info.clone();
    store.subscribe(move |change| {
        let Some(node) = &change.new else { return };
        let labels = node.0.metadata.labels.clone().unwrap_or_default();
        let taints = node.0.spec.as_ref().and_then(|s| s.taints.clone()).unwrap_or_default();
        info.update(|f| (f.labels, f.taints) = (labels, taints));
    });
    store
}

/// Whether a path is on a filesystem that fills up, by these thresholds.
pub fn disk_pressed(
    kubelet: &Kubelet,
    path: &Path,
    thresholds: &BTreeMap<String, String>,
    (bytes, inodes): (&str, &str),
) -> bool {
    let Ok(space) = kubelet.sys.space(path) else { return false };
    let below = |signal: &str, free: u64, whole: u64| {
        let Some(text) = thresholds.get(signal) else { return false };
        let limit = machine::threshold(text, i64::try_from(whole).unwrap_or(i64::MAX));
        whole > 0 && limit.is_some_and(|l| i64::try_from(free).unwrap_or(i64::MAX) < l)
    };
    below(bytes, space.available, space.capacity) || below(inodes, space.inodes_free, space.inodes)
}
