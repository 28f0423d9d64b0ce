#!/usr/bin/env bash
# From publish to playable: how long a broadcast takes from its accepted publish until something can be fetched.
#
# Each round is a new stream and a new session with the passthrough preset, so that the daemon's own share is seen and not an
# encoder's. Prints a Markdown table for docs/performance.md: the daemon's own figures (accepted publish to the first part of
# video in memory, to the playlist with a segment), and what an HTTP client sees from the encoder's start (playlist, first
# segment whole). When hls.js shows its first frame is told by the browser test of tests/e2e.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
. scripts/packages.sh

rounds=3 preset=passthrough
while [ "$#" -gt 0 ]; do
    case "$1" in
        --rounds) need_number "$@" && rounds=$2 ;;
        --preset) need_value "$@" && preset=$2 ;;
        --binary) need_value "$@" && binary=$(realpath "$2") ;;
        *) die "bench startup has no option \"$1\": see ./dev --help" ;;
    esac
    shift 2
done
[ -f "presets/$preset.toml" ] || die "there is no presets/$preset.toml"

folder=$root/target/bench-startup
source=$folder/source.flv
daemon_pid='' pusher=''

cleanup() {
    local pid
    for pid in $pusher $daemon_pid; do kill -KILL "$pid" 2>/dev/null || true; done
}
trap cleanup EXIT

now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.3f", b - a }'; }

# fetched URL OUT: whether it answers 200 now.
fetched() { [ "$(curl --silent --max-time 12 --output "$2" --write-out '%{http_code}' "$1")" = 200 ]; }

# until_fetched URL OUT: asks twenty times a second, for 30 s.
until_fetched() {
    local tries=600
    until fetched "$1" "$2"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || die "$1 does not answer with 200"
        sleep 0.05
    done
}

# first_uri FILE: the first line of a playlist that is no tag.
first_uri() { grep -v '^#' "$1" | grep . | head -n 1; }

# own_figure WHAT: the sum of the daemon's histogram, of which a new daemon has one observation.
own_figure() {
    curl --silent "http://$daemon_http/metrics" |
        awk -v name="millstream_publish_to_playable_seconds_sum{what=\"$1\"}" '$1 == name { printf "%.3f", $2 }'
}

# run_round: sets part, playlist, seen_playlist, seen_segment.
run_round() {
    local began base variant segment
    rm -rf "$folder/daemon"
    mkdir -p "$folder/daemon"
    start_daemon "$binary" "$folder/daemon" "MILLSTREAM_LADDER__PRESET=$preset" \
        MILLSTREAM_HTTP__LISTEN=127.0.0.1:0 MILLSTREAM_RTMP__LISTEN=127.0.0.1:0 MILLSTREAM_SRT__LISTEN=127.0.0.1:0
    new_stream "$binary" startup
    base=http://$daemon_http/live/$stream_id
    began=$(now)
    setsid ffmpeg -nostdin -hide_banner -loglevel error -re -i "$source" -c copy -f flv "rtmp://$daemon_rtmp/live/$stream_key" \
        >"$folder/pusher.log" 2>&1 &
    pusher=$!
    until_fetched "$base/index.m3u8" "$folder/index.m3u8"
    seen_playlist=$(since "$began")
    variant=$(first_uri "$folder/index.m3u8")
    until_fetched "$base/$variant" "$folder/variant.m3u8"
    segment=$(first_uri "$folder/variant.m3u8")
    until_fetched "$base/${variant%/*}/$segment" "$folder/segment.m4s"
    seen_segment=$(since "$began")
    part=$(own_figure part)
    playlist=$(own_figure playlist)
    { [ -n "$part" ] && [ -n "$playlist" ]; } || die "/metrics does not tell millstream_publish_to_playable_seconds"
    kill -INT "$pusher"
    wait "$pusher" || true
    pusher=''
    stop_daemon || die "the daemon did not stop in order; log: $daemon_log"
    daemon_pid=''
}

row() {
    local what=$1 target=$2
    shift 2
    printf '| %s | %s | %s | %s |\n' "$what" "$*" "$(median "$@")" "$target"
}

step "Set-up"
need_packages "${packages_build[@]}" "${packages_run[@]}"
if [ -z "${binary:-}" ]; then
    need_rust
    cargo build --release --bin millstream
    binary=$root/target/release/millstream
fi
mkdir -p "$folder"
scripts/source.sh 1280 720 30 20 3000 "$source"

parts=() playlists=() seen_playlists=() seen_segments=()
for ((round = 1; round <= rounds; round++)); do
    step "round $round of $rounds"
    run_round
    say "first part $part s, playlist $playlist s after the publish; client: playlist $seen_playlist s, segment $seen_segment s after the encoder's start"
    parts+=("$part") playlists+=("$playlist") seen_playlists+=("$seen_playlist") seen_segments+=("$seen_segment")
done

step "Result: preset $preset, 720p30 with 2 s keyframes, $(nproc) cores"
cat <<'TABLE'

| seconds until | per round | median | target |
|---|---|---|---|
TABLE
row "first part, from the accepted publish" "0.6" "${parts[@]}"
row "playlist with a segment, from the accepted publish" "" "${playlists[@]}"
row "playlist answers 200, from the encoder's start" "" "${seen_playlists[@]}"
row "first segment whole, from the encoder's start" "" "${seen_segments[@]}"
