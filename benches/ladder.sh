#!/usr/bin/env bash
# The full ladder: this daemon beside the ffmpeg command line with the same x264 settings, over the same source, in turn.
#
# Prints a Markdown table for docs/performance.md: CPU seconds of each (the daemon's own, without the encoder that pushes),
# their ratio, SSIM of each rung against the scaled source, and frames lost.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
. scripts/packages.sh

rounds=3 seconds=30 preset=encode-1080p-720p-480p
while [ "$#" -gt 0 ]; do
    case "$1" in
        --rounds) need_number "$@" && rounds=$2 ;;
        --seconds) need_number "$@" && seconds=$2 ;;
        --preset) need_value "$@" && preset=$2 ;;
        *) die "bench ladder has no option \"$1\": see ./dev --help" ;;
    esac
    shift 2
done
preset_file=presets/$preset.toml
[ -f "$preset_file" ] || die "there is no $preset_file"
[ "$seconds" -le 50 ] || die "--seconds can be 50 at most: the live window must still hold the first segment"

# ffmpeg's own filter, and chroma where H.264 has it, as the daemon scales.
scaling=flags=bicubic:in_h_chr_pos=0:out_h_chr_pos=0

folder=target/bench-ladder
binary=$root/target/release/millstream
source=$root/$folder/source.flv
fps=30
daemon_pid=''
trap '[ -z "$daemon_pid" ] || kill -KILL "$daemon_pid" 2>/dev/null || true' EXIT

