//! The Common Expression Language: expressions of admission policies, with the patches they make, and rules of schemas.

use std::sync::Arc;

use cel::cost::{NoSizes, RUNTIME_BUDGET, estimate};
use cel::kube::admission::{Compiler, Scope, Wanted};
use cel::kube::mutation;
use cel::kube::rules::{self, Rules};
use cel::library::authorizer::{
    Authorizer, Decision, Request, authorizer, authorizer_type, request_resource,
};
use cel::value::literal;
use cel::{Program, Type, Value, library};
use proto::field::Path;
use serde_json::{Map, Value as Json, json};

use crate::{Source, Target};

/// What one evaluation may cost here, as there are many.
const LIMIT: u64 = 50_000;

/// Allows who asks about what begins with an `a`.
#[derive(Debug)]
struct SomeAuthorizer;

impl Authorizer for SomeAuthorizer {
    fn authorize(&self, request: &Request) -> Decision {
        Decision { allowed: request.name.starts_with('a'), reason: request.verb.clone(), error: None }
    }
}

fn object() -> Json {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "labels": {"a": "b", "x/y": "z"}, "creationTimestamp": "2020-01-01T00:00:00Z"},
        "spec": {
            "n": 3, "f": 1.5, "t": "2020-02-29T23:59:59.5Z", "q": "100Mi", "none": null, "yes": true,
            "list": [1, 2, 3, -1], "texts": ["a", "b", "", "\u{4e2d}"],
            "containers": [{"name": "a", "image": "r/i:t", "ports": [{"containerPort": 80}]}, {"name": "b"}],
        },
    })
}

