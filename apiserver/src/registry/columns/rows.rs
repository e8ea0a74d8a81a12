//! Rows of all other kinds.

use std::collections::BTreeSet;

use proto::time::human_duration;
use proto::view::{View, text_at};
use serde_json::{Value, json};

use super::super::{Column, Endpoint};
use super::Table;
use super::ages::Ages;
use super::cells::{Object, joined, labels};

const NONE: &str = "<none>";
const UNSET: &str = "<unset>";

/// The cell of the name; defaults are marked.
pub(super) fn name(kind: &str, object: &Object) -> Value {
    let name = object.text(&["metadata", "name"]);
    let annotations = match kind {
        "StorageClass" => &[
            "storageclass.kubernetes.io/is-default-class",
            "storageclass.beta.kubernetes.io/is-default-class",
        ][..],
        "IngressClass" => &["ingressclass.kubernetes.io/is-default-class"][..],
        _ => &[][..],
    };
    let default = annotations.iter().any(|key| object.text(&["metadata", "annotations", key]) == "true");
    Value::from(if default { format!("{name} (default)") } else { name.to_owned() })
}

pub(super) const NODE: Table = (
    &[
        ("Status", "string", 0),
        ("Roles", "string", 0),
        ("Age", "string", 0),
        ("Version", "string", 0),
        ("Internal-IP", "string", 1),
        ("External-IP", "string", 1),
        ("OS-Image", "string", 1),
        ("Kernel-Version", "string", 1),
        ("Container-Runtime", "string", 1),
    ],
    |object| {
        let conditions = object.view_at(&["status", "conditions"]).items();
        let ready = conditions.iter().rfind(|own| own.text("type") == "Ready");
        let mut status = match ready.map(|own| own.text("status")) {
            Some("True") => "Ready",
            Some(_) => "NotReady",
            None => "Unknown",
        }
        .to_owned();
        if object.at(&["spec", "unschedulable"]) == &Value::Bool(true) {
            status.push_str(",SchedulingDisabled");
        }
        let info = object.view_at(&["status", "nodeInfo"]);
        let known = |field: &str| match info.text(field) {
            "" => "<unknown>".to_owned(),
            text => text.to_owned(),
        };
        let mut kernel = known("kernelVersion");
        if !info.text("architecture").is_empty() {
            kernel = format!("{kernel} ({})", info.text("architecture"));
        }
        vec![
            Value::from(status),
            Value::from(roles(object)),
            object.age(),
            Value::from(info.text("kubeletVersion")),
            node_address(object, "InternalIP"),
            node_address(object, "ExternalIP"),
            Value::from(known("osImage")),
            Value::from(kernel),
            Value::from(known("containerRuntimeVersion")),
        ]
    },
);

fn roles(object: &Object) -> String {
    let mut roles = BTreeSet::new();
    for (key, value) in object.view_at(&["metadata", "labels"]).entries() {
        let role = match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => role,
            None if key == "kubernetes.io/role" => value.str(),
            None => "",
        };
        if !role.is_empty() {
            roles.insert(role);
        }
    }
    if roles.is_empty() { NONE.to_owned() } else { roles.into_iter().collect::<Vec<_>>().join(",") }
}

fn node_address(object: &Object, kind: &str) -> Value {
    let addresses = object.view_at(&["status", "addresses"]).items();
    let found = addresses.iter().find(|address| address.text("type") == kind);
    Value::from(found.map_or(NONE, |address| text_at(address.value(), &["address"])))
}

pub(super) const NAMESPACE: Table = (&[("Status", "string", 0), ("Age", "string", 0)], |object| {
    vec![object.text_or(&["status", "phase"], ""), object.age()]
});

pub(super) const SECRET: Table =
    (&[("Type", "string", 0), ("Data", "string", 0), ("Age", "string", 0)], |object| {
        vec![object.text_or(&["type"], ""), object.count(&["data"]), object.age()]
    });

