//! The audio half of the ladder, with real AAC: counting, priming, gaps, breaks, and where a beep is heard.

#[path = "support/ladder.rs"]
mod ladder;
#[path = "support/tone.rs"]
mod tone;

use ladder::{
    Feed, Ran, START, Source, audio, break_at, check_onsets, cut, cuts_of, heard, onsets, packets_of, preset, run,
    script, shape, tracks_of,
};
use millstream::config::preset::Preset;
use millstream::flow::stage::Outcome;
use millstream::ingest::{Ingest, Input, Now, Settings};
use millstream::media::codec::aac::{silent_frame, track_from_config};
use millstream::media::{AudioCodec, AudioTrack, Cut, CutKind, Packet, Span, Timestamp, Track, Unit, WallTime};
use millstream::wire::Inbound;
use millstream::wire::flv::{AudioTag, Tag, TagKind};
use tone::Tone;

/// Three seconds with a beep of 100 ms at each whole second but the first; the moment of second 1 and 2.
fn beeps(rate: u32, channels: u32, seconds: u32) -> String {
    // Commas are the filter graph's own.
    let beep = r"if(gte(t\,1)*lt(mod(t\,1)\,0.1)\,0.6*sin(2*PI*1000*t)\,0)";
    let all = vec![beep; channels as usize].join("|");
    format!("-f lavfi -i 'aevalsrc={all}:s={rate}:d={seconds}' -c:a aac -b:a 128k")
}

fn at(millis: i64) -> Timestamp {
    START + Span::from_millis(millis)
}

fn samples(count: i64) -> Span {
    Span::from_units(count, 48_000)
}

/// The test ladder's audio settings, with rungs that no audio test uses.
fn stereo() -> Preset {
    preset(&[("v", 64, 36, "")])
}

fn whole(source: &Source<AudioTrack>, cuts: &[Cut]) -> Vec<Unit> {
    let mut units = script(Track::Audio(source.track.clone()), &source.packets, cuts);
    units.push(Unit::End);
    units
}

fn ladder(units: Vec<Unit>) -> Ran {
    let ran = run(&stereo(), None, Some(units), Feed::Patiently);
    assert!(matches!(ran.outcome, Outcome::Finished), "{:?}", ran.outcome);
    assert_eq!(ran.told, ["Finished"]);
    ran
}

fn track_of(units: &[Unit]) -> &AudioTrack {
    match tracks_of(units)[0] {
        Track::Audio(track) => track,
        Track::Video(_) => panic!("an audio rendition"),
    }
}

/// Packets follow each other by exactly 1024 samples.
fn check_counted(packets: &[&Packet]) {
    for (index, packet) in packets.iter().enumerate() {
        assert_eq!(packet.pts, packets[0].pts + samples(1_024 * index as i64), "packet {index}");
        assert_eq!((packet.dts, packet.duration, packet.keyframe), (packet.pts, samples(1_024), true));
    }
}

#[test]
fn packets_are_counted_from_the_first_pts_less_the_priming_and_beeps_stay_in_place() {
    for rate in [44_100, 48_000] {
        let source = audio(&beeps(rate, 2, 3), Span::ZERO);
        // Sound begins behind the picture that the session begins with.
        let ran = ladder(whole(&source, &[cut(0, at(-100)), cut(1, at(1_000)), cut(2, at(2_000))]));
        let units = &ran.units[0];
        let packets = packets_of(units);
        assert_eq!(packets[0].pts, source.packets[0].pts - samples(1_024), "{rate}");
        check_counted(&packets);
        // With it, there is no room for what holds none of the source's sound; all else is the same.
        let at_once = ladder(whole(&source, &[cut(0, at(0)), cut(1, at(1_000)), cut(2, at(2_000))]));
        assert!(packets_of(&at_once.units[0]) == packets[1..], "{rate}: {}", shape(&at_once.units[0]));
        let source_end = source.packets.last().expect("some").pts + source.packets[0].duration;
        let end = packets.last().expect("some").pts + samples(1_024);
        assert!(end >= source_end && end - source_end < samples(1_024), "{rate}: {end} for {source_end}");
        let track = track_of(units);
        assert_eq!(
            (track.codecs.as_str(), track.sample_rate, track.channels, track.samples_per_frame),
            ("mp4a.40.2", 48_000, 2, 1_024)
        );
        assert_eq!(millstream::media::codec::aac::track_from_config(track.config.clone()).as_ref(), Ok(track));
        check_onsets(&onsets(track, &packets), &[at(1_000), at(2_000)]);
        let stats = ran.stats.audio.expect("audio");
        assert_eq!((stats.silence_samples, stats.trimmed_samples, stats.decode_errors), (0, 0, 0));
    }
}

