//! Ends pods before the node runs out of memory, disk or process ids.

use crate::api::{Pod, PodView};
use crate::kubelet::Kubelet;
use crate::node::keeper::disk_pressed;
use crate::node::machine::{hard_thresholds, threshold};
use crate::node::status::Pressure;
use crate::pod::worker::Eviction;
use crate::resources::{self, Qos};
use component_base::events::EventType::Warning;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

const EVERY: Duration = Duration::from_secs(10);

/// Memory that is free or can be freed at once, in bytes.
fn memory_available() -> Option<i64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let row = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    row.trim().trim_end_matches(" kB").parse::<i64>().ok().map(|kib| kib * 1024)
}

fn pids_free() -> Option<(i64, i64)> {
    let max: i64 = fs::read_to_string("/proc/sys/kernel/pid_max").ok()?.trim().parse().ok()?;
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    let used: i64 = load.split_whitespace().nth(3)?.split('/').nth(1)?.parse().ok()?;
    Some((max - used, max))
}

fn measure(kubelet: &Kubelet, thresholds: &BTreeMap<String, String>, memory: i64) -> Pressure {
    let below = |signal: &str, free: Option<i64>, whole: i64| {
        let limit = thresholds.get(signal).and_then(|t| threshold(t, whole));
        matches!((free, limit), (Some(free), Some(limit)) if free < limit)
    };
    let pids = pids_free();
    let nodefs =
        disk_pressed(kubelet, &kubelet.settings.root, thresholds, ("nodefs.available", "nodefs.inodesFree"));
    let imagefs = disk_pressed(
        kubelet,
        &kubelet.settings.log_root,
        thresholds,
        ("imagefs.available", "imagefs.inodesFree"),
    );
    Pressure {
        memory: below("memory.available", memory_available(), memory),
        disk: nodefs || imagefs,
        pids: below("pid.available", pids.map(|p| p.0), pids.map_or(0, |p| p.1)),
    }
}

/// Orders pods by who goes first: those without requests, then by priority, then the greedy.
pub fn rank(mut pods: Vec<Arc<Pod>>) -> Vec<Arc<Pod>> {
    let class = |p: &Pod| match resources::qos(p) {
        Qos::BestEffort => 0,
        Qos::Burstable => 1,
        Qos::Guaranteed => 2,
    };
    pods.retain(|p| !p.is_critical());
    pods.sort_by_key(|p| {
        let memory = resources::value(&resources::pod_requests(p), "memory");
        (class(p), p.spec().priority.unwrap_or(0), std::cmp::Reverse(memory))
    });
    pods
}

/// Watches for pressure until the process ends. What changes is told to the node's status.
pub async fn run(
    kubelet: Arc<Kubelet>,
    pressure: Arc<Mutex<Pressure>>,
    changed: Arc<Notify>,
) -> anyhow::Result<()> {
    let thresholds = hard_thresholds(&kubelet.settings.config);
    let transition = kubelet.settings.config.eviction_pressure_transition_period.to_std();
    let memory = kubelet.settings.limits.node_memory;
    let mut last_seen: [Option<Instant>; 3] = [None; 3];
    loop {
        let seen = measure(&kubelet, &thresholds, memory);
        let mut held = [seen.memory, seen.disk, seen.pids];
        for (on, last) in held.iter_mut().zip(&mut last_seen) {
            if *on {
                *last = Some(Instant::now());
            }
            // Pressure that comes and goes is reported as lasting.
            *on = last.is_some_and(|at| at.elapsed() < transition);
        }
        let now = Pressure { memory: held[0], disk: held[1], pids: held[2] };
        if *pressure.lock() != now {
            *pressure.lock() = now;
            changed.notify_one();
        }
        if seen.memory || seen.disk || seen.pids {
            relieve(&kubelet, seen).await;
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn relieve(kubelet: &Arc<Kubelet>, seen: Pressure) {
    let resource = match (seen.memory, seen.disk) {
        (true, _) => "memory",
        (_, true) => "ephemeral-storage",
        _ => "pids",
    };
    kubelet.events.node(Warning, "EvictionThresholdMet", format!("Attempting to reclaim {resource}"));
    if seen.disk {
        // Dead containers and unused images go before anyone's pod does.
        if let Ok(listed) = crate::runtime::observe::list_pods(&kubelet.cri).await {
            kubelet.collect_containers(&listed).await;
        }
        let mut ages = crate::images::gc::Ages::default();
        let all = crate::images::gc::Policy { high: 0, low: 0, min_age: 0, max_age: 0 };
        if let Err(e) = kubelet.collect_images(&mut ages, all).await {
            tracing::warn!(error = %e, "Can't remove images");
        }
        if measure(kubelet, &hard_thresholds(&kubelet.settings.config), kubelet.settings.limits.node_memory)
            .disk
        {
            evict_first(kubelet, resource);
        }
        return;
    }
    evict_first(kubelet, resource);
}

fn evict_first(kubelet: &Arc<Kubelet>, resource: &str) {
    let Some(pod) = rank(kubelet.workers.active()).into_iter().next() else {
        tracing::warn!(resource, "No pod can be evicted");
        return;
    };
    let message = format!("The node was low on resource: {resource}. ");
    kubelet.events.pod(&pod, Warning, "Evicted", message.clone());
    kubelet.workers.evict(&pod, Eviction { reason: "Evicted".into(), message, grace: Some(1) });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_least_protected_go_first() {
        let pod = |name: &str, priority: i32, memory: &str| {
            let requests = if memory.is_empty() { json!({}) } else { json!({ "memory": memory }) };
            let spec = json!({ "priority": priority, "containers": [{ "name": "c", "resources": { "requests": requests } }] });
            Arc::new(serde_json::from_value(json!({ "metadata": { "name": name }, "spec": spec })).unwrap())
        };
        let pods = vec![
            pod("burstable", 0, "1Gi"),
            pod("important", 10, ""),
            pod("critical", 2_000_000_000, ""),
            pod("besteffort", 0, ""),
            pod("bigger", 0, "2Gi"),
        ];
        let names: Vec<_> = rank(pods).iter().map(|p| p.name().to_string()).collect();
        assert_eq!(names, ["besteffort", "important", "bigger", "burstable"]);
    }
}
