//! The kubelet's command line: every flag of upstream's.
//!
//! Most flags set a field of the configuration file, over what the file says; the table names the field,
//! so that there is one place for each meaning.

use component_base::flags::{Flag, Group, Kind::*, Parsed};
use serde_json::{Value, json};

const DEPRECATED: &str = "This parameter should be set via the config file specified by the Kubelet's --config flag. See https://kubernetes.io/docs/tasks/administer-cluster/kubelet-config-file/ for more information.";
const CADVISOR: &str = "containers are not measured by cAdvisor";

/// Flags of the kubelet's own.
pub static KUBELET: Group = Group {
    title: "Kubelet",
    flags: &[
        Flag::new("bootstrap-kubeconfig", String, "", "A kubeconfig to ask for the client certificate with."),
        Flag::new("cert-dir", String, "/var/lib/kubelet/pki", "Where certificates are kept."),
        Flag::new(
            "cloud-provider",
            String,
            "",
            "Empty, or `external`: a cloud controller manager initializes the node.",
        ),
        Flag::new("config", String, "", "The configuration file."),
        Flag::new("config-dir", String, "", "A directory of files that override it."),
        Flag::new(
            "experimental-allocatable-ignore-eviction",
            Bool,
            "false",
            "Don't subtract eviction thresholds from what pods may use.",
        ),
        Flag::new("hostname-override", String, "", "The node's name, if not the host's."),
        Flag::new("kubeconfig", String, "", "How to reach the API server."),
        Flag::new("maximum-dead-containers", Int, "-1", "Ended containers kept in all."),
        Flag::new("maximum-dead-containers-per-container", Int, "1", "Ended containers kept of each."),
        Flag::new("minimum-container-ttl-duration", Duration, "0s", "Younger ended containers stay."),
        Flag::new("node-ip", String, "", "The node's addresses."),
        Flag::new("node-labels", Map, "", "Labels of a new node."),
        Flag::new("register-with-taints", List, "", "Taints of a new node."),
        Flag::new("root-dir", String, "/var/lib/kubelet", "Where the kubelet keeps its files."),
        Flag::new("exit-on-lock-contention", Bool, "false", "Without effect.")
            .no_effect("no lock file is used"),
        Flag::new("experimental-mounter-path", String, "", "Without effect.")
            .no_effect("mounts are made by system calls"),
        Flag::new("image-credential-provider-bin-dir", String, "", "Not supported.")
            .refused("credential provider plugins are not supported"),
        Flag::new("image-credential-provider-config", String, "", "Not supported.")
            .refused("credential provider plugins are not supported"),
        Flag::new("lock-file", String, "", "Not supported.").refused("lock files are not supported"),
        Flag::new("manifest-url-header", Map, "", "Not supported.")
            .refused("manifests are read from files only"),
        Flag::new("reserved-memory", List, "", "Not supported.")
            .refused("memory is not assigned by NUMA node"),
        Flag::new("runtime-cgroups", String, "", "Without effect.")
            .no_effect("the runtime's group is not measured"),
    ],
};

/// Flags that cAdvisor once added.
pub static CADVISOR_FLAGS: Group = Group {
    title: "cAdvisor",
    flags: &[
        Flag::new("application-metrics-count-limit", Int, "100", "Without effect.").no_effect(CADVISOR),
        Flag::new("boot-id-file", String, "/proc/sys/kernel/random/boot_id", "Without effect.")
            .no_effect(CADVISOR),
        Flag::new("container-hints", String, "/etc/cadvisor/container_hints.json", "Without effect.")
            .no_effect(CADVISOR),
        Flag::new("containerd", String, "/run/containerd/containerd.sock", "Without effect.")
            .no_effect(CADVISOR),
        Flag::new("containerd-namespace", String, "k8s.io", "Without effect.").no_effect(CADVISOR),
        Flag::new("enable-load-reader", Bool, "false", "Without effect.").no_effect(CADVISOR),
        Flag::new("event-storage-age-limit", String, "default=0", "Without effect.").no_effect(CADVISOR),
        Flag::new("event-storage-event-limit", String, "default=0", "Without effect.").no_effect(CADVISOR),
        Flag::new("global-housekeeping-interval", Duration, "1m0s", "Without effect.").no_effect(CADVISOR),
        Flag::new("housekeeping-interval", Duration, "10s", "Without effect.").no_effect(CADVISOR),
        Flag::new("log-cadvisor-usage", Bool, "false", "Without effect.").no_effect(CADVISOR),
        Flag::new("machine-id-file", String, "/etc/machine-id,/var/lib/dbus/machine-id", "Without effect.")
            .no_effect(CADVISOR),
        Flag::new("max-housekeeping-interval", Duration, "15s", "Without effect.").no_effect(CADVISOR),
        Flag::new("storage-driver-buffer-duration", Duration, "1m0s", "Without effect.").no_effect(CADVISOR),
        Flag::new("storage-driver-db", String, "cadvisor", "Without effect.").no_effect(CADVISOR),
        Flag::new("storage-driver-host", String, "localhost:8086", "Without effect.").no_effect(CADVISOR),
        Flag::new("storage-driver-password", String, "root", "Without effect.").no_effect(CADVISOR),
        Flag::new("storage-driver-secure", Bool, "false", "Without effect.").no_effect(CADVISOR),
        Flag::new("storage-driver-table", String, "stats", "Without effect.").no_effect(CADVISOR),
        Flag::new("storage-driver-user", String, "root", "Without effect.").no_effect(CADVISOR),
    ],
};

