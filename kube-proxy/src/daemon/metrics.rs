//! kube-proxy's metrics, by upstream's names.

use component_base::metrics::Family;

const SECONDS: &[f64] = &[
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384,
];

/// All synchronizations.
pub(super) static SYNC: Family = Family::histogram(
    "kubeproxy_sync_proxy_rules_duration_seconds",
    "[ALPHA] SyncProxyRules latency in seconds",
    &["ip_family"],
    SECONDS,
);
/// Those that wrote the whole table.
pub(super) static SYNC_FULL: Family = Family::histogram(
    "kubeproxy_sync_full_proxy_rules_duration_seconds",
    "[ALPHA] SyncProxyRules latency in seconds for full resyncs",
    &["ip_family"],
    SECONDS,
);
/// Those that wrote a difference.
pub(super) static SYNC_PARTIAL: Family = Family::histogram(
    "kubeproxy_sync_partial_proxy_rules_duration_seconds",
    "[ALPHA] SyncProxyRules latency in seconds for partial resyncs",
    &["ip_family"],
    SECONDS,
);
/// When the last one was.
pub(super) static LAST: Family = Family::gauge(
    "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
    "[ALPHA] The last time proxy rules were successfully synced",
    &["ip_family"],
);
/// Failed ones.
pub(super) static FAILURES: Family = Family::counter(
    "kubeproxy_sync_proxy_rules_nftables_sync_failures_total",
    "[ALPHA] Cumulative proxy nftables sync failures",
    &["ip_family"],
);
/// Changes of slices.
pub(super) static ENDPOINT_CHANGES: Family = Family::counter(
    "kubeproxy_sync_proxy_rules_endpoint_changes_total",
    "[ALPHA] Cumulative proxy rules Endpoint changes",
    &[],
);
/// Changes of Services.
pub(super) static SERVICE_CHANGES: Family = Family::counter(
    "kubeproxy_sync_proxy_rules_service_changes_total",
    "[ALPHA] Cumulative proxy rules Service changes",
    &[],
);
/// Answers of /healthz.
pub(super) static HEALTHZ: Family = Family::counter(
    "kubeproxy_proxy_healthz_total",
    "[ALPHA] Cumulative proxy healthz HTTP status",
    &["code"],
);
/// Answers of /livez.
pub(super) static LIVEZ: Family =
    Family::counter("kubeproxy_proxy_livez_total", "[ALPHA] Cumulative proxy livez HTTP status", &["code"]);
/// Connections forgotten.
pub(super) static FORGOTTEN: Family = Family::counter(
    "kubeproxy_conntrack_reconciler_deleted_entries_total",
    "[ALPHA] Cumulative conntrack flows deleted by conntrack reconciler",
    &["ip_family"],
);
