"""Reads the type declarations of Kubernetes' API packages from Go source.

Only what API packages contain is understood: structs with tagged fields, named types, string constants and
scheme registrations. Anything else in a type is an error, so that a change upstream is noticed.
"""

import os
import re
from dataclasses import dataclass, field


@dataclass
class Field:
    name: str  # the Go name; of an embedded field its type's
    type: str  # the Go type expression
    tags: dict
    marks: dict  # "+name=value" comments: name -> values
    embedded: bool


@dataclass
class Decl:
    name: str
    package: "Package"
    marks: dict
    fields: list = None  # of a struct
    target: str = None  # of another named type
    alias: bool = False


@dataclass
class Package:
    path: str
    group: str = None
    decls: dict = field(default_factory=dict)
    imports: dict = field(default_factory=dict)  # alias -> path
    consts: dict = field(default_factory=dict)  # name -> (type or None, value)
    kinds: list = field(default_factory=list)
    messages: dict = field(default_factory=dict)  # protobuf message -> {number: field}

    @property
    def short(self):
        return self.path.rsplit("/", 1)[-1]


def marks_of(comments):
    marks = {}
    for line in comments:
        if found := re.match(r"//\s*\+([A-Za-z0-9:]+)(?:=(.*))?$", line):
            marks.setdefault(found[1], []).append((found[2] or "").strip())
    return marks


def parse_package(root, path):
    """Reads all of a package's files."""
    package = Package(path)
    folder = os.path.join(root, path)
    for name in sorted(os.listdir(folder)):
        if name.endswith("_test.go") or name.startswith("zz_") or name == "generated.pb.go":
            continue
        if name.endswith(".go"):
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                parse_file(package, file.read())
    proto = os.path.join(folder, "generated.proto")
    if os.path.exists(proto):
        with open(proto, encoding="utf-8") as file:
            parse_proto(package, file.read())
    return package


def parse_file(package, text):
    for found in re.finditer(r'^\s+(?:(\w+) )?"([^"]+)"$', text.split("\ntype ", 1)[0], re.M):
        package.imports[found[1] or found[2].rsplit("/", 1)[-1]] = found[2]
    if found := re.search(r'^const GroupName = "(.*)"', text, re.M):
        package.group = found[1]
    for call in re.finditer(r"scheme\.AddKnownTypes\(\s*SchemeGroupVersion,(.*?)\n?\s*\)", text, re.S):
        package.kinds += re.findall(r"&([A-Z]\w*)\{\}", call[1])
    parse_consts(package, text)
    lines = text.split("\n")
    at, comments, group = 0, [], False
    while at < len(lines):
        line = lines[at].strip()
        at += 1
        if line.startswith("//"):
            comments.append(line)
        elif lines[at - 1] == "type (":
            group = True
        elif group and line == ")":
            group = False
        elif found := re.match(r"(?:type )?(\w+) (= )?(.+)$", line) if group or line.startswith("type ") else None:
            decl = Decl(found[1], package, marks_of(comments), alias=bool(found[2]))
            kind = re.sub(r"\s*//.*", "", found[3]).strip()
            if kind == "struct {":
                at, decl.fields = parse_struct(lines, at)
            elif kind == "struct{}":
                decl.fields = []
            elif not kind.startswith(("interface", "func")):
                decl.target = kind
            if decl.fields is not None or decl.target:
                package.decls[decl.name] = decl
            comments = []
        elif line:
            comments = []
        # Blank lines keep the comments: markers of a type may stand apart from its docs.


def parse_struct(lines, at):
    fields, comments = [], []
    while True:
        line = lines[at].strip()
        at += 1
        if line == "}":
            return at, fields
        if line.startswith("//"):
            comments.append(line)
            continue
        found = re.match(r"(?:(\w+)\s+)?([^\s`]+)\s*`(.*)`\s*(?://.*)?$", line)
        if found:
            name, kind, tag = found.groups()
            tags = dict(re.findall(r'(\w+):"((?:[^"\\]|\\.)*)"', tag or ""))
            embedded = name is None
            fields.append(Field(name or kind.split(".")[-1].lstrip("*"), kind, tags, marks_of(comments), embedded))
        comments = []


def parse_consts(package, text):
    for block in re.finditer(r"^const \((.*?)^\)|^const (\w+ [^\n]*)", text, re.S | re.M):
        kind = None
        for line in (block[1] or block[2]).split("\n"):
            found = re.match(r'\s*(\w+)\s*(\w+(?:\.\w+)?)?\s*=\s*(?:(\w+)\()?"((?:[^"\\]|\\.)*)"\)?\s*(?://.*)?$', line)
            if found:
                kind = found[2] or found[3]
                package.consts[found[1]] = (kind, found[4])
    # Names for other constants: X T = Y
    for name, kind, other in re.findall(r"^\s*(\w+)\s+(\w+)\s*=\s*(\w+)\s*$", text, re.M):
        if other in package.consts:
            package.consts[name] = (kind, package.consts[other][1])


def parse_proto(package, text):
    for name, body in re.findall(r"^message (\w+) \{\n(.*?)^\}", text, re.S | re.M):
        fields = re.findall(r"^\s+(optional|repeated|required|map)\s?(.*?)\s+(\w+) = (\d+);", body, re.M)
        package.messages[name] = {int(number): (label, kind.strip(), field) for label, kind, field, number in fields}
