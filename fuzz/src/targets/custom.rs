//! Schemas of custom resources, compiled, and objects pruned and defaulted by them.

use apiserver::custom::Version;
use serde_json::Value;

use crate::Target;

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