pub(super) const CONFIG_MAP: Table = (&[("Data", "string", 0), ("Age", "string", 0)], |object| {
    let count = object.view_at(&["data"]).len() + object.view_at(&["binaryData"]).len();
    vec![Value::from(count), object.age()]
});

/// Access modes by their initials.
fn access_modes(list: &Value) -> String {
    let order = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let list = proto::view::strs(list);
    let short: Vec<&str> =
        order.iter().filter(|(mode, _)| list.contains(mode)).map(|(_, short)| *short).collect();
    short.join(",")
}

/// The class of a volume or claim, which may stand in an annotation.
fn storage_class(object: &Object) -> Value {
    let path = ["metadata", "annotations", "volume.beta.kubernetes.io/storage-class"];
    match object.at(&path).as_str() {
        Some(class) => Value::from(class),
        None => object.text_or(&["spec", "storageClassName"], ""),
    }
}

fn phase(object: &Object) -> Value {
    if object.is_deleted() {
        return Value::from("Terminating");
    }
    object.text_or(&["status", "phase"], "")
}

pub(super) const PERSISTENT_VOLUME: Table = (
    &[
        ("Capacity", "string", 0),
        ("Access Modes", "string", 0),
        ("Reclaim Policy", "string", 0),
        ("Status", "string", 0),
        ("Claim", "string", 0),
        ("StorageClass", "string", 0),
        ("VolumeAttributesClass", "string", 0),
        ("Reason", "string", 0),
        ("Age", "string", 0),
        ("VolumeMode", "string", 1),
    ],
    |object| {
        let claim = object.view_at(&["spec", "claimRef"]);
        let claim = if claim.is_set() {
            format!("{}/{}", claim.text("namespace"), claim.text("name"))
        } else {
            String::new()
        };
        vec![
            object.text_or(&["spec", "capacity", "storage"], "0"),
            Value::from(access_modes(object.at(&["spec", "accessModes"]))),
            object.text_or(&["spec", "persistentVolumeReclaimPolicy"], ""),
            phase(object),
            Value::from(claim),
            storage_class(object),
            object.text_or(&["spec", "volumeAttributesClassName"], UNSET),
            object.text_or(&["status", "reason"], ""),
            object.age(),
            object.text_or(&["spec", "volumeMode"], UNSET),
        ]
    },
);

pub(super) const CLAIM: Table = (
    &[
        ("Status", "string", 0),
        ("Volume", "string", 0),
        ("Capacity", "string", 0),
        ("Access Modes", "string", 0),
        ("StorageClass", "string", 0),
        ("VolumeAttributesClass", "string", 0),
        ("Age", "string", 0),
        ("VolumeMode", "string", 1),
    ],
    |object| {
        let volume = object.text(&["spec", "volumeName"]);
        let (mut capacity, mut modes) = (Value::from(""), String::new());
        if !volume.is_empty() {
            capacity = object.text_or(&["status", "capacity", "storage"], "0");
            modes = access_modes(object.at(&["status", "accessModes"]));
        }
        vec![
            phase(object),
            Value::from(volume),
            capacity,
            Value::from(modes),
            storage_class(object),
            object.text_or(&["spec", "volumeAttributesClassName"], UNSET),
            object.age(),
            object.text_or(&["spec", "volumeMode"], UNSET),
        ]
    },
);

pub(super) const RESOURCE_QUOTA: Table =
    (&[("Request", "string", 0), ("Limit", "string", 0), ("Age", "string", 0)], |object| {
        let used = object.view_at(&["status", "used"]);
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        for (name, hard) in object.view_at(&["status", "hard"]).entries() {
            let used = match used.text(name) {
                "" => "0",
                used => used,
            };
            let text = format!("{name}: {used}/{}", hard.str());
            if name.starts_with("limits.") { limits.push(text) } else { requests.push(text) }
        }
        vec![Value::from(requests.join(", ")), Value::from(limits.join(", ")), object.age()]
    });

