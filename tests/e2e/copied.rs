//! Copied video: above encoded rungs, and alone.

use std::process::Command;

use crate::broadcast::{Broadcast, test_preset};
use crate::checks;
use crate::support::follower::Rendition;
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
fn passthrough_carries_the_source_as_it_is() {
    let _turn = machine::shared("passthrough_carries_the_source_as_it_is");
    let broadcast = Broadcast::record("passthrough", Source::small(10));
    let rungs: Vec<_> = broadcast.seen.videos().collect();
    assert_eq!(rungs.len(), 1);
    assert_is_copied(rungs[0], &broadcast.source);
    checks::everything(&broadcast);
}
