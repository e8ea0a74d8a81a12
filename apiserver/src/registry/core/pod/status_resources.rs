//! What a pod's status says of resources that drivers provide.

use proto::field::{Error, Errors};
use proto::view::View;

use super::resources::is_native;
use crate::registry::checks::*;

/// The claim made for extended resources (KEP 5004).
pub(super) fn extended_claim(pod: &View, errors: &mut Errors) {
    let status = pod.get("status").get("extendedResourceClaimStatus");
    if !status.is_set() {
        return;
    }
    let spec = pod.get("spec");
    let containers: Vec<View> =
        ["containers", "initContainers"].iter().flat_map(|list| spec.get(list).items()).collect();
    let mappings = status.get("requestMappings");
    if mappings.is_empty() {
        errors.push(mappings.required("at least one request mapping is required"));
    }
    let mut seen = Vec::new();
    for mapping in mappings.items() {
        let fields = ["containerName", "resourceName", "requestName"].map(|field| mapping.get(field));
        let [container, resource, request] = &fields;
        match containers.iter().find(|known| known.text("name") == container.str()) {
            Some(known) => {
                if !known.get("resources").get("requests").has(resource.str()) {
                    errors.push(resource.invalid_str("must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests"));
                }
            }
            None => errors.push(container.invalid_str(
                "must match the name of an entry in spec.initContainers.name or spec.containers.name",
            )),
        }
        dns_label(&request.with_path(status.path().child("requestName")), errors);
        let key = fields.each_ref().map(View::str);
        if seen.contains(&key) {
            errors.extend(fields.iter().map(|field| Error::duplicate(field.path(), field.str())));
        }
        seen.push(key);
    }
    let claim = status.get("resourceClaimName");
    if required(&claim, errors) {
        dns_subdomain(&claim, errors);
    }
}

/// Claims of resources that the node could give to anyone (KEP 5517).
pub(super) fn node_allocatable(pod: &View, errors: &mut Errors) {
    let (spec, status) = (pod.get("spec"), pod.get("status"));
    for item in status.get("nodeAllocatableResourceClaimStatuses").items() {
        let claim = item.get("resourceClaimName");
        if claim.is_empty() {
            errors.push(claim.required("must not be empty"));
        }
        let refers = |list: View| {
            let items = list.items();
            items
                .iter()
                .any(|known| known.has("resourceClaimName") && known.text("resourceClaimName") == claim.str())
        };
        if !refers(spec.get("resourceClaims")) && !refers(status.get("resourceClaimStatuses")) {
            errors.push(claim.invalid_str("no mapping found in pod reference"));
        }
        for field in ["containers", "resources"] {
            if item.get(field).is_empty() {
                errors.push(item.get(field).required("must not be empty"));
            }
        }
        for (name, amount) in item.get("resources").entries() {
            if !is_native(name) {
                let detail = "must be a node allocatable resource name";
                errors.push(Error::invalid(amount.path(), name, detail));
            }
            let value = quantity(amount.value());
            if value.sign() < 0 {
                errors.push(Error::invalid(amount.path(), value.to_string(), "must be non-negative"));
            }
        }
    }
}

/// The health of the resources that containers were given (KEP 4680).
pub(super) fn allocated(list: &View, containers: &View, errors: &mut Errors) {
    const MESSAGE_LIMIT: usize = 1024;
    let containers = containers.items();
    for status in list.items() {
        let container = containers.iter().find(|container| container.text("name") == status.text("name"));
        for resource in status.get("allocatedResourcesStatus").items() {
            // Containers that aren't there are passed over.
            if let Some(container) = container {
                name(&resource.get("name"), container, errors);
            }
            let mut seen = Vec::new();
            for unit in resource.get("resources").items() {
                supported(&unit.get("health"), &["Healthy", "Unhealthy", "Unknown"], errors);
                let (message, id) = (unit.get("message"), unit.get("resourceID"));
                if message.is_set() && message.is_empty() {
                    errors.push(message.required("must be non-empty if specified"));
                } else if message.str().len() > MESSAGE_LIMIT {
                    errors.push(Error::too_long(message.path(), MESSAGE_LIMIT));
                }
                if seen.contains(&id.str()) {
                    errors.push(Error::duplicate(id.path(), id.str()));
                }
                seen.push(id.str());
            }
        }
    }
}

fn name(name: &View, container: &View, errors: &mut Errors) {
    let resources = container.get("resources");
    let detail = if let Some(wanted) = name.str().strip_prefix("claim:") {
        let claims = resources.get("claims").items();
        let known = claims.iter().any(|claim| match claim.text("request") {
            "" => claim.text("name") == wanted,
            request => format!("{}/{request}", claim.text("name")) == wanted,
        });
        if known {
            return;
        }
        "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty"
    } else {
        if resources.get("requests").has(name.str()) {
            return;
        }
        "must match one of the container's resource requests"
    };
    errors.push(name.invalid_str(detail));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn texts(check: impl Fn(&View, &mut Errors), object: Value) -> Vec<String> {
        let mut errors = Errors::new();
        check(&View::root(&object), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn allocated_resources_were_asked_for() {
        let check = |pod: &View, errors: &mut Errors| {
            allocated(
                &pod.get("status").get("containerStatuses"),
                &pod.get("spec").get("containers"),
                errors,
            );
        };
        let containers = json!([{"name": "c", "resources": {"requests": {"x/y": "1"}, "claims": [{"name": "a", "request": "r"}]}}]);
        let pod = |name: &str, health: &str| {
            let resources = json!([{"resourceID": "1", "health": health}]);
            json!({
                "spec": {"containers": containers},
                "status": {"containerStatuses": [{"name": "c", "allocatedResourcesStatus": [{"name": name, "resources": resources}]}]},
            })
        };
        assert_eq!(texts(check, pod("x/y", "Healthy")), [""; 0]);
        assert_eq!(texts(check, pod("claim:a/r", "Healthy")), [""; 0]);
        assert_eq!(
            texts(check, pod("z", "Bad")),
            [
                "status.containerStatuses[0].allocatedResourcesStatus[0].name: Invalid value: \"z\": must match one of the container's resource requests",
                "status.containerStatuses[0].allocatedResourcesStatus[0].resources[0].health: Unsupported value: \"Bad\": supported values: \"Healthy\", \"Unhealthy\", \"Unknown\"",
            ]
        );
    }

    #[test]
    fn claims_of_the_node_are_the_pods() {
        let pod = json!({
            "spec": {"resourceClaims": [{"resourceClaimName": "a"}]},
            "status": {"nodeAllocatableResourceClaimStatuses": [
                {"resourceClaimName": "a", "containers": ["c"], "resources": {"cpu": "1"}},
                {"resourceClaimName": "b", "containers": ["c"], "resources": {"cpu": "1"}},
            ]},
        });
        assert_eq!(
            texts(node_allocatable, pod),
            [
                "status.nodeAllocatableResourceClaimStatuses[1].resourceClaimName: Invalid value: \"b\": no mapping found in pod reference"
            ]
        );
    }
}
