//! Admission by policies and webhooks, as a client sees it.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};

use crate::common::{Server, webhook};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const NAMESPACE: &str = "mutated";

/// A policy of some kind for the operations on a resource, and its binding to the namespace of these tests.
async fn bind(
    server: &Server,
    kind: &str,
    name: &str,
    (group, version, resource): (&str, &str, &str),
    spec: Value,
) {
    let mut full = json!({ "matchConstraints": { "resourceRules": [{ "operations": ["CREATE", "UPDATE"],
        "apiGroups": [group], "apiVersions": [version], "resources": [resource] }] } });
    full.as_object_mut().expect("an object").extend(spec.as_object().cloned().unwrap_or_default());
    let reference = full.as_object_mut().and_then(|spec| spec.remove("paramRef"));
    let mut bound = json!({ "policyName": name,
        "matchResources": { "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": NAMESPACE } } } });
    if let Some(reference) = reference {
        bound["paramRef"] = reference;
    }
    if kind == "Validating" {
        bound["validationActions"] = json!(["Deny"]);
    }
    let resource = format!("{GROUP}/{}admissionpolic", kind.to_lowercase());
    for (path, kind, spec) in [
        (format!("{resource}ies"), format!("{kind}AdmissionPolicy"), full),
        (format!("{resource}ybindings"), format!("{kind}AdmissionPolicyBinding"), bound),
    ] {
        let object = json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
            "metadata": { "name": name }, "spec": spec });
        let (code, made) = server.json(Method::POST, &path, object).await;
        assert_eq!(code, 201, "{made}");
    }
}

/// A mutating policy of these mutations.
async fn mutate(
    server: &Server,
    name: &str,
    resource: (&str, &str, &str),
    mutations: &[Value],
    extra: Value,
) {
    let mut spec = json!({ "reinvocationPolicy": "Never", "mutations": mutations });
    spec.as_object_mut().expect("an object").extend(extra.as_object().cloned().unwrap_or_default());
    bind(server, "Mutating", name, resource, spec).await;
}

fn apply(expression: &str) -> Value {
    json!({ "patchType": "ApplyConfiguration", "applyConfiguration": { "expression": expression } })
}

fn steps(expression: &str) -> Value {
    json!({ "patchType": "JSONPatch", "jsonPatch": { "expression": expression } })
}

fn labels(label: &str, value: &str) -> Value {
    apply(&format!("Object{{metadata: Object.metadata{{labels: {{'{label}': {value}}}}}}}"))
}

/// What is answered, once that is as wanted: policies take effect a moment after they are made.
async fn until(ask: impl AsyncFn() -> (u16, Value), wanted: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    for _ in 0..200 {
        (_, last) = ask().await;
        if wanted(&last) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not as wanted: {last}");
}

/// What would be created, once that is as wanted.
async fn created(server: &Server, path: &str, object: &Value, wanted: impl Fn(&Value) -> bool) -> Value {
    let path = format!("{path}?dryRun=All");
    until(async || server.json(Method::POST, &path, object.clone()).await, wanted).await
}

fn path(group: &str, resource: &str) -> String {
    format!("/{group}/namespaces/{NAMESPACE}/{resource}")
}

fn map(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "labels": { "own": "x" } }, "data": { "n": "1" } })
}

/// Policies that change objects, in a namespace of their own.
pub(crate) async fn policies_change_objects(server: &Server) {
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    assert_eq!(server.json(Method::POST, "/api/v1/namespaces", namespace).await.0, 201);
    expressions_are_checked(server).await;
    scales_are_seen(server).await;
    workloads_get_what_parameters_say(server).await;
    versions_are_converted(server).await;
    custom_resources_are_merged(server).await;
    webhooks_and_policies_see_each_other(server).await;
    policies_see_webhook_configurations(server).await;
}

