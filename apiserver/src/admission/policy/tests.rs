//! Mutations of Deployments, as upstream's tables have them.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::testing::{Cluster, review};
use super::super::{Chain, Operation, Outcome, Plugin, Review};
use super::*;
use crate::auth::authz::AlwaysAllow;
use crate::registry::Endpoint;

fn apply(expression: &str) -> Value {
    json!({ "patchType": "ApplyConfiguration", "applyConfiguration": { "expression": expression } })
}

fn steps(expression: &str) -> Value {
    json!({ "patchType": "JSONPatch", "jsonPatch": { "expression": expression } })
}

/// A spec of these mutations, for all writes of Deployments.
fn spec(mutations: &[Value], extra: Value) -> Value {
    let mut spec = json!({ "failurePolicy": "Fail", "reinvocationPolicy": "Never", "mutations": mutations,
        "matchConstraints": { "matchPolicy": "Equivalent", "resourceRules": [{ "operations": ["*"],
            "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"] }] } });
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    spec
}

fn deployment(spec: Value) -> Value {
    json!({ "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "d1", "namespace": "default", "labels": { "x": "1", "y": "1" } }, "spec": spec })
}

fn containers(names: &[&str]) -> Value {
    let containers: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
    json!({ "replicas": 1, "template": { "spec": { "containers": containers } } })
}

fn write(operation: Operation, object: Value) -> Review {
    let mut review = review(operation, "apps", "deployments", object);
    review.endpoint = Arc::new(Endpoint::new("apps", "v1", "deployments", "Deployment"));
    review.kind = ("apps".to_owned(), "v1".to_owned(), "Deployment".to_owned());
    review
}

/// Policies of these specs in order, each with one binding.
fn cluster(specs: &[Value]) -> Arc<dyn Local> {
    let namespace = json!({ "metadata": { "name": "default", "labels": { "env": "prod" } } });
    let mut objects = vec![("", "namespaces", namespace)];
    for (at, spec) in specs.iter().enumerate() {
        let name = format!("p{at}");
        let binding = json!({ "metadata": { "name": "b" }, "spec": { "policyName": name } });
        let mut binding = binding;
        binding["metadata"]["name"] = json!(format!("b{at}"));
        objects.push((GROUP, "mutatingadmissionpolicybindings", binding));
        let policy = json!({ "metadata": { "name": name }, "spec": spec });
        objects.push((GROUP, "mutatingadmissionpolicies", policy));
    }
    Cluster::with_authorizer(&objects, Arc::new(AlwaysAllow))
}

async fn mutate(specs: &[Value], review: &mut Review) -> Result<(), Status> {
    Chain::new(vec![Arc::new(MutatingPolicies::new(&cluster(specs)))]).mutate(review).await
}

/// What one policy makes of a Deployment; as an error: the message without those who deny.
async fn mutated(mutations: &[Value], extra: Value, object: Value) -> Result<Value, String> {
    let mut review = write(Operation::Create, object);
    let done = mutate(&[spec(mutations, extra)], &mut review).await;
    let denied = "policy 'p0' with binding 'b0' denied request: ";
    done.map(|()| review.object).map_err(|status| status.message.replace(denied, ""))
}

async fn check(mutation: Value, object: Value, expected: Result<&[(&str, Value)], &str>) {
    let result = mutated(std::slice::from_ref(&mutation), json!({}), object).await;
    match (result, expected) {
        (Ok(object), Ok(expected)) => {
            for (path, value) in expected {
                let found = object.pointer(path).unwrap_or(&Value::Null);
                assert_eq!(found, value, "{mutation} at {path}");
            }
        }
        (Err(error), Err(expected)) => assert!(error.contains(expected), "{mutation}: {error}"),
        (result, expected) => panic!("{mutation}: {result:?}, not {expected:?}"),
    }
}

const LABELS: &str = "/metadata/labels";
const CONTAINERS: &str = "/spec/template/spec/containers";

#[tokio::test]
async fn json_patches() {
    let object = || deployment(containers(&["a", "b", "c"]));
    let names = "/spec/template/spec/containers";
    let container = |at: usize| format!("{CONTAINERS}/{at}/name");
    for (expression, path, value) in [
        ("{op: 'test', path: '/spec/replicas', value: 100}, JSONPatch{op: 'replace', path: '/spec/replicas', value: 3}", "/spec/replicas".to_owned(), json!(1)),
        ("{op: 'test', path: '/spec/replicas', value: 1}, JSONPatch{op: 'replace', path: '/spec/replicas', value: 3}", "/spec/replicas".to_owned(), json!(3)),
        ("{op: 'remove', path: '/metadata/labels/y'}", LABELS.to_owned(), json!({ "x": "1" })),
        ("{op: 'remove', path: '/spec/template/spec/containers/1'}", container(1), json!("c")),
        ("{op: 'copy', from: '/metadata/labels/x', path: '/metadata/labels/z'}", LABELS.to_owned(), json!({ "x": "1", "y": "1", "z": "1" })),
        ("{op: 'copy', from: '/spec/template/spec/containers/0', path: '/spec/template/spec/containers/-'}", container(3), json!("a")),
        ("{op: 'move', from: '/metadata/labels/x', path: '/metadata/labels/z'}", LABELS.to_owned(), json!({ "y": "1", "z": "1" })),
        ("{op: 'move', from: '/spec/template/spec/containers/0', path: '/spec/template/spec/containers/-'}", container(2), json!("a")),
        ("{op: 'add', path: '/metadata/labels/x', value: '2'}", LABELS.to_owned(), json!({ "x": "2", "y": "1" })),
        ("{op: 'add', path: '/metadata/labels', value: {'y': '2'}}", LABELS.to_owned(), json!({ "y": "2" })),
        ("{op: 'add', path: '/metadata/annotations', value: {'y': '2'}}", "/metadata/annotations".to_owned(), json!({ "y": "2" })),
        ("{op: 'add', path: '/spec/template/spec/containers/0', value: {'name': 'x'}}", container(0), json!("x")),
        ("{op: 'add', path: '/spec/template/spec/containers/-', value: {'name': 'x'}}", container(3), json!("x")),
        ("{op: 'replace', path: '/metadata/labels/x', value: '2'}", LABELS.to_owned(), json!({ "x": "2", "y": "1" })),
        ("{op: 'replace', path: '/metadata/annotations', value: {'y': '2'}}", "/metadata/annotations".to_owned(), json!({ "y": "2" })),
        ("{op: 'replace', path: '/spec/template/spec/containers/0', value: {'name': 'x'}}", container(0), json!("x")),
        ("{op: 'add', path: '/spec', value: Object.spec{selector: Object.spec.selector{}, replicas: 10}}", "/spec/replicas".to_owned(), json!(10)),
        ("{op: 'add', path: '/spec', value: Object.invalid{replicas: 9}}", "/spec/replicas".to_owned(), json!(9)),
        ("{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('k8s.io/x~y'), value: 'true'}", format!("{LABELS}/k8s.io~1x~0y"), json!("true")),
        (
            "{op: 'add', path: '/spec/template/spec/containers/-', value: Object.spec.template.spec.containers{
                name: 'x', ports: [Object.spec.template.spec.containers.ports{containerPort: 8080}]}}",
            format!("{names}/3/ports/0/containerPort"),
            json!(8080),
        ),
    ] {
        check(steps(&format!("[JSONPatch{expression}]")), object(), Ok(&[(&path, value)])).await;
    }
    for (expression, error) in [
        (
            "{op: 'add', path: '/spec/template/spec/containers/-', value: Object.spec.template.spec.containers{
                name: 'x', ports: [Object.spec.template.spec.containers.ports{containerPortZ: 8080}]}}",
            "Internal error occurred: strict decoding error: unknown field \"spec.template.spec.containers[3].ports[0].containerPortZ\"",
        ),
        (
            "{op: 'add', path: '/spec/template/spec/containers/-', value: Object.spec.template.spec.containers{
                name: 'x', ports: [Object.spec.template.spec.containers.portsZ{containerPort: 8080}]}}",
            "type mismatch: unexpected type name \"Object.spec.template.spec.containers.portsZ\", expected \"Object.spec.template.spec.containers.ports\", which matches field name path from root Object type",
        ),
        (
            "{op: 'replace', path: '/spec/template/spec/containers/-', value: {'name': 'x'}}",
            "JSON Patch: replace operation does not apply: doc is missing key: /spec/template/spec/containers/-: missing value",
        ),
    ] {
        check(steps(&format!("[JSONPatch{expression}]")), object(), Err(error)).await;
    }
}

