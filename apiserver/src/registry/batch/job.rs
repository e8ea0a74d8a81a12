//! Jobs.

use proto::content;
use proto::field::{Error, Errors, Path};
use proto::labels::Selector;
use proto::view::{View, at, is_empty, object_at, set_at, text_at};
use serde_json::{Map, Value};

use super::{policy, status};
use crate::registry::checks::*;
use crate::registry::core::pod::{Options, of_template, spec as pod_spec, warnings as pod_warnings};
use crate::registry::{Hooks, strategy};

const UID: &str = "batch.kubernetes.io/controller-uid";
const NAME: &str = "batch.kubernetes.io/job-name";
const LEGACY_UID: &str = "controller-uid";
const LEGACY_NAME: &str = "job-name";

const DELETE_WARNING: &str = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning";

const COMPLETIONS_SOFT_LIMIT: i64 = 100_000;
const PARALLELISM_SOFT_LIMIT: i64 = 10_000;

/// Hooks of Jobs.
pub(super) fn hooks() -> Hooks {
    Hooks {
        prepare_create: |_, new| {
            select_own_pods(new);
            strategy::drop_status(new);
            strategy::first_generation(new);
        },
        validate: |_, new| validate(new, &Value::Null),
        validate_update: |_, new, old| {
            let mut errors = validate(new, old);
            update(new, old, &mut errors);
            errors
        },
        warnings: |ctx, new| {
            let mut warnings = strategy::pod_name_warning(ctx, new);
            warnings.extend(spec_warnings(&View::root(new).get("spec")));
            warnings
        },
        warnings_update: |_, new, old| {
            if !strategy::generation_changes(new, old) {
                return Vec::new();
            }
            spec_warnings(&View::root(new).get("spec"))
        },
        orphan_dependents: true,
        delete_warning: Some(DELETE_WARNING),
        ..strategy::with_generation()
    }
}

/// What is to be said of a job's spec that is valid.
pub(super) fn spec_warnings(spec: &View) -> Vec<String> {
    let many =
        spec.int("completions") > COMPLETIONS_SOFT_LIMIT && spec.int("parallelism") > PARALLELISM_SOFT_LIMIT;
    let mut warnings = Vec::new();
    if is_indexed(spec) && many {
        warnings.push(format!(
            "{}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail",
            spec.path()
        ));
    }
    warnings.extend(pod_warnings::template(&spec.get("template")));
    warnings
}

/// Whether pods have an index each.
pub(super) fn is_indexed(spec: &View) -> bool {
    spec.text("completionMode") == "Indexed"
}

/// Labels the pods after the job and selects them by it, unless the user does so himself.
fn select_own_pods(job: &mut Value) {
    if View::root(job).get("spec").flag("manualSelector") {
        return;
    }
    let name = Value::from(text_at(job, &["metadata", "name"]));
    let uid = Value::from(text_at(job, &["metadata", "uid"]));
    if let Some(labels) = object_at(job, &["spec", "template", "metadata", "labels"]) {
        // Labels that contradict are found later.
        for (label, value) in [(LEGACY_NAME, &name), (NAME, &name), (LEGACY_UID, &uid), (UID, &uid)] {
            labels.entry(label).or_insert_with(|| value.clone());
        }
    }
    if let Some(labels) = object_at(job, &["spec", "selector", "matchLabels"]) {
        labels.entry(UID).or_insert(uid);
    }
    // A job without labels of its own has those of its pods.
    if is_empty(at(job, &["metadata", "labels"])) {
        let labels = at(job, &["spec", "template", "metadata", "labels"]).clone();
        set_at(job, &["metadata", "labels"], labels);
    }
}

fn validate(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let job = View::root(new);
    let spec = job.get("spec");
    own_pods(&job, old, &mut errors);
    let options = of_template(at(old, &["spec", "template"]));
    let lenient = View::root(old).get("spec").get("selector");
    let lenient = options.bad_selector_values || bad_label_selector(&lenient);
    selected_spec(&spec, &options, lenient, &mut errors);
    let name = job.get("metadata").get("name");
    if is_indexed(&spec) && spec.int("completions") > 0 {
        let longest = format!("{}-{}", name.str(), spec.int("completions") - 1);
        if !content::is_dns1123_label(&longest).is_empty() {
            let detail = format!("will not able to create pod with invalid DNS label: {longest}");
            errors.push(name.invalid_str(detail));
        }
    }
    errors
}

