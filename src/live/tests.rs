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
use crate::wire::Inbound;
use crate::wire::flv::{Tag, TagKind};
use bytes::Bytes;
use latency::Latency;
use wiring::{Feeds, INTAKE, OnFailure, Outlet, Stop, Wires};

/// A passthrough with the defaults.
pub(super) fn spec() -> SessionSpec {
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

/// A session whose intake is the test, and its time.
fn session_of(spec: SessionSpec) -> (Arc<Session>, Receiver<SessionInput>, Arc<ManualClock>) {
    let ((input, inputs), clock) = (bounded(INTAKE), ManualClock::new(WallTime::default()));
    (Arc::new(Session::new(spec, clock.clone(), input, SessionState::Starting)), inputs, clock)
}

fn session() -> (Arc<Session>, Receiver<SessionInput>) {
    let (session, inputs, _) = session_of(spec());
    (session, inputs)
}

/// A connection brings a message of this kind.
async fn brings(publisher: &LivePublisher, kind: TagKind) {
    let tag = Tag { kind, timestamp_ms: 0, data: [0x14, 0, 0, 0, 0].as_slice().into() };
    publisher.send(std::iter::once(Inbound::Flv(tag))).await.expect("taken");
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
    let first = session.connect(by("first")).await.expect("taken");
    let second = session.connect(by("second")).await.expect("waits for its turn");
    assert!(!was_told(&first).await);
    assert!(session.promote(second.connection()));
    session.dismiss(first.connection(), &CloseReason::Rejected("VP6".to_owned()));
    assert_eq!(told(&first).await, CloseReason::TakenOver);
    assert!(!was_told(&second).await);
    session.dismiss(second.connection(), &CloseReason::Rejected("VP6".to_owned()));
    assert_eq!(told(&second).await, CloseReason::Rejected("VP6".to_owned()));
    assert_eq!(session.peer(), None);
}

#[tokio::test]
async fn who_was_told_to_go_takes_nobodys_place() {
    let (session, _inputs) = session();
    let first = session.connect(by("first")).await.expect("taken");
    let second = session.connect(by("second")).await.expect("waits for its turn");
    session.disconnect(Some("second"), &CloseReason::KeyRevoked);
    assert!(!session.promote(second.connection()), "its key was revoked while it waited");
    assert!(!was_told(&first).await);
    assert_eq!(session.keys_in_use(), ["first"]);
}

#[tokio::test]
async fn who_comes_while_another_waits_for_a_free_place_waits_behind_it() {
    let (session, _inputs) = session();
    let first = session.connect(by("first")).await.expect("taken");
    let second = session.connect(by("second")).await.expect("waits for its turn");
    session.forget(first.connection());
    let third = session.connect(by("third")).await.expect("waits for its turn");
    assert_eq!(told(&second).await, CloseReason::Superseded, "it has taken nothing that another one took");
    assert!(!session.promote(second.connection()) && session.promote(third.connection()));
    assert!(!was_told(&third).await);
    assert_eq!(session.keys_in_use(), ["third"]);
}

#[tokio::test]
async fn the_first_that_is_heard_again_stays_where_it_shall() {
    let (session, _inputs, clock) = session_of(SessionSpec { conflict: Conflict::Reject, ..spec() });
    let first = session.connect(by("first")).await.expect("taken");
    clock.advance(HEARD_WITHIN + Duration::from_secs(1));
    brings(&first, TagKind::Script).await;
    let second = session.connect(by("second")).await.expect("nothing is heard of the first, and nothing seen");
    brings(&first, TagKind::Audio).await;
    assert!(!session.promote(second.connection()));
    assert_eq!(told(&second).await, CloseReason::InUse);
    assert!(!was_told(&first).await);
}

#[tokio::test]
async fn a_publisher_is_well_while_a_slow_session_does_not_take_what_it_sends() {
    let (session, inputs, clock) = session_of(SessionSpec { conflict: Conflict::Reject, ..spec() });
    let first = session.connect(by("first")).await.expect("taken");
    while session.input().try_send(SessionInput::Disconnected { connection: 0, clean: true }).is_ok() {}
    let mut sending = Box::pin(brings(&first, TagKind::Audio));
    assert!(tokio::time::timeout(Duration::ZERO, &mut sending).await.is_err(), "the queue is full");
    clock.advance(HEARD_WITHIN * 10);
    assert_eq!(session.connect(by("second")).await.err(), Some(NotTaken::InUse));
    inputs.recv().expect("it is full");
    sending.await;
    clock.advance(HEARD_WITHIN);
    assert_eq!(session.connect(by("second")).await.err(), Some(NotTaken::InUse), "from now on it counts");
    clock.advance(Duration::from_millis(1));
    inputs.recv().expect("it is full");
    assert!(session.connect(by("second")).await.is_ok());
}

#[tokio::test]
async fn who_never_published_is_not_kept_away() {
    let (session, inputs) = session();
    let (older, newer) = (session.register(by("older")), session.register(by("newer")));
    let (older, newer) = (older.expect("taken"), newer.expect("waits for its turn"));
    // The newer one is in the queue first, and the older one has begun to send.
    brings(&older, TagKind::Video).await;
    assert!(session.promote(newer.connection()));
    assert_eq!(told(&older).await, CloseReason::TakenOver);
    assert!(session.register(by("older")).is_ok(), "it has been nobody's publisher");
    // Nor one that had its turn and sent nothing.
    let third = session.register(by("third")).expect("waits for its turn");
    assert!(session.promote(third.connection()));
    assert_eq!(told(&newer).await, CloseReason::TakenOver);
    assert!(session.register(by("newer")).is_ok(), "it has sent nothing");
    // Who has is.
    brings(&third, TagKind::Video).await;
    let fourth = session.register(by("fourth")).expect("waits for its turn");
    assert!(session.promote(fourth.connection()));
    assert_eq!(session.register(by("third")).err(), Some(NotTaken::Barred));
    drop(inputs);
}

#[tokio::test]
async fn who_was_turned_out_for_its_media_stays_out_while_another_is_well() {
    let (session, _inputs) = session();
    let first = session.connect(by("first")).await.expect("taken");
    let second = session.connect(by("second")).await.expect("waits for its turn");
    session.dismiss(second.connection(), &CloseReason::Rejected("VP6".to_owned()));
    assert_eq!(session.connect(by("second")).await.err(), Some(NotTaken::Barred));
    session.forget(first.connection());
    assert!(session.connect(by("second")).await.is_ok(), "it is in nobody's way");
}

#[tokio::test]
async fn a_session_that_stops_takes_nobody_and_keeps_its_first_word() {
    let (session, inputs) = session();
    let first = session.connect(by("first")).await.expect("taken");
    session.disconnect(None, &CloseReason::StreamDeleted);
    session.stop(Stop::End, &CloseReason::SessionEnded);
    assert_eq!(told(&first).await, CloseReason::StreamDeleted);
    assert_eq!(session.connect(by("late")).await.err(), Some(NotTaken::Stopping));
    assert!(matches!(inputs.recv(), Some(SessionInput::Connected { connection: 1 })));
    assert!(matches!(inputs.recv(), Some(SessionInput::Stop(Stop::End))));
}

#[tokio::test]
async fn a_goodbye_that_is_cut_off_counts_as_a_loss() {
    let (session, inputs) = session();
    let publisher = session.connect(by("first")).await.expect("taken");
    while session.input().try_send(SessionInput::Disconnected { connection: 0, clean: true }).is_ok() {}
    let cut_off = tokio::time::timeout(Duration::ZERO, publisher.finish(crate::listen::Finish::Unpublished)).await;
    assert!(cut_off.is_err(), "the queue is full");
    let told = inputs.iter().find(|input| matches!(input, SessionInput::Disconnected { connection: 1, .. }));
    assert!(matches!(told, Some(SessionInput::Disconnected { clean: false, .. })), "{told:?}");
}

/// Sessions on a clock, in a folder that goes with them.
async fn sessions(folder: &tempfile::TempDir) -> Sessions {
    let clock = ManualClock::new(WallTime::from_unix_millis(1_795_244_400_000));
    let (store, _) = Store::open(StoreSettings::new("memory:", folder.path()), clock.clone()).await.expect("a store");
    Sessions::new(store, clock, |_| ())
}

async fn reached(session: &Session, state: SessionState) {
    let mut states = session.states();
    let limit = Duration::from_secs(30);
    let reached = tokio::time::timeout(limit, states.wait_for(|now| *now == state)).await;
    reached.unwrap_or_else(|_| panic!("it is never {state}")).expect("it is held");
}

#[tokio::test]
async fn a_broadcast_whose_publisher_ends_it_goes_on_with_who_has_just_come_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let sessions = sessions(&folder).await;
    let spec = SessionSpec { on_unpublish: OnUnpublish::End, ..spec() };
    let first = sessions.start(spec, by("first")).await.expect("it starts");
    let session = sessions.find("stream").expect("it runs");
    // It has its place, and the intake is not told yet.
    let second = session.register(by("second")).expect("waits for its turn");
    first.finish(crate::listen::Finish::Unpublished).await;
    reached(&session, SessionState::Reconnecting).await;
    let connected = SessionInput::Connected { connection: second.connection() };
    session.input().send_async(connected).await.expect("it runs");
    reached(&session, SessionState::Starting).await;
    // And when who has come in goes again without a word, nobody is waited for.
    let third = session.register(by("third")).expect("waits for its turn");
    second.finish(crate::listen::Finish::Unpublished).await;
    reached(&session, SessionState::Reconnecting).await;
    drop(third);
    reached(&session, SessionState::Ended).await;
    tokio::task::spawn_blocking(move || sessions.shut_down(Stop::End)).await.expect("no panic");
}

#[tokio::test]
async fn of_two_that_come_at_once_the_newer_stays_whoever_is_heard_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let sessions = sessions(&folder).await;
    let older = sessions.start(spec(), by("older")).await.expect("it starts");
    let newer = sessions.connect("stream", by("newer")).await.expect("it may").expect("it runs");
    let session = sessions.find("stream").expect("it runs");
    let again = SessionInput::Connected { connection: older.connection() };
    session.input().send_async(again).await.expect("it runs");
    older.finish(crate::listen::Finish::Lost("taken over".to_owned())).await;
    // Told of what it sends, the newer one is the publisher; nobody's words would be ignored.
    brings(&newer, TagKind::Video).await;
    let limit = Duration::from_secs(30);
    let reason = tokio::time::timeout(limit, newer.closed()).await.expect("it was heard");
    assert!(matches!(reason, CloseReason::Rejected(_)), "{reason}");
    tokio::task::spawn_blocking(move || sessions.shut_down(Stop::End)).await.expect("no panic");
}

#[tokio::test]
async fn a_session_that_dies_before_its_publisher_is_in_is_a_fault_and_not_a_shutdown() {
    let folder = tempfile::tempdir().expect("a folder");
    let sessions = sessions(&folder).await;
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
