//! Who may publish, and into what: keys are control's, sessions are live's.

use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;

use secrecy::SecretString;
use tokio::sync::Mutex;
use tracing::{Span, error, info, warn};

use super::Specs;
use crate::control::{AuthError, Control, ControlError, Grant, SessionRow, StreamId};
use crate::listen::{Admission, PublishRequest, Refusal, RefusalReason};
use crate::live::{LivePublisher, PublishError, PublisherId, Sessions};

/// Admission by stream key.
#[derive(Clone)]
pub struct KeyAdmission {
    control: Control,
    sessions: Sessions,
    specs: Arc<Specs>,
    /// Held while a session is begun, so that two publishers of one stream begin one session.
    beginning: Arc<Mutex<()>>,
}

impl KeyAdmission {
    /// Admission over these keys, into these sessions.
    pub fn new(control: Control, sessions: Sessions, specs: Arc<Specs>) -> Self {
        KeyAdmission { control, sessions, specs, beginning: Arc::default() }
    }

    /// The stream's running session, or a new one.
    async fn publish(&self, grant: &Grant, peer: SocketAddr) -> Result<LivePublisher, Refusal> {
        let stream = grant.stream.id.as_str();
        let by = PublisherId { key: grant.key_id.to_string(), peer };
        loop {
            // A session with a full queue lets its new publisher wait: without the lock, so that other streams do not.
            if let Some(publisher) = self.sessions.connect(stream, by.clone()).await.map_err(|why| refused(&why))? {
                return Ok(publisher);
            }
            let _beginning = self.beginning.lock().await;
            if !self.sessions.is_running(stream) {
                return self.begin(grant, by).await;
            }
        }
    }

    /// Begins a session. None of the stream runs, and nobody else begins one.
    async fn begin(&self, grant: &Grant, by: PublisherId) -> Result<LivePublisher, Refusal> {
        let row = self.begin_row(&grant.stream.id).await.map_err(|failure| {
            let cause = failure.source().map(ToString::to_string);
            error!(%failure, cause, "cannot begin a session");
            refusal(RefusalReason::Internal, "The server cannot begin a broadcast at the moment. Try again.")
        })?;
        let spec = self.specs.of(&grant.stream, row.id.as_str(), row.epoch).map_err(|failure| {
            error!(%failure, "the stream's preset cannot be loaded");
            refusal(RefusalReason::Internal, "The stream's ladder preset is broken. Tell the administrator.")
        });
        let started = match spec {
            Ok(spec) => self.sessions.start(spec, by).await.map_err(|failure| refused(&failure)),
            Err(refusal) => Err(refusal),
        };
        if started.is_err()
            && let Err(failure) = self.control.end_session(&row.id).await
        {
            warn!(%failure, "a session that was never started stays open in the database until the next one begins");
        }
        started
    }

    /// A session that the database still has open does not run: it has just ended, or its end could not be written. It is
    /// ended now, so that it cannot lock its stream.
    async fn begin_row(&self, stream: &StreamId) -> Result<SessionRow, ControlError> {
        match self.control.begin_session(stream).await {
            Err(ControlError::SessionOpen { session, .. }) => {
                self.control.end_session(&session).await?;
                self.control.begin_session(stream).await
            }
            begun => begun,
        }
    }
}

/// Why a session takes no publisher, in words for the encoder.
fn refused(failure: &PublishError) -> Refusal {
    match failure {
        PublishError::ShuttingDown => {
            refusal(RefusalReason::ShuttingDown, "The server is shutting down. Reconnect in a moment.")
        }
        PublishError::InUse(in_use) => refusal(RefusalReason::InUse, in_use.to_string()),
        PublishError::Barred(barred) => refusal(RefusalReason::TakenOver, barred.to_string()),
        PublishError::Running { .. } | PublishError::Wire(_) | PublishError::Failed { .. } => {
            error!(%failure, "cannot start a session");
            refusal(RefusalReason::Internal, "The server cannot start a broadcast at the moment. Try again.")
        }
    }
}

impl Admission for KeyAdmission {
    type Publisher = LivePublisher;

