//! Which objects a pod or a persistent volume refers to.

use proto::schema::Mask;
use serde_json::Value;

use super::graph::{Key, Kind};

/// Volume sources of a pod whose secret is in a field, by JSON pointer below the volume.
const VOLUME_SECRETS: &[&str] = &[
    "/azureFile/secretName",
    "/cephfs/secretRef/name",
    "/cinder/secretRef/name",
    "/flexVolume/secretRef/name",
    "/rbd/secretRef/name",
    "/secret/secretName",
    "/scaleIO/secretRef/name",
    "/iscsi/secretRef/name",
    "/storageos/secretRef/name",
    "/csi/nodePublishSecretRef/name",
];

/// A pod's lists of containers.
const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// Secret references of persistent volumes that the kubelet reads, by JSON pointer below the spec.
const PV_SECRETS: &[&str] = &[
    "/cephfs/secretRef",
    "/cinder/secretRef",
    "/flexVolume/secretRef",
    "/rbd/secretRef",
    "/scaleIO/secretRef",
    "/iscsi/secretRef",
    "/storageos/secretRef",
    "/csi/nodePublishSecretRef",
    "/csi/nodeStageSecretRef",
    "/csi/nodeExpandSecretRef",
];

/// What of a pod says where it is and what it refers to.
pub(super) fn looked_at_of_pod() -> Mask {
    let mut mask = Mask::of([
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "metadata.annotations",
        "spec.nodeName",
        "spec.serviceAccountName",
        "spec.imagePullSecrets",
        "spec.volumes",
        "spec.resourceClaims",
        "status.resourceClaimStatuses",
        "status.extendedResourceClaimStatus",
    ]);
    for list in CONTAINERS {
        let [variables, sources] = ["env.valueFrom", "envFrom"].map(|field| format!("spec.{list}.{field}"));
        mask.add(&Mask::of([variables.as_str(), sources.as_str()]));
    }
    mask
}

/// What of a persistent volume says whose it is and what it refers to.
pub(super) fn looked_at_of_persistent_volume() -> Mask {
    Mask::of(["metadata.name", "metadata.namespace", "spec"])
}

/// The objects that the node of this pod may read because of it, besides the pod itself.
pub(super) fn of_pod(pod: &Value) -> Vec<Key> {
    let namespace = text(&pod["metadata"]["namespace"]);
    let pod_name = text(&pod["metadata"]["name"]);
    // A node may create mirror pods, so these must never give it anything.
    if pod["metadata"]["annotations"].get("kubernetes.io/config.mirror").is_some() {
        return Vec::new();
    }
    let mut keys = Vec::new();
    let mut add = |kind: Kind, name: &Value| {
        let name = text(name);
        if !name.is_empty() {
            keys.push(Key::new(kind, namespace, name));
        }
    };
    let spec = &pod["spec"];
    add(Kind::ServiceAccount, &spec["serviceAccountName"]);
    for secret in items(&spec["imagePullSecrets"]) {
        add(Kind::Secret, &secret["name"]);
    }
    for list in CONTAINERS {
        for container in items(&spec[list]) {
            add_environment(container, &mut add);
        }
    }
    for volume in items(&spec["volumes"]) {
        add_volume(volume, pod_name, &mut add);
    }
    for claim in items(&spec["resourceClaims"]) {
        add(Kind::ResourceClaim, claim_name(pod, claim));
    }
    add(Kind::ResourceClaim, &pod["status"]["extendedResourceClaimStatus"]["resourceClaimName"]);
    keys.sort();
    keys.dedup();
    keys
}

fn add_environment(container: &Value, add: &mut impl FnMut(Kind, &Value)) {
    for variable in items(&container["env"]) {
        add(Kind::Secret, &variable["valueFrom"]["secretKeyRef"]["name"]);
        add(Kind::ConfigMap, &variable["valueFrom"]["configMapKeyRef"]["name"]);
    }
    for source in items(&container["envFrom"]) {
        add(Kind::Secret, &source["secretRef"]["name"]);
        add(Kind::ConfigMap, &source["configMapRef"]["name"]);
    }
}

