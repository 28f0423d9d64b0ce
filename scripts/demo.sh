#!/usr/bin/env bash
# The main job on this machine: a test signal through a real ffmpeg into the daemon, and where to watch what comes out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
. scripts/packages.sh

seconds=0 profile=release http='' https='' rtmp='' rtmps='' srt='' tls=no
while [ "$#" -gt 0 ]; do
    case "$1" in
        --tls)
            tls=yes
            shift
            continue
            ;;
        --rtmps) need_value "$@" && rtmps=$2 ;;
        --https) need_value "$@" && https=$2 ;;
        --seconds) need_number "$@" && seconds=$2 ;;
        --profile) need_value "$@" && profile=$2 ;;
        --http) need_value "$@" && http=$2 ;;
        --rtmp) need_value "$@" && rtmp=$2 ;;
        --srt) need_value "$@" && srt=$2 ;;
        *) die "demo has no option \"$1\": see ./dev --help" ;;
    esac
    shift 2
done
[ -z "$rtmps$https" ] || [ "$tls" = yes ] || die "--rtmps and --https want --tls beside them"
case "$profile" in
    release) build=(--release) binary=target/release/millstream ;;
    dev) build=() binary=target/debug/millstream ;;
    *) die "--profile is dev or release, not \"$profile\"" ;;
esac

font=/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf
folder=target/demo-data
daemon_pid='' publisher_pid=''

# Whatever happens, nothing that was started here stays behind.
cleanup() {
    for pid in $publisher_pid $daemon_pid; do kill -KILL "$pid" 2>/dev/null || true; done
}
trap cleanup EXIT

# publish URL: pushes the test signal in real time. setsid for the same reason as with the daemon.
publish() {
    local clock="fontfile=$font:fontsize=h/12:fontcolor=white:box=1:boxcolor=black@0.6:boxborderw=18:x=(w-tw)/2"
    local picture="testsrc2=s=1920x1080:r=30,format=yuv420p,drawbox=c=white:t=fill:enable='lt(mod(n,30),3)'"
    picture="$picture,drawtext=$clock:y=h*0.70:text='%{localtime\\:%X}',drawtext=$clock:y=h*0.84:text='frame %{n}'"
    local sound="aevalsrc='if(lt(mod(n,48000),4800),0.3*sin(2*PI*1000*t),0)':s=48000,aformat=channel_layouts=stereo"
    local length=()
    [ "$seconds" -eq 0 ] || length=(-t "$seconds")
    setsid ffmpeg -nostdin -hide_banner -loglevel info -benchmark -progress "$folder/progress" -nostats \
        -re -f lavfi -i "$picture" -re -f lavfi -i "$sound" "${length[@]}" \
        -c:v libx264 -preset ultrafast -g 60 -keyint_min 60 -sc_threshold 0 -b:v 4500k -maxrate 5000k -bufsize 5000k \
        -c:a aac -b:a 128k -f flv "$1" >"$folder/publisher.log" 2>&1 &
    publisher_pid=$!
}

stopping=no
stop_publisher() {
    stopping=yes
    [ -z "$publisher_pid" ] || kill -INT "$publisher_pid" 2>/dev/null || true
}

