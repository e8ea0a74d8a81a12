#!/usr/bin/env bash
# Builds release binaries and measures them. UPSTREAM_APISERVER names upstream's kube-apiserver to compare with, if you have one.
#
#   KEELSON_TOOLS=PREFIX hack/bench.sh [OPTION OF bench ...]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/hack/lib.sh"
tools=${KEELSON_TOOLS:-$root/.tools}
bin=$(build_static "$root")
against=()
[ -z "${UPSTREAM_APISERVER:-}" ] || against=(--against "$UPSTREAM_APISERVER")
exec "$bin/bench" --apiserver "$bin/kube-apiserver" --etcd "$tools/bin/etcd" "${against[@]}" "$@"
