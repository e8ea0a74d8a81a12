//! The objects that loads are made of.

/// Where ConfigMaps of the loads are.
pub(crate) const CONFIG_MAPS: &str = "/api/v1/namespaces/bench/configmaps";
/// Where pods of the loads are.
pub(crate) const PODS: &str = "/api/v1/namespaces/bench/pods";

/// A ConfigMap of about one kilobyte.
pub(crate) fn config_map(name: &str) -> Vec<u8> {
    config_map_of(name, 850)
}

/// A ConfigMap with this many bytes of data.
pub(crate) fn config_map_of(name: &str, size: usize) -> Vec<u8> {
    let filler = filler(size);
    format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}","namespace":"bench","labels":{{"app":"bench"}}}},"data":{{"key":"{filler}"}}}}"#
    )
    .into_bytes()
}

/// Text that compresses about as well as what people store.
fn filler(size: usize) -> String {
    const WORDS: [&str; 16] = [
        "server",
        "listen",
        "upstream",
        "timeout",
        "level",
        "info",
        "max",
        "connections",
        "worker",
        "true",
        "cache",
        "path",
        "/var/lib",
        "replica",
        "token",
        "30s",
    ];
    let (mut text, mut seed) = (String::with_capacity(size + 16), 1_u32);
    while text.len() < size {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.push_str(WORDS[(seed >> 28) as usize]);
        text.push_str(&format!("-{:x} ", seed >> 20 & 0xff));
    }
    text.truncate(size);
    text
}

/// A pod as a Deployment's would be; bound if a node is named.
pub(crate) fn pod(name: &str, node: &str) -> Vec<u8> {
    let node = if node.is_empty() { String::new() } else { format!(r#""nodeName":"{node}","#) };
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","namespace":"bench","labels":{{"app":"bench","pod-template-hash":"5d5b7f8c9d"}}}},
"spec":{{{node}"containers":[{{"name":"web","image":"registry.example/web:1.27","ports":[{{"containerPort":8080,"name":"http"}}],
"env":[{{"name":"POD_NAME","valueFrom":{{"fieldRef":{{"fieldPath":"metadata.name"}}}}}},{{"name":"LEVEL","value":"info"}}],
"resources":{{"requests":{{"cpu":"10m","memory":"16Mi"}},"limits":{{"memory":"64Mi"}}}},
"readinessProbe":{{"httpGet":{{"path":"/ready","port":"http"}},"periodSeconds":5}}}}]}}}}"#
    )
    .into_bytes()
}

/// The status of a pod that runs.
pub(crate) fn running(name: &str, at: &str) -> Vec<u8> {
    let condition = |kind: &str| {
        format!(r#"{{"type":"{kind}","status":"True","lastProbeTime":null,"lastTransitionTime":"{at}"}}"#)
    };
    let conditions = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
        .map(condition)
        .join(",");
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","namespace":"bench"}},
"status":{{"phase":"Running","conditions":[{conditions}],"hostIP":"10.0.0.1","hostIPs":[{{"ip":"10.0.0.1"}}],"podIP":"10.244.0.1","podIPs":[{{"ip":"10.244.0.1"}}],
"startTime":"{at}","qosClass":"Burstable","containerStatuses":[{{"name":"web","state":{{"running":{{"startedAt":"{at}"}}}},"lastState":{{}},"ready":true,"restartCount":0,
"image":"registry.example/web:1.27","imageID":"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
"containerID":"containerd://0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","started":true}}]}}}}"#
    )
    .into_bytes()
}

/// A node.
pub(crate) fn node(name: &str) -> Vec<u8> {
    format!(
        r#"{{"apiVersion":"v1","kind":"Node","metadata":{{"name":"{name}","labels":{{"kubernetes.io/hostname":"{name}","kubernetes.io/os":"linux","kubernetes.io/arch":"amd64","topology.kubernetes.io/zone":"a"}}}},"spec":{{}}}}"#
    )
    .into_bytes()
}

/// The status of a node that is ready.
pub(crate) fn ready(at: &str) -> Vec<u8> {
    format!(
        r#"{{"status":{{"capacity":{{"cpu":"16","memory":"64Gi","pods":"110","ephemeral-storage":"100Gi"}},"allocatable":{{"cpu":"16","memory":"64Gi","pods":"110","ephemeral-storage":"100Gi"}},
"conditions":[{{"type":"Ready","status":"True","reason":"KubeletReady","message":"kubelet is posting ready status","lastHeartbeatTime":"{at}","lastTransitionTime":"{at}"}}],
"addresses":[{{"type":"InternalIP","address":"10.0.0.1"}}],"nodeInfo":{{"kubeletVersion":"v1.36.2","osImage":"Debian","kernelVersion":"6","containerRuntimeVersion":"containerd://1.7"}}}}}}"#
    )
    .into_bytes()
}
