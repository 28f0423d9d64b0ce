//! RTMP's millisecond clock, without its wraps.
//!
//! Stamps have 32 bits, but publishers of FLV descent use only 31 (OBS, and all that mask the top byte). Serial arithmetic
//! modulo 2^31 serves both, because 2^31 divides 2^32: each step is the one nearest to none. What it cannot see is a jump of
//! more than 12 days, and that is a jump anyway.

/// Milliseconds from the stamp `from` to the stamp `to`, in -2^30 to 2^30 - 1.
pub(super) fn step_ms(from: u32, to: u32) -> i64 {
    // The shift to the left drops the bit above the modulus, the arithmetic shift back extends the sign.
    i64::from((to.wrapping_sub(from) << 1) as i32 >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn steps_over_every_wrap() {
        assert_eq!(step_ms(1_000, 1_033), 33);
        assert_eq!(step_ms(1_033, 1_000), -33);
        assert_eq!(step_ms((1 << 24) - 10, (1 << 24) + 23), 33);
        assert_eq!(step_ms((1 << 31) - 10, 23), 33, "31 bits");
        assert_eq!(step_ms((1 << 31) - 10, (1 << 31) + 23), 33, "32 bits do not wrap there");
        assert_eq!(step_ms(u32::MAX - 9, 23), 33, "32 bits");
        assert_eq!(step_ms(23, u32::MAX - 9), -33, "back over the wrap");
    }

    proptest! {
        #[test]
        fn any_step_of_either_modulus_is_found(from: u32, step in -(1i64 << 30)..1 << 30) {
            let to = i64::from(from) + step;
            prop_assert_eq!(step_ms(from, to.rem_euclid(1 << 32) as u32), step);
            prop_assert_eq!(step_ms(from & 0x7fff_ffff, to.rem_euclid(1 << 31) as u32), step);
        }
    }
}
