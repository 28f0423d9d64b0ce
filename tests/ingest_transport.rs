//! Transport streams come out whole; what is lost of one costs what it must; what cannot be carried is refused in words.

mod ingest_support;

use std::time::Duration;

use bytes::Bytes;
use ingest_support::transport::*;
use ingest_support::{Publisher, Rig, Timeline};
use millstream::ingest::{Audition, IngestStats, Input, Settings};
use millstream::media::codec::hevc;
use millstream::media::codec::nal::nals_length_prefixed;
use millstream::media::{Cut, CutKind, Packet, Span, Track, Unit};
use millstream::wire::ts::PACKET_BYTES;

const H264: [&str; 8] = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-sc_threshold", "0"];

/// The captures, how many pictures and frames of sound there are in them, and how many frames of sound lie before the first picture.
const CAPTURES: [(&str, usize, usize, usize); 2] = [("obs-29-srt.ts", 66, 99, 0), ("ffmpeg-5.1-srt.ts", 67, 98, 1)];

/// All units, to be compared.
fn text(rig: &Rig) -> String {
    format!("{:?}", rig.units)
}

fn judged(mut rig: Rig) -> (Timeline, IngestStats) {
    let stats = rig.ingest.stats();
    (rig.end(), stats)
}

fn whole(stream: &[u8]) -> (Timeline, IngestStats) {
    judged(connection(stream, &[MESSAGE_BYTES]))
}

/// What `stream` gives when what lies in these bytes of it does not arrive.
fn with_a_hole(stream: &[u8], hole: std::ops::Range<usize>, told: bool) -> (Timeline, IngestStats) {
    let mut rig = Rig::new(Settings::default());
    rig.push(Input::Connected).expect("nothing to reject");
    send(&mut rig, &stream[..hole.start]).expect("nothing to reject");
    let behind = &stream[hole.end..];
    let (first, rest) = behind.split_at(behind.len().min(MESSAGE_BYTES));
    rig.push(Input::Media(piece(first, told))).expect("nothing to reject");
    send(&mut rig, rest).expect("nothing to reject");
    rig.disconnect();
    judged(rig)
}

fn data(packets: &[Packet]) -> Vec<Bytes> {
    packets.iter().map(|packet| packet.data.clone()).collect()
}

#[test]
fn captures_come_out_whole_whatever_the_cut() {
    for (file, pictures, sounds, early) in CAPTURES {
        let stream = capture(file);
        let rig = connection(&stream, &[MESSAGE_BYTES]);
        let units = text(&rig);
        let (timeline, stats) = judged(rig);
        assert_eq!((timeline.video.len(), timeline.audio.len()), (pictures, sounds - early), "{file}");
        assert_eq!((stats.dropped.trimmed_audio as usize, stats.silent_frames, stats.repairs), (early, 0, 0), "{file}");
        assert_eq!((timeline.discontinuities(), timeline.cut_ms()), (0, vec![0, 2_000]), "{file}");
        let [Track::Video(video), Track::Audio(audio)] = &timeline.tracks[..] else { panic!("{:?}", timeline.tracks) };
        assert_eq!((video.width, video.height, audio.sample_rate, audio.channels), (640, 360, 48_000, 2));
        let frame = Span::from_units(1_024, 48_000);
        assert!(timeline.audio.iter().all(|sound| sound.duration == frame), "{file}");
        assert_eq!(timeline.video.iter().filter(|picture| picture.keyframe).count(), 2);
        for lengths in [&[stream.len()][..], &[1], &[187, 189, 1_000], &[65_536]] {
            assert!(text(&connection(&stream, lengths)) == units, "{file} in pieces of {lengths:?}");
        }
    }
}

#[test]
fn stamps_that_wrap_cost_nothing() {
    let stream = capture("obs-29-srt.ts");
    let units = text(&connection(&stream, &[MESSAGE_BYTES]));
    // At once, between a DTS and its PTS, between sound and picture, in the middle.
    for before_wrap in [0, 1, 3_000, 5_999, 6_000, 6_001, 90_000, 100_123, 190_000] {
        let moved = moved(&stream, (1 << 33) - before_wrap);
        assert!(text(&connection(&moved, &[MESSAGE_BYTES])) == units, "{before_wrap} before the wrap");
    }
}

