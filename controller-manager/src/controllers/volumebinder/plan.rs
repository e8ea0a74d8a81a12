//! What to do with a claim, and with a volume.

use std::sync::Arc;

use super::matching::{best, is_bound_to, mismatch, modes_differ};
use crate::api::storage::{PersistentVolume, PersistentVolumeClaim, StorageClass};
use crate::common::events::Event;

pub(super) const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
pub(super) const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
pub(super) const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
pub(super) const MIGRATED_TO: &str = "pv.kubernetes.io/migrated-to";
pub(super) const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
pub(super) const BETA_PROVISIONER: &str = "volume.beta.kubernetes.io/storage-provisioner";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
const BETA_DEFAULT_CLASS: &str = "storageclass.beta.kubernetes.io/is-default-class";

/// Names of volume plugins that were part of the daemons, and of the drivers that took their place.
const MIGRATED: &[(&str, &str)] = &[
    ("kubernetes.io/aws-ebs", "ebs.csi.aws.com"),
    ("kubernetes.io/azure-disk", "disk.csi.azure.com"),
    ("kubernetes.io/azure-file", "file.csi.azure.com"),
    ("kubernetes.io/cinder", "cinder.csi.openstack.org"),
    ("kubernetes.io/gce-pd", "pd.csi.storage.gke.io"),
    ("kubernetes.io/portworx-volume", "pxd.portworx.com"),
    ("kubernetes.io/vsphere-volume", "csi.vsphere.vmware.com"),
];

/// What is known of volumes and classes.
pub(super) struct View<'a> {
    pub(super) volumes: &'a [Arc<PersistentVolume>],
    pub(super) classes: &'a [Arc<StorageClass>],
    pub(super) dynamic: bool,
}

impl View<'_> {
    fn class(&self, name: &str) -> Option<&Arc<StorageClass>> {
        self.classes.iter().find(|class| class.metadata.name == name)
    }

    fn volume(&self, name: &str) -> Option<&Arc<PersistentVolume>> {
        self.volumes.iter().find(|volume| volume.metadata.name == name)
    }

    /// The newest of the classes that are marked as default.
    fn default_class(&self) -> Option<&Arc<StorageClass>> {
        let marked = |class: &&Arc<StorageClass>| {
            let annotations = &class.metadata.annotations;
            [DEFAULT_CLASS, BETA_DEFAULT_CLASS]
                .iter()
                .any(|key| annotations.get(*key).is_some_and(|v| v == "true"))
        };
        let newest_then_by_name = |class: &&Arc<StorageClass>| {
            (class.metadata.creation_timestamp, std::cmp::Reverse(class.metadata.name.clone()))
        };
        self.classes.iter().filter(marked).max_by_key(newest_then_by_name)
    }
}

#[derive(Clone, Debug)]
pub(super) enum ClaimPlan {
    /// Ties claim and volume together.
    Bind(Arc<PersistentVolume>),
    Pending(Option<Event>),
    /// Pending until a pod that uses the claim is placed.
    WaitForConsumer,
    Lost(Event),
    /// Gives the claim this storage class first.
    SetClass(String),
    /// Asks the provisioner of this name for a volume.
    Provision(String),
    /// Nothing can be done before something changes.
    Stuck(Event),
}

