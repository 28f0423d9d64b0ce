#!/usr/bin/env bash
# The long form of the frame tests: the same questions, asked of minutes instead of seconds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
. scripts/packages.sh

minutes=10
while [ "$#" -gt 0 ]; do
    case "$1" in
        --minutes)
            need_number "$@"
            minutes=$2
            shift 2
            ;;
        *) die "soak has no option \"$1\": see ./dev --help" ;;
    esac
done
# A frame carries its number in 16 bits.
[ "$minutes" -le 36 ] || die "--minutes can be 36 at most: a frame's number has 16 bits"

need_packages "${packages_build[@]}" "${packages_run[@]}"
need_rust
step "$minutes minutes through an encoded ladder: every frame, sound with picture, cuts, durations"
E2E_SECONDS=$((minutes * 60)) cargo test --release --test e2e ladder:: -- --skip full_ladder:: --nocapture
