//! Connection tracking's settings. What the kernel refuses is logged, and the proxy goes on without.

use super::config::Conntrack;

const BASE: &str = "/proc/sys/net/netfilter/";

fn read(name: &str) -> Option<i64> {
    std::fs::read_to_string(format!("{BASE}{name}")).ok()?.trim().parse().ok()
}

fn set(name: &str, value: i64) {
    if read(name) == Some(value) {
        return;
    }
    match std::fs::write(format!("{BASE}{name}"), value.to_string()) {
        Ok(()) => tracing::info!(entry = name, value, "Set sysctl"),
        Err(error) => tracing::warn!(entry = name, value, err = %error, "Can't set sysctl; going on"),
    }
}

/// Sets what the configuration asks for.
pub(super) fn apply(conntrack: &Conntrack) {
    let per_core = conntrack.max_per_core.unwrap_or(32 * 1024);
    if per_core > 0 {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as i64);
        let wanted = (per_core * cores).max(conntrack.min.unwrap_or(128 * 1024));
        // Lowering it would throw away connections.
        if read("nf_conntrack_max").is_none_or(|now| now < wanted) {
            set("nf_conntrack_max", wanted);
        }
    }
    let day = proto::time::Duration::from_secs(24 * 3600);
    let hour = proto::time::Duration::from_secs(3600);
    for (name, duration) in [
        ("nf_conntrack_tcp_timeout_established", conntrack.tcp_established_timeout.unwrap_or(day)),
        ("nf_conntrack_tcp_timeout_close_wait", conntrack.tcp_close_wait_timeout.unwrap_or(hour)),
        ("nf_conntrack_udp_timeout", conntrack.udp_timeout.unwrap_or_default()),
        ("nf_conntrack_udp_timeout_stream", conntrack.udp_stream_timeout.unwrap_or_default()),
    ] {
        let seconds = duration.to_std().as_secs();
        if seconds > 0 {
            set(name, seconds as i64);
        }
    }
    if conntrack.tcp_be_liberal {
        set("nf_conntrack_tcp_be_liberal", 1);
    }
}

/// Sets how readily this process is killed when memory runs out.
pub(super) fn set_oom_score(score: i64) {
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", score.to_string()) {
        tracing::warn!(score, err = %error, "Can't set oom_score_adj; going on");
    }
}
