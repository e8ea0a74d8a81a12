//! The kubelet's configuration file, `KubeletConfiguration` in `kubelet.config.k8s.io/v1beta1`.
//!
//! Every field of upstream's is known, so that none in a file is taken for an error; those without effect
//! say so.

use k8s_openapi::api::core::v1::Taint;
use proto::time::Duration;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

const fn secs(n: i64) -> Duration {
    Duration::from_secs(n)
}

const fn millis(n: i64) -> Duration {
    Duration::from_millis(n)
}

/// The configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct KubeletConfiguration {
    /// Serve the kubelet's API.
    pub enable_server: bool,
    /// Where manifests of static pods lie: a directory or a file.
    pub static_pod_path: String,
    /// Where logs are written.
    pub pod_logs_dir: String,
    /// How often every pod is looked at again, at least.
    pub sync_frequency: Duration,
    /// How often manifests are looked at, at least.
    pub file_check_frequency: Duration,
    /// How often the manifest URL is read.
    pub http_check_frequency: Duration,
    /// A URL of manifests.
    #[serde(rename = "staticPodURL")]
    pub static_pod_url: String,
    /// Headers for it.
    #[serde(rename = "staticPodURLHeader", skip_serializing_if = "Value::is_null")]
    pub static_pod_url_header: Value,
    /// Where the API is served.
    pub address: String,
    /// On which port.
    pub port: u16,
    /// A port without authentication.
    pub read_only_port: u16,
    /// The serving certificate.
    pub tls_cert_file: String,
    /// Its key.
    pub tls_private_key_file: String,
    /// Accepted cipher suites.
    pub tls_cipher_suites: Vec<String>,
    /// Preferred curves.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub tls_curve_preferences: Value,
    /// The least TLS version.
    pub tls_min_version: String,
    /// Renew the client certificate.
    pub rotate_certificates: bool,
    /// Ask the API server for the serving certificate.
    #[serde(rename = "serverTLSBootstrap")]
    pub server_tls_bootstrap: bool,
    /// Who may ask.
    pub authentication: Authentication,
    /// What they may ask.
    pub authorization: Authorization,
    /// Image pulls per second.
    #[serde(rename = "registryPullQPS")]
    pub registry_pull_qps: i32,
    /// Image pulls at once.
    pub registry_burst: i32,
    /// Whether images pulled with secrets are for others.
    pub image_pull_credentials_verification_policy: String,
    /// Images anyone may use.
    pub preloaded_images_verification_allowlist: Vec<String>,
    /// Events per second.
    #[serde(rename = "eventRecordQPS")]
    pub event_record_qps: i32,
    /// Events at once.
    pub event_burst: i32,
    /// Serve logs, exec and the like.
    pub enable_debugging_handlers: bool,
    /// Unused.
    pub enable_contention_profiling: bool,
    /// The port of the health check.
    pub healthz_port: u16,
    /// Its address.
    pub healthz_bind_address: String,
    /// How ready the kernel is to kill the kubelet.
    pub oom_score_adj: i32,
    /// The domain of the cluster.
    pub cluster_domain: String,
    /// The resolver of the cluster.
    #[serde(rename = "clusterDNS")]
    pub cluster_dns: Vec<String>,
    /// How long a stream may be idle.
    pub streaming_connection_idle_timeout: Duration,
    /// How often the node's status is computed.
    pub node_status_update_frequency: Duration,
    /// How often it is written though nothing changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_status_report_frequency: Option<Duration>,
    /// How long the node's lease holds.
    pub node_lease_duration_seconds: i64,
    /// Younger images stay.
    #[serde(rename = "imageMinimumGCAge")]
    pub image_minimum_gc_age: Duration,
    /// Older unused images go.
    #[serde(rename = "imageMaximumGCAge")]
    pub image_maximum_gc_age: Duration,
    /// Disk use that begins the removal of images.
    #[serde(rename = "imageGCHighThresholdPercent")]
    pub image_gc_high_threshold_percent: u64,
    /// Disk use that ends it.
    #[serde(rename = "imageGCLowThresholdPercent")]
    pub image_gc_low_threshold_percent: u64,
    /// How often volumes are measured.
    pub volume_stats_agg_period: Duration,
    /// The kubelet's own group.
    pub kubelet_cgroups: String,
    /// The group of other processes.
    pub system_cgroups: String,
    /// The group all pods are below.
    pub cgroup_root: String,
    /// Give pods groups of their own.
    #[serde(rename = "cgroupsPerQOS")]
    pub cgroups_per_qos: bool,
    /// Who makes groups.
    pub cgroup_driver: String,
    /// How CPUs are assigned.
    pub cpu_manager_policy: String,
    /// Kill only the process that ran out of memory.
    #[serde(rename = "singleProcessOOMKill", skip_serializing_if = "Option::is_none")]
    pub single_process_oom_kill: Option<bool>,
    /// More on that.
    pub cpu_manager_policy_options: BTreeMap<String, String>,
    /// How often assignment is checked.
    pub cpu_manager_reconcile_period: Duration,
    /// How memory is assigned.
    pub memory_manager_policy: String,
    /// How hardware topology is heeded.
    pub topology_manager_policy: String,
    /// For whom.
    pub topology_manager_scope: String,
    /// More on that.
    pub topology_manager_policy_options: BTreeMap<String, String>,
    /// Memory kept for higher classes.
    pub qos_reserved: BTreeMap<String, String>,
    /// The bound on calls to the runtime.
    pub runtime_request_timeout: Duration,
    /// Unused.
    pub hairpin_mode: String,
    /// How many pods may run.
    pub max_pods: i64,
    /// Pod addresses, without an API server.
    #[serde(rename = "podCIDR")]
    pub pod_cidr: String,
    /// Processes per pod.
    pub pod_pids_limit: i64,
    /// The node's resolver file.
    pub resolv_conf: String,
    /// Unused.
    pub run_once: bool,
    /// Enforce CPU limits.
    #[serde(rename = "cpuCFSQuota")]
    pub cpu_cfs_quota: bool,
    /// Over this period.
    #[serde(rename = "cpuCFSQuotaPeriod")]
    pub cpu_cfs_quota_period: Duration,
    /// Images named in the node's status.
    pub node_status_max_images: i64,
    /// Files the kubelet may open.
    pub max_open_files: i64,
    /// Unused.
    pub content_type: String,
    /// Requests per second to the API server.
    #[serde(rename = "kubeAPIQPS")]
    pub kube_api_qps: f64,
    /// Requests at once.
    #[serde(rename = "kubeAPIBurst")]
    pub kube_api_burst: f64,
    /// Pull images one by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serialize_image_pulls: Option<bool>,
    /// Pull so many at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parallel_image_pulls: Option<u32>,
    /// When pods are evicted at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eviction_hard: Option<BTreeMap<String, String>>,
    /// When they are after a while.
    pub eviction_soft: BTreeMap<String, String>,
    /// After how long.
    pub eviction_soft_grace_period: BTreeMap<String, String>,
    /// How long pressure is reported after it ended.
    pub eviction_pressure_transition_period: Duration,
    /// The longest grace of an evicted pod.
    pub eviction_max_pod_grace_period: i32,
    /// How much to free.
    pub eviction_minimum_reclaim: BTreeMap<String, String>,
    /// Keep defaults that aren't overridden.
    pub merge_default_eviction_settings: bool,
    /// Pods per CPU.
    pub pods_per_core: i64,
    /// Volumes are attached by the controller manager.
    pub enable_controller_attach_detach: bool,
    /// Refuse unexpected kernel settings.
    pub protect_kernel_defaults: bool,
    /// Unused.
    #[serde(rename = "makeIPTablesUtilChains")]
    pub make_ip_tables_util_chains: bool,
    /// Unused.
    pub iptables_masquerade_bit: i32,
    /// Unused.
    pub iptables_drop_bit: i32,
    /// Feature gates.
    pub feature_gates: BTreeMap<String, bool>,
    /// Refuse to run with swap.
    pub fail_swap_on: bool,
    /// What pods may do with swap.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub memory_swap: Value,
    /// When a log is rotated.
    pub container_log_max_size: String,
    /// How many are kept.
    pub container_log_max_files: i64,
    /// Unused.
    pub container_log_max_workers: i64,
    /// How often logs are measured.
    pub container_log_monitor_interval: Duration,
    /// Unused: they are always watched.
    pub config_map_and_secret_change_detection_strategy: String,
    /// Resources for the system.
    pub system_reserved: BTreeMap<String, String>,
    /// Resources for Kubernetes.
    pub kube_reserved: BTreeMap<String, String>,
    /// CPUs for both.
    #[serde(rename = "reservedSystemCPUs")]
    pub reserved_system_cpus: String,
    /// Unused.
    pub show_hidden_metrics_for_version: String,
    /// The group to hold to it.
    pub system_reserved_cgroup: String,
    /// The group to hold to it.
    pub kube_reserved_cgroup: String,
    /// What is held to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforce_node_allocatable: Option<Vec<String>>,
    /// Kernel settings pods may make.
    pub allowed_unsafe_sysctls: Vec<String>,
    /// Unused.
    pub volume_plugin_dir: String,
    /// The node's id in its cloud.
    #[serde(rename = "providerID")]
    pub provider_id: String,
    /// Unused.
    pub kernel_memcg_notification: bool,
    /// Unused: flags configure logs.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub logging: Value,
    /// Serve /logs.
    pub enable_system_log_handler: bool,
    /// Unused.
    pub enable_system_log_query: bool,
    /// Unused.
    pub shutdown_grace_period: Duration,
    /// Unused.
    pub shutdown_grace_period_critical_pods: Duration,
    /// Unused.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub shutdown_grace_period_by_pod_priority: Value,
    /// How long crashing containers wait.
    pub crash_loop_back_off: CrashLoopBackOff,
    /// Memory by NUMA node.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub reserved_memory: Value,
    /// Unused.
    pub enable_profiling_handler: bool,
    /// Unused.
    pub enable_debug_flags_handler: bool,
    /// Confine pods that don't say how.
    pub seccomp_default: bool,
    /// Unused.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub memory_throttling_factor: Value,
    /// Unused.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub memory_reservation_policy: Value,
    /// Taints of a new node.
    pub register_with_taints: Vec<Taint>,
    /// Register the node.
    pub register_node: bool,
    /// Unused.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub tracing: Value,
    /// Unused.
    pub local_storage_capacity_isolation: bool,
    /// The runtime.
    pub container_runtime_endpoint: String,
    /// The image service, if it is another.
    pub image_service_endpoint: String,
    /// Refuse cgroup v1.
    pub fail_cgroup_v1: bool,
    /// How ids are mapped.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub user_namespaces: Value,
}

