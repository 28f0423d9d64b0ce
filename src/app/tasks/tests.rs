//! A panic in each of the daemon's own tasks, and in what stands behind a route of the API.

use std::future::{Ready, ready};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinHandle;

use super::*;
use crate::api::{ApiState, LiveDetails, LiveSessions};
use crate::app::figures::Figures;
use crate::app::playback::Playback;
use crate::app::{Specs, guarded_router};
use crate::clock::testing::TrapClock;
use crate::clock::{ManualClock, SharedClock};
use crate::config::{Config, Overrides};
use crate::control::{KeyId, NewKey, NewStream, SessionId};
use crate::listen::Publisher as _;
use crate::listen::srt::SrtConnections;
use crate::live::sessions::ENDED_KEEP;
use crate::live::wiring::Stop;
use crate::live::{LivePublisher, PublisherId};
use crate::media::WallTime;
use crate::store::{Store, StoreSettings};

/// Only a failure waits this long.
const LIMIT: Duration = Duration::from_secs(60);
const TOKEN: &str = "a-token-of-this-test";

async fn within<T>(what: &str, happens: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, happens).await.unwrap_or_else(|_| panic!("this never happened: {what}"))
}

/// The layers that tasks work between, with a trap in the clock of `control` and of `sessions`.
struct Rig {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    trap: Arc<TrapClock>,
    control: Control,
    store: Arc<Store>,
    sessions: Sessions,
    metrics: Metrics,
    _recorded: metrics::LocalRecorderGuard<'static>,
}

impl Rig {
    async fn new() -> Self {
        let (metrics, recorder) = Metrics::detached().expect("the settings are ours");
        // The tasks of a test run on its own thread, and it is over with its process.
        let _recorded = metrics::set_default_local_recorder(Box::leak(Box::new(recorder)));
        let folder = tempfile::tempdir().expect("a folder");
        let clock = ManualClock::new(WallTime::from_unix_millis(1_795_244_400_000));
        let trap = TrapClock::in_front_of(clock.clone());
        let shared: SharedClock = trap.clone();
        let control = Control::open(folder.path(), shared.clone()).await.expect("a database");
        let settings = StoreSettings::new("memory:", folder.path().join("spool"));
        let (store, _) = Store::open(settings, clock.clone()).await.expect("a store");
        let sessions = Sessions::new(store.clone(), shared, |_| ());
        Rig { folder, clock, trap, control, store, sessions, metrics, _recorded }
    }

    /// A stream of this name with a key.
    async fn stream(&self, name: &str) -> (StreamId, KeyId) {
        let new = NewStream { name: name.to_owned(), ..NewStream::default() };
        let stream = self.control.create_stream(new).await.expect("made").id;
        let key = self.control.create_key(&stream, NewKey::default()).await.expect("made");
        (stream, key.key.id)
    }

    /// A session of `stream` with a publisher who came with `key`.
    async fn publish(&self, stream: &StreamId, key: &KeyId) -> LivePublisher {
        let file = "[ladder]\npreset = \"passthrough\"\n";
        let flags = Overrides { data_dir: Some(self.folder.path().display().to_string()) };
        let config = Config::parse(&flags, [], Some(("a.toml", file))).expect("valid");
        let stream = self.control.find_stream(stream.as_str()).await.expect("it is there");
        let row = self.control.begin_session(&stream.id).await.expect("begun");
        let specs = Specs::new(&config).expect("an embedded preset");
        let spec = specs.of(&stream, row.id.as_str(), 1).expect("a specification");
        let by = PublisherId { key: key.to_string(), peer: ([192, 0, 2, 1], 5000).into() };
        self.sessions.start(spec, by).await.expect("it starts")
    }

    fn panics(&self, of: &str) -> u64 {
        let line = format!("millstream_{of} ");
        self.metrics.render().lines().find_map(|text| text.strip_prefix(&line)?.parse().ok()).unwrap_or(0)
    }

    fn stage_panics(&self, task: &str) -> u64 {
        self.panics(&format!("stage_panics_total{{stage=\"{task}\"}}"))
    }

    async fn end(self) {
        let sessions = self.sessions.clone();
        let stopped = tokio::task::spawn_blocking(move || sessions.shut_down(Stop::End));
        within("the sessions stop", stopped).await.expect("no panic");
    }
}

