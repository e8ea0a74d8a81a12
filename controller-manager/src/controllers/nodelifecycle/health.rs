//! Who is alive: one pass over all nodes, from what was seen of them and when.
//!
//! A node lives while its lease or its status is renewed. Times are those at which this process saw a
//! renewal, so that clocks of other machines don't matter. Where a whole zone looks dead, rather the
//! network is: then nodes are given up slowly, or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto::time::Time;

use super::taints::{NOT_READY, UNREACHABLE};
use crate::api::core::{Lease, Node};
use crate::api::{Condition, find_condition};

/// The settings of the controller.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) startup_grace: Duration,
    pub(super) grace: Duration,
    /// Nodes given up per second in a healthy zone, and in a large unhealthy one.
    pub(super) rate: f64,
    pub(super) secondary_rate: f64,
    pub(super) large_cluster: usize,
    pub(super) unhealthy_fraction: f64,
}

/// One thing to do.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    /// A node was seen for the first time.
    Register(String),
    /// A node is gone: its name and uid.
    Remove(String, String),
    /// Writes the conditions of a silent node; where it was ready, its pods are so no longer.
    Silence { node: String, conditions: Vec<Condition>, was_ready: bool },
    /// Sets or clears the `NoExecute` taint.
    Taint { node: String, key: Option<&'static str> },
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Pass {
    pub(super) actions: Vec<Action>,
    /// When the next pass is due even if nothing happens.
    pub(super) next: Option<Duration>,
}

#[derive(Debug)]
struct Seen {
    uid: String,
    probed: Instant,
    ready: Option<Condition>,
    renewed: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum ZoneState {
    Initial,
    Normal,
    Partial,
    Full,
}

/// A zone with its budget for giving up nodes: a bucket of one.
#[derive(Debug)]
struct Zone {
    state: ZoneState,
    rate: f64,
    /// When the next node may be given up.
    free_at: Instant,
}

/// What is remembered from pass to pass.
#[derive(Debug, Default)]
pub(super) struct Health {
    seen: BTreeMap<String, Seen>,
    zones: BTreeMap<String, Zone>,
}

const EXCLUDED: &str = "node.kubernetes.io/exclude-disruption";
/// The conditions that a silent node's kubelet should have kept up to date.
const KEPT: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// Region and zone of a node.
fn zone_of(node: &Node) -> String {
    let label = |old: &str, new: &str| {
        let labels = &node.metadata.labels;
        labels.get(old).or_else(|| labels.get(new)).cloned().unwrap_or_default()
    };
    let zone = label("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone");
    let region = label("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region");
    if zone.is_empty() && region.is_empty() { String::new() } else { format!("{region}:\0:{zone}") }
}

impl Health {
    /// Notes what can be seen of a node now.
    pub(super) fn observe(&mut self, node: &Node, lease: Option<&Lease>, now: Instant) {
        let ready = find_condition(&node.status.conditions, "Ready").cloned();
        let renewed = lease.and_then(|l| l.spec.renew_time.clone());
        let Some(seen) = self.seen.get_mut(&node.metadata.name) else { return };
        let heartbeat = |c: &Option<Condition>| c.as_ref().map(|c| c.last_heartbeat_time);
        if heartbeat(&seen.ready) != heartbeat(&ready) {
            seen.probed = now;
        }
        // RFC 3339 times of one writer compare as text.
        if renewed.is_some() && renewed > seen.renewed {
            seen.probed = now;
            seen.renewed = renewed;
        }
        seen.ready = ready;
    }

    /// Whether the node was last seen not ready.
    pub(super) fn is_not_ready(&self, node: &str) -> bool {
        let ready = self.seen.get(node).and_then(|s| s.ready.as_ref());
        ready.is_some_and(|c| !c.is_true())
    }

    /// Looks at every node.
    pub(super) fn pass(
        &mut self,
        nodes: &[Arc<Node>],
        lease: &dyn Fn(&str) -> Option<Arc<Lease>>,
        limits: &Limits,
        now: Instant,
        clock: Time,
    ) -> Pass {
        let mut pass = Pass::default();
        self.admit(nodes, limits, now, &mut pass);
        for node in nodes {
            self.observe(node, lease(&node.metadata.name).as_deref(), now);
            self.judge(node, limits, now, clock, &mut pass);
        }
        let silenced: BTreeSet<String> = pass
            .actions
            .iter()
            .filter_map(|a| match a {
                Action::Silence { node, .. } => Some(node.clone()),
                _ => None,
            })
            .collect();
        if !self.handle_disruption(nodes, &silenced, limits, now, &mut pass) {
            self.taint(nodes, &silenced, now, &mut pass);
        }
        pass
    }

    fn admit(&mut self, nodes: &[Arc<Node>], limits: &Limits, now: Instant, pass: &mut Pass) {
        for node in nodes {
            let (name, uid) = (&node.metadata.name, &node.metadata.uid);
            let zone = Zone { state: ZoneState::Initial, rate: limits.rate, free_at: now };
            self.zones.entry(zone_of(node)).or_insert(zone);
            let known = self.seen.get(name).is_some_and(|s| s.uid == *uid);
            if !known {
                let seen = Seen { uid: uid.clone(), probed: now, ready: None, renewed: None };
                self.seen.insert(name.clone(), seen);
                pass.actions.push(Action::Register(name.clone()));
            }
        }
        let present: BTreeSet<&str> = nodes.iter().map(|n| n.metadata.name.as_str()).collect();
        let gone: Vec<String> =
            self.seen.keys().filter(|name| !present.contains(name.as_str())).cloned().collect();
        for name in gone {
            if let Some(seen) = self.seen.remove(&name) {
                pass.actions.push(Action::Remove(name, seen.uid));
            }
        }
    }

    /// Declares a node's state unknown if it was silent for too long.
    fn judge(&mut self, node: &Node, limits: &Limits, now: Instant, clock: Time, pass: &mut Pass) {
        let Some(seen) = self.seen.get(&node.metadata.name) else { return };
        let grace = if seen.ready.is_some() { limits.grace } else { limits.startup_grace };
        let silent_for = now.saturating_duration_since(seen.probed);
        if silent_for <= grace {
            let left = grace - silent_for + Duration::from_millis(1);
            pass.next = Some(pass.next.map_or(left, |d| d.min(left)));
            return;
        }
        let unknown = |kind: &str| match find_condition(&node.status.conditions, kind) {
            None => Some(Condition {
                last_heartbeat_time: node.metadata.creation_timestamp,
                ..Condition::new(
                    kind,
                    "Unknown",
                    "NodeStatusNeverUpdated",
                    "Kubelet never posted node status.",
                    clock,
                )
            }),
            Some(current) if current.status != "Unknown" => Some(Condition {
                last_heartbeat_time: current.last_heartbeat_time,
                ..Condition::new(
                    kind,
                    "Unknown",
                    "NodeStatusUnknown",
                    "Kubelet stopped posting node status.",
                    clock,
                )
            }),
            Some(_) => None,
        };
        let conditions: Vec<Condition> = KEPT.into_iter().filter_map(unknown).collect();
        if conditions.iter().any(|c| c.kind == "Ready") {
            let was_ready = seen.ready.as_ref().is_some_and(Condition::is_true);
            let node = node.metadata.name.clone();
            pass.actions.push(Action::Silence { node, conditions, was_ready });
        }
    }

    /// Judges zones. Says whether all are dead: then this machine is cut off, and nobody is given up.
    fn handle_disruption(
        &mut self,
        nodes: &[Arc<Node>],
        silenced: &BTreeSet<String>,
        limits: &Limits,
        now: Instant,
        pass: &mut Pass,
    ) -> bool {
        let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for node in nodes.iter().filter(|n| !n.metadata.labels.contains_key(EXCLUDED)) {
            let (total, bad) = counts.entry(zone_of(node)).or_default();
            let ready = find_condition(&node.status.conditions, "Ready").is_some_and(Condition::is_true);
            *total += 1;
            *bad += usize::from(!ready || silenced.contains(&node.metadata.name));
        }
        let state = |(total, bad): (usize, usize)| {
            if bad == total {
                ZoneState::Full
            } else if bad > 2 && bad as f64 / total as f64 >= limits.unhealthy_fraction {
                ZoneState::Partial
            } else {
                ZoneState::Normal
            }
        };
        let was_all_dead = !self.zones.is_empty() && self.zones.values().all(|z| z.state == ZoneState::Full);
        self.zones.retain(|key, _| counts.contains_key(key));
        let all_dead = !counts.is_empty() && counts.values().all(|c| state(*c) == ZoneState::Full);
        if all_dead && !was_all_dead {
            for node in nodes {
                pass.actions.push(Action::Taint { node: node.metadata.name.clone(), key: None });
            }
        }
        if was_all_dead && !all_dead {
            // The time of silence says nothing about nodes that come back one after the other.
            self.seen.values_mut().for_each(|s| s.probed = now);
        }
        for (key, zone) in &mut self.zones {
            let count = counts.get(key).copied().unwrap_or_default();
            zone.state = state(count);
            zone.rate = match zone.state {
                _ if all_dead => 0.0,
                ZoneState::Partial if count.0 <= limits.large_cluster => 0.0,
                ZoneState::Partial => limits.secondary_rate,
                _ => limits.rate,
            };
        }
        all_dead
    }

    /// Sets and clears the taints by which pods are evicted; new ones at the rate of the zone.
    fn taint(&mut self, nodes: &[Arc<Node>], silenced: &BTreeSet<String>, now: Instant, pass: &mut Pass) {
        for node in nodes.iter().filter(|n| !silenced.contains(&n.metadata.name)) {
            let Some(ready) = find_condition(&node.status.conditions, "Ready") else { continue };
            let key = match ready.status.as_str() {
                "True" => None,
                "False" => Some(NOT_READY),
                _ => Some(UNREACHABLE),
            };
            if super::taints::no_execute(node, key, Time::now()).is_none() {
                continue;
            }
            let has_health_taint = super::taints::no_execute(node, None, Time::now()).is_some();
            let Some(zone) = self.zones.get_mut(&zone_of(node)) else { continue };
            if key.is_some() && !has_health_taint {
                if zone.rate <= 0.0 {
                    continue;
                }
                if let Some(wait) = zone.free_at.checked_duration_since(now).filter(|d| !d.is_zero()) {
                    pass.next = Some(pass.next.map_or(wait, |d| d.min(wait)));
                    continue;
                }
                zone.free_at = now + Duration::from_secs_f64(1.0 / zone.rate);
            }
            pass.actions.push(Action::Taint { node: node.metadata.name.clone(), key });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn limits() -> Limits {
        Limits {
            startup_grace: Duration::from_secs(60),
            grace: Duration::from_secs(50),
            rate: 0.1,
            secondary_rate: 0.01,
            large_cluster: 50,
            unhealthy_fraction: 0.55,
        }
    }

    fn node(name: &str, ready: &str) -> Arc<Node> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "uid": name},
                "status": {"conditions": [{"type": "Ready", "status": ready}]},
            }))
            .unwrap(),
        )
    }

    fn lease(renewed: &str) -> Option<Arc<Lease>> {
        serde_json::from_value(json!({"spec": {"renewTime": renewed}})).ok().map(Arc::new)
    }

    fn run(health: &mut Health, nodes: &[Arc<Node>], renewed: &str, now: Instant) -> Vec<Action> {
        let lease = lease(renewed);
        health.pass(nodes, &|_| lease.clone(), &limits(), now, Time::now()).actions
    }

    #[test]
    fn silence_makes_a_node_unknown_and_a_lease_keeps_it() {
        let (mut health, start) = (Health::default(), Instant::now());
        let nodes = [node("a", "True"), node("b", "True")];
        assert_eq!(run(&mut health, &nodes, "1", start).len(), 2, "both register");
        let later = start + Duration::from_secs(45);
        assert!(run(&mut health, &nodes, "2", later).is_empty());
        assert!(run(&mut health, &nodes, "2", later + Duration::from_secs(50)).is_empty());
        let actions = run(&mut health, &nodes, "2", later + Duration::from_secs(51));
        let Action::Silence { conditions, was_ready, .. } = &actions[0] else { panic!("{actions:?}") };
        assert!(*was_ready && conditions.len() == 4);
        assert_eq!(conditions[0].reason, "NodeStatusUnknown");
    }

    #[test]
    fn nodes_are_given_up_one_by_one() {
        let (mut health, start) = (Health::default(), Instant::now());
        let nodes = [node("a", "False"), node("b", "False"), node("c", "True"), node("d", "True")];
        let taints = |actions: Vec<Action>| -> Vec<String> {
            let name = |a| match a {
                Action::Taint { node, key: Some(_) } => Some(node),
                _ => None,
            };
            actions.into_iter().filter_map(name).collect()
        };
        assert_eq!(taints(run(&mut health, &nodes, "1", start)), ["a"]);
        assert!(taints(run(&mut health, &nodes, "2", start + Duration::from_secs(5))).is_empty());
        assert_eq!(taints(run(&mut health, &nodes, "3", start + Duration::from_secs(11))), ["a"]);
    }

    #[test]
    fn a_dead_cluster_is_left_alone() {
        let (mut health, start) = (Health::default(), Instant::now());
        let nodes = [node("a", "Unknown"), node("b", "Unknown")];
        let actions = run(&mut health, &nodes, "1", start);
        assert!(actions.iter().all(|a| !matches!(a, Action::Taint { key: Some(_), .. })), "{actions:?}");
    }
}