#[test]
fn cuts_come_before_every_packet_of_their_segment() {
    let source = audio(&beeps(48_000, 2, 3), Span::ZERO);
    let cuts = [cut(0, at(0)), cut(1, at(990)), cut(2, at(2_013))];
    let ran = ladder(whole(&source, &cuts));
    assert_eq!(cuts_of(&ran.units[0]), cuts.iter().collect::<Vec<_>>());
    assert!(matches!(ran.units[0].first(), Some(Unit::Track(_))));
    assert!(matches!(ran.units[0].last(), Some(Unit::End)));
    for cut in &cuts {
        let before = ran.units[0].iter().take_while(|unit| !matches!(unit, Unit::Cut(found) if found == cut));
        let early = before.filter(|unit| matches!(unit, Unit::Packet(packet) if packet.pts >= cut.at)).count();
        assert_eq!(early, 0, "cut {}", cut.msn);
    }
}

#[test]
fn lost_packets_become_silence_and_doubled_ones_are_trimmed() {
    let mut source = audio(&beeps(48_000, 2, 3), Span::ZERO);
    let doubled = source.packets[80].clone();
    source.packets.insert(81, doubled);
    source.packets.drain(20..40);
    let ran = ladder(whole(&source, &[cut(0, at(0))]));
    let packets = packets_of(&ran.units[0]);
    check_counted(&packets);
    check_onsets(&onsets(track_of(&ran.units[0]), &packets), &[at(1_000), at(2_000)]);
    let stats = ran.stats.audio.expect("audio");
    assert_eq!((stats.silence_samples, stats.trimmed_samples), (20 * 1_024, 1_024));
}

#[test]
fn a_break_empties_the_encoder_and_starts_a_run_that_is_not_before_it() {
    let first = audio(&beeps(48_000, 2, 2), Span::ZERO);
    let second = audio(&beeps(44_100, 2, 3), Span::from_secs(2));
    let again = break_at(1, at(2_000));
    let mut units = script(Track::Audio(first.track.clone()), &first.packets, &[cut(0, at(0))]);
    units.push(Unit::Cut(again.clone()));
    units.extend(whole(&second, &[]));
    let ran = ladder(units);
    let units = &ran.units[0];
    let at_break = units.iter().position(|unit| matches!(unit, Unit::Cut(cut) if *cut == again)).expect("handed on");
    let (before, after) = (packets_of(&units[..at_break]), packets_of(&units[at_break..]));
    check_counted(&before);
    check_counted(&after);
    let end = before.last().expect("some").pts + samples(1_024);
    assert!(end >= at(2_000), "all of the first source is out");
    assert_eq!(after[0].pts, end.max(again.at), "its priming packet neither overlaps nor is before the cut");
    assert!(matches!(units[at_break + 1], Unit::Track(_)), "{}", shape(units));
    check_onsets(&onsets(track_of(units), &before), &[at(1_000)]);
    check_onsets(&onsets(track_of(units), &after), &[at(3_000), at(4_000)]);
}

#[test]
fn the_end_of_copying_is_not_heard() {
    let source = audio(&beeps(48_000, 2, 3), Span::ZERO);
    let ends = Cut { copy_ends: true, ..break_at(1, at(1_000)) };
    let ran = ladder(whole(&source, &[cut(0, at(0)), ends]));
    let packets = packets_of(&ran.units[0]);
    check_counted(&packets);
    assert_eq!(tracks_of(&ran.units[0]).len(), 1);
    check_onsets(&onsets(track_of(&ran.units[0]), &packets), &[at(1_000), at(2_000)]);
}

