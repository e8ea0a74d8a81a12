//! The machine: what it is, how much it has.

use crate::config::KubeletConfiguration;
use crate::resources::List;
use crate::sys::SharedSys;
use anyhow::{Context, bail};
use proto::quantity::{Format, Quantity};
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;

/// The machine's identity.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// `/etc/machine-id`
    pub machine_id: String,
    /// The firmware's.
    pub system_uuid: String,
    /// Another after each boot.
    pub boot_id: String,
    /// `uname -r`
    pub kernel: String,
    /// The distribution's name.
    pub os_image: String,
    /// CPUs.
    pub cpus: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub swap: i64,
}

fn line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_string()
}

/// Reads the machine's identity.
pub fn machine() -> Machine {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = |name: &str| {
        let row = meminfo.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        row.and_then(|r| r.trim().trim_end_matches(" kB").parse::<i64>().ok()).unwrap_or(0)
    };
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let pretty = release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    let machine_id = line("/etc/machine-id");
    let uuid = line("/sys/class/dmi/id/product_uuid");
    Machine {
        system_uuid: if uuid.is_empty() { machine_id.clone() } else { uuid },
        machine_id,
        boot_id: line("/proc/sys/kernel/random/boot_id"),
        kernel: line("/proc/sys/kernel/osrelease"),
        os_image: pretty.unwrap_or("Unknown").trim_matches('"').to_string(),
        cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as i64),
        memory: kib("MemTotal") * 1024,
        swap: kib("SwapTotal") * 1024,
    }
}

/// Sizes of huge pages the kernel has, in KiB, and how many pages of each.
fn hugepages() -> BTreeMap<u64, u64> {
    let mut out = BTreeMap::new();
    for entry in fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let kib =
            name.strip_prefix("hugepages-").and_then(|n| n.strip_suffix("kB")).and_then(|n| n.parse().ok());
        let count = fs::read_to_string(entry.path().join("nr_hugepages")).unwrap_or_default();
        if let Some(kib) = kib {
            out.insert(kib, count.trim().parse().unwrap_or(0));
        }
    }
    out
}

/// The sizes as the runtime names them: `2MB`.
pub fn hugepage_names() -> Vec<String> {
    let name = |kib: &u64| match *kib {
        k if k >= 1 << 20 => format!("{}GB", k >> 20),
        k if k >= 1 << 10 => format!("{}MB", k >> 10),
        k => format!("{k}KB"),
    };
    hugepages().keys().map(name).collect()
}

/// What the node has.
pub fn capacity(machine: &Machine, config: &KubeletConfiguration, root: &Path, sys: &SharedSys) -> List {
    let mut max_pods = config.max_pods;
    if config.pods_per_core > 0 {
        max_pods = max_pods.min(config.pods_per_core * machine.cpus);
    }
    let mut list = List::from([
        ("cpu".to_string(), Quantity::new(machine.cpus, Format::DecimalSi)),
        ("memory".to_string(), Quantity::new(machine.memory, Format::BinarySi)),
        ("pods".to_string(), Quantity::new(max_pods, Format::DecimalSi)),
    ]);
    for (kib, count) in hugepages() {
        let size = Quantity::new((kib << 10) as i64, Format::BinarySi);
        let total = (count * kib) << 10;
        list.insert(format!("hugepages-{size}"), Quantity::new(total as i64, Format::BinarySi));
    }
    if let Ok(space) = sys.space(root) {
        let bytes = i64::try_from(space.capacity).unwrap_or(i64::MAX);
        list.insert("ephemeral-storage".into(), Quantity::new(bytes, Format::BinarySi));
    }
    list
}