/// Decides about a claim.
pub(super) fn claim(claim: &PersistentVolumeClaim, view: &View<'_>) -> ClaimPlan {
    if claim.metadata.annotations.contains_key(BIND_COMPLETED) {
        return bound(claim, view);
    }
    if !claim.spec.volume_name.is_empty() {
        return named(claim, view);
    }
    let class = claim.class().unwrap_or_default();
    let delayed = view.class(class).is_some_and(|class| class.volume_binding_mode == "WaitForFirstConsumer");
    match best(claim, view.volumes, delayed) {
        Err(why) => return ClaimPlan::Stuck(Event::warning("FailedBinding", why)),
        Ok(Some(volume)) => return ClaimPlan::Bind(volume),
        Ok(None) => {}
    }
    if let Some(default) = view.default_class().filter(|_| claim.class().is_none()) {
        return ClaimPlan::SetClass(default.metadata.name.clone());
    }
    if delayed && !claim.metadata.annotations.contains_key(SELECTED_NODE) {
        return ClaimPlan::WaitForConsumer;
    }
    if class.is_empty() {
        let text = "no persistent volumes available for this claim and no storage class is set";
        return ClaimPlan::Pending(Some(Event::normal("FailedBinding", text)));
    }
    let failed = |why: String| ClaimPlan::Stuck(Event::warning("ProvisioningFailed", why));
    match view.class(class).map(|class| class.provisioner.as_str()) {
        _ if !view.dynamic => ClaimPlan::Pending(None),
        None => failed(format!("storageclass.storage.k8s.io {class:?} not found")),
        Some(name) => match MIGRATED.iter().find(|(old, _)| *old == name) {
            Some((_, driver)) => ClaimPlan::Provision((*driver).into()),
            None if name.starts_with("kubernetes.io/") => {
                failed(format!("no volume plugin matched name: {name}"))
            }
            None => ClaimPlan::Provision(name.into()),
        },
    }
}

/// A claim that asks for a volume by name.
fn named(claim: &PersistentVolumeClaim, view: &View<'_>) -> ClaimPlan {
    let Some(volume) = view.volume(&claim.spec.volume_name) else { return ClaimPlan::Pending(None) };
    if volume.spec.claim_ref.is_none() {
        let Some(why) = mismatch(volume, claim) else { return ClaimPlan::Bind(volume.clone()) };
        let text = format!("Cannot bind to requested volume {:?}: {why}", volume.metadata.name);
        return ClaimPlan::Pending(Some(Event::warning("VolumeMismatch", text)));
    }
    if is_bound_to(volume, claim) {
        return ClaimPlan::Bind(volume.clone());
    }
    let text = format!("volume {:?} already bound to a different claim.", volume.metadata.name);
    let event = Event::warning("FailedBinding", text);
    if claim.metadata.annotations.contains_key(BOUND_BY_CONTROLLER) {
        ClaimPlan::Stuck(event)
    } else {
        ClaimPlan::Pending(Some(event))
    }
}