async fn expressions_are_checked(server: &Server) {
    for (mutation, expected) in [
        (
            apply("'teapot'"),
            "spec.mutations[0].applyConfiguration.expression: Invalid value: \"'teapot'\": must evaluate to Object but got string",
        ),
        (steps("[JSONPatch{op: 1}]"), "expected type of field 'op' is 'string' but provided type is 'int'"),
    ] {
        let policy = json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
            "metadata": { "name": "bad" }, "spec": { "reinvocationPolicy": "Never", "mutations": [mutation],
                "matchConstraints": { "resourceRules": [{ "operations": ["CREATE"], "apiGroups": [""],
                    "apiVersions": ["v1"], "resources": ["configmaps"] }] } } });
        let (code, refused) =
            server.json(Method::POST, &format!("{GROUP}/mutatingadmissionpolicies"), policy).await;
        let message = refused["message"].as_str().unwrap_or_default();
        assert!(code == 422 && message.contains(expected), "{refused}");
    }
}

/// Whoever scales, policies see the Scale, and not what is scaled.
async fn scales_are_seen(server: &Server) {
    let deployments = path("apis/apps/v1", "deployments");
    let deployment = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "scaled" },
        "spec": { "replicas": 1, "selector": { "matchLabels": { "a": "b" } },
            "template": { "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } } } });
    let (code, made) = server.json(Method::POST, &deployments, deployment).await;
    assert_eq!(code, 201, "{made}");
    let scales = ("apps", "v1", "deployments/scale");
    let cap = "object.kind == 'Scale' && object.spec.replicas > 3
        ? [JSONPatch{op: 'replace', path: '/spec/replicas', value: 3}] : []";
    mutate(server, "capped", scales, &[steps(cap)], json!({})).await;
    let rule = "object.kind == 'Scale' && oldObject.kind == 'Scale' && object.status.selector == 'a=b'
        && object.spec.replicas != oldObject.spec.replicas + 1 && request.options.kind == 'UpdateOptions'";
    let rules = json!({ "validations": [{ "expression": rule, "message": "by one" }] });
    bind(server, "Validating", "steps", scales, rules).await;
    let scale = async |replicas: i64, query: &str| {
        let wish = json!({ "spec": { "replicas": replicas } });
        server.json(Method::PATCH, &format!("{deployments}/scaled/scale{query}"), wish).await
    };
    until(async || scale(2, "?dryRun=All").await, |answer| answer["code"] == 422).await;
    until(async || scale(9, "?dryRun=All").await, |answer| answer["spec"]["replicas"] == 3).await;
    let (code, scaled) = scale(9, "").await;
    assert_eq!((code, &scaled["spec"]["replicas"]), (200, &json!(3)), "{scaled}");
    let (_, scaled) = server.json(Method::GET, &format!("{deployments}/scaled"), Value::Null).await;
    assert_eq!(scaled["spec"]["replicas"], 3, "{scaled}");
    let wish = json!({ "metadata": { "uid": "other" }, "spec": { "replicas": 5 } });
    let (code, refused) = server.json(Method::PATCH, &format!("{deployments}/scaled/scale"), wish).await;
    assert_eq!((code, &refused["reason"]), (409, &json!("Conflict")), "{refused}");
}

async fn workloads_get_what_parameters_say(server: &Server) {
    let parameters = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "sidecar" },
        "data": { "image": "mesh:1" } });
    let (code, made) = server.json(Method::POST, &path("api/v1", "configmaps"), parameters).await;
    assert_eq!(code, 201, "{made}");
    let sidecar = "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{
        initContainers: [Object.spec.template.spec.initContainers{
            name: 'mesh', image: params.data.image, restartPolicy: 'Always'}]}}}}";
    let count = "[JSONPatch{op: 'add', path: '/metadata/annotations',
        value: {'containers': string(size(object.spec.template.spec.initContainers) + size(variables.own))}}]";
    let extra = json!({
        "paramKind": { "apiVersion": "v1", "kind": "ConfigMap" },
        "paramRef": { "name": "sidecar", "parameterNotFoundAction": "Deny" },
        "matchConditions": [{ "name": "meshed", "expression": "object.metadata.?labels['mesh'].orValue('') != 'off'" }],
        "variables": [{ "name": "own", "expression": "object.spec.template.spec.containers" }],
    });
    mutate(server, "sidecar", ("apps", "v1", "deployments"), &[apply(sidecar), steps(count)], extra).await;
    let deployment = |label: &str| {
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d", "labels": { "mesh": label } },
            "spec": { "selector": { "matchLabels": { "a": "b" } }, "template": { "metadata": { "labels": { "a": "b" } },
                "spec": { "containers": [{ "name": "c", "image": "i" }] } } } })
    };
    let deployments = path("apis/apps/v1", "deployments");
    let seen = |object: &Value| object["metadata"]["annotations"]["containers"] == "2";
    let made = created(server, &deployments, &deployment("on"), seen).await;
    let container = &made["spec"]["template"]["spec"]["initContainers"][0];
    // What policies add has its defaults.
    assert_eq!(
        (&container["image"], &container["imagePullPolicy"]),
        (&json!("mesh:1"), &json!("IfNotPresent"))
    );
    let (code, made) = server.json(Method::POST, &deployments, deployment("off")).await;
    assert_eq!(code, 201, "{made}");
    assert!(made["spec"]["template"]["spec"]["initContainers"].is_null(), "{made}");
    // Updates see the policy too.
    let patch = json!({ "metadata": { "labels": { "mesh": "on" } } });
    let (code, made) = server.json(Method::PATCH, &format!("{deployments}/d"), patch).await;
    assert_eq!((code, &made["metadata"]["annotations"]["containers"]), (200, &json!("2")), "{made}");
    // Parameters that are gone refuse.
    server.json(Method::DELETE, &format!("{}/sidecar", path("api/v1", "configmaps")), Value::Null).await;
    let mut another = deployment("on");
    another["metadata"]["name"] = json!("e");
    let refused = created(server, &deployments, &another, |answer| answer["code"] == 403).await;
    assert_eq!(
        refused["message"],
        "policy 'sidecar' with binding 'sidecar' denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    );
}