/// What is left of `whole` behind a loss: the pictures before it, and all from the second keyframe on, at which the one discontinuity
/// stands; sound without a hole, as far from the pictures as it was.
fn assert_harmed(whole: &(Timeline, IngestStats), harmed: &(Timeline, IngestStats), what: &str) {
    let ((whole, early), (harmed, stats)) = (whole, harmed);
    let trimmed = stats.dropped.trimmed_audio - early.dropped.trimmed_audio;
    let (pictures, left) = (data(&whole.video), data(&harmed.video));
    let before = left.iter().zip(&pictures).take_while(|(left, picture)| left == picture).count();
    assert!((1..60).contains(&before), "{what}: {before}");
    assert_eq!(left[before..], pictures[60..], "{what}");
    assert_eq!(harmed.discontinuities(), 1, "{what}");
    let cut = harmed.cuts.iter().find(|cut| cut.discontinuity).expect("there is one");
    assert_eq!(cut.at, harmed.video[before].pts, "{what}");
    // No run begins: everything stands where it would stand.
    assert_eq!(harmed.video[before].pts, whole.video[60].pts, "{what}");
    // Sound from before the cut that comes behind its keyframe is left out, as at each discontinuity; no other is missing.
    let sounds = harmed.audio.len() as u64 + trimmed;
    assert!(sounds == whole.audio.len() as u64 && trimmed < 24, "{what}: {:?}", stats.dropped);
    let mut silent = 0;
    for sound in &harmed.audio {
        let there = whole.audio.iter().find(|whole| (whole.pts, whole.duration) == (sound.pts, sound.duration));
        silent += u64::from(there.unwrap_or_else(|| panic!("{what}: {sound:?}")).data != sound.data);
    }
    assert!(silent <= stats.silent_frames, "{what}: {silent}"); // some of it is left out with the sound that it led to
}

#[test]
fn pictures_behind_a_lost_piece_are_left_out_until_the_next_keyframe() {
    for (file, ..) in CAPTURES {
        let stream = capture(file);
        let whole = whole(&stream);
        let second = start_of(&stream, VIDEO, 61);
        let first = start_of(&stream, VIDEO, 3);
        for start in (first..second - 3 * MESSAGE_BYTES).step_by(5 * MESSAGE_BYTES + PACKET_BYTES) {
            let harmed = with_a_hole(&stream, start..start + MESSAGE_BYTES, true);
            assert_harmed(&whole, &harmed, &format!("{file} from {start} on"));
        }
    }
}

#[test]
fn lost_packets_are_seen_without_being_told() {
    let stream = capture("obs-29-srt.ts");
    let whole = whole(&stream);
    let at = start_of(&stream, VIDEO, 20);
    let harmed = with_a_hole(&stream, at..at + PACKET_BYTES, false);
    assert_harmed(&whole, &harmed, "a packet of a picture");
    assert_eq!(harmed.1.silent_frames, 0);
}

#[test]
fn a_loss_of_sound_alone_costs_no_picture() {
    for (file, pictures, sounds, early) in CAPTURES {
        let stream = capture(file);
        let (timeline, stats) =
            judged(connection(&without(&stream, |pid, pes| pid == AUDIO && pes == 5), &[MESSAGE_BYTES]));
        assert_eq!((timeline.video.len(), timeline.discontinuities()), (pictures, 0), "{file}");
        assert_eq!(timeline.audio.len(), sounds - early, "{file}");
        assert!((1..=11).contains(&stats.silent_frames), "{file}: {}", stats.silent_frames);
    }
}

#[test]
fn the_last_picture_comes_out_with_the_end_of_the_connection() {
    let stream = capture("obs-29-srt.ts");
    for pictures in [10, 30, 66] {
        let (timeline, _) = whole(&stream[..start_of(&stream, VIDEO, pictures + 1)]);
        assert_eq!(timeline.video.len(), pictures);
    }
}

