#!/usr/bin/env bash
# Builds release binaries and measures them. UPSTREAM_BIN names a folder with upstream's daemons to compare with, if you have them.
#
#   KEELSON_TOOLS=PREFIX hack/bench.sh [OPTION OF bench ...]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/hack/lib.sh"
tools=${KEELSON_TOOLS:-$root/.tools}
bin=$(build_static "$root")
against=()
[ -z "${UPSTREAM_BIN:-}" ] || against=(--against "$UPSTREAM_BIN")
exec "$bin/bench" --bin "$bin" --etcd "$tools/bin/etcd" "${against[@]}" "$@"