/// The labels that were set on creation must still be there, and must be the job's.
fn own_pods(job: &View, old: &Value, errors: &mut Errors) {
    let spec = job.get("spec");
    let selector = spec.get("selector");
    if spec.flag("manualSelector") || !selector.is_set() {
        return;
    }
    let (name, uid) = (job.get("metadata").text("name"), job.get("metadata").text("uid"));
    if uid.is_empty() {
        errors.push(job.get("metadata").get("uid").required(""));
    }
    let old_labels = at(old, &["spec", "template", "metadata", "labels"]);
    let prefixed = old.is_null() || [NAME, UID].iter().all(|label| old_labels.get(label).is_some());
    let mut expected = vec![(LEGACY_UID, uid), (LEGACY_NAME, name)];
    if prefixed {
        expected.extend([(UID, uid), (NAME, name)]);
    }
    let labels = spec.get("template").get("metadata").get("labels");
    for (label, value) in &expected {
        let view = labels.key(label);
        if !view.is_set() {
            errors.push(view.required(format!("must be '{value}'")));
        } else if view.str() != *value {
            let detail = format!("must be '{value}'");
            errors.push(Error::invalid(view.path(), labels.value().clone(), detail));
        }
    }
    let expected: Map<String, Value> =
        expected.iter().map(|(label, value)| ((*label).to_owned(), Value::from(*value))).collect();
    let expected = Value::from(expected);
    if Selector::from_label_selector(selector.value()).is_ok_and(|parsed| !parsed.matches(&expected)) {
        errors.push(selector.invalid("`selector` not auto-generated"));
    }
}

fn selected_spec(spec: &View, options: &Options, lenient: bool, errors: &mut Errors) {
    validate_spec(spec, options, errors);
    let selector = spec.get("selector");
    if selector.is_set() {
        label_selector(&selector, lenient, errors);
    } else {
        errors.push(selector.required(""));
    }
    let labels = spec.get("template").get("metadata").get("labels");
    if Selector::from_label_selector(selector.value()).is_ok_and(|parsed| !parsed.matches(labels.value())) {
        errors.push(labels.invalid("`selector` does not match template `labels`"));
    }
}

/// The spec of a job, but for its selector.
pub(super) fn validate_spec(spec: &View, options: &Options, errors: &mut Errors) {
    const MANAGER_LIMIT: usize = 63;
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        nonnegative(&spec.get(field), errors);
    }
    if spec.has("maxFailedIndexes") && !spec.has("backoffLimitPerIndex") {
        errors.push(spec.get("backoffLimitPerIndex").required("when maxFailedIndexes is specified"));
    }
    let manager = spec.get("managedBy");
    if manager.is_set() {
        errors.extend(content::is_domain_prefixed_path(manager.path(), manager.str()));
        if manager.str().len() > MANAGER_LIMIT {
            errors.push(Error::too_long(manager.path(), MANAGER_LIMIT));
        }
    }
    let mode = spec.get("completionMode");
    if mode.is_set() {
        supported(&mode, &["NonIndexed", "Indexed"], errors);
    }
    if is_indexed(spec) {
        indexed(spec, errors);
    }
    if !mode.is_set() || mode.str() == "NonIndexed" {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if spec.has(field) {
                errors.push(spec.get(field).invalid("requires indexed completion mode"));
            }
        }
    }
    let failure_policy = spec.has("podFailurePolicy");
    if failure_policy {
        policy::failure(spec, errors);
    }
    let success_policy = spec.get("successPolicy");
    if success_policy.is_set() {
        if is_indexed(spec) {
            policy::success(spec, errors);
        } else {
            errors.push(success_policy.invalid("requires indexed completion mode"));
        }
    }
    let replacement = spec.get("podReplacementPolicy");
    if replacement.is_set() {
        let values: &[&str] = if failure_policy { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
        supported(&replacement, values, errors);
    }
    let template = spec.get("template");
    pod_spec::template(&template, options, errors);
    let restart = template.get("spec").get("restartPolicy");
    match restart.str() {
        "Always" | "" => errors.push(restart.required("valid values: \"OnFailure\", \"Never\"")),
        "Never" => {}
        "OnFailure" if !failure_policy => {}
        "OnFailure" => {
            errors.push(restart.invalid("only \"Never\" is supported when podFailurePolicy is specified"))
        }
        _ => errors.push(restart.not_supported(&["OnFailure", "Never"])),
    }
}

