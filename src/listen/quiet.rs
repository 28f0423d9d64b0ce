//! Bounds the log lines that strangers cause: a scan or a flood is a few lines and a count, not a full disk.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::SharedClock;

/// A period of counting.
const PERIOD: Duration = Duration::from_secs(10);
/// Lines in one period: enough for every encoder of a studio that is set up wrongly, too few to fill a disk (a line has
/// about 200 bytes, so this is below 20 MB a day).
const LINES: u32 = 100;

/// Counts lines.
#[derive(Debug)]
pub struct Quiet {
    clock: SharedClock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Monotonic time of the period's first line.
    began: Duration,
    lines: u32,
    left_out: u64,
}

impl Quiet {
    /// Nothing was said yet.
    pub fn new(clock: SharedClock) -> Self {
        let state = Mutex::new(State { began: clock.monotonic(), ..State::default() });
        Quiet { clock, state }
    }

    /// Asks for a line: `Some` with the number of lines left out since the last one, or `None` if this is left out too.
    pub fn line(&self) -> Option<u64> {
        let now = self.clock.monotonic();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(state.began) >= PERIOD {
            (state.began, state.lines) = (now, 0);
        }
        if state.lines >= LINES {
            state.left_out += 1;
            return None;
        }
        state.lines += 1;
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::media::WallTime;

    #[test]
    fn a_flood_is_some_lines_and_a_count() {
        let clock = ManualClock::new(WallTime::from_unix_millis(0));
        let quiet = Quiet::new(clock.clone());
        let said = (0..1_000).filter(|_| quiet.line() == Some(0)).count();
        assert_eq!(said, LINES as usize);
        clock.advance(PERIOD);
        assert_eq!((quiet.line(), quiet.line()), (Some(1_000 - u64::from(LINES)), Some(0)));
    }
}
