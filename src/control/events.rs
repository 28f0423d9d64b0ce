//! What changed, for those who must act on it: `live` ends connections that may no longer publish.

use super::id::{KeyId, StreamId};

/// Events that a slow receiver may be behind before it must look at its whole state again. Changes are made by people.
pub(super) const CAPACITY: usize = 256;

/// A change, announced after it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlEvent {
    /// A stream was made.
    StreamCreated {
        /// The stream.
        stream: StreamId,
    },
    /// A stream is gone; its connections must end, its session too.
    StreamDeleted {
        /// The stream.
        stream: StreamId,
    },
    /// A stream may no longer be published to; its connections must end.
    StreamDisabled {
        /// The stream.
        stream: StreamId,
    },
    /// A stream may be published to again.
    StreamEnabled {
        /// The stream.
        stream: StreamId,
    },
    /// A key is refused from now on; connections that it admitted must end.
    KeyRevoked {
        /// The key's stream.
        stream: StreamId,
        /// The key.
        key_id: KeyId,
    },
}
