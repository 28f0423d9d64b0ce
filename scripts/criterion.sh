#!/usr/bin/env bash
# The criterion benches. Arguments go to cargo bench: a name of a bench behind --bench, a filter alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
. scripts/packages.sh

need_packages "${packages_build[@]}"
need_rust
exec cargo bench --benches "$@"
