//! Sessions over a store, and publishers that write into them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream::clock::{ManualClock, SharedClock};
use millstream::config::preset::Preset;
use millstream::config::{Conflict, OnUnpublish};
use millstream::listen::{CloseReason, Publisher as _};
use millstream::live::wiring::Stop;
use millstream::live::{
    HlsSpec, LivePublisher, PublishError, PublisherId, Session, SessionChange, SessionEvent, SessionSpec, SessionState,
    Sessions,
};
use millstream::media::Span;
use millstream::media::segment::{RenditionId, Segment};
use millstream::package::{View, Window};
use millstream::store::{Backend, Files, OsFiles, RecoveredSession, Store, StoreSettings};
use millstream::wire::Inbound;
use millstream::wire::flv::Tag;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::ingest_support::{NOON, Publisher};
use crate::tripwire::{TrippedClock, TrippedFiles, Tripwire};

/// Only a failure waits this long.
const LIMIT: Duration = Duration::from_secs(30);
/// Of the passthrough preset.
pub const VIDEO: RenditionId = RenditionId(0);
pub const AUDIO: RenditionId = RenditionId(1);
/// How long a session waits, on the rig's clock.
pub const GRACE: Duration = Duration::from_secs(30);

pub async fn within<T>(what: &str, happens: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, happens).await.unwrap_or_else(|_| panic!("this never happened: {what}"))
}

/// Looks, waits for a change, looks again.
pub async fn until<C: Clone, T>(what: &str, mut changes: watch::Receiver<C>, look: impl Fn() -> Option<T>) -> T {
    within(what, async {
        loop {
            changes.mark_unchanged();
            if let Some(found) = look() {
                return found;
            }
            if changes.changed().await.is_err() {
                panic!("nothing can bring this about any more: {what}");
            }
        }
    })
    .await
}

/// A daemon's middle.
pub struct Rig {
    pub clock: Arc<ManualClock>,
    pub sessions: Sessions,
    pub store: Arc<Store>,
    pub told: Arc<Mutex<Vec<(String, SessionState)>>>,
    folder: TempDir,
    objects: Backend,
}

impl Rig {
    pub async fn new() -> Rig {
        Rig::with(|_| ()).await
    }

    /// `hear` is called on session threads with each change of state.
    pub async fn with(hear: impl Fn(&SessionEvent) + Send + Sync + 'static) -> Rig {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (rig, recovered) = Rig::open(folder, ManualClock::new(NOON), hear).await;
        assert!(recovered.is_empty());
        rig
    }

    /// A rig whose clock and disk look at `wire`.
    pub async fn tripped(wire: &Arc<Tripwire>) -> Rig {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clock = ManualClock::new(NOON);
        let (time, files) = (TrippedClock(clock.clone(), wire.clone()), TrippedFiles(wire.clone()));
        Rig::open_on((folder, in_memory()), clock, Arc::new(time), Arc::new(files), |_| ()).await.0
    }

    /// A rig whose spool lies on `disk`, below `folder`.
    pub async fn on_disk(folder: TempDir, disk: Arc<dyn Files>) -> Rig {
        let clock = ManualClock::new(NOON);
        let (rig, recovered) = Rig::open_on((folder, in_memory()), clock.clone(), clock, disk, |_| ()).await;
        assert!(recovered.is_empty());
        rig
    }

    async fn open(
        folder: TempDir,
        clock: Arc<ManualClock>,
        hear: impl Fn(&SessionEvent) + Send + Sync + 'static,
    ) -> (Rig, Vec<RecoveredSession>) {
        Rig::open_on((folder, in_memory()), clock.clone(), clock, Arc::new(OsFiles), hear).await
    }

    /// `clock` is what the test moves, `time` what the daemon's middle sees of it.
    async fn open_on(
        (folder, objects): (TempDir, Backend),
        clock: Arc<ManualClock>,
        time: SharedClock,
        files: Arc<dyn Files>,
        hear: impl Fn(&SessionEvent) + Send + Sync + 'static,
    ) -> (Rig, Vec<RecoveredSession>) {
        let mut settings = StoreSettings::new("memory:", folder.path());
        settings.sync_every = Duration::from_millis(20); // a session begins with a commit
        let opened = Store::open_with(settings, time.clone(), objects.clone(), files).await;
        let (store, recovered) = opened.expect("a store");
        let told = Arc::<Mutex<Vec<_>>>::default();
        let tell = {
            let told = told.clone();
            move |event: SessionEvent| {
                if let SessionChange::State(state) = event.change {
                    told.lock().expect("no panic").push((event.stream.clone(), state));
                }
                hear(&event);
            }
        };
        let sessions = Sessions::new(store.clone(), time, tell);
        (Rig { clock, sessions, store, told, folder, objects }, recovered)
    }

    /// What was told of a stream, in order.
    pub fn told_of(&self, stream: &str) -> Vec<SessionState> {
        let told = self.told.lock().expect("no panic");
        told.iter().filter(|(of, _)| of == stream).map(|(_, state)| *state).collect()
    }

    /// Stops the sessions, as the daemon does.
    pub async fn shut_down(&self, stop: Stop) {
        let sessions = self.sessions.clone();
        let stopped = tokio::task::spawn_blocking(move || sessions.shut_down(stop));
        within("the sessions stop", stopped).await.expect("no panic");
    }

    /// Stops everything and starts it anew on the same spool.
    pub async fn restart(self, stop: Stop) -> (Rig, Vec<RecoveredSession>) {
        self.shut_down(stop).await;
        let Rig { clock, sessions, store, folder, .. } = self;
        sessions.forget();
        store.close(Duration::ZERO).await.expect("the journal is closed");
        drop((sessions, store));
        Rig::open(folder, clock, |_| ()).await
    }