#[tokio::test]
async fn configurations_are_applied() {
    let volumes = |volume: &str| {
        apply(&format!(
            "Object{{spec: Object.spec{{template: Object.spec.template{{spec: Object.spec.template.spec{{
                volumes: [Object.spec.template.spec.volumes{{{volume}}}]}}}}}}}}"
        ))
    };
    let replicas = |value: &str| apply(&format!("Object{{spec: Object.spec{{replicas: {value}}}}}"));
    let mut object = deployment(containers(&["a"]));
    object["spec"]["template"]["spec"]["volumes"] = json!([{ "name": "x" }, { "name": "y" }]);
    let env = "/spec/template/spec/containers/0/env";
    let twice = json!([{ "name": "test", "value": "a" }, { "name": "test", "value": "b" }, { "name": "foo", "value": "bar" }]);
    object["spec"]["template"]["spec"]["containers"][0]["env"] = twice.clone();
    let path = |at: usize, field: &str| format!("/spec/template/spec/volumes/{at}/{field}");
    let cases = [
        (volumes("name: 'z'"), vec![(path(0, "name"), json!("x")), (path(2, "name"), json!("z"))]),
        (
            volumes("name: 'y', hostPath: Object.spec.template.spec.volumes.hostPath{path: 'a'}"),
            vec![(path(1, "hostPath/path"), json!("a")), (path(2, "name"), Value::Null)],
        ),
        (
            replicas("object.spec.replicas % 2 == 1 ? object.spec.replicas + 1 : object.spec.replicas"),
            vec![("/spec/replicas".to_owned(), json!(2)), (env.to_owned(), twice)],
        ),
        (
            apply(
                "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{
                    containers: [Object.spec.template.spec.containers{name: 'a', env: [
                        Object.spec.template.spec.containers.env{name: 'test', value: 'c'}]}]}}}}",
            ),
            vec![(
                env.to_owned(),
                json!([{ "name": "test", "value": "c" }, { "name": "foo", "value": "bar" }]),
            )],
        ),
        (
            apply(
                "Object{metadata: Object.metadata{labels: {'app': 'nginx'}}, spec: Object.spec{
                    template: Object.spec.template{spec: Object.spec.template.spec{
                        containers: [Object.spec.template.spec.containers{
                            name: 'nginx', image: 'nginx:1.14.2',
                            ports: [Object.spec.template.spec.containers.ports{containerPort: 80}],
                            resources: Object.spec.template.spec.containers.resources{limits: {'cpu': '128M'}}}]}}}}",
            ),
            vec![
                (LABELS.to_owned(), json!({ "app": "nginx", "x": "1", "y": "1" })),
                (format!("{CONTAINERS}/1/ports/0/containerPort"), json!(80)),
                (format!("{CONTAINERS}/1/resources/limits/cpu"), json!("128M")),
            ],
        ),
    ];
    for (mutation, expected) in cases {
        let expected: Vec<(&str, Value)> =
            expected.iter().map(|(path, value)| (path.as_str(), value.clone())).collect();
        check(mutation, object.clone(), Ok(&expected)).await;
    }
    for (expression, error) in [
        (
            "Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: {'l': 'v'}}}}",
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.selector",
        ),
        (
            "Object{spec: Object.specx{replicas: 1}}",
            "type mismatch: unexpected type name \"Object.specx\", expected \"Object.spec\", which matches field name path from root Object type",
        ),
        (
            "Object{spec: Object.spec{replicasx: 1}}",
            "error applying patch: failed to convert patch object to typed object: .spec.replicasx: field not declared in schema",
        ),
        ("\"I'm a teapot!\"", "must evaluate to Object but got string"),
        ("Object.spec.metadata{}", "must evaluate to Object but got Object.spec.metadata"),
        ("Object{spec: Object.spec{replicas: null}}", "null can't be applied: Object.spec.replicas"),
    ] {
        check(apply(expression), object.clone(), Err(error)).await;
    }
}

