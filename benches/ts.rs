//! How fast the MPEG-TS demultiplexer is: the captures of OBS and FFmpeg in messages as SRT hands them on, and in odd cuts.

#![allow(missing_docs, reason = "the macros below make functions without any")]

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use millstream::wire::ts::{Demuxer, Event, Piece};

/// Bytes of units in these pieces.
fn demux(pieces: Vec<Piece>, events: &mut Vec<Event>) -> usize {
    let mut demuxer = Demuxer::default();
    let mut bytes = 0;
    for piece in pieces {
        demuxer.push(&piece, events);
        bytes += events
            .drain(..)
            .map(|event| if let Event::Unit(unit) = event { unit.data.len() } else { 0 })
            .sum::<usize>();
    }
    bytes
}

fn pieces(capture: &[u8], length: usize) -> Vec<Piece> {
    let pieces = capture.chunks(length).map(|piece| BytesMut::from(piece).freeze());
    pieces.map(|data: Bytes| Piece { data, lost: false }).collect()
}

fn ts(criterion: &mut Criterion) {
    for name in ["obs-29-srt", "ffmpeg-5.1-srt"] {
        let path = format!("{}/fixtures/{name}.ts", env!("CARGO_MANIFEST_DIR"));
        let capture = std::fs::read(path).expect("the fixture is in the tree");
        let mut group = criterion.benchmark_group(format!("ts_demux_{name}"));
        group.throughput(Throughput::Bytes(capture.len() as u64));
        for (cut, length) in [("messages_of_1316", 1_316), ("odd_cuts_of_1000", 1_000)] {
            let mut events = Vec::new();
            group.bench_function(cut, |bencher| {
                bencher.iter_batched(
                    || pieces(&capture, length),
                    |pieces| demux(pieces, &mut events),
                    BatchSize::LargeInput,
                );
            });
        }
        group.finish();
    }
}

criterion_group!(benches, ts);
criterion_main!(benches);
