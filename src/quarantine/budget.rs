//! The quarantine budget: when so much is bad that stopping is kinder than quarantining.
//!
//! One bad deploy must not move a topic into quarantine. The budget looks at the last `window`
//! records of a partition.

use std::collections::VecDeque;

/// Limits of the budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BudgetLimits {
    /// Records looked at. Default 200.
    pub window: usize,
    /// Share of them that may be quarantined, 0.0 to 1.0. Default 0.9; 1.0 turns the budget off.
    pub ratio_max: f64,
    /// Never stops before so many were quarantined. Default 100.
    pub quarantined_min: usize,
}

impl Default for BudgetLimits {
    fn default() -> Self {
        Self { window: 200, ratio_max: 0.9, quarantined_min: 100 }
    }
}

/// How one record ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Passed,
    Quarantined,
}

/// What the budget says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Within,
    /// Stop and ask a person: so many of so many.
    Exceeded {
        quarantined: usize,
        of: usize,
    },
}

/// The window of one partition.
#[derive(Debug, Clone, Default)]
pub struct Budget {
    recent: VecDeque<Ending>,
    quarantined: usize,
}

impl Budget {
    /// Counts one record and judges the window.
    pub fn record(&mut self, ending: Ending, limits: &BudgetLimits) -> Verdict {
        self.recent.push_back(ending);
        self.quarantined += usize::from(ending == Ending::Quarantined);
        while self.recent.len() > limits.window.max(1) {
            let left = self.recent.pop_front();
            self.quarantined -= usize::from(left == Some(Ending::Quarantined));
        }
        let (quarantined, of) = (self.quarantined, self.recent.len());
        let over = quarantined >= limits.quarantined_min.max(1) && quarantined as f64 > limits.ratio_max * of as f64;
        if over { Verdict::Exceeded { quarantined, of } } else { Verdict::Within }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(endings: impl IntoIterator<Item = Ending>, limits: &BudgetLimits) -> Verdict {
        let mut budget = Budget::default();
        endings.into_iter().map(|e| budget.record(e, limits)).last().unwrap_or(Verdict::Within)
    }

    #[test]
    fn a_flood_of_letters_stops_the_stage_and_single_ones_do_not() {
        let limits = BudgetLimits::default();
        let bad = |n: usize| std::iter::repeat_n(Ending::Quarantined, n);
        let good = |n: usize| std::iter::repeat_n(Ending::Passed, n);
        let cases: Vec<(&str, Vec<Ending>, Verdict)> = vec![
            ("nothing", vec![], Verdict::Within),
            ("few at the start", bad(99).collect(), Verdict::Within),
            ("a flood", bad(100).collect(), Verdict::Exceeded { quarantined: 100, of: 100 }),
            ("half of all", bad(100).chain(good(100)).collect(), Verdict::Within),
            ("an old flood is forgotten", bad(100).chain(good(200)).chain(bad(99)).collect(), Verdict::Within),
            ("a flood after a quiet day", good(1000).chain(bad(181)).collect(), Verdict::Exceeded { quarantined: 181, of: 200 }),
        ];
        for (name, endings, expected) in cases {
            assert_eq!(run(endings, &limits), expected, "{name}");
        }
        let off = BudgetLimits { ratio_max: 1.0, ..limits };
        assert_eq!(run(bad(1000), &off), Verdict::Within);
    }
}