const fn field(
    name: &'static str,
    kind: component_base::flags::Kind,
    default: &'static str,
    path: &'static str,
) -> Flag {
    Flag::new(name, kind, default, path).deprecated(DEPRECATED)
}

/// Flags that set a field of the configuration, whose path is their help.
pub static FIELDS: Group = Group {
    title: "Configuration",
    flags: &[
        field("address", Ip, "0.0.0.0", "address"),
        field("allowed-unsafe-sysctls", List, "", "allowedUnsafeSysctls"),
        field("anonymous-auth", Bool, "true", "authentication.anonymous.enabled"),
        field("authentication-token-webhook", Bool, "false", "authentication.webhook.enabled"),
        field("authentication-token-webhook-cache-ttl", Duration, "2m0s", "authentication.webhook.cacheTTL"),
        field("authorization-mode", String, "AlwaysAllow", "authorization.mode"),
        field(
            "authorization-webhook-cache-authorized-ttl",
            Duration,
            "5m0s",
            "authorization.webhook.cacheAuthorizedTTL",
        ),
        field(
            "authorization-webhook-cache-unauthorized-ttl",
            Duration,
            "30s",
            "authorization.webhook.cacheUnauthorizedTTL",
        ),
        field("cgroup-driver", String, "cgroupfs", "cgroupDriver"),
        field("cgroup-root", String, "", "cgroupRoot"),
        field("cgroups-per-qos", Bool, "true", "cgroupsPerQOS"),
        field("client-ca-file", String, "", "authentication.x509.clientCAFile"),
        field("cluster-dns", List, "", "clusterDNS"),
        field("cluster-domain", String, "", "clusterDomain"),
        field("container-log-max-files", Int, "5", "containerLogMaxFiles"),
        field("container-log-max-size", String, "10Mi", "containerLogMaxSize"),
        field(
            "container-runtime-endpoint",
            String,
            "unix:///run/containerd/containerd.sock",
            "containerRuntimeEndpoint",
        ),
        field("contention-profiling", Bool, "false", "enableContentionProfiling"),
        field("cpu-cfs-quota", Bool, "true", "cpuCFSQuota"),
        field("cpu-cfs-quota-period", Duration, "100ms", "cpuCFSQuotaPeriod"),
        field("cpu-manager-policy", String, "none", "cpuManagerPolicy"),
        field("cpu-manager-policy-options", Map, "", "cpuManagerPolicyOptions"),
        field("cpu-manager-reconcile-period", Duration, "10s", "cpuManagerReconcilePeriod"),
        field("enable-controller-attach-detach", Bool, "true", "enableControllerAttachDetach"),
        field("enable-debugging-handlers", Bool, "true", "enableDebuggingHandlers"),
        field("enable-server", Bool, "true", "enableServer"),
        field("enforce-node-allocatable", List, "pods", "enforceNodeAllocatable"),
        field("event-burst", Int, "100", "eventBurst"),
        field("event-qps", Int, "50", "eventRecordQPS"),
        field("eviction-hard", Map, "", "evictionHard"),
        field("eviction-max-pod-grace-period", Int, "0", "evictionMaxPodGracePeriod"),
        field("eviction-minimum-reclaim", Map, "", "evictionMinimumReclaim"),
        field("eviction-pressure-transition-period", Duration, "5m0s", "evictionPressureTransitionPeriod"),
        field("eviction-soft", Map, "", "evictionSoft"),
        field("eviction-soft-grace-period", Map, "", "evictionSoftGracePeriod"),
        field("fail-cgroupv1", Bool, "true", "failCgroupV1"),
        field("fail-swap-on", Bool, "true", "failSwapOn"),
        field("file-check-frequency", Duration, "20s", "fileCheckFrequency"),
        field("hairpin-mode", String, "promiscuous-bridge", "hairpinMode"),
        field("healthz-bind-address", Ip, "127.0.0.1", "healthzBindAddress"),
        field("healthz-port", Int, "10248", "healthzPort"),
        field("http-check-frequency", Duration, "20s", "httpCheckFrequency"),
        field("image-gc-high-threshold", Int, "85", "imageGCHighThresholdPercent"),
        field("image-gc-low-threshold", Int, "80", "imageGCLowThresholdPercent"),
        field("image-service-endpoint", String, "", "imageServiceEndpoint"),
        field("kernel-memcg-notification", Bool, "false", "kernelMemcgNotification"),
        field("kube-api-burst", Int, "100", "kubeAPIBurst"),
        field("kube-api-content-type", String, "application/vnd.kubernetes.protobuf", "contentType"),
        field("kube-api-qps", Int, "50", "kubeAPIQPS"),
        field("kube-reserved", Map, "", "kubeReserved"),
        field("kube-reserved-cgroup", String, "", "kubeReservedCgroup"),
        field("kubelet-cgroups", String, "", "kubeletCgroups"),
        field("local-storage-capacity-isolation", Bool, "true", "localStorageCapacityIsolation"),
        field("make-iptables-util-chains", Bool, "true", "makeIPTablesUtilChains"),
        field("manifest-url", String, "", "staticPodURL"),
        field("max-open-files", Int, "1000000", "maxOpenFiles"),
        field("max-pods", Int, "110", "maxPods"),
        field("memory-manager-policy", String, "None", "memoryManagerPolicy"),
        field("minimum-image-ttl-duration", Duration, "2m0s", "imageMinimumGCAge"),
        field("node-status-max-images", Int, "50", "nodeStatusMaxImages"),
        field("node-status-update-frequency", Duration, "10s", "nodeStatusUpdateFrequency"),
        field("oom-score-adj", Int, "-999", "oomScoreAdj"),
        field("pod-cidr", String, "", "podCIDR"),
        field("pod-manifest-path", String, "", "staticPodPath"),
        field("pod-max-pids", Int, "-1", "podPidsLimit"),
        field("pods-per-core", Int, "0", "podsPerCore"),
        field("port", Int, "10250", "port"),
        field("protect-kernel-defaults", Bool, "false", "protectKernelDefaults"),
        field("provider-id", String, "", "providerID"),
        field("qos-reserved", Map, "", "qosReserved"),
        field("read-only-port", Int, "10255", "readOnlyPort"),
        field("register-node", Bool, "true", "registerNode"),
        field("registry-burst", Int, "10", "registryBurst"),
        field("registry-qps", Int, "5", "registryPullQPS"),
        field("reserved-cpus", String, "", "reservedSystemCPUs"),
        field("resolv-conf", String, "/etc/resolv.conf", "resolvConf"),
        field("rotate-certificates", Bool, "false", "rotateCertificates"),
        field("rotate-server-certificates", Bool, "false", "serverTLSBootstrap"),
        field("runonce", Bool, "false", "runOnce"),
        field("runtime-request-timeout", Duration, "2m0s", "runtimeRequestTimeout"),
        field("seccomp-default", Bool, "false", "seccompDefault"),
        field("serialize-image-pulls", Bool, "true", "serializeImagePulls"),
        field("streaming-connection-idle-timeout", Duration, "4h0m0s", "streamingConnectionIdleTimeout"),
        field("sync-frequency", Duration, "1m0s", "syncFrequency"),
        field("system-cgroups", String, "", "systemCgroups"),
        field("system-reserved", Map, "", "systemReserved"),
        field("system-reserved-cgroup", String, "", "systemReservedCgroup"),
        field("tls-cert-file", String, "", "tlsCertFile"),
        field("tls-cipher-suites", List, "", "tlsCipherSuites"),
        field("tls-min-version", String, "", "tlsMinVersion"),
        field("tls-private-key-file", String, "", "tlsPrivateKeyFile"),
        field("topology-manager-policy", String, "none", "topologyManagerPolicy"),
        field("topology-manager-policy-options", Map, "", "topologyManagerPolicyOptions"),
        field("topology-manager-scope", String, "container", "topologyManagerScope"),
        field(
            "volume-plugin-dir",
            String,
            "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/",
            "volumePluginDir",
        ),
        field("volume-stats-agg-period", Duration, "1m0s", "volumeStatsAggPeriod"),
    ],
};

/// Writes the flags that were given over what the file says.
pub(super) fn apply(flags: &Parsed, config: &mut Value) {
    for flag in FIELDS.flags.iter().filter(|f| flags.is_set(f.name)) {
        let name = flag.name;
        let value = match flag.kind {
            Bool => json!(flags.bool(name)),
            Int => json!(flags.int(name)),
            Uint => json!(flags.uint(name)),
            Float => json!(flags.float(name)),
            Duration => json!(flags.duration(name)),
            String | Ip => json!(flags.str(name)),
            List | Array => json!(flags.list(name)),
            Map => json!(flags.map(name)),
        };
        set(config, flag.help, value);
    }
    if flags.is_set("feature-gates") {
        for (gate, on) in flags.map("feature-gates") {
            let on = component_base::flags::parse_bool(on).unwrap_or(false);
            set(config, &format!("featureGates.{gate}"), json!(on));
        }
    }
}

fn set(config: &mut Value, path: &str, value: Value) {
    let mut at = config;
    for part in path.split('.') {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[part];
    }
    *at = value;
}
