//! Which volume a claim can have.

use std::sync::Arc;

use proto::quantity::Quantity;

use crate::api::storage::{PersistentVolume, PersistentVolumeClaim};
use crate::common::selector;

/// The one of `volumes` that suits the claim best: that which is reserved for it, else of the free ones that with the
/// fewest access modes, and among those the smallest. With `delayed`, only a reserved one: the scheduler picks, as it
/// knows the node.
pub(super) fn best(
    claim: &PersistentVolumeClaim,
    volumes: &[Arc<PersistentVolume>],
    delayed: bool,
) -> Result<Option<Arc<PersistentVolume>>, String> {
    let selector = claim.spec.selector.as_ref().map(|s| selector::compile(Some(s))).transpose();
    let selector =
        selector.map_err(|why| format!("error creating internal label selector for claim: {why}"))?;
    let suits = |volume: &&Arc<PersistentVolume>| {
        (volume.spec.claim_ref.is_none() || is_bound_to(volume, claim))
            && size(volume) >= wanted(claim)
            && !modes_differ(volume, claim)
            && attributes_class(&volume.spec.volume_attributes_class_name)
                == attributes_class(&claim.spec.volume_attributes_class_name)
            && !volume.metadata.is_being_deleted()
            && has_access_modes(volume, claim)
    };
    let mut suitable: Vec<&Arc<PersistentVolume>> = volumes.iter().filter(suits).collect();
    suitable.sort_by(|a, b| {
        let rank = |v: &PersistentVolume| (v.spec.access_modes.len(), size(v));
        rank(a).cmp(&rank(b)).then_with(|| a.metadata.name.cmp(&b.metadata.name))
    });
    if let Some(reserved) = suitable.iter().find(|volume| is_bound_to(volume, claim)) {
        return Ok(Some(Arc::clone(reserved)));
    }
    let free = |volume: &&&Arc<PersistentVolume>| {
        !delayed
            && volume.status.phase == "Available"
            && volume.class() == claim.class().unwrap_or_default()
            && selector.as_ref().is_none_or(|selector| selector.matches_map(&volume.metadata.labels))
    };
    Ok(suitable.iter().find(free).map(|volume| Arc::clone(volume)))
}

/// Why a claim can't have the volume that it names.
pub(super) fn mismatch(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<String> {
    if volume.metadata.is_being_deleted() {
        return Some(format!("the volume is marked for deletion {:?}", volume.metadata.name));
    }
    let why = if size(volume) < wanted(claim) {
        "requested PV is too small"
    } else if volume.class() != claim.class().unwrap_or_default() {
        "storageClassName does not match"
    } else if attributes_class(&volume.spec.volume_attributes_class_name)
        != attributes_class(&claim.spec.volume_attributes_class_name)
    {
        "volumeAttributesClassName does not match"
    } else if modes_differ(volume, claim) {
        "incompatible volumeMode"
    } else if !has_access_modes(volume, claim) {
        "incompatible accessMode"
    } else {
        return None;
    };
    Some(why.into())
}

/// Whether the volume is reserved for the claim: by name at least, and by uid if it has one.
pub(super) fn is_bound_to(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    volume.spec.claim_ref.as_ref().is_some_and(|reference| {
        reference.name == claim.metadata.name
            && reference.namespace == claim.metadata.namespace
            && (reference.uid.is_empty() || reference.uid == claim.metadata.uid)
    })
}

/// Whether one is a block device and the other a file system.
pub(super) fn modes_differ(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let mode = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "Filesystem".into());
    mode(&volume.spec.volume_mode) != mode(&claim.spec.volume_mode)
}

fn has_access_modes(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    claim.spec.access_modes.iter().all(|mode| volume.spec.access_modes.contains(mode))
}

fn attributes_class(name: &Option<String>) -> &str {
    name.as_deref().unwrap_or_default()
}