fn add_volume(volume: &Value, pod_name: &str, add: &mut impl FnMut(Kind, &Value)) {
    for pointer in VOLUME_SECRETS {
        add(Kind::Secret, volume.pointer(pointer).unwrap_or(&Value::Null));
    }
    add(Kind::ConfigMap, &volume["configMap"]["name"]);
    for source in items(&volume["projected"]["sources"]) {
        add(Kind::Secret, &source["secret"]["name"]);
        add(Kind::ConfigMap, &source["configMap"]["name"]);
    }
    add(Kind::Claim, &volume["persistentVolumeClaim"]["claimName"]);
    if volume["ephemeral"].is_object() {
        add(Kind::Claim, &Value::from(format!("{pod_name}-{}", text(&volume["name"]))));
    }
}

/// A claim by name, or the one that was made from a template.
fn claim_name<'a>(pod: &'a Value, claim: &'a Value) -> &'a Value {
    if claim["resourceClaimName"].is_string() {
        return &claim["resourceClaimName"];
    }
    items(&pod["status"]["resourceClaimStatuses"])
        .iter()
        .find(|status| status["name"] == claim["name"])
        .map_or(&Value::Null, |status| &status["resourceClaimName"])
}

/// Whether the pod uses secrets, wherever.
pub fn references_secrets(pod: &Value) -> bool {
    uses(pod, Kind::Secret)
}

fn uses(pod: &Value, wanted: Kind) -> bool {
    let mut found = false;
    let mut add = |kind: Kind, name: &Value| found |= kind == wanted && !text(name).is_empty();
    let spec = &pod["spec"];
    for secret in items(&spec["imagePullSecrets"]) {
        add(Kind::Secret, &secret["name"]);
    }
    for list in CONTAINERS {
        for container in items(&spec[list]) {
            add_environment(container, &mut add);
        }
    }
    for volume in items(&spec["volumes"]) {
        add_volume(volume, "", &mut add);
    }
    found
}

/// Volume sources that need nothing from the API.
const LOCAL_VOLUMES: &[&str] = &[
    "awsElasticBlockStore",
    "azureDisk",
    "cephfs",
    "cinder",
    "downwardAPI",
    "emptyDir",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "hostPath",
    "image",
    "iscsi",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

/// Volume sources that read objects, and which.
const API_VOLUMES: &[(&str, &str)] = &[
    ("configMap", "configmaps (via configmap volumes)"),
    ("secret", "secrets (via secret volumes)"),
    ("csi", "csidrivers (via CSI volumes)"),
    ("glusterfs", "endpoints (via glusterFS volumes)"),
    ("persistentVolumeClaim", "persistentvolumeclaims"),
    ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
    ("azureFile", "secrets (via azureFile volumes)"),
];

const API_PROJECTIONS: &[(&str, &str)] = &[
    ("configMap", "configmaps (via projected volumes)"),
    ("secret", "secrets (via projected volumes)"),
    ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
    ("clusterTrustBundle", "clustertrustbundles"),
    ("podCertificate", "podcertificates"),
];

/// The first kind of API object that the pod uses, if any; an error if that can't be told.
pub fn api_reference(pod: &Value) -> Result<Option<&'static str>, String> {
    let spec = &pod["spec"];
    if !text(&spec["serviceAccountName"]).is_empty() {
        return Ok(Some("serviceaccounts"));
    }
    if uses(pod, Kind::Secret) {
        return Ok(Some("secrets"));
    }
    if uses(pod, Kind::ConfigMap) {
        return Ok(Some("configmaps"));
    }
    if !items(&spec["resourceClaims"]).is_empty() {
        return Ok(Some("resourceclaims"));
    }
    for volume in items(&spec["volumes"]) {
        if let Some(reference) = volume_reference(volume)? {
            return Ok(Some(reference));
        }
    }
    Ok(None)
}

fn volume_reference(volume: &Value) -> Result<Option<&'static str>, String> {
    let first = |source: &Value, table: &[(&str, &'static str)]| {
        table.iter().find(|(field, _)| source[*field].is_object()).map(|(_, reference)| *reference)
    };
    let name = text(&volume["name"]);
    if let Some(reference) = first(volume, API_VOLUMES) {
        return Ok(Some(reference));
    }
    if volume["projected"].is_object() {
        for source in items(&volume["projected"]["sources"]) {
            match first(source, API_PROJECTIONS) {
                Some(reference) => return Ok(Some(reference)),
                None if source["downwardAPI"].is_object() => {}
                None => return Err(format!("unknown source for projected volume \"{name}\"")),
            }
        }
        return Ok(None);
    }
    if LOCAL_VOLUMES.iter().any(|field| volume[*field].is_object()) {
        return Ok(None);
    }
    Err(format!("unknown volume type for volume  \"{name}\""))
}

