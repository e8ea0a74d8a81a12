//! The group node.k8s.io: runtime classes.

use proto::field::Errors;
use proto::view::View;
use serde_json::{Value, json};

use super::checks::*;
use super::core::pod::{resources, scheduling};
use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, defaults, warnings};

const GROUP: &str = "node.k8s.io";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new(GROUP, "v1", "runtimeclasses", "RuntimeClass")
        .cluster()
        .default(|object| {
            defaults::within(object, "overhead", |overhead| {
                defaults::resource_lists(overhead, &["podFixed"]);
            });
        })
        .hooks(Hooks {
            validate: |_, new| validate(new),
            validate_update: |_, new, old| {
                let mut errors = validate(new);
                let handler = |class| View::root(class).get("handler");
                immutable_str(&handler(new), &handler(old), &mut errors);
                errors
            },
            warnings: |_, new| deprecated_labels(new),
            warnings_update: |_, new, _| deprecated_labels(new),
            allow_create_on_update: true,
            allow_unconditional_update: false,
            ..Hooks::default()
        })
        .any_finalizers()
        .install(builder, enabled);
}

fn deprecated_labels(class: &Value) -> Vec<String> {
    let selector = View::root(class).get("scheduling").get("nodeSelector");
    let messages = selector.entries().into_iter().filter_map(|(label, _)| warnings::node_label(label));
    messages.map(|message| format!("{}: {message}", selector.path())).collect()
}

fn validate(class: &Value) -> Errors {
    let mut errors = Errors::new();
    let class = View::root(class);
    let handler = class.get("handler");
    if required(&handler, &mut errors) {
        dns_label(&handler, &mut errors);
    }
    let overhead = class.get("overhead");
    if overhead.is_set() {
        // Upstream looks at the overhead as at a container's limits.
        let limits = json!({"limits": overhead.raw("podFixed")});
        let view = View::at(&limits, overhead.path().clone());
        resources::requirements(&view, resources::container_resource_name, &[], &mut errors);
    }
    let scheduling = class.get("scheduling");
    labels(&scheduling.get("nodeSelector"), &mut errors);
    let tolerations = scheduling.get("tolerations");
    scheduling::tolerations(&tolerations, &mut errors);
    let mut seen = Vec::new();
    for toleration in tolerations.items() {
        let key = ["key", "operator", "value", "effect"].map(|field| toleration.text(field));
        if seen.contains(&key) {
            errors.push(toleration.duplicate());
        } else {
            seen.push(key);
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        let texts = |class: Value| validate(&class).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(json!({})), ["handler: Required value"]);
        let toleration = json!({"key": "k", "operator": "Exists"});
        assert_eq!(
            texts(json!({"handler": "a", "scheduling": {"tolerations": [toleration, toleration]}})),
            ["scheduling.tolerations[1]: Duplicate value: {\"key\":\"k\",\"operator\":\"Exists\"}"]
        );
        assert_eq!(
            deprecated_labels(&json!({"scheduling": {"nodeSelector": {"beta.kubernetes.io/os": "x"}}})),
            ["scheduling.nodeSelector: deprecated since v1.14; use \"kubernetes.io/os\" instead"]
        );
    }
}
