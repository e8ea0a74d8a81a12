//! From what metrics ask for to what may be done now: bounds, rates, and what was recommended lately.

use std::time::{Duration, Instant};

use crate::api::autoscaling::{Behavior, Rules};

/// Without rules, the number at most doubles in one step, but may always become this.
const FREE_LIMIT: i32 = 4;

/// What is remembered of one autoscaler. It is lost with the process, as upstream's is.
#[derive(Debug, Default)]
pub(super) struct History {
    recommendations: Vec<(i32, Instant)>,
    ups: Vec<(i32, Instant)>,
    downs: Vec<(i32, Instant)>,
}

/// The number of replicas: what there is, what metrics ask for, and the bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) current: i32,
    pub(super) desired: i32,
    pub(super) min: i32,
    pub(super) max: i32,
}

/// A condition's status, reason and message.
pub(super) type Finding = (bool, &'static str, &'static str);

/// What may be done, and the findings about the ability and the limits of scaling.
#[derive(Debug, PartialEq)]
pub(super) struct Normal {
    pub(super) desired: i32,
    pub(super) able: Finding,
    pub(super) limited: Finding,
}

const READY: Finding = (true, "ReadyForNewScale", "recommended size matches current size");
const IN_RANGE: Finding = (false, "DesiredWithinRange", "the desired count is within the acceptable range");
const UP_LIMIT: Finding =
    (true, "ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN_LIMIT: Finding =
    (true, "ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");
const TOO_MANY: Finding =
    (true, "TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: Finding =
    (true, "TooFewReplicas", "the desired replica count is less than the minimum replica count");
const UP_STABILIZED: Finding = (
    true,
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const DOWN_STABILIZED: Finding = (
    true,
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);

impl History {
    /// The number of replicas at the first look counts as a recommendation.
    pub(super) fn start(&mut self, replicas: i32, now: Instant) {
        if self.recommendations.is_empty() {
            self.recommendations.push((replicas, now));
        }
    }

    /// Remembers a change of the number of replicas, as long as some rule looks back.
    pub(super) fn scaled(&mut self, behavior: Option<&Behavior>, from: i32, to: i32, now: Instant) {
        let Some(behavior) = behavior else { return };
        let (events, rules) = if to > from {
            (&mut self.ups, &behavior.scale_up)
        } else {
            (&mut self.downs, &behavior.scale_down)
        };
        let longest =
            rules.iter().flat_map(|rules| &rules.policies).map(|p| p.period_seconds).max().unwrap_or(0);
        events.retain(|(_, at)| now.duration_since(*at) <= seconds(longest));
        events.push(((to - from).abs(), now));
    }

    /// Normalizes; `window` is how far back recommendations hold against scaling down, unless the rules say.
    pub(super) fn normalize(
        &mut self,
        behavior: Option<&Behavior>,
        numbers: Numbers,
        window: Duration,
        now: Instant,
    ) -> Normal {
        match behavior {
            None => self.by_default(numbers, window, now),
            Some(behavior) => self.by_rules(behavior, numbers, window, now),
        }
    }

    fn by_default(&mut self, numbers: Numbers, window: Duration, now: Instant) -> Normal {
        self.recommendations.retain(|(_, at)| now.duration_since(*at) <= window);
        let stable = self.recommendations.iter().map(|(n, _)| *n).fold(numbers.desired, i32::max);
        self.recommendations.push((numbers.desired, now));
        let able = if stable == numbers.desired { READY } else { DOWN_STABILIZED };
        let limit = numbers.current.saturating_mul(2).max(FREE_LIMIT);
        let (max, reason) = if numbers.max > limit { (limit, UP_LIMIT) } else { (numbers.max, TOO_MANY) };
        let (desired, limited) = if stable < numbers.min {
            (numbers.min, TOO_FEW)
        } else if stable > max {
            (max, reason)
        } else {
            (stable, IN_RANGE)
        };
        Normal { desired, able, limited }
    }

    fn by_rules(&mut self, behavior: &Behavior, numbers: Numbers, window: Duration, now: Instant) -> Normal {
        let none = Rules::default();
        let up = behavior.scale_up.as_ref().unwrap_or(&none);
        let down = behavior.scale_down.as_ref().unwrap_or(&none);
        let up_window = seconds(up.stabilization_window_seconds.unwrap_or(0));
        let down_window = down.stabilization_window_seconds.map_or(window, seconds);
        let within = |at: Instant, window: Duration| now.duration_since(at) < window;
        let (mut lowest, mut highest) = (numbers.desired, numbers.desired);
        for (recommended, at) in &self.recommendations {
            if within(*at, up_window) {
                lowest = lowest.min(*recommended);
            }
            if within(*at, down_window) {
                highest = highest.max(*recommended);
            }
        }
        self.recommendations.retain(|(_, at)| within(*at, up_window) || within(*at, down_window));
        self.recommendations.push((numbers.desired, now));
        let stable = numbers.current.max(lowest).min(highest);
        let able = if stable == numbers.desired {
            READY
        } else if numbers.desired >= numbers.current {
            UP_STABILIZED
        } else {
            DOWN_STABILIZED
        };
        let (desired, limited) = self.limit(Numbers { desired: stable, ..numbers }, up, down, now);
        Normal {
            desired,
            able,
            limited: if desired == stable { (false, limited.1, limited.2) } else { limited },
        }
    }

    /// Applies the rates.
    fn limit(&self, numbers: Numbers, up: &Rules, down: &Rules, now: Instant) -> (i32, Finding) {
        if numbers.desired > numbers.current {
            let limit = self.up_limit(numbers.current, up, now).max(numbers.current);
            let (max, reason) = if numbers.max > limit { (limit, UP_LIMIT) } else { (numbers.max, TOO_MANY) };
            if numbers.desired > max {
                return (max, reason);
            }
        } else if numbers.desired < numbers.current {
            let limit = self.down_limit(numbers.current, down, now).min(numbers.current);
            let (min, reason) =
                if numbers.min < limit { (limit, DOWN_LIMIT) } else { (numbers.min, TOO_FEW) };
            if numbers.desired < min {
                return (min, reason);
            }
        }
        (numbers.desired, IN_RANGE)
    }

    /// The number of replicas when the period of a policy began.
    fn at_start(&self, current: i32, period: i32, now: Instant) -> i32 {
        let change = |events: &[(i32, Instant)]| -> i32 {
            let recent = events.iter().filter(|(_, at)| now.duration_since(*at) < seconds(period));
            recent.fold(0i32, |sum, (n, _)| sum.saturating_add(*n))
        };
        current.saturating_sub(change(&self.ups)).saturating_add(change(&self.downs))
    }

    fn up_limit(&self, current: i32, rules: &Rules, now: Instant) -> i32 {
        let proposals = rules.policies.iter().filter_map(|policy| {
            let start = self.at_start(current, policy.period_seconds, now);
            match policy.kind.as_str() {
                "Pods" => Some(start.saturating_add(policy.value)),
                // Rounded up, or one replica would never become two.
                "Percent" => Some((f64::from(start) * (1.0 + f64::from(policy.value) / 100.0)).ceil() as i32),
                _ => None,
            }
        });
        match rules.select_policy.as_deref() {
            Some("Disabled") => current,
            Some("Min") => proposals.min().unwrap_or(i32::MAX),
            _ => proposals.max().unwrap_or(i32::MIN),
        }
    }

    fn down_limit(&self, current: i32, rules: &Rules, now: Instant) -> i32 {
        let proposals = rules.policies.iter().filter_map(|policy| {
            let start = self.at_start(current, policy.period_seconds, now);
            match policy.kind.as_str() {
                "Pods" => Some(start.saturating_sub(policy.value)),
                "Percent" => Some((f64::from(start) * (1.0 - f64::from(policy.value) / 100.0)) as i32),
                _ => None,
            }
        });
        match rules.select_policy.as_deref() {
            Some("Disabled") => current,
            Some("Min") => proposals.max().unwrap_or(i32::MIN),
            _ => proposals.min().unwrap_or(i32::MAX),
        }
    }
}

fn seconds(seconds: i32) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const WINDOW: Duration = Duration::from_secs(300);

    fn numbers(current: i32, desired: i32) -> Numbers {
        Numbers { current, desired, min: 1, max: 20 }
    }

    /// After upstream's TestConvertDesiredReplicasWithRules and TestNormalizeDesiredReplicas.
    #[test]
    fn without_rules() {
        let now = Instant::now();
        for (past, at, wanted, able, limited) in [
            (vec![], numbers(3, 5), 5, READY, IN_RANGE),
            (vec![], numbers(3, 0), 1, READY, TOO_FEW),
            (vec![], numbers(3, 9), 6, READY, UP_LIMIT),
            (vec![], numbers(1, 9), 4, READY, UP_LIMIT),
            (vec![], numbers(15, 25), 20, READY, TOO_MANY),
            (vec![(8, 100)], numbers(10, 5), 8, DOWN_STABILIZED, IN_RANGE),
            (vec![(8, 301)], numbers(10, 5), 5, READY, IN_RANGE),
        ] {
            let Some(start) = now.checked_sub(Duration::from_secs(400)) else { return };
            let mut history = History::default();
            for (n, ago) in past {
                history.recommendations.push((n, start + Duration::from_secs(400 - ago)));
            }
            let normal = history.normalize(None, at, WINDOW, start + Duration::from_secs(400));
            assert_eq!(normal, Normal { desired: wanted, able, limited }, "{at:?}");
        }
    }

    fn behavior(value: Value) -> Behavior {
        serde_json::from_value(value).unwrap()
    }

    /// After upstream's TestScalingWithRules.
    #[test]
    fn rates() {
        let policy = |kind: &str, value: i32| json!({"type": kind, "value": value, "periodSeconds": 60});
        let up = |select: &str, policies: Vec<Value>| json!({"scaleUp": {"selectPolicy": select, "policies": policies}});
        let down = |select: &str, policies: Vec<Value>| json!({"scaleDown": {"selectPolicy": select, "policies": policies, "stabilizationWindowSeconds": 0}});
        let both = || vec![policy("Percent", 100), policy("Pods", 2)];
        for (what, rules, past, at, wanted, reason) in [
            ("percent", up("Max", vec![policy("Percent", 100)]), 0, numbers(5, 20), 10, "ScaleUpLimit"),
            ("pods", up("Max", vec![policy("Pods", 4)]), 0, numbers(5, 20), 9, "ScaleUpLimit"),
            ("the larger", up("Max", both()), 0, numbers(5, 20), 10, "ScaleUpLimit"),
            ("the smaller", up("Min", both()), 0, numbers(5, 20), 7, "ScaleUpLimit"),
            ("disabled", up("Disabled", both()), 0, numbers(5, 20), 5, "ScaleUpLimit"),
            ("grown lately", up("Max", vec![policy("Pods", 4)]), 3, numbers(5, 20), 6, "ScaleUpLimit"),
            ("grown too much", up("Max", vec![policy("Pods", 4)]), 5, numbers(10, 20), 10, "ScaleUpLimit"),
            (
                "to the bound",
                up("Max", vec![policy("Percent", 900)]),
                0,
                numbers(5, 30),
                20,
                "TooManyReplicas",
            ),
            ("one to two", up("Max", vec![policy("Percent", 10)]), 0, numbers(1, 5), 2, "ScaleUpLimit"),
            (
                "down percent",
                down("Max", vec![policy("Percent", 20)]),
                0,
                numbers(10, 2),
                8,
                "ScaleDownLimit",
            ),
            ("down, the larger", down("Max", both()), 0, numbers(10, 0), 1, "TooFewReplicas"),
            ("down, the smaller", down("Min", both()), 0, numbers(10, 2), 8, "ScaleDownLimit"),
            ("down, disabled", down("Disabled", both()), 0, numbers(10, 2), 10, "ScaleDownLimit"),
        ] {
            let now = Instant::now();
            let mut history = History::default();
            if past > 0 {
                history.ups.push((past, now));
            }
            let normal = history.normalize(Some(&behavior(rules)), at, Duration::ZERO, now);
            assert_eq!((normal.desired, normal.limited.1), (wanted, reason), "{what}");
        }
    }

    /// After upstream's TestNormalizeDesiredReplicasWithBehavior.
    #[test]
    fn recommendations_hold() {
        let rules = behavior(json!({
            "scaleUp": {"stabilizationWindowSeconds": 60, "policies": [{"type": "Pods", "value": 100, "periodSeconds": 1}]},
            "scaleDown": {"stabilizationWindowSeconds": 120, "policies": [{"type": "Pods", "value": 100, "periodSeconds": 1}]},
        }));
        let start = Instant::now();
        let mut history = History::default();
        history.start(5, start);
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut step = |current, desired, seconds| {
            history.normalize(Some(&rules), numbers(current, desired), WINDOW, at(seconds))
        };
        let first = step(5, 9, 30);
        assert_eq!((first.desired, first.able), (5, UP_STABILIZED));
        let second = step(5, 9, 61);
        assert_eq!((second.desired, second.able), (9, READY));
        let third = step(9, 3, 100);
        assert_eq!((third.desired, third.able), (9, DOWN_STABILIZED));
        assert_eq!(step(9, 3, 200).desired, 3);
    }

    #[test]
    fn changes_are_forgotten_after_the_longest_period() {
        let rules =
            behavior(json!({"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}}));
        let start = Instant::now();
        let mut history = History::default();
        history.scaled(Some(&rules), 1, 3, start);
        history.scaled(Some(&rules), 3, 4, start + Duration::from_secs(61));
        assert_eq!(history.ups.len(), 1);
        history.scaled(None, 3, 4, start);
        assert_eq!(history.downs.len(), 0);
    }
}
