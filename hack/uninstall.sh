#!/usr/bin/env bash
# Removes what hack/install.sh put into a prefix. A folder that was there before is left alone.
#
#   hack/uninstall.sh PREFIX
set -euo pipefail
prefix=${1:?usage: hack/uninstall.sh PREFIX}
[ ! -e "$prefix/.keelson" ] || rm -rf "$prefix"