#[tokio::test]
async fn mutations_follow_each_other_and_see_all_variables() {
    let object = || deployment(json!({ "replicas": 1 }));
    let plus = "Object{spec: Object.spec{replicas: object.spec.replicas + 100}}";
    let step = "[JSONPatch{op: 'replace', path: '/spec/replicas', value: object.spec.replicas + 10}]";
    let desired = || json!({ "variables": [{ "name": "desired", "expression": "10" }] });
    let nested = "variables.list.all(a, variables.list.all(b, variables.list.all(c, variables.list.all(d, variables.list.all(e, variables.list.all(e, '0123456789' == '0123456789'))))))";
    let list = || json!({ "variables": [{ "name": "list", "expression": "[0,1,2,3,4,5,6,7,8,9]" }] });
    let value =
        |value: &str| steps(&format!("[JSONPatch{{op: 'replace', path: '/spec/replicas', value: {value}}}]"));
    for (mutations, extra, expected) in [
        (vec![apply(plus), steps(step)], json!({}), Ok(111)),
        (vec![steps(step), apply(plus)], json!({}), Ok(111)),
        (vec![value("variables.desired + 1")], desired(), Ok(11)),
        (vec![apply("Object{spec: Object.spec{replicas: variables.desired + 1}}")], desired(), Ok(11)),
        (
            vec![value(
                "request.kind.group == 'apps' && request.kind.version == 'v1' && request.kind.kind == 'Deployment' ? 10 : 0",
            )],
            json!({}),
            Ok(10),
        ),
        (vec![value("namespaceObject.metadata.name == 'default' ? 10 : 0")], json!({}), Ok(10)),
        (
            vec![value("authorizer.group('').resource('endpoints').check('create').allowed() ? 10 : 0")],
            json!({}),
            Ok(10),
        ),
        (
            vec![value(&format!("{nested} ? 1 : 0"))],
            list(),
            Err("operation cancelled: actual cost limit exceeded"),
        ),
        (
            vec![apply(&format!("Object{{spec: Object.spec{{replicas: {nested} ? 1 : 0}}}}"))],
            list(),
            Err("operation cancelled: actual cost limit exceeded"),
        ),
        // A failure that is ignored stops its mutation alone.
        (vec![value("object.missing"), apply(plus)], json!({ "failurePolicy": "Ignore" }), Ok(101)),
        (vec![value("object.missing")], json!({}), Err("resulted in error: no such key: missing")),
        (
            vec![apply(plus)],
            json!({ "matchConditions": [{ "name": "c", "expression": "request.userInfo.username == 'bob'" }] }),
            Ok(1),
        ),
        (
            vec![apply(plus)],
            json!({ "matchConditions": [{ "name": "c", "expression": "object.missing" }] }),
            Err("must evaluate to bool but got dyn"),
        ),
    ] {
        let result = mutated(&mutations, extra, object()).await;
        let replicas = result.map(|object| object["spec"]["replicas"].as_i64());
        match expected {
            Ok(expected) => assert_eq!(replicas, Ok(Some(expected)), "{mutations:?}"),
            Err(expected) => assert!(replicas.clone().unwrap_err().contains(expected), "{replicas:?}"),
        }
    }
}

