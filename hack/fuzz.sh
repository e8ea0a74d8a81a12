#!/bin/sh
# usage: hack/fuzz.sh SECONDS [TARGET...]: libFuzzer on each target (default: all) for so long.
# Needs cargo-fuzz and a C++ compiler; the stable toolchain does. Inputs that break a target stay in fuzz/libfuzzer/artifacts.
set -eu
cd "$(dirname "$0")/.."
seconds=$1
shift
all=$(cargo run -q -p fuzz --example seeds -- fuzz/libfuzzer/corpus)
[ $# -gt 0 ] || set -- $all
# The same versions of dependencies as everything else.
cp Cargo.lock fuzz/libfuzzer/Cargo.lock
cd fuzz/libfuzzer
cargo fuzz build --fuzz-dir . -s none target
broken=
for name; do
    mkdir -p "artifacts/$name" "corpus/$name"
    echo "== $name"
    # An input may take 10 s and 64 MiB at once; the whole process 1 GiB.
    FUZZ_TARGET=$name "target/$(rustc -vV | sed -n 's/host: //p')/release/target" "corpus/$name" \
        -max_total_time="$seconds" -timeout=10 -malloc_limit_mb=64 -rss_limit_mb=1024 -max_len=8192 \
        -artifact_prefix="artifacts/$name/" -print_final_stats=1 -verbosity=0 || broken="$broken $name"
done
[ -z "$broken" ] || { echo "broken:$broken" >&2; exit 1; }
