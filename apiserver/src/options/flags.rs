//! The command line: every flag of upstream's kube-apiserver, with what setting it does here.

use component_base::flags::groups;
use component_base::flags::{Flag, Group, Kind::*};

const NO_TOKEN_WEBHOOK: &str = "tokens are not checked by a webhook";
const NO_AUTHORIZATION_WEBHOOK: &str = "requests are not authorized by a webhook";
const NO_PEERS: &str = "requests are not passed on to other API servers";
const ONE_VERSION: &str = "only the version served is emulated";
const BY_BYTES: &str = "the cache follows the size of the objects";
const NO_COORDINATION: &str = "leases are not assigned by the server";

static GENERIC: Group = Group {
    title: "Generic",
    flags: &[
        Flag::new("advertise-address", Ip, "", "Address under which other members reach the server."),
        Flag::new("cors-allowed-origins", List, "", "Allowed origins for CORS, as regular expressions.")
            .refused("browsers' cross-origin requests are not answered"),
        Flag::new("emulation-forward-compatible", Bool, "false", "Serve newer versions of emulated APIs.")
            .refused(ONE_VERSION),
        Flag::new("external-hostname", String, "", "Host name of the server in the documents it serves."),
        Flag::new("goaway-chance", Float, "0", "Chance that a request ends its HTTP/2 connection."),
        Flag::new(
            "livez-grace-period",
            Duration,
            "0s",
            "Time from the start in which /livez tolerates hooks under way.",
        )
        .no_effect("/livez tells what it knows from the start"),
        Flag::new("max-mutating-requests-inflight", Int, "200", "Limit of writes under way; 0 is none."),
        Flag::new("max-requests-inflight", Int, "400", "Limit of reads under way; 0 is none."),
        Flag::new("min-request-timeout", Int, "1800", "Seconds a watch lasts at least."),
        Flag::new("request-timeout", Duration, "1m0s", "Time a request has that is not a long one."),
        Flag::new(
            "runtime-config-emulation-forward-compatible",
            Bool,
            "false",
            "Serve named newer APIs when emulating.",
        )
        .refused(ONE_VERSION),
        Flag::new("send-retry-after-while-not-ready-once", Bool, "false", "Answer 429 until ready once.")
            .refused("requests are served as soon as they can be"),
        Flag::new(
            "shutdown-delay-duration",
            Duration,
            "0s",
            "Time between failing /readyz and closing the listener.",
        ),
        Flag::new(
            "shutdown-send-retry-after",
            Bool,
            "false",
            "Serve on during the shutdown, with Retry-After.",
        )
        .refused("the listener closes when the shutdown delay is over"),
        Flag::new(
            "shutdown-watch-termination-grace-period",
            Duration,
            "0s",
            "Time watches have to end at shutdown.",
        )
        .no_effect("watches end when the shutdown delay is over"),
        Flag::new(
            "storage-initialization-timeout",
            Duration,
            "1m0s",
            "Time the storage has to become ready.",
        )
        .no_effect("requests wait until the storage is ready"),
        Flag::new("strict-transport-security-directives", List, "", "Directives of the HSTS header.")
            .refused("the HSTS header is not sent"),
    ],
};

