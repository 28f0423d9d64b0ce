#!/usr/bin/env bash
# Every check of this repository, on a machine that may be fresh. Ends with what each of them said last.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
. scripts/packages.sh

[ "$#" -eq 0 ] || die "test has no options: for a part of it call cargo test with a filter"

# Tests hang, or they are done in this time on two cores, also beside noisy neighbours. Building is not counted.
test_limit_seconds=1800
demo_limit_seconds=180
logs=target/test-logs
closing=()

# run NAME COMMAND...: one check, its output kept.
run() {
    local name=$1 began=$SECONDS
    shift
    step "$name"
    "$@" || die "$name failed: $*"
    closing+=("ok: $name ($((SECONDS - began)) s)")
    say "($((SECONDS - began)) s)"
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
    (cd web && npm run --if-present check && npm run --if-present test && npm run test-page) </dev/null
}

check_scripts() { shellcheck -x dev .ci/run scripts/*.sh benches/*.sh && find fixtures tests -name '*.sh' -exec shellcheck -x {} +; }

# The image has no engine here to build it: what can be seen without one is looked at.
check_dockerfile() {
    local pattern
    for pattern in '^FROM .* AS ' '^USER ' '^HEALTHCHECK ' '^VOLUME ' '^ENTRYPOINT \['; do
        grep -qE "$pattern" Dockerfile || die "Dockerfile has no line like $pattern"
    done
    if grep -nE '^FROM [^ ]+:latest|^FROM [^: ]+$' Dockerfile; then die "Dockerfile: a base image without a version"; fi
    # The image of Rust has build-essential already.
    diff <(dockerfile_packages build | sort) \
        <(printf '%s\n' "${packages_build[@]}" | grep -vx build-essential | sort) ||
        die "Dockerfile installs other packages to build with (<) than scripts/packages.sh (>)"
    diff <(dockerfile_packages run | sed 's/[0-9]*$//' | grep -vx ca-certificates | sort) \
        <(printf '%s\n' "${packages_build[@]}" | grep -vx libclang-dev | sed -n 's/^\(lib.*\)-dev$/\1/p' | sort) ||
        die "Dockerfile installs other libraries to run with (<) than the daemon is built with (>)"
    local source
    while read -r source; do
        [ -e "$source" ] || die "Dockerfile copies $source, which is not here"
    done < <(sed -n 's/^COPY \([^-].*\) [^ ]*$/\1/p' Dockerfile | tr ' ' '\n')
}

# dockerfile_packages STAGE: what apt-get installs in it.
dockerfile_packages() {
    awk -v stage="$1" '
        /^FROM / { inside = $NF == stage }
        inside && sub(/.*apt-get install .*--no-install-recommends/, "") { listing = 1 }
        listing { for (i = 1; i <= NF; i++) if ($i == "&&") { listing = 0; break } else if ($i != "\\") print $i }
    ' Dockerfile
}

# The demo to its end: it fails itself when a rung is missing or a frame was lost.
smoke() {
    timeout --kill-after=10 "$demo_limit_seconds" \
        scripts/demo.sh --profile dev --seconds 12 --http 127.0.0.1:0 --rtmp 127.0.0.1:0 --srt 127.0.0.1:0
}

demo_plays() { grep -qs '^Ctrl-C stops' "$logs/demo" || gone "$1"; }

# The demo ended by Ctrl-C: in order, and nothing that it started is left.
smoke_interrupted() {
    local demo status=0 pids=() pid
    # A shell ignores SIGINT for what it starts in the background, and ignored signals are handed on: env takes that back.
    env --default-signal=INT scripts/demo.sh --profile dev --http 127.0.0.1:0 --rtmp 127.0.0.1:0 --srt 127.0.0.1:0 >"$logs/demo" 2>&1 &
    demo=$!
    if wait_until "$demo_limit_seconds" demo_plays "$demo" && alive "$demo"; then
        mapfile -t pids <target/demo-data/pids
        kill -INT "$demo"
    fi
    # Signalled or not: it ends in time, or is ended, and takes what it started along.
    wait_until "$demo_limit_seconds" gone "$demo" || kill -TERM "$demo"
    wait "$demo" || status=$?
    cat "$logs/demo"
    [ "${#pids[@]}" -eq 2 ] || die "the demo did not come as far as to be interrupted"
    for pid in "${pids[@]}"; do
        gone "$pid" || die "process $pid is left of the demo"
    done
    return "$status"
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
run "documentation of the code" env RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --quiet
run "build of the tests" cargo test --no-run --quiet
run "tests" guarded_tests
run "demo" smoke
run "demo, interrupted" smoke_interrupted

step "All checks passed in $SECONDS s"
printf '%s\n' "${closing[@]}"
grep -E '^test result: ' "$logs/tests"
