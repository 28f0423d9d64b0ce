//! SRT, the receiving side of a listener: datagrams in, media and datagrams out. No IO, no clock.
//!
//! | module | holds |
//! |---|---|
//! | [`screen`] | what strangers send: inductions answered without memory, conclusions read and refused |
//! | [`stream_id`] | the stream id in all its dialects |
//! | [`reject`] | the codes of refusals |
//! | [`crypto`] | key material, AES-CTR |
//! | [`receiver`] | a connected caller: order, losses, acknowledgements, release at the sender's pace |
//! | [`packet`] | headers, serial numbers, control packets |
//! | `handshake` | the handshake's content and extensions |
//!
//! Not spoken: callers that watch, rendezvous, bonding groups, packet filters (FEC), AES-GCM, stream mode. Each is refused
//! in its code.

pub mod crypto;
mod handshake;
pub mod packet;
pub mod receiver;
pub mod reject;
pub mod screen;
pub mod stream_id;

pub use crypto::{Decryptor, KeyLength, KeyMaterial, WrongPassphrase};
pub use packet::{MAX_DATAGRAM_BYTES, Serial};
pub use receiver::{Ended, Receiver, ReceiverSettings, Released, Stats};
pub use reject::{Reject, Rejection};
pub use screen::{Conclusion, Screen, Screened};
pub use stream_id::{Mode, StreamId};

/// Callers' packets, which the tests of listeners write too.
#[cfg(test)]
#[path = "../../../tests/support/srt/packets.rs"]
mod testing;