async fn versions_are_converted(server: &Server) {
    let mutation = apply("Object{spec: Object.spec{minReplicas: object.spec.metrics.size() + 1}}");
    mutate(server, "scaled", ("autoscaling", "v2", "horizontalpodautoscalers"), &[mutation], json!({})).await;
    // The policy is one of another version.
    let scaler = json!({ "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "h" },
        "spec": { "maxReplicas": 5, "targetCPUUtilizationPercentage": 50,
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "d" } } });
    let scalers = path("apis/autoscaling/v1", "horizontalpodautoscalers");
    let made = created(server, &scalers, &scaler, |made| made["spec"]["minReplicas"] == 2).await;
    assert_eq!(made["spec"]["targetCPUUtilizationPercentage"], 50, "{made}");
}

async fn custom_resources_are_merged(server: &Server) {
    let item = json!({ "type": "object", "required": ["name"],
        "properties": { "name": { "type": "string" }, "value": { "type": "string" }, "size": { "type": "integer", "default": 3 } } });
    let schema = json!({ "type": "object", "properties": { "spec": { "type": "object", "properties": {
        "items": { "type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"] },
        "units": { "type": "array", "items": { "type": "string" } } } } } });
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "mergeds.example.com" },
        "spec": { "group": "example.com", "scope": "Namespaced", "names": { "plural": "mergeds", "kind": "Merged" },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": schema } }] },
    });
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let (code, made) = server.json(Method::POST, definitions, definition).await;
    assert_eq!(code, 201, "{made}");
    let item = "Object{spec: Object.spec{items: [Object.spec.items{name: 'b', value: '2'}]}}";
    mutate(server, "merged", ("example.com", "v1", "mergeds"), &[apply(item)], json!({})).await;
    let merged = |name: &str| {
        json!({ "apiVersion": "example.com/v1", "kind": "Merged", "metadata": { "name": name },
            "spec": { "items": [{ "name": "a", "value": "1" }, { "name": "b", "value": "1" }] } })
    };
    let mergeds = path("apis/example.com/v1", "mergeds");
    let is_merged = |made: &Value| made["spec"]["items"][1]["value"] == "2";
    let made = created(server, &mergeds, &merged("m"), is_merged).await;
    assert_eq!(
        made["spec"]["items"],
        json!([{ "name": "a", "value": "1", "size": 3 }, { "name": "b", "value": "2", "size": 3 }])
    );
    // Units can't be set by parts of them.
    let unit = "Object{spec: Object.spec{units: ['x']}}";
    mutate(server, "units", ("example.com", "v1", "mergeds"), &[apply(unit)], json!({})).await;
    let refused = created(server, &mergeds, &merged("m"), |answer| answer["code"] == 403).await;
    assert_eq!(
        refused["message"],
        "policy 'units' with binding 'units' denied request: error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.units"
    );
}

