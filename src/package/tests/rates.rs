//! What holds at every frame rate and for every place of the cuts: parts fill their target, times telescope, renditions
//! stay aligned, nothing is lost.

use super::*;
use crate::media::segment::{Part, SegmentEnd, SegmentStart};
use crate::wire::fmp4::read::ChunkInfo;
use proptest::prelude::*;

/// Rates that the default part target is made for.
const RATES: [(u32, u32); 12] = [
    (12, 1),
    (15, 1),
    (24, 1),
    (24_000, 1_001),
    (25, 1),
    (30, 1),
    (30_000, 1_001),
    (48, 1),
    (50, 1),
    (60, 1),
    (60_000, 1_001),
    (12_000, 1_001),
];

/// A part and what its bytes say.
type ReadPart = (Part, ChunkInfo);

/// One rendition's outputs, read back.
#[derive(Debug, Default)]
struct Packaged {
    segments: Vec<(SegmentStart, Vec<ReadPart>, SegmentEnd)>,
    ended: bool,
}

impl Packaged {
    /// Reads outputs back and checks the order that [`crate::media::segment`] promises.
    fn read(outputs: &[Output], rendition: RenditionId) -> Self {
        let mut packaged = Packaged::default();
        let mut open: Option<(SegmentStart, Vec<ReadPart>)> = None;
        for output in outputs.iter().filter(|output| output.rendition() == rendition) {
            assert!(!packaged.ended);
            match output {
                Output::Join(joined) => panic!("{joined:?} is not made by a packager"),
                Output::Init(init) => assert_eq!(init.number, 0),
                Output::Open(start) => assert!(open.replace((start.clone(), Vec::new())).is_none()),
                Output::Part(part) => {
                    let (start, parts) = open.as_mut().expect("a part lies in a segment");
                    assert_eq!((part.msn, part.index as usize), (start.msn, parts.len()));
                    let mut chunks = read_chunks(&part.bytes).expect("a chunk");
                    assert_eq!((chunks.len(), chunks[0].segment_start), (1, part.index == 0));
                    assert_eq!(part.samples as usize, chunks[0].samples.len());
                    assert_eq!(part.independent, chunks[0].samples[0].keyframe);
                    parts.push((part.clone(), chunks.remove(0)));
                }
                Output::Close(end) => {
                    let (start, parts) = open.take().expect("a segment ends once");
                    assert_eq!(start.msn, end.msn);
                    packaged.segments.push((start, parts, end.clone()));
                }
                Output::End(_) => packaged.ended = true,
            }
        }
        assert!(open.is_none() && packaged.ended);
        packaged
    }

    fn parts(&self) -> impl Iterator<Item = &ReadPart> {
        self.segments.iter().flat_map(|(_, parts, _)| parts)
    }

    /// EXTINF is the sum of its parts, a part's duration the sum of its samples, decode times have no gap and no
    /// overlap, and sequence numbers rise by one.
    fn check(&self, timescale: u32, target: Span) {
        let mut next = None;
        for ((part, chunk), sequence) in self.parts().zip(1..) {
            assert_eq!(part.duration, Span::from_units(chunk.duration() as i64, timescale));
            assert_eq!((chunk.base_decode_time, chunk.sequence), (next.unwrap_or(chunk.base_decode_time), sequence));
            next = Some(chunk.base_decode_time + chunk.duration());
            assert!(part.duration <= target || chunk.samples.len() == 1, "{part:?}");
        }
        for (start, parts, end) in &self.segments {
            let sum: Span = parts.iter().map(|(part, _)| part.duration).sum();
            assert!(start.gap || end.duration == sum, "{start:?}");
        }
    }

    fn msns(&self) -> Vec<u64> {
        self.segments.iter().map(|(start, ..)| start.msn).collect()
    }

    fn samples(&self) -> usize {
        self.parts().map(|(_, chunk)| chunk.samples.len()).sum()
    }
}

