//! Counts on records: Avro's only whole number of eight bytes is signed.

/// A count as a record carries it. What no file reaches is told as the largest there is.
pub fn of(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The count a record carries; a negative one, which none of ours is, counts nothing.
pub fn count(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_survives_its_record_and_what_does_not_fit_is_bounded() {
        for n in [0, 1, u64::from(u32::MAX), i64::MAX.unsigned_abs()] {
            assert_eq!(count(of(n)), n);
        }
        assert_eq!((of(u64::MAX), count(-1)), (i64::MAX, 0));
    }
}
