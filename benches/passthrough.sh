#!/usr/bin/env bash
# Passthrough, RTMP to HLS: this daemon beside Debian's nginx with its RTMP module and HLS on, with 1, 10, 50 and 100 streams.
#
# Prints a Markdown table for docs/performance.md: CPU seconds per stream-minute of each, their ratio, and resident memory per
# stream. The encoders that push are processes of their own and are not counted. With --tls they push to this daemon over RTMPS,
# which nginx-rtmp does not speak: it is pushed to over RTMP as ever.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
. scripts/packages.sh

rounds=3 seconds=60 streams='1 10 50 100' tls=no
while [ "$#" -gt 0 ]; do
    case "$1" in
        --tls)
            tls=yes
            shift
            continue
            ;;
        --rounds) need_number "$@" && rounds=$2 ;;
        --seconds) need_number "$@" && seconds=$2 ;;
        --streams) need_value "$@" && streams=$2 ;;
        *) die "bench passthrough has no option \"$1\": see ./dev --help" ;;
    esac
    shift 2
done

# From the first push until both servers are in their stride: three segments.
warm_up_seconds=8
folder=$root/target/bench-passthrough
binary=$root/target/release/millstream
source=$folder/source.flv
daemon_pid='' nginx_pid='' pushers=()

cleanup() {
    local pid
    for pid in ${pushers[@]+"${pushers[@]}"} $nginx_pid $daemon_pid; do kill -KILL "$pid" 2>/dev/null || true; done
}
trap cleanup EXIT

# push URL: in real time, over and over.
push() {
    setsid ffmpeg -nostdin -hide_banner -loglevel error -re -stream_loop -1 -i "$source" -c copy -f flv "$1" \
        >>"$folder/pushers.log" 2>&1 &
    pushers+=("$!")
}

stop_pushers() {
    local pid
    for pid in "${pushers[@]}"; do
        alive "$pid" || die "an encoder has ended early: $(tail -n 3 "$folder/pushers.log")"
        kill -INT "$pid"
        wait "$pid" || true
    done
    pushers=()
}

# free_port: one that nobody listens on. nginx cannot be asked which port it got.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 20000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    printf '%s' "$port"
}

# measure PID...: sets cpu and rss of these processes, over the time of one round.
measure() {
    local pid before=0 after=0
    sleep "$warm_up_seconds"
    for pid in "$@"; do before=$(awk -v a="$before" -v b="$(cpu_seconds "$pid")" 'BEGIN { print a + b }'); done
    sleep "$seconds"
    rss=0
    for pid in "$@"; do
        after=$(awk -v a="$after" -v b="$(cpu_seconds "$pid")" 'BEGIN { print a + b }')
        rss=$((rss + $(rss_kib "$pid")))
    done
    cpu=$(awk -v a="$before" -v b="$after" 'BEGIN { printf "%.2f", b - a }')
}

rss_of() {
    local pid sum=0
    for pid in "$@"; do sum=$((sum + $(rss_kib "$pid"))); done
    printf '%s' "$sum"
}

# run_nginx COUNT: sets cpu and rss_per_stream.
run_nginx() {
    local port idle index pids
    rm -rf "$folder/nginx"
    mkdir -p "$folder/nginx/hls"
    port=$(free_port)
    cat >"$folder/nginx/nginx.conf" <<CONF
load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
daemon off;
user $(id -un);
worker_processes 1;
pid $folder/nginx/pid;
error_log $folder/nginx/error.log warn;
events { worker_connections 1024; }
rtmp {
    server {
        listen 127.0.0.1:$port;
        chunk_size 4096;
        application live {
            live on;
            hls on;
            hls_path $folder/nginx/hls;
            hls_fragment 2s;
            hls_playlist_length 60s;
        }
    }
}
CONF
    setsid "$(nginx_program)" -p "$folder/nginx" -c "$folder/nginx/nginx.conf" >"$folder/nginx/log" 2>&1 &
    nginx_pid=$!
    wait_until 10 port_is_open "$port" || die "nginx does not listen: $(cat "$folder/nginx/log" "$folder/nginx/error.log")"
    mapfile -t pids < <(printf '%s\n' "$nginx_pid" && tr ' ' '\n' <"/proc/$nginx_pid/task/$nginx_pid/children" | grep .)
    idle=$(rss_of "${pids[@]}")
    for ((index = 0; index < $1; index++)); do push "rtmp://127.0.0.1:$port/live/s$index"; done
    measure "${pids[@]}"
    rss_per_stream=$(((rss - idle) / $1))
    stop_pushers
    kill -TERM "$nginx_pid"
    wait "$nginx_pid" || true
    nginx_pid=''
}