#[test]
fn a_source_that_falls_silent_is_silence_one_segment_late() {
    let source = audio(&beeps(48_000, 2, 1), Span::ZERO);
    let mut units = script(Track::Audio(source.track.clone()), &source.packets, &[cut(0, at(0))]);
    units.extend((1..5).map(|msn| Unit::Cut(cut(msn, at(2_000 * i64::try_from(msn).expect("few"))))));
    units.push(Unit::End);
    let ran = ladder(units);
    let packets = packets_of(&ran.units[0]);
    check_counted(&packets);
    let end = packets.last().expect("some").pts + samples(1_024);
    assert!(end >= at(6_000) && end < at(6_000) + samples(1_024), "until the last cut but one: {end}");
}

#[test]
fn a_source_that_never_speaks_is_silence_too_but_not_in_a_gap() {
    let source = audio(&beeps(48_000, 2, 1), Span::ZERO);
    let mut units = vec![Unit::Track(std::sync::Arc::new(Track::Audio(source.track.clone())))];
    units.extend((0..3).map(|msn| Unit::Cut(cut(msn, at(2_000 * i64::try_from(msn).expect("few"))))));
    let gap = Cut { kind: CutKind::Gap { duration: Span::from_secs(2) }, ..break_at(3, at(6_000)) };
    units.extend([Unit::Cut(gap.clone()), Unit::Cut(Cut { msn: 4, at: at(8_000), ..gap }), Unit::End]);
    let ran = ladder(units);
    let packets = packets_of(&ran.units[0]);
    check_counted(&packets);
    assert_eq!(packets[0].pts, at(0), "behind the cut, without what only primes the encoder");
    let end = packets.last().expect("some").pts + samples(1_024);
    assert!(end >= at(2_000) && end < at(2_000) + samples(1_024), "{end}");
    assert_eq!(cuts_of(&ran.units[0]).len(), 5);
}

#[test]
fn mono_and_surround_become_stereo() {
    for channels in [1, 6] {
        let source = audio(&beeps(48_000, channels, 2), Span::ZERO);
        assert_eq!(u32::from(source.track.channels), channels);
        let ran = ladder(whole(&source, &[cut(0, at(0))]));
        let packets = packets_of(&ran.units[0]);
        check_counted(&packets);
        assert_eq!(track_of(&ran.units[0]).channels, 2);
        check_onsets(&onsets(track_of(&ran.units[0]), &packets), &[at(1_000)]);
    }
}

#[test]
fn broken_packets_are_counted_and_become_silence() {
    let mut source = audio(&beeps(48_000, 2, 2), Span::ZERO);
    for packet in &mut source.packets[20..25] {
        packet.data = bytes::Bytes::from_static(&[0xff; 40]);
    }
    let ran = ladder(whole(&source, &[cut(0, at(0))]));
    let packets = packets_of(&ran.units[0]);
    check_counted(&packets);
    check_onsets(&onsets(track_of(&ran.units[0]), &packets), &[at(1_000)]);
    let stats = ran.stats.audio.expect("audio");
    assert!(stats.decode_errors >= 1, "{stats:?}");
}

/// A tone of 500 Hz, with `per_mille` more samples in a second than it says: sent as RTMP does, with stamps in milliseconds.
fn drifting(rate: u32, per_mille: i64, seconds: u32) -> (Source<AudioTrack>, Vec<Unit>) {
    let arguments = format!(
        "-f lavfi -i 'aevalsrc=0.3*sin(2*PI*500*t)|0.3*sin(2*PI*500*t):s={rate}:d={seconds}' -c:a aac -b:a 128k"
    );
    let source = audio(&arguments, Span::ZERO);
    let mut ingest = Ingest::new(Settings::default());
    let (mut units, wall) = (Vec::new(), WallTime::from_unix_millis(0));
    let mut push = |stamp: i64, data: AudioTag| {
        let now = Now { monotonic: std::time::Duration::from_millis(stamp.unsigned_abs()), wall };
        let tag =
            Tag { kind: TagKind::Audio, timestamp_ms: u32::try_from(stamp).expect("positive"), data: data.to_body() };
        ingest.push(Input::Media(Inbound::Flv(tag)), now, &mut units).expect("nothing to reject");
        (now, ingest.stats())
    };
    push(0, AudioTag::config(AudioCodec::Aac, source.track.config.clone()));
    let mut last = None;
    for (n, packet) in source.packets.iter().enumerate() {
        let stamp = n as i64 * 1_024 * 1_000 * 1_000 / (i64::from(rate) * (1_000 + per_mille));
        last = Some(push(stamp, AudioTag::frame(AudioCodec::Aac, packet.data.clone())));
    }
    let (now, stats) = last.expect("packets");
    assert!(stats.drift_corrections >= 2 || per_mille == 0, "{stats:?}");
    ingest.end(now, &mut units);
    (source, units)
}

