//! Defaults that the schema table can't state: those that depend on other fields, and those below shared types.
//!
//! A present zero counts as given where the field is a pointer; where it isn't, the canonical form has it absent.

use proto::view::{at, set_at, text_at};
use serde_json::{Map, Value, json};

/// Sets a field if it is absent.
pub(crate) fn fill(object: &mut Value, field: &str, default: impl Into<Value>) {
    if let Value::Object(map) = object
        && map.get(field).is_none_or(Value::is_null)
    {
        map.insert(field.to_owned(), default.into());
    }
}

/// Calls a function on a field that is present.
pub(crate) fn within(object: &mut Value, field: &str, change: impl FnOnce(&mut Value)) {
    if let Some(value) = object.get_mut(field).filter(|value| !value.is_null()) {
        change(value);
    }
}

/// Calls a function on a field that is a struct by value: it is there even if it is empty.
pub(crate) fn inside(object: &mut Value, field: &str, change: impl FnOnce(&mut Value)) {
    let Value::Object(map) = object else { return };
    let mut value = map.remove(field).unwrap_or_else(|| json!({}));
    change(&mut value);
    if value.as_object().is_none_or(|inner| !inner.is_empty()) {
        map.insert(field.to_owned(), value);
    }
}

/// Calls a function on each item of a list.
pub(crate) fn each(object: &mut Value, field: &str, change: impl FnMut(&mut Value)) {
    if let Some(items) = object.get_mut(field).and_then(Value::as_array_mut) {
        items.iter_mut().for_each(change);
    }
}

/// Defaults of a pod.
pub(crate) fn pod(object: &mut Value) {
    within(object, "status", |status| single_and_list(status, "podIP", "podIPs", Some("ip")));
    inside(object, "spec", |spec| {
        for list in ["containers", "initContainers"] {
            each(spec, list, requests_from_limits);
        }
        super::core::pod::level::default_resources(spec);
        fill(spec, "enableServiceLinks", true);
        host_ports(spec);
        pod_spec(spec);
        if spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|grace| grace < 0) {
            set_at(spec, &["terminationGracePeriodSeconds"], Value::from(1));
        }
    });
}

/// A field that once held one value, and the list that took its place: the one is the first of the list, and wins where
/// they differ. `key` is the field of the list's items that holds the value.
pub(crate) fn single_and_list(object: &mut Value, single: &str, list: &str, key: Option<&str>) {
    let one = text_at(object, &[single]).to_owned();
    let first = at(object, &[list]).get(0).map(|item| match key {
        Some(key) => text_at(item, &[key]).to_owned(),
        None => item.as_str().unwrap_or_default().to_owned(),
    });
    match first {
        Some(first) if one.is_empty() => {
            if !first.is_empty() {
                set_at(object, &[single], Value::from(first));
            }
        }
        Some(first) if first == one => {}
        _ if one.is_empty() => {}
        _ => {
            let item = key.map_or(json!(one), |key| json!({key: one}));
            set_at(object, &[list], json!([item]));
        }
    }
}

/// A limit without a request is also the request.
fn requests_from_limits(container: &mut Value) {
    let Some(resources) = container.get_mut("resources") else { return };
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    fill(resources, "requests", Map::new());
    if let Some(requests) = resources.get_mut("requests").and_then(Value::as_object_mut) {
        for (name, amount) in limits {
            requests.entry(name).or_insert(amount);
        }
    }
}

/// On the host's network a port is the host's port.
fn host_ports(spec: &mut Value) {
    if spec.get("hostNetwork") != Some(&Value::Bool(true)) {
        return;
    }
    for list in ["containers", "initContainers"] {
        each(spec, list, |container| {
            each(container, "ports", |port| {
                if let Some(number) = port.get("containerPort").cloned() {
                    fill(port, "hostPort", number);
                }
            });
        });
    }
}

/// Defaults of a pod template.
pub(crate) fn pod_template(template: &mut Value) {
    inside(template, "spec", |spec| {
        host_ports(spec);
        pod_spec(spec);
    });
}

