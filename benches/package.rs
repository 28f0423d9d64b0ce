//! What packaging costs: chunks, the packager as a whole, the window, playlists.
//!
//! `chunk` stands beside the same chunk written by mp4-atom, because that comparison is why ours is written by hand.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use millstream::media::segment::{Part, Rendition, RenditionId, RenditionUnit, Renditions, SegmentEnd, SegmentStart};
use millstream::media::{Cut, CutKind, Kind, Output, Packet, Span, Timestamp, Track, Unit, VideoTrack, WallTime};
use millstream::package::{PackageSettings, Packager, Window, WindowSettings};
use millstream::wire::fmp4::{ChunkHead, Sample, write_chunk};
use mp4_atom::{Encode, Mfhd, Moof, Tfdt, Tfhd, Traf, Trun, TrunEntry, TrunSamples};

const VIDEO: RenditionId = RenditionId(0);
const HEAD: ChunkHead = ChunkHead { sequence: 7, base_decode_time: 900_000, segment_start: false };

/// Samples with B-frames of `bytes` each.
fn part_samples(count: usize, bytes: usize) -> Vec<Sample> {
    let sample = |n: usize| Sample {
        duration: 3_000,
        composition_offset: [6_000, 3_000, 0][n % 3],
        keyframe: n == 0,
        data: Bytes::from(vec![n as u8; bytes]),
    };
    (0..count).map(sample).collect()
}

/// The same chunk with its moof by mp4-atom: it is encoded twice, because its length is the data offset.
fn chunk_by_mp4_atom(samples: &[Sample]) -> Bytes {
    let flags = |keyframe: bool| if keyframe { 0x0200_0000 } else { 0x0101_0000 };
    let entries = samples.iter().map(|sample| TrunEntry {
        duration: Some(sample.duration),
        size: Some(sample.data.len() as u32),
        flags: Some(flags(sample.keyframe)),
        cts: Some(sample.composition_offset.into()),
    });
    let trun = Trun { data_offset: Some(0), samples: TrunSamples::Explicit(entries.collect()) };
    let tfhd = Tfhd { track_id: 1, default_base_is_moof: true, ..Default::default() };
    let tfdt = Some(Tfdt { base_media_decode_time: HEAD.base_decode_time });
    let traf = Traf { tfhd, tfdt, trun: vec![trun], ..Default::default() };
    let mut moof = Moof { mfhd: Mfhd { sequence_number: HEAD.sequence }, traf: vec![traf] };
    let mut out = Vec::new();
    moof.encode(&mut out).expect("it fits");
    moof.traf[0].trun[0].data_offset = Some(out.len() as i32 + 8);
    out.clear();
    moof.encode(&mut out).expect("it fits");
    // Its Mdat wants the payload in one piece and copies it byte by byte, so that part is written as ours is.
    let payload: usize = samples.iter().map(|sample| sample.data.len()).sum();
    out.extend_from_slice(&(payload as u32 + 8).to_be_bytes());
    out.extend_from_slice(b"mdat");
    for sample in samples {
        out.extend_from_slice(&sample.data);
    }
    Bytes::from(out)
}

/// A part of 334 ms at 30 fps and 6 Mbit/s, and one at 60 fps of almost nothing, where the boxes are all that counts.
fn chunk(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chunk");
    for (name, samples) in [("6 Mbit", part_samples(10, 25_000)), ("tiny", part_samples(20, 20))] {
        group.throughput(Throughput::Bytes(samples.iter().map(|sample| sample.data.len() as u64).sum()));
        let own = BenchmarkId::new("own", name);
        group.bench_function(own, |bencher| bencher.iter(|| write_chunk(&HEAD, black_box(&samples))));
        let mp4_atom = BenchmarkId::new("mp4-atom", name);
        group.bench_function(mp4_atom, |bencher| bencher.iter(|| chunk_by_mp4_atom(black_box(&samples))));
    }
    group.finish();
}

fn renditions() -> Renditions {
    Arc::new([Rendition {
        name: "1080p".to_owned(),
        kind: Kind::Video,
        copied: true,
        bandwidth: 6_500_000,
        frame_rate: Some((30, 1)),
    }])
}