#[test]
fn a_clock_that_runs_wrong_is_followed_without_a_click() {
    const SECONDS: u32 = 50;
    for (rate, per_mille) in [(48_000, 1), (48_000, -1), (44_100, 1), (44_100, 0)] {
        let name = format!("{rate} Hz, {per_mille} per mille");
        let (source, units) = drifting(rate, per_mille, SECONDS);
        let ran = ladder(units);
        let packets = packets_of(&ran.units[0]);
        check_counted(&packets);
        let stats = ran.stats.audio.expect("audio");
        assert_eq!((stats.silence_samples, stats.trimmed_samples), (0, 0), "{name}: {stats:?}");
        assert_eq!(stats.drifts > 0, per_mille != 0, "{name}: {stats:?}");
        // As long as its clock says, within what is promised.
        let samples_of_source = source.packets.len() as i64 * 1_024;
        let told = Span::from_units(samples_of_source * 1_000, rate).flicks() / (1_000 + per_mille);
        let off = packets.last().expect("some").pts - packets[0].pts - Span::from_flicks(told);
        assert!(off.abs() <= Span::from_millis(45), "{name}: {off} off");
        // What was corrected of 50 ms.
        let drift_us = if per_mille == 0 { 50.0 } else { 55_000.0 };
        let tone = Tone::measure(&heard(track_of(&ran.units[0]), &packets));
        tone.assert_unbroken(&name, drift_us);
        assert!(per_mille == 0 || tone.drift_us.abs() > 25_000.0, "{name}: it follows: {tone:?}");
    }
}

#[test]
fn every_rate_is_one_unbroken_tone() {
    for rate in [8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000] {
        let (_, units) = drifting(rate, 0, 3);
        let ran = ladder(units);
        let packets = packets_of(&ran.units[0]);
        check_counted(&packets);
        let stats = ran.stats.audio.expect("audio");
        assert_eq!((stats.silence_samples, stats.trimmed_samples, stats.drifts), (0, 0, 0), "{rate}: {stats:?}");
        Tone::measure(&heard(track_of(&ran.units[0]), &packets)).assert_unbroken(&rate.to_string(), 50.0);
    }
}

#[test]
fn silent_frames_are_silence_to_a_decoder() {
    // AAC-LC at 48 kHz from mono to 7.1.
    for configuration in 1..=7_u8 {
        let config = bytes::Bytes::copy_from_slice(&[0x11, 0x80 | configuration << 3]);
        let track = track_from_config(config).expect("a configuration");
        let frame = silent_frame(&track).expect("a usual layout");
        let packet = |n: i64| Packet {
            kind: millstream::media::Kind::Audio,
            dts: START + samples(n * 1_024),
            pts: START + samples(n * 1_024),
            duration: samples(1_024),
            keyframe: true,
            data: frame.clone(),
        };
        let source = Source { track, packets: (0..50).map(packet).collect() };
        let ran = ladder(whole(&source, &[cut(0, at(0))]));
        let stats = ran.stats.audio.expect("audio");
        assert_eq!((stats.decode_errors, stats.silence_samples), (0, 0), "{configuration}: {stats:?}");
        assert!(stats.encoded_samples >= 50 * 1_024, "{configuration}: {stats:?}");
        let packets = packets_of(&ran.units[0]);
        let loudest = heard(track_of(&ran.units[0]), &packets).into_iter().map(f32::abs).fold(0.0, f32::max);
        assert!(loudest < 0.000_1, "{configuration}: {loudest}");
    }
}