/// What a job with indexes may ask for, so that its status stays small.
fn indexed(spec: &View, errors: &mut Errors) {
    const PARALLELISM: i64 = 100_000;
    const FAILED: i64 = 100_000;
    let (completions, parallelism, failed) =
        (spec.get("completions"), spec.get("parallelism"), spec.get("maxFailedIndexes"));
    if !completions.is_set() {
        errors.push(completions.required("when completion mode is Indexed"));
    }
    if parallelism.i64() > PARALLELISM {
        errors.push(
            parallelism.invalid(format!(
                "must be less than or equal to {PARALLELISM} when completion mode is Indexed"
            )),
        );
    }
    if completions.is_set() && failed.is_set() && failed.i64() > completions.i64() {
        errors.push(failed.invalid("must be less than or equal to completions"));
    }
    if failed.i64() > FAILED {
        errors.push(failed.invalid(format!("must be less than or equal to {FAILED}")));
    }
    if completions.i64() > COMPLETIONS_SOFT_LIMIT && spec.has("backoffLimitPerIndex") {
        if !failed.is_set() {
            let detail = format!("must be specified when completions is above {COMPLETIONS_SOFT_LIMIT}");
            errors.push(failed.required(detail));
        }
        for bounded in [parallelism, failed] {
            if bounded.i64() > PARALLELISM_SOFT_LIMIT {
                errors.push(bounded.invalid(format!(
                    "must be less than or equal to {PARALLELISM_SOFT_LIMIT} when completions are above {COMPLETIONS_SOFT_LIMIT} and used with backoff limit per index"
                )));
            }
        }
    }
}

fn update(new: &Value, old: &Value, errors: &mut Errors) {
    let (spec, old_spec) = (View::root(new).get("spec"), View::root(old).get("spec"));
    let completions = spec.get("completions");
    if !is_indexed(&spec) {
        immutable(&completions, &old_spec.get("completions"), errors);
    } else if completions.is_set()
        && completions.value() != old_spec.raw("completions")
        && completions.i64() != spec.int("parallelism")
    {
        // The path is upstream's.
        errors.push(completions.invalid("can only be modified in tandem with spec.parallelism"));
    }
    immutable(&spec.get("selector"), &old_spec.get("selector"), errors);
    template_update(&spec, old, errors);
    for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
    {
        immutable(&spec.get(field), &old_spec.get(field), errors);
    }
}

/// A template only changes while its job is suspended and has no pods: where its pods are scheduled, and what they ask for.
fn template_update(spec: &View, old: &Value, errors: &mut Errors) {
    const SCHEDULING: [&[&str]; 5] = [
        &["spec", "nodeSelector"],
        &["spec", "tolerations"],
        &["metadata", "annotations"],
        &["metadata", "labels"],
        &["spec", "schedulingGates"],
    ];
    let template = spec.get("template");
    let mut before = at(old, &["spec", "template"]).clone();
    let suspended = View::root(old).get("spec").flag("suspend");
    if suspended && !status::has_pods(old) {
        for path in SCHEDULING {
            strategy::keep(&mut before, template.value(), path);
        }
        allow_node_affinity(&mut before, template.value());
    }
    if !suspended || status::has_pods(old) {
        if before != *template.value() {
            errors.push(template.invalid(IMMUTABLE));
        }
        return;
    }
    allow_resources(&mut before, template.value());
    let (now, path) = (template.get("spec"), Path::new("spec").child("template.spec"));
    if before.get("spec") != Some(now.value()) {
        errors.push(Error::invalid(&path, now.value().clone(), IMMUTABLE));
    }
}

