#!/usr/bin/env bash
# Builds every image as an OCI archive, without an engine.
#
#   hack/images.sh OUT TOOLS     OUT: the folder for the archives; TOOLS: the prefix that hack/tools.sh filled
#
# IMAGE_REPOSITORY and VERSION choose the names; the defaults are what kubeadm's manifests use.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/hack/lib.sh"

out=${1:?usage: hack/images.sh OUT TOOLS}
tools=${2:?usage: hack/images.sh OUT TOOLS}
repository=${IMAGE_REPOSITORY:-registry.k8s.io}
version=${VERSION:-v1.36.2}
mkdir -p "$out"

daemons="kube-apiserver:apiserver kube-scheduler:scheduler kube-controller-manager:controller-manager
    kube-proxy:kube-proxy cluster-dns:cluster-dns"

bin=$(build_static "$root")

image() { # CONTAINERFILE CONTEXT TAG
    local name=${3##*/}
    "$bin/images" build --file "$1" --context "$2" --tag "$3" --output "$out/${name%%:*}.tar"
}

for daemon in $daemons; do
    image "$root/${daemon##*:}/Containerfile" "$bin" "$repository/${daemon%%:*}:$version"
done
image "$root/hack/pause/Containerfile" "$bin" "$repository/pause:3.10.1"

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
for program in etcd etcdctl; do
    install -D "$(readlink -f "$tools/bin/$program")" "$context/rootfs/usr/local/bin/$program"
    copy_libraries "$context/rootfs/usr/local/bin/$program" "$context/rootfs"
done

install -D "$bin/cloud-controller-manager" "$context/cloud-controller-manager"
install -D /usr/sbin/nft "$context/nft/usr/sbin/nft"
copy_libraries "$context/nft/usr/sbin/nft" "$context/nft"
image "$root/cloud-controller-manager/Containerfile" "$context" "$repository/cloud-controller-manager:$version"

image "$root/hack/images/etcd/Containerfile" "$context" "$repository/etcd:3.5.16-0"
