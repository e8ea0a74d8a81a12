//! Where a pod may run: affinity, tolerations, spreading, scheduling gates.

use proto::content;
use proto::field::{Error, Errors};
use proto::view::View;

use super::Options;
use crate::registry::checks::*;

/// Affinity to nodes and pods, and anti-affinity to pods.
pub(super) fn affinity(affinity: &View, options: &Options, errors: &mut Errors) {
    let node = affinity.get("nodeAffinity");
    let required_terms = node.get("requiredDuringSchedulingIgnoredDuringExecution");
    if required_terms.is_set() {
        node_selector(&required_terms, options.bad_affinity_values, errors);
    }
    for term in node.get("preferredDuringSchedulingIgnoredDuringExecution").items() {
        weight(&term, errors);
        node_selector_term(&term.get("preference"), true, errors);
    }
    for field in ["podAffinity", "podAntiAffinity"] {
        let pods = affinity.get(field);
        for term in pods.get("requiredDuringSchedulingIgnoredDuringExecution").items() {
            pod_affinity_term(&term, options, errors);
        }
        for term in pods.get("preferredDuringSchedulingIgnoredDuringExecution").items() {
            weight(&term, errors);
            pod_affinity_term(&term.get("podAffinityTerm"), options, errors);
        }
    }
}

fn weight(term: &View, errors: &mut Errors) {
    let weight = term.get("weight");
    if !(1..=100).contains(&weight.i64()) {
        errors.push(weight.invalid_int("must be in the range 1-100"));
    }
}

/// A NodeSelector. `lenient` accepts values that are no label values.
pub(crate) fn node_selector(selector: &View, lenient: bool, errors: &mut Errors) {
    let terms = selector.get("nodeSelectorTerms");
    if terms.is_empty() {
        errors.push(terms.required("must have at least one node selector term"));
        return;
    }
    for term in terms.items() {
        node_selector_term(&term, lenient, errors);
    }
}

fn node_selector_term(term: &View, lenient: bool, errors: &mut Errors) {
    for requirement in term.get("matchExpressions").items() {
        node_selector_requirement(&requirement, lenient, errors);
    }
    for requirement in term.get("matchFields").items() {
        node_field_requirement(&requirement, errors);
    }
}

fn node_selector_requirement(requirement: &View, lenient: bool, errors: &mut Errors) {
    selector_requirement(requirement, lenient, errors, |values| match requirement.text("operator") {
        "Gt" | "Lt" if values.len() == 1 => Ok(()),
        "Gt" | "Lt" => Err(values.required("must be specified single value when `operator` is 'Lt' or 'Gt'")),
        _ => Err(requirement.get("operator").invalid_str("not a valid selector operator")),
    });
}

fn node_field_requirement(requirement: &View, errors: &mut Errors) {
    let (key, values) = (requirement.get("key"), requirement.get("values"));
    match requirement.text("operator") {
        "In" | "NotIn" => {
            if values.len() != 1 {
                let detail =
                    "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                errors.push(values.required(detail));
            }
        }
        _ => errors.push(requirement.get("operator").invalid_str("not a valid selector operator")),
    }
    if key.str() == "metadata.name" {
        for value in values.items() {
            dns_subdomain(&value, errors);
        }
    } else {
        errors.push(key.invalid_str("not a valid field selector key"));
    }
}

fn pod_affinity_term(term: &View, options: &Options, errors: &mut Errors) {
    for field in ["labelSelector", "namespaceSelector"] {
        label_selector(&term.get(field), options.bad_selector_values, errors);
    }
    for namespace in term.texts("namespaces") {
        let path = term.path().child("namespace");
        each_at(&path, namespace, content::is_dns1123_label(namespace), errors);
    }
    match_label_keys(term, errors);
    let key = term.get("topologyKey");
    if key.is_empty() {
        errors.push(key.required("can not be empty"));
    }
    label_name(&key, errors);
}

