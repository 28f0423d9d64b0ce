//! Composition root: the only place that names every module. What starts, in which order, and how it stops.
//!
//! ```text
//! start  lock and database ─▶ store (journals replayed) ─▶ presets ─▶ sockets bound ─▶ sessions resumed ─▶ doors open
//! stop   RTMP closed, publishers told ─▶ sessions drained (journal, ENDLIST if asked) ─▶ uploads ─▶ traces ─▶ viewers told ─▶ HTTP ─▶ database
//! ```
//!
//! | module | adapts |
//! |---|---|
//! | [`admission`] | keys (control) and sessions (live) to `listen::Admission` |
//! | [`playback`] | sessions and store to `web::PlaybackSource` |
//! | [`host`] | the daemon to the command line |
//! | [`capacity`] | what the machine can encode: configured, remembered or measured |
//! | [`descriptors`] | the system's limit of open files to the doors' limits of connections |
//! | `farewell` | how long viewers are told that sessions have ended |
//! | [`figures`] | sessions and store to `/metrics`, `/readyz` and the API's live details |
//! | `tasks` | the daemon's own tasks, and what a panic does to each |
//! | `traces` | the store's traces to a collector |

pub mod admission;
pub mod capacity;
pub mod descriptors;
mod farewell;
pub mod figures;
pub mod host;
pub mod playback;
mod tasks;
#[cfg(test)]
mod tests;
mod traces;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn;
use secrecy::SecretString;
use tokio::net::{TcpListener, TcpSocket, UdpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::api;
use crate::clock::{SharedClock, SystemClock};
use crate::config::preset::{Preset, PresetError};
use crate::config::{CertificatePaths, Config, Encryption};
use crate::control::{Control, ControlError, SessionRow};
use crate::listen::Protocol;
use crate::listen::rtmp::{self, Entrance, RtmpSettings};
use crate::listen::srt::{self, SrtConnections, SrtSettings};
use crate::live::{HlsSpec, SessionSpec, Sessions, wiring::Stop};
use crate::store::{RecoveredSession, SessionHead, Store, StoreError, StoreSettings};
use crate::telemetry::{Metrics, MetricsError, names};
use crate::tls::{self, CertificateError, CertificateFiles, Tls};
use crate::transcode::Patience;
use crate::web::{self, Cors};

use admission::KeyAdmission;
use figures::{Figures, LiveTable};
pub use host::DaemonHost;
use playback::Playback;
use tasks::Watch;
use traces::Tracing;

/// From SIGTERM until everything that is accepted is on disk. A supervisor's patience is usually 10 s or more.
const STOP_DEADLINE: Duration = Duration::from_secs(9);
/// What uploads get of it. What is left goes on after the next start.
const UPLOAD_DEADLINE: Duration = Duration::from_secs(4);
/// Connections that wait to be accepted; the system may allow fewer (`net.core.somaxconn`, 4096 by default). With the usual
/// 1024, a thousand that come at once make the next one's SYN be dropped, and it comes back a second later.
const BACKLOG: u32 = 4096;
/// Changes of session states that wait for the database. They are few: a state lasts for seconds.
const EVENT_QUEUE: usize = 256;

/// The daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data folder, its lock or its database.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The spool or the object store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ladder's preset.
    #[error(transparent)]
    Preset(#[from] PresetError),
    /// The certificate of RTMPS or HTTPS, or its key.
    #[error("cannot serve {} ({section}.cert, {section}.key): {why}", section.to_uppercase())]
    Certificate {
        /// The configuration's section.
        section: &'static str,
        /// What is wrong with which file.
        why: CertificateError,
    },
    /// Metrics.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// A port.
    #[error("cannot listen on {address} ({key}): {source}; choose another address, or end the program that has it")]
    Listen {
        /// The configuration key.
        key: &'static str,
        /// Its value.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// The exporter of traces, by a variable of its own.
    #[error("cannot send traces (telemetry.otlp_endpoint): {0}; check the variables OTEL_EXPORTER_OTLP_*")]
    Traces(#[from] opentelemetry_otlp::ExporterBuildError),
    /// Signals.
    #[error("cannot watch for signals: {0}")]
    Signals(io::Error),
    /// A task that the daemon cannot do without has panicked.
    #[error("stopped because of a fault of ours: its task `{0}` has panicked; sessions go on with the next start")]
    TaskMissing(&'static str),
}

/// Runs the daemon until a signal stops it. `end_sessions`: running sessions end instead of waiting for a restart.
///
/// # Errors
/// What keeps the daemon from starting. Once it runs, nothing but a signal stops it, or a task that it cannot do without and that
/// has panicked.
pub async fn serve(config: Config, end_sessions: bool) -> Result<(), ServeError> {
    crate::transcode::settle_heap();
    let mut signals = Signals::watch()?;
    let daemon = Daemon::start(config, Metrics::install()?).await?;
    info!(http = %daemon.http, "ready");
    until_stopped(daemon, async || signals.first().await, end_sessions).await
}

/// Waits for a reason to stop, and stops. `signal` is the next one; it is waited for again while the daemon stops.
async fn until_stopped(daemon: Daemon, mut signal: impl AsyncFnMut(), end_sessions: bool) -> Result<(), ServeError> {
    let missing = tokio::select! {
        () = signal() => None,
        task = daemon.watch.missing() => Some(task),
    };
    let stop = match missing {
        // Whoever supervises us starts us anew, and the sessions go on.
        Some(task) => {
            error!(task, "a task that nobody can do without has panicked: stopping");
            Stop::Suspend
        }
        None => {
            info!(end_sessions, "stopping; a second signal exits at once");
            if end_sessions { Stop::End } else { Stop::Suspend }
        }
    };
    tokio::select! {
        () = daemon.stop(stop) => info!("stopped"),
        () = signal() => {
            warn!("second signal: exiting at once; the journal has what viewers have seen");
            std::process::exit(1);
        }
    }
    missing.map_or(Ok(()), |task| Err(ServeError::TaskMissing(task)))
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn watch() -> Result<Self, ServeError> {
        let watch = |kind| signal(kind).map_err(ServeError::Signals);
        Ok(Signals { terminate: watch(SignalKind::terminate())?, interrupt: watch(SignalKind::interrupt())? })
    }

    /// The next of either.
    async fn first(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A running daemon: every long-lived part, in the order in which it was started.
struct Daemon {
    /// Where HTTP is served: the port that the system chose when the configuration says 0.
    http: SocketAddr,
    control: Control,
    store: Arc<Store>,
    sessions: Sessions,
    tracing: Tracing,
    /// Ends the listeners of encoders and with them all publishers.
    intake: CancellationToken,
    /// Ends HTTP and the control socket.
    edge: CancellationToken,
    /// Ends the tasks that carry events between layers.
    errands: CancellationToken,
    intake_tasks: TaskTracker,
    edge_tasks: TaskTracker,
    errand_tasks: TaskTracker,
    /// Over all of them.
    watch: Watch,
}

impl Daemon {
    async fn start(config: Config, metrics: Metrics) -> Result<Self, ServeError> {
        let clock = SystemClock::shared();
        let descriptors = descriptors::raise();
        let control = Control::open_with(&config.data_dir, config.secrets.clone(), clock.clone()).await?;
        control.check_secrets().await?;
        let tracing = Tracing::start(config.telemetry.otlp_endpoint.as_ref(), clock.clone())?;
        let settings = StoreSettings { traces: tracing.traces.clone(), ..store_settings(&config) };
        let (store, recovered) = Store::open(settings, clock.clone()).await?;
        let specs = Arc::new(Specs::new(&config)?);
        let open = control.open_sessions().await?;
        // Everything that can fail for a reason of the operator's is done before a session is touched.
        let http = bind("http.listen", config.http.listen)?;
        let mut edge = vec![(http, None)];
        if let Some(https) = &config.https {
            let tls = load_tls(&https.certificate, "https", &clock).await?;
            edge.push((bind("https.listen", https.listen)?, Some(tls)));
        }
        let mut doors = vec![Entrance { listener: bind("rtmp.listen", config.rtmp.listen)?, tls: None }];
        if let Some(rtmps) = &config.rtmps {
            let tls = load_tls(&rtmps.certificate, Protocol::Rtmps.as_str(), &clock).await?;
            doors.push(Entrance { listener: bind("rtmps.listen", rtmps.listen)?, tls: Some(tls) });
        }
        let srt = config.srt.as_ref().map(|config| bind_srt(config.listen)).transpose()?;

        let address = edge[0].0.local_addr().unwrap_or(config.http.listen);
        let (tell, told) = mpsc::channel(EVENT_QUEUE);
        let capacity = capacity::learn(&config);
        let sessions = Sessions::within(capacity, store.clone(), clock.clone(), move |event| {
            // Called on session threads, which may wait for the database; it ends only after them.
            let _ = tell.blocking_send(event);
        });
        let daemon = Daemon {
            http: address,
            control,
            store,
            sessions,
            tracing,
            intake: CancellationToken::new(),
            edge: CancellationToken::new(),
            errands: CancellationToken::new(),
            intake_tasks: TaskTracker::new(),
            edge_tasks: TaskTracker::new(),
            errand_tasks: TaskTracker::new(),
            watch: Watch::default(),
        };
        let (control, sessions, stop) = (daemon.control.clone(), daemon.sessions.clone(), daemon.errands.clone());
        daemon.errand("session-states", tasks::write_down(control.clone(), told));
        daemon.errand("changes", tasks::act_on_changes(control, sessions, stop, tasks::act_on));
        daemon.resume(&specs, open, recovered).await;
        let options = http_options(&config, descriptors);
        daemon.open_doors(&config, &specs, clock, metrics, (edge, options), (doors, srt));
        Ok(daemon)
    }

    /// Starts one of the tasks that carry events between layers.
    fn errand(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.errand_tasks.spawn(self.watch.over(name, task));
    }

    /// Sessions that were open when the daemon ended go on; their grace time begins anew. What only the database or only
    /// the journal takes for open is over: it is ended there.
    async fn resume(&self, specs: &Specs, open: Vec<SessionRow>, recovered: Vec<RecoveredSession>) {
        let mut recovered: Vec<_> = recovered.into_iter().filter(|session| !session.ended).collect();
        for row in open {
            let position = recovered.iter().position(|session| session.head.session == row.id.as_str());
            let resumed = match position.map(|index| recovered.swap_remove(index)) {
                Some(session) => {
                    let head = session.head.clone();
                    let resumed = self.resume_one(specs, &row, session).await;
                    if resumed.is_err() {
                        self.end_stored(head).await;
                    }
                    resumed
                }
                // It ended in the journal already, or never had a part.
                None => Err("nothing of it is in the journal".to_owned()),
            };
            if let Err(why) = resumed {
                info!(stream = %row.stream_id, session = %row.id, why, "session is not resumed");
                if let Err(failure) = self.control.end_session(&row.id).await {
                    error!(session = %row.id, %failure, "cannot end a session in the database");
                }
            }
        }
        for session in recovered {
            info!(stream = session.head.stream, session = session.head.session, "session ended without its journal");
            self.end_stored(session.head).await;
        }
    }

    /// ENDLIST for a session that nobody goes on with.
    async fn end_stored(&self, head: SessionHead) {
        let (store, session) = (self.store.clone(), head.session.clone());
        let ended = tokio::task::spawn_blocking(move || store.end_session(&head.stream, &head.session)).await;
        if !matches!(ended, Ok(Ok(()))) {
            error!(session, ?ended, "cannot end a session in the store");
        }
    }

    async fn resume_one(&self, specs: &Specs, row: &SessionRow, session: RecoveredSession) -> Result<(), String> {
        let stream = self.control.find_stream(row.stream_id.as_str()).await.map_err(|failure| failure.to_string())?;
        let row = self.control.raise_epoch(&row.id).await.map_err(|failure| failure.to_string())?;
        let spec = specs.of(&stream, row.id.as_str(), row.epoch).map_err(|failure| failure.to_string())?;
        self.sessions.resume(spec, session).map_err(|failure| failure.to_string())
    }

    fn open_doors(
        &self,
        config: &Config,
        specs: &Arc<Specs>,
        clock: SharedClock,
        metrics: Metrics,
        (edge, options): (Vec<(TcpListener, Option<Tls>)>, web::ServeOptions),
        (doors, srt): (Vec<Entrance>, Option<UdpSocket>),
    ) {
        names::BUILD_INFO.gauge(&[("version", env!("CARGO_PKG_VERSION"))]).set(1.0);
        names::TAKEOVERS.counter(&[]).increment(0); // there before the first one
        self.errand("house", tasks::keep_house(self.sessions.clone(), metrics.clone(), self.errands.clone()));
        let callers = SrtConnections::default();
        let figures = Figures::new(self.control.clone(), self.sessions.clone(), self.store.clone(), callers.clone());
        let live: Arc<dyn api::LiveSessions> = Arc::new(LiveTable::new(self.sessions.clone()));
        let state = api::ApiState { control: self.control.clone(), live };
        let (commands, socket, stop) = (tasks::commands(state.clone()), config.control_socket(), self.edge.clone());
        let stopped = stop.clone();
        let serve_socket = move || {
            let (commands, socket, stopped) = (commands.clone(), socket.clone(), stopped.clone());
            async move { api::serve_control_socket(commands, &socket, stopped.cancelled_owned()).await }
        };
        let socket = tasks::keep_control_socket(serve_socket, stop);
        self.edge_tasks.spawn(self.watch.over("control-socket", socket));
        let playback = Playback::new(self.control.clone(), self.sessions.clone(), self.store.clone());
        let cors = Cors::new(&config.http.cors_origins);
        let guarded = guarded_router(figures, metrics, state, config.http.admin_token.as_ref());
        let whole = web::router(playback, cors.clone()).merge(guarded.clone());
        let secure = edge.iter().find(|(_, tls)| tls.is_some()).and_then(|(listener, _)| listener.local_addr().ok());
        let entrances = edge.into_iter().map(|(listener, tls)| {
            announce(if tls.is_some() { "https" } else { "http" }, listener.local_addr());
            match (tls, secure) {
                (Some(tls), _) => web::Entrance::secure(listener, tls, whole.clone()),
                (None, Some(secure)) if config.http.redirect_to_https => {
                    let redirected = web::redirect::router(secure.port(), cors.clone());
                    web::Entrance::plain(listener, redirected.merge(guarded.clone()))
                }
                (None, _) => web::Entrance::plain(listener, whole.clone()),
            }
        });
        let entrances: Vec<_> = entrances.collect();
        self.edge_tasks.spawn(self.watch.over("http", web::serve(entrances, options, self.edge.clone())));

        let admission = KeyAdmission::new(self.control.clone(), self.sessions.clone(), specs.clone());
        for door in &doors {
            announce(door.protocol().as_str(), door.listener.local_addr());
        }
        if let (Some(socket), Some(settings)) = (srt, &config.srt) {
            announce(Protocol::Srt.as_str(), socket.local_addr());
            let settings = srt_settings(settings, clock.clone());
            let door = srt::serve(socket, settings, admission.clone(), callers, self.intake.clone());
            self.intake_tasks.spawn(self.watch.over("srt", door));
        }
        let doors = rtmp::serve(doors, rtmp_settings(config, clock), admission, self.intake.clone());
        self.intake_tasks.spawn(self.watch.over("rtmp", doors));
    }

    /// Stops in order: no new publishers, sessions drained, uploads, viewers, database. What misses the deadline is left to
    /// the next start, which finds it in the journal.
    async fn stop(self, stop: Stop) {
        self.stop_with(stop, tokio::time::sleep_until).await;
    }

    /// `farewell` waits until viewers have had their time to learn that their sessions ended.
    async fn stop_with<F: Future<Output = ()>>(self, stop: Stop, farewell: impl FnOnce(Instant) -> F) {
        let in_order = async {
            let farewell_length = farewell::length(stop, self.sessions.all().iter().map(|session| &**session));
            self.intake.cancel();
            self.intake_tasks.close();
            let sessions = self.sessions.clone();
            let drained = tokio::task::spawn_blocking(move || sessions.shut_down(stop));
            if drained.await.is_err() {
                error!("draining the sessions panicked");
            }
            let drained_at = Instant::now();
            self.intake_tasks.wait().await;
            if let Err(failure) = self.store.close(UPLOAD_DEADLINE).await {
                error!(%failure, "the journal could not be closed in order");
            }
            self.tracing.close().await;
            if !farewell_length.is_zero() {
                farewell(drained_at + farewell_length).await;
            }
            self.edge.cancel();
            self.edge_tasks.close();
            self.edge_tasks.wait().await;
            self.sessions.forget();
            self.errands.cancel();
            self.errand_tasks.close();
            self.errand_tasks.wait().await;
        };
        if tokio::time::timeout(STOP_DEADLINE, in_order).await.is_err() {
            warn!("not everything could be drained in time; the next start goes on from the journal");
        }
        self.control.close().await;
    }
}

/// Operations and the API. What panics in it is answered with 500.
fn guarded_router(figures: Figures, metrics: Metrics, state: api::ApiState, token: Option<&SecretString>) -> Router {
    let operations = api::operations::router(figures.clone(), metrics.with_collector(Arc::new(figures)));
    operations.merge(api::protected_router(state, token)).layer(from_fn(web::panics::caught))
}

/// What sessions of this daemon are started with: configuration, a stream's own fields over it.
pub struct Specs {
    preset: Arc<Preset>,
    hls: HlsSpec,
    patience: Patience,
    session: crate::config::Session,
}

impl Specs {
    fn new(config: &Config) -> Result<Self, PresetError> {
        Ok(Specs {
            preset: Arc::new(Preset::load(&config.ladder.preset)?),
            hls: hls_spec(config),
            patience: Patience::new(config.ladder.patience),
            session: config.session.clone(),
        })
    }

    /// The specification of a session of `stream`.
    ///
    /// # Errors
    /// The stream's own preset cannot be loaded.
    pub fn of(&self, stream: &crate::control::Stream, session: &str, epoch: u32) -> Result<SessionSpec, PresetError> {
        let preset = match &stream.preset {
            Some(choice) => Arc::new(Preset::load(choice)?),
            None => self.preset.clone(),
        };
        Ok(SessionSpec {
            stream: stream.id.to_string(),
            session: session.to_owned(),
            epoch,
            preset,
            hls: self.hls,
            patience: self.patience,
            grace: stream.grace.unwrap_or(self.session.grace),
            on_unpublish: stream.on_unpublish.unwrap_or(self.session.on_unpublish),
            conflict: stream.conflict.unwrap_or(self.session.conflict),
            max_bitrate: self.session.max_bitrate,
        })
    }
}

fn hls_spec(config: &Config) -> HlsSpec {
    HlsSpec { segment: config.hls.segment, part: config.hls.part, window: config.hls.window }
}

/// `protocol` is also the section of the configuration.
async fn load_tls(files: &CertificatePaths, protocol: &'static str, clock: &SharedClock) -> Result<Tls, ServeError> {
    let loaded = Tls::load(certificate_files(files), tls::LOOK_EVERY, protocol, clock.clone()).await;
    loaded.map_err(|why| ServeError::Certificate { section: protocol, why })
}

fn certificate_files(paths: &CertificatePaths) -> CertificateFiles {
    CertificateFiles { cert: paths.cert.clone(), key: paths.key.clone() }
}

fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?; // a restart must not wait for connections of before
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|source| ServeError::Listen { key, address, source })
}

fn bind_srt(address: SocketAddr) -> Result<UdpSocket, ServeError> {
    srt::bind(address).map_err(|source| ServeError::Listen { key: "srt.listen", address, source })
}

/// Scripts and tests that bind to port 0 learn the port from this line.
fn announce(service: &str, address: io::Result<SocketAddr>) {
    if let Ok(address) = address {
        info!(service, %address, "listening");
    }
}

fn store_settings(config: &Config) -> StoreSettings {
    let mut settings = StoreSettings::new(config.storage.url.to_string(), config.storage.spool.clone());
    settings.spool_max_bytes = config.storage.spool_max_bytes;
    settings.window = config.hls.window;
    settings
}

/// What the configuration says, and no more connections than descriptors are left for.
fn http_options(config: &Config, descriptors: u64) -> web::ServeOptions {
    let wanted = u64::from(config.http.max_connections);
    let allowed = descriptors::for_http(descriptors, config.rtmp.max_connections).min(wanted);
    if allowed < wanted {
        warn!(
            descriptors,
            allowed, wanted, "too few file descriptors for http.max_connections: raise the limit (ulimit -n)"
        );
    }
    // In proportion, so that one address leaves others the share that the operator meant.
    let per_address = u64::from(config.http.max_connections_per_address).saturating_mul(allowed) / wanted.max(1);
    web::ServeOptions {
        max_connections: usize::try_from(allowed).unwrap_or(usize::MAX),
        max_connections_per_address: usize::try_from(per_address.max(1)).unwrap_or(usize::MAX),
        header_timeout: config.http.header,
        stall_timeout: config.http.stall,
        ..web::ServeOptions::default()
    }
}

fn rtmp_settings(config: &Config, clock: SharedClock) -> RtmpSettings {
    let mut settings = RtmpSettings::new(clock);
    settings.handshake_timeout = config.rtmp.handshake;
    settings.connect_timeout = config.rtmp.connect;
    settings.publish_timeout = config.rtmp.publish;
    settings.silence_timeout = config.rtmp.silence;
    settings.ping_after = settings.ping_after.min(config.rtmp.silence / 2);
    settings.max_connections = config.rtmp.max_connections as usize;
    settings.max_connections_per_address = config.rtmp.max_connections_per_address as usize;
    settings.limits.message_bytes = config.rtmp.max_message_bytes as usize;
    settings
}

fn srt_settings(config: &crate::config::Srt, clock: SharedClock) -> SrtSettings {
    SrtSettings {
        passphrase: config.passphrase.clone(),
        encryption_required: config.encryption == Encryption::Required,
        latency_min: config.latency_min,
        latency_max: config.latency_max,
        handshake_timeout: config.handshake,
        idle_timeout: config.idle,
        max_connections: config.max_connections as usize,
        max_connections_per_address: config.max_connections_per_address as usize,
        max_buffer_bytes: usize::try_from(config.max_buffer_bytes).unwrap_or(usize::MAX),
        ..SrtSettings::new(clock)
    }
}
