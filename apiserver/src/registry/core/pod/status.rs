//! The status of a pod, as kubelets and the scheduler report it.

use proto::content;
use proto::field::{Error, Errors};
use proto::view::View;
use serde_json::Value;

use super::{Options, status_resources, update};
use crate::registry::checks::*;

/// A change through `status`.
pub(super) fn validate(new: &Value, old: &Value, options: &Options) -> Errors {
    let mut errors = Errors::new();
    let (new, old) = (View::root(new), View::root(old));
    let (status, old_status) = (new.get("status"), old.get("status"));
    update::annotations(&new, &old, options, &mut errors);
    conditions(&status.get("conditions"), &mut errors);
    nominated_node(&status, &old_status, &old, &mut errors);
    let generation = status.get("observedGeneration");
    if generation.i64() < 0 {
        errors.push(generation.invalid_int("must be a non-negative integer"));
    }
    immutable_str(&status.get("qosClass"), &old_status.get("qosClass"), &mut errors);
    for list in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        transitions(list, &status, &old_status, &old.get("spec"), &mut errors);
    }
    claim_statuses(&new, &mut errors);
    status_resources::extended_claim(&new, &mut errors);
    status_resources::node_allocatable(&new, &mut errors);
    addresses(&status.get("podIPs"), &old_status.get("podIPs"), &mut errors);
    let hosts = status.get("hostIPs");
    if let Some(first) = hosts.items().first() {
        if first.text("ip") != status.text("hostIP") {
            errors.push(first.get("ip").invalid_str("must be equal to `hostIP`"));
        }
        addresses(&hosts, &old_status.get("hostIPs"), &mut errors);
    }
    let os = new.get("spec").get("os").text("name");
    for list in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        users(&status.get(list), os, &mut errors);
    }
    for (list, containers) in
        [("containerStatuses", "containers"), ("initContainerStatuses", "initContainers")]
    {
        status_resources::allocated(&status.get(list), &new.get("spec").get(containers), &mut errors);
    }
    for container in status.get("ephemeralContainerStatuses").items() {
        let resources = container.get("allocatedResourcesStatus");
        if !resources.is_empty() {
            errors.push(resources.forbidden("must not be specified in container status"));
        }
    }
    errors
}

/// Whom containers run as.
fn users(list: &View, os: &str, errors: &mut Errors) {
    for status in list.items() {
        let user = status.get("user").get("linux");
        if !user.is_set() {
            continue;
        }
        if os == "windows" {
            errors.push(user.forbidden("cannot be set for a windows pod"));
            continue;
        }
        let check = |view: &View, check: fn(i64) -> Vec<String>, errors: &mut Errors| {
            each_int(view, check(view.i64()), errors);
        };
        check(&user.get("uid"), content::is_valid_user_id, errors);
        check(&user.get("gid"), content::is_valid_group_id, errors);
        for group in user.get("supplementalGroups").items() {
            check(&group, content::is_valid_group_id, errors);
        }
    }
}

fn conditions(list: &View, errors: &mut Errors) {
    for condition in list.items() {
        let generation = condition.get("observedGeneration");
        if generation.i64() < 0 {
            errors.push(generation.invalid_int("must be a non-negative integer"));
        }
        let kind = condition.text("type");
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            let path = condition.path().child("Type");
            each_at(&path, kind, content::is_qualified_name(kind), errors);
        }
    }
}

fn nominated_node(status: &View, old_status: &View, old: &View, errors: &mut Errors) {
    let node = status.get("nominatedNodeName");
    if node.is_empty() || node.str() == old_status.text("nominatedNodeName") {
        return;
    }
    dns_subdomain(&node, errors);
    if !old.get("spec").text("nodeName").is_empty() {
        errors.push(node.forbidden("may not be set on pods that are already bound to a node"));
    }
}

/// What has ended stays ended, unless it is to be restarted.
fn transitions(list: &'static str, status: &View, old_status: &View, spec: &View, errors: &mut Errors) {
    let containers = match list {
        "containerStatuses" => spec.get("containers").items(),
        "initContainerStatuses" => spec.get("initContainers").items(),
        _ => Vec::new(),
    };
    let ephemeral = list == "ephemeralContainerStatuses";
    if !ephemeral && (may_restart_all(spec) || spec.text("restartPolicy") == "Always") {
        return;
    }
    let new = status.get(list);
    for (index, old) in old_status.get(list).items().iter().enumerate() {
        let ended = old.get("state").get("terminated");
        if !ended.is_set() {
            continue;
        }
        let revived = new
            .items()
            .iter()
            .any(|new| new.text("name") == old.text("name") && !new.get("state").has("terminated"));
        if !revived {
            continue;
        }
        let container = containers.iter().find(|container| container.text("name") == old.text("name"));
        let may = container.is_some_and(|container| restarts(container, spec, ended.int("exitCode")));
        if !may {
            let path = status.path().child(list).index(index).child("state");
            errors.push(Error::forbidden(&path, "may not be transitioned to non-terminated state"));
        }
    }
}

fn may_restart_all(spec: &View) -> bool {
    super::containers(spec).iter().any(|container| {
        let rules = container.get("restartPolicyRules").items();
        rules.iter().any(|rule| rule.text("action") == "RestartAllContainers")
    })
}

/// Whether a container that ended with this code is started again.
fn restarts(container: &View, spec: &View, code: i64) -> bool {
    for rule in container.get("restartPolicyRules").items() {
        let codes = rule.get("exitCodes");
        let listed = codes.get("values").items().iter().any(|value| value.i64() == code);
        if codes.is_set() && listed == (codes.text("operator") == "In") {
            return true;
        }
    }
    let own = container.text("restartPolicy");
    match if own.is_empty() { spec.text("restartPolicy") } else { own } {
        "Always" => true,
        "OnFailure" => code != 0,
        _ => false,
    }
}

fn claim_statuses(pod: &View, errors: &mut Errors) {
    let known = pod.get("spec").get("resourceClaims").items();
    let mut seen = Vec::new();
    for status in pod.get("status").get("resourceClaimStatuses").items() {
        let name = status.get("name");
        if !known.iter().any(|claim| claim.text("name") == name.str()) {
            let detail = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(name.invalid_str(detail));
        }
        if seen.contains(&name.str()) {
            errors.push(Error::duplicate(name.path(), name.str()));
        }
        seen.push(name.str());
        if status.has("resourceClaimName") {
            dns_subdomain(&status.get("resourceClaimName"), errors);
        }
    }
}

/// At most one address of each family.
fn addresses(list: &View, old: &View, errors: &mut Errors) {
    let items = list.items();
    let before: Vec<&str> = old.items().iter().map(|ip| ip.text("ip")).collect();
    for ip in &items {
        legacy_ip(&ip.get("ip").with_path(ip.path().clone()), &before, errors);
    }
    if items.len() < 2 {
        return;
    }
    let families: Vec<bool> = items
        .iter()
        .filter_map(|ip| content::parse_ip_sloppy(ip.text("ip")).map(|ip| ip.is_ipv6()))
        .collect();
    let dual = families.contains(&true) && families.contains(&false);
    if !dual || items.len() > 2 {
        errors.push(list.invalid("may specify no more than one IP for each IP family"));
    }
}