    async fn srt_passphrase(&self, key: &SecretString) -> Result<Option<SecretString>, Refusal> {
        // Not a use of the key yet: the passphrase is still to be proven.
        let grant = self.control.identify(key).await.map_err(not_authentic)?;
        self.control.srt_passphrase(&grant.stream.id).await.map_err(|failure| {
            error!(%failure, "a stream's SRT passphrase cannot be read");
            refusal(RefusalReason::Internal, "The server cannot check passphrases at the moment. Try again.")
        })
    }

    async fn admit(&self, request: PublishRequest) -> Result<LivePublisher, Refusal> {
        let grant = self.control.authenticate(&request.key).await.map_err(not_authentic)?;
        if let Some(named) = &request.stream
            && !is_named(&grant.stream, named)
        {
            return Err(refusal(
                RefusalReason::OtherStream,
                "The stream key is right, and the stream named beside it is not its own.",
            ));
        }
        let publisher = self.publish(&grant, request.peer).await?;
        Span::current().record("stream", grant.stream.id.as_str());
        Span::current().record("session", publisher.session().spec().session.as_str());
        // A key that was revoked between the check and the connection was announced to nobody who knew of us.
        match self.control.is_admitted(&grant.key_id).await {
            Ok(true) => {
                info!(key = %grant.key_id, encoder = request.encoder.as_deref().unwrap_or("unnamed"), "publisher admitted");
                Ok(publisher)
            }
            Ok(false) => Err(refusal(RefusalReason::BadKey, "This stream key was revoked.")),
            Err(failure) => {
                error!(%failure, "cannot check a key again");
                Err(refusal(RefusalReason::Internal, "The server cannot check stream keys at the moment. Try again."))
            }
        }
    }
}

/// Whether `path`, or its last segment, is the id or the name of `stream`.
fn is_named(stream: &crate::control::Stream, path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or(path);
    [path, last].iter().any(|name| *name == stream.id.as_str() || *name == stream.name)
}

fn refusal(reason: RefusalReason, description: impl Into<String>) -> Refusal {
    Refusal { reason, description: description.into() }
}

