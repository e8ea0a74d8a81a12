//! The first version of autoscalers, which has a field for CPU alone and keeps all else in annotations.

use proto::view::{at, remove_at, set_at, text_at};
use serde_json::{Map, Value, json};

use super::default_metric;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const STATUSES: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CPU: [&str; 2] = ["spec", "targetCPUUtilizationPercentage"];
const CURRENT_CPU: [&str; 2] = ["status", "currentCPUUtilizationPercentage"];

/// Where a metric's fields stand in both versions, by its source: (newer path, older name).
type Names = &'static [(&'static [&'static str], &'static str)];

const SOURCES: [(&str, Names); 5] = [
    (
        "object",
        &[
            (&["describedObject"], "target"),
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["target", "value"], "targetValue"),
            (&["target", "averageValue"], "averageValue"),
        ],
    ),
    (
        "pods",
        &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["target", "averageValue"], "targetAverageValue"),
        ],
    ),
    (
        "resource",
        &[
            (&["name"], "name"),
            (&["target", "averageUtilization"], "targetAverageUtilization"),
            (&["target", "averageValue"], "targetAverageValue"),
        ],
    ),
    (
        "containerResource",
        &[
            (&["name"], "name"),
            (&["container"], "container"),
            (&["target", "averageUtilization"], "targetAverageUtilization"),
            (&["target", "averageValue"], "targetAverageValue"),
        ],
    ),
    (
        "external",
        &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "metricSelector"),
            (&["target", "value"], "targetValue"),
            (&["target", "averageValue"], "targetAverageValue"),
        ],
    ),
];

