#!/usr/bin/env python3
"""Checks deny.toml: licenses, banned crates and sources of every dependency.

cargo-deny reads the same file and knows more, but takes minutes to build, and its advisories need a database from outside.
"""

import json
import platform
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def allowed(expression: str, allow: set[str]) -> bool:
    """Whether an SPDX expression (or the older `A/B`) can be met with the licenses in `allow`."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def either() -> bool:
        met = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            met = both() or met
        return met

    def both() -> bool:
        met = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            met = one() and met
        return met

    def one() -> bool:
        token = tokens.pop(0)
        if token == "(":
            met = either()
            tokens.pop(0)
            return met
        if tokens and tokens[0] == "WITH":
            token += " WITH " + tokens[1]
            del tokens[:2]
        return token in allow

    return either()


def main() -> int:
    rules = tomllib.loads((ROOT / "deny.toml").read_text())
    target = f"{platform.machine()}-unknown-linux-gnu"
    metadata = json.loads(
        subprocess.check_output(
            ["cargo", "metadata", "--format-version=1", "--locked", f"--filter-platform={target}"], cwd=ROOT
        )
    )
    used = {node["id"] for node in metadata["resolve"]["nodes"]}
    allow = set(rules["licenses"]["allow"])
    registries = set(rules["sources"]["allow-registry"])
    banned = {rule["crate"]: rule["reason"] for rule in rules["bans"]["deny"]}
    problems = []
    for package in metadata["packages"]:
        if package["id"] not in used:
            continue
        name = f"{package['name']} {package['version']}"
        if not package["license"]:
            problems.append(f"{name}: states no license")
        elif not allowed(package["license"], allow):
            problems.append(f"{name}: its license, {package['license']}, is not among {', '.join(sorted(allow))}")
        if package["name"] in banned:
            problems.append(f"{name}: banned, {banned[package['name']]}")
        source = package["source"]
        if source and source.removeprefix("registry+") not in registries:
            problems.append(f"{name}: comes from {source}")
    for problem in problems:
        print(f"deny.toml: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
