//! Groups of classes and pods.

use super::hierarchy::{Hierarchy, Limits};
use crate::api::{Pod, PodView, is_sidecar};
use crate::container::limits::{MIN_SHARES, quota, shares};
use crate::resources::{self, List, Qos};
use std::collections::BTreeSet;
use std::io;

/// The groups below one root.
#[derive(Clone)]
pub struct PodGroups {
    hierarchy: Hierarchy,
    root: String,
    /// Whether pods have groups of their own; without, the runtime puts containers where it likes.
    enabled: bool,
    pids: Option<i64>,
    cpu_quota: bool,
    cpu_period: i64,
}

impl PodGroups {
    /// `root` is the configured cgroup root, below which `kubepods` is made.
    pub fn new(
        hierarchy: Hierarchy,
        root: &str,
        enabled: bool,
        pids: Option<i64>,
        cpu_quota: bool,
        cpu_period: i64,
    ) -> PodGroups {
        let root = format!("{}/kubepods", root.trim_end_matches('/'));
        PodGroups { hierarchy, root, enabled, pids, cpu_quota, cpu_period }
    }

    /// The class's group.
    fn class(&self, qos: Qos) -> String {
        match qos {
            Qos::Guaranteed => self.root.clone(),
            Qos::Burstable => format!("{}/burstable", self.root),
            Qos::BestEffort => format!("{}/besteffort", self.root),
        }
    }

    /// A pod's group, which is the parent the runtime is given; empty if pods have none.
    pub fn parent(&self, pod: &Pod) -> String {
        if !self.enabled {
            return String::new();
        }
        format!("{}/pod{}", self.class(resources::qos(pod)), pod.uid())
    }

    /// Makes the classes' groups and holds all pods together to what the node can give.
    pub fn prepare(&self, allocatable: &List, enforce: bool) -> io::Result<()> {
        if !self.enabled {
            return Ok(());
        }
        for qos in [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort] {
            self.hierarchy.create(&self.class(qos))?;
        }
        self.hierarchy.apply(
            &self.class(Qos::BestEffort),
            &Limits { cpu_shares: Some(MIN_SHARES), ..Limits::default() },
        )?;
        if !enforce {
            return Ok(());
        }
        let limits = Limits {
            cpu_shares: Some(shares(resources::milli(allocatable, "cpu"))),
            memory: allocatable.get("memory").map(|m| m.value()),
            ..Limits::default()
        };
        self.hierarchy.apply(&self.root, &limits)
    }

    /// Weighs the burstable class by what its pods ask for.
    pub fn weigh<'a>(&self, pods: impl Iterator<Item = &'a Pod>) -> io::Result<()> {
        if !self.enabled {
            return Ok(());
        }
        let burstable = pods.filter(|p| resources::qos(p) == Qos::Burstable);
        let asked: i64 = burstable.map(|p| resources::milli(&resources::pod_requests(p), "cpu")).sum();
        let limits = Limits { cpu_shares: Some(shares(asked)), ..Limits::default() };
        self.hierarchy.apply(&self.class(Qos::Burstable), &limits)
    }

    /// Makes a pod's group, if it isn't there, and applies its limits.
    pub fn ensure(&self, pod: &Pod) -> io::Result<()> {
        let name = self.parent(pod);
        if name.is_empty() || self.hierarchy.exists(&name) {
            return Ok(());
        }
        self.hierarchy.create(&name)?;
        let mut limits = pod_limits(pod, self.cpu_quota, self.cpu_period);
        limits.pids = self.pids.filter(|p| *p > 0);
        self.hierarchy.apply(&name, &limits)
    }

    /// Whether the pod's group is there.
    pub fn exists(&self, pod: &Pod) -> bool {
        let name = self.parent(pod);
        name.is_empty() || self.hierarchy.exists(&name)
    }

    /// Removes a pod's group wherever it is.
    pub fn remove(&self, uid: &str) -> io::Result<()> {
        if !self.enabled {
            return Ok(());
        }
        for qos in [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort] {
            self.hierarchy.remove(&format!("{}/pod{uid}", self.class(qos)))?;
        }
        Ok(())
    }

    /// The uids of all pods that have a group.
    pub fn uids(&self) -> BTreeSet<String> {
        let classes = [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort];
        let names = classes.iter().flat_map(|qos| self.hierarchy.children(&self.class(*qos)));
        names.filter_map(|name| name.strip_prefix("pod").map(str::to_string)).collect()
    }
}

/// What a pod's group is held to.
pub fn pod_limits(pod: &Pod, cpu_quota: bool, period: i64) -> Limits {
    let (requests, limits) = (resources::pod_requests(pod), resources::pod_limits(pod));
    let cpu = resources::milli(&limits, "cpu");
    let cpu_limit = Limits {
        cpu_quota: Some(if cpu_quota { quota(cpu, period) } else { -1 }),
        cpu_period: Some(period),
        ..Limits::default()
    };
    let memory = Some(resources::value(&limits, "memory"));
    let all = |name: &str| limited_by_all(pod, name);
    match resources::qos(pod) {
        Qos::Guaranteed => {
            Limits { cpu_shares: Some(shares(resources::milli(&requests, "cpu"))), memory, ..cpu_limit }
        }
        Qos::Burstable => Limits {
            cpu_shares: Some(shares(resources::milli(&requests, "cpu"))),
            memory: memory.filter(|_| all("memory")),
            ..if all("cpu") { cpu_limit } else { Limits::default() }
        },
        Qos::BestEffort => Limits { cpu_shares: Some(MIN_SHARES), ..Limits::default() },
    }
}

/// One container without a limit leaves the whole pod without.
fn limited_by_all(pod: &Pod, name: &str) -> bool {
    if resources::pod_level_limits(pod).get(name).is_some_and(|q| !q.is_zero()) {
        return true;
    }
    let init = pod.init_containers().iter().filter(|c| is_sidecar(c) || !pod.containers().is_empty());
    pod.containers().iter().chain(init).all(|c| {
        resources::value(&resources::limits(c), name) > 0 || resources::milli(&resources::limits(c), name) > 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(resources: serde_json::Value) -> Pod {
        let containers = json!([{ "name": "c", "resources": resources }]);
        serde_json::from_value(json!({ "metadata": { "uid": "u" }, "spec": { "containers": containers } }))
            .unwrap()
    }

    #[test]
    fn limits_by_class() {
        let l = pod_limits(&pod(json!({})), true, 100_000);
        assert_eq!(l, Limits { cpu_shares: Some(2), ..Limits::default() });
        let l = pod_limits(
            &pod(json!({ "limits": { "memory": "64Mi" }, "requests": { "cpu": "250m" } })),
            true,
            100_000,
        );
        assert_eq!(l, Limits { cpu_shares: Some(256), memory: Some(64 << 20), ..Limits::default() });
        let both = json!({ "cpu": "500m", "memory": "64Mi" });
        let l = pod_limits(&pod(json!({ "limits": both, "requests": both })), true, 100_000);
        assert_eq!((l.cpu_quota, l.cpu_period, l.memory), (Some(50_000), Some(100_000), Some(64 << 20)));
    }
}
