//! A listener with an admission that notes everything.

use std::net::SocketAddr;
use std::time::Duration;

use millstream::clock::SystemClock;
use millstream::listen::srt::{SrtConnections, SrtSettings, bind, serve};
use millstream::listen::{
    Admission, CloseReason, Destination, Finish, PublishRequest, Publisher, Refusal, RefusalReason,
};
use millstream::wire::Inbound;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use crate::srt::caller::PATIENCE;

/// Keys that the door knows.
pub const KEY: &str = "right-key";
/// Its stream has a passphrase of its own.
pub const SECRET_KEY: &str = "key-of-a-secret-stream";
pub const OWN_PASSPHRASE: &str = "the stream's own passphrase";

/// What happened at the door.
#[derive(Debug, PartialEq, Eq)]
pub enum Note {
    Request {
        stream: Option<String>,
        encoder: Option<String>,
    },
    /// Bytes of one piece, and whether something is missing before them.
    Piece(Vec<u8>, bool),
    Finished(Finish),
}

/// An admission that notes everything.
#[derive(Clone)]
pub struct Door {
    notes: mpsc::UnboundedSender<Note>,
    /// Set to end all publishers.
    pub close: watch::Sender<Option<CloseReason>>,
}

/// One admitted publisher of [`Door`].
pub struct Entry {
    door: Door,
    key: String,
}

impl Door {
    fn note(&self, note: Note) {
        // A test that has seen enough listens no more.
        let _ = self.notes.send(note);
    }
}

impl Admission for Door {
    type Publisher = Entry;

    async fn srt_passphrase(&self, key: &SecretString) -> Result<Option<SecretString>, Refusal> {
        let refused = |reason| Err(Refusal { reason, description: "no".to_owned() });
        match key.expose_secret() {
            SECRET_KEY => Ok(Some(SecretString::from(OWN_PASSPHRASE))),
            "wrong" => refused(RefusalReason::BadKey),
            "disabled" => refused(RefusalReason::StreamDisabled),
            _ => Ok(None),
        }
    }

    async fn admit(&self, request: PublishRequest) -> Result<Entry, Refusal> {
        let refused = |reason| Err(Refusal { reason, description: "no".to_owned() });
        match request.key.expose_secret() {
            "panic" => panic!("a broken assumption of admission"),
            "hang" => std::future::pending().await,
            "in-use" => refused(RefusalReason::InUse),
            "policy" => refused(RefusalReason::Policy),
            "expired" => refused(RefusalReason::KeyExpired),
            "other" => refused(RefusalReason::OtherStream),
            "stopping" => refused(RefusalReason::ShuttingDown),
            "broken" => refused(RefusalReason::Internal),
            key => {
                self.note(Note::Request { stream: request.stream, encoder: request.encoder });
                Ok(Entry { door: self.clone(), key: key.to_owned() })
            }
        }
    }
}

impl Publisher for Entry {
    async fn send(&self, units: impl Iterator<Item = Inbound> + Send) -> Result<(), CloseReason> {
        for unit in units {
            let Inbound::Ts(piece) = unit else { panic!("SRT hands on {unit:?}") };
            assert!(!piece.data.starts_with(b"poison"), "a broken assumption of the session");
            if piece.data.starts_with(b"unknown") {
                return Err(CloseReason::Rejected("Only H.264 is taken.".to_owned()));
            }
            self.door.note(Note::Piece(piece.data.to_vec(), piece.lost));
        }
        Ok(())
    }

    async fn closed(&self) -> CloseReason {
        let mut close = self.door.close.subscribe();
        let reason = close.wait_for(Option::is_some).await.expect("the door holds the sender").clone();
        reason.expect("waited for it")
    }

    fn destination(&self) -> Option<Destination> {
        Some(Destination { stream: self.key.clone(), session: "a-session".to_owned() })
    }

    async fn finish(self, how: Finish) {
        self.door.note(Note::Finished(how));
    }
}

/// A running listener.
pub struct Listener {
    pub address: SocketAddr,
    pub door: Door,
    pub connections: SrtConnections,
    pub shutdown: CancellationToken,
    pub served: JoinHandle<()>,
    notes: mpsc::UnboundedReceiver<Note>,
}

/// The defaults, with deadlines that no test meets by accident, and a latency in which a machine may stand still. What is held
/// back comes out at once when the caller says goodbye.
pub fn patient_settings() -> SrtSettings {
    SrtSettings {
        latency_min: Duration::from_secs(8),
        handshake_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        media_timeout: PATIENCE,
        drain_timeout: PATIENCE,
        ..SrtSettings::new(SystemClock::shared())
    }
}

impl Listener {
    pub fn start(settings: SrtSettings) -> Self {
        let socket = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        let address = socket.local_addr().expect("bound");
        let (sender, notes) = mpsc::unbounded_channel();
        let door = Door { notes: sender, close: watch::Sender::default() };
        let (shutdown, connections) = (CancellationToken::new(), SrtConnections::default());
        let served = tokio::spawn(serve(socket, settings, door.clone(), connections.clone(), shutdown.clone()));
        Listener { address, door, connections, shutdown, served, notes }
    }

    /// What happens next.
    pub async fn note(&mut self) -> Note {
        timeout(PATIENCE, self.notes.recv()).await.expect("something happens").expect("the door is there")
    }

    /// All bytes and holes until the connection's end, and how it ended. A hole is the place in the bytes.
    pub async fn media(&mut self) -> (Vec<u8>, Vec<usize>, Finish) {
        let (mut bytes, mut holes) = (Vec::new(), Vec::new());
        loop {
            match self.note().await {
                Note::Request { .. } => {}
                Note::Piece(piece, lost) => {
                    if lost {
                        holes.push(bytes.len());
                    }
                    bytes.extend(piece);
                }
                Note::Finished(how) => return (bytes, holes, how),
            }
        }
    }

    /// Ends it, and waits for all its tasks.
    pub async fn stop(self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.served).await.expect("it ends").expect("no panic");
    }
}