/// A session of `frames` frames with a keyframe and a cut every `gop` frames, its stamps passed through `stamp`, and
/// audio beside it.
fn steady(frames: i64, gop: i64, rate: (u32, u32), sample_rate: u32, stamp: fn(Timestamp) -> Timestamp) -> Vec<Output> {
    let time = |n: i64| stamp(ZERO + Span::from_units(n * i64::from(rate.1), rate.0));
    let mut bench = Bench::new(settings());
    bench.push(VIDEO, Unit::Track(video_track(320)));
    bench.push(AUDIO, Unit::Track(audio_track(sample_rate)));
    let mut sound = 0_i64;
    for n in 0..frames {
        if n % gop == 0 {
            bench.cut(cut((n / gop) as u64, time(n), CutKind::Keyframe));
        }
        bench.push(VIDEO, video(time(n), time(n), n % gop == 0));
        while Span::from_units(sound * 1_024, sample_rate) < time(n) - ZERO {
            let pts = ZERO + Span::from_units(sound * 1_024, sample_rate);
            bench.push(AUDIO, audio(pts, Span::from_units(1_024, sample_rate)));
            sound += 1;
        }
    }
    bench.push(VIDEO, Unit::End);
    bench.push(AUDIO, Unit::End);
    bench.out
}

fn check_steady(rate: (u32, u32), sample_rate: u32, stamp: fn(Timestamp) -> Timestamp) {
    let target = settings().part_target;
    let gop = i64::from(2 * rate.0.div_ceil(rate.1));
    let out = steady(5 * gop, gop, rate, sample_rate, stamp);
    for (rendition, timescale) in [(VIDEO, 90_000), (AUDIO, sample_rate)] {
        let packaged = Packaged::read(&out, rendition);
        packaged.check(timescale, target);
        assert_eq!(packaged.msns(), [0, 1, 2, 3, 4]);
        // How long the session's last frame lasts is a guess, which may not fit the part that it belongs to.
        for (_, parts, _) in &packaged.segments[..4] {
            let (_, all_but_last) = parts.split_last().expect("no segment is empty");
            for (part, _) in all_but_last {
                assert!(part.duration.flicks() * 100 >= target.flicks() * 85, "{rate:?} {sample_rate} {part:?}");
            }
        }
    }
}

#[test]
fn parts_fill_their_target_at_every_rate() {
    for rate in RATES {
        for sample_rate in [44_100, 48_000] {
            check_steady(rate, sample_rate, |time| time);
        }
    }
}

#[test]
fn parts_fill_their_target_when_the_source_counts_in_milliseconds() {
    for rate in RATES {
        check_steady(rate, 48_000, |time| Timestamp::from_millis(time.to_units(1_000)));
    }
}

#[test]
fn two_hours_of_ntsc_do_not_drift() {
    let (frames, gop) = (200_000, 60);
    let out = steady(frames, gop, (30_000, 1_001), 44_100, |time| time);
    let packaged = Packaged::read(&out, VIDEO);
    let (part, chunk) = packaged.parts().last().expect("parts");
    let end = Timestamp::from_units((chunk.base_decode_time + chunk.duration()) as i64, 90_000);
    assert_eq!((end - ZERO, part.msn), (Span::from_units(frames * 1_001, 30_000), 3_333));
    let audio = Packaged::read(&out, AUDIO);
    assert_eq!(audio.parts().map(|(_, chunk)| chunk.duration()).sum::<u64>() % 1_024, 0);
}

#[derive(Clone, Debug)]
struct Source {
    /// Milliseconds until the next frame.
    frames: Vec<u32>,
    /// Whether a cut stands before the frame.
    cuts: Vec<bool>,
    /// How long PTS lies behind DTS, in frames.
    reorder: bool,
    sample_rate: u32,
    /// Frames by which audio is ahead of, or behind, video in the order of units.
    audio_lag: usize,
}

fn any_source() -> impl Strategy<Value = Source> {
    let frames = proptest::collection::vec(1..400_u32, 2..120);
    let cuts = proptest::collection::vec(proptest::bool::weighted(0.15), 120);
    let sample_rate = prop::sample::select(vec![16_000, 22_050, 44_100, 48_000, 96_000]);
    (frames, cuts, any::<bool>(), sample_rate, 0..6_usize).prop_map(
        |(frames, cuts, reorder, sample_rate, audio_lag)| Source { frames, cuts, reorder, sample_rate, audio_lag },
    )
}

