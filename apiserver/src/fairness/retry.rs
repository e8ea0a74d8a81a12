//! When those who were sent away may come again: the more are, the later.

use std::collections::VecDeque;

/// The longest wait, in seconds.
const MOST: u64 = 32;

/// Refusals of a level, per second.
#[derive(Debug)]
pub(super) struct Retry {
    history: VecDeque<(u64, u64)>,
    second: u64,
    count: u64,
    wait: u64,
    raised: Option<u64>,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { history: VecDeque::new(), second: 0, count: 0, wait: 1, raised: None }
    }
}

impl Retry {
    /// Notes a refusal in this second; the seconds to wait.
    pub(super) fn refused(&mut self, second: u64) -> u64 {
        if second == self.second {
            self.count += 1;
            return self.wait;
        }
        self.history.push_back((self.second, self.count));
        let kept = (2 * self.wait).min(MOST);
        while self.history.front().is_some_and(|(then, _)| self.second.saturating_sub(*then) > kept) {
            self.history.pop_front();
        }
        (self.second, self.count) = (second, 1);
        self.adjust(second);
        self.wait
    }

    /// Doubles the wait when refusals are many, takes one off when they are few.
    fn adjust(&mut self, second: u64) {
        let recent =
            self.history.iter().rev().take_while(|(then, _)| second.saturating_sub(*then) <= self.wait);
        let refused: u64 = recent.map(|(_, count)| count).sum();
        let rested = self.raised.is_none_or(|then| second - then >= self.wait);
        if rested && refused >= 3 * self.wait {
            self.wait = (2 * self.wait).min(MOST);
            self.raised = Some(second);
        } else if refused < self.wait && self.wait > 1 {
            self.wait -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_follows_the_refusals() {
        let mut retry = Retry::default();
        // Upstream's steps: the second, the refusals in it, the wait that the last of them sees.
        let steps = [
            (0, 5, 1),
            (1, 11, 2),
            (2, 1, 2),
            (3, 11, 4),
            (4, 1, 4),
            (7, 1, 8),
            (11, 1, 8),
            (15, 1, 7),
            (17, 1, 6),
            (21, 14, 5),
            (22, 1, 10),
        ];
        for (second, count, want) in steps {
            let wait = (0..count).map(|_| retry.refused(1000 + second)).last();
            assert_eq!(wait, Some(want), "{second}");
        }
    }
}
