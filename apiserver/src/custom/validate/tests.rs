use super::*;
use serde_json::json;

fn texts(errors: Errors) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn wrong(schema: &Value, object: Value) -> Vec<String> {
    texts(value(&Path::default(), &object, &Schema::parse(schema)))
}

const NONE: [&str; 0] = [];

#[test]
fn texts_are_upstreams() {
    let schema = json!({"type": "object", "required": ["spec"], "properties": {"spec": {
        "type": "object", "required": ["name"],
        "properties": {
            "name": {"type": "string", "minLength": 2, "maxLength": 3, "pattern": "^[a-z]+$"},
            "replicas": {"type": "integer", "minimum": 1, "maximum": 5, "format": "int32"},
            "mode": {"type": "string", "enum": ["a", "b"]},
            "list": {"type": "array", "maxItems": 1, "minItems": 1, "items": {"type": "string"}},
            "map": {"type": "object", "minProperties": 1, "additionalProperties": {"type": "integer"}},
            "date": {"type": "string", "format": "date-time"},
            "port": {"x-kubernetes-int-or-string": true},
            "odd": {"type": "string", "format": "odd"},
        },
    }}});
    let cases: &[(Value, &[&str])] = &[
        (json!({}), &["spec: Required value"]),
        (json!({"spec": {}}), &["spec.name: Required value"]),
        (
            json!({"spec": {"name": "x", "replicas": "two"}}),
            &[
                "spec.name: Invalid value: \"x\": spec.name in body should be at least 2 chars long",
                "spec.replicas: Invalid value: \"string\": spec.replicas in body must be of type integer: \"string\"",
            ],
        ),
        (
            json!({"spec": {"name": "abcd", "replicas": 0, "mode": "c", "list": ["1", "2"]}}),
            &[
                "spec.list: Too many: 2: must have at most 1 item",
                "spec.mode: Unsupported value: \"c\": supported values: \"a\", \"b\"",
                "spec.name: Too long: may not be more than 3 bytes",
                "spec.replicas: Invalid value: 0: spec.replicas in body should be greater than or equal to 1",
            ],
        ),
        (
            json!({"spec": {"name": "A1", "replicas": 6, "list": [], "map": {}, "odd": "x"}}),
            &[
                "spec.list: Invalid value: 0: spec.list in body should have at least 1 items",
                "spec.map: Invalid value: 0: spec.map in body should have at least 1 properties",
                "spec.name: Invalid value: \"A1\": spec.name in body should match '^[a-z]+$'",
                "spec.replicas: Invalid value: 6: spec.replicas in body should be less than or equal to 5",
            ],
        ),
        (
            json!({"spec": {"name": null, "list": [1], "map": {"k": "v"}, "date": "never", "port": true}}),
            &[
                "spec.date: Invalid value: \"never\": spec.date in body must be of type date-time: \"never\"",
                "spec.list[0]: Invalid value: \"integer\": spec.list[0] in body must be of type string: \"integer\"",
                "spec.map.k: Invalid value: \"string\": spec.map.k in body must be of type integer: \"string\"",
                "spec.name: Invalid value: \"null\": spec.name in body must be of type string: \"null\"",
                "spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"",
            ],
        ),
        (
            json!({"spec": {"name": "ab", "replicas": 1.5}}),
            &[
                "spec.replicas: Invalid value: \"float64\": spec.replicas in body must be of type int32: \"float64\"",
                "<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in spec.replicas",
            ],
        ),
        (json!({"spec": {"name": "ab", "replicas": 2.0, "port": "http"}}), &[]),
    ];
    for (object, want) in cases {
        assert_eq!(wrong(&schema, object.clone()), *want, "{object}");
    }
}