static ETCD: Group = Group {
    title: "Etcd",
    flags: &[
        Flag::new("delete-collection-workers", Int, "1", "Deletions of one collection that run at once.")
            .no_effect("ten run at once"),
        Flag::new("enable-garbage-collector", Bool, "true", "Whether the garbage collector runs.")
            .refused("the garbage collector's finalizers are always served"),
        Flag::new(
            "encryption-provider-config",
            String,
            "",
            "File that says how objects are encrypted in etcd.",
        ),
        Flag::new(
            "encryption-provider-config-automatic-reload",
            Bool,
            "false",
            "Read that file again when it changes.",
        )
        .refused("the file is read at the start"),
        Flag::new("etcd-cafile", String, "", "Certificate authorities of etcd's certificate."),
        Flag::new("etcd-certfile", String, "", "Client certificate for etcd."),
        Flag::new("etcd-compaction-interval", Duration, "5m0s", "Time between compactions; 0 is none."),
        Flag::new("etcd-count-metric-poll-period", Duration, "1m0s", "Time between counts of objects.")
            .no_effect("counts are read from the cache"),
        Flag::new("etcd-db-metric-poll-interval", Duration, "30s", "Time between readings of etcd's size.")
            .no_effect("etcd tells its own size"),
        Flag::new("etcd-healthcheck-timeout", Duration, "2s", "Time the health check of etcd has."),
        Flag::new("etcd-keyfile", String, "", "Key of --etcd-certfile."),
        Flag::new("etcd-prefix", String, "/registry", "Prefix of all keys in etcd."),
        Flag::new("etcd-readycheck-timeout", Duration, "2s", "Time the readiness check of etcd has.")
            .no_effect("--etcd-healthcheck-timeout holds for both checks"),
        Flag::new("etcd-servers", List, "", "URLs of etcd."),
        Flag::new("etcd-servers-overrides", List, "", "URLs of etcd for single resources.")
            .refused("all resources live in one etcd"),
        Flag::new("lease-reuse-duration-seconds", Int, "60", "Seconds a lease is given to new objects.")
            .no_effect("leases are reused for up to 60 seconds"),
        Flag::new("storage-backend", String, "", "The storage backend: etcd3."),
        Flag::new(
            "storage-media-type",
            String,
            "application/vnd.kubernetes.protobuf",
            "Encoding of objects in etcd.",
        ),
        Flag::new("watch-cache", Bool, "true", "Whether reads are served from memory.")
            .refused("reads are always served from memory"),
        Flag::new("watch-cache-sizes", List, "", "Sizes of the cache by resource.").no_effect(BY_BYTES),
    ],
};

static PORT: Group = Group {
    title: "Secure port",
    flags: &[Flag::new("secure-port", Int, "6443", "Port of HTTPS with authentication and authorization.")],
};

static AUDIT: Group = Group {
    title: "Auditing",
    flags: &[
        Flag::new("audit-log-batch-buffer-size", Int, "10000", "Buffer of the log."),
        Flag::new("audit-log-batch-max-size", Int, "1", "Batch of the log."),
        Flag::new("audit-log-batch-max-wait", Duration, "0s", "Wait of the log."),
        Flag::new("audit-log-batch-throttle-burst", Int, "0", "Burst of the log."),
        Flag::new("audit-log-batch-throttle-enable", Bool, "false", "Throttle the log."),
        Flag::new("audit-log-batch-throttle-qps", Float, "0", "Rate of the log."),
        Flag::new("audit-log-compress", Bool, "false", "Compress rotated logs."),
        Flag::new("audit-log-format", String, "json", "Format of the log."),
        Flag::new("audit-log-maxage", Int, "366", "Days that logs are kept."),
        Flag::new("audit-log-maxbackup", Int, "100", "Logs that are kept."),
        Flag::new("audit-log-maxsize", Int, "100", "Megabytes of a log."),
        Flag::new("audit-log-mode", String, "blocking", "How the log is written."),
        Flag::new("audit-log-path", String, "", "File of the log."),
        Flag::new("audit-log-truncate-enabled", Bool, "false", "Truncate the log's events."),
        Flag::new("audit-log-truncate-max-batch-size", Int, "10485760", "Largest batch of the log."),
        Flag::new("audit-log-truncate-max-event-size", Int, "102400", "Largest event of the log."),
        Flag::new("audit-log-version", String, "audit.k8s.io/v1", "Version of the log's events."),
        Flag::new("audit-policy-file", String, "", "What is audited."),
        Flag::new("audit-webhook-batch-buffer-size", Int, "10000", "Buffer of the webhook."),
        Flag::new("audit-webhook-batch-max-size", Int, "400", "Batch of the webhook."),
        Flag::new("audit-webhook-batch-max-wait", Duration, "30s", "Wait of the webhook."),
        Flag::new("audit-webhook-batch-throttle-burst", Int, "15", "Burst of the webhook."),
        Flag::new("audit-webhook-batch-throttle-enable", Bool, "true", "Throttle the webhook."),
        Flag::new("audit-webhook-batch-throttle-qps", Float, "10", "Rate of the webhook."),
        Flag::new("audit-webhook-config-file", String, "", "kubeconfig of the webhook."),
        Flag::new("audit-webhook-initial-backoff", Duration, "10s", "First backoff of the webhook."),
        Flag::new("audit-webhook-mode", String, "batch", "How the webhook is called."),
        Flag::new("audit-webhook-truncate-enabled", Bool, "false", "Truncate the webhook's events."),
        Flag::new("audit-webhook-truncate-max-batch-size", Int, "10485760", "Largest batch of the webhook."),
        Flag::new("audit-webhook-truncate-max-event-size", Int, "102400", "Largest event of the webhook."),
        Flag::new("audit-webhook-version", String, "audit.k8s.io/v1", "Version of the webhook's events."),
    ],
};