const STATUS_SOURCES: [(&str, Names); 5] = [
    (
        "object",
        &[
            (&["describedObject"], "target"),
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["current", "value"], "currentValue"),
            (&["current", "averageValue"], "averageValue"),
        ],
    ),
    (
        "pods",
        &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
    ),
    (
        "resource",
        &[
            (&["name"], "name"),
            (&["current", "averageUtilization"], "currentAverageUtilization"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
    ),
    (
        "containerResource",
        &[
            (&["name"], "name"),
            (&["container"], "container"),
            (&["current", "averageUtilization"], "currentAverageUtilization"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
    ),
    (
        "external",
        &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "metricSelector"),
            (&["current", "value"], "currentValue"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
    ),
];

fn newer(metric: &Value, sources: &[(&str, Names)]) -> Value {
    let mut new = json!({"type": text_at(metric, &["type"])});
    for (source, names) in sources {
        let old = at(metric, &[source]);
        if old.is_null() {
            continue;
        }
        for (path, name) in *names {
            let value = at(old, &[name]);
            if !value.is_null() {
                let full: Vec<&str> = std::iter::once(*source).chain(path.iter().copied()).collect();
                set_at(&mut new, &full, value.clone());
            }
        }
        let target = at(&new, &[source, "target"]);
        if !target.is_null() {
            let kind = if !at(target, &["averageUtilization"]).is_null() {
                "Utilization"
            } else if !at(target, &["averageValue"]).is_null() && at(target, &["value"]).is_null() {
                "AverageValue"
            } else {
                "Value"
            };
            set_at(&mut new, &[source, "target", "type"], Value::from(kind));
        }
    }
    new
}

fn older(metric: &Value, sources: &[(&str, Names)]) -> Value {
    let mut old = json!({"type": text_at(metric, &["type"])});
    for (source, names) in sources {
        let new = at(metric, &[source]);
        if new.is_null() {
            continue;
        }
        let mut fields = Map::new();
        for (path, name) in *names {
            let value = at(new, path);
            if !value.is_null() {
                fields.insert((*name).to_owned(), value.clone());
            }
        }
        set_at(&mut old, &[source], Value::Object(fields));
    }
    old
}

fn is_cpu_utilization(metric: &Value) -> bool {
    text_at(metric, &["type"]) == "Resource"
        && text_at(metric, &["resource", "name"]) == "cpu"
        && !at(metric, &["resource", "target", "averageUtilization"]).is_null()
}

fn list(value: &Value, path: &[&str]) -> Vec<Value> {
    at(value, path).as_array().cloned().unwrap_or_default()
}

/// Takes an annotation away and reads it.
fn take(object: &mut Value, annotation: &str) -> Option<Value> {
    let text = remove_at(object, &["metadata", "annotations", annotation])?;
    serde_json::from_str(text.as_str()?).ok()
}

fn put(object: &mut Value, annotation: &str, value: &Value) {
    set_at(object, &["metadata", "annotations", annotation], Value::from(value.to_string()));
}

fn tidy(object: &mut Value) {
    for path in [&["metadata", "annotations"][..], &["status"]] {
        if proto::view::is_empty(at(object, path)) {
            remove_at(object, path);
        }
    }
}

/// From `autoscaling/v1`.
pub(super) fn from_v1(object: &mut Value) {
    let mut metrics: Vec<Value> = match take(object, METRICS) {
        Some(Value::Array(others)) => others.iter().map(|metric| newer(metric, &SOURCES)).collect(),
        _ => Vec::new(),
    };
    if let Some(percent) = remove_at(object, &CPU) {
        let target = json!({"type": "Utilization", "averageUtilization": percent});
        metrics.push(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
    }
    if metrics.is_empty() {
        metrics.push(default_metric());
    }
    set_at(object, &["spec", "metrics"], Value::from(metrics));
    if let Some(behavior) = take(object, BEHAVIOR).filter(|behavior| !proto::view::is_empty(behavior)) {
        set_at(object, &["spec", "behavior"], capitals(behavior, false));
    }
    let current = remove_at(object, &CURRENT_CPU);
    match (take(object, STATUSES), current) {
        (Some(Value::Array(statuses)), _) => {
            let statuses: Vec<Value> = statuses.iter().map(|status| newer(status, &STATUS_SOURCES)).collect();
            set_at(object, &["status", "currentMetrics"], Value::from(statuses));
        }
        (_, Some(percent)) => {
            let current = json!({"averageUtilization": percent});
            let status = json!({"type": "Resource", "resource": {"name": "cpu", "current": current}});
            set_at(object, &["status", "currentMetrics"], json!([status]));
        }
        _ => {}
    }
    if let Some(conditions) = take(object, CONDITIONS) {
        set_at(object, &["status", "conditions"], conditions);
    }
    tidy(object);
}

/// To `autoscaling/v1`.
pub(super) fn to_v1(object: &mut Value) {
    for annotation in [METRICS, STATUSES, CONDITIONS, BEHAVIOR] {
        remove_at(object, &["metadata", "annotations", annotation]);
    }
    let metrics = list(object, &["spec", "metrics"]);
    remove_at(object, &["spec", "metrics"]);
    if let Some(metric) = metrics.iter().find(|metric| is_cpu_utilization(metric)) {
        let percent = at(metric, &["resource", "target", "averageUtilization"]).clone();
        set_at(object, &CPU, percent);
    }
    let others = metrics.iter().filter(|metric| !is_cpu_utilization(metric));
    let others: Vec<Value> = others.map(|metric| older(metric, &SOURCES)).collect();
    if !others.is_empty() {
        put(object, METRICS, &Value::from(others));
    }
    let statuses = list(object, &["status", "currentMetrics"]);
    remove_at(object, &["status", "currentMetrics"]);
    for status in &statuses {
        let percent = at(status, &["resource", "current", "averageUtilization"]);
        if text_at(status, &["resource", "name"]) == "cpu" && !percent.is_null() {
            set_at(object, &CURRENT_CPU, percent.clone());
        }
    }
    if !statuses.is_empty() {
        let statuses: Vec<Value> = statuses.iter().map(|status| older(status, &STATUS_SOURCES)).collect();
        put(object, STATUSES, &Value::from(statuses));
    }
    if let Some(behavior) = remove_at(object, &["spec", "behavior"]) {
        put(object, BEHAVIOR, &capitals(behavior, true));
    }
    if let Some(conditions) = remove_at(object, &["status", "conditions"]) {
        put(object, CONDITIONS, &conditions);
    }
    tidy(object);
}

/// The annotation of the behavior has the names of upstream's internal struct, which begin with capitals.
fn capitals(value: Value, up: bool) -> Value {
    match value {
        Value::Object(fields) => {
            let renamed = fields.into_iter().map(|(name, value)| (capital(&name, up), capitals(value, up)));
            Value::Object(renamed.filter(|(_, value)| up || !value.is_null()).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(|item| capitals(item, up)).collect()),
        other => other,
    }
}

fn capital(name: &str, up: bool) -> String {
    let mut chars = name.chars();
    match chars.next() {
        Some(first) if up => first.to_uppercase().chain(chars).collect(),
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let hub = json!({
            "metadata": {"name": "h", "annotations": {"kept": "yes"}},
            "spec": {
                "maxReplicas": 3,
                "metrics": [
                    {"type": "Pods", "pods": {"metric": {"name": "qps"}, "target": {"type": "AverageValue", "averageValue": "5"}}},
                    default_metric(),
                ],
                "behavior": {"scaleDown": {"selectPolicy": "Disabled"}},
            },
            "status": {"conditions": [{"type": "AbleToScale", "status": "True"}]},
        });
        let mut object = hub.clone();
        to_v1(&mut object);
        assert_eq!(object["spec"], json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 80}));
        assert_eq!(
            object["metadata"]["annotations"][METRICS],
            "[{\"pods\":{\"metricName\":\"qps\",\"targetAverageValue\":\"5\"},\"type\":\"Pods\"}]"
        );
        from_v1(&mut object);
        assert_eq!(object, hub);
    }

    #[test]
    fn without_metrics_it_is_cpu() {
        let mut object = json!({"spec": {"maxReplicas": 3}});
        from_v1(&mut object);
        assert_eq!(object["spec"]["metrics"], json!([default_metric()]));
    }
}