# rungs: one line for each rung of the preset, its settings separated by blanks, "-" for what is not set:
# name mode width height bitrate maxrate buffer preset tune profile level threads threading bframes lookahead refs
rungs() {
    awk '
        function out() {
            if (!n) return
            k = split("name mode width height bitrate maxrate buffer x.preset x.tune x.profile x.level x.threads " \
                "x.threading x.bframes x.lookahead x.refs", keys, " ")
            for (i = 1; i <= k; i++) printf "%s%s", (keys[i] in v) ? v[keys[i]] : "-", i < k ? " " : "\n"
        }
        /^[ \t]*#/ { next }
        /^\[\[rung\]\]/ { out(); delete v; n++; part = ""; next }
        /^\[rung\.x264\]/ { part = "x."; next }
        /^\[/ { out(); n = 0; next }
        n && /=/ {
            key = $1; value = $0
            sub(/^[^=]*=[ \t]*/, "", value); sub(/[ \t]*(#.*)?$/, "", value); gsub(/"/, "", value)
            v[part key] = value
        }
        END { out() }' "$preset_file"
}

# audio_setting KEY
audio_setting() { sed -n "/^\[audio\]/,\$s/^$1 *= *\"\{0,1\}\([^\" #]*\).*/\1/p" "$preset_file"; }

# ffmpeg_arguments: the rungs as arguments of one ffmpeg command that writes HLS with fMP4, as the daemon does.
ffmpeg_arguments() {
    local graph='' outputs=() map='' index=0 count settings parameters
    count=$(rungs | wc -l)
    for ((index = 0; index < count; index++)); do graph="${graph}[s$index]"; done
    graph="[0:v]split=$count$graph"
    index=0
    while read -r name mode width height bitrate maxrate buffer speed tune profile level threads threading bframes ahead refs; do
        if [ "$mode" = copy ] || { [ "$mode" = auto ] && [ "$index" -eq 0 ]; }; then
            graph="$graph;[s$index]nullsink"
            outputs+=(-map 0:v "-c:v:$index" copy)
        else
            graph="$graph;[s$index]scale=$width:$height:${scaling}[v$index]"
            parameters="keyint=infinite:scenecut=0:open-gop=0:sliced-threads=$([ "$threading" = slice ] && echo 1 || echo 0)"
            [ "$ahead" = - ] || parameters="$parameters:rc-lookahead=$ahead"
            settings=("-c:v:$index" libx264 "-preset:v:$index" "$speed" "-profile:v:$index" "$profile"
                "-b:v:$index" "$bitrate" "-maxrate:v:$index" "$maxrate" "-bufsize:v:$index" "$buffer"
                "-threads:v:$index" "$threads" "-forced-idr:v:$index" 1
                "-force_key_frames:v:$index" 'expr:gte(t,n_forced*2)')
            [ "$tune" = - ] || [ "$tune" = none ] || settings+=("-tune:v:$index" "$tune")
            [ "$level" = - ] || [ "$level" = auto ] || settings+=("-level:v:$index" "$level")
            [ "$bframes" = - ] || settings+=("-bf:v:$index" "$bframes")
            [ "$refs" = - ] || settings+=("-refs:v:$index" "$refs")
            outputs+=(-map "[v$index]" "${settings[@]}" "-x264-params:v:$index" "$parameters")
        fi
        map="$map v:$index,agroup:a,name:$name"
        index=$((index + 1))
    done < <(rungs)
    printf '%s\n' -fps_mode passthrough -filter_complex "$graph" "${outputs[@]}" -map 0:a -c:a aac -b:a "$(audio_setting bitrate)" \
        -ar "$(audio_setting sample_rate)" -ac "$(audio_setting channels)" -f hls -hls_time 2 -hls_list_size 0 \
        -hls_segment_type fmp4 -hls_flags independent_segments -master_pl_name index.m3u8 \
        -hls_segment_filename '%v/%d.m4s' -var_stream_map "${map# } a:0,agroup:a,name:audio" '%v/index.m3u8'
}

# run_ffmpeg: one run of the command line; sets cpu. It reads no faster than the source plays, as the daemon does.
run_ffmpeg() {
    local arguments times
    mapfile -t arguments < <(ffmpeg_arguments)
    rm -rf "$folder/ffmpeg"
    mkdir -p "$folder/ffmpeg"
    (cd "$folder/ffmpeg" && ffmpeg -nostdin -hide_banner -loglevel info -nostats -benchmark -re -threads 1 -i "$source" "${arguments[@]}" \
        2>&1) >"$folder/ffmpeg.log" || { cat "$folder/ffmpeg.log" >&2 && die "ffmpeg failed"; }
    times=$(ffmpeg_times "$folder/ffmpeg.log")
    [ -n "$times" ] || die "ffmpeg said no times: $(cat "$folder/ffmpeg.log")"
    cpu=$times
}

ffmpeg_times() {
    sed -n 's/^bench: utime=\([0-9.]*\)s stime=\([0-9.]*\)s.*/\1 \2/p' "$1" | awk '{ printf "%.2f", $1 + $2 }'
}

# run_daemon: one run of the daemon; sets cpu, and session to the folder of what it stored.
run_daemon() {
    local before
    rm -rf "$folder/daemon"
    mkdir -p "$folder/daemon"
    # Measuring the machine costs CPU once in its life, not per broadcast.
    start_daemon "$binary" "$root/$folder/daemon" "MILLSTREAM_LADDER__PRESET=$root/$preset_file" MILLSTREAM_LADDER__CAPACITY=unlimited \
        MILLSTREAM_SESSION__ON_UNPUBLISH=end MILLSTREAM_HTTP__LISTEN=127.0.0.1:0 MILLSTREAM_RTMP__LISTEN=127.0.0.1:0 MILLSTREAM_SRT__LISTEN=127.0.0.1:0
    new_stream "$binary" bench
    before=$(cpu_seconds "$daemon_pid")
    ffmpeg -nostdin -hide_banner -loglevel error -re -i "$source" -c copy -f flv "rtmp://$daemon_rtmp/live/$stream_key"
    wait_until 60 ended || die "the session does not end; log: $daemon_log"
    cpu=$(awk -v a="$before" -v b="$(cpu_seconds "$daemon_pid")" 'BEGIN { printf "%.2f", b - a }')
    stop_daemon || die "the daemon did not stop in order; log: $daemon_log"
    daemon_pid=''
    session=$(find "$folder/daemon/data/objects/live/$stream_id" -mindepth 1 -maxdepth 1 -type d)
}

# ended: every stored media playlist has its ENDLIST.
ended() {
    local playlists
    mapfile -t playlists < <(find "$folder/daemon/data/objects/live/$stream_id" -mindepth 3 -name index.m3u8 2>/dev/null)
    [ "${#playlists[@]}" -gt 1 ] && ! grep -L '^#EXT-X-ENDLIST' "${playlists[@]}" | grep -q .
}

# ssim FILE WIDTH HEIGHT: against the source, scaled by libswscale as the command line does it. Frames are paired by their number: both sides count in frames,
# because FLV's milliseconds beside 1/90000 s would pair some with their neighbour.
ssim() {
    ffmpeg -nostdin -hide_banner -i "$1" -i "$source" -lavfi \
        "[0:v]settb=1/$fps,setpts=N[a];[1:v]scale=$2:$3:$scaling,settb=1/$fps,setpts=N[b];[a][b]ssim" -f null - 2>&1 |
        sed -n 's/.*SSIM.* All:\([0-9.]*\).*/\1/p'
}

step "Set-up"
need_packages "${packages_build[@]}" "${packages_run[@]}"
need_rust
cargo build --release --bin millstream
mkdir -p "$folder"
scripts/source.sh 1920 1080 "$fps" "$seconds" 6000 "$source"
frames=$((fps * seconds))

ours=() theirs=()
for ((round = 1; round <= rounds; round++)); do
    step "Round $round of $rounds"
    run_ffmpeg
    theirs+=("$cpu")
    say "ffmpeg      $cpu CPU s"
    run_daemon
    ours+=("$cpu")
    say "millstream  $cpu CPU s"
done

step "Result: preset $preset, $seconds s of 1080p$fps, $rounds rounds, $(nproc) cores, $(ffmpeg -version | head -n 1 | cut -d' ' -f3)"
median_ours=$(median "${ours[@]}") median_theirs=$(median "${theirs[@]}")
cat <<TABLE

| | CPU s per round | median | CPU s per s of media | ratio |
|---|---|---|---|---|
| ffmpeg command line | ${theirs[*]} | $median_theirs | $(awk -v a="$median_theirs" -v b="$seconds" 'BEGIN { printf "%.3f", a / b }') | 1.00 |
| millstream | ${ours[*]} | $median_ours | $(awk -v a="$median_ours" -v b="$seconds" 'BEGIN { printf "%.3f", a / b }') | $(awk -v a="$median_ours" -v b="$median_theirs" 'BEGIN { printf "%.2f", a / b }') |

| rung | frames lost, ffmpeg | frames lost, millstream | SSIM, ffmpeg | SSIM, millstream |
|---|---|---|---|---|
TABLE
while read -r name _ width height _; do
    cells=()
    join_segments "$session/$name" "$folder/$name-daemon.mp4"
    (cd "$folder/ffmpeg/$name" && cat ./init*.mp4 $(seq -f '%.0f.m4s' 0 "$(($(find . -name '*.m4s' | wc -l) - 1))")) \
        >"$folder/$name-ffmpeg.mp4"
    for side in ffmpeg daemon; do cells+=("$((frames - $(count_frames "$folder/$name-$side.mp4")))"); done
    for side in ffmpeg daemon; do
        # With a frame missing, all later pairs would be wrong.
        if [ "$(count_frames "$folder/$name-$side.mp4")" -eq "$frames" ]; then
            cells+=("$(ssim "$folder/$name-$side.mp4" "$width" "$height")")
        else
            cells+=("not comparable")
        fi
    done
    printf '| %s | %s | %s | %s | %s |\n' "$name" "${cells[@]}"
done < <(rungs)
