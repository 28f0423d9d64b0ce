//! Media time in flicks.
//!
//! A flick is 1/705 600 000 s: exact for 1 ms, 90 kHz, 44.1 and 48 kHz and for the NTSC frame rates, so that converting
//! a boundary there and back never drifts. Arithmetic is checked where bytes from outside could drive it, and there is
//! no float. Round boundaries, never durations: a duration in protocol units is the difference of two rounded boundaries.

use std::fmt;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};

/// Flicks in one second.
pub const FLICKS_PER_SECOND: i64 = 705_600_000;
const FLICKS_PER_MILLI: i64 = FLICKS_PER_SECOND / 1_000;

/// A point on a timeline, in flicks from that timeline's zero. Range: about 414 years either way.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A signed length of media time, in flicks.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(i64);

/// A moment of the wall clock: nanoseconds since 1970-01-01T00:00:00Z, without leap seconds.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(i64);

/// `value * to / from`, rounded to the nearest integer (halves away from zero), saturating at the ends of `i64`.
fn rescale(value: i64, to: i64, from: i64) -> i64 {
    debug_assert!(from > 0 && to > 0);
    let product = i128::from(value) * i128::from(to);
    let from = i128::from(from);
    let half = if product < 0 { -(from / 2) } else { from / 2 };
    let rounded = (product + half) / from;
    rounded.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

impl Timestamp {
    /// The timeline's zero.
    pub const ZERO: Timestamp = Timestamp(0);

    /// From a count of flicks.
    pub const fn from_flicks(flicks: i64) -> Self {
        Timestamp(flicks)
    }

    /// From `value` units of 1/`timescale` s, rounded to the nearest flick. `timescale` must not be 0.
    pub fn from_units(value: i64, timescale: u32) -> Self {
        Timestamp(rescale(value, FLICKS_PER_SECOND, i64::from(timescale)))
    }

    /// From milliseconds; exact, saturating.
    pub const fn from_millis(millis: i64) -> Self {
        Timestamp(millis.saturating_mul(FLICKS_PER_MILLI))
    }

    /// The count of flicks.
    pub const fn flicks(self) -> i64 {
        self.0
    }

    /// In units of 1/`timescale` s, rounded to the nearest. `timescale` must not be 0.
    pub fn to_units(self, timescale: u32) -> i64 {
        rescale(self.0, i64::from(timescale), FLICKS_PER_SECOND)
    }

    /// `None` when the sum leaves the range.
    pub fn checked_add(self, span: Span) -> Option<Self> {
        self.0.checked_add(span.0).map(Timestamp)
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);

    /// From a count of flicks.
    pub const fn from_flicks(flicks: i64) -> Self {
        Span(flicks)
    }

    /// From `value` units of 1/`timescale` s, rounded to the nearest flick. `timescale` must not be 0.
    pub fn from_units(value: i64, timescale: u32) -> Self {
        Span(rescale(value, FLICKS_PER_SECOND, i64::from(timescale)))
    }

    /// From milliseconds; exact, saturating.
    pub const fn from_millis(millis: i64) -> Self {
        Span(millis.saturating_mul(FLICKS_PER_MILLI))
    }

    /// From whole seconds; exact, saturating.
    pub const fn from_secs(secs: i64) -> Self {
        Span(secs.saturating_mul(FLICKS_PER_SECOND))
    }

    /// From a [`std::time::Duration`], truncated to the flick, saturating.
    pub fn from_std(duration: std::time::Duration) -> Self {
        let flicks = duration.as_nanos().saturating_mul(FLICKS_PER_SECOND as u128) / 1_000_000_000;
        Span(i64::try_from(flicks).unwrap_or(i64::MAX))
    }

    /// As a [`std::time::Duration`]; negative spans become zero.
    pub fn to_std(self) -> std::time::Duration {
        let nanos = i128::from(self.0.max(0)) * 1_000_000_000 / i128::from(FLICKS_PER_SECOND);
        std::time::Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The count of flicks.
    pub const fn flicks(self) -> i64 {
        self.0
    }

    /// In units of 1/`timescale` s, rounded to the nearest. `timescale` must not be 0.
    pub fn to_units(self, timescale: u32) -> i64 {
        rescale(self.0, i64::from(timescale), FLICKS_PER_SECOND)
    }

    /// In milliseconds, rounded to the nearest.
    pub fn to_millis(self) -> i64 {
        self.to_units(1_000)
    }

    /// In seconds, for metrics and people only; never for a decision.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / FLICKS_PER_SECOND as f64
    }

    /// The length without its sign, saturating.
    pub const fn abs(self) -> Self {
        Span(self.0.saturating_abs())
    }

    /// `self * factor`, saturating.
    pub const fn saturating_mul(self, factor: i64) -> Self {
        Span(self.0.saturating_mul(factor))
    }

    /// Whether the span is longer than nothing.
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }
}

impl WallTime {
    /// From nanoseconds since the Unix epoch.
    pub const fn from_unix_nanos(nanos: i64) -> Self {
        WallTime(nanos)
    }