/// 2 s at 30 fps and 6 Mbit/s, as ingest hands them on.
fn segment_units() -> Vec<Unit> {
    let config = b"\x01\x64\x00\x28\xff\xe1\x00\x04\x67\x64\x00\x28\x01\x00\x02\x68\xeb";
    let track =
        Track::Video(VideoTrack { config: Bytes::from_static(config), ..VideoTrack::plain(1_920, 1_080, (30, 1)) });
    let at = |n: i64| Timestamp::from_millis(10_000) + Span::from_units(n, 30);
    let wall = WallTime::from_unix_millis(0);
    let kind = CutKind::Keyframe;
    let cut = Cut { msn: 0, at: at(0), wall, discontinuity: false, copy_ends: false, kind };
    let data = Bytes::from(vec![7; 25_000]);
    let packet = |n: i64| {
        let (kind, duration, keyframe, data) = (Kind::Video, Span::ZERO, n == 0, data.clone());
        Unit::Packet(Packet { kind, dts: at(n), pts: at(n), duration, keyframe, data })
    };
    let head = [Unit::Track(Arc::new(track)), Unit::Cut(cut)];
    head.into_iter().chain((0..60).map(packet)).chain([Unit::End]).collect()
}

fn packager(criterion: &mut Criterion) {
    let units = segment_units();
    let settings =
        PackageSettings { epoch: 0, part_target: Span::from_millis(334), renditions: renditions(), resume: Vec::new() };
    let mut group = criterion.benchmark_group("packager");
    group.throughput(Throughput::Elements(60));
    group.bench_function("segment of 60 frames", |bencher| {
        let setup = || (Packager::new(settings.clone()), units.clone(), Vec::with_capacity(16));
        let pack = |(mut packager, units, mut out): (Packager, Vec<Unit>, Vec<Output>)| {
            for unit in units {
                packager.push(RenditionUnit { rendition: VIDEO, unit }, &mut out).expect("in order");
            }
            out
        };
        bencher.iter_batched(setup, pack, BatchSize::SmallInput);
    });
    group.finish();
}

/// A window of that many segments, full, and the MSN that comes next.
fn full_window(segments: u64) -> (Window, u64) {
    let (window, segment_target) = (Span::from_secs(2 * segments as i64), Span::from_secs(2));
    let window = Window::new(renditions(), WindowSettings { window, segment_target, start: Vec::new() });
    (0..segments).for_each(|msn| play(&window, msn));
    (window, segments)
}

fn part(msn: u64, index: u32) -> Output {
    let (duration, bytes) = (Span::from_units(1, 3), Bytes::from_static(b"part"));
    let (rendition, epoch, samples, last_pts, independent) = (VIDEO, 0, 10, Timestamp::ZERO, index == 0);
    Output::Part(Part { rendition, msn, epoch, index, samples, duration, last_pts, independent, bytes })
}

fn play(window: &Window, msn: u64) {
    let (at, wall) = (Timestamp::from_millis(2_000 * msn as i64), WallTime::from_unix_millis(2_000 * msn as i64));
    let (rendition, epoch, discontinuity, gap, init) = (VIDEO, 0, false, false, 0);
    window.apply(&Output::Open(SegmentStart { rendition, msn, epoch, at, wall, discontinuity, gap, init }));
    (0..6).for_each(|index| window.apply(&part(msn, index)));
    window.apply(&Output::Close(SegmentEnd { rendition, msn, duration: Span::from_secs(2) }));
}

/// One segment with its six parts, in windows of 1 min, 1 h and 12 h.
fn window(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("window");
    for segments in [30, 1_800, 21_600] {
        let (window, mut msn) = full_window(segments);
        group.bench_function(BenchmarkId::new("segment of 6 parts", segments), |bencher| {
            bencher.iter(|| {
                play(&window, msn);
                msn += 1;
            });
        });
    }
    group.finish();
}

fn playlist(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("playlist");
    for segments in [30, 1_800] {
        let (window, _) = full_window(segments);
        let view = window.rendition(VIDEO).expect("it is there");
        group.throughput(Throughput::Elements(segments));
        group.bench_function(BenchmarkId::new("render", segments), |bencher| {
            bencher.iter(|| black_box(view.playlist()).render());
        });
    }
    group.finish();
}

criterion_group!(benches, chunk, packager, window, playlist);
criterion_main!(benches);