/// Defaults of a pod spec, in a pod or a template.
pub(crate) fn pod_spec(spec: &mut Value) {
    // An older name of the account; where both are given, the newer wins.
    if text_at(spec, &["serviceAccountName"]).is_empty() {
        let account = at(spec, &["serviceAccount"]).clone();
        set_at(spec, &["serviceAccountName"], account);
    }
    let account = at(spec, &["serviceAccountName"]).clone();
    set_at(spec, &["serviceAccount"], account);
    fill(spec, "dnsPolicy", "ClusterFirst");
    fill(spec, "restartPolicy", "Always");
    fill(spec, "securityContext", json!({}));
    fill(spec, "terminationGracePeriodSeconds", 30);
    fill(spec, "schedulerName", "default-scheduler");
    each(spec, "volumes", volume);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        each(spec, list, container);
    }
    resource_lists(spec, &["overhead"]);
    within(spec, "resources", |resources| resource_lists(resources, &["limits", "requests"]));
}

fn container(container: &mut Value) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let policy = pull_policy(image);
    fill(container, "imagePullPolicy", policy);
    fill(container, "terminationMessagePath", "/dev/termination-log");
    fill(container, "terminationMessagePolicy", "File");
    each(container, "env", |variable| {
        within(variable, "valueFrom", |source| within(source, "fieldRef", field_ref))
    });
    within(container, "resources", |resources| resource_lists(resources, &["limits", "requests"]));
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        within(container, field, probe);
    }
    within(container, "lifecycle", |lifecycle| {
        for field in ["postStart", "preStop"] {
            within(lifecycle, field, |handler| within(handler, "httpGet", http_get));
        }
    });
}

fn probe(probe: &mut Value) {
    fill(probe, "timeoutSeconds", 1);
    fill(probe, "periodSeconds", 10);
    fill(probe, "successThreshold", 1);
    fill(probe, "failureThreshold", 3);
    within(probe, "httpGet", http_get);
}

fn http_get(action: &mut Value) {
    fill(action, "path", "/");
    fill(action, "scheme", "HTTP");
}

fn field_ref(selector: &mut Value) {
    fill(selector, "apiVersion", "v1");
}

fn volume(volume: &mut Value) {
    let has_source = volume.as_object().is_some_and(|fields| fields.keys().any(|field| field != "name"));
    if !has_source {
        fill(volume, "emptyDir", json!({}));
    }
    for field in ["secret", "configMap", "downwardAPI", "projected"] {
        within(volume, field, |source| fill(source, "defaultMode", 0o644));
    }
    within(volume, "downwardAPI", downward_items);
    within(volume, "projected", |source| {
        each(source, "sources", |projection| {
            within(projection, "downwardAPI", downward_items);
            within(projection, "serviceAccountToken", |token| fill(token, "expirationSeconds", 3600));
        });
    });
    within(volume, "hostPath", |source| fill(source, "type", ""));
    within(volume, "image", |source| {
        let reference = source.get("reference").and_then(Value::as_str).unwrap_or_default();
        let policy = pull_policy(reference);
        fill(source, "pullPolicy", policy);
    });
    within(volume, "ephemeral", |source| {
        within(source, "volumeClaimTemplate", |template| inside(template, "spec", claim_spec));
    });
}

fn downward_items(source: &mut Value) {
    each(source, "items", |item| within(item, "fieldRef", field_ref));
}

/// Defaults of the spec of a persistent volume claim.
pub(crate) fn claim_spec(spec: &mut Value) {
    fill(spec, "volumeMode", "Filesystem");
    within(spec, "resources", |resources| resource_lists(resources, &["limits", "requests"]));
}

/// Defaults of a persistent volume claim.
pub(crate) fn claim(claim: &mut Value) {
    inside(claim, "status", |status| {
        fill(status, "phase", "Pending");
        resource_lists(status, &["capacity", "allocatedResources"]);
    });
    inside(claim, "spec", claim_spec);
}

/// Amounts finer than a thousandth are rounded up.
pub(crate) fn resource_lists(object: &mut Value, fields: &[&str]) {
    for field in fields {
        let Some(list) = object.get_mut(*field).and_then(Value::as_object_mut) else { continue };
        for amount in list.values_mut() {
            if amount.as_str().is_some_and(|text| text.ends_with(['n', 'u']))
                && let Ok(mut rounded) = proto::quantity::Quantity::from_json(amount)
            {
                rounded.round_up(-3);
                *amount = Value::from(rounded.to_string());
            }
        }
    }
}