    /// From milliseconds since the Unix epoch, saturating.
    pub const fn from_unix_millis(millis: i64) -> Self {
        WallTime(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn unix_nanos(self) -> i64 {
        self.0
    }

    /// Milliseconds since the Unix epoch, rounded to the nearest.
    pub fn unix_millis(self) -> i64 {
        rescale(self.0, 1, 1_000_000)
    }

    /// This moment plus media time, saturating.
    pub fn saturating_add(self, span: Span) -> Self {
        WallTime(self.0.saturating_add(rescale(span.0, 1_000_000_000, FLICKS_PER_SECOND)))
    }

    /// Media time from `earlier` to `self` (negative when `earlier` is later), saturating.
    pub fn since(self, earlier: WallTime) -> Span {
        Span(rescale(self.0.saturating_sub(earlier.0), FLICKS_PER_SECOND, 1_000_000_000))
    }
}

impl Add<Span> for Timestamp {
    type Output = Timestamp;
    fn add(self, span: Span) -> Timestamp {
        Timestamp(self.0.saturating_add(span.0))
    }
}

impl AddAssign<Span> for Timestamp {
    fn add_assign(&mut self, span: Span) {
        *self = *self + span;
    }
}

impl Sub<Span> for Timestamp {
    type Output = Timestamp;
    fn sub(self, span: Span) -> Timestamp {
        Timestamp(self.0.saturating_sub(span.0))
    }
}

impl Sub for Timestamp {
    type Output = Span;
    fn sub(self, earlier: Timestamp) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Add for Span {
    type Output = Span;
    fn add(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Span {
    fn add_assign(&mut self, other: Span) {
        *self = *self + other;
    }
}

impl Sub for Span {
    type Output = Span;
    fn sub(self, other: Span) -> Span {
        Span(self.0.saturating_sub(other.0))
    }
}

impl SubAssign for Span {
    fn sub_assign(&mut self, other: Span) {
        *self = *self - other;
    }
}

impl Neg for Span {
    type Output = Span;
    fn neg(self) -> Span {
        Span(self.0.saturating_neg())
    }
}

impl std::iter::Sum for Span {
    fn sum<I: Iterator<Item = Span>>(spans: I) -> Span {
        spans.fold(Span::ZERO, Add::add)
    }
}

/// Seconds with six decimals and their sign, computed in integers.
fn write_seconds(flicks: i64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let micros = rescale(flicks, 1_000_000, FLICKS_PER_SECOND);
    let sign = if micros < 0 { "-" } else { "" };
    let magnitude = micros.unsigned_abs();
    write!(f, "{sign}{}.{:06}s", magnitude / 1_000_000, magnitude % 1_000_000)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_seconds(self.0, f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{self}")
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_seconds(self.0, f)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// RFC 3339 in UTC with milliseconds, as EXT-X-PROGRAM-DATE-TIME wants it (RFC 8216 4.3.2.6).
impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.unix_millis();
        let (days, of_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
        let (year, month, day) = civil_from_days(days);
        let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
        let (second, milli) = (of_day / 1_000 % 60, of_day % 1_000);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

impl fmt::Debug for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Days since 1970-01-01 to the proleptic Gregorian date. Years are counted from March, so that the leap day is a
/// year's last and months have a closed form.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    const DAYS_TO_MARCH_YEAR_0: i64 = 719_468;
    const DAYS_PER_ERA: i64 = 146_097; // 400 years
    let shifted = days + DAYS_TO_MARCH_YEAR_0;
    let era = shifted.div_euclid(DAYS_PER_ERA);
    let day_of_era = shifted.rem_euclid(DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_timescales_are_exact() {
        for timescale in [1_000, 90_000, 44_100, 48_000, 24_000, 30_000, 60_000] {
            for value in [-3, 0, 1, 1_001, i64::from(u32::MAX), 1 << 33] {
                assert_eq!(Timestamp::from_units(value, timescale).to_units(timescale), value, "{value}/{timescale}");
            }
        }
    }

    #[test]
    fn boundaries_round_to_nearest_and_never_accumulate() {
        // 21.333 ms AAC frames seen through RTMP's milliseconds.
        let frame = |n: i64| Timestamp::from_units(n * 1_024, 48_000);
        assert_eq!(frame(1).to_units(1_000), 21);
        assert_eq!(frame(2).to_units(1_000), 43);
        assert_eq!(frame(46_875).to_units(1_000), 1_000_000);
        assert_eq!(Timestamp::from_flicks(-FLICKS_PER_MILLI / 2).to_units(1_000), -1);
    }

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        let end = Timestamp::from_flicks(i64::MAX);
        assert_eq!(end + Span::from_secs(1), end);
        assert_eq!(end.checked_add(Span::from_secs(1)), None);
        assert_eq!(Timestamp::from_units(i64::MAX, 1), end);
    }

    #[test]
    fn wall_time_prints_rfc_3339() {
        assert_eq!(WallTime::from_unix_millis(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(WallTime::from_unix_millis(951_782_399_999).to_string(), "2000-02-28T23:59:59.999Z");
        assert_eq!(WallTime::from_unix_millis(951_782_400_000).to_string(), "2000-02-29T00:00:00.000Z");
        assert_eq!(WallTime::from_unix_millis(1_795_244_400_123).to_string(), "2026-11-21T07:00:00.123Z");
        assert_eq!(WallTime::from_unix_millis(-1).to_string(), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn wall_time_and_media_time_meet() {
        let start = WallTime::from_unix_millis(1_000);
        assert_eq!(start.saturating_add(Span::from_millis(2_002)).since(start), Span::from_millis(2_002));
    }
}
