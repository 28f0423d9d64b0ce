//! Who uses how much of the machine's encode capacity: the admission rule at the start of a session.
//!
//! A session reserves the cost of its ladder when its tracks are known, and gives it back when its threads are through;
//! while it waits for its publisher it keeps it, because the publisher may come back at any moment. What does not fit
//! any more begins with fewer rungs or is refused, by policy. The sum is kept under one lock, so that two sessions that
//! begin together do not both get the last place.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::warn;

use crate::config::OverCapacity;
use crate::config::preset::Preset;
use crate::listen::CloseReason;
use crate::media::segment::Renditions;
use crate::media::{AudioTrack, Span, VideoTrack};
use crate::transcode::PlanError;
use crate::transcode::cost::Load;
use crate::transcode::fit::{Fitted, plan_like, plan_within};

/// How long the first session waits for the measure, which takes half a second of processor time.
const MEASURE_WAIT: Duration = Duration::from_secs(5);

/// Why a session gets no ladder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// None can be made.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The machine is full, and the policy is to refuse.
    #[error("this stream costs {cost} to encode, and {free} are free")]
    Full {
        /// What the whole ladder costs.
        cost: Load,
        /// What is left of the capacity.
        free: Load,
    },
}

impl Denied {
    /// What the publisher is told.
    pub fn told(&self) -> CloseReason {
        match self {
            Denied::Plan(why) => CloseReason::Rejected(why.to_string()),
            full @ Denied::Full { .. } => CloseReason::NoCapacity(full.to_string()),
        }
    }
}

/// What a session asks for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Its ladder.
    pub preset: &'a Preset,
    /// Its target duration.
    pub segment: Span,
    /// Its source.
    pub video: Option<&'a VideoTrack>,
    /// Its source's sound.
    pub audio: Option<&'a AudioTrack>,
    /// What the session had before a restart; it gets the same.
    pub had: Option<&'a Renditions>,
}

/// The machine's encode capacity. Clones share it.
#[derive(Clone, Debug)]
pub struct EncodeCapacity {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    policy: OverCapacity,
    state: Mutex<State>,
    known: Condvar,
}

#[derive(Debug)]
struct State {
    limit: Limit,
    in_use: Load,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// Being measured.
    Unknown,
    Unlimited,
    Is(Load),
}

/// A session's part of the capacity; given back when dropped.
#[derive(Debug)]
pub struct Share {
    inner: Arc<Inner>,
    load: Load,
}

impl EncodeCapacity {
    /// A capacity that will be known soon: sessions wait a little for [`EncodeCapacity::set`].
    pub fn unknown(policy: OverCapacity) -> Self {
        EncodeCapacity::with(policy, Limit::Unknown)
    }

    /// No admission rule: everything is encoded that anybody wants.
    pub fn unlimited() -> Self {
        EncodeCapacity::with(OverCapacity::Degrade, Limit::Unlimited)
    }

    fn with(policy: OverCapacity, limit: Limit) -> Self {
        let state = State { limit, in_use: Load::default() };
        EncodeCapacity { inner: Arc::new(Inner { policy, state: Mutex::new(state), known: Condvar::new() }) }
    }

    /// The capacity is known now; `None` when there is no limit.
    pub fn set(&self, capacity: Option<Load>) {
        self.inner.lock().limit = capacity.map_or(Limit::Unlimited, Limit::Is);
        self.inner.known.notify_all();
    }

    /// The capacity, if it is known and limited, and what is in use of it.
    pub fn figures(&self) -> (Option<Load>, Load) {
        let state = self.inner.lock();
        let capacity = if let Limit::Is(capacity) = state.limit { Some(capacity) } else { None };
        (capacity, state.in_use)
    }

    /// Plans a ladder that fits, and reserves what it costs. Blocks for a moment while the capacity is being measured.
    ///
    /// # Errors
    /// No ladder can be made of these tracks, or it does not fit and the policy is to refuse.
    pub fn admit(&self, wanted: Wanted<'_>) -> Result<(Fitted, Share), Denied> {
        let Wanted { preset, segment, video, audio, had } = wanted;
        let mut state = self.inner.wait_until_known();
        let room = match state.limit {
            Limit::Is(capacity) => capacity.less(state.in_use),
            Limit::Unknown | Limit::Unlimited => Load::from_kilopixels(u64::MAX),
        };
        let fitted = match had {
            Some(had) => plan_like(preset, segment, video, audio, had)?,
            None => plan_within(preset, segment, video, audio, room)?,
        };
        if fitted.degraded && had.is_none() && self.inner.policy == OverCapacity::Refuse {
            let whole = plan_within(preset, segment, video, audio, Load::from_kilopixels(u64::MAX))?;
            return Err(Denied::Full { cost: whole.load, free: room });
        }
        state.in_use = state.in_use.plus(fitted.load);
        let share = Share { inner: self.inner.clone(), load: fitted.load };
        Ok((fitted, share))
    }
}

