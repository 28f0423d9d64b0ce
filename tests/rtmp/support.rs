//! What the RTMP tests share: a listener with an admission that notes everything, and a publisher of our own.
#![allow(dead_code, reason = "the test of telemetry, a binary of its own, uses a part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream::clock::SystemClock;
use millstream::listen::rtmp::{Entrance, RtmpSettings, serve};
use millstream::listen::{Admission, CloseReason, Finish, Protocol, PublishRequest, Publisher, Refusal, RefusalReason};
use millstream::tls::{CertificateFiles, Tls};
use millstream::wire::Inbound;
use millstream::wire::flv::{Tag, TagKind};
use millstream::wire::rtmp::amf0::{Reader, Value};
use millstream::wire::rtmp::chunk::ChunkReader;
use millstream::wire::rtmp::client::{self, Client};
use millstream::wire::rtmp::{Event, Limits, Server};
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

#[path = "../support/certificates.rs"]
pub mod certificates;
pub use certificates::Certificates;

/// The key that [`Door`] knows.
pub const KEY: &str = "right-key";
/// What a wrong key is told.
pub const WRONG: &str = "This stream key is not known. Copy it again from the stream's page.";
/// Longest that any single wait of these tests may take: far beyond what a loaded machine needs, so that a hang is an error.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What happened at the door.
#[derive(Debug, PartialEq, Eq)]
pub enum Note {
    Request { app: String, encoder: Option<String>, protocol: Protocol },
    Unit(Tag),
    Finished(Finish),
}

/// An admission that knows one key and notes everything.
#[derive(Clone)]
pub struct Door {
    notes: mpsc::UnboundedSender<Note>,
    /// Set to end all publishers.
    pub close: watch::Sender<Option<CloseReason>>,
    /// Permits to take a unit; closed means that units are taken freely.
    pub intake: Arc<Semaphore>,
}

/// One admitted publisher of [`Door`].
pub struct Entry {
    door: Door,
}

impl Admission for Door {
    type Publisher = Entry;

    async fn admit(&self, request: PublishRequest) -> Result<Entry, Refusal> {
        let PublishRequest { key, app, encoder, protocol, .. } = request;
        match key.expose_secret() {
            KEY => {
                self.note(Note::Request { app, encoder, protocol });
                Ok(Entry { door: self.clone() })
            }
            "panic" => panic!("a broken assumption of admission"),
            "hang" => std::future::pending().await,
            _ => Err(Refusal { reason: RefusalReason::BadKey, description: WRONG.to_owned() }),
        }
    }
}

impl Door {
    fn note(&self, note: Note) {
        self.notes.send(note).expect("the test listens to its end");
    }
}

impl Publisher for Entry {
    async fn send(&self, units: impl Iterator<Item = Inbound> + Send) -> Result<(), CloseReason> {
        for unit in units {
            let Inbound::Flv(tag) = unit else { panic!("RTMP brings FLV tags") };
            if let Ok(permit) = self.door.intake.acquire().await {
                permit.forget();
            }
            if &tag.data[..] == b"poison" {
                return Err(CloseReason::Rejected("Only H.264 is taken.".to_owned()));
            }
            self.door.note(Note::Unit(tag));
        }
        Ok(())
    }

    async fn closed(&self) -> CloseReason {
        let mut close = self.door.close.subscribe();
        let reason = close.wait_for(Option::is_some).await.expect("the door holds the sender").clone();
        reason.expect("waited for it")
    }

    async fn finish(self, how: Finish) {
        self.door.note(Note::Finished(how));
    }
}

/// Where a listener with a certificate looks for a new one so often.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A running listener.
pub struct Listener {
    pub address: SocketAddr,
    /// Where it speaks TLS, if it does.
    pub over_tls: Option<SocketAddr>,
    pub door: Door,
    pub shutdown: CancellationToken,
    pub served: JoinHandle<()>,
    notes: mpsc::UnboundedReceiver<Note>,
}

