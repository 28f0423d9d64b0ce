#!/usr/bin/env bash
# SRT in: this daemon beside srt-live-transmit, with 1, 10 and 25 streams, plain and encrypted; and RTMP to the same daemon.
#
# Prints a Markdown table for docs/performance.md: CPU seconds per stream-minute of who receives, user and system. What each does:
#
#   srt-live-transmit   receives, one process a stream, and writes what comes to /dev/null
#   millstream, SRT     receives and does all that a broadcast is: demux, timeline, packaging as CMAF, journal, store
#   millstream, RTMP    the same with the same media over RTMP: what SRT costs more is the difference
#
# The encoders that push are processes of their own and are not counted.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
. scripts/packages.sh

rounds=3 seconds=30 streams='1 10 25' ciphers='none 16' binary=
while [ "$#" -gt 0 ]; do
    case "$1" in
        --rounds) need_number "$@" && rounds=$2 ;;
        --seconds) need_number "$@" && seconds=$2 ;;
        --streams) need_value "$@" && streams=$2 ;;
        --ciphers) need_value "$@" && ciphers=$2 ;;
        --binary) need_value "$@" && binary=$(realpath "$2") ;;
        *) die "bench srt has no option \"$1\": see ./dev --help" ;;
    esac
    shift 2
done
for cipher in $ciphers; do
    case "$cipher" in none | 16 | 24 | 32) ;; *) die "--ciphers are none, 16, 24 or 32 (bytes of the AES key), not \"$cipher\"" ;; esac
done

# From the first push until the receivers are in their stride: two segments and more.
warm_up_seconds=6
latency_ms=200
passphrase='correct horse battery'
folder=$root/target/bench-srt
source=$folder/source.flv
daemon_pid='' pushers=() receivers=()

cleanup() {
    local pid
    for pid in ${pushers[@]+"${pushers[@]}"} ${receivers[@]+"${receivers[@]}"} $daemon_pid; do
        kill -KILL "$pid" 2>/dev/null || true
    done
}
trap cleanup EXIT

# push FORMAT URL: in real time, over and over.
push() {
    setsid ffmpeg -nostdin -hide_banner -loglevel error -re -stream_loop -1 -i "$source" -c copy -f "$1" "$2" \
        >>"$folder/pushers.log" 2>&1 &
    pushers+=("$!")
}

# srt_url ADDRESS CIPHER [KEY]: where FFmpeg calls; its latency is in microseconds.
srt_url() {
    printf 'srt://%s?latency=%d&pkt_size=1316' "$1" "$((latency_ms * 1000))"
    [ -z "${3:-}" ] || printf '&streamid=%s' "$3"
    [ "$2" = none ] || printf '&passphrase=%s&pbkeylen=%s' "$passphrase" "$2"
}

# stop PID...: ends processes that must be there still.
stop() {
    local pid
    for pid in "$@"; do alive "$pid" || die "an encoder or a receiver has ended early: $(tail -n 3 "$folder"/*.log)"; done
    kill -INT "$@"
    for pid in "$@"; do wait "$pid" || true; done
}

stop_pushers() {
    stop "${pushers[@]}"
    pushers=()
}

# measure PID...: sets cpu of these processes over the time of one round.
measure() {
    local before after
    sleep "$warm_up_seconds"
    before=$(cpu_of "$@")
    sleep "$seconds"
    after=$(cpu_of "$@")
    cpu=$(awk -v a="$before" -v b="$after" 'BEGIN { printf "%.2f", b - a }')
}

cpu_of() {
    local pid
    for pid in "$@"; do cpu_seconds "$pid"; done | awk '{ sum += $1 } END { printf "%.2f", sum }'
}

# run_transmit COUNT CIPHER
run_transmit() {
    local index port url
    for ((index = 0; index < $1; index++)); do
        # Outside of what the system gives out by itself; one that is taken shows when the encoder's connection ends.
        port=$((20000 + RANDOM % 10000))
        url="srt://127.0.0.1:$port?mode=listener&latency=$latency_ms"
        [ "$2" = none ] || url+="&passphrase=$passphrase&pbkeylen=$2"
        setsid srt-live-transmit -q -chunk:1316 "$url" file://con >/dev/null 2>>"$folder/receivers.log" </dev/null &
        receivers+=("$!")
        wait_until 10 listens "$port" || die "srt-live-transmit does not listen: $(tail -n 3 "$folder/receivers.log")"
        push mpegts "$(srt_url "127.0.0.1:$port" "$2")"
    done
    measure "${receivers[@]}"
    stop_pushers
    stop "${receivers[@]}"
    receivers=()
}

# listens PORT: whether somebody has this UDP port, as the kernel's table says in hexadecimal.
listens() { grep -q "$(printf ':%04X 00000000:0000' "$1")" /proc/net/udp; }