fn size(volume: &PersistentVolume) -> Quantity {
    volume.spec.capacity.storage.clone().unwrap_or_default()
}

fn wanted(claim: &PersistentVolumeClaim) -> Quantity {
    claim.spec.resources.requests.storage.clone().unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::{Value, json};

    pub(in super::super) fn volume(name: &str, size: &str, spec: Value) -> Arc<PersistentVolume> {
        let mut value = json!({
            "metadata": {"name": name, "labels": {"name": name}},
            "spec": {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"]},
            "status": {"phase": "Available"},
        });
        value["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        Arc::new(serde_json::from_str(&value.to_string()).unwrap())
    }

    pub(in super::super) fn claim(size: &str, spec: Value) -> PersistentVolumeClaim {
        let mut value = json!({
            "metadata": {"name": "c", "namespace": "ns", "uid": "u"},
            "spec": {"resources": {"requests": {"storage": size}}, "accessModes": ["ReadWriteOnce"]},
        });
        value["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_str(&value.to_string()).unwrap()
    }

    /// After upstream's index_test.go.
    #[test]
    fn the_best_volume() {
        let many = json!({"accessModes": ["ReadWriteOnce", "ReadOnlyMany"]});
        let mine = |uid: &str| json!({"claimRef": {"namespace": "ns", "name": "c", "uid": uid}});
        let volumes = [
            volume("many-modes", "5Gi", many.clone()),
            volume("big", "10Gi", json!({})),
            volume("small", "5Gi", json!({})),
            volume("classy", "8Gi", json!({"storageClassName": "gold"})),
            volume("block", "8Gi", json!({"volumeMode": "Block"})),
            volume("taken", "6Gi", json!({"claimRef": {"namespace": "ns", "name": "d"}})),
        ];
        for (what, claim, delayed, wanted) in [
            ("smallest with the fewest modes", claim("4Gi", json!({})), false, Some("small")),
            ("large enough", claim("6Gi", json!({})), false, Some("big")),
            ("too large", claim("11Gi", json!({})), false, None),
            ("more modes", claim("1Gi", many), false, Some("many-modes")),
            ("unknown mode", claim("1Gi", json!({"accessModes": ["ReadWriteMany"]})), false, None),
            ("of a class", claim("1Gi", json!({"storageClassName": "gold"})), false, Some("classy")),
            ("of another class", claim("1Gi", json!({"storageClassName": "silver"})), false, None),
            ("a device", claim("1Gi", json!({"volumeMode": "Block"})), false, Some("block")),
            (
                "selected",
                claim("1Gi", json!({"selector": {"matchLabels": {"name": "big"}}})),
                false,
                Some("big"),
            ),
            ("left to the scheduler", claim("1Gi", json!({})), true, None),
        ] {
            let found = best(&claim, &volumes, delayed).unwrap();
            assert_eq!(found.as_ref().map(|v| v.metadata.name.as_str()), wanted, "{what}");
        }
        for (uid, wanted) in [("", true), ("u", true), ("other", false)] {
            let reserved = [volume("reserved", "7Gi", mine(uid))];
            assert_eq!(best(&claim("1Gi", json!({})), &reserved, true).unwrap().is_some(), wanted, "{uid}");
        }
    }

    #[test]
    fn why_not() {
        for (spec, wanted) in [
            (json!({}), None),
            (json!({"capacity": {"storage": "1Gi"}}), Some("requested PV is too small")),
            (json!({"storageClassName": "gold"}), Some("storageClassName does not match")),
            (json!({"volumeAttributesClassName": "x"}), Some("volumeAttributesClassName does not match")),
            (json!({"volumeMode": "Block"}), Some("incompatible volumeMode")),
            (json!({"accessModes": ["ReadOnlyMany"]}), Some("incompatible accessMode")),
        ] {
            let found = mismatch(&volume("v", "5Gi", spec), &claim("5Gi", json!({})));
            assert_eq!(found.as_deref(), wanted);
        }
    }
}
