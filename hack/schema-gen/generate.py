#!/usr/bin/env python3
"""Writes proto/src/schema/generated from a checkout of Kubernetes' source.

Usage: hack/schema-gen/generate.py CHECKOUT

Names, numbers, keys and defaults are taken; prose isn't. The result is checked against the checkout's
generated.proto files and its published OpenAPI document; every difference is reported.
"""

import json
import os
import re
import sys

import golang

STAGING = "staging/src"
META = "k8s.io/apimachinery/pkg/apis/meta/v1"
EXTENSIONS = "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
PACKAGES = [META, EXTENSIONS, "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1", "k8s.io/apiserver/pkg/apis/audit/v1"]
# Versions that no server of this release serves.
UNSERVED = re.compile(r"^(extensions|imagepolicy)/|^apps/v1beta|^authentication/v1(alpha|beta)1|^authorization/v1beta1|"
                      r"^batch/v1beta1|^(discovery|events|policy)/v1beta1|^flowcontrol/v1beta|^node/v1(alpha|beta)1|"
                      r"^rbac/v1(alpha|beta)1|^storage/v1alpha1|^apidiscovery/v2beta1|^admission/v1beta1|"
                      r"^scheduling/v1beta1")
META_KINDS = ["Status", "APIVersions", "APIGroup", "APIGroupList", "APIResourceList", "Table", "TableOptions",
              "PartialObjectMetadata", "PartialObjectMetadataList", "WatchEvent", "ListOptions", "GetOptions",
              "DeleteOptions", "CreateOptions", "UpdateOptions", "PatchOptions"]
UNVERSIONED = ["Status", "APIVersions", "APIGroup", "APIGroupList", "APIResourceList"]

SPECIAL = {
    (META, "Time"): "Time", (META, "MicroTime"): "MicroTime", (META, "Duration"): "Duration",
    (META, "FieldsV1"): "FieldsV1",
    ("k8s.io/apimachinery/pkg/api/resource", "Quantity"): "Quantity",
    ("k8s.io/apimachinery/pkg/util/intstr", "IntOrString"): "IntOrString",
    ("k8s.io/apimachinery/pkg/runtime", "RawExtension"): "RawExtension",
    ("k8s.io/apimachinery/pkg/runtime", "Unknown"): "RawExtension",
    (EXTENSIONS, "JSON"): "Json",
}
UNIONS = {"JSONSchemaPropsOrBool": "SchemaOrBool", "JSONSchemaPropsOrArray": "SchemaOrArray",
          "JSONSchemaPropsOrStringArray": "SchemaOrStrings"}
SCALARS = {"bool": "Bool", "int32": "Int32", "int": "Int64", "int64": "Int64", "uint8": "Uint32", "uint16": "Uint32",
           "uint32": "Uint32", "uint64": "Uint64", "float64": "Float64", "string": "String", "interface{}": "Any",
           "any": "Any"}

PTR, OMITEMPTY, OMITZERO, INLINE, REQUIRED, ATOMIC, GRANULAR, MERGE, REPLACE, RETAIN = (1 << bit for bit in range(10))