async fn webhooks_and_policies_see_each_other(server: &Server) {
    // The policy counts the webhook's label, which comes after it; so it is called again.
    let count = "string(size(object.metadata.labels.filter(name, name.startsWith('hook'))))";
    let again = json!({ "reinvocationPolicy": "IfNeeded" });
    mutate(server, "counted", ("", "v1", "configmaps"), &[labels("count", count)], again).await;
    let (port, ca) = webhook::serve(|review| {
        let request = &review["request"];
        let seen = &request["object"]["metadata"]["labels"]["count"];
        let patch = json!([{ "op": "add", "path": "/metadata/labels/hook", "value": format!("saw-{}", seen.as_str().unwrap_or("none")) }]);
        json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": { "uid": request["uid"],
            "allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch.to_string()) } })
    })
    .await;
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": "hook" },
        "webhooks": [{ "name": "hook.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "reinvocationPolicy": "IfNeeded",
            "clientConfig": { "url": format!("https://localhost:{port}/"), "caBundle": STANDARD.encode(ca) },
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": NAMESPACE } },
            "rules": [{ "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"] }] }],
    });
    let (code, made) =
        server.json(Method::POST, &format!("{GROUP}/mutatingwebhookconfigurations"), configuration).await;
    assert_eq!(code, 201, "{made}");
    let maps = path("api/v1", "configmaps");
    let seen = |made: &Value| made["metadata"]["labels"]["hook"] == "saw-1";
    let made = created(server, &maps, &map("x"), seen).await;
    assert_eq!(made["metadata"]["labels"], json!({ "count": "1", "hook": "saw-1", "own": "x" }));
    // A validating policy sees what came of it all.
    let rule = json!({ "validations": [{ "expression": "object.metadata.labels['hook'] != 'saw-1'", "message": "seen" }] });
    bind(server, "Validating", "judged", ("", "v1", "configmaps"), rule).await;
    let refused = created(server, &maps, &map("x"), |answer| answer["code"] == 422).await;
    assert_eq!(
        refused["message"],
        "configmaps \"x\" is forbidden: ValidatingAdmissionPolicy 'judged' with binding 'judged' denied request: seen"
    );
}

async fn policies_see_webhook_configurations(server: &Server) {
    let rule = json!({ "matchConstraints": { "resourceRules": [{ "operations": ["CREATE"],
            "apiGroups": ["admissionregistration.k8s.io"], "apiVersions": ["*"], "resources": ["*"] }] },
        "validations": [{ "expression": "object.metadata.name != 'unwanted'", "message": "not this one" }] });
    bind(server, "Validating", "hooks", ("", "", ""), rule).await;
    let unwanted = json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": "unwanted" } });
    let path = format!("{GROUP}/validatingwebhookconfigurations");
    created(server, &path, &unwanted, |answer| answer["code"] == 422).await;
    // Nobody can lock policies themselves out.
    let policy = json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
        "metadata": { "name": "unwanted" }, "spec": { "policyName": "none" } });
    let path = format!("{GROUP}/mutatingadmissionpolicybindings?dryRun=All");
    let (code, made) = server.json(Method::POST, &path, policy).await;
    assert_eq!(code, 201, "{made}");
}
