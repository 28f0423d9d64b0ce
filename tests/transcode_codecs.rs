//! The ladder fed by what encoders send beside H.264 and AAC: each codec made by a real encoder, decoded, and encoded again.

#[path = "support/ladder.rs"]
mod ladder;

use ladder::{
    Feed, Ran, START, Source, audio_of, break_at, check_onsets, cut, mean_luma, onsets, packets_of, preset, run,
    script, shape, sorted_pts, tracks_of, video_of,
};
use millstream::config::preset::Preset;
use millstream::flow::stage::Outcome;
use millstream::media::codec::hevc::{NAL_CRA, nal_type};
use millstream::media::codec::picture::VideoRange;
use millstream::media::copy::PictureForm;
use millstream::media::{AudioCodec, Cut, Packet, Span, Timestamp, Track, Unit, VideoCodec, VideoTrack};

/// Two seconds that grow brighter from frame to frame.
const RAMP: &str = "-f lavfi -i 'color=black:s=320x180:r=30:d=2,format=gray,geq=lum=16+3*N,format=yuv420p'";

fn at(millis: i64) -> Timestamp {
    START + Span::from_millis(millis)
}

/// The encoders of each codec, with frames that are shown in another order or not at all where the codec has such.
fn encoders() -> [(VideoCodec, &'static str); 5] {
    [
        (VideoCodec::H264, "-c:v libx264 -preset ultrafast -bf 2 -g 30 -sc_threshold 0 -qp 10"),
        (
            VideoCodec::Hevc,
            "-c:v libx265 -preset ultrafast -x265-params log-level=none:bframes=3:keyint=30:min-keyint=30:scenecut=0:open-gop=0:qp=10",
        ),
        (VideoCodec::Av1, "-c:v libsvtav1 -preset 12 -g 30 -qp 10"),
        (VideoCodec::Av1, "-c:v libaom-av1 -cpu-used 8 -g 30 -crf 10 -lag-in-frames 8"),
        (VideoCodec::Vp9, "-c:v libvpx-vp9 -cpu-used 8 -g 30 -crf 10 -b:v 0 -lag-in-frames 16 -auto-alt-ref 1"),
    ]
}

fn whole(source: &Source<VideoTrack>, cuts: &[Cut]) -> Vec<Unit> {
    let mut units = script(Track::Video(source.track.clone()), &source.packets, cuts);
    units.push(Unit::End);
    units
}

fn two_rungs() -> Preset {
    preset(&[("180p", 320, 180, ""), ("90p", 160, 90, "")])
}

fn check_ended_well(ran: &Ran) {
    assert!(matches!(ran.outcome, Outcome::Finished), "{:?}", ran.outcome);
    assert_eq!((ran.stats.decode_errors, ran.stats.shed_frames), (0, 0));
}

fn track_of(units: &[Unit]) -> &VideoTrack {
    tracks_of(units)[0].as_video().expect("a video rendition")
}

#[test]
fn each_frame_of_each_codec_is_once_in_each_rung_at_its_own_time() {
    for (codec, encoder) in encoders() {
        let source = video_of(codec, &format!("{RAMP} {encoder}"), Span::ZERO);
        assert_eq!((source.track.codec, source.track.width, source.track.height), (codec, 320, 180), "{encoder}");
        assert!(source.track.plain, "{encoder}");
        let ran = run(&two_rungs(), Some(whole(&source, &[cut(0, at(0)), cut(1, at(1_000))])), None, Feed::Patiently);
        check_ended_well(&ran);
        let expected = sorted_pts(&source.packets);
        assert_eq!((expected.len(), ran.stats.decoded_frames), (60, 60), "{encoder}");
        for units in &ran.units {
            let packets = packets_of(units);
            assert_eq!(sorted_pts(packets.iter().copied()), expected, "{encoder}");
            let idrs: Vec<_> = packets.iter().filter(|packet| packet.keyframe).map(|packet| packet.pts).collect();
            assert_eq!(idrs, [at(0), at(1_000)], "{encoder}");
            assert!(track_of(units).codecs.starts_with("avc1."), "{encoder}");
            // Each frame is brighter than the one before, as the source's are: none is another's.
            let luma = mean_luma(track_of(units), &packets);
            assert!(luma.len() == 60 && luma.windows(2).all(|pair| pair[0] < pair[1]), "{encoder}: {luma:?}");
            assert!(luma[0] < 30 && luma[59] > 165, "{encoder}: {luma:?}");
        }
    }
}

#[test]
fn samples_of_ten_bit_become_eight_and_say_still_what_they_mean() {
    let pq = "-color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc";
    for (codec, encoder) in [
        (VideoCodec::Hevc, "-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=30"),
        (VideoCodec::Av1, "-c:v libsvtav1 -preset 12 -g 30"),
    ] {
        let made = format!("-f lavfi -i testsrc2=s=320x180:r=30 -frames:v 30 -pix_fmt yuv420p10le {pq} {encoder}");
        let source = video_of(codec, &made, Span::ZERO);
        let range = |track: &VideoTrack| PictureForm::of(track).and_then(|form| form.colour.video_range());
        assert_eq!((source.track.plain, range(&source.track)), (false, Some(VideoRange::Pq)), "{encoder}");
        let ran = run(&two_rungs(), Some(whole(&source, &[cut(0, at(0))])), None, Feed::Patiently);
        check_ended_well(&ran);
        for units in &ran.units {
            assert_eq!(packets_of(units).len(), 30, "{encoder}");
            let track = track_of(units);
            assert_eq!((track.plain, range(track)), (true, Some(VideoRange::Pq)), "{encoder}");
        }
    }
}

#[test]
fn a_source_that_changes_its_codec_loses_no_frame() {
    let mut units = Vec::new();
    let mut expected = Vec::new();
    for (n, (codec, encoder)) in encoders().into_iter().enumerate() {
        let offset = i64::try_from(n).expect("few") * 3_000;
        let source = video_of(codec, &format!("{RAMP} {encoder}"), Span::from_millis(offset));
        expected.extend(sorted_pts(&source.packets));
        let begin = if n == 0 { cut(0, at(0)) } else { break_at(n as u64, at(offset)) };
        let changed = script(Track::Video(source.track.clone()), &source.packets, &[begin]);
        // The cut stands before the track that it brings.
        units.extend([changed[1].clone(), changed[0].clone()]);
        units.extend_from_slice(&changed[2..]);
    }
    units.push(Unit::End);
    let ran = run(&two_rungs(), Some([&units[1..2], &units[..1], &units[2..]].concat()), None, Feed::Patiently);
    check_ended_well(&ran);
    for units in &ran.units {
        assert_eq!(sorted_pts(packets_of(units)), expected, "{}", shape(units));
    }
}

#[test]
fn decoding_of_hevc_begins_at_a_clean_random_access_picture() {
    let open = "-c:v libx265 -preset ultrafast -x265-params log-level=none:bframes=3:keyint=30:min-keyint=30:scenecut=0:open-gop=1";
    let mut source = video_of(VideoCodec::Hevc, &format!("{RAMP} {open}"), Span::ZERO);
    let type_of = |packet: &Packet| packet.data.get(4..).map(nal_type);
    let cra = source.packets.iter().position(|packet| type_of(packet) == Some(NAL_CRA)).expect("x265 makes one");
    source.packets.drain(..cra);
    let first = source.packets[0].pts;
    let leading = source.packets.iter().filter(|packet| packet.pts < first).count();
    assert!(leading > 0, "shown before it, and made of what was before");
    let ran = run(&two_rungs(), Some(whole(&source, &[cut(0, first)])), None, Feed::Patiently);
    check_ended_well(&ran);
    for units in &ran.units {
        assert_eq!(sorted_pts(packets_of(units)), sorted_pts(&source.packets)[leading..]);
    }
}

/// Three seconds with a beep of 100 ms at seconds 1 and 2.
fn beeps(rate: u32, channels: u16) -> String {
    let beep = r"if(gte(t\,1)*lt(mod(t\,1)\,0.1)\,0.6*sin(2*PI*1000*t)\,0)";
    let all = vec![beep; usize::from(channels)].join("|");
    format!("-f lavfi -i 'aevalsrc={all}:s={rate}:d=3'")
}

#[test]
fn sound_of_each_codec_is_heard_where_it_was() {
    for (codec, rate, channels, encoder) in [
        (AudioCodec::Aac, 48_000, 2, "-c:a aac"),
        (AudioCodec::Opus, 48_000, 2, "-c:a libopus"),
        (AudioCodec::Opus, 48_000, 1, "-c:a libopus -frame_duration 2.5 -application lowdelay"),
        (AudioCodec::Opus, 48_000, 2, "-c:a libopus -frame_duration 120"),
        (AudioCodec::Opus, 48_000, 1, "-c:a libopus -application voip -b:a 16k"),
        (AudioCodec::Opus, 48_000, 6, "-c:a libopus -mapping_family 1"),
        (AudioCodec::Ac3, 48_000, 6, "-c:a ac3"),
        (AudioCodec::Ac3, 44_100, 2, "-c:a ac3"),
        (AudioCodec::Eac3, 48_000, 2, "-c:a eac3"),
        (AudioCodec::MpegAudio, 48_000, 2, "-c:a mp2"),
        (AudioCodec::MpegAudio, 44_100, 1, "-c:a libmp3lame"),
        (AudioCodec::Flac, 44_100, 2, "-c:a flac -strict -2"),
        (AudioCodec::Flac, 96_000, 2, "-c:a flac -sample_fmt s32 -strict -2"),
    ] {
        let source = audio_of(codec, &format!("{} {encoder}", beeps(rate, channels)), Span::ZERO, rate, channels);
        assert_eq!((source.track.codec, source.track.channels), (codec, channels), "{encoder}");
        let mut units =
            script(Track::Audio(source.track.clone()), &source.packets, &[cut(0, at(-100)), cut(1, at(1_000))]);
        units.push(Unit::End);
        let ran = run(&two_rungs(), None, Some(units), Feed::Patiently);
        assert!(matches!(ran.outcome, Outcome::Finished), "{encoder}: {:?}", ran.outcome);
        let packets = packets_of(&ran.units[0]);
        let track = tracks_of(&ran.units[0])[0].as_audio().expect("an audio rendition");
        assert_eq!((track.codec, track.sample_rate, track.channels), (AudioCodec::Aac, 48_000, 2), "{encoder}");
        check_onsets(&onsets(track, &packets), &[at(1_000), at(2_000)]);
        let stats = ran.stats.audio.expect("audio");
        assert_eq!((stats.silence_samples, stats.trimmed_samples, stats.decode_errors), (0, 0, 0), "{encoder}");
        assert_eq!(stats.drifts, 0, "{encoder}: packets last as long as they say");
    }
}

#[test]
fn sound_that_changes_its_codec_goes_on_without_a_seam() {
    let make = |codec, encoder: &str, seconds| {
        let made = format!("{} {encoder}", beeps(48_000, 2));
        audio_of(codec, &made, Span::from_secs(seconds), 48_000, 2)
    };
    let sources = [
        make(AudioCodec::Aac, "-c:a aac", 0),
        make(AudioCodec::Opus, "-c:a libopus", 3),
        make(AudioCodec::Flac, "-c:a flac -strict -2", 6),
    ];
    let mut units = Vec::new();
    for source in &sources {
        units.extend(script(Track::Audio(source.track.clone()), &source.packets, &[]));
    }
    units.insert(1, Unit::Cut(cut(0, at(-100))));
    units.push(Unit::End);
    let ran = run(&two_rungs(), None, Some(units), Feed::Patiently);
    assert!(matches!(ran.outcome, Outcome::Finished), "{:?}", ran.outcome);
    let packets = packets_of(&ran.units[0]);
    assert!(packets.windows(2).all(|pair| pair[0].pts + pair[0].duration == pair[1].pts));
    let track = tracks_of(&ran.units[0])[0].as_audio().expect("an audio rendition");
    let expected: Vec<_> = [1_000, 2_000, 4_000, 5_000, 7_000, 8_000].map(at).to_vec();
    check_onsets(&onsets(track, &packets), &expected);
}
