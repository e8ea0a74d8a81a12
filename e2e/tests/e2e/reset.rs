//! The README's two commands on a machine of their own: `make up` gives a cluster, also when it is run again, and `make down`
//! restores the machine: snapshots of before and after are equal.

use anyhow::{Context, Result, bail};
use e2e::{Network, Node, contains, prefix, root};

/// Everything that a cluster touches on a machine, one sorted list each; not the network namespaces of test clusters beside it.
const SNAPSHOT: &str = r##"
own() { [ "$(readlink /proc/$1/ns/net)" = "$(readlink /proc/self/ns/net)" ] || [ "$(readlink /proc/$1/ns/mnt)" = "$(readlink /proc/self/ns/mnt)" ]; }
echo "# processes"; for p in $(ls /proc | grep -E '^[0-9]+$'); do if own $p; then cat /proc/$p/comm; fi; done 2>/dev/null | grep -vxE 'bash|ls|grep|cat|sort|readlink' | sort
echo "# mounts"; awk '{print $2, $3}' /proc/self/mounts | grep -v '^/run/netns/keelson-' | sort
echo "# links"; ip -o link | sed -E 's/^[0-9]+: ([^:@]+).*/\1/' | sort
echo "# addresses"; ip -o address | awk '{print $2, $4}' | sort
echo "# routes"; ip route | sort
echo "# rules"; ip rule | sort
echo "# nft"; nft list ruleset
echo "# conntrack"; conntrack -L 2>/dev/null | grep -E '10\.(96|244)\.' || true
echo "# files"; { find /etc /opt/cni /opt/keelson /var /run /root/.kube -xdev 2>/dev/null || true; } | grep -vE '^/var/(tmp|cache|lib/(apt|dpkg))/' | sort
echo "# cgroups"; find /sys/fs/cgroup -type d -path "*$GROUP*" | sort
echo "# sysctls"; sysctl -a 2>/dev/null | grep -E '^(net|vm|kernel)\.' | grep -vE '^(kernel\.(random|ns_last_pid|pty\.nr|perf)|net\.netfilter\.nf_conntrack_(count|buckets)|vm\.stat)' | sort
"##;

pub(crate) fn make_up_and_make_down() -> Result<()> {
    let mut network = Network::new();
    network.add_bare_node()?;
    let node = network.node("n1")?;
    let group = network.cgroup(node)?;
    let make = |target: &str| {
        node.sh(&format!(
            "make -s -C '{}' {target} TOOLS='{}' INIT=\"--schedulable --cgroup-root={group} --kubelet-extra-args='{}'\" 2>&1",
            root().display(),
            prefix().display(),
            e2e::KUBELET,
        ))
    };
    let snapshot = |node: &Node| node.sh(&format!("GROUP={group}; {SNAPSHOT}"));
    let before = snapshot(node)?;
    contains(&make("up")?, "Your cluster runs.")?;
    let kubectl = |arguments: &str| {
        // As the README says it.
        node.sh(&format!(
            "export PATH=/opt/keelson/bin:$PATH KUBECONFIG=/etc/kubernetes/admin.conf; kubectl {arguments}"
        ))
    };
    contains(&kubectl("get nodes")?, "Ready")?;
    contains(&kubectl("get pods -A")?, "kube-apiserver-n1")?;
    kubectl("create configmap kept")?;
    contains(&make("up")?, "Your cluster runs.").context("make up again")?;
    contains(&kubectl("get configmap kept")?, "kept")?;
    kubectl("rollout status -n kube-system deployment/cluster-dns --timeout=60s")?;
    make("down")?;
    let after = snapshot(node)?;
    let (was, is): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let left: Vec<_> = is.iter().filter(|line| !was.contains(line)).collect();
    let lost: Vec<_> = was.iter().filter(|line| !is.contains(line)).collect();
    if !left.is_empty() || !lost.is_empty() {
        bail!("left behind: {left:#?}\nlost: {lost:#?}");
    }
    Ok(())
}