static FEATURES: Group = Group {
    title: "Features",
    flags: &[
        Flag::new("contention-profiling", Bool, "false", "Profile lock contention.")
            .no_effect("there is no Go profiler here"),
        Flag::new("debug-socket-path", String, "", "Socket of the profiler.")
            .refused("there is no Go profiler here"),
        Flag::new("enable-priority-and-fairness", Bool, "true", "Queue requests fairly by flow."),
        Flag::new("profiling", Bool, "true", "Let DELETE reset the metrics; there is no Go profiler here."),
    ],
};

static AUTHENTICATION: Group = Group {
    title: "Authentication",
    flags: &[
        Flag::new(
            "anonymous-auth",
            Bool,
            "true",
            "Whether requests without credentials are served, as system:anonymous.",
        ),
        Flag::new("api-audiences", List, "", "Audiences of the server's tokens; its issuers if empty."),
        Flag::new(
            "authentication-config",
            String,
            "",
            "File with issuers of tokens, read again when changed.",
        ),
        Flag::new(
            "authentication-token-webhook-cache-ttl",
            Duration,
            "2m0s",
            "How long the webhook's answers are kept.",
        )
        .no_effect(NO_TOKEN_WEBHOOK),
        Flag::new("authentication-token-webhook-config-file", String, "", "kubeconfig of the token webhook.")
            .refused(NO_TOKEN_WEBHOOK),
        Flag::new(
            "authentication-token-webhook-version",
            String,
            "v1beta1",
            "Version of the token webhook's API.",
        )
        .no_effect(NO_TOKEN_WEBHOOK),
        Flag::new("client-ca-file", String, "", "Certificate authorities of client certificates."),
        Flag::new("enable-bootstrap-token-auth", Bool, "false", "Whether bootstrap tokens authenticate."),
        Flag::new("oidc-ca-file", String, "", "Certificate authorities of the OpenID issuer."),
        Flag::new("oidc-client-id", String, "", "Client that OpenID tokens are for."),
        Flag::new("oidc-groups-claim", String, "", "Claim with groups."),
        Flag::new("oidc-groups-prefix", String, "", "Prefix of those groups."),
        Flag::new("oidc-issuer-url", String, "", "URL of the OpenID issuer."),
        Flag::new("oidc-required-claim", Array, "", "Claims that tokens must have, each as claim=value."),
        Flag::new("oidc-signing-algs", List, "RS256", "Signing algorithms of OpenID tokens."),
        Flag::new("oidc-username-claim", String, "sub", "Claim with the user name."),
        Flag::new("oidc-username-prefix", String, "", "Prefix of that user name; - for none."),
        Flag::new("requestheader-allowed-names", List, "", "Common names of front proxies; empty: any."),
        Flag::new("requestheader-client-ca-file", String, "", "Certificate authorities of front proxies."),
        Flag::new(
            "requestheader-extra-headers-prefix",
            List,
            "",
            "Prefixes of headers with extra attributes.",
        ),
        Flag::new("requestheader-group-headers", List, "", "Headers with groups."),
        Flag::new("requestheader-uid-headers", List, "", "Headers with the uid."),
        Flag::new("requestheader-username-headers", List, "", "Headers with the user name."),
        Flag::new(
            "service-account-extend-token-expiration",
            Bool,
            "true",
            "Whether injected tokens live longer at first.",
        ),
        Flag::new(
            "service-account-issuer",
            Array,
            "",
            "Issuers of service account tokens; the first one signs.",
        ),
        Flag::new("service-account-jwks-uri", String, "", "Where the issuer's keys are told."),
        Flag::new(
            "service-account-key-file",
            Array,
            "",
            "Keys that service account tokens are checked with.",
        ),
        Flag::new("service-account-lookup", Bool, "true", "Whether tokens must belong to existing objects."),
        Flag::new("service-account-max-token-expiration", Duration, "0s", "Longest life of tokens."),
        Flag::new("token-auth-file", String, "", "File with static tokens."),
    ],
};

