#!/usr/bin/env bash
# Fuzzes the readers of strangers' bytes with libFuzzer and AddressSanitizer. What the targets assert: tests/fuzz/README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
. scripts/packages.sh

# A committed corpus may hold this much; tests/fuzz.rs refuses more.
corpus_kib=190
minutes=15
minimise=
wanted=()
while [ "$#" -gt 0 ]; do
    case "$1" in
        --minutes)
            need_number "$@"
            minutes=$2
            shift 2
            ;;
        --minimise)
            minimise=yes
            shift
            ;;
        -*) die "fuzz has no option \"$1\": see ./dev --help" ;;
        *)
            wanted+=("$1")
            shift
            ;;
    esac
done

targets=()
for file in tests/fuzz/targets/*.rs; do
    name=$(basename "$file" .rs)
    [ "$name" = source ] || targets+=("$name")
done
for name in "${wanted[@]}"; do
    [ -f "tests/fuzz/fuzz_targets/$name.rs" ] || die "there is no target \"$name\": ${targets[*]}"
done
[ "${#wanted[@]}" -eq 0 ] || targets=("${wanted[@]}")

# Instrumentation is a nightly option. A nightly that is too old for the crates is no help; then stable is told to allow it.
choose_toolchain() {
    local oldest found
    oldest=$(sed -n 's/^rust-version = "\([0-9.]*\)".*/\1/p' tests/fuzz/Cargo.toml)
    found=$(have rustup && rustc +nightly --version 2>/dev/null | awk '{ print $2 }')
    if [ -n "$found" ] && [ "$(printf '%s\n' "$oldest" "${found%%-*}" | sort -V | head -n 1)" = "$oldest" ]; then
        export RUSTUP_TOOLCHAIN=nightly
    else
        export RUSTC_BOOTSTRAP=1
    fi
}

# What a run learns stays in target/; the committed corpus is where it begins.
fuzz() {
    local name=$1
    mkdir -p "$learned/$name" "$findings/$name"
    step "$name: $minutes minutes"
    "$binaries/$name" "$learned/$name" "$committed/$name" -artifact_prefix="$findings/$name/" \
        -max_total_time=$((minutes * 60)) -max_len=16384 -rss_limit_mb=2048 -timeout=20 \
        -print_final_stats=1 2>&1 | tee "$learned/$name.log" | grep -aE '^(#[0-9]+.*(pulse|DONE)|stat::)|panicked|SUMMARY|Test unit' ||
        die "$name has a finding in $findings/$name, its words are in $learned/$name.log"
}

# The smallest set of inputs that reaches what all known inputs reach, and of that the small ones, up to the size of a corpus.
# Seeds stay.
minimise() {
    local name=$1 fresh=$learned/$1.merged used size
    rm -rf "$fresh"
    mkdir -p "$fresh" "$learned/$name"
    step "$name: minimise"
    "$binaries/$name" -merge=1 -max_len=8192 "$fresh" "$committed/$name" "$learned/$name" >"$fresh.log" 2>&1 ||
        die "merging failed: $fresh.log"
    find "$committed/$name" -type f ! -name 'seed-*' -delete
    used=$(find "$committed/$name" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum + 0 }')
    while read -r size file; do
        used=$((used + size))
        [ "$used" -le $((corpus_kib * 1024)) ] || break
        cp "$file" "$committed/$name/"
    done < <(find "$fresh" -type f -printf '%s %p\n' | sort -n)
    say "$(find "$committed/$name" -type f | wc -l) inputs, $(du -sb "$committed/$name" | cut -f1) bytes"
}

need_rust
choose_toolchain
have cargo-fuzz || cargo install --locked cargo-fuzz
export CARGO_TARGET_DIR=$root/target/fuzz
# The threads of the journal's runtime live until the process ends, which the leak checker takes for leaks.
export ASAN_OPTIONS=detect_leaks=0
committed=tests/fuzz/corpus
learned=target/fuzz/corpus
findings=target/fuzz/findings
host=$(rustc -vV | sed -n 's/^host: //p')
binaries=$CARGO_TARGET_DIR/$host/release
step "Build of the targets"
cargo fuzz build --fuzz-dir tests/fuzz
for name in "${targets[@]}"; do
    if [ -n "$minimise" ]; then minimise "$name"; else fuzz "$name"; fi
done