class Generator:
    def __init__(self, checkout):
        self.root = os.path.join(checkout, STAGING)
        self.packages = {}
        self.structs = {}  # (package path, name) -> rust text of the static
        self.pending = []
        self.problems = []

    def package(self, path):
        if path not in self.packages:
            self.packages[path] = golang.parse_package(self.root, path)
        return self.packages[path]

    # Go types -> shapes

    def resolve(self, package, name):
        """Finds a named type's declaration, following aliases; or a special type's name."""
        if "." in name:
            alias, name = name.split(".")
            path = package.imports[alias]
        else:
            path = package.path
        if (path, name) in SPECIAL:
            return SPECIAL[path, name], None
        if path.endswith("apimachinery/pkg/types"):
            return None, golang.Decl(name, golang.Package(path), {}, target="string")
        decl = self.package(path).decls.get(name)
        if decl is None:
            raise ValueError(f"{package.path}: unknown type {name}")
        if decl.alias or re.match(r"\w+\.\w+$", decl.target or ""):
            return self.resolve(decl.package, decl.target)
        return None, decl

    def shape(self, package, expr, marks):
        """Returns (rust text, facts) for a Go type expression. Facts: go_type, values, named marks."""
        facts = {"go_type": "", "values": [], "marks": {}}
        expr = expr.lstrip("*")
        if expr in SCALARS:
            return "T::" + SCALARS[expr], facts
        if expr == "[]byte":
            return "T::Bytes", facts
        if expr.startswith("[]"):
            return self.list_of(package, expr[2:], marks, False), facts
        if found := re.match(r"map\[([^\]]+)\](.+)$", expr):
            values, inner = self.shape(package, found[2], {})
            key = "" if found[1] == "string" else self.go_name(package, found[1])
            return f"T::Map(S(&Map {{ values: {values}, nullable: false, key_go_type: {borrowed(key)} }}))", facts
        special, decl = self.resolve(package, expr)
        if special:
            return "T::" + special, facts
        facts["marks"] = decl.marks
        if decl.name in UNIONS:
            return f"T::{UNIONS[decl.name]}(S(&{self.static(self.package(EXTENSIONS).decls['JSONSchemaProps'])}))", facts
        if decl.fields is not None:
            return f"T::Struct(S(&{self.static(decl)}))", facts
        # A named type of another form.
        merged = {**decl.marks, **{name: value for name, value in marks.items()}}
        if decl.target.startswith("[]") and decl.target != "[]byte":
            wrapped = list(self.message(decl).values()) != [] and decl.name in decl.package.messages
            text = self.list_of(decl.package, decl.target[2:], merged, wrapped)
        else:
            text, inner = self.shape(decl.package, decl.target, merged)
            facts["values"] = inner["values"]
        facts["go_type"] = f"{decl.package.short}.{decl.name}"
        if "enum" in decl.marks:
            values = sorted({value for kind, value in decl.package.consts.values() if kind == decl.name})
            facts["values"] = values
        return text, facts

    def go_name(self, package, expr):
        _, decl = self.resolve(package, expr)
        return f"{decl.package.short}.{decl.name}"

    def message(self, decl):
        return decl.package.messages.get(decl.name, {})

    def list_of(self, package, item, marks, wrapped):
        items, facts = self.shape(package, item, {})
        kind = {"": "Unset", "atomic": "Atomic", "set": "Set", "map": "Map"}[marks.get("listType", [""])[0]]
        keys = marks.get("listMapKey", [])
        return (f"T::List(S(&List {{ items: {items}, kind: ListKind::{kind}, keys: {names(keys)}, "
                f"wrapped: {str(wrapped).lower()}, nullable: false, item_go_type: {borrowed(facts['go_type'])}, "
                f"item_values: {names(facts['values'])} }}))")

    # structs

    def static(self, decl):
        key = (decl.package.path, decl.name)
        if key not in self.structs:
            self.structs[key] = None
            self.pending.append(decl)
        return f"g::{module_of(decl.package.path)}::{decl.name}"

    def run(self):
        kinds = []
        base = os.path.join(self.root, "k8s.io/api")
        paths = list(PACKAGES)
        for group in sorted(os.listdir(base)):
            for version in sorted(os.listdir(os.path.join(base, group)) if os.path.isdir(os.path.join(base, group)) else []):
                folder = f"{group}/{version}"
                if re.match(r"v\d", version) and group != "testdata" and not UNSERVED.match(folder):
                    paths.append(f"k8s.io/api/{folder}")
        for path in paths:
            package = self.package(path)
            if path == META:
                kinds += [("meta.k8s.io", "v1", name, package.decls[name]) for name in META_KINDS]
                kinds += [("", "v1", name, package.decls[name]) for name in UNVERSIONED]
                continue
            for name in package.kinds:
                _, decl = self.resolve(package, name)
                kinds.append((package.group, package.short, name, decl))
        for *_, decl in kinds:
            self.static(decl)
        while self.pending:
            decl = self.pending.pop()
            if decl.fields is None:
                raise ValueError(f"{decl.package.path}.{decl.name} is no struct")
            self.structs[decl.package.path, decl.name] = self.struct(decl)
        return sorted(set((group, version, name, self.static(decl)) for group, version, name, decl in kinds))

    def struct(self, decl):
        fields, numbers, order = [], set(), []
        for field in decl.fields:
            parts = field.tags.get("json", "").split(",")
            inline = "inline" in parts[1:] or (field.embedded and not parts[0])
            if parts[0] == "-" or (not inline and not parts[0]):
                self.problems.append(f"{decl.package.path}.{decl.name}.{field.name}: no JSON name")
                continue
            tag = field.tags.get("protobuf", "").split(",")
            number = int(tag[1]) if len(tag) > 1 else 0
            numbers.add(number)
            order += [(number, len(fields))] if number else []
            text, facts = self.shape(decl.package, field.type, field.marks)
            marks = {**field.marks}
            flags = PTR * field.type.startswith("*") | OMITEMPTY * ("omitempty" in parts) | OMITZERO * ("omitzero" in parts)
            flags |= INLINE * inline
            optional = "required" not in marks and ("optional" in marks or "omitempty" in parts)
            flags |= REQUIRED * (not optional and not inline)
            kind = (marks.get("structType") or marks.get("mapType") or [""])[0]
            if not kind and "T::Map" in text:
                kind = facts["marks"].get("mapType", [""])[0]
            flags |= ATOMIC * (kind == "atomic") | GRANULAR * (kind == "granular")
            strategy = field.tags.get("patchStrategy", "").split(",")
            flags |= MERGE * ("merge" in strategy) | REPLACE * ("replace" in strategy) | RETAIN * ("retainKeys" in strategy)
            default = marks.get("default", facts["marks"].get("default", [""]))[0]
            extra = self.extra(decl.package, facts, default, marks.get("featureGate", [""])[0],
                               field.tags.get("patchMergeKey", ""))
            name = field.name if inline else parts[0]
            fields.append(f"        Field {{ name: B({json.dumps(name)}), number: {number}, flags: Flags({flags}), "
                          f"shape: {text}, extra: {extra} }},\n")
        numbers.discard(0)
        if decl.package.messages and numbers != set(self.message(decl)):
            self.problems.append(f"{decl.package.path}.{decl.name}: numbers {sorted(numbers)} are "
                                 f"{sorted(self.message(decl))} in generated.proto")
        atomic = (decl.marks.get("structType") or decl.marks.get("mapType") or [""])[0] == "atomic"
        return (f"pub static {decl.name}: Type = Type {{\n    name: B({json.dumps(decl.name)}),\n    package: B(PACKAGE),\n"
                f"    atomic: {str(atomic).lower()},\n    unknown: Unknown::Drop,\n    fields: B(&[\n{''.join(fields)}    ]),\n"
                f"    by_number: B(&{[position for _, position in sorted(order)]}),\n}};\n")

    def extra(self, package, facts, default, gate, key):
        if not (facts["go_type"] or facts["values"] or default or gate or key):
            return "None"
        if found := re.match(r"ref\((\w+)\)$", default):
            default = json.dumps(package.consts[found[1]][1])
        value = json.loads(default) if default else None
        if value is None:
            default = "Default::None"
        elif isinstance(value, bool):
            default = f"Default::Bool({str(value).lower()})"
        elif isinstance(value, int):
            default = f"Default::Int({value})"
        elif isinstance(value, str):
            default = f"Default::String(B({json.dumps(value)}))"
        else:
            raise ValueError(f"default {default}")
        return (f"Some(S(&Extra {{ go_type: {borrowed(facts['go_type'])}, default: {default}, "
                f"values: {names(facts['values'])}, gate: {borrowed(gate)}, merge_key: {borrowed(key)} }}))")


