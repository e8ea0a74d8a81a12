//! The parts of the kubelet, put together once and shared by all its tasks.

use crate::api::{Pod, PodView};
use crate::cgroups::PodGroups;
use crate::config::KubeletConfiguration;
use crate::container::env::Service;
use crate::container::{dns, limits, security};
use crate::events::Events;
use crate::images::pull::Puller;
use crate::node::info::Info;
use crate::pod::backoff::Backoff;
use crate::pod::worker::Workers;
use crate::pods::Pods;
use crate::probes::Probes;
use crate::references::References;
use crate::status::Reasons;
use crate::status::manager::Manager;
use crate::sys::SharedSys;
use component_base::client::Client;
use component_base::watch::Store;
use parking_lot::Mutex;
use proto::cri;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Settings in the form in which they are used.
pub struct Settings {
    /// The node's name.
    pub node: String,
    /// `/var/lib/kubelet`
    pub root: PathBuf,
    /// `<root>/pods`
    pub pods_root: PathBuf,
    /// Where logs are written.
    pub log_root: PathBuf,
    /// Resolver settings.
    pub dns: dns::Settings,
    /// Resource settings.
    pub limits: limits::Settings,
    /// Security settings.
    pub security: security::Settings,
    /// All others.
    pub config: KubeletConfiguration,
    /// How old and how many dead containers may be.
    pub dead: DeadContainers,
}

/// Which dead containers are kept.
#[derive(Clone, Copy, Debug)]
pub struct DeadContainers {
    /// Younger ones, in seconds.
    pub min_age: i64,
    /// So many of each container; negative for all.
    pub per_container: i64,
    /// So many on the node; negative for all.
    pub total: i64,
}

/// A service, as far as variables show it.
pub struct WatchedService {
    /// Who it is.
    pub metadata: proto::meta::ObjectMeta,
    /// What is shown.
    pub service: Service,
}

component_base::object!(WatchedService);

/// The kubelet.
pub struct Kubelet {
    /// Settings.
    pub settings: Settings,
    /// The runtime.
    pub cri: cri::Client,
    /// The kernel.
    pub sys: SharedSys,
    /// Control groups.
    pub groups: PodGroups,
    /// The API server, if there is one.
    pub client: Option<Client>,
    /// Events.
    pub events: Events,
    /// Images.
    pub puller: Puller,
    /// Probes.
    pub probes: Arc<Probes>,
    /// Statuses.
    pub statuses: Arc<Manager>,
    /// What pods refer to.
    pub references: Option<Arc<References>>,
    /// Services.
    pub services: Option<Store<WatchedService>>,
    /// Runtime classes: their handlers.
    pub runtime_classes: Option<Store<RuntimeClass>>,
    /// The node's own object.
    pub node_store: Option<Store<crate::node::keeper::Watched>>,
    /// The node.
    pub info: Arc<Info>,
    /// Waits of crashing containers.
    pub crashes: Mutex<Backoff>,
    /// Why containers don't run, by pod.
    pub reasons: Mutex<HashMap<String, Reasons>>,
    /// How often in a row a pod's volumes couldn't be set up.
    pub volume_failures: Mutex<HashMap<String, u32>>,
    /// The pods to run.
    pub pods: Arc<Pods>,
    /// What runs them.
    pub workers: Arc<Workers>,
}

/// A runtime class.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct RuntimeClass {
    /// Who it is.
    pub metadata: proto::meta::ObjectMeta,
    /// The runtime's name for it.
    pub handler: String,
}

component_base::object!(RuntimeClass);

impl Kubelet {
    /// The pod's directory.
    pub fn pod_dir(&self, pod: &Pod) -> PathBuf {
        crate::volumes::pod_dir(&self.settings.pods_root, pod.uid())
    }

    /// The node's own object, if it has been seen.
    pub fn own_node(&self) -> Option<Arc<k8s_openapi::api::core::v1::Node>> {
        let store = self.node_store.as_ref()?;
        store.get("", &self.settings.node).map(|n| n.0.clone())
    }

    /// The runtime handler the pod's class names; empty for the default.
    pub async fn runtime_handler(&self, pod: &Pod) -> Result<String, String> {
        let Some(name) = pod.spec().runtime_class_name.as_deref().filter(|n| !n.is_empty()) else {
            return Ok(String::new());
        };
        let Some(store) = &self.runtime_classes else {
            return Err(format!("failed to get RuntimeClass {name:?}: there is no API server"));
        };
        store.synced().await;
        let class = store.get("", name);
        class.map(|c| c.handler.clone()).ok_or_else(|| format!("RuntimeClass {name:?} not found"))
    }

    /// The variables of services a pod sees.
    pub fn service_variables(&self, pod: &Pod) -> Result<std::collections::BTreeMap<String, String>, String> {
        let Some(store) = &self.services else { return Ok(Default::default()) };
        if !pod.is_static() && !store.is_synced() {
            return Err("services have not yet been read at least once, cannot construct envvars".into());
        }
        let services = store.list();
        let links = pod.spec().enable_service_links.unwrap_or(true);
        let all = services.iter().map(|s| &s.service);
        Ok(crate::container::env::service_variables(all, pod.namespace(), links))
    }

    /// Why the pod's containers don't run.
    pub fn reasons_of(&self, uid: &str) -> Reasons {
        self.reasons.lock().get(uid).cloned().unwrap_or_default()
    }

    /// Forgets all that was kept for a pod.
    pub fn forget(&self, uid: &str) {
        self.statuses.forget(uid);
        self.reasons.lock().remove(uid);
        self.volume_failures.lock().remove(uid);
        self.crashes.lock().forget(&format!("{uid}_"));
        self.puller.forget(uid);
        if let Some(references) = &self.references {
            references.forget(uid);
        }
    }
}
