//! The HTTP API under `/api/v1`, and how it is served.
//!
//! | route | file |
//! |---|---|
//! | `GET POST /streams`, `GET PATCH DELETE /streams/{stream}` | `streams` |
//! | `GET POST /streams/{stream}/keys`, `POST /keys/{key}/rotate`, `DELETE /keys/{key}` | `keys` |
//! | `GET /sessions` | `sessions` |
//!
//! | module | holds |
//! |---|---|
//! | [`mod@router`] | every route on one screen |
//! | `auth` | the bearer token of the API over TCP |
//! | [`socket`] | the same routes on `data_dir/control.sock`, for the command line |
//! | [`live`] | what the API asks of running sessions |
//! | [`operations`] | `/healthz`, `/readyz`, `/metrics`, beside `/api/v1` and without a token |
//! | [`error`] `body` | errors as JSON with stable codes; request bodies |
//!
//! Invariants: an error is never a 200; a key's secret is in the answers that make it and in no other; what the database
//! says goes to the log, not to the client. What an operation does belongs to `control`; here is only its HTTP.

mod auth;
mod body;
pub mod error;
mod keys;
pub mod live;
pub mod operations;
pub mod router;
mod sessions;
pub mod socket;
mod streams;

pub use live::{LeftOutRung, LiveDetails, LiveRendition, LiveSessions, NoLiveSessions};
pub use router::{ApiState, protected_router, router};
pub use socket::{SocketError, serve_control_socket};