/// Thresholds at which pods are evicted at once: the configured ones over upstream's.
pub fn hard_thresholds(config: &KubeletConfiguration) -> BTreeMap<String, String> {
    let defaults = [
        ("memory.available", "100Mi"),
        ("nodefs.available", "10%"),
        ("nodefs.inodesFree", "5%"),
        ("imagefs.available", "15%"),
        ("imagefs.inodesFree", "5%"),
    ];
    let defaults =
        || defaults.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect::<BTreeMap<_, _>>();
    match &config.eviction_hard {
        None => defaults(),
        Some(own) if config.merge_default_eviction_settings => {
            let mut all = defaults();
            all.extend(own.clone());
            all
        }
        Some(own) => own.clone(),
    }
}

/// A threshold as an amount: a quantity, or a share of the whole.
pub fn threshold(text: &str, whole: i64) -> Option<i64> {
    match text.strip_suffix('%') {
        Some(percent) => {
            // Single precision, as upstream computes it: nodes must not differ by who measures.
            let share = percent.parse::<f32>().ok()? / 100.0;
            Some((whole as f64 * f64::from(share)) as i64)
        }
        None => Some(Quantity::parse(text).ok()?.value()),
    }
}

/// What pods may use in all: what the node has, less what is reserved and what evictions keep free.
pub fn allocatable(
    capacity: &List,
    config: &KubeletConfiguration,
    ignore_eviction: bool,
) -> anyhow::Result<List> {
    let mut list = capacity.clone();
    for reserved in [&config.kube_reserved, &config.system_reserved] {
        for (name, amount) in reserved {
            let amount = Quantity::parse(amount).with_context(|| format!("reserved {name}: {amount:?}"))?;
            if let Some(left) = list.get_mut(name) {
                left.sub(&amount);
                if left.sign() < 0 {
                    bail!("reserved {name} exceeds what the node has");
                }
            }
        }
    }
    if ignore_eviction {
        return Ok(list);
    }
    let thresholds = hard_thresholds(config);
    for (name, signal) in [("memory", "memory.available"), ("ephemeral-storage", "nodefs.available")] {
        let (Some(whole), Some(text)) = (capacity.get(name).map(Quantity::value), thresholds.get(signal))
        else {
            continue;
        };
        if let (Some(keep), Some(left)) = (threshold(text, whole), list.get_mut(name)) {
            let format = if name == "memory" { Format::BinarySi } else { Format::DecimalSi };
            *left = Quantity::new((left.value() - keep).max(0), format);
        }
    }
    // Memory in huge pages is memory nobody else can use.
    let huge: i64 =
        capacity.iter().filter(|(k, _)| k.starts_with("hugepages-")).map(|(_, q)| q.value()).sum();
    if let Some(memory) = list.get_mut("memory").filter(|_| huge > 0) {
        memory.sub(&Quantity::new(huge, Format::BinarySi));
    }
    Ok(list)
}

/// The address other nodes reach this one by: that of the interface with the default route.
pub fn default_address() -> Option<IpAddr> {
    // Nothing is sent: connecting a datagram socket only looks the route up.
    let route = |bind: &str, target: &str| {
        let socket = UdpSocket::bind(bind).ok()?;
        socket.connect(target).ok()?;
        Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
    };
    route("0.0.0.0:0", "192.0.2.1:9").or_else(|| route("[::]:0", "[2001:db8::1]:9"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocatable_is_what_is_left() {
        let q = |s: &str| Quantity::parse(s).unwrap();
        let capacity = List::from([
            ("cpu".to_string(), q("4")),
            ("memory".to_string(), q("8Gi")),
            ("ephemeral-storage".to_string(), q("100Gi")),
        ]);
        let mut config = KubeletConfiguration::default();
        config.kube_reserved.insert("cpu".into(), "500m".into());
        let left = allocatable(&capacity, &config, false).unwrap();
        assert_eq!(left["cpu"].to_string(), "3500m");
        assert_eq!(left["memory"].to_string(), "8092Mi");
        assert_eq!(left["ephemeral-storage"].value(), 96_636_764_000);
        config.system_reserved.insert("cpu".into(), "4".into());
        assert!(allocatable(&capacity, &config, false).is_err());
    }
}
