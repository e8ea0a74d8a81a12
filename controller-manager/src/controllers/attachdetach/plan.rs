//! Which volumes of a node are to be attached, which may go, and what its status says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::api::core::{AttachedVolume, Node};
use crate::api::storage::{PersistentVolume, VolumeAttachment};

/// A volume that pods of the node use.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) volume: Arc<PersistentVolume>,
    /// The pods, by namespace and name.
    pub(super) pods: BTreeSet<(String, String)>,
}

/// What is known of a node.
pub(super) struct View<'a> {
    pub(super) node: &'a Node,
    /// By name of the attachment.
    pub(super) wanted: &'a BTreeMap<String, Wanted>,
    /// Those of ours for this node.
    pub(super) attachments: &'a [Arc<VolumeAttachment>],
    /// Volumes attached to another node, with a pod that uses them there, by name of the volume.
    pub(super) elsewhere: &'a BTreeMap<String, Vec<(String, String)>>,
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Attachments to make.
    pub(super) attach: Vec<String>,
    /// Attachments to delete, once the node's status doesn't have them any more.
    pub(super) detach: Vec<Arc<VolumeAttachment>>,
    /// What the node's status is to say, if that changes.
    pub(super) attached: Option<Vec<AttachedVolume>>,
    /// Volumes that can't be attached, as another node has them: the attachment's name and the message.
    pub(super) blocked: Vec<(String, String)>,
    /// Whether something waits for the kubelet to unmount it.
    pub(super) waiting: bool,
}

/// Decides about one node. With `force`, what the kubelet still has mounted goes as well.
pub(super) fn plan(view: &View<'_>, force: bool) -> Plan {
    let mut plan = Plan::default();
    let in_use = |name: &str| view.node.status.volumes_in_use.iter().any(|volume| volume == name);
    let mut attached = Vec::new();
    for attachment in view.attachments {
        let Some(name) = attachment.volume_name() else { continue };
        let wanted = view.wanted.contains_key(&attachment.metadata.name);
        if wanted || attachment.metadata.is_being_deleted() {
            if attachment.status.attached && wanted {
                attached.push(AttachedVolume { name, device_path: String::new() });
            }
        } else if in_use(&name) && !force {
            plan.waiting = true;
            if attachment.status.attached {
                attached.push(AttachedVolume { name, device_path: String::new() });
            }
        } else {
            plan.detach.push(attachment.clone());
        }
    }
    for (name, wanted) in view.wanted {
        if view.attachments.iter().any(|attachment| attachment.metadata.name == *name) {
            continue;
        }
        let volume = &wanted.volume;
        match view.elsewhere.get(&volume.metadata.name).filter(|_| is_exclusive(volume)) {
            Some(pods) => plan.blocked.push((name.clone(), multi_attach(wanted, pods))),
            None => plan.attach.push(name.clone()),
        }
    }
    attached.sort();
    let mut before = view.node.status.volumes_attached.clone();
    before.sort();
    plan.attached = (attached != before).then_some(attached);
    plan
}

/// Whether only one node may have it.
fn is_exclusive(volume: &PersistentVolume) -> bool {
    let modes = &volume.spec.access_modes;
    !modes.is_empty() && !modes.iter().any(|mode| mode == "ReadWriteMany" || mode == "ReadOnlyMany")
}

fn multi_attach(wanted: &Wanted, others: &[(String, String)]) -> String {
    let name = &wanted.volume.metadata.name;
    let namespaces: BTreeSet<&String> = wanted.pods.iter().map(|(namespace, _)| namespace).collect();
    let (same, different): (Vec<_>, Vec<_>) =
        others.iter().partition(|(namespace, _)| namespaces.contains(namespace));
    let same: Vec<&str> = same.iter().map(|(_, name)| name.as_str()).collect();
    let why = match (same.is_empty(), different.len()) {
        (true, 0) => {
            "Volume is already exclusively attached to one node and can't be attached to another".into()
        }
        (true, count) => format!("Volume is already used by {count} pod(s) in different namespaces"),
        (false, 0) => format!("Volume is already used by pod(s) {}", same.join(", ")),
        (false, count) => {
            format!(
                "Volume is already used by pod(s) {} and {count} pod(s) in different namespaces",
                same.join(", ")
            )
        }
    };
    format!("Multi-Attach error for volume {name:?} {why}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn attachment(name: &str, attached: bool, deleting: bool) -> Arc<VolumeAttachment> {
        let time = deleting.then_some("2026-01-01T00:00:00Z");
        let mut value: VolumeAttachment = serde_json::from_value(json!({
            "metadata": {"name": name, "deletionTimestamp": time},
            "status": {"attached": attached},
        }))
        .unwrap();
        value.unique_name = Some(format!("u-{name}"));
        Arc::new(value)
    }

    fn wanted(name: &str, modes: &[&str]) -> (String, Wanted) {
        let volume =
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"accessModes": modes}}))
                .unwrap();
        let pods = BTreeSet::from([("ns".to_string(), "p".to_string())]);
        (name.into(), Wanted { volume: Arc::new(volume), pods })
    }

    #[test]
    fn a_node() {
        let node: Node = serde_json::from_value(json!({"status": {
            "volumesInUse": ["u-busy"], "volumesAttached": [{"name": "u-old", "devicePath": ""}],
        }}))
        .unwrap();
        let once = &["ReadWriteOnce"];
        let wanted = BTreeMap::from([
            wanted("new", once),
            wanted("here", once),
            wanted("slow", once),
            wanted("taken", once),
            wanted("shared", &["ReadWriteMany"]),
        ]);
        let attachments = [
            attachment("here", true, false),
            attachment("slow", false, false),
            attachment("busy", true, false),
            attachment("old", true, false),
            attachment("going", true, true),
        ];
        let other = vec![("ns".to_string(), "q".to_string()), ("xs".to_string(), "r".to_string())];
        let elsewhere = BTreeMap::from([("taken".to_string(), other.clone()), ("shared".to_string(), other)]);
        let view = View { node: &node, wanted: &wanted, attachments: &attachments, elsewhere: &elsewhere };
        let names =
            |list: &[Arc<VolumeAttachment>]| list.iter().map(|a| a.metadata.name.clone()).collect::<Vec<_>>();
        let planned = plan(&view, false);
        assert_eq!(planned.attach, ["new", "shared"]);
        assert_eq!(names(&planned.detach), ["old"]);
        let attached: Vec<_> = planned.attached.unwrap().into_iter().map(|v| v.name).collect();
        assert_eq!(attached, ["u-busy", "u-here"]);
        assert!(planned.waiting);
        assert_eq!(
            planned.blocked[0].1,
            "Multi-Attach error for volume \"taken\" Volume is already used by pod(s) q and 1 pod(s) in different namespaces"
        );
        let forced = plan(&view, true);
        assert_eq!(names(&forced.detach), ["busy", "old"]);
    }
}
