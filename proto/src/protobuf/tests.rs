use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::schema::{self, Mask};

/// Objects as a Kubernetes server answers them, in JSON and in protobuf.
const OBJECTS: &[(&str, &str, &str)] = &[
    ("pod", include_str!("../../testdata/pod.json"), include_str!("../../testdata/pod.pb.b64")),
    ("crd", include_str!("../../testdata/crd.json"), include_str!("../../testdata/crd.pb.b64")),
    ("secret", include_str!("../../testdata/secret.json"), include_str!("../../testdata/secret.pb.b64")),
    ("lease", include_str!("../../testdata/lease.json"), include_str!("../../testdata/lease.pb.b64")),
    ("event", include_str!("../../testdata/event.json"), include_str!("../../testdata/event.pb.b64")),
    (
        "clusterrole",
        include_str!("../../testdata/clusterrole.json"),
        include_str!("../../testdata/clusterrole.pb.b64"),
    ),
    (
        "deployment",
        include_str!("../../testdata/deployment.json"),
        include_str!("../../testdata/deployment.pb.b64"),
    ),
    (
        "autoscaler",
        include_str!("../../testdata/autoscaler.json"),
        include_str!("../../testdata/autoscaler.pb.b64"),
    ),
    ("status", include_str!("../../testdata/status.json"), include_str!("../../testdata/status.pb.b64")),
    ("list", include_str!("../../testdata/list.json"), include_str!("../../testdata/list.pb.b64")),
];

fn type_of(json: &str) -> &'static Type {
    let (api_version, kind) = crate::json::type_meta(json.as_bytes()).unwrap();
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    schema::lookup(group, version, &kind).unwrap()
}

fn bytes_of(text: &str) -> Vec<u8> {
    STANDARD.decode(text.split_whitespace().collect::<String>()).unwrap()
}

#[test]
fn both_forms_of_an_object_agree() {
    for (name, json, protobuf) in OBJECTS {
        let (ty, protobuf) = (type_of(json), bytes_of(protobuf));
        let decoded = crate::json::decode(json.as_bytes(), ty).unwrap();
        assert_eq!(decoded.strict, Vec::<String>::new(), "{name}");
        assert_eq!(decode_object(&protobuf, ty).unwrap(), decoded.value, "{name}");
        assert_eq!(encode_object(&decoded.value, ty), protobuf, "{name}");
        let mut printed = Vec::new();
        crate::json::encode(&decoded.value, ty, &mut printed);
        assert_eq!(String::from_utf8(printed).unwrap(), json.trim_end(), "{name}");
        let again = crate::json::canonical(&crate::json::print(&decoded.value, ty), ty).unwrap();
        assert_eq!(again.value, decoded.value, "{name}");
    }
}

#[test]
fn what_is_not_looked_at_is_passed_over() {
    let (_, json, protobuf) = OBJECTS[0];
    let (ty, protobuf) = (type_of(json), bytes_of(protobuf));
    let whole = decode_object(&protobuf, ty).unwrap();
    let mask = Mask::of(["metadata.labels", "spec.restartPolicy", "spec.containers.image", "status.phase"]);
    let some = decode_some(unwrap(&protobuf).unwrap().raw, ty, &mask).unwrap();
    let images = whole["spec"]["containers"].as_array().unwrap().iter();
    let expected = json!({
        "metadata": {"labels": whole["metadata"]["labels"]},
        "spec": {
            "restartPolicy": whole["spec"]["restartPolicy"],
            "containers": images.map(|c| json!({"image": c["image"]})).collect::<Vec<_>>(),
        },
        "status": {"phase": whole["status"]["phase"]},
    });
    assert_eq!(some, expected);
    // A status that is a number is an error to those who look at it.
    let broken = [unwrap(&protobuf).unwrap().raw, &[3 << 3, 1]].concat();
    assert!(decode(&broken, ty).is_err());
    assert!(decode_some(&broken, ty, &Mask::of(["spec.nodeName"])).is_ok());
}

