use super::*;
use crate::registry::Builder;

fn registry() -> Arc<Registry> {
    let mut builder = Builder::default();
    builder.endpoint(Endpoint::new("apps", "v1", "deployments", "Deployment"));
    builder.endpoint(Endpoint { namespaced: false, ..Endpoint::new("", "v1", "nodes", "Node") });
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object",
        "properties": {"default": {"type": "integer", "default": 3}}}, "any": {"type": "string", "nullable": true}}});
    builder.endpoint(Endpoint {
        custom: true,
        data: Some(Arc::new(crate::custom::Version::with_schema(schema))),
        ..Endpoint::new("example.org", "v1", "widgets", "Widget")
    });
    Arc::new(builder.build())
}

fn full(response: Response) -> Bytes {
    let Body::Full(body) = response.into_body() else { panic!("not a full body") };
    body
}

fn get(path: &str) -> (StatusCode, Value) {
    let response = OpenApi::default().answer(&registry(), path, "", &HeaderMap::new()).unwrap();
    let code = response.status();
    (code, serde_json::from_slice(&full(response)).unwrap())
}

/// Every reference of a document leads to a schema in it.
fn check_references(document: &Value, at: &str) {
    let mut texts = Vec::new();
    fn walk(value: &Value, texts: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                texts.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|value| walk(value, texts));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, texts)),
            _ => {}
        }
    }
    walk(document, &mut texts);
    assert!(!texts.is_empty());
    for text in texts {
        let model = text.strip_prefix(at).unwrap_or_else(|| panic!("{text}"));
        let schemas = document.pointer(at.trim_start_matches('#').trim_end_matches('/')).unwrap();
        assert!(schemas.get(model).is_some(), "{text}");
    }
}

#[test]
fn version_3_is_split_by_group_and_version() {
    let (_, index) = get("/openapi/v3");
    let names: Vec<&str> = index["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        ".well-known/openid-configuration",
        "api",
        "api/v1",
        "apis",
        "apis/apps",
        "apis/apps/v1",
        "apis/example.org/v1",
        "openid/v1/jwks",
        "version",
    ];
    assert_eq!(names, expected);
    let (code, document) = get("/openapi/v3/apis/apps/v1");
    assert_eq!(code, StatusCode::OK);
    check_references(&document, "#/components/schemas/");
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    assert!(
        patch["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .any(|parameter| parameter["name"] == "fieldValidation")
    );
    let spec = &document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(spec["x-kubernetes-list-map-keys"], json!(["name"]));
    assert_eq!(spec["x-kubernetes-patch-merge-key"], "name");
    assert!(
        OpenApi::default().answer(&registry(), "/openapi/v3/apis/none/v1", "", &HeaderMap::new()).is_none()
    );
}

#[test]
fn version_2_has_everything_in_one_document() {
    let (_, document) = get("/openapi/v2");
    assert_eq!(document["swagger"], "2.0");
    check_references(&document, "#/definitions/");
    let paths = document["paths"].as_object().unwrap();
    for path in [
        "/api/v1/nodes/{name}",
        "/apis/apps/v1/deployments",
        "/apis/example.org/v1/namespaces/{namespace}/widgets",
    ] {
        assert!(paths.contains_key(path), "{path}");
    }
}

#[test]
fn custom_resources_show_their_schema() {
    let (_, document) = get("/openapi/v3/apis/example.org/v1");
    check_references(&document, "#/components/schemas/");
    let widget = &document["components"]["schemas"]["org.example.v1.Widget"];
    assert_eq!(
        widget["properties"]["spec"]["properties"]["default"],
        json!({"type": "integer", "default": 3})
    );
    assert_eq!(widget["properties"]["any"], json!({"type": "string", "nullable": true}));
    let (_, document) = get("/openapi/v2");
    let widget = &document["definitions"]["org.example.v1.Widget"];
    assert_eq!(widget["properties"]["spec"]["properties"]["default"], json!({"type": "integer"}));
    assert_eq!(widget["properties"]["any"], json!({}));
}

#[test]
fn documents_are_addressed_by_their_hash() {
    let (openapi, registry) = (OpenApi::default(), registry());
    let ask = |query: &str, headers: &HeaderMap| {
        openapi.answer(&registry, "/openapi/v3/api/v1", query, headers).unwrap()
    };
    let first = ask("", &HeaderMap::new());
    let tag = first.headers()[ETAG].clone();
    let hash = tag.to_str().unwrap().trim_matches('"').to_owned();
    let immutable = ask(&format!("hash={hash}"), &HeaderMap::new());
    assert_eq!(immutable.headers()[CACHE_CONTROL], "public, immutable");
    let moved = ask("hash=old", &HeaderMap::new());
    assert_eq!(moved.status(), StatusCode::MOVED_PERMANENTLY);
    assert_eq!(moved.headers()[LOCATION], format!("/openapi/v3/api/v1?hash={hash}"));
    let headers = HeaderMap::from_iter([(IF_NONE_MATCH, tag)]);
    assert_eq!(ask("", &headers).status(), StatusCode::NOT_MODIFIED);
}

/// Protobuf is what a client gets that likes it better; it is that of the whole document, in pieces.
#[test]
fn documents_come_in_the_form_a_client_likes_best() {
    let openapi = OpenApi::default();
    let registry = registry();
    let old = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let cases = [
        ("", Some(JSON)),
        ("*/*", Some(JSON)),
        (
            "application/json;q=0.8, application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
            Some(PROTOBUF_V2[0]),
        ),
        ("application/com.github.proto-openapi.spec.v2.v1.0+protobuf", Some(PROTOBUF_V2[0])),
        (old, Some(PROTOBUF_V2[0])),
        ("application/*", Some(JSON)),
        ("text/html", None),
        (PROTOBUF_V3[1], None),
    ];
    for (accept, expected) in cases {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
        let response = openapi.answer(&registry, "/openapi/v2", "", &headers).unwrap();
        let media = response
            .headers()
            .get(http::header::CONTENT_TYPE)
            .map(|value| value.to_str().unwrap().to_owned());
        match expected {
            Some(expected) => assert_eq!(media.as_deref(), Some(expected), "{accept}"),
            None => assert_eq!(response.status(), StatusCode::NOT_ACCEPTABLE, "{accept}"),
        }
    }
    let ask = |accept, coding| {
        let headers = HeaderMap::from_iter([
            (ACCEPT, HeaderValue::from_static(accept)),
            (ACCEPT_ENCODING, HeaderValue::from_static(coding)),
        ]);
        openapi.answer(&registry, "/openapi/v2", "", &headers).unwrap()
    };
    let (json, protobuf) = (ask(JSON, ""), ask(old, ""));
    assert_eq!(json.headers()[ETAG], protobuf.headers()[ETAG]);
    let packed = ask(JSON, "gzip");
    assert_eq!(packed.headers()[CONTENT_ENCODING], "gzip");
    assert_eq!(unpack(&full(packed)), full(json));
    let body = full(protobuf);
    // The field of the first piece, `swagger`, and somewhere the name of a path.
    assert!(body.starts_with(b"\x0a\x032.0"));
    let path = b"/apis/apps/v1/namespaces/{namespace}/deployments";
    assert!(body.windows(path.len()).any(|window| window == path));
}
