//! KubeProxyConfiguration v1alpha1, and what it and the command line come to.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, bail};
use component_base::flags::Parsed;
use ipnet::IpNet;
use proto::time;
use serde::Deserialize;

/// The file's API versions and kinds.
pub(super) const KINDS: &[(&str, &str)] = &[("kubeproxy.config.k8s.io/v1alpha1", "KubeProxyConfiguration")];

const ONLY_NFTABLES: &str = "only the nftables mode is built; it needs nothing but the kernel";

macro_rules! wire {
    ($($name:ident { $($(#[$meta:meta])* $field:ident: $type:ty),* $(,)? })*) => {$(
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase", default, deny_unknown_fields)]
        #[allow(dead_code)]
        pub(super) struct $name { $($(#[$meta])* pub(super) $field: $type,)* }
    )*};
}

wire! {
    File {
        api_version: String, kind: String, feature_gates: BTreeMap<String, bool>, client_connection: Connection,
        logging: serde_json::Value, hostname_override: String, bind_address: String,
        healthz_bind_address: String, metrics_bind_address: String, bind_address_hard_fail: bool,
        enable_profiling: bool, show_hidden_metrics_for_version: String, mode: String,
        iptables: serde_json::Value, ipvs: serde_json::Value, nftables: Nftables,
        winkernel: serde_json::Value, detect_local_mode: String, detect_local: DetectLocal,
        #[serde(rename = "clusterCIDR")] cluster_cidr: String, node_port_addresses: Option<Vec<String>>,
        #[serde(rename = "oomScoreAdj")] oom_score_adj: Option<i64>, conntrack: Conntrack,
        config_sync_period: Option<time::Duration>, port_range: String, windows_run_as_service: bool,
    }
    Connection {
        kubeconfig: String, accept_content_types: String, content_type: String, qps: Option<f64>,
        burst: Option<f64>,
    }
    Nftables {
        masquerade_bit: Option<u32>, masquerade_all: bool, sync_period: Option<time::Duration>,
        min_sync_period: Option<time::Duration>,
    }
    DetectLocal { bridge_interface: String, interface_name_prefix: String }
    Conntrack {
        max_per_core: Option<i64>, min: Option<i64>,
        #[serde(rename = "tcpEstablishedTimeout")] tcp_established_timeout: Option<time::Duration>,
        #[serde(rename = "tcpCloseWaitTimeout")] tcp_close_wait_timeout: Option<time::Duration>,
        #[serde(rename = "tcpBeLiberal")] tcp_be_liberal: bool,
        udp_timeout: Option<time::Duration>, udp_stream_timeout: Option<time::Duration>,
    }
}

/// How traffic from this node's pods is told.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum LocalMode {
    ClusterCidr(Vec<IpNet>),
    NodeCidr,
    Bridge(String),
    Prefix(String),
}

/// Where node ports are served.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum NodePortAddresses {
    Primary,
    All,
    Within(Vec<IpNet>),
}

/// What the file and the command line come to.
#[derive(Clone, Debug)]
pub(super) struct Configuration {
    pub(super) node_name: String,
    pub(super) node_ip: Option<IpAddr>,
    pub(super) kubeconfig: String,
    pub(super) limit: (f64, f64),
    pub(super) healthz: Option<SocketAddr>,
    pub(super) metrics: Option<SocketAddr>,
    pub(super) hard_fail: bool,
    pub(super) mark: u32,
    pub(super) masquerade_all: bool,
    pub(super) min_sync_period: std::time::Duration,
    pub(super) local_mode: LocalMode,
    pub(super) node_ports: NodePortAddresses,
    pub(super) conntrack: Conntrack,
    pub(super) oom_score_adj: i64,
}

impl Configuration {
    /// With a file, flags that it has fields for don't count, except the node's name.
    pub(super) fn merge(file: Option<File>, flags: &Parsed) -> anyhow::Result<Self> {
        let file = match file {
            Some(file) => file,
            None => from_flags(flags),
        };
        match file.mode.as_str() {
            "" | "nftables" => {}
            mode => bail!("proxy mode {mode:?} is not supported: {ONLY_NFTABLES}"),
        }
        let bind: IpAddr = match file.bind_address.as_str() {
            "" => IpAddr::from([0, 0, 0, 0]),
            text => text.parse().context("bindAddress")?,
        };
        let wildcard = if bind.is_ipv4() { "0.0.0.0" } else { "::" };
        let loopback = if bind.is_ipv4() { "127.0.0.1" } else { "::1" };
        let bit = file.nftables.masquerade_bit.unwrap_or(14);
        if bit > 31 {
            bail!("nftables.masqueradeBit: Invalid value: {bit}: must be within the range [0, 31]");
        }
        let networks = |list: &str| -> anyhow::Result<Vec<IpNet>> {
            let parts = list.split(',').map(str::trim).filter(|p| !p.is_empty());
            parts.map(|p| p.parse().with_context(|| format!("clusterCIDR: {p:?} is no CIDR"))).collect()
        };
        let named = |name: &str, field: &str| match name.is_empty() {
            true => bail!("{field}: Required value for this detectLocalMode"),
            false => Ok(name.to_owned()),
        };
        let local_mode = match file.detect_local_mode.as_str() {
            "" | "ClusterCIDR" => LocalMode::ClusterCidr(networks(&file.cluster_cidr)?),
            "NodeCIDR" => LocalMode::NodeCidr,
            "BridgeInterface" => {
                LocalMode::Bridge(named(&file.detect_local.bridge_interface, "detectLocal.bridgeInterface")?)
            }
            "InterfaceNamePrefix" => LocalMode::Prefix(named(
                &file.detect_local.interface_name_prefix,
                "detectLocal.interfaceNamePrefix",
            )?),
            other => bail!("detectLocalMode: Unsupported value: {other:?}"),
        };
        let node_ports = match file.node_port_addresses.as_deref() {
            None | Some([]) => NodePortAddresses::Primary,
            Some([one]) if one == "primary" => NodePortAddresses::Primary,
            Some(list) => {
                let networks: Result<Vec<IpNet>, _> = list.iter().map(|n| n.parse()).collect();
                let networks = networks.context("nodePortAddresses")?;
                match networks.iter().any(|n| n.prefix_len() == 0) {
                    true => NodePortAddresses::All,
                    false => NodePortAddresses::Within(networks),
                }
            }
        };
        let name = match flags.non_empty("hostname-override") {
            Some(name) => name.to_owned(),
            None if !file.hostname_override.is_empty() => file.hostname_override.clone(),
            None => component_base::daemon::hostname(),
        };
        let kubeconfig = match file.client_connection.kubeconfig.is_empty() {
            true => flags.str("kubeconfig").to_owned(),
            false => file.client_connection.kubeconfig.clone(),
        };
        Ok(Configuration {
            node_name: name.trim().to_lowercase(),
            node_ip: (!bind.is_unspecified()).then_some(bind),
            kubeconfig,
            limit: (file.client_connection.qps.unwrap_or(5.0), file.client_connection.burst.unwrap_or(10.0)),
            healthz: endpoint(&file.healthz_bind_address, wildcard, 10256)?,
            metrics: endpoint(&file.metrics_bind_address, loopback, 10249)?,
            hard_fail: file.bind_address_hard_fail,
            mark: 1 << bit,
            masquerade_all: file.nftables.masquerade_all,
            min_sync_period: file.nftables.min_sync_period.unwrap_or_default().to_std(),
            local_mode,
            node_ports,
            conntrack: file.conntrack,
            oom_score_adj: file.oom_score_adj.unwrap_or(-999),
        })
    }
}

/// An address with a port; the port may be missing, and so may all of it.
fn endpoint(text: &str, address: &str, port: u16) -> anyhow::Result<Option<SocketAddr>> {
    let text = if text.is_empty() { address } else { text };
    let endpoint = match text.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port),
        Err(_) => text.parse().with_context(|| format!("{text:?} is no address with a port"))?,
    };
    Ok((endpoint.port() != 0).then_some(endpoint))
}

fn from_flags(flags: &Parsed) -> File {
    let text = |name: &str| flags.str(name).to_owned();
    let list = flags.list("nodeport-addresses");
    File {
        bind_address: text("bind-address"),
        healthz_bind_address: text("healthz-bind-address"),
        metrics_bind_address: text("metrics-bind-address"),
        bind_address_hard_fail: flags.bool("bind-address-hard-fail"),
        mode: text("proxy-mode"),
        detect_local_mode: text("detect-local-mode"),
        cluster_cidr: text("cluster-cidr"),
        node_port_addresses: (!list.is_empty()).then(|| list.to_vec()),
        oom_score_adj: Some(flags.int("oom-score-adj")),
        client_connection: Connection {
            qps: Some(flags.float("kube-api-qps")),
            burst: Some(flags.int("kube-api-burst") as f64),
            ..Connection::default()
        },
        nftables: Nftables { masquerade_all: flags.bool("masquerade-all"), ..Nftables::default() },
        detect_local: DetectLocal {
            bridge_interface: text("pod-bridge-interface"),
            interface_name_prefix: text("pod-interface-name-prefix"),
        },
        conntrack: Conntrack {
            max_per_core: Some(flags.int("conntrack-max-per-core")),
            min: Some(flags.int("conntrack-min")),
            tcp_established_timeout: Some(flags.duration("conntrack-tcp-timeout-established")),
            tcp_close_wait_timeout: Some(flags.duration("conntrack-tcp-timeout-close-wait")),
            tcp_be_liberal: flags.bool("conntrack-tcp-be-liberal"),
            udp_timeout: Some(flags.duration("conntrack-udp-timeout")),
            udp_stream_timeout: Some(flags.duration("conntrack-udp-timeout-stream")),
        },
        ..File::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(args: &[&str]) -> anyhow::Result<Configuration> {
        let args: Vec<_> = args.iter().map(|a| a.to_string()).collect();
        let groups = [
            &super::super::flags::FLAGS,
            &component_base::flags::groups::LOGS,
            &component_base::flags::groups::GLOBAL,
        ];
        let flags = component_base::flags::parse("kube-proxy", "", &groups, &args).unwrap();
        Configuration::merge(None, &flags)
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let c = merge(&[]).unwrap();
        assert_eq!(c.healthz, "0.0.0.0:10256".parse().ok());
        assert_eq!(c.metrics, "127.0.0.1:10249".parse().ok());
        assert_eq!((c.mark, c.oom_score_adj), (1 << 14, -999));
        assert_eq!(c.node_ports, NodePortAddresses::Primary);
        assert_eq!(c.local_mode, LocalMode::ClusterCidr(vec![]));
    }

    #[test]
    fn other_modes_are_refused_with_the_reason() {
        for mode in ["iptables", "ipvs"] {
            let error = merge(&["--proxy-mode", mode]).unwrap_err().to_string();
            assert!(error.contains(mode) && error.contains("nftables"), "{error}");
        }
        assert!(merge(&["--proxy-mode=nftables", "--detect-local-mode=BridgeInterface"]).is_err());
    }
}
