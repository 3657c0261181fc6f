//! The wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use netpolicy::policy::Date;

/// Returns today's date in UTC. A clock before 1970 is taken for a day on which everything has
/// expired.
pub(crate) fn today() -> Date {
    let Ok(since) = SystemTime::now().duration_since(UNIX_EPOCH) else { return Date::MAX };
    day(since.as_secs() / 86_400)
}

/// Seconds since 1970. A clock before that makes everything look old, which only delays `gc`.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or(0)
}

/// Returns the day so many days after 1970-01-01.
fn day(days: u64) -> Date {
    i64::try_from(days)
        .ok()
        .and_then(|days| netpolicy::policy::day_after(Date::constant(1970, 1, 1), days))
        .unwrap_or(Date::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_1970() {
        assert_eq!(day(0).to_string(), "1970-01-01");
        assert_eq!(day(20_782).to_string(), "2026-11-25");
        assert_eq!(day(u64::MAX), Date::MAX);
    }
}