#[tokio::test]
async fn refusals_are_forbidden_whatever_their_reason() {
    let mut review = write(Operation::Create, deployment(json!({ "replicas": 1 })));
    let failing = spec(&[apply("Object{spec: object.nothing}")], json!({}));
    let status = mutate(&[failing.clone(), failing], &mut review).await.unwrap_err();
    assert_eq!((status.code, &*status.reason), (403, "Invalid"));
    let text = |at: usize| {
        format!(
            "policy 'p{at}' with binding 'b{at}' denied request: expression 'Object{{spec: object.nothing}}' resulted in error: no such key: nothing"
        )
    };
    assert_eq!(status.message, text(0));
    let causes: Vec<String> = status.details.unwrap().causes.into_iter().map(|cause| cause.message).collect();
    assert_eq!(causes, [text(0), text(1)]);
    let kind = json!({ "paramKind": { "apiVersion": "v1", "kind": "Nope" } });
    let unknown = spec(&[apply("Object{}")], kind);
    let status = mutate(&[unknown], &mut review).await.unwrap_err();
    assert_eq!((status.code, &*status.reason), (403, "Forbidden"));
    assert_eq!(
        status.message,
        "policy \"p0\" denied request: failed to configure policy: failed to find resource referenced by paramKind: 'v1, Kind=Nope'"
    );
}