#[test]
fn alternatives_tell_the_nearest() {
    let schema = json!({"type": "object", "properties": {"a": {"x-kubernetes-preserve-unknown-fields": true,
        "anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 1}]},
        "b": {"type": "integer", "oneOf": [{"minimum": 1}, {"minimum": 2}]},
        "c": {"type": "integer", "allOf": [{"minimum": 1}, {"maximum": 5}]},
        "d": {"type": "integer", "not": {"enum": [7]}}}});
    assert_eq!(wrong(&schema, json!({"a": "x", "b": 1, "c": 2, "d": 8})), NONE);
    assert_eq!(
        wrong(&schema, json!({"a": "xy", "b": 3, "c": 0, "d": 7})),
        [
            "<nil>: Invalid value: \"\": \"a\" must validate at least one schema (anyOf)",
            "a: Too long: may not be more than 1 byte",
            "<nil>: Invalid value: \"\": \"b\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
            "c: Invalid value: 0: c in body should be greater than or equal to 1",
            "<nil>: Invalid value: \"\": \"c\" must validate all the schemas (allOf)",
            "<nil>: Invalid value: \"\": \"d\" must not validate the schema (not)",
        ]
    );
}

#[test]
fn what_was_accepted_once_stays_acceptable() {
    let schema = Schema::parse(&json!({"type": "object", "required": ["new"], "properties": {
        "kind": {"type": "string", "maxLength": 1},
        "new": {"type": "string"},
        "a": {"type": "string", "maxLength": 1},
        "atomic": {"type": "array", "items": {"type": "string", "maxLength": 1}},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "string", "maxLength": 1}}}},
    }}));
    let old = json!({"kind": "Kind", "a": "xx", "atomic": ["xx"], "map": [{"k": "1", "v": "xx"}, {"k": "2", "v": "yy"}]});
    let check = |new: Value| texts(update(&Path::default(), &new, &old, &schema));
    // The kind is not ratcheted, although it did not change: unless the whole object did not.
    assert_eq!(check(old.clone()), NONE);
    let mut new = old.clone();
    new["new"] = 1.into();
    assert_eq!(
        check(new),
        [
            "kind: Too long: may not be more than 1 byte",
            "new: Invalid value: \"integer\": new in body must be of type string: \"integer\"",
        ]
    );
    let new = json!({"kind": "K", "new": "n", "a": "yy", "atomic": ["xx", "y"],
        "map": [{"k": "2", "v": "yy"}, {"k": "1", "v": "zz"}, {"k": "3", "v": "xx"}]});
    assert_eq!(
        check(new),
        [
            "a: Too long: may not be more than 1 byte",
            "atomic[0]: Too long: may not be more than 1 byte",
            "map[1].v: Too long: may not be more than 1 byte",
            "map[2].v: Too long: may not be more than 1 byte",
        ]
    );
}

#[test]
fn sets_and_maps_have_no_repetitions() {
    let schema = Schema::parse(&json!({"type": "object", "properties": {
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k", "p"], "items": {"type": "object"}},
    }}));
    let object = json!({"set": ["a", "b", "a", "a"], "map": [{"k": "1", "p": 1}, {"k": "1"}, {"k": "1", "p": 1, "x": 1}]});
    assert_eq!(
        texts(sets_and_maps(&Path::default(), &object, &schema)),
        ["map[2]: Duplicate value: {\"k\":\"1\",\"p\":1}", "set[2]: Duplicate value: \"a\""]
    );
}

#[test]
fn embedded_resources_are_checked() {
    let schema = Schema::parse(
        &json!({"type": "object", "properties": {"t": {"type": "object", "x-kubernetes-embedded-resource": true}}}),
    );
    let check = |t: Value| texts(embedded(&Path::default(), &json!({"t": t}), &schema));
    assert_eq!(check(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}})), NONE);
    assert_eq!(
        check(json!({"apiVersion": "a/b/c", "metadata": {"name": "a/b"}})),
        [
            "t.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c",
            "t.kind: Required value",
            "t.metadata.name: Invalid value: \"a/b\": may not contain '/'",
        ]
    );
}