/// Images of the tag `latest` are always pulled.
fn pull_policy(image: &str) -> &'static str {
    if is_latest(image) { "Always" } else { "IfNotPresent" }
}

fn is_latest(image: &str) -> bool {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let (path, tag) = match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (name, None),
    };
    // A name that is no valid reference has no tag at all.
    let remote = match path.split_once('/') {
        Some((domain, remote)) if domain.contains(['.', ':']) || domain == "localhost" => remote,
        _ => path,
    };
    // The registry that goes unnamed keeps images without a folder in one.
    let unnamed = remote.len() == path.len() && !remote.contains('/');
    let length = remote.len() + if unnamed { "library/".len() } else { 0 };
    if length > 255 || !remote.split('/').all(is_reference_part) {
        return false;
    }
    match (tag, digest) {
        (Some(tag), _) => tag == "latest",
        (None, None) => true,
        (None, Some(_)) => false,
    }
}

/// Lower-case letters and digits, with `.`, `_`, `__` or dashes between.
fn is_reference_part(part: &str) -> bool {
    let bytes = part.as_bytes();
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && separators.into_iter().all(|separator| {
            matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_latest_is_always_pulled() {
        for image in ["nginx", "nginx:latest", "example.com:5000/a/b", "localhost/a"] {
            assert!(is_latest(image), "{image}");
        }
        for image in [
            "nginx:1",
            "nginx@sha256:abc",
            "example.com:5000/a:1",
            "",
            "Bad/Name",
            "nginx:1@sha256:abc",
            "-a",
            "a..b",
        ] {
            assert!(!is_latest(image), "{image}");
        }
    }

    #[test]
    fn a_pod_gets_its_defaults() {
        let mut object = json!({"spec": {
            "hostNetwork": true,
            "containers": [{
                "name": "c",
                "image": "a:1",
                "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "1"}},
                "livenessProbe": {"httpGet": {"port": 80}},
            }],
            "volumes": [{"name": "v"}, {"name": "s", "secret": {"secretName": "x"}}],
        }});
        pod(&mut object);
        let spec = &object["spec"];
        let container = &spec["containers"][0];
        assert_eq!(container["ports"][0]["hostPort"], 80);
        assert_eq!(container["resources"]["requests"], json!({"cpu": "1"}));
        assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/");
        assert_eq!(container["livenessProbe"]["failureThreshold"], 3);
        assert_eq!(container["imagePullPolicy"], "IfNotPresent");
        assert_eq!(spec["volumes"][0]["emptyDir"], json!({}));
        assert_eq!(spec["volumes"][1]["secret"]["defaultMode"], 420);
        assert_eq!(spec["terminationGracePeriodSeconds"], 30);
        assert_eq!(spec["enableServiceLinks"], true);
    }

    #[test]
    fn a_single_value_and_a_list_are_in_step() {
        let cases = [
            (json!({"one": "a"}), json!({"one": "a", "all": ["a"]})),
            (json!({"all": ["a", "b"]}), json!({"one": "a", "all": ["a", "b"]})),
            (json!({"one": "c", "all": ["a", "b"]}), json!({"one": "c", "all": ["c"]})),
            (json!({}), json!({})),
        ];
        for (mut object, want) in cases {
            single_and_list(&mut object, "one", "all", None);
            assert_eq!(object, want);
        }
        let mut status = json!({"ip": "a"});
        single_and_list(&mut status, "ip", "ips", Some("ip"));
        assert_eq!(status, json!({"ip": "a", "ips": [{"ip": "a"}]}));
    }

    #[test]
    fn tiny_amounts_are_rounded_up() {
        let mut object = json!({"limits": {"cpu": "100u", "memory": "1Gi"}});
        resource_lists(&mut object, &["limits"]);
        assert_eq!(object, json!({"limits": {"cpu": "1m", "memory": "1Gi"}}));
    }
}
