//! The spec of a pod or a pod template, field by field.

use proto::content;
use proto::field::{Error, Errors};
use proto::view::View;

use super::containers::{self, Pod, no_padding};
use super::env::file_key_volumes;
use super::{Options, level, scheduling, security, volumes};
use crate::registry::checks::{self, *};

const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// A pod's annotations and spec. Its other metadata is checked elsewhere.
pub(super) fn pod(pod: &View, options: &Options, errors: &mut Errors) {
    let (metadata, spec) = (pod.get("metadata"), pod.get("spec"));
    annotations(&metadata, &spec, options, errors);
    let mirror = metadata.get("annotations").key(MIRROR).is_set();
    pod_spec(&spec, metadata.text("name"), mirror, options, errors);
    if spec.get("serviceAccountName").is_empty() {
        for volume in spec.get("volumes").items() {
            for source in volume.get("projected").get("sources").items() {
                if source.has("serviceAccountToken") {
                    let detail = "must not be specified when serviceAccountName is not set";
                    errors.push(source.get("serviceAccountToken").forbidden(detail));
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        for container in spec.get(list).items() {
            no_padding(&container, errors);
        }
    }
}

/// A PodTemplateSpec: labels, annotations and spec. Upstream reports its metadata without saying so.
pub(crate) fn template(template: &View, options: &Options, errors: &mut Errors) {
    let spec = template.get("spec");
    let metadata = template.get("metadata").with_path(template.path().clone());
    labels(&metadata.get("labels"), errors);
    checks::annotations(&metadata.get("annotations"), errors);
    annotations(&metadata, &spec, options, errors);
    pod_spec(&spec, "", false, options, errors);
    security::annotations_match(&metadata, &spec, &super::containers(&spec), errors);
    if !spec.get("ephemeralContainers").is_empty() {
        let detail = "ephemeral containers not allowed in pod template";
        errors.push(spec.get("ephemeralContainers").forbidden(detail));
    }
}

/// Annotations that mean something to pods.
pub(super) fn annotations(metadata: &View, spec: &View, options: &Options, errors: &mut Errors) {
    let list = metadata.get("annotations");
    let mirror = list.key(MIRROR);
    if mirror.is_set() && spec.text("nodeName").is_empty() {
        errors.push(mirror.invalid_str("must set spec.nodeName if mirror pod annotation is set"));
    }
    let cost = list.key(DELETION_COST);
    if cost.is_set() && !options.bad_deletion_cost && !is_deletion_cost(cost.str()) {
        errors.push(cost.invalid_str("must be a 32bit integer"));
    }
    security::annotations(metadata, &super::containers(spec), errors);
}

/// Upstream parses the cost strictly: no sign `+`, no leading zeros.
fn is_deletion_cost(cost: &str) -> bool {
    let leading_zero = cost.len() > 1 && cost.starts_with('0');
    !cost.starts_with('+') && !leading_zero && cost.parse::<i32>().is_ok()
}

fn pod_spec(spec: &View, pod_name: &str, mirror: bool, options: &Options, errors: &mut Errors) {
    if !spec.has("terminationGracePeriodSeconds") {
        errors.push(spec.get("terminationGracePeriodSeconds").required(""));
    }
    let volumes = volumes::volumes(&spec.get("volumes"), pod_name, options, errors);
    let claims = claims(spec, mirror, errors);
    let pod = Pod { spec: spec.clone(), volumes, claims, options };
    containers::validate(&pod, errors);
    level::validate(spec, &pod.claims, errors);
    host_network_ports(spec, options, errors);
    let restart = ["Always", "OnFailure", "Never"];
    required_supported(&spec.get("restartPolicy"), &restart, errors);
    let dns = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    required_supported(&spec.get("dnsPolicy"), &dns, errors);
    labels(&spec.get("nodeSelector"), errors);
    security::pod(spec, options, errors);
    scheduling::affinity(&spec.get("affinity"), options, errors);
    dns_config(spec, errors);
    for gate in spec.get("readinessGates").items() {
        qualified_name(&gate.get("conditionType"), errors);
    }
    scheduling::gates(&spec.get("schedulingGates"), errors);
    scheduling::topology_spread(&spec.get("topologySpreadConstraints"), options, errors);
    let containers = super::containers(spec);
    security::windows_host_process(spec, &containers, errors);
    host_users(spec, &containers, options, errors);
    hostname_override(spec, errors);
    names(spec, errors);
    let deadline = spec.get("activeDeadlineSeconds");
    if deadline.is_set() {
        each_int(&deadline, content::is_in_range(deadline.i64(), 1, i64::from(i32::MAX)), errors);
    }
    scheduling::tolerations(&spec.get("tolerations"), errors);
    for alias in spec.get("hostAliases").items() {
        legacy_ip(&alias.get("ip"), &[], errors);
        for name in alias.get("hostnames").items() {
            dns_subdomain(&name, errors);
        }
    }
    let priority = spec.get("priorityClassName");
    if !priority.is_empty() {
        dns_subdomain(&priority, errors);
    }
    if spec.has("runtimeClassName") {
        dns_subdomain(&spec.get("runtimeClassName"), errors);
    }
    if spec.has("preemptionPolicy") {
        let policies = ["PreemptLowerPriority", "Never"];
        required_supported(&spec.get("preemptionPolicy"), &policies, errors);
    }
    overhead(&spec.get("overhead"), errors);
    security::by_os(spec, &containers, errors);
    let group = spec.get("schedulingGroup");
    if group.is_set() {
        let name = group.get("podGroupName");
        if name.is_set() {
            dns_subdomain(&name, errors);
        } else {
            errors.push(name.invalid("must specify one of: `podGroupName`"));
        }
    }
    for container in &containers {
        file_key_volumes(spec, container, errors);
    }
}

fn names(spec: &View, errors: &mut Errors) {
    let checks: [(&'static str, fn(&str) -> Vec<String>); 4] = [
        ("serviceAccountName", content::is_dns1123_subdomain),
        ("nodeName", content::is_dns1123_subdomain),
        ("hostname", content::is_dns1123_label),
        ("subdomain", content::is_dns1123_label),
    ];
    for (field, check) in checks {
        let name = spec.get(field);
        if !name.is_empty() {
            each(&name, check(name.str()), errors);
        }
    }
}

fn claims<'a>(spec: &View<'a>, mirror: bool, errors: &mut Errors) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for claim in spec.get("resourceClaims").items() {
        let name = claim.get("name");
        if mirror {
            let path = proto::field::Path::new("");
            errors.push(Error::forbidden(&path, "static pods do not support resource claims"));
        } else {
            if required(&name, errors) {
                if names.contains(&name.str()) {
                    errors.push(name.duplicate());
                } else {
                    dns_label(&name, errors);
                }
            }
            claim_source(&claim, errors);
        }
        if !name.is_empty() {
            names.push(name.str());
        }
    }
    names
}

fn claim_source(claim: &View, errors: &mut Errors) {
    let (direct, template) = (claim.get("resourceClaimName"), claim.get("resourceClaimTemplateName"));
    match (direct.is_set(), template.is_set()) {
        (true, true) => {
            errors.push(claim.invalid(
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            ))
        }
        (false, false) => errors
            .push(claim.invalid("must specify one of: `resourceClaimName`, `resourceClaimTemplateName`")),
        _ => {}
    }
    for name in [direct, template] {
        if name.is_set() {
            dns_subdomain(&name, errors);
        }
    }
}

fn host_network_ports(spec: &View, options: &Options, errors: &mut Errors) {
    if !spec.flag("hostNetwork") {
        return;
    }
    for container in spec.get("containers").items() {
        for port in container.get("ports").items() {
            let host = port.get("hostPort");
            if (options.is_pod || host.i64() != 0) && host.i64() != port.int("containerPort") {
                errors.push(host.invalid_int("must match `containerPort` when `hostNetwork` is true"));
            }
        }
    }
}

fn dns_config(spec: &View, errors: &mut Errors) {
    let config = spec.get("dnsConfig");
    let servers = config.get("nameservers");
    if spec.text("dnsPolicy") == "None" {
        if !config.is_set() {
            errors.push(config.required("must provide `dnsConfig` when `dnsPolicy` is None"));
            return;
        }
        if servers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.push(servers.required(detail));
            return;
        }
    }
    if servers.len() > 3 {
        errors.push(servers.invalid("must not have more than 3 nameservers"));
    }
    for server in servers.items() {
        legacy_ip(&server, &[], errors);
    }
    let searches = config.get("searches");
    if searches.len() > 32 {
        errors.push(searches.invalid("must not have more than 32 search paths"));
    }
    if searches.strs().join(" ").len() > 2048 {
        let detail = "must not have more than 2048 characters (including spaces) in the search list";
        errors.push(searches.invalid(detail));
    }
    for search in searches.items() {
        if search.str() == "." {
            continue;
        }
        let name = search.str().strip_suffix('.').unwrap_or(search.str());
        each_at(search.path(), name, content::is_dns1123_subdomain_with_underscore(name), errors);
    }
    for option in config.get("options").items() {
        if option.get("name").is_empty() {
            errors.push(option.required("must not be empty"));
        }
    }
}

fn host_users(spec: &View, containers: &[View], options: &Options, errors: &mut Errors) {
    const DETAIL: &str = "when `hostUsers` is false";
    if spec.raw("hostUsers").as_bool() != Some(false) {
        return;
    }
    // Two of the names are upstream's.
    for (field, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.flag(field) {
            errors.push(Error::forbidden(&spec.path().child(shown), DETAIL));
        }
    }
    if options.user_namespace_devices {
        return;
    }
    for container in containers {
        let devices = container.get("volumeDevices");
        if !devices.is_empty() {
            errors.push(devices.forbidden(DETAIL));
        }
    }
}

fn hostname_override(spec: &View, errors: &mut Errors) {
    let name = spec.get("hostnameOverride");
    if !name.is_set() {
        return;
    }
    if spec.flag("setHostnameAsFQDN") {
        errors.push(name.forbidden("may not be specified when setHostnameAsFQDN is true"));
    }
    if spec.flag("hostNetwork") {
        errors.push(name.forbidden("may not be specified when hostNetwork is true"));
    }
    if name.str().len() > 64 {
        errors.push(Error::too_long(name.path(), 64));
    }
    dns_subdomain(&name, errors);
}

fn overhead(overhead: &View, errors: &mut Errors) {
    if !overhead.is_set() {
        return;
    }
    // Upstream looks at the overhead as at a container's limits.
    let limits = serde_json::json!({"limits": overhead.value()});
    let view = View::at(&limits, overhead.path().clone());
    super::resources::requirements(&view, super::resources::container_resource_name, &[], errors);
}