fn not_authentic(failure: AuthError) -> Refusal {
    let (reason, words) = match &failure {
        AuthError::NotFound => {
            (RefusalReason::BadKey, "Unknown stream key. Check the stream key in your encoder's settings.")
        }
        AuthError::Revoked => (RefusalReason::BadKey, "This stream key was revoked. Ask for a new one."),
        AuthError::Expired => (RefusalReason::KeyExpired, "This stream key has expired. Ask for a new one."),
        AuthError::StreamDisabled => (RefusalReason::StreamDisabled, "This stream is disabled."),
        AuthError::Unavailable(_) => {
            error!(%failure, "stream keys cannot be checked");
            (RefusalReason::Internal, "The server cannot check stream keys at the moment. Try again.")
        }
    };
    refusal(reason, words)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::SystemClock;
    use crate::config::{Config, Overrides};
    use crate::control::{NewKey, NewStream};
    use crate::listen::{CloseReason, Finish, Protocol, Publisher};
    use crate::live::wiring::Stop;
    use crate::store::{Store, StoreSettings};

    /// Longer than anything here takes.
    const LIMIT: Duration = Duration::from_secs(30);

    struct Fixture {
        admission: KeyAdmission,
        key: SecretString,
        _folder: tempfile::TempDir,
    }

    /// Admission over a database that nobody tells of what becomes of sessions: the slowest one there can be.
    async fn fixture() -> Fixture {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = SystemClock::shared();
        let control = Control::open(folder.path(), clock.clone()).await.expect("a database");
        let settings = StoreSettings::new("memory:", folder.path().join("spool"));
        let (store, _) = Store::open(settings, clock.clone()).await.expect("a store");
        let file = "[ladder]\npreset = \"passthrough\"\n";
        let config = Config::parse(&Overrides::default(), [], Some(("a.toml", file))).expect("valid");
        let specs = Arc::new(Specs::new(&config).expect("an embedded preset"));
        let new = NewStream { name: "a".to_owned(), ..NewStream::default() };
        let stream = control.create_stream(new).await.expect("made");
        let key = control.create_key(&stream.id, NewKey::default()).await.expect("made").secret;
        let admission = KeyAdmission::new(control, Sessions::new(store, clock, |_| ()), specs);
        Fixture { admission, key, _folder: folder }
    }

    impl Fixture {
        async fn admit(&self) -> Result<LivePublisher, Refusal> {
            self.admit_to(None).await
        }

        /// With the name of a stream beside the key.
        async fn admit_to(&self, stream: Option<&str>) -> Result<LivePublisher, Refusal> {
            let peer = SocketAddr::from(([192, 0, 2, 1], 5_000));
            let (key, app) = (self.key.clone(), "live".to_owned());
            let request = PublishRequest {
                key,
                app,
                stream: stream.map(str::to_owned),
                protocol: Protocol::Srt,
                peer,
                encoder: None,
            };
            tokio::time::timeout(LIMIT, self.admission.admit(request)).await.expect("an answer")
        }

        async fn stop(self) {
            let sessions = self.admission.sessions;
            tokio::task::spawn_blocking(move || sessions.shut_down(Stop::End)).await.expect("no panic");
        }
    }

    fn session_of(publisher: &LivePublisher) -> String {
        publisher.session().spec().session.clone()
    }

    #[tokio::test]
    async fn a_broadcast_begins_at_once_behind_one_that_has_just_ended() {
        let fixture = fixture().await;
        let first = fixture.admit().await.expect("admitted");
        let stream = first.session().spec().stream.clone();
        fixture.admission.sessions.end(&stream).await;
        let second = fixture.admit().await.expect("the database still has the first open");
        assert_ne!(session_of(&second), session_of(&first));
        let open = fixture.admission.control.open_sessions().await.expect("a list");
        assert_eq!(open.iter().map(|row| row.id.to_string()).collect::<Vec<_>>(), [session_of(&second)]);
        first.finish(Finish::Lost("told to go".to_owned())).await;
        fixture.stop().await;
    }

    #[tokio::test]
    async fn a_stream_that_is_named_beside_the_key_must_be_its_own() {
        let fixture = fixture().await;
        let id = fixture.admit().await.expect("no name").session().spec().stream.clone();
        for named in ["a", "live/a", &id, &format!("live/{id}")] {
            assert!(fixture.admit_to(Some(named)).await.is_ok(), "{named}");
        }
        for named in ["b", "a/b", "live/"] {
            let refusal = fixture.admit_to(Some(named)).await.expect_err(named);
            assert_eq!(refusal.reason, RefusalReason::OtherStream, "{named}");
        }
        fixture.stop().await;
    }

    #[tokio::test]
    async fn a_wrong_key_has_no_passphrase_and_a_right_one_its_streams() {
        let fixture = fixture().await;
        let of = async |key: &SecretString| fixture.admission.srt_passphrase(key).await;
        assert!(of(&fixture.key).await.expect("a right key").is_none());
        let refusal = of(&SecretString::from("wrong")).await.expect_err("a wrong key");
        assert_eq!(refusal.reason, RefusalReason::BadKey);
        fixture.stop().await;
    }

    #[tokio::test]
    async fn those_that_come_at_once_publish_into_one_session() {
        let fixture = fixture().await;
        let (one, two) = tokio::join!(fixture.admit(), fixture.admit());
        let (one, two) = (one.expect("admitted"), two.expect("admitted"));
        assert_eq!(session_of(&one), session_of(&two));
        // One publishes, the other waits for its turn; the third waits in its place.
        let third = fixture.admit().await.expect("admitted");
        assert_eq!(session_of(&third), session_of(&one));
        let told = async {
            tokio::select! { reason = one.closed() => reason, reason = two.closed() => reason }
        };
        let told = tokio::time::timeout(LIMIT, told).await.expect("one is told");
        assert!(matches!(told, CloseReason::Superseded | CloseReason::TakenOver), "{told}");
        fixture.stop().await;
    }

    #[tokio::test]
    async fn who_comes_during_the_stop_is_told_to_come_back() {
        let fixture = fixture().await;
        let first = fixture.admit().await.expect("admitted");
        let sessions = fixture.admission.sessions.clone();
        tokio::task::spawn_blocking(move || sessions.shut_down(Stop::Suspend)).await.expect("no panic");
        let late = fixture.admit().await.expect_err("no session begins");
        assert_eq!(late.reason, RefusalReason::ShuttingDown);
        let open = fixture.admission.control.open_sessions().await.expect("a list");
        assert_eq!(open.iter().map(|row| row.id.to_string()).collect::<Vec<_>>(), [session_of(&first)]);
    }
}
