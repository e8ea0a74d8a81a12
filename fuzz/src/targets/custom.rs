//! Schemas of custom resources, compiled, and objects pruned, defaulted and validated by them.

use std::sync::Arc;

use apiserver::custom::{Version, rows_of};
use apiserver::storage::codec::{self, Codec, Media};
use proto::json;
use proto::schema::Mask;
use serde_json::{Value, json};

use super::expressions::object_schema;
use super::kinds::{REGISTRY, Row, ctx, shown, written};
use super::nobody::Nobody;
use crate::{Source, Target};

pub(super) const CUSTOM: Target = Target {
    name: "custom",
    seeds: &[
        br#"{"type":"object","properties":{"a":{"type":"integer","default":3,"minimum":1},"b":{"type":"array","items":{"type":"object","properties":{"k":{"type":"string"},"v":{"x-kubernetes-int-or-string":true}}},"x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"]},"c":{"type":"object","additionalProperties":{"type":"string","nullable":true}},"d":{"type":"object","x-kubernetes-preserve-unknown-fields":true},"e":{"type":"object","x-kubernetes-embedded-resource":true}}} {"a":null,"b":[{"k":"x","v":1,"z":2}],"c":{"p":null},"d":{"q":{"r":1}},"e":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x","foo":1}},"zz":1}"#,
        br#"{"properties":{"a":{"properties":{"a":{"properties":{"a":{"default":{"b":[1,{"c":null}]}}}}}},"b":{"anyOf":[{"type":"integer"},{"type":"string"}],"x-kubernetes-int-or-string":true}}} {"a":{"a":{}},"b":"x"}"#,
    ],
    run: |data| {
        let mut values = serde_json::Deserializer::from_slice(data).into_iter::<Value>().filter_map(Result::ok);
        let (Some(schema), object) = (values.next(), values.next()) else { return };
        let version = Version::with_schema(schema);
        let Some(mut object) = object.filter(Value::is_object) else { return };
        if version.coerce(&mut object, false).is_err() {
            return;
        }
        let lost = version.coerce(&mut object.clone(), false);
        assert_eq!(lost.ok(), Some(Vec::new()), "what is pruned stays so");
        version.default(&mut object);
        let mut twice = object.clone();
        version.default(&mut twice);
        assert_eq!(twice, object, "defaults are applied once");
    },
};

/// A definition with one version, which has these fields.
fn definition(version: &Value) -> Value {
    let mut whole = json!({"name": "v1", "served": true, "storage": true});
    if let (Some(whole), Some(fields)) = (whole.as_object_mut(), version.as_object()) {
        whole.extend(fields.clone());
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "as.b.c"},
        "spec": {
            "group": "b.c", "scope": "Namespaced",
            "names": {"plural": "as", "singular": "a", "kind": "A", "listKind": "AList"},
            "versions": [whole],
        },
    })
}

/// The fields of a version and up to two objects, as they are written.
fn given(data: &[u8]) -> Option<(Value, Option<Value>, Option<Value>)> {
    let mut values = serde_json::Deserializer::from_slice(data).into_iter::<Value>().filter_map(Result::ok);
    Some((values.next().filter(Value::is_object)?, values.next(), values.next()))
}

