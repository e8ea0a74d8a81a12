# Shared by the scripts of this folder.

# Copies the shared libraries and the loader that a dynamic program needs below a root.
copy_libraries() { # PROGRAM ROOT
    local library
    { ldd "$1" 2>/dev/null || true; } | grep -oE '/[^ )]+' | sort -u | while read -r library; do
        [ -e "$2$library" ] || install -D "$(readlink -f "$library")" "$2$library"
    done
}

# The target triple of this machine; naming it lets the static flag stay off build scripts and macros.
host_triple() { rustc -vV | sed -n 's/^host: //p'; }

# Builds static release binaries of the given packages; prints the folder they are in.
build_static() { # ROOT PACKAGE...
    local root=$1 triple variable p
    shift
    triple=$(host_triple)
    variable=CARGO_TARGET_$(echo "$triple" | tr 'a-z-' 'A-Z_')_RUSTFLAGS
    local packages=()
    for p in "$@"; do packages+=(-p "$p"); done
    (cd "$root" && env "$variable=-C target-feature=+crt-static" \
        cargo build --release --target "$triple" "${packages[@]}" >&2)
    echo "${CARGO_TARGET_DIR:-$root/target}/$triple/release"
}
