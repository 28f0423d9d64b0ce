//! Orders of events that only chance brings about from outside.

use std::time::Duration;

use super::session::{HEARD_WITHIN, NotTaken, SessionInput};
use super::*;
use crate::clock::{ManualClock, SharedClock};
use crate::flow::channel::{Receiver, bounded};
use crate::flow::hub::EdgeStats;
use crate::listen::{CloseReason, Publisher};
use crate::media::{Cut, CutKind, Kind, Packet, Timestamp, Track, Unit, VideoTrack, WallTime};
use crate::package::{PackageSettings, Packager, Window, WindowSettings};
use crate::store::{Store, StoreSettings};
use crate::transcode;
use bytes::Bytes;
use latency::Latency;
use wiring::{Feeds, INTAKE, OnFailure, Outlet, Stop, Wires};

fn spec() -> SessionSpec {
    SessionSpec {
        stream: "stream".to_owned(),
        session: "session".to_owned(),
        epoch: 1,
        preset: Arc::new(Preset::load("passthrough").expect("an embedded preset")),
        hls: HlsSpec { segment: Span::from_secs(2), part: Span::from_millis(334), window: Span::from_secs(60) },
        patience: transcode::Patience::default(),
        grace: Duration::from_secs(30),
        on_unpublish: OnUnpublish::Hold,
        conflict: Conflict::Takeover,
        max_bitrate: 50_000_000,
    }
}

/// A session whose intake is the test.
fn session() -> (Arc<Session>, Receiver<SessionInput>) {
    let (input, inputs) = bounded(INTAKE);
    (Arc::new(Session::new(spec(), input, SessionState::Starting)), inputs)
}

fn by(key: &str) -> PublisherId {
    PublisherId { key: key.to_owned(), peer: ([192, 0, 2, 1], 5000).into() }
}

/// A reason that is there already.
async fn told(publisher: &LivePublisher) -> CloseReason {
    tokio::time::timeout(Duration::ZERO, publisher.closed()).await.expect("it was told")
}

async fn was_told(publisher: &LivePublisher) -> bool {
    tokio::time::timeout(Duration::ZERO, publisher.closed()).await.is_ok()
}

#[tokio::test]
async fn what_one_connection_did_wrong_is_not_told_to_the_next() {
    let (session, _inputs) = session();
    let first = session.connect(by("first"), Duration::ZERO).await.expect("taken");
    let second = session.connect(by("second"), Duration::ZERO).await.expect("waits for its turn");
    assert!(!was_told(&first).await);
    assert!(session.promote(second.connection(), Duration::ZERO));
    session.dismiss(first.connection(), &CloseReason::Rejected("VP6".to_owned()), Duration::ZERO);
    assert_eq!(told(&first).await, CloseReason::TakenOver);
    assert!(!was_told(&second).await);
    session.dismiss(second.connection(), &CloseReason::Rejected("VP6".to_owned()), Duration::ZERO);
    assert_eq!(told(&second).await, CloseReason::Rejected("VP6".to_owned()));
    assert_eq!(session.peer(), None);
}

#[tokio::test]
async fn who_was_told_to_go_takes_nobodys_place() {
    let (session, _inputs) = session();
    let first = session.connect(by("first"), Duration::ZERO).await.expect("taken");
    let second = session.connect(by("second"), Duration::ZERO).await.expect("waits for its turn");
    session.disconnect(Some("second"), &CloseReason::KeyRevoked);
    assert!(!session.promote(second.connection(), Duration::ZERO), "its key was revoked while it waited");
    assert!(!was_told(&first).await);
    assert_eq!(session.keys_in_use(), ["first"]);
}

#[tokio::test]
async fn who_comes_while_another_waits_for_a_free_place_waits_behind_it() {
    let (session, _inputs) = session();
    let first = session.connect(by("first"), Duration::ZERO).await.expect("taken");
    let second = session.connect(by("second"), Duration::ZERO).await.expect("waits for its turn");
    session.forget(first.connection());
    let third = session.connect(by("third"), Duration::ZERO).await.expect("waits for its turn");
    assert_eq!(told(&second).await, CloseReason::TakenOver);
    assert!(
        !session.promote(second.connection(), Duration::ZERO) && session.promote(third.connection(), Duration::ZERO)
    );
    assert!(!was_told(&third).await);
    assert_eq!(session.keys_in_use(), ["third"]);
}

