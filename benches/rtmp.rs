//! How fast the RTMP reader is: the capture of OBS, in one piece and in reads of 4 KiB.

#![allow(missing_docs, reason = "the macros below make functions without any")]

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use millstream::wire::rtmp::{Event, Limits, Server};

const CAPTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/obs-29-rtmp-c2s.bin");

/// Runs `pieces` through a server that accepts; the payload bytes of what came out.
fn parse(pieces: Vec<Bytes>, events: &mut Vec<Event>) -> usize {
    let mut server = Server::new(Limits::default());
    let mut payload = 0;
    for piece in pieces {
        server.receive(piece, events).expect("a good capture");
        server.accept_publish(events).expect("a good capture");
        payload +=
            events.drain(..).map(|event| if let Event::Media(tag) = event { tag.data.len() } else { 0 }).sum::<usize>();
    }
    payload
}

/// The capture as a socket would give it: pieces of one buffer each time it is filled.
fn pieces(capture: &[u8], length: usize) -> Vec<Bytes> {
    capture.chunks(length).map(|piece| BytesMut::from(piece).freeze()).collect()
}

fn rtmp(criterion: &mut Criterion) {
    let capture = std::fs::read(CAPTURE).expect("the fixture is in the tree");
    let mut group = criterion.benchmark_group("rtmp_parse_obs");
    group.throughput(Throughput::Bytes(capture.len() as u64));
    for (name, length) in [("whole", capture.len()), ("64_kib_reads", 64 * 1024), ("4_kib_reads", 4 * 1024)] {
        let mut events = Vec::new();
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || pieces(&capture, length),
                |pieces| parse(pieces, &mut events),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, rtmp);
criterion_main!(benches);
