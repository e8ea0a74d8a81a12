//! `keelsonadm reset` restores the machine: snapshots of before and after are equal.

use anyhow::{Result, bail};
use e2e::{Network, Node};

/// Everything that a cluster touches on a machine, one sorted list each.
const SNAPSHOT: &str = r##"
echo "# mounts"; awk '{print $2, $3}' /proc/self/mounts | sort
echo "# links"; ip -o link | sed -E 's/^[0-9]+: ([^:@]+).*/\1/' | sort
echo "# routes"; ip route | sort
echo "# nft"; nft list ruleset
echo "# files"; find /etc /var/lib/kubelet /var/lib/etcd /var/lib/cni /var/lib/keelson /var/log /run -xdev 2>/dev/null | sort
echo "# cgroups"; find /sys/fs/cgroup -type d -path "*$GROUP*" | sort
echo "# sysctls"; sysctl -a 2>/dev/null | grep -E 'ip_forward |route_localnet|arp_ignore|nf_conntrack_(max|tcp)|kernel.panic|vm.overcommit_memory' | grep -vE 'conf\.(cni|veth|br)' | sort
"##;

pub(crate) fn leaves_nothing_behind() -> Result<()> {
    let mut network = Network::new();
    network.add_node()?;
    let node = network.node("n1")?;
    let group = network.cgroup(node)?;
    let snapshot = |node: &Node| node.sh(&format!("GROUP={group}; {SNAPSHOT}"));
    let before = snapshot(node)?;
    let kubelet = e2e::KUBELET;
    node.sh(&format!(
        "/opt/keelson/bin/keelsonadm init --schedulable --cgroup-root={group} --kubelet-extra-args='{kubelet}' >&2"
    ))?;
    node.sh(&format!("/opt/keelson/bin/keelsonadm reset --cgroup-root={group} >&2"))?;
    let after = snapshot(node)?;
    let (was, is): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let left: Vec<_> = is.iter().filter(|line| !was.contains(line)).collect();
    let lost: Vec<_> = was.iter().filter(|line| !is.contains(line)).collect();
    if !left.is_empty() || !lost.is_empty() {
        bail!("left behind: {left:#?}\nlost: {lost:#?}");
    }
    Ok(())
}
