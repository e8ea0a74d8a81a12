//! The group autoscaling: horizontal pod autoscalers in two versions over one storage.

use super::kind::{Enabled, Kind};
use super::{Builder, strategy};

const GROUP: &str = "autoscaling";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new(GROUP, "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
        .short(&["hpa"])
        .category("all")
        .hooks(strategy::with_status())
        .status(strategy::status())
        .install(builder, enabled);
}