static AUTHORIZATION: Group = Group {
    title: "Authorization",
    flags: &[
        Flag::new("authorization-config", String, "", "File with authorizers.")
            .refused(NO_AUTHORIZATION_WEBHOOK),
        Flag::new(
            "authorization-mode",
            List,
            "",
            "Authorizers in order: AlwaysAllow, AlwaysDeny, Node, RBAC.",
        ),
        Flag::new("authorization-policy-file", String, "", "Policy of ABAC.").refused("ABAC is not served"),
        Flag::new(
            "authorization-webhook-cache-authorized-ttl",
            Duration,
            "5m0s",
            "How long permissions are kept.",
        )
        .no_effect(NO_AUTHORIZATION_WEBHOOK),
        Flag::new(
            "authorization-webhook-cache-unauthorized-ttl",
            Duration,
            "30s",
            "How long refusals are kept.",
        )
        .no_effect(NO_AUTHORIZATION_WEBHOOK),
        Flag::new("authorization-webhook-config-file", String, "", "kubeconfig of the webhook.")
            .refused(NO_AUTHORIZATION_WEBHOOK),
        Flag::new("authorization-webhook-version", String, "v1beta1", "Version of the webhook's API.")
            .no_effect(NO_AUTHORIZATION_WEBHOOK),
    ],
};

static API: Group = Group {
    title: "API enablement",
    flags: &[
        Flag::new(
            "runtime-config",
            Map,
            "",
            "Versions and resources that are on or off: api/all, group/version[/resource].",
        ),
        Flag::new("egress-selector-config-file", String, "", "How other networks are reached.")
            .refused("connections leave through the host's network"),
    ],
};

static ADMISSION: Group = Group {
    title: "Admission",
    flags: &[
        Flag::new("admission-control", List, "", "All plugins that run.")
            .refused("use --enable-admission-plugins and --disable-admission-plugins")
            .deprecated("Use --enable-admission-plugins or --disable-admission-plugins instead. Will be removed in a future version."),
        Flag::new("admission-control-config-file", String, "", "File with configurations of plugins.")
            .refused("plugins run with their defaults"),
        Flag::new("default-not-ready-toleration-seconds", Int, "300", "Seconds pods tolerate notReady nodes.").refused("pods tolerate for 300 seconds"),
        Flag::new("default-unreachable-toleration-seconds", Int, "300", "Seconds pods tolerate unreachable nodes.").refused("pods tolerate for 300 seconds"),
        Flag::new("disable-admission-plugins", List, "", "Plugins that run by default and should not."),
        Flag::new("enable-admission-plugins", List, "", "Plugins that run besides the default ones."),
    ],
};

