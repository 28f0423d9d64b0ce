//! The door: sockets, handshakes, admission.
//!
//! A listener speaks one protocol with strangers until one of them asks to publish. Whether it may is decided behind
//! [`Admission`], which `app.rs` implements over keys and sessions; from then on everything that the encoder sends goes to
//! the [`Publisher`] that admission handed out. Nothing of sessions, keys or storage is known here.
//!
//! | module | holds |
//! |---|---|
//! | [`rtmp`] | the RTMP listeners, plain and over TLS: a task per connection, deadlines, limits, refusals in its words |
//! | [`srt`] | the SRT listener: one socket, a task per caller, refusals in its codes |
//! | [`tls`] | how a TLS connection begins, over the certificate of [`crate::tls`] |
//! | [`attempts`] | slows down addresses that try wrong keys |
//! | [`low_water`] | how much must have arrived before a connection is woken |
//! | [`places`] | how many connections are open, in all and per address, and who makes room |
//! | `guard` | what is around a connection's task: counts, an end to its panic |
//! | [`counts`] | what a listener counts for `/metrics` |
//!
//! Invariants: a key is a [`SecretString`] from the moment it was parsed; a description that goes to a publisher holds no
//! secret; no connection lives without a deadline; a panic in a connection's task ends that connection only.

pub mod attempts;
pub mod counts;
mod guard;
pub mod low_water;
pub mod places;
pub mod rtmp;
pub mod srt;
pub mod tls;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use secrecy::SecretString;

use crate::wire::Inbound;

/// How an encoder reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RTMP over plain TCP.
    Rtmp,
    /// RTMP over TLS.
    Rtmps,
    /// SRT over UDP.
    Srt,
}

impl Protocol {
    /// Lower-case name for logs, metrics and API answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Protocol::Rtmp => "rtmp",
            Protocol::Rtmps => "rtmps",
            Protocol::Srt => "srt",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an encoder said when it asked to publish.
#[derive(Debug)]
pub struct PublishRequest {
    /// The stream key, percent-decoded, never empty.
    pub key: SecretString,
    /// First segment of the application path, `live` by contract. Holds no key.
    pub app: String,
    /// The stream that it means, where the protocol names one beside the key: its id or name, or a path that ends in it.
    pub stream: Option<String>,
    /// How the encoder reached us.
    pub protocol: Protocol,
    /// Address of the encoder.
    pub peer: SocketAddr,
    /// What the encoder calls itself, in printable characters; advisory.
    pub encoder: Option<String>,
}

/// Why a publish request was turned down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// There is no such key, or it was revoked.
    BadKey,
    /// The key's time is over.
    KeyExpired,
    /// The key is right and its stream is switched off.
    StreamDisabled,
    /// Somebody publishes this stream, and the newcomer may not take over.
    InUse,
    /// Another encoder took this one's place a short while ago.
    TakenOver,
    /// The key is right, and the stream that was named beside it is not the key's.
    OtherStream,
    /// This address tried too many wrong keys.
    TooManyAttempts,
    /// The daemon is about to stop.
    ShuttingDown,
    /// A policy of the stream or the operator says no.
    Policy,
    /// We failed; the request may be fine.
    Internal,
}

impl RefusalReason {
    /// Each of them once.
    pub const ALL: [RefusalReason; 10] = [
        RefusalReason::BadKey,
        RefusalReason::KeyExpired,
        RefusalReason::StreamDisabled,
        RefusalReason::InUse,
        RefusalReason::TakenOver,
        RefusalReason::OtherStream,
        RefusalReason::TooManyAttempts,
        RefusalReason::ShuttingDown,
        RefusalReason::Policy,
        RefusalReason::Internal,
    ];

    /// Stable code for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            RefusalReason::BadKey => "bad_key",
            RefusalReason::KeyExpired => "key_expired",
            RefusalReason::StreamDisabled => "stream_disabled",
            RefusalReason::InUse => "in_use",
            RefusalReason::TakenOver => "taken_over",
            RefusalReason::OtherStream => "other_stream",
            RefusalReason::TooManyAttempts => "too_many_attempts",
            RefusalReason::ShuttingDown => "shutting_down",
            RefusalReason::Policy => "policy",
            RefusalReason::Internal => "internal",
        }
    }
}

/// A publish request was turned down. The encoder shows `description` to a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {description}", reason.as_str())]
pub struct Refusal {
    /// Why.
    pub reason: RefusalReason,
    /// What the person at the encoder reads: what is wrong and what to do, in one or two sentences, without secrets.
    pub description: String,
}

