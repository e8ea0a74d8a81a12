#!/usr/bin/env bash
# Builds the images of the example application, and the toolbox that tests run commands in.
#
#   e2e/images.sh OUT
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/hack/lib.sh"
out=${1:?usage: e2e/images.sh OUT}
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

bin=$(build_static "$root")

image() { # NAME CONTEXT
    "$bin/images" build --file "$root/e2e/images/$1/Containerfile" --context "$2" \
        --tag "registry.k8s.io/e2e/$1:1" --output "$out/e2e-$1.tar"
}

# Unpacks Debian packages and the libraries that they depend on.
unpack() { # FOLDER PACKAGE...
    local folder=$1 deb
    shift
    local libraries
    libraries=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
        --no-enhances "$@" | { grep -E '^lib[a-z0-9.+-]*$' || true; } | sort -u)
    mkdir -p "$folder/debs" "$folder/all"
    # shellcheck disable=SC2086
    (cd "$folder/debs" && apt-get -qq -o APT::Sandbox::User=root download "$@" $libraries)
    for deb in "$folder"/debs/*.deb; do dpkg-deb -x "$deb" "$folder/all"; done
}

# Copies one program with its libraries from an unpacked tree.
program() { # FOLDER PATH
    local folder=$1 path=$2 library
    install -D "$(readlink -f "$folder/all$path")" "$folder/rootfs$path"
    local libs
    libs=$(find "$folder/all" -type d -path '*/lib/*-linux-gnu' | paste -sd:)
    { LD_LIBRARY_PATH=$libs ldd "$folder/rootfs$path" || true; } | grep -oE '/[^ )]+' | sort -u | while read -r library; do
        # Found in the unpacked tree or on this machine: in the image it lies where the loader looks.
        install -D "$(readlink -f "$library")" "$folder/rootfs${library#"$folder/all"}"
    done
}

apt-cache show nginx >/dev/null 2>&1 || apt-get -qq update

image guestbook "$bin"

unpack "$work/nginx" nginx nginx-common
program "$work/nginx" /usr/sbin/nginx
install -D "$work/nginx/all/etc/nginx/mime.types" "$work/nginx/rootfs/etc/nginx/mime.types"
mkdir -p "$work/nginx/rootfs/var/lib/nginx" "$work/nginx/rootfs/var/log/nginx" "$work/nginx/rootfs/run"
printf 'root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n' >"$work/nginx/rootfs/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$work/nginx/rootfs/etc/group"
image nginx "$work/nginx"

unpack "$work/redis" redis-server redis-tools
program "$work/redis" /usr/bin/redis-server
program "$work/redis" /usr/bin/redis-cli
image redis "$work/redis"

# The static busybox can't look names up: glibc loads parts for that at run time.
unpack "$work/toolbox" busybox
busybox=$(cd "$work/toolbox/all" && find . -path '*bin/busybox' -type f | sed 's/^\.//')
program "$work/toolbox" "$busybox"
mkdir -p "$work/toolbox/rootfs/bin"
for applet in $("$work/toolbox/all$busybox" --list); do
    [ "/bin/$applet" = "$busybox" ] || ln -s "$busybox" "$work/toolbox/rootfs/bin/$applet"
done
mkdir -p "$work/toolbox/rootfs/tmp" "$work/toolbox/rootfs/etc"
printf 'root:x:0:0:root:/:/bin/sh\n' >"$work/toolbox/rootfs/etc/passwd"
image toolbox "$work/toolbox"
