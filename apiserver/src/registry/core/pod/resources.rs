//! Names of compute resources, and requests and limits of them.

use proto::content;
use proto::field::{Error, Errors};
use proto::quantity::Quantity;
use proto::view::View;

use crate::registry::checks::*;

const STANDARD: [&str; 20] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];

const STANDARD_FOR_CONTAINERS: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Resources that are counted in whole.
const WHOLE: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// Huge pages of some size.
pub(crate) fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn is_quota_huge_page(name: &str) -> bool {
    is_huge_page(name) || name.starts_with("requests.hugepages-")
}

/// A resource of Kubernetes itself: without a domain, or with `kubernetes.io/`.
pub(crate) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether a limit may exceed a request.
pub(crate) fn overcommit_allowed(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

/// A resource that devices or operators bring.
pub(crate) fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && content::is_qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether a resource has no fractions.
pub(crate) fn is_whole(name: &str) -> bool {
    WHOLE.contains(&name) || is_extended(name)
}

/// The name of some resource. `at` is where errors stand.
pub(crate) fn resource_name(at: &View, name: &str, errors: &mut Errors) -> bool {
    let before = errors.len();
    each_at(at.path(), name, content::is_qualified_name(name), errors);
    if errors.len() == before && !name.contains('/') && !STANDARD.contains(&name) && !is_quota_huge_page(name)
    {
        let detail = "must be a standard resource type or fully qualified";
        errors.push(Error::invalid(at.path(), name, detail));
    }
    errors.len() == before
}

/// The name of a resource that a container may ask for.
pub(crate) fn container_resource_name(at: &View, name: &str, errors: &mut Errors) {
    resource_name(at, name, errors);
    if !name.contains('/') {
        if !STANDARD_FOR_CONTAINERS.contains(&name) && !is_huge_page(name) {
            errors.push(Error::invalid(at.path(), name, "must be a standard resource for containers"));
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.push(Error::invalid(at.path(), name, "doesn't follow extended resource name standard"));
    }
}

/// The name of a resource that a pod as a whole may ask for.
pub(super) fn pod_resource_name(at: &View, name: &str, errors: &mut Errors) {
    const SUPPORTED: [&str; 3] = ["cpu", "hugepages-", "memory"];
    if resource_name(at, name, errors) && !matches!(name, "cpu" | "memory") && !is_huge_page(name) {
        errors.push(Error::not_supported(at.path(), name, &SUPPORTED));
    }
}

/// An amount that is not negative, and whole where the resource is.
pub(crate) fn resource_amount(view: &View, name: &str, errors: &mut Errors) {
    nonnegative_quantity(view, errors);
    let amount = quantity(view.value());
    if is_whole(name) && amount.milli_value() % 1000 != 0 {
        errors.push(Error::invalid(view.path(), amount.to_string(), "must be an integer"));
    }
}

fn divisible(name: &str, amount: &Quantity) -> bool {
    let size = name.strip_prefix("hugepages-").and_then(|size| Quantity::parse(size).ok());
    size.is_some_and(|size| {
        size.sign() > 0 && size.milli_value() % 1000 == 0 && amount.value() % size.value() == 0
    })
}

/// ResourceRequirements, of a container or a pod.
pub(crate) fn requirements(
    view: &View,
    check_name: fn(&View, &str, &mut Errors),
    claims: &[&str],
    errors: &mut Errors,
) {
    let (limits, requests) = (view.get("limits"), view.get("requests"));
    let (mut compute, mut huge_pages) = (false, false);
    let mut common = |name: &str, entry: &View, errors: &mut Errors| {
        if is_huge_page(name) {
            huge_pages = true;
            let amount = quantity(entry.value());
            if !divisible(name, &amount) {
                let detail = format!("{amount} is not positive integer multiple of {name}");
                errors.push(Error::invalid(entry.path(), amount.to_string(), detail));
            }
        }
        compute |= matches!(name, "cpu" | "memory");
    };
    for (name, entry) in limits.entries() {
        check_name(&entry, name, errors);
        resource_amount(&entry, name, errors);
        common(name, &entry, errors);
    }
    for (name, entry) in requests.entries() {
        check_name(&entry, name, errors);
        resource_amount(&entry, name, errors);
        let limit = limits.key(name);
        if limit.is_set() {
            let (amount, limit) = (quantity(entry.value()), quantity(limit.value()));
            let detail = if amount != limit && !overcommit_allowed(name) {
                Some(format!("must be equal to {name} limit of {limit}"))
            } else if amount > limit {
                Some(format!("must be less than or equal to {name} limit of {limit}"))
            } else {
                None
            };
            if let Some(detail) = detail {
                errors.push(Error::invalid(requests.path(), amount.to_string(), detail));
            }
        } else if !overcommit_allowed(name) {
            errors.push(limits.required("Limit must be set for non overcommitable resources"));
        }
        common(name, &entry, errors);
    }
    if huge_pages && !compute {
        errors.push(view.forbidden("HugePages require cpu or memory"));
    }
    claim_names(&view.get("claims"), claims, errors);
}

fn claim_names(list: &View, known: &[&str], errors: &mut Errors) {
    let mut seen: Vec<String> = Vec::new();
    for claim in list.items() {
        let (name, request) = (claim.text("name"), claim.text("request"));
        if name.is_empty() {
            errors.push(claim.required(""));
            continue;
        }
        if seen.iter().any(|seen| seen == name) {
            errors.push(Error::duplicate(claim.path(), name));
        } else {
            let mut key = name.to_owned();
            if !request.is_empty() {
                dns_label(&claim.get("request"), errors);
                key = format!("{name}/{request}");
            }
            if seen.contains(&key) {
                errors.push(Error::duplicate(claim.path(), key.as_str()));
            } else if request.is_empty() {
                let prefix = format!("{name}/");
                for _ in seen.iter().filter(|seen| seen.starts_with(&prefix)) {
                    errors.push(Error::duplicate(claim.path(), name));
                }
            }
            seen.push(key);
        }
        if !known.contains(&name) {
            let mut error = Error::not_found(claim.path(), name);
            error.detail = "must be one of the names in pod.spec.resourceClaims".to_owned();
            let mut sorted = known.to_vec();
            sorted.sort_unstable();
            error.detail += &match sorted.as_slice() {
                [] => " which is empty".to_owned(),
                names => format!(": {}", names.join(", ")),
            };
            errors.push(error);
        }
    }
}
