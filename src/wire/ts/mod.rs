//! MPEG-TS.

use bytes::Bytes;

/// A piece of a transport stream, as the transport delivered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its bytes: whole transport packets as a rule, but a reader resynchronises on 0x47 all the same.
    pub data: Bytes,
    /// Something is missing between the piece before and this one.
    pub lost: bool,
}