pub(super) const COMPONENT_STATUS: Table =
    (&[("Status", "string", 0), ("Message", "string", 0), ("Error", "string", 0)], |object| {
        let conditions = object.view_at(&["conditions"]).items();
        let Some(healthy) = conditions.iter().find(|own| own.text("type") == "Healthy") else {
            return vec![json!("Unknown"), json!(""), json!("")];
        };
        let status = if healthy.text("status") == "True" { "Healthy" } else { "Unhealthy" };
        vec![json!(status), json!(healthy.text("message")), json!(healthy.text("error"))]
    });

pub(super) const ROLE_BINDING: Table = (
    &[
        ("Role", "string", 0),
        ("Age", "string", 0),
        ("Users", "string", 1),
        ("Groups", "string", 1),
        ("ServiceAccounts", "string", 1),
    ],
    |object| {
        let subjects = object.view_at(&["subjects"]).items();
        let of = |kind: &str, show: fn(&View) -> String| {
            let texts: Vec<String> =
                subjects.iter().filter(|subject| subject.text("kind") == kind).map(show).collect();
            Value::from(texts.join(", "))
        };
        let role = format!("{}/{}", object.text(&["roleRef", "kind"]), object.text(&["roleRef", "name"]));
        vec![
            Value::from(role),
            object.age(),
            of("User", |subject| subject.text("name").to_owned()),
            of("Group", |subject| subject.text("name").to_owned()),
            of("ServiceAccount", |subject| format!("{}/{}", subject.text("namespace"), subject.text("name"))),
        ]
    },
);

pub(super) const SIGNING_REQUEST: Table = (
    &[
        ("Age", "string", 0),
        ("SignerName", "string", 0),
        ("Requestor", "string", 0),
        ("RequestedDuration", "string", 0),
        ("Condition", "string", 0),
    ],
    |object| {
        let conditions = object.view_at(&["status", "conditions"]).items();
        let has = |kind: &str| conditions.iter().any(|own| own.text("type") == kind);
        let mut status = if has("Denied") {
            "Denied"
        } else if has("Approved") {
            "Approved"
        } else {
            "Pending"
        }
        .to_owned();
        if has("Failed") {
            status.push_str(",Failed");
        }
        if !object.text(&["status", "certificate"]).is_empty() {
            status.push_str(",Issued");
        }
        let wanted = object.at(&["spec", "expirationSeconds"]).as_i64();
        vec![
            object.age(),
            object.text_or(&["spec", "signerName"], NONE),
            object.text_or(&["spec", "username"], ""),
            Value::from(wanted.map_or_else(|| NONE.to_owned(), human_duration)),
            Value::from(status),
        ]
    },
);

pub(super) const TRUST_BUNDLE: Table =
    (&[("SignerName", "string", 0)], |object| vec![object.text_or(&["spec", "signerName"], NONE)]);

pub(super) const LEASE: Table = (&[("Holder", "string", 0), ("Age", "string", 0)], |object| {
    vec![object.text_or(&["spec", "holderIdentity"], ""), object.age()]
});

pub(super) const LEASE_CANDIDATE: Table = (
    &[
        ("LeaseName", "string", 0),
        ("BinaryVersion", "string", 0),
        ("EmulationVersion", "string", 0),
        ("Age", "string", 0),
    ],
    |object| {
        let spec = |field| object.text_or(&["spec", field], "");
        vec![spec("leaseName"), spec("binaryVersion"), spec("emulationVersion"), object.age()]
    },
);

pub(super) const STORAGE_CLASS: Table = (
    &[
        ("Provisioner", "string", 0),
        ("ReclaimPolicy", "string", 0),
        ("VolumeBindingMode", "string", 0),
        ("AllowVolumeExpansion", "string", 0),
        ("Age", "string", 0),
    ],
    |object| {
        let expands = object.at(&["allowVolumeExpansion"]).as_bool().unwrap_or_default();
        vec![
            object.text_or(&["provisioner"], ""),
            object.text_or(&["reclaimPolicy"], "Delete"),
            object.text_or(&["volumeBindingMode"], "Immediate"),
            Value::from(expands),
            object.age(),
        ]
    },
);

