//! Patches of all kinds, and sets of fields.

use apiserver::patch::fields::Set;
use apiserver::patch::managed::{self, Request, Versions};
use apiserver::patch::{json_patch, merge_patch, strategic_merge_patch};
use proto::json;
use proto::schema::{Ref, Type, lookup};
use serde_json::{Value, json};

use crate::{Source, Target};

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "labels": {"a": "b"}, "finalizers": ["x/y"], "ownerReferences": [{"uid": "1"}]},
        "spec": {
            "containers": [
                {"name": "a", "image": "i", "ports": [{"containerPort": 80, "protocol": "TCP"}], "env": [{"name": "X"}]},
                {"name": "b", "image": "j"},
            ],
            "volumes": [{"name": "v", "emptyDir": {}}],
            "tolerations": [{"key": "k"}],
        },
    })
}

pub(super) const PATCHES: Target = Target {
    name: "patches",
    seeds: &[
        br#"[{"op":"add","path":"/spec/containers/-","value":{"name":"c"}},{"op":"remove","path":"/metadata/labels/a"},{"op":"copy","from":"/spec","path":"/metadata/x"},{"op":"move","from":"/spec/volumes/0","path":"/spec/volumes/0"},{"op":"test","path":"/metadata/name","value":"a"},{"op":"replace","path":"","value":{"a~1b":{"~0":1}}}]"#,
        br#"[{"op":"copy","from":"/spec","path":"/spec/a"},{"op":"copy","from":"/spec","path":"/spec/b"},{"op":"copy","from":"/spec","path":"/spec/c"},{"op":"copy","from":"/spec","path":"/spec/d"},{"op":"copy","from":"/spec","path":"/spec/e"}]"#,
        br#"{"metadata":{"labels":{"a":null,"c":"d"},"$deleteFromPrimitiveList/finalizers":["x/y"],"$setElementOrder/finalizers":["z"]},"spec":{"$setElementOrder/containers":[{"name":"b"},{"name":"a"}],"containers":[{"name":"b","$patch":"delete"},{"name":"a","$patch":"replace","ports":[{"containerPort":81,"$patch":"merge"}]},{"$patch":"replace"}],"volumes":[{"name":"v","$retainKeys":["name","hostPath"],"hostPath":{"path":"/"}}],"tolerations":[]}}"#,
        br#"{"$patch":"replace","metadata":{"$patch":"delete"},"spec":{"$retainKeys":["containers"]}}"#,
    ],
    run: |data| {
        let Some(ty) = lookup("", "v1", "Pod") else { return };
        let document = pod();
        if let Ok(patched) = json_patch(&document, data) {
            let _ = json::canonical(&patched.value, ty);
        }
        if let Ok(patched) = merge_patch(&document, data) {
            let again = merge_patch(&patched.value, data).expect("applies again");
            assert_eq!(again.value, patched.value, "merging twice is merging once");
            let _ = json::canonical(&patched.value, ty);
        }
        if let Ok(patched) = strategic_merge_patch(&document, data, ty) {
            let _ = json::canonical(&patched.value, ty);
        }
    },
};

pub(super) const FIELDS: Target = Target {
    name: "fields",
    seeds: &[
        br#"{"f:metadata":{"f:labels":{".":{},"f:a":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{".":{},"f:image":{}},"i:0":{}},"v:\"x\"":{}}}"#,
        br#"{"k:{\"a\":1,\"b\":true,\"c\":null,\"d\":1.5}":{"v:[1]":{},"i:-1":{},".":{}}}"#,
        br#"{"k:{}":{"v:[1]":{}}}"#,
    ],
    run: |data| {
        let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
        let Ok(set) = Set::from_fields(&value) else { return };
        let again = |set: &Set| Set::from_fields(&set.to_fields()).expect("what is printed parses");
        // -0.0 within a key loses its sign the first time.
        let once = again(&again(&set));
        assert_eq!(again(&once).to_fields(), once.to_fields());
        assert!(set.clone().difference(&set).is_empty());
        assert_eq!(set.union(&set).to_fields(), set.to_fields());
        assert_eq!(set.intersection(&set).to_fields(), set.to_fields());
        let mut paths = 0;
        set.each(&mut |_| paths += 1);
        assert_eq!(paths == 0, set.is_empty());
    },
};

struct OneVersion(&'static Type);

impl Versions for OneVersion {
    fn convert(&self, printed: &Value, _: &str) -> Option<(Value, Ref<Type>)> {
        Some((printed.clone(), Ref::Static(self.0)))
    }
}

pub(super) const APPLY: Target = Target {
    name: "apply",
    seeds: &[
        b"\x00\x01\x02\x03\x04\x05\x06\x07\x08",
        b"\x10\x20\x30\x40\x50\x60\x70\x80\x90\xa0\xb0\xc0\xd0\xe0\xf0",
    ],
    run: |data| {
        let kinds =
            [("", "v1", "Pod"), ("apps", "v1", "Deployment"), ("", "v1", "Service"), ("", "v1", "Node")];
        let mut source = Source::new(data);
        let (group, version, kind) = kinds[source.below(kinds.len())];
        let Some(ty) = lookup(group, version, kind) else { return };
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let mut object = |name: &str| {
            let mut made = source.object(ty);
            made["apiVersion"] = api_version.as_str().into();
            made["kind"] = kind.into();
            made["metadata"] = json!({"name": name, "labels": {"a": "b"}});
            made
        };
        let versions = OneVersion(ty);
        let request = |manager| Request {
            manager,
            api_version: &api_version,
            kind,
            subresource: "",
            ty,
            custom: false,
            reset: None,
            now: "2020-01-01T00:00:00Z",
            versions: &versions,
        };
        let (first, second, third) = (object("a"), object("a"), object("a"));
        let canonical = |printed: &Value| json::canonical(printed, ty).map(|d| d.value);
        // An empty key isn't kept, so that an item that has one is another item once it is stored.
        let Ok(first) = canonical(&first) else { return };
        let Ok(one) = managed::apply(None, &first, false, &request("one")) else { return };
        let Ok(mut live) = canonical(&one) else { return };
        // Applying the same again changes nothing.
        if let Ok(again) = managed::apply(Some(&live), &first, false, &request("one")) {
            let mut again = canonical(&again).expect("canonical");
            assert_eq!(strip_times(&mut again), strip_times(&mut live));
        }
        if let Ok(two) = managed::apply(Some(&live), &second, true, &request("two"))
            && let Ok(two) = canonical(&two)
        {
            live = two;
        }
        let Ok(mut updated) = canonical(&third) else { return };
        managed::update(Some(&live), &mut updated, &request("three"));
        let _ = managed::apply(Some(&updated), &first, false, &request("one"));
    },
};

fn strip_times(object: &mut Value) -> &Value {
    let entries = object.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut);
    for entry in entries.into_iter().flatten() {
        entry["time"] = Value::Null;
    }
    object
}