#[test]
fn what_cannot_be_carried_is_refused_in_words() {
    let mpeg2 = made(1, &["-c:v", "mpeg2video", "-c:a", "mp2"]);
    let words = "video codec MPEG-2 video is not supported: set the encoder to H.264";
    assert_eq!(refusal(&mpeg2), words);
    let nothing = made(1, &["-vn", "-c:a", "s302m", "-strict", "-2"]);
    let words = "the transport stream has no video and no audio that is supported: set the encoder to H.264 and AAC";
    assert_eq!(refusal(&nothing), words);
    let words = "no MPEG transport stream in the first 65536 bytes: set the encoder's container to MPEG-TS";
    assert_eq!(refusal(&[0; 100_000]), words);
    assert_eq!(refusal(&scrambled(0x101)), "elementary stream 257 is scrambled: switch scrambling off");
}

/// OBS's capture with one stream scrambled.
fn scrambled(which: u16) -> Vec<u8> {
    let mut stream = capture("obs-29-srt.ts");
    for packet in stream.chunks_exact_mut(PACKET_BYTES) {
        if u16::from_be_bytes([packet[1] & 0x1f, packet[2]]) == which {
            packet[3] |= 0x80;
        }
    }
    stream
}

/// Whom nothing can be shown of is told so, and does not wait for ever.
#[test]
fn a_stream_that_brings_no_media_is_refused_after_a_while() {
    let stream = capture("obs-29-srt.ts");
    let told_after = |stream: &[u8]| {
        let mut rig = Rig::new(Settings::default());
        send(&mut rig, stream).expect("it may come yet");
        rig.wait(14_999);
        rig.push(Input::Media(piece(&stream[..MESSAGE_BYTES], false))).expect("it may come yet");
        rig.wait(1);
        rig.push(Input::Media(piece(&stream[..MESSAGE_BYTES], false))).expect_err("15 s").to_string()
    };
    let no_tables = without(&stream, |pid, _| pid == 0 || pid == 0x1000);
    let words = "the transport stream brought no video and no audio within 15 s: let the encoder send PAT and PMT each second, \
                 and the streams they name";
    assert_eq!(told_after(&no_tables), words);
    let no_pictures = without(&stream, |pid, _| pid == VIDEO);
    let words = "no keyframe (IDR picture) came within 15 s: set the encoder's keyframe interval to 2 s";
    assert_eq!(told_after(&no_pictures), words);
}

/// A multiplexer of a constant rate goes on stuffing when its input is gone. Its session must not stand still for ever.
#[test]
fn a_stream_whose_media_ends_is_refused_after_a_while_though_stuffing_goes_on() {
    let mut packet = [0xff; PACKET_BYTES];
    packet[..4].copy_from_slice(&[0x47, 0x1f, 0xff, 0x10]);
    let stuff = |rig: &mut Rig| rig.push(Input::Media(piece(&packet.repeat(7), false)));
    let mut rig = Rig::new(Settings::default());
    send(&mut rig, &capture("obs-29-srt.ts")).expect("it has media");
    for _ in 0..15 {
        stuff(&mut rig).expect("media may come yet");
        rig.wait(1_000);
    }
    let told = stuff(&mut rig).expect_err("15 s").to_string();
    assert!(told.starts_with("the transport stream brought no video and no audio within 15 s"), "{told}");
    let gap = |unit: &Unit| matches!(unit, Unit::Cut(Cut { kind: CutKind::Gap { .. }, .. }));
    assert!(!rig.units.iter().any(gap), "it was connected");
    // Its hole began when media ended, and not with the last stuffing.
    rig.disconnect();
    rig.wait(0);
    assert_eq!(rig.units.iter().filter(|unit| gap(unit)).count(), 7, "of 2 s in 15 s");
}

