//! PriorityLevelConfigurations: how many seats a level has, lends and borrows.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use proto::view::View;
use serde_json::Value;

use super::demand::Demand;
use super::queues::{Mode, QueueSet};
use super::retry::Retry;

/// The share of a level's seats that one request may have.
const WIDEST: f64 = 0.15;

/// What an object says of its level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spec {
    pub(super) mode: Mode,
    pub(super) shares: u32,
    pub(super) lendable: u32,
    pub(super) borrowing: Option<u32>,
}

impl Spec {
    /// Reads an object; `None` if its parts contradict each other.
    pub(super) fn new(object: &Value) -> Option<Self> {
        let view = View::root(object);
        let spec = view.get("spec");
        let is_exempt = spec.text("type") == "Exempt";
        let (limited, exempt) = (spec.get("limited"), spec.get("exempt"));
        let named_exempt = view.get("metadata").text("name") == "exempt";
        if is_exempt == limited.is_set() || is_exempt != exempt.is_set() || is_exempt != named_exempt {
            return None;
        }
        let count = |view: &View| u32::try_from(view.i64()).ok();
        let response = limited.get("limitResponse");
        let queuing = response.get("queuing");
        let mode = match (is_exempt, response.text("type"), queuing.is_set()) {
            (true, ..) => Mode::Exempt,
            (false, "Reject", false) => Mode::Reject,
            (false, "Queue", true) => {
                let number = |name| count(&queuing.get(name)).filter(|n| *n > 0).map(|n| n as usize);
                let (queues, hand) = (number("queues")?, number("handSize")?);
                // What validation let pass; memory is at stake.
                if queues > 1 << 20 || hand > queues {
                    return None;
                }
                Mode::Queue { queues, hand, length: number("queueLengthLimit")? }
            }
            _ => return None,
        };
        let level = if is_exempt { exempt } else { limited };
        let borrowing = level.get("borrowingLimitPercent");
        Some(Spec {
            mode,
            shares: count(&level.get("nominalConcurrencyShares"))?,
            lendable: count(&level.get("lendablePercent"))?.min(100),
            borrowing: if borrowing.is_set() { Some(count(&borrowing)?) } else { None },
        })
    }
}

/// Seats of a level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) nominal: usize,
    /// What it keeps for itself.
    pub(super) least: usize,
    /// What it may have in all.
    pub(super) most: usize,
    /// What it has now.
    pub(super) current: usize,
}

impl Limits {
    /// The limits of a level that has `shares` of `sum` in a server of `seats`.
    pub(super) fn new(spec: &Spec, sum: u64, seats: usize) -> Self {
        let nominal = (seats as f64 * f64::from(spec.shares) / sum.max(1) as f64).ceil();
        let percent = |percent: u32| (nominal * f64::from(percent) / 100.0).round() as usize;
        let nominal = nominal as usize;
        let lendable = percent(spec.lendable);
        let borrowing = spec.borrowing.map_or(seats, percent);
        Limits {
            nominal,
            least: nominal - lendable.min(nominal),
            most: nominal + borrowing,
            current: nominal - lendable / 2,
        }
    }
}

/// What changes with the configuration and with time.
pub(super) struct State {
    pub(super) spec: Spec,
    pub(super) limits: Limits,
    pub(super) demand: Demand,
    /// Whether it only waits for its last requests to end.
    pub(super) is_quiescing: bool,
}

/// A priority level.
pub(super) struct Level {
    pub(super) name: String,
    is_exempt: bool,
    has_queues: bool,
    widest: AtomicUsize,
    /// Its requests.
    pub(super) set: Mutex<QueueSet>,
    pub(super) state: Mutex<State>,
    retry: Mutex<Retry>,
}

impl Level {
    pub(super) fn new(name: &str, spec: Spec, limits: Limits) -> Self {
        let level = Level {
            name: name.to_owned(),
            is_exempt: spec.mode == Mode::Exempt,
            has_queues: matches!(spec.mode, Mode::Queue { queues: 2.., .. }),
            widest: AtomicUsize::new(0),
            set: Mutex::new(QueueSet::new(spec.mode, limits.current)),
            state: Mutex::new(State { spec, limits, demand: Demand::default(), is_quiescing: false }),
            retry: Mutex::default(),
        };
        level.set_widest(&spec, limits.nominal);
        level
    }

    /// Whether its requests always run.
    pub(super) fn is_exempt(&self) -> bool {
        self.is_exempt
    }

    /// Whether flows are told apart.
    pub(super) fn has_queues(&self) -> bool {
        self.has_queues
    }

    /// Whether the level can go on under another spec.
    pub(super) fn fits(&self, spec: &Spec) -> bool {
        self.is_exempt == (spec.mode == Mode::Exempt)
            && self.has_queues == matches!(spec.mode, Mode::Queue { queues: 2.., .. })
    }

    /// The most seats that one request may have; 0 if that depends on the request alone.
    pub(super) fn most_seats(&self) -> usize {
        self.widest.load(Ordering::Relaxed)
    }

    pub(super) fn set_widest(&self, spec: &Spec, nominal: usize) {
        if let Mode::Queue { hand, .. } = spec.mode {
            let share = (nominal as f64 * WIDEST).ceil() as usize;
            self.widest.store(share.min(nominal / hand).max(1), Ordering::Relaxed);
        }
    }

    /// Notes that a request was sent away; when it may come again, in seconds.
    pub(super) fn refused(&self, second: u64) -> u64 {
        self.retry.lock().refused(second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::flow_control;

    #[test]
    fn seats_follow_shares() {
        // The suggested configuration has 245 shares; the server upstream's 600 seats.
        let limits = |name: &str| {
            let levels = flow_control::priority_levels();
            let level = levels.iter().find(|level| level["metadata"]["name"] == name).expect("there");
            Limits::new(&Spec::new(level).expect("good"), 245, 600)
        };
        assert_eq!(limits("system"), Limits { nominal: 74, least: 50, most: 674, current: 62 });
        assert_eq!(limits("workload-low"), Limits { nominal: 245, least: 24, most: 845, current: 135 });
        assert_eq!(limits("catch-all"), Limits { nominal: 13, least: 13, most: 613, current: 13 });
        assert_eq!(limits("exempt"), Limits { nominal: 0, least: 0, most: 600, current: 0 });
    }
}
