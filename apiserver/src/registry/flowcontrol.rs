//! The group flowcontrol.apiserver.k8s.io: priority and fairness of requests.

use super::kind::{Enabled, Kind};
use super::{Builder, strategy};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new(GROUP, "v1", "flowschemas", "FlowSchema")
        .cluster()
        .hooks(strategy::with_generation())
        .status(strategy::status_only())
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "prioritylevelconfigurations", "PriorityLevelConfiguration")
        .cluster()
        .hooks(strategy::with_generation())
        .status(strategy::status_only())
        .install(builder, enabled);
}
