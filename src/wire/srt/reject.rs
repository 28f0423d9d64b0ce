//! Why a caller is turned away, in the codes that SRT has for it.
//!
//! Source: Haivision/srt `docs/API/rejection-codes.md`. On the wire the handshake's type carries 1000 + the code.

/// A rejection code. Libraries show its name to the person at the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Reject {
    /// The handshake breaks the protocol, or is one of a rendezvous.
    Rogue = 4,
    /// A version of the protocol that is not spoken here.
    Version = 8,
    /// The passphrase is another one.
    BadSecret = 10,
    /// Only one side encrypts.
    Unsecure = 11,
    /// Stream mode, where messages are spoken.
    MessageApi = 12,
    /// A congestion control that is not `live`.
    Congestion = 13,
    /// A packet filter (FEC).
    Filter = 14,
    /// A bonding group.
    Group = 15,
    /// A cipher that is not AES-CTR, or key material that cannot be read.
    Crypto = 17,
    /// The stream id cannot be understood.
    BadRequest = 1400,
    /// No key, a wrong key, or one whose time is over.
    Unauthorized = 1401,
    /// Too many connections or attempts.
    Overload = 1402,
    /// The stream or a policy says no.
    Forbidden = 1403,
    /// There is no such stream.
    NotFound = 1404,
    /// A caller that wants to watch where one publishes.
    BadMode = 1405,
    /// What the caller wants of the connection cannot be met.
    Unacceptable = 1406,
    /// Somebody publishes already.
    Conflict = 1409,
    /// Something other than a live stream.
    NotSupportedMedia = 1415,
    /// A fault of ours.
    Internal = 1500,
    /// The server stops.
    Down = 1503,
}

impl Reject {
    /// The handshake type that says it.
    pub const fn wire(self) -> u32 {
        1_000 + self as u32
    }

    /// Stable code for metrics and logs, as `srt_<name>`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reject::Rogue => "srt_rogue",
            Reject::Version => "srt_version",
            Reject::BadSecret => "srt_bad_secret",
            Reject::Unsecure => "srt_unsecure",
            Reject::MessageApi => "srt_message_api",
            Reject::Congestion => "srt_congestion",
            Reject::Filter => "srt_filter",
            Reject::Group => "srt_group",
            Reject::Crypto => "srt_crypto",
            Reject::BadRequest => "srt_bad_request",
            Reject::Unauthorized => "srt_unauthorized",
            Reject::Overload => "srt_overload",
            Reject::Forbidden => "srt_forbidden",
            Reject::NotFound => "srt_not_found",
            Reject::BadMode => "srt_bad_mode",
            Reject::Unacceptable => "srt_unacceptable",
            Reject::Conflict => "srt_conflict",
            Reject::NotSupportedMedia => "srt_not_supported_media",
            Reject::Internal => "srt_internal",
            Reject::Down => "srt_down",
        }
    }
}

/// A caller is turned away before anybody was asked about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {words}", code.as_str())]
pub struct Rejection {
    /// What the caller is told.
    pub code: Reject,
    /// What our log says: what is wrong and what to do. No secrets.
    pub words: &'static str,
}

impl Rejection {
    pub(super) const fn new(code: Reject, words: &'static str) -> Self {
        Rejection { code, words }
    }
}
