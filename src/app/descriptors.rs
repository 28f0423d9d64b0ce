//! File descriptors: connections may use many, and must leave enough for the spool.
//!
//! Systems start programs with a soft limit of 1024, which is there for programs that use `select`; we do not. Without
//! the rise, a thousand silent connections would leave none to write a journal with.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, warn};

/// What everything but connections may need: two files and some sockets of each of 100 sessions, libraries, the database.
const RESERVE: u64 = 512;
/// HTTP never gets less, whatever the limit: a daemon that answers nobody cannot even be asked why.
const LEAST_HTTP: u64 = 64;

/// Raises the soft limit of open files to the hard one. What it is afterwards.
pub fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current.unwrap_or(u64::MAX);
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => {
            debug!(from = limit.current, to = limit.maximum, "limit of open files raised");
            limit.maximum.unwrap_or(u64::MAX)
        }
        Err(error) => {
            warn!(%error, limit = limit.current, "the limit of open files cannot be raised");
            limit.current.unwrap_or(u64::MAX)
        }
    }
}

/// How many HTTP connections `descriptors` are enough for, beside as many of encoders and everything else.
pub fn for_http(descriptors: u64, rtmp_connections: u32) -> u64 {
    descriptors.saturating_sub(u64::from(rtmp_connections)).saturating_sub(RESERVE).max(LEAST_HTTP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_gets_what_encoders_and_files_leave() {
        assert_eq!(for_http(20_000, 1_000), 18_488);
        assert_eq!(for_http(1_024, 1_000), LEAST_HTTP);
        assert_eq!(for_http(u64::MAX, 1), u64::MAX - 513);
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        raise();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(raise(), limit.maximum.unwrap_or(u64::MAX));
    }
}