pub(super) const ATTRIBUTES_CLASS: Table = (&[("DriverName", "string", 0), ("Age", "string", 0)], |object| {
    vec![object.text_or(&["driverName"], ""), object.age()]
});

pub(super) const VOLUME_ATTACHMENT: Table = (
    &[
        ("Attacher", "string", 0),
        ("PV", "string", 0),
        ("Node", "string", 0),
        ("Attached", "boolean", 0),
        ("Age", "string", 0),
    ],
    |object| {
        vec![
            object.text_or(&["spec", "attacher"], ""),
            object.text_or(&["spec", "source", "persistentVolumeName"], ""),
            object.text_or(&["spec", "nodeName"], ""),
            Value::from(object.at(&["status", "attached"]).as_bool().unwrap_or_default()),
            object.age(),
        ]
    },
);

pub(super) const CSI_NODE: Table = (&[("Drivers", "integer", 0), ("Age", "string", 0)], |object| {
    vec![object.count(&["spec", "drivers"]), object.age()]
});

pub(super) const CSI_DRIVER: Table = (
    &[
        ("AttachRequired", "boolean", 0),
        ("PodInfoOnMount", "boolean", 0),
        ("StorageCapacity", "boolean", 0),
        ("TokenRequests", "string", 0),
        ("RequiresRepublish", "boolean", 0),
        ("Modes", "string", 0),
        ("Age", "string", 0),
    ],
    |object| {
        let flag = |field, absent| Value::from(object.at(&["spec", field]).as_bool().unwrap_or(absent));
        let requests = object.view_at(&["spec", "tokenRequests"]);
        let audiences: Vec<String> =
            requests.items().iter().map(|request| request.text("audience").to_owned()).collect();
        let modes = joined(object.at(&["spec", "volumeLifecycleModes"]));
        vec![
            flag("attachRequired", true),
            flag("podInfoOnMount", false),
            flag("storageCapacity", false),
            Value::from(if requests.is_set() { audiences.join(",") } else { UNSET.to_owned() }),
            flag("requiresRepublish", false),
            Value::from(if modes.is_empty() { NONE.to_owned() } else { modes }),
            object.age(),
        ]
    },
);

pub(super) const STORAGE_CAPACITY: Table =
    (&[("StorageClassName", "string", 0), ("Capacity", "string", 0)], |object| {
        vec![object.text_or(&["storageClassName"], ""), object.text_or(&["capacity"], UNSET)]
    });

pub(super) const RUNTIME_CLASS: Table = (&[("Handler", "string", 0), ("Age", "string", 0)], |object| {
    vec![object.text_or(&["handler"], ""), object.age()]
});

pub(super) const WEBHOOKS: Table = (&[("Webhooks", "integer", 0), ("Age", "string", 0)], |object| {
    vec![object.count(&["webhooks"]), object.age()]
});

fn parameter_kind(object: &Object) -> Value {
    let kind = object.view_at(&["spec", "paramKind"]);
    Value::from(if kind.is_set() {
        format!("{}/{}", kind.text("apiVersion"), kind.text("kind"))
    } else {
        UNSET.to_owned()
    })
}

pub(super) const VALIDATING_POLICY: Table =
    (&[("Validations", "integer", 0), ("ParamKind", "string", 0), ("Age", "string", 0)], |object| {
        vec![object.count(&["spec", "validations"]), parameter_kind(object), object.age()]
    });

pub(super) const MUTATING_POLICY: Table =
    (&[("Mutations", "integer", 0), ("ParamKind", "string", 0), ("Age", "string", 0)], |object| {
        vec![object.count(&["spec", "mutations"]), parameter_kind(object), object.age()]
    });

