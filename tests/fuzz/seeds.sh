#!/usr/bin/env bash
# Writes the seeds of all targets into corpus/ anew: from fixtures/, from presets/, and made by hand (examples/seeds.rs).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
CARGO_TARGET_DIR=../../target/fuzz exec cargo run --example seeds "$@"
