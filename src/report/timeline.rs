//! Permitted connections and refusals over time, in a bounded number of intervals.

use crate::wire::event::Time;

/// The most intervals. Beyond them, two become one.
const MOST: usize = 120;

/// Counts over time.
#[derive(Debug, Clone)]
pub(crate) struct Timeline {
    begin: Time,
    /// Length of an interval, in milliseconds.
    pub(crate) width_ms: u64,
    /// Permitted connections and refusals of each interval.
    pub(crate) counts: Vec<(u64, u64)>,
}

impl Timeline {
    /// Begins at a time, with intervals of a second.
    pub(super) fn since(begin: Time) -> Timeline {
        Timeline { begin, width_ms: 1000, counts: Vec::new() }
    }

    /// Adds counts at a time. Times before the beginning count as the beginning.
    pub(super) fn add(&mut self, time: Time, permitted: u64, refused: u64) {
        let after = u64::try_from(time.after(self.begin).as_millis()).unwrap_or(u64::MAX);
        while after / self.width_ms >= MOST as u64 {
            self.halve();
        }
        let at = usize::try_from(after / self.width_ms).unwrap_or(MOST - 1);
        if self.counts.len() <= at {
            self.counts.resize(at + 1, (0, 0));
        }
        let counts = &mut self.counts[at];
        counts.0 = counts.0.saturating_add(permitted);
        counts.1 = counts.1.saturating_add(refused);
    }

    /// Makes one interval of any two.
    fn halve(&mut self) {
        self.width_ms = self.width_ms.saturating_mul(2);
        let sum = |pair: &[(u64, u64)]| {
            pair.iter().fold((0u64, 0u64), |a, b| (a.0.saturating_add(b.0), a.1.saturating_add(b.1)))
        };
        self.counts = self.counts.chunks(2).map(sum).collect();
    }

    /// Returns the largest count of an interval.
    pub(crate) fn most(&self) -> u64 {
        self.counts.iter().map(|(permitted, refused)| *permitted.max(refused)).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Time {
        serde_json::from_value(serde_json::json!(text)).unwrap()
    }

    #[test]
    fn any_length_has_a_bounded_number_of_intervals_and_loses_no_count() {
        let mut timeline = Timeline::since(at("2026-11-30T00:00:00Z"));
        for time in
            ["2026-11-30T00:00:00Z", "2026-11-30T00:00:01Z", "2026-11-30T00:01:59Z", "2026-11-29T00:00:00Z"]
        {
            timeline.add(at(time), 1, 2);
        }
        assert_eq!((timeline.width_ms, timeline.counts.len()), (1000, 120));
        assert_eq!(timeline.counts[0], (2, 4));
        timeline.add(at("2026-11-30T01:00:00Z"), 1, 0);
        timeline.add(at("9999-12-31T23:59:59Z"), 0, 1);
        assert!(timeline.counts.len() <= MOST);
        let sum = timeline.counts.iter().fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        assert_eq!(sum, (5, 9));
        assert!(timeline.most() >= 8);
    }
}
