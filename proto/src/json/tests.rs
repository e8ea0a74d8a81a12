use serde_json::{Value, json};

use super::*;
use crate::schema;

fn pod() -> &'static Type {
    schema::lookup("", "v1", "Pod").unwrap()
}

fn decoded(text: &str) -> Decoded {
    decode(text.as_bytes(), pod()).unwrap()
}

fn error(text: &str) -> String {
    decode(text.as_bytes(), pod()).unwrap_err().to_string()
}

fn printed(value: &Value) -> String {
    let mut out = Vec::new();
    encode_any(value, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn zero_values_are_left_out_unless_pointed_to() {
    let text = r#"{"metadata":{"name":"","labels":{},"creationTimestamp":null},"spec":{"containers":[],
        "terminationGracePeriodSeconds":0,"hostNetwork":false,"securityContext":{},"nodeName":null,
        "volumes":[{"name":"a","emptyDir":{}}]},"status":{}}"#;
    let expected = json!({"spec": {"terminationGracePeriodSeconds": 0, "securityContext": {},
        "volumes": [{"name": "a", "emptyDir": {}}]}});
    assert_eq!(decoded(text).value, expected);
}

#[test]
fn nulls_in_lists_and_maps_are_zero_values() {
    let value =
        decoded(r#"{"metadata":{"labels":{"a":null},"finalizers":[null]},"spec":{"containers":[null]}}"#)
            .value;
    assert_eq!(
        value,
        json!({"metadata": {"labels": {"a": ""}, "finalizers": [""]}, "spec": {"containers": [{}]}})
    );
}

#[test]
fn go_prints_zero_values_without_omitempty() {
    let mut out = Vec::new();
    encode(&json!({"metadata": {"name": "a"}}), pod(), &mut out);
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text, r#"{"metadata":{"name":"a"},"spec":{"containers":null},"status":{}}"#);
    let ty = schema::lookup("apps", "v1", "Deployment").unwrap();
    let mut out = Vec::new();
    encode(&json!({"kind": "Deployment", "apiVersion": "apps/v1"}), ty, &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#"{"kind":"Deployment","apiVersion":"apps/v1","metadata":{},"spec":{"selector":null,"template":{"metadata":{},"spec":{"containers":null}},"strategy":{}},"status":{}}"#
    );
}

#[test]
fn unknown_and_duplicate_fields_are_named() {
    let text = r#"{"spec":{"containers":[{"name":"a","nope":1,"name":"b"}],"Containers":[]},"metadata":{"labels":{"x":"1","x":"2"}},"foo":{"a":1}}"#;
    let decoded = decoded(text);
    assert_eq!(decoded.value["spec"]["containers"][0]["name"], "b");
    assert_eq!(
        decoded.strict_error().unwrap(),
        r#"strict decoding error: unknown field "spec.containers[0].nope", duplicate field "spec.containers[0].name", unknown field "spec.Containers", duplicate field "metadata.labels.x", unknown field "foo""#
    );
}

#[test]
fn wrong_types_have_upstreams_texts() {
    for (text, expected) in [
        (
            r#"{"spec":{"containers":{}}}"#,
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            r#"{"spec":{"nodeName":1}}"#,
            "json: cannot unmarshal number into Go struct field PodSpec.spec.nodeName of type string",
        ),
        (
            r#"{"spec":{"priority":1.5}}"#,
            "json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.priority of type int32",
        ),
        (
            r#"{"spec":{"restartPolicy":true}}"#,
            "json: cannot unmarshal bool into Go struct field PodSpec.spec.restartPolicy of type v1.RestartPolicy",
        ),
        (
            r#"{"metadata":{"labels":{"a":1}}}"#,
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            r#"{"spec":{"volumes":[{"hostPath":3}]}}"#,
            "json: cannot unmarshal number into Go struct field Volume.spec.volumes.VolumeSource.hostPath of type v1.HostPathVolumeSource",
        ),
        (
            r#"{"spec":{"containers":[{"resources":{"limits":{"cpu":"x"}}}]}}"#,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        ("[]", "json: cannot unmarshal array into Go value of type v1.Pod"),
    ] {
        assert_eq!(error(text), expected);
    }
}

#[test]
fn syntax_errors_have_gos_texts_and_win() {
    for (text, expected) in [
        ("", "unexpected end of JSON input"),
        ("{", "unexpected end of JSON input"),
        (r#"{"spec":{"nodeName":1},}"#, "invalid character '}' looking for beginning of object key string"),
        (r#"{"a":1 "b"}"#, "invalid character '\"' after object key:value pair"),
        (r#"{"a":[1 2]}"#, "invalid character '2' after array element"),
        (r#"{"a":nul}"#, "invalid character '}' in literal null (expecting 'l')"),
        (r#"{"a":01}"#, "invalid character '1' after object key:value pair"),
        (r#"{"a":"\x"}"#, "invalid character 'x' in string escape code"),
        ("{\"a\":\"\n\"}", "invalid character '\\n' in string literal"),
        (r#"{} x"#, "invalid character 'x' after top-level value"),
        ("kind: Pod", "invalid character 'k' looking for beginning of value"),
        ("'", "invalid character '\\'' looking for beginning of value"),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
    assert_eq!(error(&"[".repeat(100_000)), "exceeded max depth");
    let deep = format!("{{\"a\":{}{}}}", "{\"a\":".repeat(9999), "}".repeat(9999));
    assert_eq!(error(&deep), "exceeded max depth");
}

#[test]
fn texts_are_made_canonical() {
    let text = r#"{"metadata":{"deletionTimestamp":"2026-01-02T04:04:05.9+01:00"},"spec":{"containers":[{"name":"a",
        "resources":{"limits":{"cpu":"1500m","memory":1024}}}]}}"#;
    let value = decoded(text).value;
    assert_eq!(value["metadata"]["deletionTimestamp"], "2026-01-02T03:04:05Z");
    assert_eq!(
        value["spec"]["containers"][0]["resources"]["limits"],
        json!({"cpu": "1500m", "memory": "1024"})
    );
}

#[test]
fn strings_survive_as_in_go() {
    let value = decode_any(br#"["\ud83d\ude00","\ud800","a\u0000\u2028<","\/"]"#).unwrap().value;
    assert_eq!(value, json!(["😀", "\u{fffd}", "a\u{0}\u{2028}<", "/"]));
    assert_eq!(printed(&value), "[\"😀\",\"\u{fffd}\",\"a\\u0000\\u2028\\u003c\",\"/\"]");
    assert_eq!(decode_any(b"\"a\xffb\"").unwrap().value, json!("a\u{fffd}b"));
}

#[test]
fn numbers_survive_as_in_go() {
    let value = decode_any(b"[1.0,1e21,1e-7,9223372036854775808,-0.5,1E2,123456789.25,9223372036854775807]")
        .unwrap()
        .value;
    assert_eq!(
        printed(&value),
        "[1,1e+21,1e-7,9223372036854776000,-0.5,100,123456789.25,9223372036854775807]"
    );
    let error = decode_any(b"1e999").unwrap_err().to_string();
    assert_eq!(error, "json: cannot unmarshal number 1e999 into Go value of type float64");
}

#[test]
fn type_meta_is_read_alone() {
    assert_eq!(
        type_meta(br#"{"spec":[1],"kind":"Pod","apiVersion":"v1"}"#).unwrap(),
        ("v1".into(), "Pod".into())
    );
    assert_eq!(type_meta(b"{}").unwrap(), (String::new(), String::new()));
    let error = type_meta(br#"{"kind":1}"#).unwrap_err().to_string();
    assert_eq!(error, "json: cannot unmarshal number into Go struct field .kind of type string");
}

#[test]
fn static_defaults_are_filled_in_structs_that_are_present() {
    let mut value = json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 1}]}],
        "volumes": [{"name": "v", "rbd": {}}]}});
    schema::default(&mut value, pod());
    assert_eq!(value["spec"]["containers"][0]["ports"][0]["protocol"], "TCP");
    assert_eq!(
        value["spec"]["volumes"][0]["rbd"],
        json!({"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"})
    );
    assert_eq!(value.get("status"), None);
}

#[test]
fn what_decodes_prints_however_deep_it_is() {
    let ty = crate::schema::lookup("apps", "v1", "ControllerRevision").expect("a type");
    let deep = format!("{{\"data\":{}1{},\"revision\":1}}", "{\"a\":".repeat(200), "}".repeat(200));
    let value = decode(deep.as_bytes(), ty).expect("decodes").value;
    assert_eq!(canonical(&print(&value, ty), ty).expect("decodes").value, value);
}

#[test]
fn members_are_found_in_texts() {
    let text = br#"{"kind":"A","a\u0062c":[{"metadata":1}],"metadata":{"name":"}\"","x":[1]},"z":0}"#;
    let found = |name| member(text, name).map(String::from_utf8_lossy);
    assert_eq!(found("metadata").as_deref(), Some(r#"{"name":"}\"","x":[1]}"#));
    assert_eq!(found("abc").as_deref(), Some(r#"[{"metadata":1}]"#));
    assert_eq!(found("name"), None);
    assert_eq!(member(b"[]", "a"), None);
    assert_eq!(member(br#"{"a":"#, "a"), None);
}

#[test]
fn what_is_printed_as_a_tree_is_what_is_printed_as_text() {
    let samples = [
        (
            "",
            "v1",
            "Pod",
            json!({"metadata": {"name": "a", "labels": {"x": ""}}, "spec": {"containers": [
            {"name": "c", "resources": {"limits": {"cpu": "1"}}, "ports": [{"containerPort": 1}]}, {}]}}),
        ),
        ("", "v1", "ConfigMapList", json!({})),
        (
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
            json!({"spec": {"versions": [{"name": "v1",
            "schema": {"openAPIV3Schema": {"maximum": 2.0, "minimum": 0.5, "items": {"type": "string"},
                "additionalProperties": true, "default": {"a": [1.0, null, u64::MAX, 1e300]}}}}]}}),
        ),
    ];
    for (group, version, kind, value) in samples {
        let ty = crate::schema::lookup(group, version, kind).expect("a type");
        let mut text = Vec::new();
        encode(&value, ty, &mut text);
        assert_eq!(print(&value, ty), decode_any(&text).expect("decodes").value, "{kind}");
    }
}

#[test]
fn texts_print_the_same_wherever_their_special_characters_are() {
    for special in ["\"", "\\", "\n", "\u{1}", "<", "\u{2028}", "é", "€"] {
        for before in 0..70 {
            let text = "a".repeat(before) + special + &"b".repeat(70 - before) + special;
            let mut out = Vec::new();
            encode_any(&Value::from(text.as_str()), &mut out);
            let plain = serde_json::to_string(&text).expect("a text");
            let go = plain.replace('<', "\\u003c").replace('\u{2028}', "\\u2028");
            assert_eq!(String::from_utf8_lossy(&out), go);
            assert_eq!(decode_any(&out).expect("decodes").value, text);
        }
    }
}
