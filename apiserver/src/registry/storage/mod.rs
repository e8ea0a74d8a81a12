//! The group storage.k8s.io: classes of storage, and what CSI drivers and nodes can do with it.

use serde_json::{Value, json};

use super::defaults::{fill, inside};
use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, strategy};

const GROUP: &str = "storage.k8s.io";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    let conditional =
        || Hooks { allow_unconditional_update: false, return_deleted: true, ..Hooks::default() };
    Kind::new(GROUP, "v1", "csidrivers", "CSIDriver")
        .cluster()
        .default(csi_driver_defaults)
        .hooks(Hooks {
            allow_unconditional_update: false,
            return_deleted: true,
            ..strategy::generation_only()
        })
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "csinodes", "CSINode").cluster().hooks(conditional()).install(builder, enabled);
    Kind::new(GROUP, "v1", "csistoragecapacities", "CSIStorageCapacity")
        .hooks(conditional())
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "storageclasses", "StorageClass")
        .cluster()
        .short(&["sc"])
        .default(|object| {
            fill(object, "reclaimPolicy", "Delete");
            fill(object, "volumeBindingMode", "Immediate");
        })
        .hooks(Hooks { return_deleted: true, ..Hooks::default() })
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "volumeattachments", "VolumeAttachment")
        .cluster()
        .hooks(Hooks { allow_unconditional_update: false, return_deleted: true, ..strategy::with_status() })
        .status(Hooks { allow_unconditional_update: false, ..strategy::status_only() })
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "volumeattributesclasses", "VolumeAttributesClass")
        .cluster()
        .short(&["vac"])
        .hooks(Hooks { return_deleted: true, ..Hooks::default() })
        .also("v1beta1")
        .install(builder, enabled);
}

fn csi_driver_defaults(object: &mut Value) {
    inside(object, "spec", |spec| {
        fill(spec, "attachRequired", true);
        fill(spec, "podInfoOnMount", false);
        fill(spec, "storageCapacity", false);
        fill(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        fill(spec, "volumeLifecycleModes", json!(["Persistent"]));
        fill(spec, "requiresRepublish", false);
        fill(spec, "seLinuxMount", false);
    });
}
