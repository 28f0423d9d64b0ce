//! Fragmented MP4: any bytes end in a description that lies within them, or in an error; what is described comes back
//! from the writer; what the writer makes of any samples is read back.

use bytes::Bytes;
use millstream::wire::fmp4::boxes::{Boxes, tree};
use millstream::wire::fmp4::read::{ChunkInfo, EntryInfo, read_chunks, read_init};
use millstream::wire::fmp4::{ChunkHead, Sample, write_chunk};

use super::source::{Source, assert_tellable};

pub fn run(data: &[u8]) {
    let mut source = Source::new(data);
    match source.u8() & 3 {
        0 => boxes(source.rest()),
        1 => init(source.rest()),
        2 => chunks(source.rest()),
        _ => written(&mut source),
    }
}

fn boxes(bytes: &[u8]) {
    let mut end = 0;
    for found in Boxes::new(bytes) {
        match found {
            Ok(found) => {
                assert_eq!(found.offset, end, "boxes follow each other");
                end += found.len();
                assert!(end <= bytes.len());
            }
            Err(error) => assert_tellable(&error.to_string()),
        }
    }
    match tree(bytes) {
        // A line has at most two blanks per level and an escaped type; a box at least eight bytes.
        Ok(text) => assert!(text.len() <= bytes.len() * 10, "{} bytes drawn as {}", bytes.len(), text.len()),
        Err(error) => assert_tellable(&error.to_string()),
    }
}

fn init(bytes: &[u8]) {
    match read_init(bytes) {
        Ok(info) => {
            let (EntryInfo::Video { config, .. } | EntryInfo::Audio { config, .. }) = info.entry;
            // An OpusHead has a magic word that a dOps has not.
            assert!(config.len() <= bytes.len() + 8);
        }
        Err(error) => assert_tellable(&error.to_string()),
    }
}

fn chunks(bytes: &[u8]) {
    let chunks = match read_chunks(bytes) {
        Ok(chunks) => chunks,
        Err(error) => return assert_tellable(&error.to_string()),
    };
    let mut end = 0;
    for chunk in &chunks {
        let mut within = end;
        for sample in &chunk.samples {
            assert!(
                sample.range.start >= within && sample.range.end <= bytes.len(),
                "{sample:?} out of {}",
                bytes.len()
            );
            within = sample.range.end;
        }
        end = within;
        rewrite(chunk, bytes);
    }
}

/// A chunk that was read is written and read again.
fn rewrite(chunk: &ChunkInfo, bytes: &[u8]) {
    let head = ChunkHead {
        sequence: chunk.sequence,
        base_decode_time: chunk.base_decode_time,
        segment_start: chunk.segment_start,
    };
    let samples = chunk.samples.iter().map(|sample| Sample {
        duration: sample.duration,
        composition_offset: sample.composition_offset,
        keyframe: sample.keyframe,
        data: Bytes::copy_from_slice(&bytes[sample.range.clone()]),
    });
    // Empty samples are legal in the format, and neither written by package nor read here.
    let samples: Vec<Sample> = samples.filter(|sample| !sample.data.is_empty()).collect();
    round_trip(&head, &samples);
}

/// Any samples.
fn written(source: &mut Source<'_>) {
    let flags = source.u8();
    let head = ChunkHead { sequence: source.u32(), base_decode_time: source.u64(), segment_start: flags & 1 != 0 };
    let (duration, mut samples) = (source.u32(), Vec::new());
    while !source.is_empty() {
        let how = source.u8();
        let length = 1 + usize::from(source.u8());
        samples.push(Sample {
            duration: if how & 1 != 0 { source.u32() } else { duration },
            composition_offset: if how & 2 != 0 { source.u32() as i32 } else { 0 },
            keyframe: how & 4 != 0,
            data: Bytes::from(vec![how; length]),
        });
    }
    round_trip(&head, &samples);
}

fn round_trip(head: &ChunkHead, samples: &[Sample]) {
    let bytes = match write_chunk(head, samples) {
        Ok(bytes) => bytes,
        Err(error) => {
            assert!(samples.is_empty(), "{error}");
            return;
        }
    };
    tree(&bytes).expect("whole boxes");
    let read = read_chunks(&bytes).expect("what was written can be read");
    let [chunk] = &read[..] else { panic!("one chunk became {}", read.len()) };
    assert_eq!(chunk.sequence, head.sequence);
    assert_eq!(chunk.base_decode_time, head.base_decode_time);
    assert_eq!(chunk.segment_start, head.segment_start);
    assert_eq!(chunk.samples.len(), samples.len());
    for (read, sample) in chunk.samples.iter().zip(samples) {
        assert_eq!(
            (read.duration, read.composition_offset, read.keyframe, &bytes[read.range.clone()]),
            (sample.duration, sample.composition_offset, sample.keyframe, &sample.data[..])
        );
    }
    assert_eq!(chunk.duration(), samples.iter().map(|sample| u64::from(sample.duration)).sum::<u64>());
}
