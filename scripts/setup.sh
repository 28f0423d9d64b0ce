#!/usr/bin/env bash
# Set-up alone: what ./dev demo and ./dev test do before their work.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
. scripts/packages.sh

need_packages "${packages_build[@]}" "${packages_run[@]}" "${packages_test[@]}"
need_rust
need_browser
build_front_end
say "Everything is there."