#[tokio::test]
async fn the_first_that_is_heard_again_stays_where_it_shall() {
    let (input, _inputs) = bounded(INTAKE);
    let spec = SessionSpec { conflict: Conflict::Reject, ..spec() };
    let session = Arc::new(Session::new(spec, input, SessionState::Starting));
    let first = session.connect(by("first"), Duration::ZERO).await.expect("taken");
    let later = HEARD_WITHIN + Duration::from_secs(1);
    let second = session.connect(by("second"), later).await.expect("the first is not heard");
    session.heard(later);
    assert!(!session.promote(second.connection(), later));
    assert!(
        matches!(told(&second).await, CloseReason::Rejected(why) if why.contains("publishes to this stream already"))
    );
    assert!(!was_told(&first).await);
}

#[tokio::test]
async fn who_was_turned_out_for_its_media_stays_out_while_another_is_well() {
    let (session, _inputs) = session();
    let first = session.connect(by("first"), Duration::ZERO).await.expect("taken");
    let second = session.connect(by("second"), Duration::ZERO).await.expect("waits for its turn");
    session.dismiss(second.connection(), &CloseReason::Rejected("VP6".to_owned()), Duration::ZERO);
    assert_eq!(session.connect(by("second"), Duration::ZERO).await.err(), Some(NotTaken::Barred));
    session.forget(first.connection());
    assert!(session.connect(by("second"), Duration::ZERO).await.is_ok(), "it is in nobody's way");
}

#[tokio::test]
async fn a_session_that_stops_takes_nobody_and_keeps_its_first_word() {
    let (session, inputs) = session();
    let first = session.connect(by("first"), Duration::ZERO).await.expect("taken");
    session.disconnect(None, &CloseReason::StreamDeleted);
    session.stop(Stop::End, &CloseReason::SessionEnded);
    assert_eq!(told(&first).await, CloseReason::StreamDeleted);
    assert_eq!(session.connect(by("late"), Duration::ZERO).await.err(), Some(NotTaken::Stopping));
    assert!(matches!(inputs.recv(), Some(SessionInput::Connected { connection: 1 })));
    assert!(matches!(inputs.recv(), Some(SessionInput::Stop(Stop::End))));
}

#[tokio::test]
async fn a_goodbye_that_is_cut_off_counts_as_a_loss() {
    let (session, inputs) = session();
    let publisher = session.connect(by("first"), Duration::ZERO).await.expect("taken");
    while session.input().try_send(SessionInput::Disconnected { connection: 0, clean: true }).is_ok() {}
    let cut_off = tokio::time::timeout(Duration::ZERO, publisher.finish(crate::listen::Finish::Unpublished)).await;
    assert!(cut_off.is_err(), "the queue is full");
    let told = inputs.iter().find(|input| matches!(input, SessionInput::Disconnected { connection: 1, .. }));
    assert!(matches!(told, Some(SessionInput::Disconnected { clean: false, .. })), "{told:?}");
}

#[tokio::test]
async fn of_two_that_come_at_once_the_newer_stays_whoever_is_heard_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = ManualClock::new(WallTime::from_unix_millis(1_795_244_400_000));
    let (store, _) = Store::open(StoreSettings::new("memory:", folder.path()), clock.clone()).await.expect("a store");
    let sessions = Sessions::new(store, clock, |_| ());
    let older = sessions.start(spec(), by("older")).await.expect("it starts");
    let newer = sessions.connect("stream", by("newer")).await.expect("it may").expect("it runs");
    let session = sessions.find("stream").expect("it runs");
    let again = SessionInput::Connected { connection: older.connection() };
    session.input().send_async(again).await.expect("it runs");
    older.finish(crate::listen::Finish::Lost("taken over".to_owned())).await;
    // Told of what it sends, the newer one is the publisher; nobody's words would be ignored.
    let tag = crate::wire::flv::Tag {
        kind: crate::wire::flv::TagKind::Video,
        timestamp_ms: 0,
        data: [0x14, 0, 0, 0, 0].as_slice().into(),
    };
    newer.send(std::iter::once(crate::wire::Inbound::Flv(tag))).await.expect("taken");
    let limit = Duration::from_secs(30);
    let reason = tokio::time::timeout(limit, newer.closed()).await.expect("it was heard");
    assert!(matches!(reason, CloseReason::Rejected(_)), "{reason}");
    tokio::task::spawn_blocking(move || sessions.shut_down(Stop::End)).await.expect("no panic");
}