impl Default for KubeletConfiguration {
    fn default() -> Self {
        KubeletConfiguration {
            enable_server: true,
            static_pod_path: String::new(),
            pod_logs_dir: "/var/log/pods".into(),
            sync_frequency: secs(60),
            file_check_frequency: secs(20),
            http_check_frequency: secs(20),
            static_pod_url: String::new(),
            static_pod_url_header: Default::default(),
            address: "0.0.0.0".into(),
            port: 10250,
            read_only_port: Default::default(),
            tls_cert_file: String::new(),
            tls_private_key_file: String::new(),
            tls_cipher_suites: Default::default(),
            tls_curve_preferences: Default::default(),
            tls_min_version: String::new(),
            rotate_certificates: false,
            server_tls_bootstrap: false,
            authentication: Default::default(),
            authorization: Default::default(),
            registry_pull_qps: 5,
            registry_burst: 10,
            image_pull_credentials_verification_policy: String::new(),
            preloaded_images_verification_allowlist: Default::default(),
            event_record_qps: 50,
            event_burst: 100,
            enable_debugging_handlers: true,
            enable_contention_profiling: false,
            healthz_port: 10248,
            healthz_bind_address: "127.0.0.1".into(),
            oom_score_adj: -999,
            cluster_domain: String::new(),
            cluster_dns: Default::default(),
            streaming_connection_idle_timeout: secs(4 * 3600),
            node_status_update_frequency: secs(10),
            node_status_report_frequency: Default::default(),
            node_lease_duration_seconds: 40,
            image_minimum_gc_age: secs(120),
            image_maximum_gc_age: Default::default(),
            image_gc_high_threshold_percent: 85,
            image_gc_low_threshold_percent: 80,
            volume_stats_agg_period: secs(60),
            kubelet_cgroups: String::new(),
            system_cgroups: String::new(),
            cgroup_root: String::new(),
            cgroups_per_qos: true,
            cgroup_driver: "cgroupfs".into(),
            cpu_manager_policy: "none".into(),
            single_process_oom_kill: Default::default(),
            cpu_manager_policy_options: Default::default(),
            cpu_manager_reconcile_period: secs(10),
            memory_manager_policy: "None".into(),
            topology_manager_policy: "none".into(),
            topology_manager_scope: "container".into(),
            topology_manager_policy_options: Default::default(),
            qos_reserved: Default::default(),
            runtime_request_timeout: secs(120),
            hairpin_mode: "promiscuous-bridge".into(),
            max_pods: 110,
            pod_cidr: String::new(),
            pod_pids_limit: -1,
            resolv_conf: "/etc/resolv.conf".into(),
            run_once: false,
            cpu_cfs_quota: true,
            cpu_cfs_quota_period: millis(100),
            node_status_max_images: 50,
            max_open_files: 1000000,
            content_type: "application/vnd.kubernetes.protobuf".into(),
            kube_api_qps: 50.0,
            kube_api_burst: 100.0,
            serialize_image_pulls: Default::default(),
            max_parallel_image_pulls: Default::default(),
            eviction_hard: Default::default(),
            eviction_soft: Default::default(),
            eviction_soft_grace_period: Default::default(),
            eviction_pressure_transition_period: secs(300),
            eviction_max_pod_grace_period: Default::default(),
            eviction_minimum_reclaim: Default::default(),
            merge_default_eviction_settings: false,
            pods_per_core: Default::default(),
            enable_controller_attach_detach: true,
            protect_kernel_defaults: false,
            make_ip_tables_util_chains: true,
            iptables_masquerade_bit: 14,
            iptables_drop_bit: 15,
            feature_gates: Default::default(),
            fail_swap_on: true,
            memory_swap: Default::default(),
            container_log_max_size: "10Mi".into(),
            container_log_max_files: 5,
            container_log_max_workers: 1,
            container_log_monitor_interval: secs(10),
            config_map_and_secret_change_detection_strategy: "Watch".into(),
            system_reserved: Default::default(),
            kube_reserved: Default::default(),
            reserved_system_cpus: String::new(),
            show_hidden_metrics_for_version: String::new(),
            system_reserved_cgroup: String::new(),
            kube_reserved_cgroup: String::new(),
            enforce_node_allocatable: Default::default(),
            allowed_unsafe_sysctls: Default::default(),
            volume_plugin_dir: "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/".into(),
            provider_id: String::new(),
            kernel_memcg_notification: false,
            logging: Default::default(),
            enable_system_log_handler: true,
            enable_system_log_query: false,
            shutdown_grace_period: Default::default(),
            shutdown_grace_period_critical_pods: Default::default(),
            shutdown_grace_period_by_pod_priority: Default::default(),
            crash_loop_back_off: Default::default(),
            reserved_memory: Default::default(),
            enable_profiling_handler: true,
            enable_debug_flags_handler: true,
            seccomp_default: false,
            memory_throttling_factor: Default::default(),
            memory_reservation_policy: Default::default(),
            register_with_taints: Default::default(),
            register_node: true,
            tracing: Default::default(),
            local_storage_capacity_isolation: true,
            container_runtime_endpoint: "unix:///run/containerd/containerd.sock".into(),
            image_service_endpoint: String::new(),
            fail_cgroup_v1: true,
            user_namespaces: Default::default(),
        }
    }
}