nginx_program() { command -v nginx || printf '/usr/sbin/nginx'; }
port_is_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# run_daemon COUNT: sets cpu and rss_per_stream.
run_daemon() {
    local idle index server certificate=()
    rm -rf "$folder/daemon"
    mkdir -p "$folder/daemon"
    if [ "$tls" = yes ]; then
        new_certificate "$folder/daemon"
        certificate=("MILLSTREAM_RTMPS__CERT=$folder/daemon/cert.pem" "MILLSTREAM_RTMPS__KEY=$folder/daemon/key.pem"
            MILLSTREAM_RTMPS__LISTEN=127.0.0.1:0)
    fi
    # All come from one address, and what measuring the machine takes at the first start is no stream's.
    start_daemon "$binary" "$folder/daemon" MILLSTREAM_LADDER__PRESET=passthrough MILLSTREAM_LADDER__CAPACITY=unlimited \
        MILLSTREAM_HTTP__LISTEN=127.0.0.1:0 MILLSTREAM_RTMP__LISTEN=127.0.0.1:0 MILLSTREAM_SRT__LISTEN=127.0.0.1:0 \
        MILLSTREAM_RTMP__MAX_CONNECTIONS_PER_ADDRESS=1000 ${certificate[@]+"${certificate[@]}"}
    server=rtmp://$daemon_rtmp
    [ "$tls" = no ] || server=rtmps://$(listening rtmps)
    local keys=()
    for ((index = 0; index < $1; index++)); do
        new_stream "$binary" "s$index"
        keys+=("$stream_key")
    done
    idle=$(rss_of "$daemon_pid")
    for index in "${!keys[@]}"; do push "$server/live/${keys[index]}"; done
    measure "$daemon_pid"
    rss_per_stream=$(((rss - idle) / $1))
    stop_pushers
    stop_daemon || die "the daemon did not stop in order; log: $daemon_log"
    daemon_pid=''
    rm -rf "$folder/daemon/data"
}

per_minute() { awk -v cpu="$1" -v n="$2" -v s="$seconds" 'BEGIN { printf "%.3f", cpu / n / (s / 60) }'; }
# spread FIGURE...: least and most.
spread() { printf '%s\n' "$@" | sort -g | sed -n '1p;$p' | paste -sd ' ' | sed 's/ / to /'; }
mebibytes() { awk -v kib="$1" 'BEGIN { printf "%.2f", kib / 1024 }'; }

step "Set-up"
need_packages "${packages_build[@]}" "${packages_run[@]}"
[ "$tls" = no ] || need_packages "${packages_tls[@]}"
need_nginx
need_rust
cargo build --release --bin millstream
mkdir -p "$folder"
scripts/source.sh 1920 1080 30 30 6000 "$source"

table=()
for count in $streams; do
    ours=() theirs=() our_rss=() their_rss=()
    for ((round = 1; round <= rounds; round++)); do
        step "$count streams, round $round of $rounds"
        run_nginx "$count"
        theirs+=("$(per_minute "$cpu" "$count")") their_rss+=("$rss_per_stream")
        say "nginx-rtmp  $cpu CPU s, $rss_per_stream KiB a stream"
        run_daemon "$count"
        ours+=("$(per_minute "$cpu" "$count")") our_rss+=("$rss_per_stream")
        say "millstream  $cpu CPU s, $rss_per_stream KiB a stream"
    done
    our_median=$(median "${ours[@]}") their_median=$(median "${theirs[@]}")
    table+=("| $count | $their_median ($(spread "${theirs[@]}")) | $our_median ($(spread "${ours[@]}")) | $(awk -v a="$our_median" -v b="$their_median" \
        'BEGIN { printf "%.2f", (b > 0) ? a / b : 0 }') | $(mebibytes "$(median "${their_rss[@]}")") | $(mebibytes "$(median "${our_rss[@]}")") |")
done

step "Result: 1080p30 at 6 Mbit/s, $rounds rounds of $seconds s, medians (least to most), $(nproc) cores, over TLS: $tls, $("$(nginx_program)" -v 2>&1 | sed 's/.*: //')"
cat <<'TABLE'

| streams | nginx-rtmp, CPU s per stream-minute | millstream, CPU s per stream-minute | ratio | nginx-rtmp, MiB per stream | millstream, MiB per stream |
|---|---|---|---|---|---|
TABLE
printf '%s\n' "${table[@]}"
