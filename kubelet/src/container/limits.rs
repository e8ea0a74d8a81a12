//! A container's resources as the kernel's controllers take them.

use crate::api::{Container, Pod};
use crate::resources::{self, oom_score_adj};
use proto::cri::{HugepageLimit, LinuxContainerResources};

/// The least weight the CPU controller takes.
pub const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;
const SHARES_PER_CPU: i64 = 1024;
const MIN_QUOTA: i64 = 1000;

/// What the node's administrator decided.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether CPU limits are enforced.
    pub cpu_quota: bool,
    /// Over which period, in microseconds.
    pub cpu_period: i64,
    /// The node's memory in bytes.
    pub node_memory: i64,
    /// Whether the node runs the unified hierarchy.
    pub cgroup_v2: bool,
    /// Kill only the process that ran out of memory, not all of the container.
    pub single_process_oom_kill: bool,
    /// The sizes of huge pages the kernel has, as `2MB`.
    pub hugepage_sizes: Vec<String>,
}

/// The CPU controller's weight for a request in thousandths of a CPU.
pub fn shares(milli: i64) -> i64 {
    if milli == 0 { MIN_SHARES } else { (milli * SHARES_PER_CPU / 1000).clamp(MIN_SHARES, MAX_SHARES) }
}

/// The CPU time a limit in thousandths of a CPU allows per period; zero for no limit.
pub fn quota(milli: i64, period: i64) -> i64 {
    if milli == 0 { 0 } else { (milli * period / 1000).max(MIN_QUOTA) }
}

/// The limits of one container.
pub fn container(pod: &Pod, container: &Container, settings: &Settings) -> LinuxContainerResources {
    let requests = resources::requests(container);
    let mut limits = resources::limits(container);
    for (name, whole) in resources::pod_level_limits(pod) {
        limits.entry(name).or_insert(whole);
    }
    let cpu_limit = resources::milli(&limits, "cpu");
    let cpu_request =
        if requests.contains_key("cpu") { resources::milli(&requests, "cpu") } else { cpu_limit };
    let mut out = LinuxContainerResources {
        cpu_shares: shares(cpu_request),
        memory_limit_in_bytes: resources::value(&limits, "memory"),
        oom_score_adj: oom_score_adj(pod, container, settings.node_memory),
        hugepage_limits: hugepages(&limits, &settings.hugepage_sizes),
        ..Default::default()
    };
    if settings.cpu_quota {
        out.cpu_period = settings.cpu_period;
        out.cpu_quota = quota(cpu_limit, settings.cpu_period);
    }
    if settings.cgroup_v2 && !settings.single_process_oom_kill {
        out.unified.insert("memory.oom.group".into(), "1".into());
    }
    out
}

/// Every size the kernel has gets a limit; what isn't asked for is zero.
fn hugepages(limits: &resources::List, sizes: &[String]) -> Vec<HugepageLimit> {
    let limit_of = |size: &String| {
        let (number, unit) = size.split_at(size.len().saturating_sub(2));
        let name = format!("hugepages-{number}{}", unit.replace('B', "i"));
        HugepageLimit {
            page_size: size.clone(),
            limit: resources::value(limits, &name).max(0).unsigned_abs(),
        }
    };
    sizes.iter().map(limit_of).collect()
}

/// A container's limits as its pod's status shows them, read back from what the runtime reports.
pub struct InForce {
    /// Thousandths of a CPU.
    pub cpu_request: Option<i64>,
    /// Thousandths of a CPU.
    pub cpu_limit: Option<i64>,
    /// Bytes.
    pub memory_limit: Option<i64>,
}

/// Reads limits back.
pub fn read_back(resources: &LinuxContainerResources) -> InForce {
    let positive = |n: i64| (n > 0).then_some(n);
    let limit = positive(resources.cpu_quota)
        .filter(|_| resources.cpu_period > 0)
        .map(|quota| (quota * 1000 + resources.cpu_period - 1) / resources.cpu_period);
    InForce {
        cpu_request: positive(resources.cpu_shares).map(|s| (s * 1000 + SHARES_PER_CPU - 1) / SHARES_PER_CPU),
        cpu_limit: limit,
        memory_limit: positive(resources.memory_limit_in_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_quotas() {
        assert_eq!(
            [shares(0), shares(1), shares(250), shares(1000), shares(9_000_000)],
            [2, 2, 256, 1024, 262_144]
        );
        assert_eq!([quota(0, 100_000), quota(5, 100_000), quota(500, 100_000)], [0, 1000, 50_000]);
    }

    #[test]
    fn hugepage_names() {
        let limits = [("hugepages-2Mi".to_string(), proto::quantity::Quantity::parse("4Mi").unwrap())].into();
        let got = hugepages(&limits, &["2MB".into(), "1GB".into()]);
        assert_eq!((got[0].limit, got[1].limit), (4 << 20, 0));
    }
}
