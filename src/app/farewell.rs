//! How long HTTP goes on behind the end of all sessions (`serve --end-sessions`), so that players find ENDLIST and not a closed port.

use std::time::Duration;

use crate::live::wiring::Stop;
use crate::live::{Session, SessionState};
use crate::media::Span;
use crate::wire::hls::describe;

/// Behind the moment at which a player asks again at the latest: for the way there, and the playlists of its other renditions.
const ANSWERED: Duration = Duration::from_secs(1);
/// The stop as a whole has 9 s.
const MOST: Duration = Duration::from_secs(5);

/// From ENDLIST on. Zero when this stop ends no session that a player may have loaded.
pub(super) fn length<'a>(stop: Stop, sessions: impl IntoIterator<Item = &'a Session>) -> Duration {
    let played = |session: &&Session| session.state() != SessionState::Ended && session.window().borrow().is_some();
    let sessions = sessions.into_iter().filter(|_| stop == Stop::End).filter(played);
    until_asked(sessions.map(|session| session.spec().hls.segment)).min(MOST)
}

/// A player loads a live playlist again within one target duration (RFC 8216 6.3.4).
fn until_asked(segment_targets: impl Iterator<Item = Span>) -> Duration {
    let longest = segment_targets.map(describe::target_duration_secs).max();
    longest.map_or(Duration::ZERO, |seconds| Duration::from_secs(seconds.into()) + ANSWERED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_player_asks_once_more() {
        let wait = |targets: &[i64]| until_asked(targets.iter().map(|seconds| Span::from_secs(*seconds))).as_secs();
        assert_eq!((wait(&[]), wait(&[2]), wait(&[2, 4, 1])), (0, 3, 5));
    }
}
