//! What is wrong with the controllers of the group apps.

use proto::content;
use proto::field::{Error, Errors, Path};
use proto::labels::Selector;
use proto::view::{View, at, set_at};
use serde_json::{Value, json};

use crate::registry::checks::*;
use crate::registry::core::claim;
use crate::registry::core::pod::{Options, of_template, spec};

/// The template must carry the labels that the selector asks for, and its pods must run for ever.
fn template_for(template: &View, selector: &View, what: &str, options: &Options, errors: &mut Errors) {
    selects(template, selector, errors);
    spec::template(template, options, errors);
    runs_for_ever(template, what, errors);
}

fn selects(template: &View, selector: &View, errors: &mut Errors) {
    // An absent selector selects nothing.
    let labels = template.get("metadata").get("labels");
    let Ok(parsed) = Selector::from_label_selector(selector.value()) else {
        errors.push(selector.invalid("invalid label selector"));
        return;
    };
    if !parsed.is_empty() && !parsed.matches(labels.value()) {
        errors.push(labels.invalid("`selector` does not match template `labels`"));
    }
}

/// What is wrong with the pods of a controller that don't run for ever.
pub(crate) fn runs_for_ever(template: &View, what: &str, errors: &mut Errors) {
    let spec = template.get("spec");
    let policy = spec.get("restartPolicy");
    if policy.str() != "Always" {
        errors.push(policy.not_supported(&["Always"]));
    }
    let deadline = spec.get("activeDeadlineSeconds");
    if deadline.is_set() {
        errors.push(deadline.forbidden(format!("activeDeadlineSeconds in {what} is not Supported")));
    }
}

fn selector(spec: &View, what: &str, errors: &mut Errors) {
    let selector = spec.get("selector");
    if !selector.is_set() {
        errors.push(selector.required(""));
        return;
    }
    label_selector(&selector, false, errors);
    if selector_is_empty(&selector) {
        errors.push(selector.invalid(format!("empty selector is invalid for {what}")));
    }
}

