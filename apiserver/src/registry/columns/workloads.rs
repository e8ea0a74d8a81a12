//! Rows of the controllers of pods.

use proto::time::human_age;
use proto::view::{View, at};
use serde_json::Value;

use super::Table;
use super::cells::{Object, int_or_text, labels, time_of, with_more};

const TEMPLATE: [&str; 2] = ["spec", "template"];
const SELECTOR: [&str; 2] = ["spec", "selector"];

const REPLICA_COLUMNS: &[(&str, &str, i32)] = &[
    ("Desired", "integer", 0),
    ("Current", "integer", 0),
    ("Ready", "integer", 0),
    ("Age", "string", 0),
    ("Containers", "string", 1),
    ("Images", "string", 1),
    ("Selector", "string", 1),
];

fn replicas(object: &Object, selector: Value) -> Vec<Value> {
    let [names, images] = object.containers(&TEMPLATE);
    vec![
        object.number(&["spec", "replicas"]),
        object.number(&["status", "replicas"]),
        object.number(&["status", "readyReplicas"]),
        object.age(),
        names,
        images,
        selector,
    ]
}

pub(super) const REPLICATION_CONTROLLER: Table =
    (REPLICA_COLUMNS, |object| replicas(object, labels(object.at(&SELECTOR))));

pub(super) const REPLICA_SET: Table =
    (REPLICA_COLUMNS, |object| replicas(object, object.selector(&SELECTOR)));

pub(super) const POD_TEMPLATE: Table =
    (&[("Containers", "string", 0), ("Images", "string", 0), ("Pod Labels", "string", 0)], |object| {
        let [names, images] = object.containers(&["template"]);
        vec![names, images, labels(object.at(&["template", "metadata", "labels"]))]
    });

fn ready_of_wanted(object: &Object) -> Value {
    let (ready, wanted) = (object.int(&["status", "readyReplicas"]), object.int(&["spec", "replicas"]));
    Value::from(format!("{ready}/{wanted}"))
}

pub(super) const DEPLOYMENT: Table = (
    &[
        ("Ready", "string", 0),
        ("Up-to-date", "string", 0),
        ("Available", "string", 0),
        ("Age", "string", 0),
        ("Containers", "string", 1),
        ("Images", "string", 1),
        ("Selector", "string", 1),
    ],
    |object| {
        let [names, images] = object.containers(&TEMPLATE);
        vec![
            ready_of_wanted(object),
            object.number(&["status", "updatedReplicas"]),
            object.number(&["status", "availableReplicas"]),
            object.age(),
            names,
            images,
            object.selector(&SELECTOR),
        ]
    },
);

pub(super) const STATEFUL_SET: Table = (
    &[("Ready", "string", 0), ("Age", "string", 0), ("Containers", "string", 1), ("Images", "string", 1)],
    |object| {
        let [names, images] = object.containers(&TEMPLATE);
        vec![ready_of_wanted(object), object.age(), names, images]
    },
);

pub(super) const DAEMON_SET: Table = (
    &[
        ("Desired", "integer", 0),
        ("Current", "integer", 0),
        ("Ready", "integer", 0),
        ("Up-to-date", "integer", 0),
        ("Available", "integer", 0),
        ("Node Selector", "string", 0),
        ("Age", "string", 0),
        ("Containers", "string", 1),
        ("Images", "string", 1),
        ("Selector", "string", 1),
    ],
    |object| {
        let [names, images] = object.containers(&TEMPLATE);
        vec![
            object.number(&["status", "desiredNumberScheduled"]),
            object.number(&["status", "currentNumberScheduled"]),
            object.number(&["status", "numberReady"]),
            object.number(&["status", "updatedNumberScheduled"]),
            object.number(&["status", "numberAvailable"]),
            labels(object.at(&["spec", "template", "spec", "nodeSelector"])),
            object.age(),
            names,
            images,
            object.selector(&SELECTOR),
        ]
    },
);

pub(super) const CONTROLLER_REVISION: Table =
    (&[("Controller", "string", 0), ("Revision", "string", 0), ("Age", "string", 0)], |object| {
        let owners = object.view_at(&["metadata", "ownerReferences"]).items();
        let controller = owners.iter().find(|owner| owner.flag("controller"));
        let name = controller.map(|owner| {
            let group = owner.text("apiVersion").split_once('/').map_or("", |(group, _)| group);
            let kind = proto::status::qualified(group, &owner.text("kind").to_lowercase());
            format!("{kind}/{}", owner.text("name"))
        });
        vec![
            Value::from(name.unwrap_or_else(|| "<none>".to_owned())),
            object.number(&["revision"]),
            object.age(),
        ]
    });

pub(super) const JOB: Table = (
    &[
        ("Status", "string", 0),
        ("Completions", "string", 0),
        ("Duration", "string", 0),
        ("Age", "string", 0),
        ("Containers", "string", 1),
        ("Images", "string", 1),
        ("Selector", "string", 1),
    ],
    |object| {
        let [names, images] = object.containers(&TEMPLATE);
        vec![
            Value::from(job_status(object)),
            Value::from(completions(object)),
            Value::from(job_duration(object)),
            object.age(),
            names,
            images,
            object.selector(&SELECTOR),
        ]
    },
);

fn job_status(object: &Object) -> &'static str {
    let conditions = object.view_at(&["status", "conditions"]).items();
    let has =
        |kind: &str| conditions.iter().any(|own| own.text("type") == kind && own.text("status") == "True");
    let order = ["Complete", "Failed", "", "Suspended", "FailureTarget", "SuccessCriteriaMet"];
    for status in order {
        if status.is_empty() {
            if object.is_deleted() {
                return "Terminating";
            }
        } else if has(status) {
            return status;
        }
    }
    "Running"
}

