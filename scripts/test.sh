#!/usr/bin/env bash
# Every check of this repository, on a machine that may be fresh. Ends with what each of them said last.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
. scripts/packages.sh

[ "$#" -eq 0 ] || die "test has no options: for a part of it call cargo test with a filter"

# Tests hang, or they are done in this time on two cores. Building is not counted.
test_limit_seconds=900
demo_limit_seconds=180
logs=target/test-logs
closing=()

# run NAME COMMAND...: one check, its output kept.
run() {
    local name=$1
    shift
    step "$name"
    "$@" || die "$name failed: $*"
    closing+=("ok: $name")
}

# guarded_tests: the tests, killed and named when they hang.
guarded_tests() {
    local status=0 guard
    # timeout has a process group of its own, which Ctrl-C does not reach: it is told.
    timeout --kill-after=10 "$test_limit_seconds" cargo test > >(tee "$logs/tests") 2>&1 &
    guard=$!
    trap 'kill -TERM "$guard"; exit 130' INT TERM
    wait "$guard" || status=$?
    trap - INT TERM
    if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
        sleep 1 # for tee to write its last lines
        say ""
        say "The tests did not end within $test_limit_seconds s and were killed. Begun and not ended:"
        unfinished | sed 's/^/  /'
    fi
    return "$status"
}

# unfinished: tests that libtest has warned about and that have no result.
unfinished() {
    sed -n 's/^test \(.*\) has been running for over .*/\1/p' "$logs/tests" | sort -u |
        while read -r name; do grep -q "^test $name \.\.\. " "$logs/tests" || say "$name"; done
}

check_front_end() {
    [ -f web/package.json ] || return 0
    need_node || return 0
    (cd web && npm run --if-present check && npm run --if-present test) </dev/null
}

check_scripts() { shellcheck -x dev .ci/run scripts/*.sh benches/*.sh && find fixtures tests -name '*.sh' -exec shellcheck -x {} +; }

# The image has no engine here to build it: what can be seen without one is looked at.
check_dockerfile() {
    local pattern
    for pattern in '^FROM .* AS ' '^USER ' '^HEALTHCHECK ' '^VOLUME ' '^ENTRYPOINT \['; do
        grep -qE "$pattern" Dockerfile || die "Dockerfile has no line like $pattern"
    done
    if grep -nE '^FROM [^ ]+:latest|^FROM [^: ]+$' Dockerfile; then die "Dockerfile: a base image without a version"; fi
    local source
    while read -r source; do
        [ -e "$source" ] || die "Dockerfile copies $source, which is not here"
    done < <(sed -n 's/^COPY \([^-].*\) [^ ]*$/\1/p' Dockerfile | tr ' ' '\n')
}

smoke() {
    timeout --kill-after=10 "$demo_limit_seconds" \
        scripts/demo.sh --profile dev --seconds 12 --http 127.0.0.1:0 --rtmp 127.0.0.1:0
}

mkdir -p "$logs"
step "Set-up"
need_packages "${packages_build[@]}" "${packages_run[@]}" "${packages_test[@]}"
need_rust
need_browser
run "front end" build_front_end
run "front end: types and tests" check_front_end
run "scripts: shellcheck" check_scripts
run "Dockerfile" check_dockerfile
run "format" cargo fmt --all --check
run "format of the fuzz targets" cargo fmt --manifest-path tests/fuzz/Cargo.toml --check
run "clippy" cargo clippy --all-targets --quiet -- -D warnings
run "build of the tests" cargo test --no-run --quiet
run "tests" guarded_tests
run "demo" smoke

step "All checks passed"
printf '%s\n' "${closing[@]}"
grep -E '^test result: ' "$logs/tests"
