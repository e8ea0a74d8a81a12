//! The command line.

use component_base::flags::Kind::*;
use component_base::flags::groups::CONTENT_TYPE_UNUSED;
use component_base::flags::{Flag, Group};

const NO_IPTABLES: &str = "it is about the iptables mode";
const NO_IPVS: &str = "it is about the ipvs mode";

pub(super) static FLAGS: Group = Group {
    title: "kube-proxy",
    flags: &[
        Flag::new("bind-address", Ip, "0.0.0.0", "Overrides kube-proxy's idea of its node's primary IP."),
        Flag::new("bind-address-hard-fail", Bool, "false", "Failure to bind to a port is fatal."),
        Flag::new("boot-id-file", String, "/proc/sys/kernel/random/boot_id", "Files to check for boot-id.")
            .no_effect("it is not reported anywhere"),
        Flag::new("cleanup", Bool, "false", "Clean up nftables rules and exit."),
        Flag::new("cluster-cidr", String, "", "The range of the pods in the cluster, or one per family."),
        Flag::new("config", String, "", "The path to the configuration file."),
        Flag::new("config-sync-period", Duration, "15m0s", "How often configuration is refreshed.")
            .no_effect("watches need no refreshing"),
        Flag::new("conntrack-max-per-core", Int, "32768", "Connections to track per CPU (0: leave as is)."),
        Flag::new("conntrack-min", Int, "131072", "Connections to track at least."),
        Flag::new("conntrack-tcp-be-liberal", Bool, "false", "Set nf_conntrack_tcp_be_liberal to 1."),
        Flag::new("conntrack-tcp-timeout-close-wait", Duration, "1h0m0s", "Timeout of CLOSE_WAIT."),
        Flag::new("conntrack-tcp-timeout-established", Duration, "24h0m0s", "Idle timeout of TCP."),
        Flag::new("conntrack-udp-timeout", Duration, "0s", "Idle timeout of unreplied UDP."),
        Flag::new("conntrack-udp-timeout-stream", Duration, "0s", "Idle timeout of assured UDP."),
        Flag::new(
            "detect-local-mode",
            String,
            "",
            "ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix.",
        ),
        Flag::new("feature-gates", Map, "", "Feature gates.").no_effect("no gated feature is built"),
        Flag::new("healthz-bind-address", String, "0.0.0.0:10256", "Where the health check server listens."),
        Flag::new("hostname-override", String, "", "The name of this node."),
        Flag::new("init-only", Bool, "false", "Set what needs full root privileges, and exit."),
        Flag::new("iptables-localhost-nodeports", Bool, "true", "").no_effect(NO_IPTABLES),
        Flag::new("iptables-masquerade-bit", Int, "14", "").no_effect(NO_IPTABLES),
        Flag::new("iptables-min-sync-period", Duration, "1s", "").no_effect(NO_IPTABLES),
        Flag::new("iptables-sync-period", Duration, "30s", "").no_effect(NO_IPTABLES),
        Flag::new("ipvs-exclude-cidrs", List, "", "").no_effect(NO_IPVS),
        Flag::new("ipvs-min-sync-period", Duration, "1s", "").no_effect(NO_IPVS),
        Flag::new("ipvs-scheduler", String, "", "").no_effect(NO_IPVS),
        Flag::new("ipvs-strict-arp", Bool, "false", "").no_effect(NO_IPVS),
        Flag::new("ipvs-sync-period", Duration, "30s", "").no_effect(NO_IPVS),
        Flag::new("ipvs-tcp-timeout", Duration, "0s", "").no_effect(NO_IPVS),
        Flag::new("ipvs-tcpfin-timeout", Duration, "0s", "").no_effect(NO_IPVS),
        Flag::new("ipvs-udp-timeout", Duration, "0s", "").no_effect(NO_IPVS),
        Flag::new("kube-api-burst", Int, "10", "Burst to use while talking with the API server."),
        Flag::new("kube-api-content-type", String, "application/vnd.kubernetes.protobuf", "")
            .no_effect(CONTENT_TYPE_UNUSED),
        Flag::new("kube-api-qps", Float, "5", "QPS to use while talking with the API server."),
        Flag::new("kubeconfig", String, "", "Path to a kubeconfig."),
        Flag::new("machine-id-file", String, "/etc/machine-id,/var/lib/dbus/machine-id", "")
            .no_effect("it is not reported anywhere"),
        Flag::new("masquerade-all", Bool, "false", "SNAT all traffic sent via Service cluster IPs."),
        Flag::new("master", String, "", "The address of the API server (overrides the kubeconfig's)."),
        Flag::new("metrics-bind-address", String, "127.0.0.1:10249", "Where the metrics server listens."),
        Flag::new("nodeport-addresses", List, "", "Networks of node port addresses, or 'primary'."),
        Flag::new("oom-score-adj", Int, "-999", "The oom-score-adj of this process."),
        Flag::new("pod-bridge-interface", String, "", "The bridge of local pods, for BridgeInterface."),
        Flag::new("pod-interface-name-prefix", String, "", "The prefix for InterfaceNamePrefix."),
        Flag::new("profiling", Bool, "false", "").no_effect("there is no Go runtime to profile"),
        Flag::new("proxy-mode", String, "", "Only 'nftables'."),
        Flag::new("show-hidden-metrics-for-version", String, "", "").no_effect("no metric is hidden"),
        Flag::new("write-config-to", String, "", "Write the default configuration to this file and exit.")
            .refused("the defaults are those of the documentation"),
    ],
};