pub(super) const POLICY_BINDING: Table =
    (&[("PolicyName", "string", 0), ("ParamRef", "string", 0), ("Age", "string", 0)], |object| {
        let parameters = object.view_at(&["spec", "paramRef"]);
        let text = match (parameters.text("namespace"), parameters.text("name")) {
            (_, "") if parameters.has("selector") => {
                let selector = object.selector(&["spec", "paramRef", "selector"]);
                selector.as_str().unwrap_or(UNSET).to_owned()
            }
            (_, "") => UNSET.to_owned(),
            ("", name) => format!("*/{name}"),
            (namespace, name) => format!("{namespace}/{name}"),
        };
        vec![object.text_or(&["spec", "policyName"], ""), Value::from(text), object.age()]
    });

pub(super) const FLOW_SCHEMA: Table = (
    &[
        ("PriorityLevel", "string", 0),
        ("MatchingPrecedence", "string", 0),
        ("DistinguisherMethod", "string", 0),
        ("Age", "string", 0),
        ("MissingPL", "string", 0),
    ],
    |object| {
        let conditions = object.view_at(&["status", "conditions"]).items();
        let dangling = conditions.iter().find(|own| own.text("type") == "Dangling");
        vec![
            object.text_or(&["spec", "priorityLevelConfiguration", "name"], ""),
            object.number(&["spec", "matchingPrecedence"]),
            object.text_or(&["spec", "distinguisherMethod", "type"], NONE),
            object.age(),
            Value::from(dangling.map_or("?", |own| text_at(own.value(), &["status"]))),
        ]
    },
);

pub(super) const PRIORITY_LEVEL: Table = (
    &[
        ("Type", "string", 0),
        ("NominalConcurrencyShares", "string", 0),
        ("Queues", "string", 0),
        ("HandSize", "string", 0),
        ("QueueLengthLimit", "string", 0),
        ("Age", "string", 0),
    ],
    |object| {
        let limited = object.view_at(&["spec", "limited"]);
        let queuing = limited.get("limitResponse").get("queuing");
        let number = |view: &View, field: &str| {
            if view.is_set() { Value::from(view.int(field)) } else { Value::from(NONE) }
        };
        vec![
            object.text_or(&["spec", "type"], ""),
            number(&limited, "nominalConcurrencyShares"),
            number(&queuing, "queues"),
            number(&queuing, "handSize"),
            number(&queuing, "queueLengthLimit"),
            object.age(),
        ]
    },
);

pub(super) const RESOURCE_CLAIM: Table = (&[("State", "string", 0), ("Age", "string", 0)], |object| {
    let mut states = Vec::new();
    let allocated = !object.at(&["status", "allocation"]).is_null();
    if object.is_deleted() {
        states.push("deleted");
    }
    if allocated {
        states.push("allocated");
        if !object.view_at(&["status", "reservedFor"]).is_empty() {
            states.push("reserved");
        }
    } else if !object.is_deleted() {
        states.push("pending");
    }
    vec![Value::from(states.join(",")), object.age()]
});

pub(super) const RESOURCE_SLICE: Table = (
    &[("Node", "string", 0), ("Driver", "string", 0), ("Pool", "string", 0), ("Age", "string", 0)],
    |object| {
        vec![
            object.text_or(&["spec", "nodeName"], ""),
            object.text_or(&["spec", "driver"], ""),
            object.text_or(&["spec", "pool", "name"], ""),
            object.age(),
        ]
    },
);

pub(super) const POD_GROUP: Table = (
    &[("Policy", "string", 0), ("Workload", "string", 0), ("Status", "string", 0), ("Age", "string", 0)],
    |object| {
        let gang = object.at(&["spec", "schedulingPolicy", "gang"]);
        let mut status = "Pending";
        let conditions = object.view_at(&["status", "conditions"]).items();
        for condition in &conditions {
            if condition.text("type") == "PodGroupScheduled" {
                status = if condition.text("status") == "True" { "Scheduled" } else { "Unschedulable" };
            }
        }
        for condition in conditions.iter().filter(|own| own.text("type") == "DisruptionTarget") {
            status = text_at(condition.value(), &["reason"]);
        }
        vec![
            Value::from(if gang.is_null() { "Basic" } else { "Gang" }),
            object.text_or(&["spec", "podGroupTemplateRef", "workload", "workloadName"], NONE),
            Value::from(status),
            object.age(),
        ]
    },
);