/// The same of what is no JSON, which decides on the schema.
fn generated(data: &[u8]) -> (Value, Option<Value>, Option<Value>) {
    let mut source = Source::new(data);
    let (mut schema, object) = object_schema(&mut source, 0);
    let mut old = object.clone();
    if let Some(fields) = schema["properties"].as_object_mut() {
        let at = source.below(fields.len());
        if let Some((name, field)) = fields.iter_mut().nth(at) {
            old[name] = source.any(6);
            if source.below(2) == 1 {
                field["default"] = object[name].clone();
            }
        }
    }
    (json!({"schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}}), Some(object), Some(old))
}

pub(super) const DEFINITIONS: Target = Target {
    name: "definitions",
    seeds: &[
        br#"{"schema":{"openAPIV3Schema":{"type":"object","required":["spec"],"properties":{"spec":{"type":"object","properties":{"n":{"type":"integer","minimum":1,"maximum":9,"exclusiveMaximum":true,"multipleOf":2,"format":"int32"},"s":{"type":"string","pattern":"^[a-z]+$","minLength":1,"maxLength":5,"enum":["a","b"]},"l":{"type":"array","items":{"type":"string","maxLength":9},"x-kubernetes-list-type":"set","maxItems":3,"uniqueItems":false}}},"status":{"type":"object","properties":{"r":{"type":"integer"},"l":{"type":"string"}}}}}},"subresources":{"status":{},"scale":{"specReplicasPath":".spec.n","statusReplicasPath":".status.r","labelSelectorPath":".status.l"}},"additionalPrinterColumns":[{"name":"N","type":"integer","jsonPath":".spec.n","priority":1},{"name":"L","type":"string","jsonPath":".spec.l[?(@==\"a\")]"},{"name":"D","type":"date","jsonPath":".metadata.creationTimestamp"}],"selectableFields":[{"jsonPath":".spec.s"}]} {"spec":{"n":4,"s":"a","l":["x","y"]}} {"spec":{"n":2,"s":"c","l":["x","x"]},"status":{"r":1}}"#,
        br#"{"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","properties":{"m":{"type":"array","maxItems":5,"items":{"type":"object","required":["k"],"properties":{"k":{"type":"string","maxLength":5},"v":{"x-kubernetes-int-or-string":true}}},"x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"]},"o":{"type":"object","maxProperties":3,"additionalProperties":{"type":"string","nullable":true,"format":"date-time"}}},"x-kubernetes-validations":[{"rule":"self.m.all(x, x.k != oldSelf.m[0].k)","messageExpression":"'n: ' + self.m[0].k","fieldPath":".m","reason":"FieldValueInvalid"}],"anyOf":[{"required":["m"]},{"required":["o"]}],"oneOf":[{"properties":{"m":{"minItems":1}}},{"not":{"required":["o"]}}]}}}}} {"spec":{"m":[{"k":"a","v":1},{"k":"b","v":"x"}],"o":{"p":null,"q":"x"}}} {"spec":{"m":[{"k":"a"}]}}"#,
        br#"{"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true,"properties":{"d":{"type":"object","default":{"a":1},"properties":{"a":{"type":"integer","default":2},"b":{"type":"number","default":1.5}}},"e":{"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true},"f":{"type":"string","format":"uuid"},"g":{"anyOf":[{"type":"integer"},{"type":"string"}],"x-kubernetes-int-or-string":true}}}}} {"e":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"-","labels":{"a":1}}},"f":"x","g":"1"}"#,
        br#"{"additionalPrinterColumns":[{"name":"A","type":"string","jsonPath":"..a[0:2:1]['b','c'][*].d[-1]"}],"schema":{"openAPIV3Schema":{"type":"object","properties":{"a":{"type":"string","pattern":"(","default":5}}}}} {}"#,
        b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f",
        b"\x07\x09\x05\x0a\x03\x08\x00\x02",
    ],
    run: |data| {
        let (version, object, old) = given(data).unwrap_or_else(|| generated(data));
        let Some(storage) = REGISTRY.storage("apiextensions.k8s.io", "customresourcedefinitions") else { return };
        let Some(codec) = Codec::new(&REGISTRY, storage.clone(), Media::Json) else { return };
        let row = Row { version: codec.versions.len() - 1, codec };
        let endpoint = row.codec.hub().clone();
        let Some(ty) = endpoint.schema.as_deref() else { return };
        let mut text = Vec::new();
        json::encode_any(&definition(&version), &mut text);
        let Ok(decoded) = json::decode(&text, ty) else { return };
        let mut definition = decoded.value;
        codec::default(&endpoint, &mut definition);
        let hooks = &row.codec.storage.hooks;
        let request = ctx(&endpoint, &row, "create");
        written(&request, hooks, &mut definition, None);
        let is_valid = (hooks.validate)(&request, &definition).is_empty();
        written(&request, hooks, &mut definition.clone(), Some(&definition));
        if is_valid {
            objects(&definition, object, old);
        }
    },
};

/// Objects of a definition.
fn objects(definition: &Value, object: Option<Value>, old: Option<Value>) {
    let Some((storage, endpoints)) = rows_of(definition, &Nobody::local(&REGISTRY)) else { return };
    let mut registry = (**REGISTRY).clone();
    let storage = Arc::new(storage);
    registry.add_storage(storage.clone());
    endpoints.into_iter().for_each(|endpoint| registry.add_endpoint(endpoint));
    let Some(codec) = Codec::new(&registry, storage, Media::Json) else { return };
    let row = Row { version: 0, codec };
    let endpoint = row.codec.hub().clone();
    let hooks = &row.codec.storage.hooks;
    let read = |object: Option<Value>| {
        let mut object = object.filter(Value::is_object)?;
        object["apiVersion"] = endpoint.api_version().into();
        object["kind"] = "A".into();
        row.codec.decode_stored(object.to_string().as_bytes(), 5, Mask::ALL).ok()
    };
    let Some(mut old) = read(old.or_else(|| object.clone())) else { return };
    written(&ctx(&endpoint, &row, "create"), hooks, &mut old, None);
    let stored = row.codec.encode_stored(&mut old).expect("what was decoded can be stored");
    let old = row.codec.decode_stored(&stored, 5, Mask::ALL).expect("what was stored can be read");
    shown(&row, &old);
    let Some(new) = read(object) else { return };
    written(&ctx(&endpoint, &row, "update"), hooks, &mut new.clone(), Some(&old));
    for sub in &endpoint.subresources {
        if let apiserver::registry::Handler::Object(hooks) = &sub.handler {
            written(&ctx(&endpoint, &row, "update"), hooks, &mut new.clone(), Some(&old));
        }
    }
}
