#!/usr/bin/env bash
# Puts everything a node needs into one prefix: programs below bin, image archives below images.
#
#   hack/install.sh PREFIX
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/hack/lib.sh"
prefix=${1:?usage: hack/install.sh PREFIX}

echo "[1/3] Tools: etcd, containerd, kubectl"
"$root/hack/tools.sh" "$prefix"
echo "[2/3] Daemons and images (the first build takes some minutes)"
"$root/hack/images.sh" "$prefix/images" "$prefix"
echo "[3/3] Programs"
bin=${CARGO_TARGET_DIR:-$root/target}/$(host_triple)/release
# kube-proxy and the cloud-controller-manager run from images; a node keeps them to clean up after themselves.
for program in kubelet keelsonadm kube-proxy cloud-controller-manager; do
    install -m 0755 "$bin/$program" "$prefix/bin/.$program.new"
    mv "$prefix/bin/.$program.new" "$prefix/bin/$program"
done
