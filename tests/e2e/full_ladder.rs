//! The default preset on a 1080p30 source: the main job. The machine is its own while it runs. It is pushed no faster than it
//! plays, and what comes out may lag: no time is asserted.

use crate::broadcast::Broadcast;
use crate::checks;
use crate::support::machine;
use crate::support::source::Source;

#[test]
fn the_default_ladder_makes_three_rungs_of_1080p30() {
    let source = Source::new(1_920, 1_080, 30, 10, 4_500);
    let _turn = machine::alone("the_default_ladder_makes_three_rungs_of_1080p30");
    let broadcast = Broadcast::record("ladder-1080p-720p-480p", source);
    let rungs: Vec<_> = broadcast.seen.videos().map(|rung| rung.name.as_str()).collect();
    assert_eq!(rungs, ["1080p", "720p", "480p"]);
    let sizes: Vec<_> = broadcast.seen.multivariant.variants.iter().map(|variant| variant.resolution).collect();
    assert_eq!(sizes, [(1_920, 1_080), (1_280, 720), (854, 480)]);
    checks::everything(&broadcast);
}
