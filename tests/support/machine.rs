//! Who may use the machine at the same time, and what happens to a test that hangs.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// Longest time that one test may take, waiting for its turn not counted.
/// The longest form of the soak adds its own length.
const TEST_LIMIT: Duration = Duration::from_secs(180);

/// What a round of the long form of the restarts may add to it.
const SECONDS_PER_ROUND: u64 = 20;

/// What a test holds while it runs: its place on the machine, and the watchdog that ends the run with the test's name
/// when the test does not end.
pub struct Turn {
    _place: Place,
    _watchdog: Watchdog,
}

#[expect(dead_code, reason = "the guards are held, never read")]
enum Place {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

fn machine() -> &'static RwLock<()> {
    static MACHINE: OnceLock<RwLock<()>> = OnceLock::new();
    MACHINE.get_or_init(|| {
        thread::spawn(note_stalls);
        RwLock::default()
    })
}

/// A thread that wanted to wake after this...
const TICK: Duration = Duration::from_millis(20);
/// ...and woke so much later did not get the machine: its host gave the time to others, or everything on it was stopped.
const STALL: Duration = Duration::from_millis(100);

/// When the machine stood still, by its clock, and how long.
static STALLS: Mutex<Vec<(SystemTime, Duration)>> = Mutex::new(Vec::new());

fn note_stalls() {
    loop {
        let (date, began) = (SystemTime::now(), Instant::now());
        thread::sleep(TICK);
        let late = began.elapsed().saturating_sub(TICK);
        if late > STALL {
            STALLS.lock().unwrap_or_else(PoisonError::into_inner).push((date, late));
        }
    }
}

/// How long this machine stood still since `date`, in all: what no check of dates can expect of anybody.
pub fn stalled_since(date: SystemTime) -> Duration {
    let stalls = STALLS.lock().unwrap_or_else(PoisonError::into_inner);
    stalls.iter().filter(|(began, late)| *began + *late >= date).map(|(_, late)| *late).sum()
}

/// Runs beside other tests.
pub fn shared(test: &'static str) -> Turn {
    let place = Place::Shared(machine().read().unwrap_or_else(|poisoned| poisoned.into_inner()));
    Turn { _place: place, _watchdog: Watchdog::start(test) }
}

/// Runs while no other end-to-end test does: for work that needs all processors.
pub fn alone(test: &'static str) -> Turn {
    let place = Place::Alone(machine().write().unwrap_or_else(|poisoned| poisoned.into_inner()));
    Turn { _place: place, _watchdog: Watchdog::start(test) }
}

/// Seconds of media that the long tests push: `E2E_SECONDS`, which `./dev soak` sets.
pub fn seconds(default: u32) -> u32 {
    std::env::var("E2E_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Restarts of the test that has them: `E2E_ROUNDS`, which `./dev soak` sets.
pub fn rounds(default: u32) -> u32 {
    std::env::var("E2E_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

struct Watchdog {
    _done: Sender<()>,
}

impl Watchdog {
    fn start(test: &'static str) -> Self {
        let (done, ended) = channel::<()>();
        let limit =
            TEST_LIMIT + Duration::from_secs(2 * u64::from(seconds(0)) + SECONDS_PER_ROUND * u64::from(rounds(0)));
        thread::spawn(move || {
            if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                eprintln!("test {test} hung: it did not end within {} s; the run is killed", limit.as_secs());
                std::process::exit(101);
            }
        });
        Watchdog { _done: done }
    }
}
