//! The command line.

use component_base::flags::{Flag, Group, Kind::*, groups};

const CLOUD: &str = "cloud providers live in the cloud controller manager";
const DRIVERS: &str = "volumes are made and emptied by CSI drivers";
const MIGRATION: &str = "there is no older leader to migrate from";
const EVENT_DRIVEN: &str = "controllers work from events and need no resync";

static GENERIC: Group = Group {
    title: "Generic",
    flags: &[
        Flag::new(
            "allocate-node-cidrs",
            Bool,
            "false",
            "Give each node a range of pod addresses; needs --cluster-cidr.",
        ),
        Flag::new("cidr-allocator-type", String, "RangeAllocator", "How pod address ranges are allocated.")
            .refused("only RangeAllocator works without a cloud"),
        Flag::new("cloud-config", String, "", "Configuration file of the cloud provider.").no_effect(CLOUD),
        Flag::new("cloud-provider", String, "", "The cloud provider: empty or external.").no_effect(CLOUD),
        Flag::new(
            "cluster-cidr",
            String,
            "",
            "The range that pod addresses come from, with --allocate-node-cidrs; two, separated by a comma, for dual stack.",
        ),
        Flag::new("cluster-name", String, "kubernetes", "The prefix of the cluster's instances.")
            .no_effect(CLOUD),
        Flag::new("configure-cloud-routes", Bool, "true", "Set up routes to pod ranges in the cloud.")
            .no_effect(CLOUD),
        Flag::new("controller-shutdown-timeout", Duration, "10s", "How long controllers may take to stop."),
        Flag::new("controller-start-interval", Duration, "0s", "Time between starting two controllers."),
        Flag::new(
            "controllers",
            List,
            "*",
            "Controllers to run: '*' for all that are on by default, a name for that one, -name for all but that one.",
        ),
        Flag::new("external-cloud-volume-plugin", String, "", "The volume plugin of an external cloud.")
            .no_effect(CLOUD),
        Flag::new(
            "kube-api-burst",
            Int,
            "30",
            "Requests that one controller may send at once, if --kube-api-qps is given.",
        ),
        Flag::new(
            "kube-api-content-type",
            String,
            "application/vnd.kubernetes.protobuf",
            "Encoding of requests.",
        )
        .no_effect(groups::CONTENT_TYPE_UNUSED),
        Flag::new(
            "kube-api-qps",
            Float,
            "20",
            "Requests per second; without this flag the server alone sets the pace.",
        ),
        Flag::new("leader-elect-resource-name", String, "kube-controller-manager", "The name of the lock."),
        Flag::new(
            "min-resync-period",
            Duration,
            "12h0m0s",
            "Time after which caches are gone through again.",
        )
        .no_effect(EVENT_DRIVEN),
        Flag::new(
            "node-monitor-period",
            Duration,
            "5s",
            "The least time between two looks at the health of all nodes.",
        ),
        Flag::new(
            "route-reconciliation-period",
            Duration,
            "10s",
            "Time between two looks at the cloud's routes.",
        )
        .no_effect(CLOUD),
        Flag::new(
            "use-service-account-credentials",
            Bool,
            "false",
            "Let each controller act under a service account of its own.",
        ),
        Flag::new("secure-port", Int, "10257", "The port for HTTPS; 0 for none."),
        Flag::new(
            "enable-leader-migration",
            Bool,
            "false",
            "Move controllers between daemons without a gap.",
        )
        .refused(MIGRATION),
        Flag::new("leader-migration-config", String, "", "Configuration of leader migration.")
            .no_effect(MIGRATION),
    ],
};

