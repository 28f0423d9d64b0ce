#!/usr/bin/env bash
# Makes the synthetic source that tests and benches push: an FLV with H.264 (B-frames, closed GOPs of 2 s) and AAC.
#
#   scripts/source.sh WIDTH HEIGHT FPS SECONDS VIDEO_KBPS OUT.flv [FILTER [OPTION...]]
#
# FPS may be a fraction such as 24000/1001. FILTER is a filter of ffmpeg that the finished picture goes through last (`null` for none),
# and OPTIONs are ffmpeg's for the output, which win over those here: for interlaced, anamorphic, 10-bit and other odd sources.
#
# What it holds, so that a test can tell what became of each frame:
#   - the top eighth of the picture is one row of 20 blocks that survive scaling and coding:
#     white, black, 16 bits of the frame number (lowest first), 2 bits of the number modulo 3 as a check;
#   - below it a moving picture, and a white flash of 3 frames at the beginning of each second;
#   - a 1 kHz beep of 100 ms at the beginning of each second over a quiet 220 Hz tone, so that silence is always an error.
set -euo pipefail

if [ "$#" -lt 6 ]; then
    sed -n '2,15s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
width=$1 height=$2 fps=$3 seconds=$4 kbps=$5 out=$6
filter=${7:-null}
shift $(($# > 7 ? 7 : $#))
# Whole frames of a nominal second: flashes and keyframes are counted in them.
whole=$(((${fps%/*} + ${fps#*/} - 1) / ${fps#*/}))
case $fps in */*) ;; *) whole=$fps ;; esac

# Each block is one pixel of a 20x2 picture, enlarged without smoothing.
bit='if(lt(X,18),bitand(floor(N/pow(2,X-2)),1),bitand(floor(mod(N,3)/pow(2,X-18)),1))'
luma="if(eq(X,0),235,if(eq(X,1),16,16+219*$bit))"
code="color=black:s=20x2:r=$fps:d=$seconds,format=yuv420p,geq=lum='$luma':cb=128:cr=128"
code="$code,scale=$width:$height/8:flags=neighbor"
picture="testsrc2=s=${width}x${height}:r=$fps:d=$seconds,format=yuv420p"
picture="$picture,drawbox=c=white:t=fill:enable='lt(mod(n,$whole),3)'"
sound="aevalsrc='if(lt(mod(n,48000),4800),0.5*sin(2*PI*1000*t),0.02*sin(2*PI*220*t))':s=48000:d=$seconds"

# Written beside and moved, so that a source which exists is whole.
part="$out.$$.part"
trap 'rm -f "$part"' EXIT
ffmpeg -nostdin -hide_banner -loglevel error -y -filter_complex "
        ${picture}[p]; ${code}[c]; [p][c]overlay=0:0:format=yuv420,${filter}[v]; $sound,aformat=channel_layouts=stereo[a]" \
    -map '[v]' -map '[a]' \
    -c:v libx264 -preset veryfast -profile:v high -pix_fmt yuv420p -bf 2 \
    -g "$((2 * whole))" -keyint_min "$((2 * whole))" -sc_threshold 0 \
    -b:v "${kbps}k" -maxrate "${kbps}k" -bufsize "${kbps}k" \
    -c:a aac -b:a 128k -ar 48000 -ac 2 "$@" -f flv "$part"
mv "$part" "$out"