#[tokio::test]
async fn a_state_whose_writing_panics_is_lost_and_the_next_one_is_written() {
    let rig = Rig::new().await;
    let (stream, _) = rig.stream("a").await;
    let row = rig.control.begin_session(&stream).await.expect("begun");
    let (tell, told) = mpsc::channel(2);
    for state in [SessionState::Live, SessionState::Reconnecting] {
        let change = SessionChange::State(state);
        let event = SessionEvent { stream: stream.to_string(), session: row.id.to_string(), change };
        tell.send(event).await.expect("there is room");
    }
    drop(tell);
    rig.trap.set();
    within("both are handled", write_down(rig.control.clone(), told)).await;
    assert_eq!(rig.control.session(&row.id).await.expect("known").state, SessionState::Reconnecting);
    assert_eq!(rig.stage_panics("session-states"), 1);
}

#[tokio::test]
async fn a_change_whose_handling_panics_is_found_by_asking_about_every_connection() {
    let rig = Rig::new().await;
    let ((revoked, key), (deleted, other)) = (rig.stream("revoked").await, rig.stream("deleted").await);
    let (first, second) = (rig.publish(&revoked, &key).await, rig.publish(&deleted, &other).await);
    let calls = Arc::new(AtomicUsize::new(0));
    let act = {
        let calls = calls.clone();
        move |event, sessions| {
            let call = calls.fetch_add(1, Ordering::SeqCst);
            async move {
                assert!(call > 0, "a broken assumption, at the first");
                act_on(event, sessions).await;
            }
        }
    };
    let stop = CancellationToken::new();
    let acting = tokio::spawn(act_on_changes(rig.control.clone(), rig.sessions.clone(), stop.clone(), act));
    tokio::task::yield_now().await; // it listens
    rig.control.revoke_key(&key).await.expect("revoked");
    assert_eq!(within("the first goes", first.closed()).await, CloseReason::KeyRevoked);
    assert_eq!((rig.stage_panics("changes"), calls.load(Ordering::SeqCst)), (1, 1));
    rig.control.delete_stream(&deleted).await.expect("deleted");
    let mut states = rig.sessions.find(deleted.as_str()).expect("it ran").states();
    let ended = states.wait_for(|state| *state == SessionState::Ended);
    within("the second stream's session ends", ended).await.expect("it is held");
    assert_eq!((rig.stage_panics("changes"), calls.load(Ordering::SeqCst)), (1, 2));
    stop.cancel();
    within("the task ends", acting).await.expect("no panic");
    drop((first, second));
    rig.end().await;
}

#[tokio::test]
async fn what_housekeeping_leaves_out_because_it_panics_it_does_the_next_time() {
    let rig = Rig::new().await;
    let (stream, key) = rig.stream("a").await;
    drop(rig.publish(&stream, &key).await);
    within("its threads are through", rig.sessions.end(stream.as_str())).await;
    rig.clock.advance(ENDED_KEEP);
    let stop = CancellationToken::new();
    rig.trap.set();
    tokio::time::pause();
    let keeping = tokio::spawn(keep_house(rig.sessions.clone(), rig.metrics.clone(), stop.clone()));
    let a_while = HOUSEKEEPING_EVERY + Duration::from_millis(1);
    tokio::time::sleep(a_while).await; // virtual
    assert!(rig.stage_panics("house") == 1 && rig.sessions.find(stream.as_str()).is_some());
    tokio::time::sleep(a_while).await;
    assert!(rig.stage_panics("house") == 1 && rig.sessions.find(stream.as_str()).is_none());
    stop.cancel();
    keeping.await.expect("no panic");
}

/// Sessions whose details nobody can be asked for, once.
#[derive(Debug, Default)]
struct Faulty(AtomicBool);

impl LiveSessions for Faulty {
    fn details(&self, _: &SessionId) -> Option<LiveDetails> {
        assert!(self.0.swap(true, Ordering::SeqCst), "a broken assumption");
        None
    }

    fn end<'a>(&'a self, _: &'a SessionId) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(ready(()))
    }
}

/// Asks for the sessions, and returns the whole answer.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(mut socket: S) -> String {
    let request = format!(
        "GET /api/v1/sessions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n\r\n"
    );
    within("it is sent", socket.write_all(request.as_bytes())).await.expect("taken");
    let mut answer = String::new();
    within("it is answered", socket.read_to_string(&mut answer)).await.expect("text");
    answer
}

/// The first request meets a panic, the next one does not.
fn assert_500_then_200(answers: &[String; 2], session: &SessionId) {
    let words = "{\"error\":{\"code\":\"internal\",\"message\":\"the server failed: its log says why\"}}";
    let [first, second] = answers;
    assert!(first.starts_with("HTTP/1.1 500 ") && first.ends_with(words), "{first}");
    assert!(second.starts_with("HTTP/1.1 200 ") && second.contains(session.as_str()), "{second}");
}

