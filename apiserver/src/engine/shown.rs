//! How errors show values: as Go prints upstream's internal types. Their fields have no JSON tags, so all of them are
//! printed, under their Go names; only the types of apimachinery print as in the API.

use proto::field::{Error, Errors};
use proto::schema::{self, Flags, Shape, Type};
use proto::status::Status;
use serde_json::Value;

use super::meta;
use crate::registry::Storage;

/// The answer to an object with these errors. What is absent shows as Go's zero value, and a struct as Go prints it.
pub(super) fn refusal(storage: &Storage, object: &Value, mut errors: Errors) -> Status {
    if let Some(schema) = schema::lookup(&storage.hub.0, &storage.hub.1, &storage.kind) {
        for error in errors.iter_mut().filter(|error| error.shown.is_none()) {
            show(error, schema);
        }
    }
    Status::invalid(&storage.group, &storage.kind, meta::text(object, "name"), &errors)
}

fn show(error: &mut Error, schema: &Type) {
    let scalar = !matches!(error.bad_value, Value::Null | Value::Object(_) | Value::Array(_));
    if scalar {
        return;
    }
    let Some(found) = find(schema, &error.path) else { return };
    match (&error.bad_value, found) {
        (Value::Null, Found { pointer: true, .. }) => {}
        (value, Found { shape, .. }) => error.shown = Some(text(shape, value)),
    }
}

/// What stands at a path.
struct Found<'a> {
    shape: &'a Shape,
    pointer: bool,
}

fn find<'a>(schema: &'a Type, path: &str) -> Option<Found<'a>> {
    let mut steps = steps(path).into_iter();
    let field = schema.field(steps.next()?)?;
    let mut here = Found { shape: &field.shape, pointer: field.pointer() };
    for step in steps {
        here = match here.shape {
            Shape::Struct(ty) => {
                let field = ty.field(step)?;
                Found { shape: &field.shape, pointer: field.pointer() }
            }
            Shape::List(list) => Found { shape: &list.items, pointer: false },
            Shape::Map(map) => Found { shape: &map.values, pointer: false },
            _ => return None,
        };
    }
    Some(here)
}

/// `a.b[0].c[k.x]` in parts.
fn steps(path: &str) -> Vec<&str> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(keyed) = rest.strip_prefix('[') {
            let (key, after) = keyed.split_once(']').unwrap_or((keyed, ""));
            steps.push(key);
            rest = after.strip_prefix('.').unwrap_or(after);
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            steps.push(name);
            rest = after.strip_prefix('.').unwrap_or(after);
        }
    }
    steps
}

fn text(shape: &Shape, value: &Value) -> String {
    let mut out = String::new();
    write(shape, value, &mut out);
    out
}

fn write(shape: &Shape, value: &Value, out: &mut String) {
    match (shape, value) {
        (Shape::Struct(ty), value) => {
            out.push('{');
            let mut first = true;
            fields(ty, value, &mut first, out);
            out.push('}');
        }
        (Shape::List(list), Value::Array(items)) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(&list.items, item, out);
            }
            out.push(']');
        }
        // Some rules show an item at the path of its list.
        (Shape::List(list), Value::Object(_)) => write(&list.items, value, out),
        (Shape::Map(map), Value::Object(entries)) => {
            out.push('{');
            for (index, (key, item)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                name(key, out);
                write(&map.values, item, out);
            }
            out.push('}');
        }
        (_, Value::Null) => out.push_str(zero(shape)),
        (_, value) => out.push_str(&value.to_string()),
    }
}

fn name(name: &str, out: &mut String) {
    out.push_str(&Value::from(name).to_string());
    out.push(':');
}

/// What Go prints for a zero value.
fn zero(shape: &Shape) -> &'static str {
    match shape {
        Shape::String => "\"\"",
        Shape::Bool => "false",
        Shape::Int32 | Shape::Int64 | Shape::Uint32 | Shape::Uint64 | Shape::Float64 | Shape::IntOrString => {
            "0"
        }
        Shape::Quantity => "\"0\"",
        Shape::Duration => "\"0s\"",
        _ => "null",
    }
}

/// Whether a type prints under its API names.
fn is_tagged(ty: &Type) -> bool {
    ty.package.starts_with("k8s.io/apimachinery/")
}

