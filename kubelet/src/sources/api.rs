//! Pods the API server has bound to this node.

use super::intake::mark;
use crate::api::{CONFIG_SEEN, Pod, PodView};
use crate::kubelet::Kubelet;
use component_base::client::known::PODS;
use component_base::watch::{Change, Informers, Object, Store, Watch};
use std::sync::Arc;

/// A pod as the watch keeps it.
pub struct Watched(Arc<Pod>);

impl Object for Watched {
    fn namespace(&self) -> &str {
        self.0.namespace()
    }
    fn name(&self) -> &str {
        self.0.name()
    }
    fn uid(&self) -> &str {
        self.0.uid()
    }
    fn resource_version(&self) -> &str {
        self.0.metadata.resource_version.as_deref().unwrap_or_default()
    }
}

fn read(bytes: &[u8]) -> Result<Watched, serde_json::Error> {
    let mut pod: Pod = serde_json::from_slice(bytes)?;
    // Nobody here reads who wrote which field, and it is as big as the rest.
    pod.metadata.managed_fields = None;
    Ok(Watched(Arc::new(pod)))
}

/// Watches the node's pods and takes them in. `mirrors` is told the full name of each mirror that came,
/// changed or went.
pub fn watch(
    kubelet: &Arc<Kubelet>,
    informers: &Informers,
    mirrors: impl Fn(String) + Send + Sync + 'static,
) -> Store<Watched> {
    let selector = format!("spec.nodeName={}", kubelet.settings.node);
    let store = informers.watch(Watch::with_projection(PODS, read).fields(selector));
    let kubelet = kubelet.clone();
    store.subscribe(move |change: &Change<Watched>| {
        let (old, new) = (change.old.as_ref().map(|o| &o.0), change.new.as_ref().map(|n| &n.0));
        let replaced = matches!((old, new), (Some(o), Some(n)) if o.uid() != n.uid());
        if let Some(old) = old.filter(|_| new.is_none() || replaced) {
            gone(&kubelet, old, &mirrors);
        }
        if let Some(new) = new {
            came(&kubelet, new, &mirrors);
        }
    });
    store
}

fn came(kubelet: &Kubelet, pod: &Arc<Pod>, mirrors: &impl Fn(String)) {
    if pod.is_mirror() {
        kubelet.pods.set(pod.clone());
        if let Some(own) = kubelet.pods.static_of(pod) {
            kubelet.statuses.api_changed(own.uid(), pod);
        }
        mirrors(pod.full_name());
        return;
    }
    let seen = kubelet.pods.get(pod.uid()).and_then(|p| p.annotation(CONFIG_SEEN).map(str::to_string));
    let mut pod = Pod::clone(pod);
    mark(&mut pod, "api", seen);
    kubelet.pod_changed(Arc::new(pod));
}

fn gone(kubelet: &Kubelet, pod: &Arc<Pod>, mirrors: &impl Fn(String)) {
    if pod.is_mirror() {
        kubelet.pods.remove(pod);
        mirrors(pod.full_name());
        return;
    }
    // The last form the API showed may say how long the pod is given to end.
    kubelet.pod_removed(pod);
}