def borrowed(text):
    return f"B({json.dumps(text)})" if text else "NO_NAME"


def names(values):
    return "B(&[" + ", ".join(f"B({json.dumps(value)})" for value in values) + "])" if values else "NO_NAMES"


def module_of(path):
    group, version = path.split("/")[-2:]
    return f"{group}::{version}"


HEADER = "//! Generated by `hack/schema-gen` from Kubernetes' Go types. Do not edit.\n"
USES = """
    use crate::schema::generated as g;
    use crate::schema::generated::{B, NO_NAME, NO_NAMES, S};
    use crate::schema::{Default, Extra, Field, Flags, List, ListKind, Map, Shape as T, Type, Unknown};
"""
ROOT = """
#![allow(non_upper_case_globals, missing_docs, unused_imports)]

use std::borrow::Cow;

use super::{Kind, Name};
use super::Ref::Static as S;
use std::borrow::Cow::Borrowed as B;

const NO_NAME: Name = B("");
const NO_NAMES: Cow<'static, [Name]> = B(&[]);
"""


def write(generator, kinds, target):
    groups = {}
    for (path, name), text in sorted(generator.structs.items()):
        group, version = path.split("/")[-2:]
        groups.setdefault(group, {}).setdefault((version, path), []).append(text)
    os.makedirs(target, exist_ok=True)
    for old in os.listdir(target):
        os.remove(os.path.join(target, old))
    for group, versions in groups.items():
        with open(os.path.join(target, group + ".rs"), "w", encoding="utf-8") as file:
            file.write(HEADER)
            for (version, path), texts in sorted(versions.items()):
                body = "\n".join(texts).replace("\n", "\n    ").replace("    \n", "\n").rstrip()
                file.write(f"\npub mod {version} {{{USES}\n    const PACKAGE: &str = {json.dumps(path)};\n\n    {body}\n}}\n")
    with open(os.path.join(target, "mod.rs"), "w", encoding="utf-8") as file:
        file.write(HEADER + ROOT + "\n" + "".join(f"#[rustfmt::skip]\npub mod {group};\n" for group in sorted(groups)))
        file.write("\n/// All built-in kinds, sorted by group, version and kind.\npub(super) static KINDS: &[Kind] = &[\n")
        for group, version, kind, static in kinds:
            static = static.removeprefix("g::")
            file.write(f'    Kind {{ group: "{group}", version: "{version}", kind: "{kind}", ty: &{static} }},\n')
        file.write("];\n")