#[test]
fn a_transport_stream_takes_over_from_rtmp_with_all_of_its_pictures() {
    let stream = capture("obs-29-srt.ts");
    let (whole, _) = whole(&stream);
    for length in [stream.len(), MESSAGE_BYTES] {
        let mut rig = Rig::new(Settings::default());
        let publisher = Publisher::default();
        rig.connect(&publisher);
        rig.play(&publisher, 0, 3_000);
        let (mut audition, mut heard, mut ready) = (Some(Audition::new(Duration::from_secs(1))), Vec::new(), false);
        for bytes in pieces(&stream, &[length]) {
            let now = rig.now();
            match &mut audition {
                None => rig.push(Input::Media(piece(bytes, false))).expect("nothing to reject"),
                Some(newcomer) => ready = newcomer.push(&piece(bytes, false), now.monotonic, &mut heard).expect("good"),
            }
            if std::mem::take(&mut ready) {
                rig.push(Input::Disconnected).expect("nothing to reject");
                let newcomer = audition.take().expect("it waits");
                rig.ingest.take_over(newcomer, now, &mut rig.units);
            }
        }
        rig.disconnect();
        let (timeline, stats) = judged(rig);
        assert_eq!(data(&timeline.video[90..]), data(&whole.video), "pieces of {length}");
        let sounds = data(&timeline.audio);
        assert!(sounds.ends_with(&data(&whole.audio)), "pieces of {length}");
        assert_eq!((timeline.discontinuities(), stats.dropped.damaged), (1, 1), "the picture that the end cuts off");
    }
}

#[test]
fn what_is_damaged_before_a_takeover_is_not_counted() {
    let stream = capture("obs-29-srt.ts");
    let at = start_of(&stream, VIDEO, 1);
    let harmed = [&stream[..at + PACKET_BYTES], &stream[at + 2 * PACKET_BYTES..]].concat();
    let (mut audition, mut heard) = (Audition::new(Duration::from_secs(1)), Vec::new());
    assert_eq!(audition.push(&piece(&harmed, false), Duration::ZERO, &mut heard), Ok(true), "with its second keyframe");
    let mut rig = Rig::new(Settings::default());
    let now = rig.now();
    rig.ingest.take_over(audition, now, &mut rig.units);
    rig.disconnect();
    let (timeline, stats) = judged(rig);
    assert_eq!(timeline.video.len(), 6);
    assert_eq!((stats.dropped.damaged, timeline.discontinuities()), (1, 0), "the picture that the end cuts off");
}

#[test]
fn a_newcomer_is_refused_for_what_stands_behind_its_keyframe_in_the_same_piece() {
    let mut audition = Audition::new(Duration::from_secs(1));
    let told = audition.push(&piece(&scrambled(0x101), false), Duration::ZERO, &mut Vec::new()).expect_err("scrambled");
    assert_eq!(told.to_string(), "elementary stream 257 is scrambled: switch scrambling off");
}

#[test]
fn a_newcomers_keyframe_is_of_the_configuration_before_it() {
    let stream = [capture("obs-29-srt.ts"), made(1, &[&H264[..], &["-c:a", "aac"]].concat())].concat();
    let (mut audition, mut heard) = (Audition::new(Duration::from_secs(1)), Vec::new());
    assert_eq!(audition.push(&piece(&stream, false), Duration::ZERO, &mut heard), Ok(true));
    let mut rig = Rig::new(Settings::default());
    let now = rig.now();
    rig.ingest.take_over(audition, now, &mut rig.units);
    rig.disconnect();
    let (timeline, _) = judged(rig);
    let widths = timeline
        .tracks
        .iter()
        .filter_map(|track| if let Track::Video(video) = track { Some(video.width) } else { None });
    assert_eq!(widths.collect::<Vec<_>>(), [640, 320]);
    assert_eq!(timeline.discontinuities(), 1);
}

/// Whether it is a picture that is left out behind a discontinuity, or the keyframe of an open group.
fn hevc_type(picture: &Packet) -> u8 {
    let types = nals_length_prefixed(&picture.data, 4).map(|nal| hevc::nal_type(nal.expect("whole NAL units")));
    types.filter(|kind| hevc::is_picture(*kind)).last().expect("a picture")
}

