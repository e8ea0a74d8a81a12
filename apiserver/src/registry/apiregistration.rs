//! The group apiregistration.k8s.io: API services of the aggregation layer.

use super::defaults::{fill, within};
use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, strategy};

const GROUP: &str = "apiregistration.k8s.io";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new(GROUP, "v1", "apiservices", "APIService")
        .cluster()
        .category("api-extensions")
        .prefix("apiregistration.k8s.io/apiservices")
        .default(|object| {
            within(object, "spec", |spec| {
                within(spec, "service", |service| fill(service, "port", 443));
            });
        })
        .hooks(Hooks {
            allow_unconditional_update: false,
            validate_name: strategy::path_segment_name,
            ..strategy::with_status()
        })
        .status(Hooks { allow_unconditional_update: false, ..strategy::status_only() })
        .install(builder, enabled);
}
