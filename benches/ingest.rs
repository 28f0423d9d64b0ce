//! Messages a second from FLV tag to unit: demux, normalise, cut.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use millstream::ingest::{Ingest, Input, Now, Settings};
use millstream::media::codec::h264::AvcConfig;
use millstream::media::{AudioCodec, VideoCodec, WallTime};
use millstream::wire::Inbound;
use millstream::wire::flv::{AudioTag, Tag, TagKind, VideoTag};

const SPS: &[u8] = &[
    0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00,
    0x00, 0x03, 0x00, 0xf0, 0x3c, 0x60, 0xc6, 0x58,
];
const PPS: &[u8] = &[0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0];
/// 1080p30 at 6 Mbit/s, in four slices as many encoders write it.
const PICTURE_BYTES: usize = 25_000;
const SLICES: usize = 4;

fn tag(kind: TagKind, timestamp_ms: i64, data: Bytes) -> Tag {
    Tag { kind, timestamp_ms: timestamp_ms as u32, data }
}

fn picture(n: i64, in_band: bool) -> Tag {
    let claimed_key = n % 60 == 0;
    let mut data = Vec::new();
    let mut push = |nal: &[u8]| {
        data.extend((nal.len() as u32).to_be_bytes());
        data.extend(nal);
    };
    if in_band {
        push(&[0x09, 0xf0]);
    }
    for _ in 0..SLICES {
        let mut slice = vec![1; PICTURE_BYTES / SLICES];
        slice[0] = if claimed_key { 0x65 } else { 0x41 };
        push(&slice);
    }
    let frame = VideoTag::frame(VideoCodec::H264, claimed_key, 66, Bytes::from(data));
    tag(TagKind::Video, n * 100 / 3, frame.to_body())
}

/// Ten seconds of pictures and sound.
fn tags(in_band: bool) -> Vec<Tag> {
    let sets = |set: &'static [u8]| vec![Bytes::from_static(set)];
    let config = AvcConfig { length_size: 4, sps: sets(SPS), pps: sets(PPS) }.write().expect("valid sets");
    let sound = (0..468).map(|n| {
        tag(TagKind::Audio, n * 64 / 3, AudioTag::frame(AudioCodec::Aac, Bytes::from(vec![7; 340])).to_body())
    });
    let mut media: Vec<Tag> = (0..300).map(|n| picture(n, in_band)).chain(sound).collect();
    media.sort_by_key(|tag| tag.timestamp_ms);
    let configs = [
        tag(TagKind::Video, 0, VideoTag::config(VideoCodec::H264, config).to_body()),
        tag(TagKind::Audio, 0, AudioTag::config(AudioCodec::Aac, Bytes::from_static(&[0x11, 0x90])).to_body()),
    ];
    configs.into_iter().chain(media).collect()
}

fn run(tags: &[Tag]) -> usize {
    let mut ingest = Ingest::new(Settings::default());
    let mut out = Vec::new();
    let mut units = 0;
    for tag in tags {
        let monotonic = Duration::from_millis(u64::from(tag.timestamp_ms));
        let now = Now { monotonic, wall: WallTime::from_unix_millis(i64::from(tag.timestamp_ms)) };
        let pushed = ingest.push(Input::Media(Inbound::Flv(tag.clone())), now, &mut out);
        assert!(pushed.is_ok());
        units += out.len();
        out.clear();
    }
    units
}

fn normalise(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ingest");
    for (name, in_band) in [("passed on as it is", false), ("delimiters taken out", true)] {
        let tags = tags(in_band);
        group.throughput(Throughput::Elements(tags.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| run(black_box(&tags))));
    }
    group.finish();
}

criterion_group!(benches, normalise);
criterion_main!(benches);
