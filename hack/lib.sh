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

# Builds the static release binaries; prints the folder they are in. Always all of them in one go: asked for a few, cargo would
# choose other features for what they share, and build that again.
build_static() { # ROOT
    local root=$1 triple variable
    triple=$(host_triple)
    variable=CARGO_TARGET_$(echo "$triple" | tr 'a-z-' 'A-Z_')_RUSTFLAGS
    (cd "$root" && env "$variable=-C target-feature=+crt-static" \
        cargo build --release --target "$triple" --workspace --exclude e2e --bins >&2) || return
    echo "${CARGO_TARGET_DIR:-$root/target}/$triple/release"
}