#[tokio::test]
async fn a_session_that_dies_before_its_publisher_is_in_is_a_fault_and_not_a_shutdown() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = ManualClock::new(WallTime::from_unix_millis(1_795_244_400_000));
    let (store, _) = Store::open(StoreSettings::new("memory:", folder.path()), clock.clone()).await.expect("a store");
    let sessions = Sessions::new(store, clock, |_| ());
    let session = sessions.launch(spec(), None).expect("it starts");
    // As the intake does when it or a stage failed.
    session.close_door(&CloseReason::Failed);
    let refused = sessions.enter(&session, by("first")).await.expect_err("nobody gets in");
    assert!(matches!(refused, PublishError::Failed { .. }), "{refused}");
    let stopped = sessions.clone();
    tokio::task::spawn_blocking(move || stopped.shut_down(Stop::End)).await.expect("no panic");
    let refused = sessions.enter(&session, by("first")).await.expect_err("nobody gets in");
    assert!(matches!(refused, PublishError::ShuttingDown), "{refused}");
}

/// A session of a copied source without sound, and its track. The store's thread begins with `begin`.
fn copying(begin: impl FnOnce() + Send + 'static) -> (Wires, Unit) {
    let config = Bytes::from_static(b"\x01\x64\x00\x0d\xff\xe1\x00\x04\x67\x64\x00\x0d\x01\x00\x02\x68\xeb");
    let video = Arc::new(Track::Video(VideoTrack { config, ..VideoTrack::plain(1_280, 720, (30, 1)) }));
    let spec = spec();
    let plan = transcode::plan(&spec.preset, spec.hls.segment, video.as_video(), None).expect("a plan");
    let renditions = plan.renditions.clone();
    let clock: SharedClock = ManualClock::new(WallTime::default());
    let settings =
        PackageSettings { epoch: 1, part_target: spec.hls.part, renditions: renditions.clone(), resume: Vec::new() };
    let window = Arc::new(Window::new(renditions.clone(), WindowSettings::default()));
    let latency = Latency::new(clock.clone(), Arc::default(), None, &renditions);
    let failed: OnFailure = Arc::new(|stage, why| panic!("{stage}: {why}"));
    let (span, packager) = (tracing::Span::none(), Packager::new(settings));
    let begin = move || {
        begin();
        None
    };
    let mut outlet = Outlet::start(&spec, &span, packager, begin, window, latency, &failed).expect("threads");
    let feeds = Feeds::start(&spec, &span, &clock, &plan, &mut outlet, &failed).expect("a copy needs no thread");
    (Wires { outlet, feeds: Some(feeds), late: None }, Unit::Track(video))
}

#[test]
fn what_waits_for_the_store_is_told_as_an_edge() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    // As with a disk that does not answer; the sender's end lets it go.
    let (mut wires, track) = copying(move || released.recv().unwrap_or(()));
    let store = |items, bytes| EdgeStats { name: "store", items, bytes, dropped: 0 };
    assert_eq!(wires.edges(), [store(0, 0)], "nothing is encoded: there is no queue to package");
    wires.publish(&track);
    let [edge] = wires.edges()[..] else { panic!("{:?}", wires.edges()) };
    assert!(edge.bytes > 0, "an init segment waits");
    assert_eq!(edge, store(1, edge.bytes));
    drop(release);
    wires.join();
}

#[test]
fn what_packaging_leaves_out_is_counted_for_the_session() {
    let (mut wires, track) = copying(|| ());
    assert_eq!(wires.late_packets(), [0]);
    let at = Timestamp::from_millis(10_000);
    let gap = Cut {
        msn: 0,
        at,
        wall: WallTime::default(),
        kind: CutKind::Gap { duration: Span::from_secs(2) },
        discontinuity: false,
        copy_ends: false,
    };
    let inside = Packet {
        kind: Kind::Video,
        dts: at,
        pts: at,
        duration: Span::from_millis(33),
        keyframe: true,
        data: Bytes::from_static(&[0, 0, 0, 1, 0x65]),
    };
    for unit in [track, Unit::Cut(gap), Unit::Packet(inside.clone()), Unit::Packet(inside)] {
        wires.publish(&unit);
    }
    assert_eq!(wires.late_packets(), [2]);
    wires.join();
}