#[tokio::test]
async fn what_has_no_object_is_let_pass() {
    let mut review = write(Operation::Connect, Value::Null);
    let any = json!({ "matchConstraints": {} });
    assert!(mutate(&[spec(&[apply("Object{}")], any)], &mut review).await.is_ok());
    assert!(review.object.is_null());
}

/// A label that counts how often the policy was at work.
fn count(label: &str, extra: Value) -> Value {
    let expression = format!(
        "Object{{metadata: Object.metadata{{labels: {{'{label}': string(int(object.metadata.labels[?'{label}'].orValue('0')) + 1)}}}}}}"
    );
    spec(&[apply(&expression)], extra)
}

#[tokio::test]
async fn policies_are_reinvoked_if_they_ask_for_it() {
    let again = || json!({ "reinvocationPolicy": "IfNeeded" });
    let only = |label: &str, value: &str| {
        let expression = format!("object.metadata.labels[?'{label}'].orValue('') == '{value}'");
        json!({ "matchConditions": [{ "name": "only", "expression": expression }] })
    };
    for (specs, expected) in [
        (vec![count("a", json!({}))], json!({ "a": "1" })),
        // Any mutation that succeeds asks for a second round.
        (vec![count("a", again())], json!({ "a": "2" })),
        (vec![count("a", again()), count("b", json!({}))], json!({ "a": "2", "b": "1" })),
        (vec![count("a", again()), count("b", again())], json!({ "a": "2", "b": "2" })),
        // What the first does decides whether the second is meant.
        (vec![count("a", json!({})), count("b", only("a", "1"))], json!({ "a": "1", "b": "1" })),
        // Who wasn't meant in the first round isn't in the second.
        (vec![count("a", only("b", "1")), count("b", json!({}))], json!({ "b": "1" })),
    ] {
        let mut review = write(Operation::Create, deployment(json!({ "replicas": 1 })));
        review.object["metadata"]["labels"] = json!({ "n": "0" });
        mutate(&specs, &mut review).await.unwrap();
        let mut labels = review.object["metadata"]["labels"].clone();
        labels.as_object_mut().unwrap().remove("n");
        assert_eq!(labels, expected, "{specs:?}");
    }
}

/// A plugin that changes objects.
struct Changer(fn(&mut Value));

impl Plugin for Changer {
    fn name(&self) -> &'static str {
        "Changer"
    }

    fn handles(&self, _: Operation) -> bool {
        true
    }

    fn mutate<'a>(&'a self, review: &'a mut Review) -> Outcome<'a> {
        (self.0)(&mut review.object);
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test]
async fn built_in_plugins_see_again_what_policies_changed() {
    let seen = |object: &mut Value| {
        let labels = object["metadata"]["labels"].clone();
        object["metadata"]["annotations"] = json!({ "seen": labels["a"] });
    };
    let policies = MutatingPolicies::new(&cluster(&[count("a", json!({}))]));
    let chain = Chain::new(vec![Arc::new(Changer(seen)), Arc::new(policies)]);
    let mut review = write(Operation::Create, deployment(json!({ "replicas": 1 })));
    chain.mutate(&mut review).await.unwrap();
    assert_eq!(review.object["metadata"]["annotations"]["seen"], "1");
}