/// The claim a persistent volume is bound to, and the secrets a node needs to mount it.
pub(super) fn of_persistent_volume(volume: &Value) -> Option<(Key, Vec<Key>)> {
    let spec = &volume["spec"];
    let claim = &spec["claimRef"];
    if !claim.is_object() {
        return None;
    }
    let claim_namespace = text(&claim["namespace"]);
    let secret = |namespace: &Value, name: &Value| {
        let namespace = text(namespace);
        let namespace = if namespace.is_empty() { claim_namespace } else { namespace };
        let name = text(name);
        (!name.is_empty()).then(|| Key::new(Kind::Secret, namespace, name))
    };
    let azure = &spec["azureFile"];
    let mut secrets: Vec<Key> = secret(&azure["secretNamespace"], &azure["secretName"]).into_iter().collect();
    for pointer in PV_SECRETS {
        let reference = spec.pointer(pointer).unwrap_or(&Value::Null);
        secrets.extend(secret(&reference["namespace"], &reference["name"]));
    }
    Some((Key::new(Kind::Claim, claim_namespace, text(&claim["name"])), secrets))
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn everything_a_pod_uses() {
        let pod = json!({
            "metadata": { "namespace": "ns", "name": "p" },
            "spec": {
                "serviceAccountName": "sa",
                "imagePullSecrets": [{ "name": "pull" }],
                "containers": [{ "env": [{ "valueFrom": { "secretKeyRef": { "name": "env" } } }] }],
                "initContainers": [{ "envFrom": [{ "configMapRef": { "name": "from" } }] }],
                "volumes": [
                    { "secret": { "secretName": "vol" } },
                    { "projected": { "sources": [{ "configMap": { "name": "root-ca" } }] } },
                    { "persistentVolumeClaim": { "claimName": "pvc" } },
                    { "name": "scratch", "ephemeral": {} },
                ],
                "resourceClaims": [{ "name": "gpu", "resourceClaimTemplateName": "t" }],
            },
            "status": { "resourceClaimStatuses": [{ "name": "gpu", "resourceClaimName": "p-gpu" }] },
        });
        let keys = of_pod(&pod);
        for (kind, name) in [
            (Kind::ServiceAccount, "sa"),
            (Kind::Secret, "pull"),
            (Kind::Secret, "env"),
            (Kind::Secret, "vol"),
            (Kind::ConfigMap, "from"),
            (Kind::ConfigMap, "root-ca"),
            (Kind::Claim, "pvc"),
            (Kind::Claim, "p-scratch"),
            (Kind::ResourceClaim, "p-gpu"),
        ] {
            assert!(keys.contains(&Key::new(kind, "ns", name)), "{kind:?} {name}");
        }
        assert_eq!(keys.len(), 9);
        // All of that is looked at.
        let schema = proto::schema::lookup("", "v1", "Pod").unwrap();
        let bytes = proto::protobuf::encode(&pod, schema);
        let some = proto::protobuf::decode_some(&bytes, schema, &looked_at_of_pod()).unwrap();
        assert_eq!(of_pod(&some), keys);
    }

    #[test]
    fn mirror_pods_use_nothing() {
        let pod = json!({
            "metadata": { "namespace": "ns", "name": "p", "annotations": { "kubernetes.io/config.mirror": "x" } },
            "spec": { "serviceAccountName": "admin", "volumes": [{ "secret": { "secretName": "s" } }] },
        });
        assert_eq!(of_pod(&pod), []);
    }

    #[test]
    fn secrets_of_volumes_default_to_the_claims_namespace() {
        let volume = json!({ "spec": { "claimRef": { "namespace": "ns", "name": "pvc" },
            "csi": { "nodePublishSecretRef": { "name": "a", "namespace": "b" },
                     "controllerPublishSecretRef": { "name": "hidden", "namespace": "b" } },
            "flexVolume": { "secretRef": { "name": "f" } } } });
        let (claim, secrets) = of_persistent_volume(&volume).unwrap();
        assert_eq!(claim, Key::new(Kind::Claim, "ns", "pvc"));
        assert_eq!(secrets, [Key::new(Kind::Secret, "ns", "f"), Key::new(Kind::Secret, "b", "a")]);
    }
}