/// A claim that was bound before.
fn bound(claim: &PersistentVolumeClaim, view: &View<'_>) -> ClaimPlan {
    let lost = |reason, text: &str| ClaimPlan::Lost(Event::warning(reason, text));
    if claim.spec.volume_name.is_empty() {
        return lost(
            "ClaimLost",
            "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
        );
    }
    let Some(volume) = view.volume(&claim.spec.volume_name) else {
        return lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!");
    };
    match &volume.spec.claim_ref {
        Some(reference) if reference.uid != claim.metadata.uid => {
            lost("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
        }
        _ => ClaimPlan::Bind(volume.clone()),
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum VolumePlan {
    Phase(&'static str),
    /// Its claim is gone, or has another volume.
    Release(Reclaim),
    /// Takes the reference to the claim off; with `keep_name` only the uid.
    Unbind {
        keep_name: bool,
    },
    /// The claim will be bound to it by its own plan.
    WakeClaim,
    /// It and its claim can never be bound: the events of the volume and of the claim.
    Mismatch(Event, Event),
}

/// What happens to a volume that nobody claims any more.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reclaim {
    Nothing,
    /// Removes the directory, then the volume.
    DeleteHostPath(String),
    Fail(Event),
}

/// Decides about a volume; `claim` is the one that it refers to, if that is there.
pub(super) fn volume(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) -> VolumePlan {
    let reference = volume.spec.claim_ref.as_ref().filter(|reference| !reference.uid.is_empty());
    let Some(reference) = reference else { return VolumePlan::Phase("Available") };
    let annotated = |key: &str| volume.metadata.annotations.contains_key(key);
    let Some(claim) = claim.filter(|claim| claim.metadata.uid == reference.uid) else {
        return VolumePlan::Release(reclaim(volume));
    };
    if claim.spec.volume_name.is_empty() {
        if modes_differ(volume, claim) {
            let of_volume = format!(
                "Cannot bind PersistentVolume to requested PersistentVolumeClaim {:?} due to incompatible volumeMode.",
                claim.metadata.name
            );
            let of_claim = format!(
                "Cannot bind PersistentVolume {:?} to requested PersistentVolumeClaim due to incompatible volumeMode.",
                volume.metadata.name
            );
            let event = |text| Event::warning("VolumeMismatch", text);
            return VolumePlan::Mismatch(event(of_volume), event(of_claim));
        }
        return VolumePlan::WakeClaim;
    }
    if claim.spec.volume_name == volume.metadata.name {
        return VolumePlan::Phase("Bound");
    }
    if annotated(PROVISIONED_BY) && volume.spec.persistent_volume_reclaim_policy == "Delete" {
        return VolumePlan::Release(reclaim(volume));
    }
    VolumePlan::Unbind { keep_name: !annotated(BOUND_BY_CONTROLLER) }
}

fn reclaim(volume: &PersistentVolume) -> Reclaim {
    let name = &volume.metadata.name;
    let annotation = |key: &str| volume.metadata.annotations.get(key).map(String::as_str).unwrap_or_default();
    if !annotation(MIGRATED_TO).is_empty() {
        return Reclaim::Nothing;
    }
    match volume.spec.persistent_volume_reclaim_policy.as_str() {
        "Retain" => Reclaim::Nothing,
        "Recycle" => {
            Reclaim::Fail(Event::warning("VolumeFailedRecycle", "No recycler plugin found for the volume!"))
        }
        "Delete" => {
            let fail = |text| Reclaim::Fail(Event::warning("VolumeFailedDelete", text));
            let provisioner = annotation(PROVISIONED_BY);
            if !provisioner.is_empty() && !provisioner.starts_with("kubernetes.io/")
                || volume.spec.csi.is_some()
            {
                // Whoever made it deletes it.
                return Reclaim::Nothing;
            }
            match &volume.spec.host_path {
                Some(source) if is_below_tmp(&source.path) => Reclaim::DeleteHostPath(source.path.clone()),
                Some(source) => fail(format!(
                    "host_path deleter only supports /tmp/.+ but received provided {}",
                    source.path
                )),
                None => fail(format!(
                    "error getting deleter volume plugin for volume {name:?}: no deletable volume plugin matched"
                )),
            }
        }
        _ => Reclaim::Fail(Event::warning(
            "VolumeUnknownReclaimPolicy",
            "Volume has unrecognized PersistentVolumeReclaimPolicy",
        )),
    }
}

/// Only what is below this directory is ever removed.
fn is_below_tmp(path: &str) -> bool {
    path.strip_prefix("/tmp/")
        .is_some_and(|rest| !rest.is_empty() && !rest.split('/').any(|part| part == ".."))
}

#[cfg(test)]
mod tests {
    use super::super::matching::tests::{claim as new_claim, volume as new_volume};
    use super::*;
    use serde_json::{Value, json};

    fn class(name: &str, value: Value) -> Arc<StorageClass> {
        let mut class: Value = json!({"metadata": {"name": name}});
        class.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        class["metadata"]["name"] = json!(name);
        Arc::new(serde_json::from_str(&class.to_string()).unwrap())
    }

    fn show(plan: &ClaimPlan) -> String {
        match plan {
            ClaimPlan::Bind(volume) => format!("bind {}", volume.metadata.name),
            ClaimPlan::Pending(event) => format!("pending {}", event.as_ref().map_or("", |e| e.reason)),
            ClaimPlan::WaitForConsumer => "wait".into(),
            ClaimPlan::Lost(event) => format!("lost {}", event.reason),
            ClaimPlan::SetClass(name) => format!("class {name}"),
            ClaimPlan::Provision(name) => format!("provision {name}"),
            ClaimPlan::Stuck(event) => format!("stuck {}: {}", event.reason, event.message),
        }
    }

    /// After upstream's binder_test.go and provision_test.go.
    #[test]
    fn claims() {
        let bound_to = |uid: &str| json!({"claimRef": {"namespace": "ns", "name": "c", "uid": uid}});
        let volumes = [
            new_volume("free", "5Gi", json!({})),
            new_volume("mine", "5Gi", bound_to("u")),
            new_volume("theirs", "5Gi", json!({"claimRef": {"namespace": "ns", "name": "d", "uid": "x"}})),
            new_volume("earlier", "5Gi", bound_to("old")),
        ];
        let classes = [
            class(
                "late",
                json!({"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"}),
            ),
            class("ebs", json!({"provisioner": "kubernetes.io/aws-ebs"})),
            class("csi", json!({"provisioner": "csi.example.com"})),
            class("none", json!({"provisioner": "kubernetes.io/no-provisioner"})),
        ];
        let spec = |spec: Value| new_claim("1Gi", spec);
        let done = |spec: Value| {
            let mut claim = new_claim("1Gi", spec);
            claim.metadata.annotations.insert(BIND_COMPLETED.into(), "yes".into());
            claim
        };
        let of_class = |name: &str| spec(json!({"storageClassName": name}));
        let mut placed = of_class("late");
        placed.metadata.annotations.insert(SELECTED_NODE.into(), "n".into());
        let cases = [
            (spec(json!({})), "bind mine"),
            (spec(json!({"accessModes": ["ReadWriteMany"]})), "pending FailedBinding"),
            (spec(json!({"volumeName": "free"})), "bind free"),
            (spec(json!({"volumeName": "mine"})), "bind mine"),
            (spec(json!({"volumeName": "theirs"})), "pending FailedBinding"),
            (spec(json!({"volumeName": "nowhere"})), "pending "),
            (spec(json!({"volumeName": "free", "storageClassName": "csi"})), "pending VolumeMismatch"),
            (of_class("csi"), "provision csi.example.com"),
            (of_class("ebs"), "provision ebs.csi.aws.com"),
            (
                of_class("none"),
                "stuck ProvisioningFailed: no volume plugin matched name: kubernetes.io/no-provisioner",
            ),
            (of_class("gone"), "stuck ProvisioningFailed: storageclass.storage.k8s.io \"gone\" not found"),
            (of_class("late"), "wait"),
            (placed, "stuck ProvisioningFailed: no volume plugin matched name: kubernetes.io/no-provisioner"),
            (done(json!({})), "lost ClaimLost"),
            (done(json!({"volumeName": "nowhere"})), "lost ClaimLost"),
            (done(json!({"volumeName": "mine"})), "bind mine"),
            (done(json!({"volumeName": "free"})), "bind free"),
            (done(json!({"volumeName": "theirs"})), "lost ClaimMisbound"),
            (done(json!({"volumeName": "earlier"})), "lost ClaimMisbound"),
        ];
        for (claim, wanted) in cases {
            // A volume reserved for the claim would win over its class.
            let of_class = claim.class().is_some();
            let volumes = if of_class { &volumes[..1] } else { &volumes[..] };
            let view = View { volumes, classes: &classes, dynamic: true };
            assert_eq!(show(&super::claim(&claim, &view)), wanted, "{:?}", claim.spec);
        }
        let default = [
            class(
                "old",
                json!({"metadata": {"annotations": {DEFAULT_CLASS: "true"}, "creationTimestamp": "2020-01-01T00:00:00Z"}}),
            ),
            class(
                "new",
                json!({"metadata": {"annotations": {DEFAULT_CLASS: "true"}, "creationTimestamp": "2021-01-01T00:00:00Z"}}),
            ),
        ];
        let view = View { volumes: &[], classes: &default, dynamic: true };
        assert_eq!(show(&super::claim(&spec(json!({})), &view)), "class new");
        assert_eq!(show(&super::claim(&of_class(""), &view)), "pending FailedBinding");
    }

    /// After upstream's binder_test.go, delete_test.go and recycle_test.go.
    #[test]
    fn volumes() {
        let to = |uid: &str| json!({"namespace": "ns", "name": "c", "uid": uid});
        let policy = |policy: &str, extra: Value| {
            let mut spec = json!({"claimRef": to("gone"), "persistentVolumeReclaimPolicy": policy});
            spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            new_volume("v", "5Gi", spec)
        };
        let bound = |name: &str| new_claim("1Gi", json!({"volumeName": name}));
        let fails = |reason, text: &str| VolumePlan::Release(Reclaim::Fail(Event::warning(reason, text)));
        let annotated = |key: &str, policy: &str| {
            let spec = json!({"claimRef": to("u"), "persistentVolumeReclaimPolicy": policy});
            let mut volume = PersistentVolume::clone(&new_volume("v", "5Gi", spec));
            volume.metadata.annotations.insert(key.into(), "x".into());
            Arc::new(volume)
        };
        let host = |path: &str| json!({"hostPath": {"path": path}});
        for (what, volume, claim, wanted) in [
            ("free", new_volume("v", "5Gi", json!({})), None, VolumePlan::Phase("Available")),
            (
                "reserved",
                new_volume("v", "5Gi", json!({"claimRef": to("")})),
                None,
                VolumePlan::Phase("Available"),
            ),
            (
                "bound",
                new_volume("v", "5Gi", json!({"claimRef": to("u")})),
                Some(bound("v")),
                VolumePlan::Phase("Bound"),
            ),
            (
                "half bound",
                new_volume("v", "5Gi", json!({"claimRef": to("u")})),
                Some(bound("")),
                VolumePlan::WakeClaim,
            ),
            (
                "claim is elsewhere",
                annotated(BOUND_BY_CONTROLLER, "Retain"),
                Some(bound("w")),
                VolumePlan::Unbind { keep_name: false },
            ),
            (
                "claim is elsewhere, user's wish",
                new_volume("v", "5Gi", json!({"claimRef": to("u")})),
                Some(bound("w")),
                VolumePlan::Unbind { keep_name: true },
            ),
            (
                "made in vain",
                annotated(PROVISIONED_BY, "Delete"),
                Some(bound("w")),
                VolumePlan::Release(Reclaim::Nothing),
            ),
            (
                "another claim of that name",
                policy("Retain", json!({})),
                Some(bound("v")),
                VolumePlan::Release(Reclaim::Nothing),
            ),
            ("retained", policy("Retain", json!({})), None, VolumePlan::Release(Reclaim::Nothing)),
            (
                "driver deletes",
                policy("Delete", json!({"csi": {"driver": "d"}})),
                None,
                VolumePlan::Release(Reclaim::Nothing),
            ),
            (
                "directory",
                policy("Delete", host("/tmp/x")),
                None,
                VolumePlan::Release(Reclaim::DeleteHostPath("/tmp/x".into())),
            ),
            (
                "way out",
                policy("Delete", host("/tmp/../etc")),
                None,
                fails(
                    "VolumeFailedDelete",
                    "host_path deleter only supports /tmp/.+ but received provided /tmp/../etc",
                ),
            ),
            (
                "nobody deletes",
                policy("Delete", json!({})),
                None,
                fails(
                    "VolumeFailedDelete",
                    "error getting deleter volume plugin for volume \"v\": no deletable volume plugin matched",
                ),
            ),
            (
                "recycled",
                policy("Recycle", json!({})),
                None,
                fails("VolumeFailedRecycle", "No recycler plugin found for the volume!"),
            ),
        ] {
            assert_eq!(super::volume(&volume, claim.as_ref()), wanted, "{what}");
        }
    }
}
