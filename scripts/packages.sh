# shellcheck shell=bash disable=SC2034,SC2154
# System packages, toolchain and front end: what a fresh Debian or Ubuntu lacks, named before it is installed. Sourced.

# What the daemon is built and linked with.
packages_build=(build-essential pkg-config clang libclang-dev
    libavcodec-dev libavformat-dev libavfilter-dev libavutil-dev libavdevice-dev libswscale-dev libswresample-dev)
# What pushes and looks: the encoder, an HTTP client, a font for the clock in the picture.
packages_run=(ffmpeg curl fonts-dejavu-core)
# What makes certificates.
packages_tls=(openssl)
# What only tests want: a linter, and programs that push over SRT besides FFmpeg.
packages_test=(shellcheck srt-tools gstreamer1.0-tools gstreamer1.0-plugins-bad)
# What is measured against.
packages_bench=(nginx libnginx-mod-rtmp)

node_wanted=18

# need_packages PACKAGE...: installs those that are missing.
need_packages() {
    if ! have apt-get; then
        warn "there is no apt-get here; these packages of Debian, or their likes, must be there: $*"
        return
    fi
    local package missing=()
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    [ "${#missing[@]}" -gt 0 ] || return 0
    say "These system packages are missing and will be installed with apt-get: ${missing[*]}"
    as_root apt-get update -q </dev/null
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" </dev/null
}

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null)" = 'ii ' ]; }

# can_install PACKAGE: whether apt has a version of it, and a real one: Ubuntu's chromium is a door to its snap store.
can_install() { have apt-cache && apt-cache policy "$1" | grep -q 'Candidate: [0-9]' && ! apt-cache show "$1" | grep -q '^Version:.*snap'; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        die "root is needed for: $*"
    fi
}

need_rust() {
    if ! have cargo && [ -x "$HOME/.cargo/bin/cargo" ]; then
        export PATH="$HOME/.cargo/bin:$PATH"
    fi
    have cargo || die "there is no Rust toolchain: install one as https://rustup.rs says, then run this again"
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\([0-9.]*\)".*/\1/p' "$root/Cargo.toml")
    found=$(cargo --version | awk '{ print $2 }')
    [ "$(printf '%s\n' "$wanted" "${found%%-*}" | sort -V | head -n 1)" = "$wanted" ] ||
        die "Rust $wanted or newer is needed, this is $found: run rustup update"
}

node_major() { node --version 2>/dev/null | sed -n 's/^v\([0-9]*\).*/\1/p'; }

# need_node: succeeds when there is a Node.js that can build the front end.
need_node() {
    if ! have node || ! have npm; then
        local candidate
        candidate=$(have apt-cache && apt-cache policy nodejs | sed -n 's/.*Candidate: \(.*:\)\{0,1\}\([0-9]*\)\..*/\2/p')
        [ "${candidate:-0}" -ge "$node_wanted" ] || return 1
        need_packages nodejs npm
    fi
    [ "$(node_major)" -ge "$node_wanted" ]
}

# build_front_end: builds the watch page into web/dist, from where the daemon's build takes it. Without Node.js the daemon
# is built all the same and says on the page what is missing.
build_front_end() {
    [ -f "$root/web/package.json" ] || return 0
    if ! need_node; then
        warn "the watch page is left out: it wants Node.js $node_wanted or newer, and apt has none"
        return 0
    fi
    local made=$root/target/front-end-made
    if [ -e "$made" ] && [ -n "$(ls -A "$root/web/dist" 2>/dev/null)" ] &&
        [ -z "$(find "$root/web" \( -name node_modules -o -name dist -o -name .test -o -name .test-page \) -prune -o -type f -newer "$made" -print -quit)" ]; then
        return 0
    fi
    say "Building the watch page (npm ci, npm run build in web/)"
    (cd "$root/web" && npm ci --no-audit --no-fund && npm run build) </dev/null &&
        mkdir -p "$root/target" && touch "$made"
}

# need_browser: sets E2E_BROWSER=off when none is to be had.
need_browser() {
    local name
    for name in "${E2E_BROWSER:-}" chromium chromium-browser google-chrome google-chrome-stable; do
        if [ -n "$name" ] && { [ "$name" = off ] || "$name" --version >/dev/null 2>&1; }; then return 0; fi
    done
    if can_install chromium; then
        need_packages chromium
    else
        warn "the browser test is left out: there is no Chromium, and apt has none outside of the snap store"
        export E2E_BROWSER=off
    fi
}

# need_nginx: nginx for measurements only. A service that the installation starts is stopped again.
need_nginx() {
    local before=no
    is_installed nginx && before=yes
    need_packages "${packages_bench[@]}"
    if [ "$before" = no ] && have systemctl; then
        as_root systemctl disable --now nginx >/dev/null 2>&1 || true
    fi
}
