use super::*;

fn definition() -> Value {
    let mut definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}}}],
        },
    });
    set_defaults(&mut definition);
    definition
}

fn texts(errors: Errors) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

/// The definition with a value somewhere else.
fn with(pointer: &str, value: Value) -> Value {
    let mut definition = definition();
    let names: Vec<&str> = pointer.split('.').collect();
    if let Some((first, rest)) = names.split_first() {
        match first.strip_prefix("version") {
            Some(_) => set_at(&mut definition["spec"]["versions"][0], rest, value),
            None => set_at(&mut definition, &names, value),
        }
    }
    definition
}

const NONE: [&str; 0] = [];

#[test]
fn a_good_definition_is_accepted() {
    let good = definition();
    assert_eq!(texts(validate(&good)), NONE);
    assert_eq!(texts(validate_update(&good, &good)), NONE);
    assert_eq!(good["spec"]["names"]["listKind"], "WidgetList");
    assert_eq!(good["status"]["storedVersions"], json!(["v1"]));
}

#[test]
fn specs_are_checked() {
    let schema = |schema: Value| with("version.schema.openAPIV3Schema", schema);
    let label = content_label();
    let cases: Vec<(Value, Vec<String>)> = vec![
        (
            with("spec.names.plural", json!("gadgets")),
            vec![
                "metadata.name: Invalid value: \"widgets.example.com\": must be spec.names.plural+\".\"+spec.group".into(),
            ],
        ),
        (with("spec.scope", json!("")), vec!["spec.scope: Required value".into()]),
        (
            with("spec.scope", json!("x")),
            vec!["spec.scope: Unsupported value: \"x\": supported values: \"Cluster\", \"Namespaced\"".into()],
        ),
        (
            with("spec.names.shortNames", json!(["A"])),
            vec![format!("spec.names.shortNames[0]: Invalid value: \"A\": {label}")],
        ),
        (
            with("spec.names.listKind", json!("Widget")),
            vec!["spec.names.listKind: Invalid value: \"Widget\": kind and listKind may not be the same".into()],
        ),
        (
            with("version.schema", Value::Null),
            vec!["spec.versions[0].schema.openAPIV3Schema: Required value".into()],
        ),
        (
            with("version.additionalPrinterColumns", json!([{"type": "x", "jsonPath": "a"}])),
            vec![
                "spec.additionalPrinterColumns[0].name: Required value".into(),
                "spec.additionalPrinterColumns[0].type: Invalid value: \"x\": must be one of boolean,date,integer,number,string".into(),
                "spec.additionalPrinterColumns[0].JSONPath: Invalid value: \"a\": must be a simple json path starting with .".into(),
            ],
        ),
        (
            with("version.subresources", json!({"scale": {"specReplicasPath": ".status.x", "labelSelectorPath": ".x"}})),
            vec![
                "spec.subresources.scale.specReplicasPath: Invalid value: \".status.x\": should be a json path under .spec".into(),
                "spec.subresources.scale.statusReplicasPath: Required value".into(),
                "spec.subresources.scale.labelSelectorPath: Invalid value: \".x\": should be a json path under either .spec or .status".into(),
            ],
        ),
        (
            with("version.selectableFields", json!([{"jsonPath": ".spec"}, {"jsonPath": ".spec"}, {"jsonPath": ".x"}])),
            vec![
                "spec.selectableFields[0].jsonPath: Invalid value: \".spec\": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.".into(),
                "spec.selectableFields[1].jsonPath: Invalid value: \".spec\": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.".into(),
                "spec.selectableFields[1].jsonPath: Duplicate value: \".spec\"".into(),
                "spec.selectableFields[2].jsonPath: Invalid value: \".x\": is an invalid path: does not refer to a valid field".into(),
            ],
        ),
        (
            with("version.deprecationWarning", json!("old")),
            vec!["spec.versions[0].deprecationWarning: Invalid value: \"old\": can only be set for deprecated versions".into()],
        ),
        (
            with("spec.preserveUnknownFields", json!(true)),
            vec!["spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead".into()],
        ),
        (
            schema(json!({"type": "object", "properties": {"a": {}}})),
            vec!["spec.validation.openAPIV3Schema.properties[a].type: Required value: must not be empty for specified object fields".into()],
        ),
        (
            schema(json!({"type": "object", "properties": {"a": {"type": "odd", "uniqueItems": true, "$ref": "x"}}})),
            vec![
                "spec.validation.openAPIV3Schema.properties[a].type: Unsupported value: \"odd\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"".into(),
                "spec.validation.openAPIV3Schema.properties[a].$ref: Forbidden: $ref is not supported".into(),
                "spec.validation.openAPIV3Schema.properties[a].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic".into(),
            ],
        ),
        (
            schema(json!({"type": "object", "properties": {"a": {"type": "integer", "default": "x"}, "metadata": {"type": "object", "default": {}}}})),
            vec![
                "spec.validation.openAPIV3Schema.properties[a].default: Invalid value: \"string\":  in body must be of type integer: \"string\"".into(),
                "spec.validation.openAPIV3Schema.properties[metadata].default: Forbidden: must not be set in top-level metadata".into(),
            ],
        ),
        (
            schema(json!({"type": "object", "properties": {"l": {"type": "array", "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["a", "b"], "items": {"type": "object", "nullable": true, "properties": {"a": {"type": "string"}}}}}})),
            vec![
                "spec.validation.openAPIV3Schema.properties[l].x-kubernetes-list-map-keys: Invalid value: [\"a\",\"b\"]: entries must all be names of item properties".into(),
                "spec.validation.openAPIV3Schema.properties[l].items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is map".into(),
                "spec.validation.openAPIV3Schema.properties[l].items.properties[a].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property".into(),
            ],
        ),
        (
            schema(json!({"type": "object", "properties": {"s": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object"}},
                "m": {"x-kubernetes-preserve-unknown-fields": true, "x-kubernetes-map-type": "x"}}})),
            vec![
                "spec.validation.openAPIV3Schema.properties[m].type: Required value: must be object if x-kubernetes-map-type is specified".into(),
                "spec.validation.openAPIV3Schema.properties[m].x-kubernetes-map-type: Unsupported value: \"x\": supported values: \"atomic\", \"granular\"".into(),
                "spec.validation.openAPIV3Schema.properties[s].items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set".into(),
            ],
        ),
        (
            schema(json!({"type": "object", "x-kubernetes-validations": [{"rule": " "}, {"rule": "a\nb"}, {"rule": "a", "reason": "x", "fieldPath": ".z"}]})),
            vec![
                "spec.validation.openAPIV3Schema.x-kubernetes-validations[0].rule: Required value: rule is not specified".into(),
                "spec.validation.openAPIV3Schema.x-kubernetes-validations[1].message: Required value: message must be specified if rule contains line breaks".into(),
                "spec.validation.openAPIV3Schema.x-kubernetes-validations[2].reason: Unsupported value: \"x\": supported values: \"FieldValueDuplicate\", \"FieldValueForbidden\", \"FieldValueInvalid\", \"FieldValueRequired\"".into(),
                "spec.validation.openAPIV3Schema.x-kubernetes-validations[2].fieldPath: Invalid value: \".z\": must be a valid path".into(),
            ],
        ),
    ];
    for (definition, want) in cases {
        assert_eq!(texts(validate(&definition)), want);
    }
}

fn content_label() -> String {
    proto::content::is_dns1035_label("A").join(",")
}

#[test]
fn versions_that_differ_are_checked_each_in_its_place() {
    let mut two = definition();
    two["spec"]["versions"] = json!([
        {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}},
        {"name": "v2", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "string", "properties": {}}}},
    ]);
    let found = texts(validate(&two));
    assert_eq!(
        found[0],
        "spec.versions[1].schema.openAPIV3Schema.type: Invalid value: \"string\": must be object at the root"
    );
    assert!(found[1].ends_with("must have exactly one version marked as storage version"), "{found:?}");
    assert_eq!(found[2], "status.storedVersions: Invalid value: [\"v1\"]: must have the storage version v2");
}

#[test]
fn beside_a_status_the_root_is_restricted() {
    let mut with_status = with("version.subresources", json!({"status": {}}));
    assert_eq!(texts(validate(&with_status)), NONE);
    with_status["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["maxProperties"] = 3.into();
    let found = texts(validate(&with_status));
    assert!(
        found.len() == 1
            && found[0].contains(
                "fields are allowed at the root of the schema if the status subresource is enabled"
            ),
        "{found:?}"
    );
}

#[test]
fn what_is_established_stays() {
    let mut old = definition();
    let mut new = old.clone();
    new["spec"]["scope"] = "Cluster".into();
    new["spec"]["names"]["kind"] = "Gadget".into();
    assert_eq!(texts(validate_update(&new, &old)), NONE);
    conditions::set_condition(&mut old, "Established", "True", "", "");
    assert_eq!(
        texts(validate_update(&new, &old)),
        [
            "spec.scope: Invalid value: \"Cluster\": field is immutable",
            "spec.names.kind: Invalid value: \"Gadget\": field is immutable",
        ]
    );
    let mut new = old.clone();
    new["spec"]["versions"][0]["name"] = "v2".into();
    keep_stored_versions(&mut new);
    assert_eq!(
        texts(validate_update(&new, &old)),
        [
            "status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions; v1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 from status.storedVersions",
        ]
    );
}

#[test]
fn what_an_older_server_accepted_may_stay() {
    let old = with(
        "version.schema.openAPIV3Schema",
        json!({"type": "object", "properties": {
        "s": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object"}},
        "d": {"type": "object", "default": {"x": 1}}}}),
    );
    assert_eq!(texts(validate(&old)).len(), 2);
    assert_eq!(texts(validate_update(&old, &old)), NONE);
}

#[test]
fn unknown_formats_are_warned_about_once() {
    let new = with(
        "version.schema.openAPIV3Schema",
        json!({"type": "object", "properties": {
        "a": {"type": "string", "format": "odd"}, "b": {"type": "integer", "format": "int32"}}}),
    );
    assert_eq!(format_warnings(&new, &[]), ["unrecognized format \"odd\""]);
    assert_eq!(format_warnings(&new, &unrecognized_formats(&new)), NONE);
}