fn all_nonnegative(view: &View, fields: &[&'static str], errors: &mut Errors) {
    for field in fields {
        nonnegative(&view.get(field), errors);
    }
}

/// Counts of replicas in a status never exceed another one: `(count, most, name of the most)`.
pub(crate) fn counts_within(
    status: &View,
    pairs: &[(&'static str, &'static str, &'static str)],
    errors: &mut Errors,
) {
    for (field, most, shown) in pairs {
        let count = status.get(field);
        if count.i64() > status.int(most) {
            errors.push(count.invalid_int(format!("cannot be greater than {shown}")));
        }
    }
}

fn not_decremented(new: &View, old: &View, errors: &mut Errors) {
    let count = new.get("collisionCount");
    let old = old.raw("collisionCount").as_i64();
    if old.is_some_and(|old| !count.is_set() || count.i64() < old) {
        errors.push(count.invalid_int("cannot be decremented"));
    }
}

// Numbers or percentages.

fn percent(view: &View) -> Option<i64> {
    let text = view.value().as_str()?;
    if content::is_valid_percent(text).is_empty() { text.trim_end_matches('%').parse().ok() } else { None }
}

/// A number that is not negative, or a percentage.
pub(crate) fn number_or_percent(view: &View, errors: &mut Errors) {
    if view.value().is_string() {
        each(view, content::is_valid_percent(view.str()), errors);
    } else {
        nonnegative(view, errors);
    }
}

/// No percentage above 100.
pub(crate) fn at_most_all(view: &View, errors: &mut Errors) {
    if percent(view).is_some_and(|percent| percent > 100) {
        errors.push(view.invalid("must not be greater than 100%"));
    }
}

fn number_of(view: &View) -> i64 {
    percent(view).or_else(|| view.str().parse().ok()).unwrap_or_else(|| view.i64())
}

/// A Deployment; `old` is null if it is new.
pub(super) fn deployment(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let view = View::root(new);
    let spec = view.get("spec");
    nonnegative(&spec.get("replicas"), &mut errors);
    selector(&spec, "deployment", &mut errors);
    let options = of_template(at(old, &["spec", "template"]));
    template_for(&spec.get("template"), &spec.get("selector"), "ReplicaSet", &options, &mut errors);
    deployment_strategy(&spec.get("strategy"), &mut errors);
    all_nonnegative(&spec, &["minReadySeconds", "revisionHistoryLimit"], &mut errors);
    let deadline = spec.get("progressDeadlineSeconds");
    if deadline.is_set() {
        nonnegative(&deadline, &mut errors);
        if deadline.i64() <= spec.int("minReadySeconds") {
            errors.push(deadline.invalid_int("must be greater than minReadySeconds"));
        }
    }
    if !old.is_null() {
        immutable(&spec.get("selector"), &View::root(old).get("spec").get("selector"), &mut errors);
    }
    errors
}

fn deployment_strategy(strategy: &View, errors: &mut Errors) {
    let update = strategy.get("rollingUpdate");
    match strategy.text("type") {
        "Recreate" => {
            if update.is_set() {
                errors.push(update.forbidden("may not be specified when strategy `type` is 'Recreate'"));
            }
        }
        "RollingUpdate" => {
            let (unavailable, surge) = (update.get("maxUnavailable"), update.get("maxSurge"));
            number_or_percent(&unavailable, errors);
            number_or_percent(&surge, errors);
            if number_of(&unavailable) == 0 && number_of(&surge) == 0 {
                errors.push(unavailable.invalid("may not be 0 when `maxSurge` is 0"));
            }
            at_most_all(&unavailable, errors);
        }
        _ => errors.push(strategy.not_supported(&["Recreate", "RollingUpdate"])),
    }
}

/// A change of a Deployment's status.
pub(super) fn deployment_status(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let status = View::root(new).get("status");
    let fields = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ];
    all_nonnegative(&status, &fields, &mut errors);
    let pairs = [
        ("updatedReplicas", "replicas", "status.replicas"),
        ("readyReplicas", "replicas", "status.replicas"),
        ("availableReplicas", "replicas", "status.replicas"),
        ("availableReplicas", "readyReplicas", "readyReplicas"),
    ];
    counts_within(&status, &pairs, &mut errors);
    not_decremented(&status, &View::root(old).get("status"), &mut errors);
    errors
}

/// A ReplicaSet; `old` is null if it is new.
pub(super) fn replica_set(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let view = View::root(new);
    let spec = view.get("spec");
    all_nonnegative(&spec, &["replicas", "minReadySeconds"], &mut errors);
    // The text is upstream's.
    selector(&spec, "deployment", &mut errors);
    let options = of_template(at(old, &["spec", "template"]));
    template_for(&spec.get("template"), &spec.get("selector"), "ReplicaSet", &options, &mut errors);
    if !old.is_null() {
        immutable(&spec.get("selector"), &View::root(old).get("spec").get("selector"), &mut errors);
    }
    errors
}

/// The status of a ReplicaSet or ReplicationController.
pub(crate) fn replicas_status(new: &Value) -> Errors {
    let mut errors = Errors::new();
    let status = View::root(new).get("status");
    let fields = [
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "observedGeneration",
        "terminatingReplicas",
    ];
    all_nonnegative(&status, &fields, &mut errors);
    let pairs = [
        ("fullyLabeledReplicas", "replicas", "status.replicas"),
        ("readyReplicas", "replicas", "status.replicas"),
        ("availableReplicas", "replicas", "status.replicas"),
        ("availableReplicas", "readyReplicas", "readyReplicas"),
    ];
    counts_within(&status, &pairs, &mut errors);
    errors
}

/// A DaemonSet; `old` is null if it is new.
pub(super) fn daemon_set(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let view = View::root(new);
    let spec = view.get("spec");
    if !old.is_null() {
        immutable(&spec.get("selector"), &View::root(old).get("spec").get("selector"), &mut errors);
    }
    let (selector, template) = (spec.get("selector"), spec.get("template"));
    let options = of_template(at(old, &["spec", "template"]));
    label_selector(&selector, options.bad_selector_values, &mut errors);
    let labels = template.get("metadata").get("labels");
    if let Ok(parsed) = Selector::from_label_selector(selector.value())
        && !parsed.matches(labels.value())
    {
        errors.push(labels.invalid("`selector` does not match template `labels`"));
    }
    if selector.is_set() && selector_is_empty(&selector) {
        errors.push(selector.invalid("empty selector is invalid for daemonset"));
    }
    spec::template(&template, &options, &mut errors);
    runs_for_ever(&template, "DaemonSet", &mut errors);
    nonnegative(&spec.get("minReadySeconds"), &mut errors);
    daemon_set_strategy(&spec.get("updateStrategy"), &mut errors);
    nonnegative(&spec.get("revisionHistoryLimit"), &mut errors);
    errors
}

fn daemon_set_strategy(strategy: &View, errors: &mut Errors) {
    let update = strategy.get("rollingUpdate");
    match strategy.text("type") {
        "OnDelete" => {}
        "RollingUpdate" if !update.is_set() => errors.push(update.required("")),
        "RollingUpdate" => {
            let (unavailable, surge) = (update.get("maxUnavailable"), update.get("maxSurge"));
            number_or_percent(&unavailable, errors);
            number_or_percent(&surge, errors);
            at_most_all(&unavailable, errors);
            at_most_all(&surge, errors);
            match (number_of(&unavailable) != 0, number_of(&surge) != 0) {
                (true, true) => {
                    errors.push(surge.invalid("may not be set when maxUnavailable is non-zero"));
                }
                (false, false) => errors.push(unavailable.required("cannot be 0 when maxSurge is 0")),
                _ => {}
            }
        }
        _ => errors.push(strategy.not_supported(&["RollingUpdate", "OnDelete"])),
    }
}

/// A change of a DaemonSet's status.
pub(super) fn daemon_set_status(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let status = View::root(new).get("status");
    let fields = [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ];
    all_nonnegative(&status, &fields, &mut errors);
    not_decremented(&status, &View::root(old).get("status"), &mut errors);
    errors
}

/// What an old StatefulSet may have wrong.
#[derive(Clone, Copy, Default)]
struct Lenient {
    service_name: bool,
    template: bool,
    claims: bool,
}

/// A new StatefulSet.
pub(super) fn stateful_set(new: &Value) -> Errors {
    let mut errors = Errors::new();
    stateful_set_spec(new, Lenient::default(), &Options::default(), &mut errors);
    errors
}

/// A changed StatefulSet.
pub(super) fn stateful_set_update(new: &Value, old: &Value) -> Errors {
    const MUTABLE: [&str; 7] = [
        "replicas",
        "template",
        "updateStrategy",
        "minReadySeconds",
        "ordinals",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
    ];
    let mut errors = Errors::new();
    let options = of_template(at(old, &["spec", "template"]));
    let mut lenient = Lenient { service_name: true, claims: true, template: false };
    let mut before = Errors::new();
    stateful_set_spec(old, lenient, &options, &mut before);
    lenient.template = !before.is_empty();
    stateful_set_spec(new, lenient, &options, &mut errors);
    let mut same = at(new, &["spec"]).clone();
    for field in MUTABLE {
        set_at(&mut same, &[field], at(old, &["spec", field]).clone());
    }
    if same != *at(old, &["spec"]) {
        let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        errors.push(Error::forbidden(&Path::new("spec"), detail));
    }
    errors
}

fn stateful_set_spec(object: &Value, lenient: Lenient, options: &Options, errors: &mut Errors) {
    let spec = View::root(object).get("spec");
    let management = spec.get("podManagementPolicy");
    match management.str() {
        "" => errors.push(management.required("")),
        "OrderedReady" | "Parallel" => {}
        _ => errors.push(management.invalid_str("must be 'OrderedReady' or 'Parallel'")),
    }
    stateful_set_strategy(&spec.get("updateStrategy"), errors);
    let retention = spec.get("persistentVolumeClaimRetentionPolicy");
    if retention.is_set() {
        for field in ["whenDeleted", "whenScaled"] {
            supported(&retention.get(field), &["Retain", "Delete"], errors);
        }
    }
    let claims = spec.get("volumeClaimTemplates");
    if !lenient.claims {
        for claim in claims.items() {
            claim::validate_spec(&claim.get("spec"), errors);
        }
    }
    all_nonnegative(&spec, &["replicas", "minReadySeconds"], errors);
    let start = spec.get("ordinals").get("start");
    nonnegative(&start.with_path(spec.path().child("ordinals.start")), errors);
    let service = spec.get("serviceName");
    if !lenient.service_name && !service.is_empty() {
        dns_label(&service, errors);
    }
    selector(&spec, "statefulset", errors);
    let path = spec.path().child("template");
    let shown = with_claims(&spec);
    let template = View::at(&shown, path.clone());
    let selector = spec.get("selector");
    if Selector::from_label_selector(selector.value()).is_err() {
        errors.push(selector.invalid(""));
    } else {
        selects(&template, &selector, errors);
        if !lenient.template {
            spec::template(&template, options, errors);
        }
    }
    runs_for_ever(&View::at(spec.raw("template"), path), "StatefulSet", errors);
}

/// The template as its pods will be: with a volume for each claim, and names given later.
fn with_claims(spec: &View) -> Value {
    let mut template = spec.raw("template").clone();
    for field in ["subdomain", "hostname"] {
        set_at(&mut template, &["spec", field], Value::Null);
    }
    let claims = spec.get("volumeClaimTemplates").items();
    let mut names: Vec<&str> =
        claims.iter().map(|claim| proto::view::text_at(claim.value(), &["metadata", "name"])).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return template;
    }
    let own = at(&template, &["spec", "volumes"]).as_array().cloned().unwrap_or_default();
    let kept = own
        .into_iter()
        .filter(|volume| !names.iter().any(|name| volume.get("name").is_some_and(|own| own == name)));
    let added = names.iter().map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}));
    let volumes: Vec<Value> = added.chain(kept).collect();
    set_at(&mut template, &["spec", "volumes"], Value::from(volumes));
    template
}