# run_daemon COUNT CIPHER|rtmp
run_daemon() {
    local index keys=() settings=()
    case "$2" in none | rtmp) ;; *) settings=("MILLSTREAM_SRT__PASSPHRASE=$passphrase") ;; esac
    rm -rf "$folder/daemon"
    mkdir -p "$folder/daemon"
    # All come from one address, and what measuring the machine takes at the first start is no stream's.
    start_daemon "$binary" "$folder/daemon" MILLSTREAM_LADDER__PRESET=passthrough MILLSTREAM_LADDER__CAPACITY=unlimited \
        MILLSTREAM_HTTP__LISTEN=127.0.0.1:0 MILLSTREAM_RTMP__LISTEN=127.0.0.1:0 MILLSTREAM_SRT__LISTEN=127.0.0.1:0 \
        MILLSTREAM_RTMP__MAX_CONNECTIONS_PER_ADDRESS=1000 MILLSTREAM_SRT__MAX_CONNECTIONS_PER_ADDRESS=1000 \
        ${settings[@]+"${settings[@]}"}
    for ((index = 0; index < $1; index++)); do
        new_stream "$binary" "s$index"
        keys+=("$stream_key")
    done
    for index in "${!keys[@]}"; do
        case "$2" in
            rtmp) push flv "rtmp://$daemon_rtmp/live/${keys[index]}" ;;
            *) push mpegts "$(srt_url "$(listening srt)" "$2" "${keys[index]}")" ;;
        esac
    done
    measure "$daemon_pid"
    stop_pushers
    stop_daemon || die "the daemon did not stop in order; log: $daemon_log"
    daemon_pid=''
    rm -rf "$folder/daemon/data"
}

per_minute() { awk -v cpu="$1" -v n="$2" -v s="$seconds" 'BEGIN { printf "%.3f", cpu / n / (s / 60) }'; }
# spread FIGURE...: median, least and most.
spread() { printf '%s (%s)' "$(median "$@")" "$(printf '%s\n' "$@" | sort -g | sed -n '1p;$p' | paste -sd ' ' | sed 's/ / to /')"; }

step "Set-up"
need_packages "${packages_build[@]}" "${packages_run[@]}" "${packages_test[@]}"
need_rust
if [ -z "$binary" ]; then
    cargo build --release --bin millstream
    binary=$root/target/release/millstream
fi
mkdir -p "$folder"
: >"$folder/pushers.log"
: >"$folder/receivers.log"
scripts/source.sh 1920 1080 30 30 6000 "$source"

table=()
for count in $streams; do
    over_rtmp=()
    for cipher in $ciphers; do
        theirs=() ours=()
        case "$cipher" in none) words=plain ;; *) words=AES-$((cipher * 8)) ;; esac
        for ((round = 1; round <= rounds; round++)); do
            step "$count streams, $words, round $round of $rounds"
            run_transmit "$count" "$cipher"
            theirs+=("$(per_minute "$cpu" "$count")")
            say "srt-live-transmit  $cpu CPU s"
            run_daemon "$count" "$cipher"
            ours+=("$(per_minute "$cpu" "$count")")
            say "millstream, SRT    $cpu CPU s"
            # What is not encrypted is compared with what is not encrypted.
            [ "$cipher" = none ] || continue
            run_daemon "$count" rtmp
            over_rtmp+=("$(per_minute "$cpu" "$count")")
            say "millstream, RTMP   $cpu CPU s"
        done
        row="| $count | $words | $(spread "${theirs[@]}") | $(spread "${ours[@]}") |"
        if [ "${#over_rtmp[@]}" -gt 0 ]; then
            more=$(awk -v a="$(median "${ours[@]}")" -v b="$(median "${over_rtmp[@]}")" 'BEGIN { printf "%.3f", a - b }')
            row+=" $(spread "${over_rtmp[@]}") | $more | $(awk -v a="$more" -v b="$(median "${theirs[@]}")" \
                'BEGIN { printf "%.2f", (b > 0) ? a / b : 0 }') |"
        else
            row+=" | | |"
        fi
        table+=("$row")
    done
done

step "Result: 1080p30 at 6 Mbit/s, $rounds rounds of $seconds s, medians (least to most), $(nproc) cores, srt-live-transmit $(srt-live-transmit -version 2>&1 | sed -n 's/^SRT Library version: \([0-9.]*\).*/\1/p')"
cat <<'TABLE'

CPU s per stream-minute:

| streams | | srt-live-transmit | millstream over SRT | millstream over RTMP, plain | SRT more than RTMP | that beside srt-live-transmit |
|---|---|---|---|---|---|---|
TABLE
printf '%s\n' "${table[@]}"
