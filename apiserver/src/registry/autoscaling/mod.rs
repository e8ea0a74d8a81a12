//! The group autoscaling: horizontal pod autoscalers in two versions over one storage.

mod convert;
mod validation;

use std::borrow::Cow;

use proto::view::{at, set_at};
use serde_json::{Value, json};

use super::defaults::{fill, inside, within};
use super::kind::{Enabled, Kind};
use super::{Builder, Conversion, Hooks, strategy};

const GROUP: &str = "autoscaling";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new(GROUP, "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
        .short(&["hpa"])
        .category("all")
        .default(defaults)
        .hooks(Hooks {
            validate: |_, new| validation::validate(new, &Value::Null),
            validate_update: |_, new, old| validation::validate(new, old),
            ..strategy::with_status()
        })
        .status(Hooks { validate_update: |_, new, _| validation::validate_status(new), ..strategy::status() })
        .also_with("v1", Conversion::Functions { to_hub: convert::from_v1, from_hub: convert::to_v1 })
        .last(|endpoint| {
            endpoint.default = Some(|object| inside(object, "spec", |spec| fill(spec, "minReplicas", 1)));
        })
        .install(builder, enabled);
}

/// The metric that an autoscaler has if it has no other.
fn default_metric() -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": 80});
    json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
}

fn defaults(object: &mut Value) {
    inside(object, "spec", |spec| {
        fill(spec, "minReplicas", 1);
        fill(spec, "metrics", json!([default_metric()]));
        within(spec, "behavior", |behavior| {
            let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
            let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
            rules(behavior, "scaleUp", json!([pods, percent]), Some(0));
            rules(behavior, "scaleDown", json!([percent]), None);
        });
    });
}

fn rules(behavior: &mut Value, field: &str, policies: Value, window: Option<i64>) {
    fill(behavior, field, json!({}));
    within(behavior, field, |rules| {
        fill(rules, "selectPolicy", "Max");
        fill(rules, "policies", policies);
        if let Some(window) = window {
            fill(rules, "stabilizationWindowSeconds", window);
        }
    });
}

/// An autoscaler of either version in the hub's shape.
pub(crate) fn as_hub(object: &Value) -> Cow<'_, Value> {
    let is_v1 = at(object, &["apiVersion"]) == "autoscaling/v1";
    if !is_v1 {
        return Cow::Borrowed(object);
    }
    let mut hub = object.clone();
    convert::from_v1(&mut hub);
    set_at(&mut hub, &["apiVersion"], Value::from("autoscaling/v2"));
    Cow::Owned(hub)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behavior_is_completed_where_it_is_given() {
        let mut object = json!({"spec": {"behavior": {"scaleDown": {"selectPolicy": "Disabled"}}}});
        defaults(&mut object);
        let behavior = &object["spec"]["behavior"];
        assert_eq!(behavior["scaleDown"]["selectPolicy"], "Disabled");
        assert_eq!(behavior["scaleUp"]["stabilizationWindowSeconds"], 0);
        assert_eq!(behavior["scaleUp"]["policies"][0]["type"], "Pods");
        assert_eq!(object["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
    }
}
