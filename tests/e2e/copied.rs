//! Copied video: above encoded rungs, and alone.

use std::process::Command;

use crate::broadcast::{Broadcast, test_preset};
use crate::checks;
use crate::support::follower::{Rendition, Segment};
use crate::support::machine;
use crate::support::process::output;
use crate::support::source::Source;

/// Sizes of the source's video packets in decoding order.
fn source_sizes(source: &Source) -> Vec<u32> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-select_streams", "v", "-show_entries", "packet=size", "-of", "csv=p=0"]);
    let text = String::from_utf8(output(command.arg(&source.path))).expect("ffprobe prints text");
    text.lines().map(|line| line.trim_end_matches(',').parse().expect("a size in bytes")).collect()
}

fn assert_is_copied(rung: &Rendition, source: &Source) {
    let sizes: Vec<_> = rung.samples().iter().map(|sample| sample.size).collect();
    assert_eq!(sizes, source_sizes(source), "{} carries the source's own packets", rung.name);
    let resolution = rung.variant.as_ref().map(|variant| variant.resolution);
    assert_eq!(resolution, Some((source.width, source.height)), "{}", rung.name);
}

fn assert_promises_no_independent_segments(broadcast: &Broadcast) {
    assert!(!broadcast.seen.multivariant.independent_segments);
    for rung in broadcast.seen.videos() {
        let copied = rung.name == "360p";
        let promised = rung.playlist.as_ref().is_some_and(|playlist| playlist.independent_segments);
        assert!(!(copied && promised), "{}: a playlist that may hold copied video promises nothing", rung.name);
    }
}

#[test]
fn a_copied_top_rung_is_cut_with_the_encoded_ones() {
    let _turn = machine::shared("a_copied_top_rung_is_cut_with_the_encoded_ones");
    let broadcast = Broadcast::record(&test_preset("auto-360p-240p"), Source::small(12));
    let names: Vec<_> = broadcast.seen.videos().map(|rung| rung.name.as_str()).collect();
    assert_eq!(names, ["360p", "240p"]);
    assert_is_copied(broadcast.seen.rung("360p"), &broadcast.source);
    assert_promises_no_independent_segments(&broadcast);
    checks::everything(&broadcast);
}

#[test]
fn a_source_above_the_limit_of_the_copy_is_encoded_instead() {
    let _turn = machine::shared("a_source_above_the_limit_of_the_copy_is_encoded_instead");
    // The copied rung of this preset allows 3 Mbit/s, its encoder makes 960 kbit/s at most.
    let broadcast = Broadcast::record(&test_preset("auto-360p-240p"), Source::new(640, 360, 30, 12, 6_000));
    assert!(broadcast.log.contains("360p is encoded from here on: the source sends"), "{}", broadcast.log);
    for rendition in &broadcast.seen.renditions {
        let breaks = rendition.segments.iter().filter(|segment| segment.entry.discontinuity).count();
        assert_eq!(breaks, 1, "{}: one discontinuity in each rendition", rendition.name);
    }
    let top = broadcast.seen.rung("360p");
    let promised = top.variant.as_ref().map(|variant| variant.bandwidth).expect("a video rung is a variant");
    let is_copied = |segment: &&Segment| !segment.entry.discontinuity;
    for segment in top.segments.iter().skip_while(is_copied) {
        let bits_per_second = segment.bytes.len() as u64 * 8_000_000 / segment.entry.duration_us.max(1);
        assert!(bits_per_second <= promised, "{}: {bits_per_second} of {promised}", segment.entry.uri);
    }
    for rung in broadcast.seen.videos() {
        assert_eq!(
            rung.samples().len(),
            broadcast.source.frames() as usize,
            "{}: no frame is lost or doubled",
            rung.name
        );
    }
}

#[test]
fn passthrough_carries_the_source_as_it_is() {
    let _turn = machine::shared("passthrough_carries_the_source_as_it_is");
    let broadcast = Broadcast::record("passthrough", Source::small(10));
    let rungs: Vec<_> = broadcast.seen.videos().collect();
    assert_eq!(rungs.len(), 1);
    assert_is_copied(rungs[0], &broadcast.source);
    checks::everything(&broadcast);
}
