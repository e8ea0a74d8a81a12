//! The group storage.k8s.io: classes of storage, and what CSI drivers and nodes can do with it.

mod attachment;
mod class;
mod csi;

use super::Builder;
use super::defaults::fill;
use super::kind::{Enabled, Kind};

const GROUP: &str = "storage.k8s.io";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new(GROUP, "v1", "csidrivers", "CSIDriver")
        .cluster()
        .default(csi::driver_defaults)
        .hooks(csi::driver())
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "csinodes", "CSINode").cluster().hooks(csi::node()).install(builder, enabled);
    Kind::new(GROUP, "v1", "csistoragecapacities", "CSIStorageCapacity")
        .hooks(csi::capacity())
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "storageclasses", "StorageClass")
        .cluster()
        .short(&["sc"])
        .default(|object| {
            fill(object, "reclaimPolicy", "Delete");
            fill(object, "volumeBindingMode", "Immediate");
        })
        .hooks(class::storage_class())
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "volumeattachments", "VolumeAttachment")
        .cluster()
        .hooks(attachment::attachment())
        .status(attachment::status())
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "volumeattributesclasses", "VolumeAttributesClass")
        .cluster()
        .short(&["vac"])
        .hooks(class::attributes_class())
        .also("v1beta1")
        .install(builder, enabled);
}