pub(super) const CEL: Target = Target {
    name: "cel",
    seeds: &[
        b"object.spec.containers.all(c, c.image.startsWith('r/') && has(c.name)) ? 'yes' : \"n\\u00e9\"",
        b"object.spec.list.filter(x, x > 1).map(x, x * 2).exists_one(y, y == 4) || !(1 in [1u, 2.0])",
        b"[1, 2].sortBy(x, -x).sum() + int('0x1f'.size()) - [3, 1].min() * [[1], [2]].flatten()[0] / 1 % 7",
        b"timestamp(object.spec.t) + duration('1h30m') > timestamp('2000-01-01T00:00:00Z') && duration('1s').getSeconds() == 1 && timestamp(object.spec.t).getDayOfYear('+05:30') >= 0",
        b"quantity(object.spec.q).add(quantity('1k')).isGreaterThan(quantity('1Gi')) || isQuantity('x') || quantity('50M').asInteger() > 1",
        b"url('https://u:p@[::1]:80/a%20b?c=d&c=e').getQuery()['c'][0].upperAscii().replace('D', 'x', 1).split('', 2)",
        b"'%s %d %.3f %e %x %o %b %X %%'.format(['a', 1, 2.5, 1e10, b'\\xff', 8, true, {'k': [null]}])",
        b"ip('fd00::1').isGlobalUnicast() && cidr('10.0.0.0/8').containsIP('10.1.2.3') && ip.isCanonical('::1') && cidr('::/0').masked().prefixLength() == 0",
        b"'abc123'.matches('^[a-z]+([0-9]{1,3})?$') && 'a1b2'.findAll('[0-9]', 2) == ['1', '2'] && 'x'.find(object.metadata.name) == ''",
        b"authorizer.group('apps').resource('deployments').subresource('scale').namespace('a').name('ab').fieldSelector('a=b').labelSelector('c').check('get').allowed() && authorizer.path('/healthz').check('get').reason() != '' && authorizer.requestResource.check('list').errored()",
        b"[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('x/y~z'), value: Object.metadata{labels: {'a': 'b'}}}, JSONPatch{op: 'move', from: '/a', path: '/b'}]",
        b"Object{spec: Object.spec{?n: object.?spec.?n, list: [Object.spec.list{a: optional.of(1)}], zero: dyn(null)}}",
        b"optional.ofNonZeroValue(object.spec.?none).or(optional.of(1)).optMap(v, v + 1).orValue(0) == {'a': 1}[?'b'].orValue(2)",
        b"semver('1.2.3-a.1+b').isLessThan(semver('v2.0', true)) && isSemver('1') == false && semver('1.0.0').compareTo(semver('1.0.1')) == -1",
        b"format.dns1123Label().validate('A_').hasValue() || format.named('uuid').value().validate('x').value().size() > 0",
        b"sets.contains([1, 2], [2]) && sets.intersects([1.0], [1u]) && sets.equivalent([], []) && [1,2,1].distinct().reverse().indexOf(2) == 0",
        b"{'a': 1, 'b': 2}.transformMap(k, v, v > 1, v + 1).transformList(k, v, k + string(v)).join(',').charAt(0).lastIndexOf('a')",
        b"9223372036854775807 + 1 == -9223372036854775808 - 1 || 18446744073709551615u * 2u == 0u || -(-9223372036854775808) / 0 % 0 == int(1e300)",
        b"[[0, 0]].map(a, [[a, a]].map(b, [[b, b]].map(c, [[c, c]].map(d, [[d, d]].map(e, [[e, e]].map(f, [[f, f]].map(g, [[g, g]].map(h, [[h, h]].map(i, [i, i] == [i, i])))))))))",
        b"[0,0,0,0,0,0,0,0,0,0].map(a, [0,0,0,0,0,0,0,0,0,0].map(b, [0,0,0,0,0,0,0,0,0,0].map(c, 'xxxxxxxxxx' + 'y')))",
        b"((((((((((((((((((((((((((((((((((((((((((((((((((1))))))))))))))))))))))))))))))))))))))))))))))))) ",
        b"variables.v == params.p && request.operation == 'CREATE' && namespaceObject.metadata.labels['a'] in ['b'] // c",
        b"type(1) == int && type([]) != type({}) && r'\\d' + '''a\nb''' + b\"\\x00\\377\" != '' && 0xff == 255 && 1e-3 < 1.",
        b"string(bytes('\xc3\xa9')) + string(1.0) + string(1u) + string(timestamp(0)) + strings.quote('\\a') + 'a'.reverse() + 'abc'.substring(1, 2).trim()",
    ],
    run: |data| {
        let Ok(text) = std::str::from_utf8(data) else { return };
        let object = object();
        let request = Request { verb: "get".to_owned(), name: "a".to_owned(), ..Request::default() };
        let given = || {
            vec![
                ("object", Value::json(&object)),
                ("oldObject", Value::Null),
                ("params", Value::json(&object["spec"])),
                ("authorizer", authorizer(Arc::new(SomeAuthorizer))),
                ("authorizer.requestResource", request_resource(Arc::new(SomeAuthorizer), request.clone())),
            ]
        };
        let mut env = library::mutation(library::base().bindings()).variable("object", Type::Dyn);
        env = env.variable("authorizer", authorizer_type());
        if let Ok(checked) = env.compile(text) {
            let cost = estimate(&checked, &NoSizes);
            assert!(cost.min <= cost.max);
            if let Ok(program) = Program::new(&checked, &env) {
                let evaluate = || program.evaluate(&given(), LIMIT);
                let outcome = evaluate();
                assert_eq!(evaluate().cost, outcome.cost, "the same costs the same");
                match &outcome.value {
                    Ok(value) => drop((value.size(), value.type_name(), value.to_json(), literal(value))),
                    // What follows has upstream's limit, which takes a while.
                    Err(error) if error.is_cost_limit() => return,
                    Err(_) => {}
                }
            }
        }
        let mut compiler = Compiler::new(true).composing();
        let variable = compiler.variable("v", text);
        let uses = ["variables.v == variables.v", "[variables.v, variables.v]"];
        let uses = uses.map(|text| compiler.compile(text, Wanted::Any));
        let patches = [(Wanted::Configuration, text), (Wanted::JsonPatch, text)];
        let patches = patches.map(|(wanted, text)| compiler.compile_patch(text, wanted));
        let scope = Scope::new(given(), [("v", &variable)]);
        let _ = scope.evaluate(uses.iter().map(Some), RUNTIME_BUDGET);
        let _ = scope.is_matched(&uses, RUNTIME_BUDGET);
        if let Ok((values, _)) = scope.evaluate(patches.iter().map(Some), RUNTIME_BUDGET) {
            for value in values.into_iter().flatten().filter_map(|evaluated| evaluated.value.ok()) {
                let _ = (mutation::configuration(&value), mutation::json_patch(&value));
            }
        }
    },
};

/// A schema, and a value that has the form it asks for.
fn schema_and_value(source: &mut Source<'_>, depth: usize) -> (Json, Json) {
    let kinds = if depth == 4 { 7 } else { 11 };
    let (mut schema, value) = match source.below(kinds) {
        0 => (json!({"type": "string"}), source.text().into()),
        1 => (json!({"type": "integer"}), source.integer().into()),
        2 => (json!({"type": "number"}), [json!(0), json!(-1.5), json!(1e300)][source.below(3)].clone()),
        3 => (json!({"type": "boolean"}), (source.byte() & 1 == 1).into()),
        4 => {
            let (format, value) = [
                ("byte", "YQ=="),
                ("duration", "1h30m"),
                ("date", "2020-02-29"),
                ("date-time", "2020-02-29T23:59:59Z"),
                ("uuid", "x"),
            ][source.below(5)];
            (json!({"type": "string", "format": format}), value.into())
        }
        5 => (json!({"x-kubernetes-int-or-string": true}), [json!(1), json!("a")][source.below(2)].clone()),
        6 => {
            let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
            (schema, source.any(depth + 4))
        }
        7 => {
            let (items, item) = schema_and_value(source, depth + 1);
            let list = (0..source.below(4)).map(|_| item.clone()).collect();
            let mut schema = json!({"type": "array", "items": items});
            match source.below(3) {
                0 => {}
                1 => schema["x-kubernetes-list-type"] = "set".into(),
                _ => {
                    schema["x-kubernetes-list-type"] = "map".into();
                    schema["x-kubernetes-list-map-keys"] = json!(["a"]);
                }
            }
            (schema, list)
        }
        8 => {
            let (values, value) = schema_and_value(source, depth + 1);
            let map: Map<_, _> = (0..source.below(4)).map(|_| (source.text(), value.clone())).collect();
            (json!({"type": "object", "additionalProperties": values}), Json::Object(map))
        }
        _ => object_schema(source, depth),
    };
    for name in ["maxLength", "maxItems", "maxProperties"] {
        if source.below(6) == 1 {
            schema[name] = source.integer().into();
        }
    }
    if source.below(6) == 1 {
        schema["nullable"] = true.into();
    }
    (schema, value)
}

