//! The flag groups that several daemons share, with upstream's names and defaults.

use super::{Flag, Group, Kind::*};

const NO_PPROF: &str = "there is no Go profiler here";
const GO_TUNING: &str = "it tunes a library that isn't used here";

/// Logging, for every daemon.
pub static LOGS: Group = Group {
    title: "Logs",
    flags: &[
        Flag::new("log-flush-frequency", Duration, "5s", "Maximum time between log flushes.")
            .no_effect("every line is written at once"),
        Flag::new(
            "log-json-info-buffer-size",
            String,
            "0",
            "[Alpha] Buffer of info messages in JSON format.",
        )
        .no_effect("every line is written at once"),
        Flag::new(
            "log-json-split-stream",
            Bool,
            "false",
            "[Alpha] Write errors to stderr and the rest to stdout in JSON format.",
        ),
        Flag::new(
            "log-text-info-buffer-size",
            String,
            "0",
            "[Alpha] Buffer of info messages in text format.",
        )
        .no_effect("every line is written at once"),
        Flag::new(
            "log-text-split-stream",
            Bool,
            "false",
            "[Alpha] Write errors to stderr and the rest to stdout in text format.",
        ),
        Flag::new("logging-format", String, "text", "Log format: \"json\" or \"text\"."),
        Flag::new("v", Int, "0", "Number for the log level verbosity.").short('v'),
        Flag::new(
            "vmodule",
            String,
            "",
            "Comma-separated list of pattern=N settings for file-filtered logging.",
        ),
    ],
};

/// `--version`, for every daemon.
pub static GLOBAL: Group = Group {
    title: "Global",
    flags: &[Flag::new(
        "version",
        String,
        "false",
        "--version, --version=raw print version information and quit.",
    )],
};

/// Feature gates.
pub static FEATURES: Group = Group {
    title: "Feature gate",
    flags: &[
        Flag::new("emulated-version", List, "", "The version to emulate.")
            .refused("only the version served is emulated"),
        Flag::new("feature-gates", Map, "", "Comma-separated list of key=value pairs of feature gates."),
        Flag::new(
            "min-compatibility-version",
            List,
            "",
            "The lowest version of other components to work with.",
        )
        .no_effect("every version in the skew policy is served"),
    ],
};

/// Metrics.
pub static METRICS: Group = Group {
    title: "Metrics",
    flags: &[
        Flag::new("allow-metric-labels", Map, "", "Allow-list of values per metric and label.")
            .no_effect("label values are bounded by design"),
        Flag::new("allow-metric-labels-manifest", String, "", "File with the allow-list.")
            .no_effect("label values are bounded by design"),
        Flag::new("disabled-metrics", List, "", "Metrics to leave out, by full name."),
        Flag::new(
            "show-hidden-metrics-for-version",
            String,
            "",
            "Show metrics hidden since the given version.",
        )
        .no_effect("no metric is hidden"),
    ],
};

/// Secure serving; `--secure-port` differs by daemon and stands in its own table.
pub static SECURE_SERVING: Group = Group {
    title: "Secure serving",
    flags: &[
        Flag::new(
            "bind-address",
            Ip,
            "0.0.0.0",
            "The IP address on which to listen for the --secure-port port.",
        ),
        Flag::new("cert-dir", String, "", "The directory where the TLS certs are located."),
        Flag::new("disable-http2-serving", Bool, "false", "If true, HTTP2 serving is disabled."),
        Flag::new("http2-max-streams-per-connection", Int, "0", "Limit of streams in one HTTP/2 connection."),
        Flag::new("permit-address-sharing", Bool, "false", "Use SO_REUSEADDR.")
            .no_effect("SO_REUSEADDR is always used"),
        Flag::new("permit-port-sharing", Bool, "false", "Use SO_REUSEPORT."),
        Flag::new(
            "tls-cert-file",
            String,
            "",
            "File with the x509 certificate for HTTPS, followed by its chain.",
        ),
        Flag::new("tls-cipher-suites", List, "", "Comma-separated list of cipher suites for the server."),
        Flag::new(
            "tls-curve-preferences",
            List,
            "",
            "Comma-separated list of key exchange mechanisms, as Go's CurveID numbers.",
        ),
        Flag::new(
            "tls-min-version",
            String,
            "",
            "Minimum TLS version: VersionTLS10, VersionTLS11, VersionTLS12, VersionTLS13.",
        ),
        Flag::new("tls-private-key-file", String, "", "File with the private key of --tls-cert-file."),
        Flag::new(
            "tls-sni-cert-key",
            Array,
            "",
            "Certificate and key for some names: cert,key[:pattern,...].",
        ),
    ],
};

