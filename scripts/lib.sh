# shellcheck shell=bash disable=SC2034
# What the scripts share. Sourced with the repository's root as working directory. Variables that it sets are for those who
# source it.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export CARGO_BUILD_JOBS=${CARGO_BUILD_JOBS:-2}

say() { printf '%s\n' "$*"; }
step() { printf '\n== %s\n' "$*"; }
warn() { printf 'note: %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# need_value OPTION VALUE...: an option without its value is a mistake, not an empty value.
need_value() { [ "$#" -ge 2 ] || die "$1 wants a value"; }

# need_number OPTION VALUE
need_number() {
    need_value "$@"
    [[ $2 =~ ^[1-9][0-9]{0,5}$ ]] || die "$1 wants a whole number from 1 on, not \"$2\""
}

# json_text KEY: the text behind KEY in the JSON object on standard input.
json_text() { sed -n "s/.*\"$1\" *: *\"\([^\"]*\)\".*/\1/p" | head -n 1; }

# cpu_seconds PID: user and system time that the process itself has used so far, without its children.
cpu_seconds() {
    local stat
    stat=$(cat "/proc/$1/stat")
    # The second field is a name in parentheses and may hold spaces; utime and stime are the 12th and 13th behind it.
    awk -v ticks="$(getconf CLK_TCK)" '{ printf "%.2f\n", ($12 + $13) / ticks }' <<<"${stat##*) }"
}

# rss_kib PID: resident memory.
rss_kib() { awk '/^VmRSS:/ { print $2 }' "/proc/$1/status"; }

# median NUMBER...
median() {
    printf '%s\n' "$@" | sort -g |
        awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

# wait_until SECONDS COMMAND...: looks ten times a second until COMMAND succeeds.
wait_until() {
    local left=$(($1 * 10))
    shift
    until "$@"; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || return 1
        sleep 0.1
    done
}

alive() { kill -0 "$1" 2>/dev/null; }
gone() { ! alive "$1"; }

# start_daemon BINARY FOLDER [NAME=VALUE...]: starts the daemon with its data in FOLDER/data and its log in FOLDER/log.
# Sets daemon_pid, daemon_http and daemon_rtmp. setsid keeps the terminal's Ctrl-C away: who started it stops it, in order.
start_daemon() {
    local binary=$1 folder=$2
    shift 2
    daemon_log=$folder/log
    daemon_env=("MILLSTREAM_DATA_DIR=$folder/data" MILLSTREAM_LOG__FORMAT=json "$@")
    setsid env "${daemon_env[@]}" "$binary" serve </dev/null >"$daemon_log" 2>&1 &
    daemon_pid=$!
    if ! wait_until 60 daemon_spoke || ! grep -qs '"message":"ready"' "$daemon_log"; then
        tail -n 20 "$daemon_log" >&2
        die "the daemon does not serve; its last lines are above (ports taken? try --http 127.0.0.1:0 --rtmp 127.0.0.1:0 --srt 127.0.0.1:0, with --tls also --rtmps 127.0.0.1:0 --https 127.0.0.1:0)"
    fi
    daemon_http=$(listening http)
    daemon_rtmp=$(listening rtmp)
}

daemon_spoke() { grep -qs '"message":"ready"' "$daemon_log" || gone "$daemon_pid"; }

# listening SERVICE: where it listens, as an address that a client on this machine can use.
listening() {
    grep '"message":"listening"' "$daemon_log" | grep "\"service\":\"$1\"" | json_text address |
        sed -e 's/^0\.0\.0\.0:/127.0.0.1:/' -e 's/^\[::\]:/127.0.0.1:/'
}

# stop_daemon: SIGTERM, and its exit code.
stop_daemon() {
    kill -TERM "$daemon_pid" 2>/dev/null || true
    wait "$daemon_pid"
}

# cli BINARY ARGUMENT...: a command to the running daemon, answered in JSON.
cli() {
    local binary=$1
    shift
    env "${daemon_env[@]}" "$binary" "$@" --json
}

# new_stream BINARY NAME: makes a stream and a key; sets stream_id and stream_key.
new_stream() {
    stream_id=$(cli "$1" streams create --name "$2" | json_text id)
    [ -n "$stream_id" ] || die "no stream was made"
    stream_key=$(cli "$1" keys create --stream "$stream_id" | json_text secret)
    [ -n "$stream_key" ] || die "no key was made for stream $stream_id"
}

# new_certificate FOLDER: a self-signed certificate of this machine in FOLDER/cert.pem and key.pem, good for a month.
new_certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost \
        -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1' -keyout "$1/key.pem" -out "$1/cert.pem" 2>"$1/openssl.log" ||
        die "openssl makes no certificate: $(cat "$1/openssl.log")"
}

# segments FOLDER: the segments of a stored rendition in order.
segments() { find "$1" -name '*-*.m4s' ! -name '*.*.m4s' -printf '%f\n' | sort -t- -k2n | sed "s|^|$1/|"; }

# join_segments FOLDER OUT.mp4: a stored rendition as one file.
join_segments() {
    local files
    mapfile -t files < <(segments "$1")
    [ "${#files[@]}" -gt 0 ] || die "no segments in $1"
    cat "$1"/init-*.mp4 "${files[@]}" >"$2"
}

# count_frames FILE: video frames, counted as packets.
count_frames() {
    ffprobe -v error -select_streams v -count_packets -show_entries stream=nb_read_packets -of csv=p=0 "$1" | tr -d ','
}