#[test]
fn leading_pictures_are_left_out_behind_a_discontinuity_and_there_alone() {
    let open = "keyint=30:min-keyint=30:scenecut=0:bframes=3:open-gop=1:log-level=none:pools=1";
    let stream = made(4, &["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", open, "-c:a", "aac"]);
    let (whole, stats) = whole(&stream);
    assert_eq!((whole.video.len(), whole.discontinuities(), stats.dropped.before_keyframe), (120, 0, 0));
    let types: Vec<u8> = whole.video.iter().map(hevc_type).collect();
    let keyframes: Vec<usize> = (0..120).filter(|n| whole.video[*n].keyframe).collect();
    let leading = |from: usize| types[from + 1..].iter().take_while(|kind| hevc::is_skipped_leading(**kind)).count();
    assert_eq!(keyframes.len(), 4, "{types:?}");
    assert!(keyframes[1..].iter().all(|at| leading(*at) > 0), "{types:?}");
    // Behind a loss.
    let at = start_of(&stream, VIDEO, keyframes[1] + 6);
    let (harmed, _) = with_a_hole(&stream, at..at + PACKET_BYTES, false);
    let before =
        harmed.video.iter().position(|picture| picture.data == whole.video[keyframes[2]].data).expect("it is there");
    assert_eq!(harmed.discontinuities(), 1);
    let behind = keyframes[2] + 1 + leading(keyframes[2]);
    assert_eq!(data(&harmed.video[before + 1..]), data(&whole.video[behind..]));
    // Joined at an open group, as a takeover is.
    let (joined, _) = {
        let stream = [&stream[..3 * PACKET_BYTES], &stream[start_of(&stream, VIDEO, keyframes[1])..]].concat();
        judged(connection(&stream, &[MESSAGE_BYTES]))
    };
    assert_eq!(joined.video[0].data, whole.video[keyframes[1]].data);
    assert_eq!(data(&joined.video[1..]), data(&whole.video[keyframes[1] + 1 + leading(keyframes[1])..]));
    assert_eq!(joined.discontinuities(), 0);
}

#[test]
fn opus_packets_keep_their_durations_and_lost_ones_are_silent() {
    for (frame, per_second) in [("2.5", 400), ("20", 50), ("60", 50 / 3)] {
        let stream = made(2, &[&H264[..], &["-c:a", "libopus", "-frame_duration", frame]].concat());
        let (all, _) = whole(&stream);
        let duration = Span::from_units(frame.parse::<f64>().map(|ms| (ms * 48.0) as i64).expect("a number"), 48_000);
        assert!(all.audio.len() > 2 * per_second - 4, "{frame} ms: {}", all.audio.len());
        assert!(all.audio.iter().all(|sound| sound.duration == duration), "{frame} ms");
        let harmed = without(&stream, |pid, pes| pid == AUDIO && (3..5).contains(&pes));
        let (harmed, stats) = whole(&harmed);
        assert_eq!((harmed.discontinuities(), harmed.video.len()), (0, 60), "{frame} ms");
        assert!(stats.silent_frames >= 2, "{frame} ms");
        let silent = all.audio.iter().zip(&harmed.audio).filter(|(all, harmed)| {
            assert_eq!((all.pts, all.duration), (harmed.pts, harmed.duration), "{frame} ms");
            all.data != harmed.data
        });
        assert!(silent.count() as u64 <= stats.silent_frames, "{frame} ms");
        assert_eq!(harmed.audio.len(), all.audio.len(), "{frame} ms");
    }
}

/// There is no frame of silence for them. Sound is back at once: the first frame behind the hole begins where it begins, lasts as long
/// as was missing, and the next one stands where it belongs.
#[test]
fn lost_sound_without_a_frame_of_silence_comes_back_at_once() {
    for codec in ["ac3", "mp2", "eac3"] {
        let stream = made(2, &[&H264[..], &["-c:a", codec]].concat());
        let (all, _) = whole(&stream);
        let (harmed, stats) = whole(&without(&stream, |pid, pes| pid == AUDIO && pes == 4));
        assert_eq!((harmed.discontinuities(), harmed.video.len(), stats.silent_frames), (0, 60, 0), "{codec}");
        let lost = all.audio.len() - harmed.audio.len();
        assert!((1..20).contains(&lost), "{codec}: {lost}");
        let longer: Vec<usize> =
            (0..harmed.audio.len()).filter(|n| harmed.audio[*n].duration != all.audio[0].duration).collect();
        let [longer] = longer[..] else { panic!("{codec}: {longer:?}") };
        assert_eq!(data(&harmed.audio[longer..]), data(&all.audio[longer + lost..]), "{codec}");
        for (harmed, all) in harmed.audio[longer + 1..].iter().zip(&all.audio[longer + lost + 1..]) {
            assert_eq!(harmed.pts, all.pts, "{codec}");
        }
    }
}