pub(super) const DEVICE_TAINT_RULE: Table = (
    &[
        ("Key", "string", 0),
        ("Value", "string", 0),
        ("Effect", "string", 0),
        ("TimeAdded", "string", 0),
        ("Age", "string", 0),
    ],
    |object| {
        let taint = |field| object.text(&["spec", "taint", field]);
        let added = taint("timeAdded");
        let added = if added.is_empty() { String::new() } else { object.since(added) };
        vec![
            Value::from(taint("key")),
            Value::from(taint("value")),
            Value::from(taint("effect")),
            Value::from(added),
            object.age(),
        ]
    },
);

pub(super) const RESOURCE_POOL_STATUS: Table = (
    &[
        ("Driver", "string", 0),
        ("Total", "string", 0),
        ("Available", "string", 0),
        ("Allocated", "string", 0),
        ("Unavailable", "string", 0),
        ("Errors", "string", 0),
        ("Pools", "integer", 0),
        ("Status", "string", 0),
        ("Completed", "string", 0),
    ],
    |object| {
        let status = object.view_at(&["status"]);
        let pools = status.get("pools").items();
        let count = status.int("poolCount");
        let conditions = status.get("conditions").items();
        let is_final =
            |own: &&View| own.text("status") == "True" && matches!(own.text("type"), "Complete" | "Failed");
        let last = conditions.iter().find(is_final);
        let (mut state, mut completed) = ("Pending".to_owned(), NONE.to_owned());
        if let Some(last) = last {
            state = last.text("type").to_owned();
            if state == "Complete" {
                completed = object.since(last.text("lastTransitionTime"));
                if count > pools.len() as i64 {
                    state = format!("Complete ({}/{count} pools)", pools.len());
                }
            }
        }
        let known = status.is_set() && state != "Failed";
        let sum = |field: &str| {
            let sum: i64 = pools.iter().map(|pool| pool.int(field)).sum();
            Value::from(if known { sum.to_string() } else { "-".to_owned() })
        };
        let wrong = pools.iter().filter(|pool| pool.has("validationError")).count();
        vec![
            object.text_or(&["spec", "driver"], ""),
            sum("totalDevices"),
            sum("availableDevices"),
            sum("allocatedDevices"),
            sum("unavailableDevices"),
            Value::from(if known { wrong.to_string() } else { "-".to_owned() }),
            Value::from(count),
            Value::from(state),
            Value::from(completed),
        ]
    },
);

pub(super) const POD_CERTIFICATE_REQUEST: Table = (
    &[
        ("PodName", "string", 0),
        ("ServiceAccountName", "string", 0),
        ("NodeName", "string", 0),
        ("SignerName", "string", 0),
        ("State", "string", 0),
        ("UnverifiedUserAnnotations", "string", 0),
    ],
    |object| {
        let spec = |field| object.text_or(&["spec", field], "");
        let mut state = "Pending";
        for condition in object.view_at(&["status", "conditions"]).items() {
            if matches!(condition.text("type"), "Issued" | "Denied" | "Failed") {
                state = text_at(condition.value(), &["type"]);
            }
        }
        vec![
            spec("podName"),
            spec("serviceAccountName"),
            spec("nodeName"),
            spec("signerName"),
            Value::from(state),
            labels(object.at(&["spec", "unverifiedUserAnnotations"])),
        ]
    },
);

pub(super) const STORAGE_VERSION: Table = (
    &[("CommonEncodingVersion", "string", 0), ("StorageVersions", "string", 0), ("Age", "string", 0)],
    |object| {
        const SHOWN: usize = 3;
        let versions = object.view_at(&["status", "storageVersions"]).items();
        let texts: Vec<String> = versions
            .iter()
            .take(SHOWN)
            .map(|own| format!("{}={}", own.text("apiServerID"), own.text("encodingVersion")))
            .collect();
        let mut shown = texts.join(",");
        if versions.len() > SHOWN {
            shown.push_str(&format!(" + {} more...", versions.len() - SHOWN));
        } else if versions.is_empty() {
            UNSET.clone_into(&mut shown);
        }
        vec![object.text_or(&["status", "commonEncodingVersion"], UNSET), Value::from(shown), object.age()]
    },
);