fn fields(ty: &Type, value: &Value, first: &mut bool, out: &mut String) {
    let moved;
    let value = match ty.name.as_ref() {
        "PodSpec" => {
            moved = with_host_fields(value);
            &moved
        }
        _ => value,
    };
    let tagged = is_tagged(ty);
    let null = Value::Null;
    let host = ty.name == "PodSecurityContext";
    if host {
        for field in HOST_FIELDS {
            let shape = if matches!(field, "shareProcessNamespace" | "hostUsers") {
                &Shape::Any
            } else {
                &Shape::Bool
            };
            one(&go_name(field), shape, value.get(field).unwrap_or(&null), first, out);
        }
    }
    for field in ordered(ty) {
        let embedded = field.flags.has(Flags::INLINE) || (!tagged && field.name == "metadata");
        if let (Shape::Struct(inner), true) = (&field.shape, embedded) {
            let at =
                if field.flags.has(Flags::INLINE) { value } else { value.get("metadata").unwrap_or(&null) };
            fields(inner, at, first, out);
            continue;
        }
        let item = value.get(field.name.as_ref()).unwrap_or(&null);
        let omit = field.flags.has(Flags::OMITEMPTY) || field.flags.has(Flags::OMITZERO);
        if tagged && omit && item.is_null() {
            continue;
        }
        let name = if tagged { field.name.to_string() } else { go_name(&field.name) };
        let shape = if field.pointer() && item.is_null() { &Shape::Any } else { &field.shape };
        one(&name, shape, item, first, out);
    }
}

fn one(field: &str, shape: &Shape, value: &Value, first: &mut bool, out: &mut String) {
    if !std::mem::take(first) {
        out.push(',');
    }
    name(field, out);
    write(shape, value, out);
}

/// Fields of a pod's spec that stand in its security context in upstream's internal type.
const HOST_FIELDS: [&str; 5] = ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"];

fn with_host_fields(spec: &Value) -> Value {
    let mut spec = spec.clone();
    for field in HOST_FIELDS {
        if let Some(value) = proto::view::remove_at(&mut spec, &[field]) {
            proto::view::set_at(&mut spec, &["securityContext", field], value);
        }
    }
    spec
}

/// Types whose internal order differs: the API names of their fields. Fields that aren't listed don't exist there.
const ORDERS: [(&str, &[&str]); 6] = [
    (
        "PodSecurityContext",
        &[
            "seLinuxOptions",
            "windowsOptions",
            "runAsUser",
            "runAsGroup",
            "runAsNonRoot",
            "supplementalGroups",
            "supplementalGroupsPolicy",
            "fsGroup",
            "fsGroupChangePolicy",
            "sysctls",
            "seccompProfile",
            "appArmorProfile",
            "seLinuxChangePolicy",
        ],
    ),
    (
        "PodSpec",
        &[
            "volumes",
            "initContainers",
            "containers",
            "ephemeralContainers",
            "restartPolicy",
            "terminationGracePeriodSeconds",
            "activeDeadlineSeconds",
            "dnsPolicy",
            "nodeSelector",
            "serviceAccountName",
            "automountServiceAccountToken",
            "nodeName",
            "securityContext",
            "imagePullSecrets",
            "hostname",
            "subdomain",
            "setHostnameAsFQDN",
            "affinity",
            "schedulerName",
            "tolerations",
            "hostAliases",
            "priorityClassName",
            "priority",
            "preemptionPolicy",
            "dnsConfig",
            "readinessGates",
            "runtimeClassName",
            "overhead",
            "enableServiceLinks",
            "topologySpreadConstraints",
            "os",
            "schedulingGates",
            "resourceClaims",
            "resources",
            "hostnameOverride",
            "schedulingGroup",
        ],
    ),
    (
        "VolumeSource",
        &[
            "hostPath",
            "emptyDir",
            "gcePersistentDisk",
            "awsElasticBlockStore",
            "gitRepo",
            "secret",
            "nfs",
            "iscsi",
            "glusterfs",
            "persistentVolumeClaim",
            "rbd",
            "quobyte",
            "flexVolume",
            "cinder",
            "cephfs",
            "flocker",
            "downwardAPI",
            "fc",
            "azureFile",
            "configMap",
            "vsphereVolume",
            "azureDisk",
            "photonPersistentDisk",
            "projected",
            "portworxVolume",
            "scaleIO",
            "storageos",
            "csi",
            "ephemeral",
            "image",
        ],
    ),
    (
        "JobSpec",
        &[
            "parallelism",
            "completions",
            "podFailurePolicy",
            "successPolicy",
            "activeDeadlineSeconds",
            "backoffLimit",
            "backoffLimitPerIndex",
            "maxFailedIndexes",
            "selector",
            "manualSelector",
            "template",
            "ttlSecondsAfterFinished",
            "completionMode",
            "suspend",
            "podReplacementPolicy",
            "managedBy",
        ],
    ),
    ("ServicePort", &["name", "protocol", "appProtocol", "port", "targetPort", "nodePort"]),
    (
        "CSIDriverSpec",
        &[
            "attachRequired",
            "fsGroupPolicy",
            "podInfoOnMount",
            "volumeLifecycleModes",
            "storageCapacity",
            "tokenRequests",
            "requiresRepublish",
            "seLinuxMount",
            "nodeAllocatableUpdatePeriodSeconds",
            "serviceAccountTokenInSecrets",
            "preventPodSchedulingIfMissing",
        ],
    ),
];

