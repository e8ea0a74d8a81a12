//! The pods of the node, wanted and running.

use crate::api::{Pod, PodView};
use crate::kubelet::Kubelet;
use crate::runtime::observe::list_pods;
use component_base::serving::{Answer, json, text};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use proto::cri;
use serde_json::{Value, json as object};
use std::sync::Arc;

fn pod_list(items: Vec<Value>) -> Value {
    object!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items })
}

/// The pods that are to run here.
pub(super) async fn list(kubelet: Arc<Kubelet>, _: Request<Incoming>) -> Answer {
    let show = |pod: &Arc<Pod>| {
        let mut pod = Pod::clone(pod);
        if let Some(status) = kubelet.statuses.get(pod.uid()) {
            pod.status = Some(status);
        }
        let mut value = serde_json::to_value(pod).unwrap_or_default();
        // Items of a list don't say what they are.
        if let Some(map) = value.as_object_mut() {
            map.remove("kind");
            map.remove("apiVersion");
        }
        value
    };
    let items = kubelet.pods.all().iter().map(show).collect();
    json(StatusCode::OK, &pod_list(items))
}

/// The pods that the runtime runs.
pub(super) async fn running(kubelet: Arc<Kubelet>, _: Request<Incoming>) -> Answer {
    let listed = match list_pods(&kubelet.cri).await {
        Ok(listed) => listed,
        Err(e) => return text(StatusCode::INTERNAL_SERVER_ERROR, e.message().to_string()),
    };
    let filter = cri::ContainerFilter {
        state: Some(cri::ContainerStateValue { state: cri::ContainerState::Running as i32 }),
        ..Default::default()
    };
    let request = cri::ListContainersRequest { filter: Some(filter) };
    let containers = kubelet.cri.list_containers(request).await.map(|r| r.containers).unwrap_or_default();
    let item = |(uid, pod): (&String, &crate::runtime::observe::Listed)| {
        let own: Vec<_> = containers
            .iter()
            .filter(|c| pod.containers.contains_key(&c.id))
            .map(|c| {
                let name = c.metadata.as_ref().map(|m| m.name.clone()).unwrap_or_default();
                object!({ "name": name, "image": c.image_ref, "resources": {} })
            })
            .collect();
        let runs = pod.sandboxes.values().any(|ready| *ready) || !own.is_empty();
        runs.then(|| {
            object!({
                "metadata": { "name": pod.name, "namespace": pod.namespace, "uid": uid },
                "spec": { "containers": own },
                "status": {},
            })
        })
    };
    let items = listed.iter().filter_map(item).collect();
    json(StatusCode::OK, &pod_list(items))
}
