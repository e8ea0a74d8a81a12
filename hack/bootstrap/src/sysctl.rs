//! The sysctls that a node needs, and the values they had before, so that `reset` can put them back.

use crate::config::{Config, STATE, write};
use anyhow::Result;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What this tool sets. The daemons' own (kube-proxy's, the kubelet's) are recorded below, for `reset`.
const SET: &[(&str, &str)] = &[("net/ipv4/ip_forward", "1")];

/// What the daemons may change on a node.
const RECORDED: &[&str] = &[
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv6/conf/default/forwarding",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/conf/all/arp_ignore",
    "net/ipv4/conf/all/arp_announce",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv4/vs/conntrack",
    "net/bridge/bridge-nf-call-iptables",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_tcp_be_liberal",
    "net/netfilter/nf_conntrack_tcp_timeout_established",
    "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

fn record() -> PathBuf {
    PathBuf::from(STATE).join("sysctls.json")
}

fn read(name: &str) -> Option<String> {
    Some(std::fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().to_string())
}

/// Records the present values (once: a second run would record our own) and sets what is needed.
pub(crate) async fn apply(_: &Config) -> Result<()> {
    if !record().exists() {
        let before: BTreeMap<&str, String> =
            RECORDED.iter().filter_map(|name| Some((*name, read(name)?))).collect();
        write(&record(), serde_json::to_vec_pretty(&before)?, 0o600)?;
    }
    for (name, value) in SET {
        if read(name).as_deref() != Some(value) {
            std::fs::write(format!("/proc/sys/{name}"), value)
                .map_err(|error| anyhow::anyhow!("setting {} to {value}: {error}", name.replace('/', ".")))?;
            println!("    {} = {value}", name.replace('/', "."));
        }
    }
    Ok(())
}

/// Puts back every value that differs from the record.
pub(crate) fn restore() {
    let Some(before) = std::fs::read(record())
        .ok()
        .and_then(|bytes| serde_json::from_slice::<BTreeMap<String, String>>(&bytes).ok())
    else {
        return;
    };
    for (name, value) in before {
        if read(&name).is_some_and(|now| now != value)
            && let Err(error) = std::fs::write(format!("/proc/sys/{name}"), &value)
        {
            println!("    warning: {} can't be set back to {value}: {error}", name.replace('/', "."));
        }
    }
}