fn stateful_set_strategy(strategy: &View, errors: &mut Errors) {
    let update = strategy.get("rollingUpdate");
    match strategy.text("type") {
        "" => errors.push(strategy.required("")),
        "OnDelete" => {
            if update.is_set() {
                errors.push(update.invalid("only allowed for updateStrategy 'RollingUpdate'"));
            }
        }
        "RollingUpdate" => {
            nonnegative(&update.get("partition"), errors);
            let unavailable = update.get("maxUnavailable");
            if unavailable.is_set() {
                number_or_percent(&unavailable, errors);
                if number_of(&unavailable) == 0 {
                    errors.push(unavailable.invalid("cannot be 0"));
                }
                at_most_all(&unavailable, errors);
            }
        }
        _ => errors.push(strategy.invalid("must be 'RollingUpdate' or 'OnDelete'")),
    }
}

/// A change of a StatefulSet's status.
pub(super) fn stateful_set_status(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let status = View::root(new).get("status");
    let fields = [
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    ];
    all_nonnegative(&status, &fields, &mut errors);
    let pairs = [
        ("readyReplicas", "replicas", "status.replicas"),
        ("currentReplicas", "replicas", "status.replicas"),
        ("updatedReplicas", "replicas", "status.replicas"),
        ("availableReplicas", "replicas", "status.replicas"),
        ("availableReplicas", "readyReplicas", "status.readyReplicas"),
    ];
    counts_within(&status, &pairs, &mut errors);
    not_decremented(&status, &View::root(old).get("status"), &mut errors);
    errors
}