/// Decides who may publish. Cloned into every connection.
pub trait Admission: Clone + Send + Sync + 'static {
    /// What an admitted encoder publishes into.
    type Publisher: Publisher;

    /// Decides on one request. Runs inside the connection's span, whose empty fields `stream` and `session` it may record.
    /// The listener gives it [`rtmp::RtmpSettings::admission_timeout`]; it may be dropped at any await.
    fn admit(&self, request: PublishRequest) -> impl Future<Output = Result<Self::Publisher, Refusal>> + Send;

    /// The passphrase that SRT callers with `key` must encrypt with; none where the listener's own applies. Asked before
    /// [`Admission::admit`].
    ///
    /// # Errors
    /// The key lets nobody in. An implementation that leaves this to `admit` lets strangers cost the listener a derivation of
    /// keys each.
    fn srt_passphrase(&self, key: &SecretString) -> impl Future<Output = Result<Option<SecretString>, Refusal>> + Send {
        let _ = key;
        async { Ok(None) }
    }
}

/// One admitted encoder's way into its session. Dropping it without [`Publisher::finish`] (a panic in the connection's
/// task) must count as a lost connection.
pub trait Publisher: Send + Sync + 'static {
    /// Hands over units in their order, waiting while the session's intake is full. The listener stops reading meanwhile, so
    /// TCP slows the encoder down. Those that were not handed over when this is dropped are lost.
    ///
    /// # Errors
    /// The session takes no more, and why. The listener tells the encoder and closes.
    fn send(&self, units: impl Iterator<Item = Inbound> + Send)
    -> impl Future<Output = Result<(), CloseReason>> + Send;

    /// Completes when the session wants the connection gone, also while a `send` waits. Cancel-safe.
    fn closed(&self) -> impl Future<Output = CloseReason> + Send;

    /// What it publishes into, for the labels of figures.
    fn destination(&self) -> Option<Destination> {
        None
    }

    /// The connection is over. Called once, after the last `send`.
    fn finish(self, how: Finish) -> impl Future<Output = ()> + Send;
}

/// What a publisher publishes into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Public id of the stream.
    pub stream: String,
    /// Id of the session.
    pub session: String,
}

/// How an encoder's publishing ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It said goodbye.
    Unpublished,
    /// The connection was lost, broken or closed by us; the text says how, for logs and the session's state.
    Lost(String),
}

/// Why a session wants a publisher gone. `Display` gives the words that the publisher is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The key was revoked while it was in use.
    #[error("This stream key was revoked.")]
    KeyRevoked,
    /// The stream was deleted.
    #[error("This stream was deleted.")]
    StreamDeleted,
    /// Another encoder took the stream over.
    #[error("Another encoder took over this stream with a valid key.")]
    TakenOver,
    /// It waited to take the stream over, and a newer encoder waits in its place.
    #[error("A newer encoder with a valid key waits to take this stream over; this one's wait is over.")]
    Superseded,
    /// It waited to take the stream over, and the encoder that is there turned out to be well and stays.
    #[error("Another encoder publishes to this stream already.")]
    InUse,
    /// The daemon stops.
    #[error("The server is shutting down. Reconnect in a moment.")]
    ShuttingDown,
    /// The session was ended by an operator or by its own rules.
    #[error("The session was ended.")]
    SessionEnded,
    /// The encoder is there, but sends no media.
    #[error("No audio and no video came for {} s. Check the encoder's sources, then start it again.", .0.as_secs())]
    NoMedia(Duration),
    /// A fault of ours ended the session.
    #[error("The server failed to process this stream. Reconnect to begin a new broadcast.")]
    Failed,
    /// Ingest cannot take what came: an unknown codec, a broken configuration.
    #[error("The stream cannot be taken: {0}")]
    Rejected(String),
    /// The machine encodes as much as it can already.
    #[error("The server has no encoding capacity left: {0}. Try again later, or ask for another server.")]
    NoCapacity(String),
}

impl CloseReason {
    /// Stable code for metrics and logs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            CloseReason::KeyRevoked => "key_revoked",
            CloseReason::StreamDeleted => "stream_deleted",
            CloseReason::TakenOver => "taken_over",
            CloseReason::Superseded => "superseded",
            CloseReason::InUse => "in_use",
            CloseReason::ShuttingDown => "shutting_down",
            CloseReason::SessionEnded => "session_ended",
            CloseReason::NoMedia(_) => "no_media",
            CloseReason::Failed => "failed",
            CloseReason::Rejected(_) => "rejected",
            CloseReason::NoCapacity(_) => "no_capacity",
        }
    }
}
