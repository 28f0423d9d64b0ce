//! What tests of the control layer begin with.

use std::sync::Arc;

use tempfile::TempDir;

use super::Control;
use crate::clock::ManualClock;
use crate::media::WallTime;

/// A control layer in a folder of its own, at 2026-11-21T07:00:00Z.
pub(crate) struct Fixture {
    pub(crate) control: Control,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) dir: TempDir,
}

pub(crate) async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let clock = ManualClock::new(WallTime::from_unix_millis(1_795_244_400_000));
    let control = Control::open(dir.path(), clock.clone()).await.expect("a fresh folder opens");
    Fixture { control, clock, dir }
}