/// The schema of an object, and one that has the form it asks for.
pub(super) fn object_schema(source: &mut Source<'_>, depth: usize) -> (Json, Json) {
    let (mut properties, mut object) = (Map::new(), Map::new());
    let names = ["a", "b", "c", "namespace", "x-y", "__", "d.e", "if"];
    for name in names.iter().take(2 + source.below(names.len() - 1)) {
        let (schema, value) = schema_and_value(source, depth + 1);
        properties.insert((*name).to_owned(), schema);
        if source.below(4) != 3 {
            object.insert((*name).to_owned(), value);
        }
    }
    let mut schema = json!({"type": "object", "properties": properties});
    if source.below(3) == 1 {
        schema["required"] = json!(["a"]);
    }
    if source.below(6) == 1 {
        schema["x-kubernetes-embedded-resource"] = true.into();
    }
    (schema, Json::Object(object))
}

/// Gives a rule to a schema and to those below it: the first ones that choices fall on.
fn add_rule(source: &mut Source<'_>, schema: &mut Json, rule: &Json) {
    if source.below(2) == 0 {
        schema["x-kubernetes-validations"] = json!([rule]);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(below) = schema.get_mut(name).filter(|below| below.is_object()) {
            add_rule(source, below, rule);
        }
    }
    for below in schema.get_mut("properties").and_then(Json::as_object_mut).into_iter().flatten() {
        add_rule(source, below.1, rule);
    }
}

pub(super) const RULES: Target = Target {
    name: "rules",
    seeds: &[
        b"self.a == oldSelf.b\n'was ' + string(self)\n.a\n\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09",
        b"self.all(x, x.startsWith('a')) && self.size() < 5\nself[0]\n.b.c\n\x10\x20\x30\x40\x50\x60\x70\x80",
        b"self.b[0].a in self.b.map(x, x.a)\n\n.c['x']\n\xff\xfe\xfd\xfc",
        b"oldSelf.hasValue() ? self > oldSelf.value() : self.c == duration('1h')\nself.c.getHours() > 1 ? 'a' : 'b'\n\n\x04\x05\x06",
        b"self == oldSelf || self in [self] || has(self.a) && !has(self.x__dash__y) || self.__namespace__ == self.d__dot__e\n\n.d.e\n\x03\x02\x01",
        b"self.a.all(k, self.a[k] != self.b) && type(self.c) == int && self.metadata.name.matches('^a')\nself.kind\n.metadata\n\x09\x0b\x07",
        b"dyn(self) == dyn(oldSelf) && [self, self].distinct().size() == 1 && self.a + self.a == self.b\n\n\n\x0a\x0b\x0c",
    ],
    run: |data| {
        // A line each for the expressions and the path; the rest decides on the schema.
        let mut lines = data.splitn(4, |byte| *byte == b'\n');
        let [rule, message, path] =
            [(); 3].map(|()| String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned());
        let mut source = Source::new(lines.next().unwrap_or_default());
        let mut rule = json!({"rule": rule, "messageExpression": message, "fieldPath": path});
        if source.below(4) == 3 {
            rule["optionalOldSelf"] = true.into();
        }
        let (mut schema, object) = object_schema(&mut source, 0);
        add_rule(&mut source, &mut schema, &rule);
        let _ = rules::check(&Path::new("spec"), &schema, false);
        let Some(rules) = Rules::new(&schema) else { return };
        let mut old = object.clone();
        if let Some((_, value)) = old.as_object_mut().and_then(|fields| fields.iter_mut().next()) {
            *value = source.any(6);
        }
        for old in [None, Some(&object), Some(&old)] {
            let _ = rules.validate(&Path::default(), &object, old, RUNTIME_BUDGET);
        }
        let _ = rules.validate(&Path::default(), &old, Some(&object), RUNTIME_BUDGET);
    },
};