fn ordered(ty: &Type) -> Vec<&schema::Field> {
    match ORDERS.iter().find(|(name, _)| *name == ty.name) {
        Some((_, names)) => names.iter().filter_map(|name| ty.field(name)).collect(),
        None => ty.fields.iter().collect(),
    }
}

/// Words at the beginning of API names that Go writes in capitals.
const CAPITALS: [&str; 35] = [
    "api", "aws", "ca", "cel", "cidr", "csi", "dns", "fc", "fs", "gce", "gid", "gmsa", "grpc", "http", "ip",
    "iqn", "iscsi", "json", "nfs", "os", "pd", "qos", "rbd", "se", "ssl", "tcp", "tls", "ttl", "tty", "uid",
    "url", "cidrs", "ips", "wwids", "wwn",
];

/// The Go name of a field of an internal type.
fn go_name(name: &str) -> String {
    match name {
        "cidrs" => return "CIDRs".to_owned(),
        "ips" => return "IPs".to_owned(),
        "wwids" => return "WWIDs".to_owned(),
        "cephfs" => return "CephFS".to_owned(),
        "storageos" => return "StorageOS".to_owned(),
        "chapAuthDiscovery" => return "DiscoveryCHAPAuth".to_owned(),
        "chapAuthSession" => return "SessionCHAPAuth".to_owned(),
        "lastState" => return "LastTerminationState".to_owned(),
        "reportingComponent" => return "ReportingController".to_owned(),
        "diskURI" => return "DataDiskURI".to_owned(),
        _ => {}
    }
    let end = name.find(|c: char| c.is_ascii_uppercase()).unwrap_or(name.len());
    let (word, rest) = name.split_at(end);
    if CAPITALS.contains(&word) {
        return word.to_uppercase() + rest;
    }
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::field::Path;
    use serde_json::json;

    fn shown(group: &str, kind: &str, path: &str, value: Value) -> String {
        let schema = schema::lookup(group, "v1", kind).expect("a schema");
        let mut error = Error::invalid(&Path::dotted(path), value, "d");
        show(&mut error, schema);
        error.body()
    }

    #[test]
    fn absent_values_show_as_zero() {
        let cases = [
            ("spec.serviceName", "\"\""),
            ("spec.replicas", "null"),
            ("spec.minReadySeconds", "0"),
            ("spec.template.spec.containers", "null"),
        ];
        for (path, want) in cases {
            assert_eq!(shown("apps", "StatefulSet", path, Value::Null), format!("Invalid value: {want}: d"));
        }
    }

    #[test]
    fn structs_show_as_go_prints_them() {
        assert_eq!(
            shown(
                "networking.k8s.io",
                "IPAddress",
                "spec.parentRef",
                json!({"name": "a", "resource": "<b>"})
            ),
            "Invalid value: {\"Group\":\"\",\"Resource\":\"\\u003cb\\u003e\",\"Namespace\":\"\",\"Name\":\"a\"}: d"
        );
        let selector =
            json!({"matchExpressions": [{"key": "k", "operator": "Exists"}], "matchLabels": {"a": "b"}});
        assert_eq!(
            shown("apps", "Deployment", "spec.selector", selector),
            "Invalid value: {\"matchLabels\":{\"a\":\"b\"},\"matchExpressions\":[{\"key\":\"k\",\"operator\":\"Exists\"}]}: d"
        );
        assert_eq!(
            shown(
                "policy",
                "PodDisruptionBudget",
                "spec",
                json!({"maxUnavailable": 1, "minAvailable": "5%"})
            ),
            "Invalid value: {\"MinAvailable\":\"5%\",\"Selector\":null,\"MaxUnavailable\":1,\"UnhealthyPodEvictionPolicy\":null}: d"
        );
    }

    #[test]
    fn names() {
        let cases = [
            ("ipBlock", "IPBlock"),
            ("fsGroupPolicy", "FSGroupPolicy"),
            ("seLinuxOptions", "SELinuxOptions"),
            ("hostIP", "HostIP"),
            ("ip", "IP"),
        ];
        for (name, want) in cases {
            assert_eq!(go_name(name), want);
        }
        assert_eq!(steps("a.b[0].c[k.x/y].d"), ["a", "b", "0", "c", "k.x/y", "d"]);
    }
}