fn completions(object: &Object) -> String {
    let succeeded = object.int(&["status", "succeeded"]);
    let parallelism = object.int(&["spec", "parallelism"]);
    match object.at(&["spec", "completions"]).as_i64() {
        Some(completions) => format!("{succeeded}/{completions}"),
        None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        None => format!("{succeeded}/1"),
    }
}

fn job_duration(object: &Object) -> String {
    let Some(start) = time_of(object.text(&["status", "startTime"])) else { return String::new() };
    match time_of(object.text(&["status", "completionTime"])) {
        Some(end) => human_age(start, end),
        None => object.ages.since(start),
    }
}

pub(super) const CRON_JOB: Table = (
    &[
        ("Schedule", "string", 0),
        ("Timezone", "string", 0),
        ("Suspend", "boolean", 0),
        ("Active", "integer", 0),
        ("Last Schedule", "string", 0),
        ("Age", "string", 0),
        ("Containers", "string", 1),
        ("Images", "string", 1),
        ("Selector", "string", 1),
    ],
    |object| {
        let [names, images] = object.containers(&["spec", "jobTemplate", "spec", "template"]);
        let suspend = object.at(&["spec", "suspend"]).as_bool();
        let last = object.text(&["status", "lastScheduleTime"]);
        vec![
            object.text_or(&["spec", "schedule"], ""),
            object.text_or(&["spec", "timeZone"], "<none>"),
            Value::from(match suspend {
                Some(true) => "True",
                Some(false) => "False",
                None => "<unset>",
            }),
            object.count(&["status", "active"]),
            Value::from(if last.is_empty() { "<none>".to_owned() } else { object.since(last) }),
            object.age(),
            names,
            images,
            object.selector(&["spec", "jobTemplate", "spec", "selector"]),
        ]
    },
);

pub(super) const DISRUPTION_BUDGET: Table = (
    &[
        ("Min Available", "string", 0),
        ("Max Unavailable", "string", 0),
        ("Allowed Disruptions", "integer", 0),
        ("Age", "string", 0),
    ],
    |object| {
        let bound = |field| {
            let text = int_or_text(object.at(&["spec", field]));
            Value::from(text.unwrap_or_else(|| "N/A".to_owned()))
        };
        vec![
            bound("minAvailable"),
            bound("maxUnavailable"),
            object.number(&["status", "disruptionsAllowed"]),
            object.age(),
        ]
    },
);

pub(super) const SCALE: Table =
    (&[("Desired", "integer", 0), ("Available", "integer", 0), ("Age", "string", 0)], |object| {
        vec![object.number(&["spec", "replicas"]), object.number(&["status", "replicas"]), object.age()]
    });

pub(super) const AUTOSCALER: Table = (
    &[
        ("Reference", "string", 0),
        ("Targets", "string", 0),
        ("MinPods", "string", 0),
        ("MaxPods", "string", 0),
        ("Replicas", "string", 0),
        ("Age", "string", 0),
    ],
    |object| {
        let hub = crate::registry::autoscaling::as_hub(object.value);
        let view = View::root(&hub);
        let (spec, status) = (view.get("spec"), view.get("status"));
        let target = spec.get("scaleTargetRef");
        let least = spec.raw("minReplicas").as_i64();
        vec![
            Value::from(format!("{}/{}", target.text("kind"), target.text("name"))),
            Value::from(metrics(&spec, &status)),
            Value::from(least.map_or_else(|| "<unset>".to_owned(), |least| least.to_string())),
            Value::from(spec.int("maxReplicas")),
            Value::from(status.int("currentReplicas")),
            object.age(),
        ]
    },
);

fn metrics(spec: &View, status: &View) -> String {
    let wanted = spec.get("metrics").items();
    if wanted.is_empty() {
        return "<none>".to_owned();
    }
    let current = status.get("currentMetrics").items();
    let texts: Vec<String> =
        wanted.iter().enumerate().map(|(index, metric)| metric_text(metric, current.get(index))).collect();
    with_more(&texts, 2, ", ")
}

fn metric_text(metric: &View, current: Option<&View>) -> String {
    const UNKNOWN: &str = "<unknown>";
    let (field, named) = match metric.text("type") {
        "External" => ("external", false),
        "Pods" => ("pods", false),
        "Object" => ("object", false),
        "Resource" => ("resource", true),
        "ContainerResource" => ("containerResource", true),
        _ => return "<unknown type>".to_owned(),
    };
    let source = metric.get(field);
    let target = source.get("target");
    let now = current.map(|current| at(current.value(), &[field, "current"]));
    let now_text = |field: &str| now.and_then(|now| int_or_text(at(now, &[field])));
    let average = int_or_text(target.raw("averageValue"));
    let text = match (&average, named) {
        (Some(average), _) => {
            let now = now_text("averageValue").unwrap_or_else(|| UNKNOWN.to_owned());
            let suffix = if matches!(field, "external" | "object") { " (avg)" } else { "" };
            format!("{now}/{average}{suffix}")
        }
        (None, true) => {
            let percent = |text: Option<String>, absent: &str| {
                text.map_or_else(|| absent.to_owned(), |text| format!("{text}%"))
            };
            let wanted = percent(int_or_text(target.raw("averageUtilization")), "<auto>");
            format!("{}/{wanted}", percent(now_text("averageUtilization"), UNKNOWN))
        }
        (None, false) => {
            let wanted = int_or_text(target.raw("value")).unwrap_or_else(|| "0".to_owned());
            format!("{}/{wanted}", now_text("value").unwrap_or_else(|| UNKNOWN.to_owned()))
        }
    };
    if named { format!("{}: {text}", source.text("name")) } else { text }
}
