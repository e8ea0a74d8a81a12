//! The group apiextensions.k8s.io: definitions of custom resources.

use super::kind::{Enabled, Kind};
use super::{Builder, Conversion, Verbs};
use crate::custom::{self, stored};

const GROUP: &str = "apiextensions.k8s.io";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    let (main, status) = custom::definition_hooks();
    Kind::new(GROUP, "v1", "customresourcedefinitions", "CustomResourceDefinition")
        .cluster()
        .short(&["crd", "crds"])
        .category("api-extensions")
        .prefix("apiextensions.k8s.io/customresourcedefinitions")
        .default(custom::set_definition_defaults)
        .hooks(main)
        .status(status)
        .without_table()
        .any_finalizers()
        .also_with("v1beta1", Conversion::Functions { to_hub: stored::to_v1, from_hub: stored::to_v1beta1 })
        .last(|endpoint| {
            // Only stored, as JSON.
            endpoint.verbs = Verbs::NONE;
            endpoint.subresources = Vec::new();
            endpoint.schema = None;
            endpoint.default = None;
        })
        .stored("v1beta1")
        .install(builder, enabled);
}