#[tokio::test]
async fn a_panic_behind_a_route_of_the_api_is_answered_and_the_next_request_is_served() {
    let rig = Rig::new().await;
    let (stream, _) = rig.stream("a").await;
    let row = rig.control.begin_session(&stream).await.expect("begun");
    let state = ApiState { control: rig.control.clone(), live: Arc::<Faulty>::default() };
    let playback = Playback::new(rig.control.clone(), rig.sessions.clone(), rig.store.clone());
    let figures = Figures::new(rig.control.clone(), rig.sessions.clone(), rig.store.clone(), SrtConnections::default());
    let guarded = guarded_router(figures, rig.metrics.clone(), state, Some(&TOKEN.into()));
    let router = web::router(playback, web::Cors::ANY).merge(guarded);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (address, stop) = (listener.local_addr().expect("bound"), CancellationToken::new());
    let served =
        tokio::spawn(web::serve([web::Entrance::plain(listener, router)], web::ServeOptions::default(), stop.clone()));
    let dial = async || TcpStream::connect(address).await.expect("somebody listens");
    assert_500_then_200(&[ask(dial().await).await, ask(dial().await).await], &row.id);
    assert_eq!(rig.panics("http_panics_total"), 1);
    stop.cancel();
    within("the listener ends", served).await.expect("no panic");
}

/// Dials `path` when it is there.
async fn unix(path: &Path) -> UnixStream {
    within("it is bound", async {
        loop {
            match UnixStream::connect(path).await {
                Ok(stream) => return stream,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await
}

/// Serves the control socket as the daemon does, but that the first call of the server panics.
fn keep(rig: &Rig, path: &Path, stop: &CancellationToken) -> JoinHandle<()> {
    let state = ApiState { control: rig.control.clone(), live: Arc::<Faulty>::default() };
    let (commands, path, stopped) = (commands(state), path.to_owned(), stop.clone());
    let has_panicked = AtomicBool::new(false);
    let serve = move || {
        assert!(has_panicked.swap(true, Ordering::SeqCst), "a broken assumption");
        let (commands, path, stopped) = (commands.clone(), path.clone(), stopped.clone());
        async move { api::serve_control_socket(commands, &path, stopped.cancelled_owned()).await }
    };
    tokio::spawn(keep_control_socket(serve, stop.clone()))
}

#[tokio::test]
async fn the_control_socket_is_bound_anew_after_a_panic_and_one_behind_a_command_is_answered() {
    let rig = Rig::new().await;
    let (stream, _) = rig.stream("a").await;
    let row = rig.control.begin_session(&stream).await.expect("begun");
    let (path, stop) = (rig.folder.path().join("a.sock"), CancellationToken::new());
    tokio::time::pause();
    let kept = keep(&rig, &path, &stop);
    tokio::task::yield_now().await;
    assert!(rig.stage_panics("control-socket") == 1 && !path.exists(), "it waits");
    tokio::time::advance(BIND_AGAIN_AFTER).await;
    tokio::time::resume();
    let answers = [ask(unix(&path).await).await, ask(unix(&path).await).await];
    assert_500_then_200(&answers, &row.id);
    assert_eq!((rig.panics("http_panics_total"), rig.stage_panics("control-socket")), (1, 1));
    stop.cancel();
    within("the socket is closed", kept).await.expect("no panic");
    assert!(!path.exists());
}

#[tokio::test]
async fn a_daemon_that_stops_does_not_wait_to_bind_the_control_socket_anew() {
    let rig = Rig::new().await;
    let stop = CancellationToken::new();
    stop.cancel();
    let serve = || -> Ready<Result<(), SocketError>> { panic!("a broken assumption") };
    // Without time, waiting would never end.
    tokio::time::pause();
    let before = tokio::time::Instant::now();
    keep_control_socket(serve, stop).await;
    assert_eq!((before.elapsed(), rig.stage_panics("control-socket")), (Duration::ZERO, 1));
}

#[tokio::test]
async fn a_task_that_is_missing_is_told_and_one_that_ends_is_not() {
    let rig = Rig::new().await;
    let watch = Watch::default();
    watch.over("http", async {}).await;
    watch.over("rtmp", async { panic!("a broken assumption") }).await;
    watch.over("house", async { panic!("another") }).await;
    assert_eq!(within("it is told", watch.missing()).await, "rtmp");
    assert_eq!((rig.stage_panics("rtmp"), rig.stage_panics("house"), rig.stage_panics("http")), (1, 1, 0));
    let well = Watch::default();
    let told = tokio::select! { biased; _ = well.missing() => true, () = ready(()) => false };
    assert!(!told);
}