static MISC: Group = Group {
    title: "Misc",
    flags: &[
        Flag::new("tracing-config-file", String, "", "File that says where traces go.")
            .refused("requests are not traced"),
        Flag::new(
            "aggregator-reject-forwarding-redirect",
            Bool,
            "true",
            "Reject redirects of aggregated servers.",
        )
        .refused("redirects are always rejected"),
        Flag::new("allow-privileged", Bool, "false", "Whether privileged containers may be created."),
        Flag::new("coordinated-leadership-lease-duration", Duration, "15s", "Duration of assigned leases.")
            .no_effect(NO_COORDINATION),
        Flag::new("coordinated-leadership-renew-deadline", Duration, "10s", "Deadline of assigned leases.")
            .no_effect(NO_COORDINATION),
        Flag::new("coordinated-leadership-retry-period", Duration, "2s", "Retry period of assigned leases.")
            .no_effect(NO_COORDINATION),
        Flag::new("enable-aggregator-routing", Bool, "false", "Reach aggregated servers by their endpoints.")
            .refused("other servers are not aggregated"),
        Flag::new("enable-logs-handler", Bool, "false", "Serve /logs.")
            .refused("files of the host are not served"),
        Flag::new(
            "endpoint-reconciler-type",
            String,
            "lease",
            "How the endpoints of the service kubernetes are kept: lease, none.",
        ),
        Flag::new("event-ttl", Duration, "1h0m0s", "How long events are kept."),
        Flag::new("kubelet-certificate-authority", String, "", "Certificate authorities of kubelets."),
        Flag::new("kubelet-client-certificate", String, "", "Client certificate for kubelets."),
        Flag::new("kubelet-client-key", String, "", "Key of --kubelet-client-certificate."),
        Flag::new(
            "kubelet-preferred-address-types",
            List,
            "Hostname,InternalDNS,InternalIP,ExternalDNS,ExternalIP",
            "Kinds of node addresses for kubelets, best first.",
        ),
        Flag::new("kubelet-timeout", Duration, "5s", "Time requests to kubelets have.")
            .no_effect("streams to kubelets last as long as their clients"),
        Flag::new("kubernetes-service-node-port", Int, "0", "Node port of the service kubernetes; 0: none."),
        Flag::new("max-connection-bytes-per-sec", Int, "0", "Limit of a user's stream; 0: none.")
            .refused("streams are not throttled"),
        Flag::new("peer-advertise-ip", String, "", "Address for other API servers.").refused(NO_PEERS),
        Flag::new("peer-advertise-port", String, "", "Port for other API servers.").refused(NO_PEERS),
        Flag::new("peer-ca-file", String, "", "Certificate authorities of other API servers.")
            .refused(NO_PEERS),
        Flag::new(
            "proxy-client-cert-file",
            String,
            "",
            "Client certificate for aggregated servers and webhooks.",
        )
        .no_effect("other servers are not aggregated"),
        Flag::new("proxy-client-key-file", String, "", "Key of --proxy-client-cert-file.")
            .no_effect("other servers are not aggregated"),
        Flag::new("service-account-signing-endpoint", String, "", "Socket of an external signer.")
            .refused("tokens are signed with --service-account-signing-key-file"),
        Flag::new(
            "service-account-signing-key-file",
            String,
            "",
            "Key that service account tokens are signed with.",
        ),
        Flag::new("service-cluster-ip-range", String, "", "CIDRs of cluster IPs, at most one per family."),
        Flag::new("service-node-port-range", String, "30000-32767", "Range of node ports."),
    ],
};

/// All flags.
pub static GROUPS: &[&Group] = &[
    &GENERIC,
    &groups::FEATURES,
    &ETCD,
    &PORT,
    &groups::SECURE_SERVING,
    &AUDIT,
    &FEATURES,
    &AUTHENTICATION,
    &AUTHORIZATION,
    &API,
    &ADMISSION,
    &groups::METRICS,
    &groups::LOGS,
    &MISC,
    &groups::GLOBAL,
];