/// Who may ask.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Authentication {
    /// By certificate.
    pub x509: X509,
    /// By token.
    pub webhook: WebhookAuthentication,
    /// By nothing.
    pub anonymous: Anonymous,
}

/// Client certificates.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct X509 {
    /// Who signs them.
    #[serde(rename = "clientCAFile")]
    pub client_ca_file: String,
}

/// Tokens, reviewed by the API server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct WebhookAuthentication {
    /// Whether.
    pub enabled: bool,
    /// How long a review holds.
    #[serde(rename = "cacheTTL")]
    pub cache_ttl: Duration,
}

impl Default for WebhookAuthentication {
    fn default() -> Self {
        WebhookAuthentication { enabled: true, cache_ttl: secs(120) }
    }
}

/// Requests without credentials.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Anonymous {
    /// Whether.
    pub enabled: bool,
}

/// What they may ask.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Authorization {
    /// `Webhook` or `AlwaysAllow`.
    pub mode: String,
    /// Reviews by the API server.
    pub webhook: WebhookAuthorization,
}

impl Default for Authorization {
    fn default() -> Self {
        Authorization { mode: "Webhook".into(), webhook: WebhookAuthorization::default() }
    }
}

/// Reviews by the API server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct WebhookAuthorization {
    /// How long a permission holds.
    #[serde(rename = "cacheAuthorizedTTL")]
    pub cache_authorized_ttl: Duration,
    /// How long a refusal holds.
    #[serde(rename = "cacheUnauthorizedTTL")]
    pub cache_unauthorized_ttl: Duration,
}

impl Default for WebhookAuthorization {
    fn default() -> Self {
        WebhookAuthorization { cache_authorized_ttl: secs(300), cache_unauthorized_ttl: secs(30) }
    }
}

/// How long crashing containers wait.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct CrashLoopBackOff {
    /// At most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_container_restart_period: Option<Duration>,
}