static CONTROLLERS: Group = Group {
    title: "Controllers",
    flags: &[
        Flag::new(
            "attach-detach-reconcile-sync-period",
            Duration,
            "1m0s",
            "Time between two looks at attached volumes.",
        )
        .no_effect(EVENT_DRIVEN),
        Flag::new("disable-attach-detach-reconcile-sync", Bool, "false", "Don't look at attached volumes.")
            .no_effect(EVENT_DRIVEN),
        Flag::new("disable-force-detach-on-timeout", Bool, "false", "Don't detach volumes by force."),
        Flag::new(
            "cluster-signing-cert-file",
            String,
            "",
            "Certificate of the authority that signs requests.",
        ),
        Flag::new(
            "cluster-signing-duration",
            Duration,
            "8760h0m0s",
            "The longest life of a signed certificate.",
        ),
        Flag::new("cluster-signing-key-file", String, "", "Key of the authority that signs requests."),
        Flag::new(
            "cluster-signing-kube-apiserver-client-cert-file",
            String,
            "",
            "Certificate of the authority for kubernetes.io/kube-apiserver-client.",
        ),
        Flag::new(
            "cluster-signing-kube-apiserver-client-key-file",
            String,
            "",
            "Key of the authority for kubernetes.io/kube-apiserver-client.",
        ),
        Flag::new(
            "cluster-signing-kubelet-client-cert-file",
            String,
            "",
            "Certificate of the authority for kubernetes.io/kube-apiserver-client-kubelet.",
        ),
        Flag::new(
            "cluster-signing-kubelet-client-key-file",
            String,
            "",
            "Key of the authority for kubernetes.io/kube-apiserver-client-kubelet.",
        ),
        Flag::new(
            "cluster-signing-kubelet-serving-cert-file",
            String,
            "",
            "Certificate of the authority for kubernetes.io/kubelet-serving.",
        ),
        Flag::new(
            "cluster-signing-kubelet-serving-key-file",
            String,
            "",
            "Key of the authority for kubernetes.io/kubelet-serving.",
        ),
        Flag::new(
            "cluster-signing-legacy-unknown-cert-file",
            String,
            "",
            "Certificate of the authority for kubernetes.io/legacy-unknown.",
        ),
        Flag::new(
            "cluster-signing-legacy-unknown-key-file",
            String,
            "",
            "Key of the authority for kubernetes.io/legacy-unknown.",
        ),
        Flag::new("concurrent-cron-job-syncs", Int, "5", "CronJobs worked on at once."),
        Flag::new("concurrent-daemonset-syncs", Int, "2", "DaemonSets worked on at once."),
        Flag::new("concurrent-deployment-syncs", Int, "5", "Deployments worked on at once."),
        Flag::new("concurrent-device-taint-eviction-syncs", Int, "8", "Device taints worked on at once."),
        Flag::new("concurrent-endpoint-syncs", Int, "5", "Endpoints worked on at once."),
        Flag::new("concurrent-ephemeralvolume-syncs", Int, "5", "Ephemeral volumes worked on at once."),
        Flag::new("concurrent-gc-syncs", Int, "20", "Garbage worked on at once."),
        Flag::new("concurrent-horizontal-pod-autoscaler-syncs", Int, "5", "Autoscalers worked on at once."),
        Flag::new("concurrent-job-syncs", Int, "5", "Jobs worked on at once."),
        Flag::new("concurrent-namespace-syncs", Int, "10", "Namespaces worked on at once."),
        Flag::new("concurrent-rc-syncs", Int, "5", "ReplicationControllers worked on at once."),
        Flag::new("concurrent-replicaset-syncs", Int, "5", "ReplicaSets worked on at once."),
        Flag::new("concurrent-resource-quota-syncs", Int, "5", "Quotas worked on at once."),
        Flag::new("concurrent-resourceclaim-syncs", Int, "50", "ResourceClaims worked on at once."),
        Flag::new(
            "concurrent-service-endpoint-syncs",
            Int,
            "5",
            "Services worked on at once for EndpointSlices.",
        ),
        Flag::new("concurrent-service-syncs", Int, "1", "Services worked on at once in the cloud.")
            .no_effect(CLOUD),
        Flag::new(
            "concurrent-serviceaccount-token-syncs",
            Int,
            "5",
            "Service account tokens worked on at once.",
        ),
        Flag::new("concurrent-statefulset-syncs", Int, "5", "StatefulSets worked on at once."),
        Flag::new("concurrent-ttl-after-finished-syncs", Int, "5", "Finished jobs worked on at once."),
        Flag::new(
            "concurrent-validating-admission-policy-status-syncs",
            Int,
            "5",
            "Admission policies worked on at once.",
        ),
        Flag::new(
            "enable-dynamic-provisioning",
            Bool,
            "true",
            "Make volumes for claims where the environment can.",
        ),
        Flag::new(
            "enable-garbage-collector",
            Bool,
            "true",
            "Collect objects whose owners are gone; must agree with the server's flag of this name.",
        ),
        Flag::new(
            "enable-hostpath-provisioner",
            Bool,
            "false",
            "Make HostPath volumes for claims, for tests.",
        )
        .no_effect(DRIVERS),
        Flag::new(
            "endpoint-updates-batch-period",
            Duration,
            "0s",
            "How long changes of Endpoints are gathered.",
        ),
        Flag::new(
            "endpointslice-updates-batch-period",
            Duration,
            "0s",
            "How long changes of EndpointSlices are gathered.",
        ),
        Flag::new(
            "flex-volume-plugin-dir",
            String,
            "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/",
            "Where flex volume plugins are.",
        )
        .no_effect(DRIVERS),
        Flag::new(
            "horizontal-pod-autoscaler-cpu-initialization-period",
            Duration,
            "5m0s",
            "Time after a pod's start in which CPU samples may be skipped.",
        ),
        Flag::new(
            "horizontal-pod-autoscaler-downscale-stabilization",
            Duration,
            "5m0s",
            "How far back recommendations hold against scaling down.",
        ),
        Flag::new(
            "horizontal-pod-autoscaler-initial-readiness-delay",
            Duration,
            "30s",
            "Time after a pod's start in which readiness changes are initial.",
        ),
        Flag::new(
            "horizontal-pod-autoscaler-sync-period",
            Duration,
            "15s",
            "Time between two looks at metrics.",
        ),
        Flag::new(
            "horizontal-pod-autoscaler-tolerance",
            Float,
            "0.1",
            "Least change of the usage ratio that scales.",
        ),
        Flag::new(
            "large-cluster-size-threshold",
            Int,
            "50",
            "Nodes in a zone above which --secondary-node-eviction-rate holds.",
        ),
        Flag::new(
            "legacy-service-account-token-clean-up-period",
            Duration,
            "8760h0m0s",
            "How long an unused token secret is kept.",
        ),
        Flag::new("max-endpoints-per-slice", Int, "100", "The most endpoints in one EndpointSlice."),
        Flag::new("mirroring-concurrent-service-endpoint-syncs", Int, "5", "Endpoints mirrored at once."),
        Flag::new(
            "mirroring-endpointslice-updates-batch-period",
            Duration,
            "0s",
            "How long changes of mirrored Endpoints are gathered.",
        ),
        Flag::new(
            "mirroring-max-endpoints-per-subset",
            Int,
            "1000",
            "The most addresses mirrored of one subset.",
        ),
        Flag::new(
            "namespace-sync-period",
            Duration,
            "5m0s",
            "Time after which namespaces are gone through again.",
        )
        .no_effect(EVENT_DRIVEN),
        Flag::new(
            "node-cidr-mask-size",
            Int,
            "0",
            "Prefix length of a node's range; 24 for IPv4 and 64 for IPv6 by default.",
        ),
        Flag::new(
            "node-cidr-mask-size-ipv4",
            Int,
            "0",
            "Prefix length of a node's IPv4 range in a dual-stack cluster; 24 by default.",
        ),
        Flag::new(
            "node-cidr-mask-size-ipv6",
            Int,
            "0",
            "Prefix length of a node's IPv6 range in a dual-stack cluster; 64 by default.",
        ),
        Flag::new("node-eviction-rate", Float, "0.1", "Nodes given up per second in a healthy zone."),
        Flag::new("node-monitor-grace-period", Duration, "50s", "Silence after which a node counts as dead."),
        Flag::new(
            "node-startup-grace-period",
            Duration,
            "1m0s",
            "Silence after which a new node counts as dead.",
        ),
        Flag::new("pv-recycler-increment-timeout-nfs", Int, "30", "Seconds per GiB for an NFS scrubber.")
            .no_effect(DRIVERS),
        Flag::new(
            "pv-recycler-minimum-timeout-hostpath",
            Int,
            "60",
            "Least seconds for a HostPath scrubber.",
        )
        .no_effect(DRIVERS),
        Flag::new("pv-recycler-minimum-timeout-nfs", Int, "300", "Least seconds for an NFS scrubber.")
            .no_effect(DRIVERS),
        Flag::new("pv-recycler-pod-template-filepath-hostpath", String, "", "Pod of a HostPath scrubber.")
            .no_effect(DRIVERS),
        Flag::new("pv-recycler-pod-template-filepath-nfs", String, "", "Pod of an NFS scrubber.")
            .no_effect(DRIVERS),
        Flag::new(
            "pv-recycler-timeout-increment-hostpath",
            Int,
            "30",
            "Seconds per GiB for a HostPath scrubber.",
        )
        .no_effect(DRIVERS),
        Flag::new(
            "pvclaimbinder-sync-period",
            Duration,
            "15s",
            "Time after which volumes and claims are gone through again.",
        )
        .no_effect(DRIVERS),
        Flag::new(
            "resource-quota-sync-period",
            Duration,
            "5m0s",
            "Time after which quotas are computed again.",
        ),
        Flag::new(
            "root-ca-file",
            String,
            "",
            "Authorities that pods shall trust; published in every namespace.",
        ),
        Flag::new(
            "secondary-node-eviction-rate",
            Float,
            "0.01",
            "Nodes given up per second in a large unhealthy zone.",
        ),
        Flag::new("service-account-private-key-file", String, "", "Key that signs the tokens in secrets."),
        Flag::new(
            "service-cluster-ip-range",
            String,
            "",
            "The range of service addresses, kept free by --allocate-node-cidrs.",
        ),
        Flag::new("terminated-pod-gc-threshold", Int, "12500", "Ended pods that are kept; 0 keeps all."),
        Flag::new(
            "unhealthy-zone-threshold",
            Float,
            "0.55",
            "Share of nodes not ready (at least 3) that makes a zone unhealthy.",
        ),
    ],
};

static MISC: Group = Group {
    title: "Misc",
    flags: &[
        Flag::new("kubeconfig", String, "", "The kubeconfig file."),
        Flag::new("master", String, "", "The server's address, in place of the kubeconfig's."),
    ],
};

/// Every group, in the order of `--help`.
pub(crate) static GROUPS: &[&Group] = &[
    &groups::DEBUGGING,
    &groups::LEADER_ELECTION,
    &GENERIC,
    &groups::FEATURES,
    &groups::SECURE_SERVING,
    &groups::AUTHENTICATION,
    &groups::AUTHORIZATION,
    &CONTROLLERS,
    &groups::METRICS,
    &groups::LOGS,
    &MISC,
    &groups::GLOBAL,
];
