#!/usr/bin/env bash
# Puts everything a node needs into one prefix: programs below bin, image archives below images.
#
#   hack/install.sh PREFIX [TOOLS]
#
# TOOLS is where hack/tools.sh puts what others made (PREFIX by default): kept apart, it serves many installations.
# A new PREFIX is marked as ours, so that hack/uninstall.sh may remove it.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/hack/lib.sh"
prefix=${1:?usage: hack/install.sh PREFIX [TOOLS]}
tools=${2:-$prefix}

[ -e "$prefix" ] || { mkdir -p "$prefix" && touch "$prefix/.keelson"; }
echo "[1/3] Tools: etcd, containerd, kubectl"
"$root/hack/tools.sh" "$tools"
if [ ! "$tools" -ef "$prefix" ]; then
    mkdir -p "$prefix/bin"
    for part in root bin/etcd bin/etcdctl bin/containerd bin/containerd-shim-runc-v2 bin/ctr bin/kubectl; do
        [ -e "$prefix/$part" ] || cp -a "$tools/$part" "$prefix/$part"
    done
fi
echo "[2/3] Daemons and images (the first build takes some minutes)"
"$root/hack/images.sh" "$prefix/images" "$prefix"
echo "[3/3] Programs"
bin=${CARGO_TARGET_DIR:-$root/target}/$(host_triple)/release
# kube-proxy and the cloud-controller-manager run from images; a node keeps them to clean up after themselves.
for program in kubelet keelsonadm kube-proxy cloud-controller-manager; do
    install -m 0755 "$bin/$program" "$prefix/bin/.$program.new"
    mv "$prefix/bin/.$program.new" "$prefix/bin/$program"
done