/// `matchLabelKeys` and `mismatchLabelKeys` extend a selector; they may not repeat what it says.
fn match_label_keys(term: &View, errors: &mut Errors) {
    let selector = term.get("labelSelector");
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        let keys = term.get(field);
        if keys.is_empty() {
            continue;
        }
        if !selector.is_set() {
            errors.push(keys.forbidden("must not be specified when labelSelector is not set"));
            continue;
        }
        for key in keys.items() {
            label_name(&key, errors);
        }
    }
    let matched = term.texts("matchLabelKeys");
    let mut selected: Vec<&str> =
        selector.get("matchLabels").entries().into_iter().map(|(key, _)| key).collect();
    for expression in selector.get("matchExpressions").items() {
        let key = expression.text("key");
        if let Some(index) = matched.iter().rposition(|matched| *matched == key)
            && selected.contains(&key)
        {
            let detail = "exists in both matchLabelKeys and labelSelector";
            errors.push(Error::invalid(&term.path().index(index), key, detail));
        }
        selected.push(key);
    }
    let mismatched = term.texts("mismatchLabelKeys");
    for key in term.get("matchLabelKeys").items() {
        if mismatched.contains(&key.str()) {
            errors.push(key.invalid_str("exists in both matchLabelKeys and mismatchLabelKeys"));
        }
    }
}

/// Tolerations of taints.
pub(crate) fn tolerations(list: &View, errors: &mut Errors) {
    for toleration in list.items() {
        let (key, value) = (toleration.get("key"), toleration.text("value"));
        let (operator, effect) = (toleration.get("operator"), toleration.get("effect"));
        if !key.is_empty() {
            label_name(&key, errors);
        } else if operator.str() != "Exists" {
            let detail =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(operator.invalid_str(detail));
        }
        if toleration.has("tolerationSeconds") && effect.str() != "NoExecute" {
            errors.push(effect.invalid_str("effect must be 'NoExecute' when `tolerationSeconds` is set"));
        }
        match operator.str() {
            "" | "Equal" => {
                let messages = content::is_label_value(value);
                if !messages.is_empty() {
                    errors.push(Error::invalid(operator.path(), value, messages.join(";")));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    let detail = "value must be empty when `operator` is 'Exists'";
                    errors.push(Error::invalid(operator.path(), value, detail));
                }
            }
            "Lt" | "Gt" => errors.push(operator.not_supported(&["Equal", "Exists", "Lt", "Gt"])),
            _ => errors.push(operator.not_supported(&["Equal", "Exists"])),
        }
        if !effect.is_empty() {
            taint_effect(&effect, errors);
        }
    }
}

/// The effect of a taint or toleration.
pub(crate) fn taint_effect(effect: &View, errors: &mut Errors) {
    supported(effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"], errors);
}

/// Rules of spreading over topology domains.
pub(super) fn topology_spread(list: &View, options: &Options, errors: &mut Errors) {
    let items = list.items();
    for (index, constraint) in items.iter().enumerate() {
        positive(&constraint.get("maxSkew"), errors);
        let (key, action) = (constraint.get("topologyKey"), constraint.get("whenUnsatisfiable"));
        if key.is_empty() {
            errors.push(key.required("can not be empty"));
        }
        supported(&action, &["DoNotSchedule", "ScheduleAnyway"], errors);
        let same = |other: &&View| {
            other.text("topologyKey") == key.str() && other.text("whenUnsatisfiable") == action.str()
        };
        if items.iter().skip(index + 1).any(|other| same(&other)) {
            let path = constraint.path().child("{topologyKey, whenUnsatisfiable}");
            errors.push(Error::duplicate(&path, format!("{{{}, {}}}", key.str(), action.str())));
        }
        let domains = constraint.get("minDomains");
        if domains.is_set() {
            positive(&domains, errors);
            if action.str() != "DoNotSchedule" {
                errors.push(domains.invalid(format!(
                    "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}",
                    action.str()
                )));
            }
        }
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            if constraint.has(field) {
                supported(&constraint.get(field), &["Honor", "Ignore"], errors);
            }
        }
        match_label_keys(constraint, errors);
        if !options.bad_spread_selectors {
            label_selector(&constraint.get("labelSelector"), false, errors);
        }
    }
}

/// Gates that hold scheduling back.
pub(super) fn gates(list: &View, errors: &mut Errors) {
    let mut seen = Vec::new();
    for gate in list.items() {
        let name = gate.text("name");
        each_at(gate.path(), name, content::is_qualified_name(name), errors);
        if seen.contains(&name) {
            errors.push(Error::duplicate(gate.path(), name));
        }
        seen.push(name);
    }
}