/// A ControllerRevision; `old` is null if it is new.
pub(super) fn controller_revision(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let view = View::root(new);
    nonnegative(&view.get("revision"), &mut errors);
    let data = view.get("data");
    if !old.is_null() {
        immutable(&data, &View::root(old).get("data"), &mut errors);
    } else if !data.is_set() {
        errors.push(data.required("data is mandatory"));
    } else if !data.value().is_object() {
        errors.push(data.required("data must be a valid JSON object"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(errors: Errors) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_deployment_without_selector_selects_nothing() {
        let mut object = json!({"spec": {"template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        }}});
        super::super::defaults::deployment(&mut object);
        assert_eq!(
            texts(deployment(&object, &Value::Null)),
            [
                "spec.selector: Required value",
                "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`",
            ]
        );
    }

    #[test]
    fn claims_of_a_stateful_set_are_volumes_of_its_pods() {
        let mut object = json!({"spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{
                "name": "c", "image": "i", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}],
        }});
        super::super::defaults::stateful_set(&mut object);
        assert_eq!(texts(stateful_set(&object)), Vec::<String>::new());
        let mut changed = object.clone();
        changed["spec"]["serviceName"] = json!("other");
        assert_eq!(stateful_set_update(&changed, &object)[0].path, "spec");
    }
}