/// Delegated authentication.
pub static AUTHENTICATION: Group = Group {
    title: "Authentication",
    flags: &[
        Flag::new("authentication-kubeconfig", String, "", "kubeconfig of the server that reviews tokens."),
        Flag::new(
            "authentication-skip-lookup",
            Bool,
            "false",
            "Do not look up missing authentication configuration in the cluster.",
        ),
        Flag::new(
            "authentication-token-webhook-cache-ttl",
            Duration,
            "10s",
            "How long token reviews are kept.",
        ),
        Flag::new(
            "authentication-tolerate-lookup-failure",
            Bool,
            "true",
            "Go on if the cluster's authentication configuration can't be read.",
        ),
        Flag::new("client-ca-file", String, "", "Certificate authorities of client certificates."),
        Flag::new(
            "requestheader-allowed-names",
            List,
            "",
            "Common names of front proxies; empty allows any certificate of the authorities.",
        ),
        Flag::new("requestheader-client-ca-file", String, "", "Certificate authorities of front proxies."),
        Flag::new(
            "requestheader-extra-headers-prefix",
            List,
            "x-remote-extra-",
            "Prefixes of headers with extra attributes.",
        ),
        Flag::new("requestheader-group-headers", List, "x-remote-group", "Headers with groups."),
        Flag::new("requestheader-uid-headers", List, "", "Headers with the uid."),
        Flag::new("requestheader-username-headers", List, "x-remote-user", "Headers with the user name."),
    ],
};

/// Delegated authorization.
pub static AUTHORIZATION: Group = Group {
    title: "Authorization",
    flags: &[
        Flag::new(
            "authorization-always-allow-paths",
            List,
            "/healthz,/readyz,/livez",
            "Paths that need no authorization; a trailing * matches the rest.",
        ),
        Flag::new("authorization-kubeconfig", String, "", "kubeconfig of the server that reviews access."),
        Flag::new(
            "authorization-webhook-cache-authorized-ttl",
            Duration,
            "10s",
            "How long allowing reviews are kept.",
        ),
        Flag::new(
            "authorization-webhook-cache-unauthorized-ttl",
            Duration,
            "10s",
            "How long denying reviews are kept.",
        ),
    ],
};

/// Leader election; `--leader-elect-resource-name` differs by daemon and stands in its own table.
pub static LEADER_ELECTION: Group = Group {
    title: "Leader election",
    flags: &[
        Flag::new("leader-elect", Bool, "true", "Gain leadership before running the main loop."),
        Flag::new(
            "leader-elect-lease-duration",
            Duration,
            "15s",
            "How long a lease that isn't renewed lasts.",
        ),
        Flag::new(
            "leader-elect-renew-deadline",
            Duration,
            "10s",
            "How long the leader tries to renew before it gives up.",
        ),
        Flag::new("leader-elect-resource-lock", String, "leases", "The type of the lock; only 'leases'."),
        Flag::new("leader-elect-resource-namespace", String, "kube-system", "The namespace of the lock."),
        Flag::new("leader-elect-retry-period", Duration, "2s", "How long to wait between attempts."),
    ],
};

/// Profiling endpoints.
pub static DEBUGGING: Group = Group {
    title: "Debugging",
    flags: &[
        Flag::new("contention-profiling", Bool, "false", "Enable block profiling.").no_effect(NO_PPROF),
        Flag::new("profiling", Bool, "true", "Enable profiling via web interface host:port/debug/pprof/.")
            .no_effect(NO_PPROF),
    ],
};

/// What `--kube-api-content-type` and its like say: this client always speaks JSON.
pub const CONTENT_TYPE_UNUSED: &str = "the client speaks JSON";
/// For flags that tune Go libraries.
pub const TUNING_UNUSED: &str = GO_TUNING;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shared_groups_parse_together() {
        let groups = [
            &LOGS,
            &GLOBAL,
            &FEATURES,
            &METRICS,
            &SECURE_SERVING,
            &AUTHENTICATION,
            &AUTHORIZATION,
            &LEADER_ELECTION,
            &DEBUGGING,
        ];
        let parsed = super::super::parse("d", "", &groups, &["-v=3".into(), "--version".into()]).unwrap();
        assert_eq!((parsed.int("v"), parsed.str("version")), (3, "true"));
        assert_eq!(parsed.list("authorization-always-allow-paths"), ["/healthz", "/readyz", "/livez"]);
    }
}