# produced: a line for each rung, and whether it is what a run must bring: a segment of each rung, and every frame of a run
# that went to its end while all of it is still in the store. What has left the store is known by the daemon's counts only.
produced() {
    local session rung name pushed count bytes frames lost whole=yes status=0
    session=$(find "$folder/data/objects/live/$stream_id" -mindepth 1 -maxdepth 1 -type d | head -n 1)
    [ -n "$session" ] || die "nothing was stored; the daemon's log is $folder/log"
    pushed=$(sed -n 's/^frame=\([0-9]*\)$/\1/p' "$folder/progress" | tail -n 1)
    printf '\n%-8s %9s %12s %8s %6s\n' rung segments bytes frames lost
    for name in $(rungs "$session"); do
        rung=$session/$name frames='' lost=''
        if has_first "$rung"; then
            count=$(segments "$rung" | wc -l) bytes=$(cat "$rung"/*.m4s | wc -c)
            if [ "$name" != audio ] && taken_over; then
                frames=$(figure frames "$name")
            elif [ "$name" != audio ]; then
                join_segments "$rung" "$folder/$name.mp4"
                frames=$(count_frames "$folder/$name.mp4") lost=$((pushed - frames))
            fi
        else
            whole=no count=$(figure segments "$name") bytes=$(figure bytes "$name")
            [ "$name" = audio ] || frames=$(figure frames "$name")
        fi
        printf '%-8s %9d %12d %8s %6s\n' "$name" "$count" "$bytes" "${frames:--}" "${lost:--}"
        [ "$count" -gt 0 ] || { warn "$name has no segment" && status=1; }
        [ "$stopping" = yes ] || [ "${lost:-0}" -eq 0 ] || { warn "$name lost $lost frames" && status=1; }
    done
    say ""
    if [ "$whole" = no ]; then
        say "The oldest segments have left the store: these are the daemon's counts from just before it was stopped."
        # Nothing leaves it before the live window of 60 s is over.
        [ "$seconds" -eq 0 ] || [ "$seconds" -ge 60 ] || { warn "the first segments were not stored" && status=1; }
    fi
    say "Pushed: $pushed frames. CPU: daemon $daemon_cpu s, publisher $(publisher_cpu) s."
    return "$status"
}

# rungs SESSION: names of the stored renditions, the largest picture first and sound last.
rungs() { find "$1" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort -nr; }

# has_first RUNG: whether the very first segment is still in the store, and so all of them.
has_first() { [ -n "$(find "$1" -name '*-0.m4s' -print -quit)" ]; }

# figure WHAT RUNG: how much of it the daemon had packaged when it was asked last.
figure() {
    awk -v begins="millstream_package_$1_total{stream=\"$stream_id\"," -v ends="rung=\"$2\"}" \
        'index($0, begins) == 1 && index($0, ends) { sum += $NF } END { printf "%d\n", sum }' "$folder/metrics"
}

# taken_over: whether another encoder has published after the test signal.
taken_over() { [ "$(grep -c '"message":"publisher admitted"' "$folder/log")" -gt 1 ]; }

publisher_cpu() {
    sed -n 's/^bench: utime=\([0-9.]*\)s stime=\([0-9.]*\)s.*/\1 \2/p' "$folder/publisher.log" |
        awk '{ printf "%.2f", $1 + $2 }'
}

step "Set-up"
need_packages "${packages_build[@]}" "${packages_run[@]}"
[ "$tls" = no ] || need_packages "${packages_tls[@]}"
need_rust
build_front_end || warn "the watch page could not be built: it will say what is missing"
step "Building the daemon ($profile)"
cargo build "${build[@]}" --bin millstream

step "Starting the daemon"
rm -rf "$folder"
mkdir -p "$folder"
settings=()
[ -z "$http" ] || settings+=("MILLSTREAM_HTTP__LISTEN=$http")
[ -z "$rtmp" ] || settings+=("MILLSTREAM_RTMP__LISTEN=$rtmp")
[ -z "$srt" ] || settings+=("MILLSTREAM_SRT__LISTEN=$srt")
if [ "$tls" = yes ]; then
    new_certificate "$folder"
    settings+=("MILLSTREAM_RTMPS__CERT=$root/$folder/cert.pem" "MILLSTREAM_RTMPS__KEY=$root/$folder/key.pem")
    [ -z "$rtmps" ] || settings+=("MILLSTREAM_RTMPS__LISTEN=$rtmps")
    settings+=("MILLSTREAM_HTTPS__CERT=$root/$folder/cert.pem" "MILLSTREAM_HTTPS__KEY=$root/$folder/key.pem")
    settings+=("MILLSTREAM_HTTPS__LISTEN=${https:-0.0.0.0:8443}")
fi
start_daemon "$root/$binary" "$root/$folder" "${settings[@]}"
new_stream "$root/$binary" demo
server=rtmp://$daemon_rtmp/live
[ "$tls" = no ] || server=rtmps://$(listening rtmps)/live

trap stop_publisher INT TERM
publish "$server/$stream_key"
printf '%s\n' "$daemon_pid" "$publisher_pid" >"$folder/pids"
playing() { curl -fsS -o /dev/null "http://$daemon_http/live/$stream_id/index.m3u8" 2>/dev/null || gone "$publisher_pid"; }
wait_until 30 playing || die "the stream does not begin to play; the daemon's log is $folder/log"
if [ "$stopping" = no ] && gone "$publisher_pid"; then
    tail -n 5 "$folder/publisher.log" >&2
    die "ffmpeg has ended; its last lines are above"
fi
cat <<TEXT

  Watch        http://$daemon_http/watch/$stream_id
  HLS          http://$daemon_http/live/$stream_id/index.m3u8
  Health       http://$daemon_http/healthz   metrics http://$daemon_http/metrics

  OBS          Settings > Stream > Custom: server $server
               stream key $stream_key
               or over SRT: server srt://$(listening srt), the same key
               (a second encoder takes over from the test signal)
  Log          $folder/log
TEXT
[ "$tls" = no ] || cat <<TEXT
  HTTPS        https://$(listening https)/watch/$stream_id
  Certificate  $folder/cert.pem, self-signed: OBS refuses it unless this machine trusts it, a browser asks; ffmpeg takes it.
               Without TLS the server is rtmp://$daemon_rtmp/live
TEXT
say ""
if [ "$seconds" -gt 0 ]; then
    say "Stops by itself after $seconds s of signal."
else
    say "Ctrl-C stops the signal and the daemon."
fi

publisher_status=0
# A signal interrupts the first wait; the second one sees the publisher out.
wait "$publisher_pid" || publisher_status=$?
if [ "$stopping" = yes ]; then wait "$publisher_pid" || true; fi
# In place of the test signal somebody else is on air: the daemon goes on until it is told to stop.
if [ "$stopping" = no ] && [ "$seconds" -eq 0 ] && taken_over; then
    publisher_pid=''
    say "Another encoder has taken over from the test signal. Ctrl-C stops the daemon."
    wait "$daemon_pid" || true
fi
publisher_pid=''
trap '' INT TERM
if [ "$stopping" = no ] && [ "$publisher_status" -ne 0 ]; then
    tail -n 5 "$folder/publisher.log" >&2
    warn "ffmpeg ended with code $publisher_status; its last lines are above"
fi

step "Stopping the daemon"
alive "$daemon_pid" || die "the daemon has ended before it was told to; its log is $folder/log"
curl -fsS -o "$folder/metrics" "http://$daemon_http/metrics" || die "the daemon does not tell its metrics; its log is $folder/log"
daemon_cpu=$(cpu_seconds "$daemon_pid")
status=0
stop_daemon || status=$?
daemon_pid=''
[ "$status" -eq 0 ] || die "the daemon ended with code $status; its log is $folder/log"
produced
[ "$stopping" = yes ] || [ "$publisher_status" -eq 0 ]