/// The defaults, with deadlines that no test meets by accident.
pub fn patient_settings() -> RtmpSettings {
    RtmpSettings {
        handshake_timeout: PATIENCE,
        connect_timeout: PATIENCE,
        publish_timeout: PATIENCE,
        admission_timeout: PATIENCE,
        silence_timeout: PATIENCE,
        ping_after: PATIENCE,
        write_timeout: PATIENCE,
        ..RtmpSettings::new(SystemClock::shared())
    }
}

impl Listener {
    pub async fn start(settings: RtmpSettings) -> Self {
        Listener::start_with(settings, open_intake(), None).await
    }

    /// A listener whose publishers take as many units as permits are added to `door.intake`.
    pub async fn start_with_closed_intake(settings: RtmpSettings) -> Self {
        Listener::start_with(settings, Semaphore::new(0), None).await
    }

    /// A listener that speaks TLS at a second address.
    pub async fn start_with_tls(settings: RtmpSettings, certificates: &Certificates) -> Self {
        let files = CertificateFiles { cert: certificates.cert(), key: certificates.key() };
        let tls =
            Tls::load(files, LOOK_EVERY, Protocol::Rtmps.as_str(), SystemClock::shared()).await.expect("a good pair");
        Listener::start_with(settings, open_intake(), Some(tls)).await
    }

    async fn start_with(settings: RtmpSettings, intake: Semaphore, tls: Option<Tls>) -> Self {
        let (noted, notes) = mpsc::unbounded_channel();
        let door = Door { notes: noted, close: watch::Sender::new(None), intake: Arc::new(intake) };
        let mut entrances = vec![entrance(None).await];
        if tls.is_some() {
            entrances.push(entrance(tls).await);
        }
        let mut addresses = entrances.iter().map(|entrance| entrance.listener.local_addr().expect("bound"));
        let (address, over_tls) = (addresses.next().expect("the plain one"), addresses.next());
        let shutdown = CancellationToken::new();
        let served = tokio::spawn(serve(entrances, settings, door.clone(), shutdown.clone()));
        Listener { address, over_tls, door, shutdown, served, notes }
    }

    /// Where it speaks TLS.
    pub fn tls_address(&self) -> SocketAddr {
        self.over_tls.expect("it was started with TLS")
    }

    /// The next thing that happened at the door.
    pub async fn note(&mut self) -> Note {
        in_time(self.notes.recv()).await.expect("the door is there")
    }

    /// Notes up to the end of the publish, which is the second value.
    pub async fn units_to_finish(&mut self) -> (Vec<Tag>, Finish) {
        let mut units = Vec::new();
        loop {
            match self.note().await {
                Note::Unit(tag) => units.push(tag),
                Note::Finished(how) => return (units, how),
                Note::Request { .. } => {}
            }
        }
    }

    /// Stops the listener, which must end by itself.
    pub async fn stop(self) {
        self.shutdown.cancel();
        in_time(self.served).await.expect("no panic");
    }
}

/// Units are taken freely.
fn open_intake() -> Semaphore {
    let intake = Semaphore::new(0);
    intake.close();
    intake
}

async fn entrance(tls: Option<Tls>) -> Entrance {
    Entrance { listener: TcpListener::bind("127.0.0.1:0").await.expect("a free port"), tls }
}

/// Fails a test that would hang.
pub async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing hangs")
}

/// Our own publisher on a socket.
pub struct Encoder<S = TcpStream> {
    pub socket: S,
    pub client: Client,
    reader: ChunkReader,
    read: Bytes,
}

impl Encoder {
    /// Connects and does the handshake.
    pub async fn shake_hands(address: SocketAddr) -> Self {
        Encoder::over(in_time(TcpStream::connect(address)).await.expect("the listener is there")).await
    }

    /// Comes as far as asking to publish.
    pub async fn ask(address: SocketAddr, key: &str) -> Self {
        Encoder::shake_hands(address).await.asking(key).await
    }

    /// Publishes with the right key.
    pub async fn publish(address: SocketAddr) -> Self {
        Encoder::shake_hands(address).await.publishing().await
    }
}

