//! The command line beyond the shared groups, and what it and the file come to.

use component_base::daemon::Context;
use component_base::flags::Kind::*;
use component_base::flags::groups::CONTENT_TYPE_UNUSED;
use component_base::flags::{Flag, Group, Parsed};
use component_base::health::Health;
use component_base::leader::Options;
use component_base::serving::{self, Router};
use serde_json::{Value, json};

use super::leader_options;
use crate::config::Configuration;

pub(super) static MISC: Group = Group {
    title: "Misc",
    flags: &[
        Flag::new("config", String, "", "The path to the configuration file."),
        Flag::new(
            "master",
            String,
            "",
            "The address of the Kubernetes API server (overrides the kubeconfig's).",
        ),
        Flag::new(
            "unsupported-kube-api-over-localhost",
            Bool,
            "false",
            "Prefer the API server on this host.",
        )
        .refused("only the server of the kubeconfig is spoken to"),
        Flag::new("write-config-to", String, "", "Write the configuration to this file and exit."),
    ],
};

pub(super) static SERVING: Group = Group {
    title: "Secure serving",
    flags: &[Flag::new(
        "secure-port",
        Int,
        "10259",
        "The port of HTTPS with authentication; 0 turns it off.",
    )],
};

pub(super) static LEASE: Group = Group {
    title: "Leader election",
    flags: &[Flag::new("leader-elect-resource-name", String, "kube-scheduler", "The name of the lock.")],
};

pub(super) static DEPRECATED: Group = Group {
    title: "Deprecated",
    flags: &[
        Flag::new("contention-profiling", Bool, "true", "Enable block profiling.")
            .no_effect("there is no Go runtime to profile"),
        Flag::new("kube-api-burst", Int, "100", "Burst to use while talking with the API server."),
        Flag::new(
            "kube-api-content-type",
            String,
            "application/vnd.kubernetes.protobuf",
            "Content type of requests sent to the API server.",
        )
        .no_effect(CONTENT_TYPE_UNUSED),
        Flag::new("kube-api-qps", Float, "50", "QPS to use while talking with the API server."),
        Flag::new("kubeconfig", String, "", "Path to a kubeconfig with authorization and server location."),
        Flag::new(
            "pod-max-in-unschedulable-pods-duration",
            Duration,
            "5m0s",
            "The longest time a pod waits for an event before it is tried again.",
        )
        .no_effect("the time is fixed at its default, five minutes"),
        Flag::new("profiling", Bool, "true", "Enable profiling via web interface host:port/debug/pprof/.")
            .no_effect("there is no Go runtime to profile"),
    ],
};

/// What the file and the command line come to.
pub(super) struct Settings {
    pub(super) configuration: Configuration,
    pub(super) kubeconfig: std::string::String,
    pub(super) qps: f64,
    pub(super) burst: f64,
    pub(super) leader: Options,
}

impl Settings {
    /// Upstream's rule: a file replaces the deprecated flags altogether.
    ///
    /// Without a limit given, none is applied: the API server's own flow control protects it better than a
    /// fixed rate, which upstream's default would hold to 50 requests per second.
    pub(super) fn merge(configuration: Configuration, flags: &Parsed) -> anyhow::Result<Self> {
        let connection = &configuration.client_connection;
        let with_file = flags.non_empty("config").is_some();
        let from_flag = |name: &str| {
            (!with_file && flags.is_set(name)).then(|| match name {
                "kube-api-qps" => flags.float(name),
                _ => flags.int(name) as f64,
            })
        };
        let qps = from_flag("kube-api-qps").or(connection.qps).unwrap_or(0.0);
        let burst = from_flag("kube-api-burst").or(connection.burst).unwrap_or(100.0);
        let kubeconfig = match with_file && !connection.kubeconfig.is_empty() {
            true => connection.kubeconfig.clone(),
            false => flags.str("kubeconfig").to_owned(),
        };
        let leader = leader_options(&configuration.leader_election, flags)?;
        Ok(Settings { configuration, kubeconfig, qps, burst, leader })
    }

    /// The configuration as a file would say it.
    pub(super) fn describe(&self) -> Value {
        let c = &self.configuration;
        let seconds = |d: std::time::Duration| format!("{}s", d.as_secs());
        json!({
            "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
            "clientConnection": {"kubeconfig": self.kubeconfig, "qps": self.qps, "burst": self.burst},
            "leaderElection": {
                "leaderElect": self.leader.elect, "leaseDuration": seconds(self.leader.lease_duration),
                "renewDeadline": seconds(self.leader.renew_deadline),
                "retryPeriod": seconds(self.leader.retry_period), "resourceLock": "leases",
                "resourceName": self.leader.name, "resourceNamespace": self.leader.namespace,
            },
            "percentageOfNodesToScore": c.percentage_of_nodes_to_score.unwrap_or(0),
            "podInitialBackoffSeconds": c.pod_initial_backoff_seconds.unwrap_or(1),
            "podMaxBackoffSeconds": c.pod_max_backoff_seconds.unwrap_or(10),
        })
    }
}

/// Opens the secure port.
pub(super) async fn serve(context: &Context, checks: &Health, settings: &Settings) -> anyhow::Result<()> {
    let router = Router::standard(checks)
        .resettable_metrics()
        .configz("kubescheduler.config.k8s.io", &settings.describe());
    serving::start(&context.tasks, &context.flags, router).await
}
