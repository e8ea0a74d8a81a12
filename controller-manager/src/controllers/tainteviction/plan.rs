//! Whether, and when, a pod must leave a tainted node.

use std::time::{Duration, Instant};

use crate::api::core::{Taint, Toleration};
use crate::common::nodes::tolerates;

/// A planned eviction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scheduled {
    pub(super) since: Instant,
    pub(super) at: Instant,
}

#[derive(Debug, PartialEq)]
pub(super) enum Plan {
    /// The plan made before still holds.
    Keep,
    /// The pod stays; a planned eviction is called off.
    Stay,
    Evict(Scheduled),
}

/// Decides about one pod on a node with these taints.
pub(super) fn plan(
    taints: &[Taint],
    tolerations: &[Toleration],
    scheduled: Option<Scheduled>,
    now: Instant,
) -> Plan {
    let taints: Vec<&Taint> = taints.iter().filter(|t| t.effect == "NoExecute").collect();
    if taints.is_empty() {
        return Plan::Stay;
    }
    let mut shortest: Option<Duration> = None;
    for taint in taints {
        let Some(toleration) = tolerations.iter().find(|t| tolerates(t, taint)) else {
            return Plan::Evict(Scheduled { since: now, at: now });
        };
        if let Some(seconds) = toleration.toleration_seconds {
            let time = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            shortest = Some(shortest.map_or(time, |s| s.min(time)));
        }
    }
    let Some(time) = shortest else { return Plan::Stay };
    match scheduled {
        None => Plan::Evict(Scheduled { since: now, at: now + time }),
        // Time already spent counts: a new look must not prolong it.
        Some(plan) if plan.since + time < now + time => Plan::Keep,
        Some(plan) => Plan::Evict(Scheduled { since: plan.since, at: plan.since + time }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str) -> Taint {
        Taint { key: key.into(), effect: "NoExecute".into(), ..Default::default() }
    }

    fn toleration(key: &str, seconds: Option<i64>) -> Toleration {
        Toleration {
            key: key.into(),
            operator: "Exists".into(),
            toleration_seconds: seconds,
            ..Default::default()
        }
    }

    #[test]
    fn tolerations_buy_time() {
        let now = Instant::now();
        let at = |seconds| Plan::Evict(Scheduled { since: now, at: now + Duration::from_secs(seconds) });
        let cases = [
            (vec![], vec![], Plan::Stay),
            (vec![taint("a")], vec![], at(0)),
            (vec![taint("a")], vec![toleration("a", None)], Plan::Stay),
            (vec![taint("a")], vec![toleration("a", Some(300))], at(300)),
            (vec![taint("a")], vec![toleration("a", Some(-1))], at(0)),
            (
                vec![taint("a"), taint("b")],
                vec![toleration("a", Some(300)), toleration("b", Some(30))],
                at(30),
            ),
            (vec![taint("a"), taint("b")], vec![toleration("a", Some(300))], at(0)),
        ];
        for (taints, tolerations, wanted) in cases {
            assert_eq!(plan(&taints, &tolerations, None, now), wanted);
        }
    }

    #[test]
    fn a_second_look_does_not_prolong() {
        let start = Instant::now();
        let first = Scheduled { since: start, at: start + Duration::from_secs(300) };
        let later = start + Duration::from_secs(100);
        let plan = plan(&[taint("a")], &[toleration("a", Some(300))], Some(first), later);
        assert_eq!(plan, Plan::Keep);
    }
}