impl Share {
    /// A copied rung is encoded from now on. It cannot be refused any more: what is in use may pass the capacity.
    pub fn grow(&mut self, more: Load) {
        self.load = self.load.plus(more);
        let mut state = self.inner.lock();
        state.in_use = state.in_use.plus(more);
    }

    /// What is reserved.
    pub fn load(&self) -> Load {
        self.load
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.inner.lock();
        state.in_use = state.in_use.less(self.load);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_until_known(&self) -> MutexGuard<'_, State> {
        let unknown = |state: &mut State| state.limit == Limit::Unknown;
        let waited = self.known.wait_timeout_while(self.lock(), MEASURE_WAIT, unknown);
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            warn!("the machine's encode capacity is not known yet: the session is admitted as it is");
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcode::plan;

    fn hd() -> VideoTrack {
        VideoTrack::plain(1_920, 1_080, (30, 1))
    }

    fn admit(capacity: &EncodeCapacity, had: Option<&Renditions>) -> Result<(Fitted, Share), Denied> {
        let preset = Preset::load("encode-1080p-720p-480p").expect("embedded");
        let segment = Span::from_secs(2);
        capacity.admit(Wanted { preset: &preset, segment, video: Some(&hd()), audio: None, had })
    }

    fn rungs(fitted: &Fitted) -> Vec<&str> {
        fitted.plan.rungs.iter().map(|rung| rung.name.as_str()).collect()
    }

    #[test]
    fn later_sessions_get_fewer_rungs_and_places_come_back() {
        let capacity = EncodeCapacity::unknown(OverCapacity::Degrade);
        capacity.set(Some(Load::from_megapixels(200)));
        let (first, share) = admit(&capacity, None).expect("room");
        assert_eq!((first.degraded, rungs(&first)), (false, vec!["1080p", "720p", "480p"]));
        let (second, second_share) = admit(&capacity, None).expect("a smaller one");
        assert_eq!((second.degraded, rungs(&second)), (true, vec!["720p", "480p"]));
        let (third, _third_share) = admit(&capacity, None).expect("a copy");
        assert_eq!(rungs(&third), ["source"]);
        assert_eq!(capacity.figures().1, share.load().plus(second_share.load()));
        drop((share, second_share));
        assert_eq!(capacity.figures(), (Some(Load::from_megapixels(200)), Load::default()));
        assert!(!admit(&capacity, None).expect("room again").0.degraded);
    }

    #[test]
    fn a_full_machine_refuses_when_it_is_told_to() {
        let capacity = EncodeCapacity::unknown(OverCapacity::Refuse);
        capacity.set(Some(Load::from_megapixels(150)));
        let (_, share) = admit(&capacity, None).expect("room");
        let denied = admit(&capacity, None).expect_err("none left");
        assert_eq!(denied.to_string(), "this stream costs 128 Mpx/s to encode, and 23 Mpx/s are free");
        let passthrough = Preset::load("passthrough").expect("embedded");
        let before = plan(&passthrough, Span::from_secs(2), Some(&hd()), None).expect("a plan");
        assert!(admit(&capacity, Some(&before.renditions)).is_ok(), "a session that was here before is not refused");
        drop(share);
        assert!(admit(&capacity, None).is_ok());
    }

    #[test]
    fn a_copy_that_ends_takes_more_and_gives_all_of_it_back() {
        let capacity = EncodeCapacity::unlimited();
        let (fitted, mut share) = admit(&capacity, None).expect("no limit");
        share.grow(Load::from_megapixels(50));
        assert_eq!(capacity.figures(), (None, fitted.load.plus(Load::from_megapixels(50))));
        drop(share);
        assert_eq!(capacity.figures(), (None, Load::default()));
    }

    #[test]
    fn the_first_session_waits_for_the_measure() {
        let capacity = EncodeCapacity::unknown(OverCapacity::Degrade);
        let waiting = {
            let capacity = capacity.clone();
            std::thread::spawn(move || admit(&capacity, None).map(|(fitted, _)| fitted.degraded))
        };
        capacity.set(Some(Load::from_megapixels(1)));
        assert_eq!(waiting.join().expect("no panic"), Ok(true));
    }
}
