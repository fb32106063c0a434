//! Numbers as Redis writes them.

/// Long enough for any 64-bit integer with its sign.
pub(super) const DECIMAL_BYTES: usize = 20;

/// The decimal text, which is what a string holds whose encoding is an integer.
pub(super) fn decimal(value: i64, buffer: &mut [u8; DECIMAL_BYTES]) -> &[u8] {
    let mut at = DECIMAL_BYTES;
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        buffer[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        buffer[at] = b'-';
    }
    &buffer[at..]
}

/// A score in text: `%.17g`, `inf`, `-inf`, `nan`.
pub(super) fn double(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The bits of a score that are equal exactly for equal scores. The compact encodings of a sorted set keep a zero as an integer
/// and so lose its sign.
pub(super) fn score_bits(score: f64) -> u64 {
    if score.is_nan() {
        return f64::NAN.to_bits();
    }
    if score == 0.0 { 0 } else { score.to_bits() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn decimals_are_those_of_the_standard_library(value in any::<i64>()) {
            for value in [value, value >> 40, i64::MIN, i64::MAX, 0, -1] {
                let mut buffer = [0; DECIMAL_BYTES];
                let expected = value.to_string();
                prop_assert_eq!(decimal(value, &mut buffer), expected.as_bytes());
            }
        }
    }

    #[test]
    fn scores_in_text_are_read_and_zeros_are_one() {
        assert_eq!(double(b"2.6400000000000001"), Some(2.64));
        assert_eq!(double(b"1e+20"), Some(1e20));
        assert_eq!(double(b"-inf"), Some(f64::NEG_INFINITY));
        assert!(double(b"nan").unwrap().is_nan());
        assert_eq!(double(b""), None);
        assert_eq!(double(b"1x"), None);
        assert_eq!(score_bits(-0.0), score_bits(0.0));
        assert_eq!(score_bits(f64::NAN), score_bits(-f64::NAN));
        assert_ne!(score_bits(1.0), score_bits(-1.0));
    }
}