/// Packages the source; returns the outputs and how many packets of each kind went in.
fn package(source: &Source) -> (Vec<Output>, [usize; 2]) {
    let mut bench = Bench::new(settings());
    bench.push(VIDEO, Unit::Track(video_track(320)));
    bench.push(AUDIO, Unit::Track(audio_track(source.sample_rate)));
    let delay = if source.reorder { Span::from_millis(80) } else { Span::ZERO };
    let mut dts = ZERO;
    let mut sound: i64 = 0;
    let mut reached = vec![ZERO; source.audio_lag];
    let mut msn = 0;
    for (index, millis) in source.frames.iter().enumerate() {
        if index == 0 || source.cuts[index] {
            bench.cut(cut(msn, dts + delay, CutKind::Time));
            msn += 1;
        }
        bench.push(VIDEO, video(dts, dts + delay, index == 0));
        dts += Span::from_millis(i64::from(*millis));
        reached.push(dts);
        let until = reached[index];
        while ZERO + delay + Span::from_units(sound * 1_024, source.sample_rate) < until {
            let pts = ZERO + delay + Span::from_units(sound * 1_024, source.sample_rate);
            bench.push(AUDIO, audio(pts, Span::from_units(1_024, source.sample_rate)));
            sound += 1;
        }
    }
    bench.push(VIDEO, Unit::End);
    bench.push(AUDIO, Unit::End);
    let late: u64 = super::late(&bench).iter().sum();
    (bench.out, [source.frames.len(), sound as usize - late as usize])
}

proptest! {
    #[test]
    fn any_frames_and_any_cuts_telescope(source in any_source()) {
        let (out, packets) = package(&source);
        let target = settings().part_target;
        let video = Packaged::read(&out, VIDEO);
        video.check(90_000, target);
        prop_assert_eq!(video.samples(), packets[0]);
        prop_assert!(video.segments.iter().all(|(start, parts, _)| start.gap == parts.is_empty()));
        // All but the last frame last until the next one.
        let total: u32 = source.frames[..source.frames.len() - 1].iter().sum();
        let sum: Span = video.segments.iter().map(|(_, _, end)| end.duration).sum();
        prop_assert!(sum > Span::from_millis(total.into()));

        let audio = Packaged::read(&out, AUDIO);
        prop_assert_eq!(audio.samples(), packets[1]);
        // Segments of audio that no packet reached at the end are left out; all others stand at the same number and
        // time.
        let starts = |packaged: &Packaged| packaged.segments.iter().map(|(start, ..)| (start.msn, start.at, start.wall)).collect::<Vec<_>>();
        let (video_starts, audio_starts) = (starts(&video), starts(&audio));
        prop_assert_eq!(&video_starts[..audio_starts.len()], &audio_starts[..]);
        for (start, parts, end) in &audio.segments {
            let sum: Span = parts.iter().map(|(part, _)| part.duration).sum();
            prop_assert!(start.gap == parts.is_empty() && (start.gap || sum == end.duration));
            for (part, chunk) in parts {
                prop_assert!(part.independent && part.duration <= target);
                let first = Timestamp::from_units(chunk.base_decode_time as i64, source.sample_rate);
                prop_assert!(first >= start.at - Span::from_units(1, source.sample_rate));
            }
        }
    }
}

#[test]
fn a_part_names_the_frame_that_was_decoded_last() {
    let mut bench = Bench::new(PackageSettings { part_target: Span::from_millis(160), ..settings() });
    bench.push(VIDEO, Unit::Track(video_track(320)));
    bench.push(VIDEO, Unit::Cut(cut(0, ZERO, CutKind::Keyframe)));
    let frame = |n: i64| ZERO + Span::from_millis(40 * n);
    // Decoded in this order, one frame ahead of what is shown: I0 P2 B1 P4 B3.
    for (decoded, shown) in [0, 2, 1, 4, 3].into_iter().enumerate() {
        let dts = frame(i64::try_from(decoded).expect("small") - 1);
        bench.push(VIDEO, video(dts, frame(shown), decoded == 0));
    }
    bench.push(AUDIO, Unit::Track(audio_track(44_100)));
    bench.push(AUDIO, Unit::Cut(cut(0, ZERO, CutKind::Keyframe)));
    let frame_of_sound = |n: i64| ZERO + Span::from_units(1_024 * n, 44_100);
    (0..7).for_each(|n| bench.push(AUDIO, audio(frame_of_sound(n), Span::from_units(1_024, 44_100))));
    let lasts = bench.out.iter().filter_map(|output| match output {
        Output::Part(part) => Some((part.rendition, part.last_pts)),
        _ => None,
    });
    assert_eq!(lasts.collect::<Vec<_>>(), [(VIDEO, frame(4)), (AUDIO, frame_of_sound(5))]);
}
