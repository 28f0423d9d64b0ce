//! Sources whose clock, chunks or keyframes are odd: what the playlist, the media and the publisher see.

use crate::broadcast::FIRST_SEGMENT_LIMIT;
use crate::support::content::{Expectation, Report};
use crate::support::daemon::Home;
use crate::support::follower::Follower;
use crate::support::machine;
use crate::support::publisher::{Feed, RawPublisher};
use crate::support::source::Source;

#[test]
fn chunks_of_one_byte_arrive_whole() {
    let _turn = machine::shared("chunks_of_one_byte_arrive_whole");
    let source = Source::small(10);
    let home = Home::ending_with_the_broadcast("passthrough");
    let credentials = home.credentials();
    let daemon = home.serve();
    let feed = Feed::of(&source).chunks_of(1);
    let publisher = RawPublisher::start(daemon.rtmp, &credentials.secret, feed);
    let mut seen = Follower::open(&daemon.url(""), &credentials.stream, FIRST_SEGMENT_LIMIT);
    seen.until_ended(source.limit());
    let codes: Vec<_> = publisher.statuses().into_iter().map(|status| status.code).collect();
    assert_eq!(codes, ["NetStream.Publish.Start", "NetStream.Unpublish.Success"]);
    let folder = tempfile::tempdir().expect("a folder");
    let report = Report::of(seen.videos().next(), Some(seen.audio()), folder.path());
    report.assert_whole(&Expectation::whole(source.frames(), source.seconds));
    daemon.stop();
}
