#!/usr/bin/env bash
# The long forms: the frame tests' questions, asked of minutes instead of seconds, clocks that run wrong for a day of virtual time,
# many restarts, SRT over bad networks, and memory that must stay flat.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
. scripts/packages.sh

# A frame carries its number in 16 bits.
most_frame_minutes=36
# Memory settles while windows fill, caches warm, ended sessions come to be as many as go, and the allocator finds its arenas:
# the first half of the run. Then it may grow by this at most.
least_memory_minutes=6
most_kib_per_minute=64
restarts=50
srt_seconds=60

minutes=10
only=
profile=release
while [ "$#" -gt 0 ]; do
    case "$1" in
        --minutes)
            need_number "$@"
            minutes=$2
            shift 2
            ;;
        --only)
            need_value "$@"
            only=$2
            shift 2
            ;;
        --profile)
            need_value "$@"
            profile=$2
            shift 2
            ;;
        *) die "soak has no option \"$1\": see ./dev --help" ;;
    esac
done
case "$only" in '' | frames | drift | restarts | srt | memory) ;; *) die "--only can be frames, drift, restarts, srt or memory, not \"$only\"" ;; esac
case "$profile" in dev) build=(cargo build) folder=debug ;; release) build=(cargo build --release) folder=release ;;
    *) die "--profile can be dev or release, not \"$profile\"" ;; esac

# slope: of the lines "MINUTE KIB" on standard input, KiB per minute by least squares.
slope() {
    awk '{ n++; x += $1; y += $2; xx += $1 * $1; xy += $1 * $2 }
         END { d = n * xx - x * x; printf "%.1f\n", d ? (n * xy - x * y) / d : 0 }'
}

# push KEY FILE: a push in real time that goes on until it is killed.
push() {
    ffmpeg -nostdin -hide_banner -loglevel error -re -stream_loop -1 -i "$2" -c copy \
        -flvflags no_duration_filesize -f flv "rtmp://$daemon_rtmp/live/$1" </dev/null >/dev/null 2>&1 &
    pushes+=("$!")
}

# watch STREAM: a viewer who asks for every playlist and the newest segment, once.
watch() {
    local base="http://$daemon_http/live/$1" rung segment
    for rung in $(curl -fsS "$base/index.m3u8" | grep -v '^#' | grep -o '^[^?]*' || true); do
        segment=$(curl -fsS "$base/${rung#./}" | grep '\.m4s$' | tail -n 1 || true)
        [ -z "$segment" ] || curl -fsS -o /dev/null "$base/${rung%/*}/$segment" || true
    done
}

stop_pushes() {
    [ "${#pushes[@]}" -eq 0 ] || kill "${pushes[@]}" 2>/dev/null || true
    pushes=()
}

# One ladder and one passthrough stream run through; a third comes and goes, with a wrong key in between.
soak_memory() {
    local work source binary=target/$folder/millstream samples minute growth
    work=$(mktemp -d)
    pushes=()
    trap 'stop_pushes; kill -TERM "${daemon_pid:-}" 2>/dev/null || true; wait; rm -rf "$work"' EXIT
    "${build[@]}"
    source=$work/source.flv samples=$work/samples
    scripts/source.sh 640 360 30 20 1000 "$source"
    start_daemon "$PWD/$binary" "$work" MILLSTREAM_HTTP__LISTEN=127.0.0.1:0 MILLSTREAM_RTMP__LISTEN=127.0.0.1:0 \
        MILLSTREAM_STORAGE__SPOOL_MAX=256MiB MILLSTREAM_SESSION__GRACE=5s
    local ladder_id
    new_stream "$binary" ladder
    ladder_id=$stream_id
    push "$stream_key" "$source"
    stream_id=$(cli "$binary" streams create --name copied --preset passthrough | json_text id)
    stream_key=$(cli "$binary" keys create --stream "$stream_id" | json_text secret)
    push "$stream_key" "$source"
    new_stream "$binary" restless
    say "minute  resident KiB"
    for ((minute = 1; minute <= minutes; minute++)); do
        timeout 20 ffmpeg -nostdin -loglevel quiet -re -i "$source" -c copy -f flv \
            "rtmp://$daemon_rtmp/live/$stream_key" </dev/null >/dev/null 2>&1 || true
        timeout 5 ffmpeg -nostdin -loglevel quiet -re -i "$source" -c copy -f flv \
            "rtmp://$daemon_rtmp/live/wrong-$minute" </dev/null >/dev/null 2>&1 || true
        while [ $((SECONDS % 60)) -ne 0 ]; do
            watch "$ladder_id"
            sleep 1
        done
        alive "$daemon_pid" || die "the daemon ended: $(tail -n 5 "$daemon_log")"
        printf '%6d  %d\n' "$minute" "$(rss_kib "$daemon_pid")" | tee -a "$samples"
        sleep 1
    done
    growth=$(awk -v from="$((minutes / 2))" '$1 > from' "$samples" | slope)
    say "growth after $((minutes / 2)) minutes: $growth KiB a minute (at most $most_kib_per_minute)"
    stop_pushes
    stop_daemon || die "the daemon did not stop in order"
    awk -v growth="$growth" -v most="$most_kib_per_minute" 'BEGIN { exit growth > most }' || die "memory grows"
}

need_packages "${packages_build[@]}" "${packages_run[@]}"
need_rust
if [ -z "$only" ] || [ "$only" = drift ]; then
    step "24 hours of clocks that run wrong, in virtual time: sound with picture, dates, memory"
    DRIFT_HOURS=24 cargo test --profile "$profile" --test drift -- --nocapture
fi
if [ -z "$only" ] || [ "$only" = frames ]; then
    frames=$((minutes < most_frame_minutes ? minutes : most_frame_minutes))
    step "$frames minutes through an encoded ladder: every frame, sound with picture, cuts, durations"
    E2E_SECONDS=$((frames * 60)) cargo test --profile "$profile" --test e2e ladder:: -- --skip full_ladder:: --nocapture
fi
if [ -z "$only" ] || [ "$only" = restarts ]; then
    step "$restarts restarts at random moments, by SIGTERM and SIGKILL: one session, every frame but those of an open part"
    E2E_ROUNDS=$restarts cargo test --profile "$profile" --test e2e restarts:: -- --nocapture
fi
if [ -z "$only" ] || [ "$only" = srt ]; then
    need_packages "${packages_test[@]}"
    step "SRT: 144 connections of $srt_seconds s over networks that lose, delay, reorder and double; breaks and refusals"
    E2E_SECONDS=$srt_seconds cargo test --profile "$profile" --test srt_matrix -- --test-threads=1 --nocapture
fi
if [ -z "$only" ] || [ "$only" = memory ]; then
    [ "$minutes" -ge "$least_memory_minutes" ] || die "memory needs $least_memory_minutes minutes or more"
    step "$minutes minutes of a ladder, a copy and one that comes and goes: resident memory"
    soak_memory
fi
