//! An encoded ladder, small enough that every frame of every rung can be looked at on any machine.

use std::sync::OnceLock;

use crate::broadcast::{Broadcast, test_preset};
use crate::checks;
use crate::support::machine;
use crate::support::source::Source;

/// Pushed once for all tests here. `./dev soak` makes it long.
fn broadcast() -> &'static Broadcast {
    static BROADCAST: OnceLock<Broadcast> = OnceLock::new();
    BROADCAST.get_or_init(|| {
        let _turn = machine::shared("the broadcast of ladder");
        Broadcast::record(&test_preset("test-360p-240p-144p"), Source::small(machine::seconds(12)))
    })
}

#[test]
fn the_preset_decides_the_renditions() {
    let names: Vec<_> = broadcast().seen.renditions.iter().map(|rendition| rendition.name.as_str()).collect();
    assert_eq!(names, ["360p", "240p", "144p", "audio"]);
    let sizes: Vec<_> = broadcast().seen.multivariant.variants.iter().map(|variant| variant.resolution).collect();
    assert_eq!(sizes, [(640, 360), (426, 240), (256, 144)]);
}

#[test]
fn every_frame_arrives_once_in_every_rung_and_sound_stays_with_it() {
    checks::the_content_is_whole(broadcast());
}

#[test]
fn rungs_are_cut_at_equal_times() {
    checks::rungs_are_cut_at_equal_times(broadcast());
}

#[test]
fn codecs_resolution_frame_rate_and_bandwidth_are_true() {
    checks::the_multivariant_playlist_is_true(broadcast());
}

#[test]
fn extinf_equals_the_media_and_tfdt_is_continuous() {
    checks::segments_say_what_they_hold(broadcast());
}

#[test]
fn segments_decode_without_a_warning() {
    checks::all_renditions_decode_silently(broadcast());
}

#[test]
fn an_encoded_ladder_has_independent_segments() {
    let seen = &broadcast().seen;
    let playlists = seen.renditions.iter().filter_map(|rendition| rendition.playlist.as_ref());
    assert!(seen.multivariant.independent_segments || playlists.clone().all(|playlist| playlist.independent_segments));
    assert!(playlists.clone().all(|playlist| playlist.target_seconds == 2));
}

#[test]
fn the_log_has_no_error_and_no_key() {
    let log = &broadcast().log;
    let bad = |line: &&str| line.contains(r#""level":"ERROR""#) || line.contains("panicked");
    assert_eq!(log.lines().find(bad), None);
    assert!(log.contains(&broadcast().stream), "a session's lines carry its stream");
    assert!(!log.contains("packets were left out"), "nothing is lost that a steady source sends: {log}");
}
