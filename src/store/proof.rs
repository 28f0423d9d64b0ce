//! Ending the alarm of a disk that works again.
//!
//! Whoever writes ends it with the next journal file. When nobody writes, or the file that is being written never had a fault, that
//! may be never; so once the disk has been without a fault for a while, a file that means nothing is written, synced and removed.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::Shared;
use crate::telemetry::panics::contained;

/// Time between two looks at the alarm.
const EVERY: Duration = Duration::from_secs(1);
/// So long without a fault before the disk is asked: writers try each second.
const QUIET: Duration = Duration::from_secs(5);
/// The file, in the spool's root.
const NAME: &str = "millstream-probe";

/// Looks at the alarm until the store stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut calm = Calm::default();
    loop {
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        contained("proof", async {
            if calm.lasts(shared.counters.disk_faults(), shared.clock.monotonic()) && shared.counters.disk_alarm() {
                prove(&shared).await;
            }
        })
        .await;
    }
}

/// Since when no fault was added.
#[derive(Debug, Default)]
struct Calm {
    faults: u64,
    since: Duration,
}

impl Calm {
    fn lasts(&mut self, faults: u64, now: Duration) -> bool {
        if faults != self.faults {
            *self = Calm { faults, since: now };
        }
        now.saturating_sub(self.since) >= QUIET
    }
}

async fn prove(shared: &Arc<Shared>) {
    let task = shared.clone();
    shared
        .blocking(move || {
            if probe(&task).is_ok() && task.counters.disk_works() {
                tracing::info!(folder = %task.spool.root.display(), "the spool's disk works again");
                task.uploads.changed();
            }
        })
        .await;
}

fn probe(shared: &Shared) -> io::Result<()> {
    let (files, path) = (&shared.spool.files, shared.spool.root.join(NAME));
    // One that a crash left.
    match files.remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = files.create(&path)?;
    let written = file.append(&[b"written to see whether the disk works"]).and_then(|()| file.sync());
    files.remove_file(&path).and(written)
}
