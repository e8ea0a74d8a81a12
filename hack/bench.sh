#!/usr/bin/env bash
# Builds release binaries and images, and measures them. UPSTREAM_BIN names a folder with upstream's daemons to compare with, if
# you have them; docs/performance.md says what is measured and how.
#
#   KEELSON_TOOLS=PREFIX hack/bench.sh [OPTION OF bench ...]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/hack/lib.sh"
export KEELSON_TOOLS=${KEELSON_TOOLS:-$root/.tools}
# A cluster is made from the prefix; installing builds everything, bench too.
"$root/hack/install.sh" "$KEELSON_TOOLS" >&2
bin=${CARGO_TARGET_DIR:-$root/target}/$(host_triple)/release
against=()
[ -z "${UPSTREAM_BIN:-}" ] || against=(--against "$UPSTREAM_BIN")
exec "$bin/bench" --bin "$bin" --etcd "$KEELSON_TOOLS/bin/etcd" "${against[@]}" "$@"
