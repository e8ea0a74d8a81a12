//! What upstream answers, request by request: codes, reasons and texts that were compared with kube-apiserver 1.36.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::common::Server;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const FORM: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const JSON: &str = "application/json-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// (method, path below [`MAPS`], content type, body, code, message); an object instead of a failure has no message.
type Case = (&'static str, &'static str, &'static str, &'static str, u16, &'static str);

const ROUTES: &[Case] = &[
    ("GET", "/..", FORM, "", 400, "Name parameter invalid: \"..\": may not be '..'"),
    ("POST", "/s", FORM, "{}", 405, "the server does not allow this method on the requested resource"),
    ("PUT", "", FORM, "{}", 405, "the server does not allow this method on the requested resource"),
    ("GET", "/s/status", FORM, "", 404, "the server could not find the requested resource"),
    ("GET", "/nope", FORM, "", 404, "configmaps \"nope\" not found"),
    (
        "GET",
        "?timeout=1x",
        FORM,
        "",
        400,
        "invalid timeout specified in the request URL - time: unknown unit \"x\" in duration \"1x\"",
    ),
];

const LISTS: &[Case] = &[
    ("GET", "?limit=x", FORM, "", 400, "strconv.ParseInt: parsing \"x\": invalid syntax"),
    (
        "GET",
        "?resourceVersion=x",
        FORM,
        "",
        400,
        "invalid resource version: resourceVersion: Invalid value: \"x\": strconv.ParseUint: parsing \"x\": invalid syntax",
    ),
    (
        "GET",
        "?watch=1&resourceVersion=x",
        FORM,
        "",
        500,
        "resourceVersion: Invalid value: \"x\": strconv.ParseUint: parsing \"x\": invalid syntax",
    ),
    (
        "GET",
        "/s?resourceVersion=x",
        FORM,
        "",
        500,
        "resourceVersion: Invalid value: \"x\": strconv.ParseUint: parsing \"x\": invalid syntax",
    ),
    (
        "GET",
        "?continue=x",
        FORM,
        "",
        400,
        "invalid continue token: continue key is not valid: illegal base64 data at input byte 0",
    ),
    (
        "GET",
        "?labelSelector=x+in+(",
        FORM,
        "",
        400,
        "unable to parse requirement: found '', expected: ',', ')' or identifier",
    ),
    (
        "GET",
        "?fieldSelector=data.k%3D1",
        FORM,
        "",
        400,
        "\"data.k\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
    ),
    (
        "GET",
        "?sendInitialEvents=true",
        FORM,
        "",
        422,
        "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
    ),
    (
        "GET",
        "?watch=1&continue=x",
        FORM,
        "",
        422,
        "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided",
    ),
];

const BODIES: &[Case] = &[
    (
        "POST",
        "",
        FORM,
        "",
        400,
        "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)",
    ),
    (
        "POST",
        "",
        FORM,
        r#"{"apiVersion":"v1","kind":"Secret"}"#,
        400,
        "Secret in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown conversion",
    ),
    (
        "POST",
        "",
        FORM,
        r#"{"apiVersion":"v2","kind":"ConfigMap"}"#,
        400,
        "ConfigMap in version \"v2\" cannot be handled as a ConfigMap: no kind \"ConfigMap\" is registered for version \"v2\" in scheme \"k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30\"",
    ),
    (
        "POST",
        "?dryRun=",
        FORM,
        r#"{"metadata":{"name":"x"}}"#,
        422,
        "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"\"]: supported values: \"All\"",
    ),
    (
        "PUT",
        "/s",
        FORM,
        r#"{"metadata":{"name":"s","resourceVersion":"x"}}"#,
        500,
        "strconv.ParseUint: parsing \"x\": invalid syntax",
    ),
    (
        "PUT",
        "/s",
        FORM,
        r#"{"metadata":{"name":"s","namespace":"x"}}"#,
        400,
        "the namespace of the provided object does not match the namespace sent on the request",
    ),
    (
        "PUT",
        "/s",
        FORM,
        r#"{"metadata":{"name":"t"}}"#,
        400,
        "the name of the object (t) does not match the name on the URL (s)",
    ),
    (
        "DELETE",
        "/s",
        FORM,
        "{",
        400,
        "couldn't get version/kind; json parse error: unexpected end of JSON input",
    ),
    (
        "DELETE",
        "/s",
        FORM,
        r#"{"kind":"Foo","apiVersion":"v1"}"#,
        400,
        "no kind \"Foo\" is registered for version \"v1\" in scheme \"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\"",
    ),
    ("DELETE", "/s?gracePeriodSeconds=x", FORM, "", 400, "strconv.ParseInt: parsing \"x\": invalid syntax"),
];

const PATCHES: &[Case] = &[
    ("PATCH", "/s", "text/plain", "{}", 415, "415: Unsupported Media Type"),
    ("PATCH", "/s", "application/apply-patch+cbor", "", 415, "415: Unsupported Media Type"),
    (
        "PATCH",
        "/s?force=true",
        MERGE,
        "{}",
        422,
        "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch",
    ),
    (
        "PATCH",
        "/s",
        JSON,
        r#"[{"op":"test","path":"/data/k","value":"9"}]"#,
        422,
        "the server rejected our request due to an error in our request",
    ),
    (
        "PATCH",
        "/s?fieldValidation=Strict",
        STRATEGIC,
        r#"{"foo":1}"#,
        422,
        " \"\" is invalid: patch: Invalid value: \"map[foo:1]\": strict decoding error: unknown field \"foo\"",
    ),
    (
        "PATCH",
        "/s",
        APPLY,
        "{}",
        422,
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
    ),
    ("PATCH", "/s?fieldManager=m", APPLY, "", 400, "invalid object type: /, Kind="),
    (
        "PATCH",
        "/s?fieldManager=m",
        APPLY,
        "[]",
        400,
        "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go value of type map[string]interface {}",
    ),
    (
        "PATCH",
        "/s?fieldManager=m",
        APPLY,
        r#"{"apiVersion":"v1","kind":"ConfigMap","foo":1}"#,
        500,
        "failed to create typed patch object (/; /v1, Kind=ConfigMap): .foo: field not declared in schema",
    ),
    (
        "PATCH",
        "/s?fieldManager=m&fieldValidation=Strict",
        APPLY,
        "{apiVersion: v1, kind: ConfigMap, data: {a: b, a: c}}",
        400,
        "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  line 1: key \"a\" already set in map",
    ),
    (
        "PATCH",
        "/s?fieldManager=m",
        APPLY,
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"managedFields":[]}}"#,
        400,
        "metadata.managedFields must be nil",
    ),
    (
        "PATCH",
        "/new?fieldManager=m",
        APPLY,
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new","uid":"x"}}"#,
        409,
        "Operation cannot be fulfilled on configmaps \"new\": uid mismatch: the provided object specified uid x, and no existing object was found",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_upstreams() {
    let server = Server::start().await;
    let made = json!({"metadata": {"name": "s"}, "data": {"k": "1"}});
    assert_eq!(server.json(Method::POST, MAPS, made).await.0, 201);
    let mut wrong = Vec::new();
    for (method, path, kind, body, code, message) in [ROUTES, LISTS, BODIES, PATCHES].concat() {
        let parsed = method.parse().expect("a method");
        let (got, text) = server.send(parsed, &format!("{MAPS}{path}"), kind, body).await;
        let told: Value = serde_json::from_str(&text).unwrap_or_default();
        if (got.as_u16(), told["message"].as_str().unwrap_or_default()) != (code, message) {
            wrong.push(format!(
                "{method} {path} {body}\n  want {code} {message}\n  got  {} {text}",
                got.as_u16()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    forms_are_negotiated(&server).await;
    some_endpoints_have_no_table(&server).await;
    components_tell_how_they_are(&server).await;
    times_are_refused_in_gos_words(&server).await;
    warnings_outlive_failures(&server).await;
    patches_keep_the_kind(&server).await;
    scales_are_owned(&server).await;
    server.stop().await;
}

/// (Accept, path below [`MAPS`], code, content type, part of the body)
async fn forms_are_negotiated(server: &Server) {
    let partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let partial_list = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let protobuf = "application/vnd.kubernetes.protobuf";
    let json = "application/json";
    let cases = [
        ("application/yaml", "/nope", 404, "application/yaml", "reason: NotFound"),
        (protobuf, "/nope", 404, protobuf, "k8s\0"),
        (protobuf, "/s", 200, protobuf, "ConfigMap"),
        ("text/html", "/s", 406, json, "406: Not Acceptable"),
        ("application/*", "/s", 406, json, "406: Not Acceptable"),
        ("text/html, */*", "/s", 200, json, "ConfigMap"),
        ("application/yaml", "?watch=1", 406, "application/yaml", "application/json;stream=watch"),
        (partial, "/s", 200, json, "\"kind\":\"PartialObjectMetadata\""),
        (partial, "", 406, json, "but the requested object is a list (*core.ConfigMapList)"),
        (partial_list, "", 200, json, "\"kind\":\"PartialObjectMetadataList\""),
        (partial_list, "/s", 406, json, "but the requested object is not a list (*core.ConfigMap)"),
        (table, "/s", 200, json, "\"kind\":\"Table\""),
        (table, "?includeObject=Foo", 400, json, "must be 'Metadata', 'Object', 'None', or empty"),
        (json, "?includeObject=Foo", 200, json, "ConfigMapList"),
    ];
    for (accept, path, code, kind, part) in cases {
        let (got, headers, text) = server.accepting(accept, &format!("{MAPS}{path}")).await;
        let of = headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default();
        assert_eq!((got, of), (code, kind), "{accept} {path}: {text}");
        assert!(text.contains(part), "{accept} {path}: {text}");
    }
    let (code, headers, text) = server.accepting(json, "/nope").await;
    assert_eq!((code, text.as_str()), (404, "404 page not found\n"));
    assert_eq!(headers["x-content-type-options"], "nosniff");
}

/// What is not stored has no table, nor have most subresources; metadata alone can be had of everything that has some.
async fn some_endpoints_have_no_table(server: &Server) {
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let attributes = json!({"verb": "get", "resource": "pods", "namespace": "default"});
    let review = json!({"spec": {"resourceAttributes": attributes}});
    let refused = "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf";
    let token = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let evict = "/api/v1/namespaces/default/pods/none/eviction";
    let either = format!("{table},application/json");
    let cases = [
        (table, reviews, &review, 406, refused),
        (table, "/apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({}), 406, refused),
        (table, token, &json!({}), 406, refused),
        (table, evict, &json!({}), 406, refused),
        (&either, reviews, &review, 201, "\"kind\":\"SelfSubjectAccessReview\""),
        (partial, reviews, &review, 201, "\"kind\":\"PartialObjectMetadata\""),
    ];
    for (accept, path, body, code, part) in cases {
        let (got, text) = server.post_accepting(accept, path, body).await;
        assert_eq!(got, code, "{accept} {path}: {text}");
        assert!(text.contains(part), "{accept} {path}: {text}");
    }
    for (path, code) in [
        ("/api/v1/namespaces/default/status", 200),
        ("/apis/apiregistration.k8s.io/v1/apiservices/v1./status", 406),
        ("/api", 406),
    ] {
        assert_eq!(server.accepting(table, path).await.0, code, "{path}");
    }
}

/// What is made when it is read.
async fn components_tell_how_they_are(server: &Server) {
    let path = "/api/v1/componentstatuses";
    let (code, list) = server.json(Method::GET, path, Value::Null).await;
    let names: Vec<_> =
        list["items"].as_array().into_iter().flatten().map(|c| &c["metadata"]["name"]).collect();
    assert_eq!(
        (code, names),
        (200, vec![&json!("controller-manager"), &json!("scheduler"), &json!("etcd-0")])
    );
    let (_, one) = server.json(Method::GET, &format!("{path}/etcd-0"), Value::Null).await;
    assert_eq!(one["conditions"], json!([{"type": "Healthy", "status": "True", "message": "ok"}]));
    let (code, none) = server.json(Method::GET, &format!("{path}/x"), Value::Null).await;
    assert_eq!((code, &none["message"]), (404, &json!("componentstatus \"x\" not found")));
    let (_, none) =
        server.json(Method::GET, &format!("{path}?fieldSelector=metadata.name%3Dx"), Value::Null).await;
    assert_eq!(none["items"], json!([]));
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let (_, headers, text) =
        server.accepting(table, &format!("{path}?fieldSelector=metadata.name%3Detcd-0")).await;
    assert!(text.contains(r#""cells":["etcd-0","Healthy","ok",""]"#), "{text}");
    let warning = headers.get("warning").and_then(|v| v.to_str().ok()).unwrap_or_default();
    assert_eq!(warning, "299 - \"v1 ComponentStatus is deprecated in v1.19+\"");
    let (_, _, told) = server.accepting("*/*", "/metrics/slis").await;
    assert!(told.contains("kubernetes_healthcheck{name=\"ping\",type=\"readyz\"} 1"), "{told}");
    let (code, told) = server.send(Method::DELETE, "/metrics/slis", "", "").await;
    assert_eq!((code, &*told), (StatusCode::OK, "metrics reset\n"));
}

async fn times_are_refused_in_gos_words(server: &Server) {
    let map = json!({"metadata": {"name": "t", "creationTimestamp": "x"}});
    let (code, told) = server.json(Method::POST, MAPS, map).await;
    let message = r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006""#;
    assert_eq!((code, &told["message"]), (400, &json!(message)));
}

async fn warnings_outlive_failures(server: &Server) {
    // The second owner makes the object invalid; the unknown field is told all the same.
    let object = json!({"metadata": {"name": "w", "ownerReferences": [{"uid": "1"}]}, "dta": {}});
    let (code, headers) = server.warned(MAPS, &object).await;
    let warnings: Vec<_> = headers.get_all("warning").iter().filter_map(|v| v.to_str().ok()).collect();
    assert_eq!((code, warnings), (422, vec!["299 - \"unknown field \\\"dta\\\"\""]));
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "1"});
    let object = json!({"metadata": {"name": "w", "ownerReferences": [owner, owner]}});
    let (code, headers) = server.warned(MAPS, &object).await;
    let warning = headers.get("warning").and_then(|v| v.to_str().ok()).unwrap_or_default();
    assert_eq!(code, 201);
    assert!(warning.ends_with("please fix your requests; duplicate UID(s) observed: 1\""), "{warning}");
}

async fn patches_keep_the_kind(server: &Server) {
    let path = format!("{MAPS}/s?dryRun=All");
    for (patch, why) in [
        (json!({"kind": "Secret"}), "unknown conversion"),
        (json!({"apiVersion": "v2"}), "no kind \"ConfigMap\" is registered for version \"v2\""),
        (
            json!({"data": {"k": 1}}),
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
        ),
    ] {
        let (code, refused) = server.json(Method::PATCH, &path, patch).await;
        let message = refused["message"].as_str().unwrap_or_default();
        assert_eq!(code, 422, "{refused}");
        assert!(
            message.starts_with(" \"\" is invalid: patch: Invalid value: \"{\\\"apiVersion\\\":"),
            "{message}"
        );
        assert!(message.contains(why), "{message}");
    }
}

/// Who scales owns the replicas, and nobody else.
async fn scales_are_owned(server: &Server) {
    let path = "/apis/apps/v1/namespaces/default/deployments/scaled";
    let labels = json!({"a": "b"});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "scaled"},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        },
    });
    let (code, text) =
        server.send(Method::PATCH, &format!("{path}?fieldManager=ci"), APPLY, &deployment.to_string()).await;
    assert_eq!(code, 201, "{text}");
    let scale = |replicas: i64| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "scaled"}, "spec": {"replicas": replicas}});
    let (code, scaled) = server.json(Method::PUT, &format!("{path}/scale?fieldManager=hpa"), scale(3)).await;
    assert_eq!((code, &scaled["spec"]["replicas"]), (200, &json!(3)), "{scaled}");
    let (_, _, text) =
        server.accepting("application/json;as=Table;v=v1;g=meta.k8s.io", &format!("{path}/scale")).await;
    let table: Value = serde_json::from_str(&text).unwrap_or_default();
    let columns: Vec<_> =
        table["columnDefinitions"].as_array().into_iter().flatten().map(|c| &c["name"]).collect();
    assert_eq!(columns, ["Name", "Desired", "Available", "Age"]);
    let cells = table["rows"][0]["cells"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert_eq!(cells.get(..3), Some(&[json!("scaled"), json!(3), json!(0)][..]), "{text}");
    let owners = |object: &Value| -> Vec<(String, Value)> {
        let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let of = |e: &Value| e.pointer("/fieldsV1/f:spec/f:replicas").is_some();
        let owning = entries.into_iter().filter(of);
        owning
            .map(|e| (e["manager"].as_str().unwrap_or_default().to_owned(), e["subresource"].clone()))
            .collect()
    };
    let (_, object) = server.json(Method::GET, path, Value::Null).await;
    assert_eq!(owners(&object), [("hpa".to_owned(), json!("scale"))]);
    let apply = async |force: &str, replicas| {
        let path = format!("{path}/scale?fieldManager=other{force}");
        server.send(Method::PATCH, &path, APPLY, &scale(replicas).to_string()).await
    };
    let (code, text) = apply("", 5).await;
    assert_eq!(code, 409);
    assert!(text.contains("Apply failed with 1 conflict: conflict with \\\"hpa\\\""), "{text}");
    let (code, text) = apply("&force=true", 5).await;
    assert_eq!(code, 200, "{text}");
    let (_, object) = server.json(Method::GET, path, Value::Null).await;
    assert_eq!(object["spec"]["replicas"], 5);
    assert_eq!(owners(&object), [("other".to_owned(), json!("scale"))]);
}