#[test]
fn envelopes_open_and_close() {
    let wrapped = wrap("v1", "Pod", b"raw");
    assert_eq!(wrapped, b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x03raw\x1a\0\x22\0");
    let unknown = unwrap(&wrapped).unwrap();
    assert_eq!(
        (unknown.api_version.as_str(), unknown.kind.as_str(), unknown.raw),
        ("v1", "Pod", &b"raw"[..])
    );
    assert_eq!(unwrap(b"{}"), Err(Error::Prefix));
    assert_eq!(unwrap(b""), Err(Error::Empty));
    assert_eq!(unwrap(MAGIC), Err(Error::EmptyBody));
    assert_eq!(watch_event("ADDED", b"x"), b"\x0a\x05ADDED\x12\x03\x0a\x01x");
}

#[test]
fn messages_in_parts_are_merged_and_packed_numbers_read() {
    let ty = schema::lookup("", "v1", "Pod").unwrap();
    // metadata {name: a}, then metadata {namespace: b}
    let value = decode(b"\x0a\x03\x0a\x01a\x0a\x03\x1a\x01b", ty).unwrap();
    assert_eq!(value, json!({"metadata": {"name": "a", "namespace": "b"}}));
    // spec.securityContext.supplementalGroups [1, 300], packed
    let value = decode(b"\x12\x07\x72\x05\x22\x03\x01\xac\x02", ty).unwrap();
    assert_eq!(value, json!({"spec": {"securityContext": {"supplementalGroups": [1, 300]}}}));
}

#[test]
fn broken_messages_are_refused() {
    let ty = schema::lookup("", "v1", "Pod").unwrap();
    assert_eq!(decode(b"\x0a\x05ab", ty), Err(Error::Eof));
    assert_eq!(decode(b"\x0a", ty), Err(Error::Eof));
    assert_eq!(decode(&[0xff; 11], ty), Err(Error::Overflow));
    assert_eq!(decode(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", ty), Err(Error::Eof));
    assert_eq!(decode(b"\x08\x01", ty), Err(Error::WireType { wire_type: 0, field: "metadata".to_owned() }));
    assert!(matches!(decode(b"\x0c", ty), Err(Error::EndGroup(_))));
    assert!(matches!(decode(b"\x02\x00", ty), Err(Error::Tag { .. })));
    // Unknown fields are skipped, groups too.
    assert_eq!(decode(b"\xf8\x07\x01\xfb\x07\x08\x01\xfc\x07", ty), Ok(json!({})));
}

#[test]
fn deep_messages_are_refused() {
    let ty = schema::lookup("apiextensions.k8s.io", "v1", "CustomResourceDefinition").unwrap();
    // JSONSchemaProps.not, nested; wrapped into spec.versions.schema.openAPIV3Schema.
    let mut message = Vec::new();
    for _ in 0..5000 {
        let mut outer = Vec::new();
        wire::put_bytes(28, &message, &mut outer);
        message = outer;
    }
    for number in [1, 4, 7, 2] {
        let mut outer = Vec::new();
        wire::put_bytes(number, &message, &mut outer);
        message = outer;
    }
    assert_eq!(decode(&message, ty), Err(Error::Depth));
}

/// A small generator of pseudo-random numbers, the same on each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[test]
fn damaged_bytes_never_panic() {
    let mut random = Random(42);
    for (_, json, protobuf) in OBJECTS {
        let (ty, protobuf) = (type_of(json), bytes_of(protobuf));
        for _ in 0..300 {
            let mut damaged = protobuf.clone();
            for _ in 0..=random.next() % 4 {
                let at = (random.next() as usize) % damaged.len();
                damaged[at] = random.next() as u8;
            }
            damaged.truncate(damaged.len() - (random.next() as usize % 8));
            if let Ok(value) = decode_object(&damaged, ty) {
                // Whatever was read can be written and read again.
                assert_eq!(decode_object(&encode_object(&value, ty), ty).unwrap(), value);
            }
            let mut damaged = json.as_bytes().to_vec();
            let at = (random.next() as usize) % damaged.len();
            damaged[at] = random.next() as u8;
            if let Ok(decoded) = crate::json::decode(&damaged, ty) {
                let again = crate::json::canonical(&crate::json::print(&decoded.value, ty), ty).unwrap();
                assert_eq!(again.value, decoded.value);
            }
            let _ = crate::yaml::to_json(&damaged);
        }
    }
    let ty = schema::lookup("", "v1", "Pod").unwrap();
    for length in 0..2000usize {
        let noise: Vec<u8> = (0..length % 64).map(|_| random.next() as u8).collect();
        let _ = decode(&noise, ty);
        let _ = unwrap(&noise);
        let _ = crate::json::decode(&noise, ty);
    }
}

#[test]
fn trees_of_wrong_types_can_be_encoded() {
    let ty = schema::lookup("", "v1", "Pod").unwrap();
    for value in
        [json!(1), json!({"metadata": 3, "spec": {"containers": {"a": 1}, "nodeName": []}}), Value::Null]
    {
        let _ = encode(&value, ty);
        let mut out = Vec::new();
        crate::json::encode(&value, ty, &mut out);
    }
}

#[test]
fn fields_are_measured_and_taken_whole() {
    for length in [0, 1, 127, 128, 16_383, 16_384, 70_000] {
        let mut out = Vec::new();
        put_bytes(2, &vec![7; length], &mut out);
        assert_eq!(bytes_len(2, length), out.len(), "{length}");
        let size = out.len();
        put_bytes(3, b"more", &mut out);
        assert_eq!(leading(&out, 2).map(<[u8]>::len), Some(size), "{length}");
        assert_eq!(leading(&out, 3), None);
        assert_eq!(leading(&out[..size - 1], 2), None);
    }
}