impl Encoder<TlsStream<TcpStream>> {
    /// Does both handshakes.
    pub async fn shake_hands_over_tls(listener: &Listener, certificates: &Certificates) -> Self {
        let socket = in_time(certificates.connect(listener.tls_address())).await;
        Encoder::over(socket.expect("a connection over TLS")).await
    }

    /// Publishes with the right key.
    pub async fn publish_over_tls(listener: &Listener, certificates: &Certificates) -> Self {
        Encoder::shake_hands_over_tls(listener, certificates).await.publishing().await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Encoder<S> {
    /// Does the handshake on a connected socket.
    pub async fn over(mut socket: S) -> Self {
        socket.write_all(&client::handshake()).await.expect("written");
        socket.flush().await.expect("written");
        let mut answer = vec![0; 1 + 2 * 1536];
        in_time(socket.read_exact(&mut answer)).await.expect("a handshake comes back");
        Encoder { socket, client: Client::default(), reader: ChunkReader::new(Limits::default()), read: Bytes::new() }
    }

    /// Asks to publish.
    pub async fn asking(mut self, key: &str) -> Self {
        self.client.connect("live", "rtmp://127.0.0.1/live", "FMLE/3.0 (test)").create_stream().publish(1, key);
        self.flush().await;
        self
    }

    /// Asks to publish with the right key, and may.
    pub async fn publishing(self) -> Self {
        let mut encoder = self.asking(KEY).await;
        assert_eq!(encoder.status().await.as_deref(), Some("NetStream.Publish.Start: Publishing."));
        encoder
    }

    pub async fn flush(&mut self) {
        let bytes = self.client.take();
        self.socket.write_all(&bytes).await.expect("written");
        self.socket.flush().await.expect("written");
    }

    /// The server's next message as its type and payload; `None` at the end of the connection.
    pub async fn message(&mut self) -> Option<(u8, Bytes)> {
        loop {
            if let Some(message) = self.reader.next(&mut self.read).expect("the server's bytes are RTMP") {
                return Some((message.type_id, message.payload));
            }
            let mut buffer = vec![0; 4096];
            match in_time(self.socket.read(&mut buffer)).await {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.read = Bytes::copy_from_slice(&buffer[..count]),
            }
        }
    }

    /// The next `onStatus` as `code: description`; `None` at the end of the connection.
    pub async fn status(&mut self) -> Option<String> {
        loop {
            let (type_id, payload) = self.message().await?;
            let values = if type_id == 20 { Reader::new(&payload).read_all().expect("AMF0") } else { Vec::new() };
            if values.first() == Some(&Value::string("onStatus")) {
                let text = |name| values[3].get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                return Some(format!("{}: {}", text("code"), text("description")));
            }
        }
    }
}

pub fn tag(kind: TagKind, timestamp_ms: u32, data: &'static [u8]) -> Tag {
    Tag { kind, timestamp_ms, data: Bytes::from_static(data) }
}

/// Bytes of a capture in `fixtures/`.
pub fn capture(name: &str) -> Bytes {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into()
}

/// All captures.
pub const CAPTURES: [&str; 3] = ["obs-29-rtmp-c2s.bin", "ffmpeg-5.1-rtmp-c2s.bin", "gst-1.22-rtmp2sink-c2s.bin"];

/// What a server that accepts every publish makes of `bytes`, cut into pieces whose lengths `splits` give in turn.
pub fn replay(bytes: &Bytes, splits: &[usize]) -> Vec<Event> {
    let mut server = Server::new(Limits::default());
    let (mut events, mut at, mut turn) = (Vec::new(), 0, 0);
    while at < bytes.len() {
        let end = bytes.len().min(at.saturating_add(splits[turn % splits.len()]));
        server.receive(bytes.slice(at..end), &mut events).expect("captures are good RTMP");
        server.accept_publish(&mut events).expect("captures are good RTMP");
        server.take_output();
        (at, turn) = (end, turn + 1);
    }
    assert_eq!(server.held_bytes(), 0);
    events
}
