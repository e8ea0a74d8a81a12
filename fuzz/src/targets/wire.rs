//! Bodies: JSON, protobuf, YAML.

use proto::schema::{self, Type};
use proto::{json, protobuf, yaml};
use serde_json::Value;

use crate::{Source, Target};

const POD: &[u8] = br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"a":"b"},"creationTimestamp":null,"ownerReferences":[{"uid":"1"}]},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}],"resources":{"limits":{"cpu":"100m","memory":"1Gi"}},"livenessProbe":{"httpGet":{"port":"http","path":"/"}},"env":[{"name":"A","value":"\u00e9"}]}],"terminationGracePeriodSeconds":30,"tolerations":[{"operator":"Exists"}]},"status":{"startTime":"2020-01-01T00:00:00Z","phase":"Running"}}"#;
const DEFINITION: &[u8] = br#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"a.b.c"},"spec":{"group":"b.c","versions":[{"name":"v1","schema":{"openAPIV3Schema":{"type":"object","properties":{"a":{"items":{"type":"string"},"default":[1,null]}},"additionalProperties":false}}}]}}"#;
const NUMBERS: &[u8] = br#"{"a":[0,-0,1e3,1.5,99999999999999999999,-1e400,true,false,null,"\ud83d\ude00\\\/\b\f\n\r\t"],"a":{}}"#;

/// The built-in kind that the first byte names.
fn kind(source: &mut Source<'_>) -> Option<&'static Type> {
    let kinds = schema::kinds();
    Some(kinds.get(source.below(kinds.len().max(257)) % kinds.len().max(1))?.ty)
}

/// The schema that a body names, or Pods'.
fn schema_of(data: &[u8]) -> Option<&'static Type> {
    let (api_version, kind) = json::type_meta(data).ok()?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    schema::lookup(group, version, &kind).or_else(|| schema::lookup("", "v1", "Pod"))
}

pub(super) const JSON: Target = Target {
    name: "json",
    seeds: &[
        POD,
        DEFINITION,
        NUMBERS,
        b"[[[[[[]]]]]]",
        b"[1e3, -0.0E0]",
        b"{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"data\":{\"a\":\"YQ==\"}}",
    ],
    run: |data| {
        if let Ok(any) = json::decode_any(data) {
            let print = |value: &Value| {
                let mut text = Vec::new();
                json::encode_any(value, &mut text);
                String::from_utf8_lossy(&text).into_owned()
            };
            // Numbers lose their fraction or sign when they are printed the first time (1e3, -0.0), as Go's do.
            let again = |text: &str| json::decode_any(text.as_bytes()).expect("what is printed parses").value;
            let once = print(&again(&print(&any.value)));
            assert_eq!(print(&again(&once)), once);
        }
        let Some(ty) = schema_of(data) else { return };
        let Ok(decoded) = json::decode(data, ty) else { return };
        law(&decoded.value, ty);
        let mut defaulted = decoded.value;
        schema::default(&mut defaulted, ty);
        law(&defaulted, ty);
    },
};

/// A canonical tree survives both encodings.
fn law(value: &Value, ty: &Type) {
    let again = |value: &Value| {
        let mut text = Vec::new();
        json::encode(value, ty, &mut text);
        (json::decode(&text, ty).expect("what is printed decodes").value, text)
    };
    let (once, _) = again(value);
    let (twice, printed) = again(&once);
    let (_, reprinted) = again(&twice);
    assert_eq!(String::from_utf8_lossy(&reprinted), String::from_utf8_lossy(&printed));
    let again = |value: &Value| {
        let bytes = protobuf::encode(value, ty);
        (protobuf::decode(&bytes, ty).expect("what is encoded decodes"), bytes)
    };
    // Messages hold JSON in places, so the same goes for them.
    let (once, _) = again(value);
    let (twice, bytes) = again(&once);
    assert_eq!(again(&twice).1, bytes);
}

pub(super) const PROTOBUF: Target = Target {
    name: "protobuf",
    seeds: &[
        b"\x00k8s\0\n\x09\n\x02v1\x12\x03Pod\x12\x05\n\x03\n\x01p\x1a\x00\"\x00",
        b"\x10\n\x0b\n\x01a\x12\x00\x1a\x01b\"\x00*\x00\x12\x00\x1a\x02\n\x00",
        b"\x80\x0a\x03\x0a\x01\x61\x12\x0c\x12\x0a\x0a\x01c\x12\x01i\x32\x02\x18\x50",
        b"\x30\xf8\x01\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
        b"\x31\x0b\x0b\x0b\x0c\x0c\x0c",
    ],
    run: |data| {
        if let Ok(unknown) = protobuf::unwrap(data) {
            let wrapped = protobuf::wrap(&unknown.api_version, &unknown.kind, unknown.raw);
            assert_eq!(protobuf::unwrap(&wrapped).expect("wrapped").raw, unknown.raw);
        }
        let mut source = Source::new(data);
        let Some(ty) = kind(&mut source) else { return };
        let Some(message) = data.get(1..) else { return };
        let Ok(value) = protobuf::decode(message, ty) else { return };
        law(&value, ty);
    },
};

pub(super) const YAML: Target = Target {
    name: "yaml",
    seeds: &[
        b"apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {a: 'b', c: \"d\\x41\"}}\nspec:\n  containers:\n  - name: c\n    image: |\n      i\n    args: [yes, 0644, 0x1f, 1_000, .inf, ~, 2020-01-01, 1:30]\n",
        b"a: &a [1, 2]\nb: *a\nc: {<<: *a}\n",
        b"a: &a {b: c}\nd: {<<: *a, e: f}\n? [x]\n: y\n--- \n- 1\n",
        b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n",
        b"%YAML 1.1\n%TAG ! tag:a,b:\n---\n!!binary aGk=\n...\n",
        b"{\"apiVersion\": \"v1\", \"a\": [1, {\"b\": null}]}",
    ],
    run: |data| {
        let Ok(converted) = yaml::to_json(data) else { return };
        let value: Value = serde_json::from_slice(&converted.json).expect("JSON");
        if let Some(printed) = yaml::from_json(&converted.json) {
            let (again, _) = yaml::to_value(&printed).expect("what is printed parses");
            assert_eq!(again, value, "{}", String::from_utf8_lossy(&printed));
        }
    },
};
