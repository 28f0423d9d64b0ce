//! The only file that asks the system for the time.
//!
//! Everything else is handed a [`Clock`] (threads, tasks) or a moment (pure code), so that a day of streaming is tested
//! in a second. Deadlines of sockets are tokio's own timers, which tests pause.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::media::WallTime;

/// Where a daemon takes its time from.
pub trait Clock: Send + Sync + Debug {
    /// Time since some moment before the daemon began; never goes back.
    fn monotonic(&self) -> Duration;

    /// The wall clock, which may be set back.
    fn wall(&self) -> WallTime;

    /// How long a thread that has something to do at `deadline` (monotonic) may sleep before it looks at this clock again.
    fn pause_until(&self, deadline: Duration) -> Duration {
        deadline.saturating_sub(self.monotonic())
    }
}

/// A clock shared by all parts of a daemon.
pub type SharedClock = Arc<dyn Clock>;

/// The system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A shared system clock whose monotonic zero is now.
    pub fn shared() -> SharedClock {
        Arc::new(SystemClock { start: Instant::now() })
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall(&self) -> WallTime {
        let nanos = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_nanos()).unwrap_or(i64::MAX),
        };
        WallTime::from_unix_nanos(nanos)
    }
}

/// Processor time that the calling thread has used since it began.
pub fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let (secs, nanos) = (u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0));
    Duration::new(secs, nanos)
}

/// Sleepers look this often at a clock that may be moved at any time.
const MANUAL_PAUSE: Duration = Duration::from_millis(1);

/// A clock that moves when it is told to.
#[derive(Debug)]
pub struct ManualClock {
    monotonic_nanos: AtomicI64,
    wall_nanos: AtomicI64,
}

impl ManualClock {
    /// A clock at `wall`, with monotonic time zero.
    pub fn new(wall: WallTime) -> Arc<Self> {
        Arc::new(ManualClock { monotonic_nanos: AtomicI64::new(0), wall_nanos: AtomicI64::new(wall.unix_nanos()) })
    }

    /// Moves both times forward.
    pub fn advance(&self, by: Duration) {
        let nanos = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
        self.monotonic_nanos.fetch_add(nanos, Ordering::SeqCst);
        self.wall_nanos.fetch_add(nanos, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.monotonic_nanos.load(Ordering::SeqCst).unsigned_abs())
    }

    fn wall(&self) -> WallTime {
        WallTime::from_unix_nanos(self.wall_nanos.load(Ordering::SeqCst))
    }

    fn pause_until(&self, deadline: Duration) -> Duration {
        deadline.saturating_sub(self.monotonic()).min(MANUAL_PAUSE)
    }
}

/// What tests of any module look at.
#[cfg(test)]
pub(crate) mod testing {
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// A clock that panics when it is looked at, once, after it was [set](TrapClock::set) to.
    #[derive(Debug)]
    pub(crate) struct TrapClock {
        clock: Arc<ManualClock>,
        set: AtomicBool,
    }

    impl TrapClock {
        /// A trap that is not set, in `clock`.
        pub(crate) fn in_front_of(clock: Arc<ManualClock>) -> Arc<Self> {
            Arc::new(TrapClock { clock, set: AtomicBool::new(false) })
        }

        /// Whoever looks next panics.
        pub(crate) fn set(&self) {
            self.set.store(true, Ordering::SeqCst);
        }

        fn spring(&self) {
            assert!(!self.set.swap(false, Ordering::SeqCst), "a broken assumption");
        }
    }

    impl Clock for TrapClock {
        fn monotonic(&self) -> Duration {
            self.spring();
            self.clock.monotonic()
        }

        fn wall(&self) -> WallTime {
            self.spring();
            self.clock.wall()
        }
    }
}