/// Of the affinity, only that to nodes may change.
fn allow_node_affinity(before: &mut Value, new: &Value) {
    const AFFINITY: [&str; 2] = ["spec", "affinity"];
    const NODE: [&str; 3] = ["spec", "affinity", "nodeAffinity"];
    if at(new, &AFFINITY).is_null() {
        if !at(before, &AFFINITY).is_null() {
            set_at(before, &NODE, Value::Null);
            if at(before, &AFFINITY).as_object().is_some_and(Map::is_empty) {
                set_at(before, &AFFINITY, Value::Null);
            }
        }
        return;
    }
    object_at(before, &AFFINITY);
    strategy::keep(before, new, &NODE);
}

fn allow_resources(before: &mut Value, new: &Value) {
    for list in ["containers", "initContainers"] {
        let now = at(new, &["spec", list]).as_array().cloned().unwrap_or_default();
        let containers =
            before.get_mut("spec").and_then(|spec| spec.get_mut(list)).and_then(Value::as_array_mut);
        let Some(containers) = containers.filter(|containers| containers.len() == now.len()) else {
            continue;
        };
        for (container, now) in containers.iter_mut().zip(&now) {
            if container.get("name") == now.get("name") {
                strategy::keep(container, now, &["resources"]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn job(spec: Value) -> Value {
        let mut job = json!({"metadata": {"name": "j", "uid": "u"}, "spec": {
            "template": {"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}},
        }});
        for (field, value) in spec.as_object().into_iter().flatten() {
            job["spec"][field] = value.clone();
        }
        crate::registry::batch::defaults::job(&mut job);
        crate::registry::defaults::pod_template(&mut job["spec"]["template"]);
        select_own_pods(&mut job);
        job
    }

    fn texts(errors: Errors) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn pods_are_labelled_and_selected() {
        let job = job(json!({}));
        let labels = json!({UID: "u", NAME: "j", LEGACY_UID: "u", LEGACY_NAME: "j"});
        assert_eq!(job["spec"]["template"]["metadata"]["labels"], labels);
        assert_eq!(job["metadata"]["labels"], labels);
        assert_eq!(job["spec"]["selector"], json!({"matchLabels": {UID: "u"}}));
        assert_eq!(texts(validate(&job, &Value::Null)), [""; 0]);
    }

    #[test]
    fn specs() {
        let cases = [
            (
                json!({"parallelism": -1}),
                "spec.parallelism: Invalid value: -1: must be greater than or equal to 0",
            ),
            (
                json!({"completionMode": "Indexed", "completions": null, "parallelism": 1}),
                "spec.completions: Required value: when completion mode is Indexed",
            ),
            (
                json!({"backoffLimitPerIndex": 1}),
                "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
            ),
            (
                json!({"podFailurePolicy": {"rules": []}, "podReplacementPolicy": "TerminatingOrFailed"}),
                "spec.podReplacementPolicy: Unsupported value: \"TerminatingOrFailed\": supported values: \"Failed\"",
            ),
        ];
        for (spec, want) in cases {
            assert_eq!(texts(validate(&job(spec), &Value::Null)), [want]);
        }
    }

    #[test]
    fn templates_change_while_suspended_without_pods() {
        let old = job(json!({"suspend": true}));
        let mut new = old.clone();
        new["spec"]["template"]["spec"]["nodeSelector"] = json!({"a": "b"});
        new["spec"]["template"]["spec"]["affinity"] = json!({"nodeAffinity": {}});
        new["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1"}});
        let changed = |new: &Value, old: &Value| {
            let mut errors = Errors::new();
            update(new, old, &mut errors);
            errors.iter().map(|error| error.path.clone()).collect::<Vec<_>>()
        };
        assert_eq!(changed(&new, &old), [""; 0]);
        let mut running = old.clone();
        running["status"] = json!({"active": 1});
        assert_eq!(changed(&new, &running), ["spec.template"]);
        new["spec"]["template"]["spec"]["containers"][0]["image"] = json!("other");
        assert_eq!(changed(&new, &old), ["spec.template.spec"]);
    }
}
