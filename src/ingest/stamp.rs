//! Publishers' clocks, without their wraps.
//!
//! Each protocol counts time in its own units and begins again at its own number; a [`Stamp`] knows both, so that nothing behind
//! this file does. A step is the one nearest to none. What that cannot see is a jump of more than half the range (12 days of
//! RTMP, 13 hours of MPEG-TS), and that is a jump anyway.

use crate::media::{Span, Timestamp};

/// RTMP's stamps have 32 bits of milliseconds, but publishers of FLV descent use only 31 (OBS, and all that mask the top byte). This
/// range serves both, because 2^31 divides 2^32.
const FLV_RANGE: Span = Span::from_millis(1 << 31);
/// PTS and DTS of MPEG-TS (ISO/IEC 13818-1 2.4.3.7): 33 bits of 90 kHz, which a flick holds exactly.
const TS_RANGE: Span = Span::from_flicks((1 << 33) * FLICKS_PER_TS_UNIT);
const FLICKS_PER_TS_UNIT: i64 = crate::media::time::FLICKS_PER_SECOND / 90_000;

/// A moment on a publisher's clock, as its protocol says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    at: Timestamp,
    range: Span,
}

impl Stamp {
    /// Milliseconds of an RTMP message or an FLV tag.
    pub(super) fn flv(millis: u32) -> Self {
        Stamp { at: Timestamp::from_millis(i64::from(millis)), range: FLV_RANGE }
    }

    /// PTS or DTS of MPEG-TS: 33 bits of 90 kHz.
    pub(super) fn ts(units: u64) -> Self {
        let units = i64::try_from(units & ((1 << 33) - 1)).unwrap_or(0);
        Stamp { at: Timestamp::from_flicks(units * FLICKS_PER_TS_UNIT), range: TS_RANGE }
    }

    /// The moment `span` later.
    pub(super) fn later(self, span: Span) -> Self {
        Stamp { at: self.at + span, ..self }
    }

    /// As it was stamped.
    pub(super) fn at(self) -> Timestamp {
        self.at
    }

    /// From `self` to `to`, over whichever wraps lie between.
    pub(super) fn step_to(self, to: Stamp) -> Span {
        let (range, half) = (self.range.flicks(), self.range.flicks() / 2);
        let step = (to.at - self.at).flicks().rem_euclid(range);
        Span::from_flicks(if step >= half { step - range } else { step })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flv_step(from: u32, to: u32) -> i64 {
        Stamp::flv(from).step_to(Stamp::flv(to)).to_millis()
    }

    fn ts_step(from: u64, to: u64) -> i64 {
        Stamp::ts(from).step_to(Stamp::ts(to)).to_units(90_000)
    }

    #[test]
    fn steps_over_every_wrap() {
        assert_eq!(flv_step(1_000, 1_033), 33);
        assert_eq!(flv_step(1_033, 1_000), -33);
        assert_eq!(flv_step((1 << 24) - 10, (1 << 24) + 23), 33);
        assert_eq!(flv_step((1 << 31) - 10, 23), 33, "31 bits");
        assert_eq!(flv_step((1 << 31) - 10, (1 << 31) + 23), 33, "32 bits do not wrap there");
        assert_eq!(flv_step(u32::MAX - 9, 23), 33, "32 bits");
        assert_eq!(flv_step(23, u32::MAX - 9), -33, "back over the wrap");
        assert_eq!(ts_step((1 << 33) - 1_000, 2_003), 3_003);
        assert_eq!(ts_step(2_003, (1 << 33) - 1_000), -3_003);
        assert_eq!(ts_step(1 << 33 | 90_000, 93_003), 3_003, "what is above 33 bits is not there");
    }

    proptest! {
        #[test]
        fn any_step_of_either_modulus_is_found(from: u32, step in -(1i64 << 30)..1 << 30) {
            let to = i64::from(from) + step;
            prop_assert_eq!(flv_step(from, to.rem_euclid(1 << 32) as u32), step);
            prop_assert_eq!(flv_step(from & 0x7fff_ffff, to.rem_euclid(1 << 31) as u32), step);
        }

        #[test]
        fn any_step_of_33_bits_is_found(from in 0..1u64 << 33, step in -(1i64 << 32)..1 << 32) {
            let to = (from as i64 + step).rem_euclid(1 << 33) as u64;
            prop_assert_eq!(ts_step(from, to), step);
        }
    }
}