    /// The machine is started again, with `disk` as it was found after a power cut. What was stored is in the store.
    pub async fn after_power_cut(self, disk: Arc<dyn Files>) -> (Rig, Vec<RecoveredSession>) {
        // Their disk is gone; what they still do is seen by nobody.
        self.shut_down(Stop::Suspend).await;
        let Rig { clock, sessions, store, folder, objects, .. } = self;
        sessions.forget();
        drop((sessions, store));
        Rig::open_on((folder, objects), clock.clone(), clock, disk, |_| ()).await
    }

    /// A session that nobody has published into, with its first publisher.
    pub async fn start(&self, spec: SessionSpec) -> Encoder {
        let publisher = self.sessions.start(spec, by("first")).await.expect("it starts");
        self.encoder(publisher)
    }

    /// Joins a running session.
    pub async fn join(&self, stream: &str, key: &str) -> Encoder {
        let joined = within("a publisher joins", self.sessions.connect(stream, by(key))).await;
        self.encoder(joined.expect("it may join").expect("a session runs"))
    }

    fn encoder(&self, publisher: LivePublisher) -> Encoder {
        let stream = &publisher.session().spec().stream;
        let session = self.sessions.find(stream).expect("it is in the table");
        Encoder { publisher, session }
    }
}

fn in_memory() -> Backend {
    Backend::from_url("memory:").expect("usable")
}

pub fn by(key: &str) -> PublisherId {
    PublisherId { key: key.to_owned(), peer: ([192, 0, 2, 1], 5000).into() }
}

/// A passthrough session of segments of 2 s.
pub fn spec(stream: &str) -> SessionSpec {
    SessionSpec {
        stream: stream.to_owned(),
        session: format!("{stream}-1"),
        epoch: 1,
        preset: Arc::new(Preset::load("passthrough").expect("an embedded preset")),
        hls: HlsSpec { segment: Span::from_secs(2), part: Span::from_millis(334), window: Span::from_secs(60) },
        patience: millstream::transcode::Patience::default(),
        grace: GRACE,
        on_unpublish: OnUnpublish::Hold,
        conflict: Conflict::Takeover,
        max_bitrate: 50_000_000,
    }
}

/// One connection.
pub struct Encoder {
    pub publisher: LivePublisher,
    pub session: Arc<Session>,
}

impl Encoder {
    pub async fn send(&self, tag: Tag) -> Result<(), CloseReason> {
        within("the session takes a tag", self.publisher.send(std::iter::once(Inbound::Flv(tag)))).await
    }

    /// Sends the configurations, and media from 0 to `ms`.
    pub async fn play(&self, source: &Publisher, ms: i64) {
        for tag in [source.video_config(), source.audio_config()] {
            self.send(tag).await.expect("a configuration is taken");
        }
        for (_, tag) in source.media(0, ms) {
            self.send(tag).await.expect("media is taken");
        }
    }

    pub async fn closed(&self) -> CloseReason {
        within("the connection is closed", self.publisher.closed()).await
    }

    /// Goes without a word, and waits until the session has noticed.
    pub async fn vanish(self) -> Arc<Session> {
        drop(self.publisher);
        reached(&self.session, SessionState::Reconnecting).await;
        self.session
    }
}

pub async fn reached(session: &Session, state: SessionState) {
    let mut states = session.states();
    let what = format!("session {} is {state}", session.spec().session);
    within(&what, states.wait_for(|now| *now == state)).await.expect("the session is held");
}

pub async fn window(session: &Session) -> Arc<Window> {
    let mut window = session.window();
    let known = within("the renditions are known", window.wait_for(Option::is_some)).await;
    known.expect("the session is held").clone().expect("waited for")
}

/// The listed segments of all renditions, once each lists segment `msn`. MSNs and dates are checked: they rise by one, and
/// dates rise and are the same in all renditions.
pub async fn listed(session: &Session, msn: u64) -> Vec<Vec<Segment>> {
    let window = window(session).await;
    let has = |view: &View| view.segments().any(|segment| segment.msn >= msn);
    let views = || -> Option<Vec<_>> { [VIDEO, AUDIO].map(|id| window.rendition(id)).into_iter().collect() };
    let views = until(&format!("segment {msn} is listed"), window.changed(), || {
        views().filter(|views| views.iter().all(|view| has(view)))
    })
    .await;
    let lists: Vec<Vec<_>> = views.iter().map(|view| view.segments().cloned().collect()).collect();
    for list in &lists {
        for pair in list.windows(2) {
            assert_eq!(pair[1].msn, pair[0].msn + 1);
            assert!(pair[1].wall > pair[0].wall, "PDT rises: {pair:#?}");
        }
        for segment in list {
            let twin = lists[0].iter().find(|twin| twin.msn == segment.msn);
            assert!(twin.is_none_or(|twin| twin.wall == segment.wall && twin.discontinuity == segment.discontinuity));
        }
    }
    lists
}

/// One letter per segment: `s` for media, `g` for a gap, with a `|` before a discontinuity.
pub fn shape(list: &[Segment]) -> String {
    let letters = list.iter().map(|segment| match (segment.discontinuity, segment.gap) {
        (false, false) => "s",
        (false, true) => "g",
        (true, false) => "|s",
        (true, true) => "|g",
    });
    letters.collect()
}

pub fn assert_in_use<T: std::fmt::Debug>(result: Result<T, PublishError>) {
    assert!(matches!(result, Err(PublishError::InUse(_))), "{result:?}");
}