def check_openapi(generator, checkout):
    """Compares property names and required lists with the published OpenAPI document."""
    with open(os.path.join(checkout, "api/openapi-spec/swagger.json"), encoding="utf-8") as file:
        definitions = json.load(file)["definitions"]
    checked = 0
    for (path, name) in sorted(generator.structs):
        host, rest = path.split("/", 1)
        model = ".".join(reversed(host.split("."))) + "." + rest.replace("/", ".") + "." + name
        model = model.replace("io.k8s.api.", "io.k8s.api.", 1)
        if model not in definitions or "properties" not in definitions[model]:
            continue
        checked += 1
        ours, required = set(), set()
        collect(generator, generator.package(path).decls[name], ours, required)
        theirs = definitions[model]
        if ours != set(theirs["properties"]):
            generator.problems.append(f"{model}: properties differ: {ours ^ set(theirs['properties'])}")
        if required != set(theirs.get("required", [])):
            generator.problems.append(f"{model}: required differ: {required ^ set(theirs.get('required', []))}")
    print(f"{checked} of {len(generator.structs)} types compared with OpenAPI")


def collect(generator, decl, ours, required):
    for field in decl.fields:
        parts = field.tags.get("json", "").split(",")
        if "inline" in parts[1:] or (field.embedded and not parts[0]):
            _, inner = generator.resolve(decl.package, field.type)
            collect(generator, inner, ours, required)
            continue
        ours.add(parts[0])
        if "required" in field.marks or not ("optional" in field.marks or "omitempty" in parts):
            required.add(parts[0])


def main():
    checkout = sys.argv[1]
    generator = Generator(checkout)
    kinds = generator.run()
    target = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../proto/src/schema/generated")
    write(generator, kinds, target)
    check_openapi(generator, checkout)
    print(f"{len(kinds)} kinds")
    for problem in generator.problems:
        print("problem:", problem)


if __name__ == "__main__":
    main()