pub(super) const STORAGE_VERSION_MIGRATION: Table =
    (&[("Resource", "string", 0), ("Status", "string", 0)], |object| {
        let resource = object.view_at(&["spec", "resource"]);
        let name = proto::status::qualified(resource.text("group"), resource.text("resource"));
        let mut status = "Unknown";
        for condition in object.view_at(&["status", "conditions"]).items() {
            let kind = text_at(condition.value(), &["type"]);
            if condition.text("status") == "True" && matches!(kind, "Running" | "Failed" | "Succeeded") {
                status = kind;
            }
        }
        vec![Value::from(name), Value::from(status)]
    });

pub(super) const API_SERVICE: Table =
    (&[("Service", "string", 0), ("Available", "string", 0), ("Age", "string", 0)], |object| {
        let service = object.view_at(&["spec", "service"]);
        let service = if service.is_set() {
            format!("{}/{}", service.text("namespace"), service.text("name"))
        } else {
            "Local".to_owned()
        };
        let conditions = object.view_at(&["status", "conditions"]).items();
        let available = match conditions.iter().find(|own| own.text("type") == "Available") {
            None => "Unknown".to_owned(),
            Some(own) => match (own.text("status"), own.text("reason")) {
                ("True", _) => "True".to_owned(),
                (status, "") => status.to_owned(),
                (status, reason) => format!("{status} ({reason})"),
            },
        };
        vec![Value::from(service), Value::from(available), object.age()]
    });

/// The columns of events, whose name comes last.
pub(super) fn event_columns() -> Vec<Column> {
    let columns = [
        ("Last Seen", 0),
        ("Type", 0),
        ("Reason", 0),
        ("Object", 0),
        ("Subobject", 1),
        ("Source", 1),
        ("Message", 0),
        ("First Seen", 1),
        ("Count", 1),
    ];
    let made = columns.iter().map(|(name, priority)| Column::new(name, "string", *priority, ""));
    made.chain([Column { priority: 1, ..Column::of_name() }]).collect()
}

/// The cells of an event of either group.
pub(super) fn event(endpoint: &Endpoint, value: &Value, ages: &Ages) -> Vec<Value> {
    let mut value = value.clone();
    if endpoint.group == "events.k8s.io" {
        crate::registry::events::to_hub(&mut value);
    }
    let object = Object::new(&value, ages);
    let first_of = |paths: &[&[&str]]| {
        let found = paths.iter().map(|path| object.text(path)).find(|text| !text.is_empty());
        found.unwrap_or_default().to_owned()
    };
    let first = first_of(&[&["firstTimestamp"], &["eventTime"]]);
    let series = object.view_at(&["series"]);
    let (last, count) = if series.is_set() {
        (series.text("lastObservedTime").to_owned(), series.int("count"))
    } else {
        (first_of(&[&["lastTimestamp"], &["firstTimestamp"], &["eventTime"]]), object.int(&["count"]).max(1))
    };
    let about = object.view_at(&["involvedObject"]);
    let mut target = about.text("kind").to_lowercase();
    if !about.text("name").is_empty() {
        target = format!("{target}/{}", about.text("name"));
    }
    let component = first_of(&[&["source", "component"], &["reportingComponent"]]);
    let instance = first_of(&[&["source", "host"], &["reportingInstance"]]);
    let source = if instance.is_empty() { component } else { format!("{component}, {instance}") };
    vec![
        Value::from(object.since(&last)),
        object.text_or(&["type"], ""),
        object.text_or(&["reason"], ""),
        Value::from(target),
        Value::from(about.text("fieldPath")),
        Value::from(source),
        Value::from(object.text(&["message"]).trim()),
        Value::from(object.since(&first)),
        Value::from(count),
        object.text_or(&["metadata", "name"], ""),
    ]
}
