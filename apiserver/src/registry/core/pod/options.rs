//! What an old object already had wrong stays permitted, so that rules may become stricter.

use proto::field::{Errors, Path};
use proto::view::{View, text_at};
use serde_json::{Value, json};

use super::{scheduling, security};
use crate::registry::checks::label_selector;

/// Permissions that come from an old object; a new one has none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// The object is a pod, not a template.
    pub(crate) is_pod: bool,
    /// The deletion cost is no number.
    pub(crate) bad_deletion_cost: bool,
    /// Selectors of pod affinity have values that are no label values.
    pub(crate) bad_selector_values: bool,
    /// Required node affinity has values that are no label values.
    pub(crate) bad_affinity_values: bool,
    /// Selectors of topology spreading are wrong.
    pub(crate) bad_spread_selectors: bool,
    /// A projected token's path leaves the volume.
    pub(crate) non_local_token_path: bool,
    /// Sysctls of namespaces shared with the host.
    pub(crate) host_sysctls: bool,
    /// An init container that is no sidecar restarts on resize.
    pub(crate) restart_on_resize: bool,
    /// Block devices in a user namespace.
    pub(crate) user_namespace_devices: bool,
}

/// Options of a pod; `old` is null when it is new.
pub(super) fn of_pod(old: &Value) -> Options {
    let metadata = old.get("metadata").unwrap_or(&Value::Null);
    let spec = old.get("spec").unwrap_or(&Value::Null);
    Options { is_pod: true, ..of(metadata, spec) }
}

/// Options of a pod template; `old` is null when it is new.
pub(crate) fn of_template(old: &Value) -> Options {
    let metadata = old.get("metadata").unwrap_or(&Value::Null);
    let spec = old.get("spec").unwrap_or(&Value::Null);
    of(metadata, spec)
}

fn fails(check: impl FnOnce(&mut Errors)) -> bool {
    let mut errors = Errors::new();
    check(&mut errors);
    !errors.is_empty()
}

fn of(metadata: &Value, old: &Value) -> Options {
    if old.is_null() {
        return Options::default();
    }
    let spec = View::at(old, Path::new("spec"));
    let lenient = Options { bad_selector_values: true, bad_affinity_values: true, ..Options::default() };
    let affinity = spec.get("affinity");
    let strict_affinity =
        |options: Options| fails(|errors| scheduling::affinity(&affinity, &options, errors));
    let bad_affinity = strict_affinity(Options::default());
    let cost = text_at(metadata, &["annotations", "controller.kubernetes.io/pod-deletion-cost"]);
    let volumes = spec.get("volumes").items();
    let projections = volumes.iter().flat_map(|volume| volume.get("projected").get("sources").items());
    let mut token_paths = projections.map(|source| source.get("serviceAccountToken").text("path").to_owned());
    Options {
        is_pod: false,
        bad_deletion_cost: !cost.is_empty() && cost.parse::<i32>().is_err(),
        bad_selector_values: bad_affinity
            && strict_affinity(Options { bad_selector_values: false, ..lenient }),
        bad_affinity_values: bad_affinity
            && strict_affinity(Options { bad_affinity_values: false, ..lenient }),
        bad_spread_selectors: spec.get("topologySpreadConstraints").items().iter().any(|constraint| {
            fails(|errors| label_selector(&constraint.get("labelSelector"), false, errors))
        }),
        non_local_token_path: token_paths.any(|path| {
            let value = json!(path);
            !path.is_empty()
                && fails(|errors| crate::registry::checks::non_reserved_path(&View::root(&value), errors))
        }),
        host_sysctls: spec
            .get("securityContext")
            .get("sysctls")
            .items()
            .iter()
            .any(|sysctl| security::host_sysctl(&spec, sysctl.text("name")).is_some()),
        restart_on_resize: spec.get("initContainers").items().iter().any(|container| {
            container.text("restartPolicy") != "Always"
                && container
                    .get("resizePolicy")
                    .items()
                    .iter()
                    .any(|policy| policy.text("restartPolicy") == "RestartContainer")
        }),
        user_namespace_devices: spec.raw("hostUsers").as_bool() == Some(false)
            && super::containers(&spec).iter().any(|container| !container.get("volumeDevices").is_empty()),
    }
}
