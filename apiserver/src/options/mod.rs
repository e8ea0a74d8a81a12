//! What the command line says, checked and typed.

pub mod flags;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use component_base::features::Gates;
use component_base::flags::Parsed;

use crate::admission::AdmissionOptions;
use crate::audit::AuditOptions;
use crate::auth::AuthOptions;
use crate::auth::authn::request_header::HeaderNames;
use crate::auth::oidc::config::OidcFlags;
use crate::endpoints::proxy::KubeletOptions;
use crate::registry::enabled_by_default;
use crate::storage::codec::Media;
use crate::storage::etcd::Servers;

/// Why a command line makes no server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value.
    #[error("{0}")]
    Value(String),
    /// A file.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// The server's options.
pub struct Options {
    /// Where etcd is.
    pub etcd: Servers,
    /// --etcd-prefix
    pub etcd_prefix: String,
    /// --storage-media-type
    pub media: Media,
    /// --etcd-compaction-interval
    pub compaction: Duration,
    /// --etcd-healthcheck-timeout
    pub etcd_timeout: Duration,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Address told to others.
    pub advertise: IpAddr,
    /// Host and port told to others.
    pub external_address: String,
    /// Certificate and key; `None`: a self-signed one in the directory.
    pub certificate: Result<(PathBuf, PathBuf), PathBuf>,
    /// Whether HTTP/2 is served.
    pub http2: bool,
    /// Streams per HTTP/2 connection; `None`: the default.
    pub max_streams: Option<u32>,
    /// --max-requests-inflight, --max-mutating-requests-inflight
    pub in_flight: (usize, usize),
    /// --enable-priority-and-fairness
    pub fairness: bool,
    /// --profiling
    pub profiling: bool,
    /// --goaway-chance
    pub goaway: f64,
    /// How objects are encrypted in etcd.
    pub encryption: Option<PathBuf>,
    /// Auditing.
    pub audit: AuditOptions,
    /// --request-timeout
    pub timeout: Duration,
    /// --min-request-timeout
    pub min_watch: Duration,
    /// --shutdown-delay-duration
    pub shutdown_delay: Duration,
    /// Authentication and authorization.
    pub auth: AuthOptions,
    /// Admission plugins.
    pub admission: AdmissionOptions,
    /// --runtime-config
    pub runtime: RuntimeConfig,
    /// CIDRs of --service-cluster-ip-range.
    pub service_ranges: Vec<ipnet::IpNet>,
    /// First and last port of --service-node-port-range.
    pub node_ports: (u16, u16),
    /// --kubernetes-service-node-port
    pub service_node_port: u16,
    /// Whether the endpoints of the service kubernetes are kept.
    pub reconcile_endpoints: bool,
    /// --event-ttl
    pub event_ttl: Duration,
    /// How kubelets are reached.
    pub kubelet: KubeletOptions,
    /// --allow-privileged
    pub allow_privileged: bool,
    /// --feature-gates
    pub gates: Gates,
}

impl Options {
    /// Reads the command line.
    pub fn new(flags: &Parsed) -> Result<Self, Error> {
        let path = |name: &str| flags.non_empty(name).map(PathBuf::from);
        let pair = |cert: &str, key: &str| match (path(cert), path(key)) {
            (Some(cert), Some(key)) => Ok(Some((cert, key))),
            (None, None) => Ok(None),
            _ => Err(Error::Value(format!("--{cert} and --{key} must be given together"))),
        };
        let servers = flags.list("etcd-servers").to_vec();
        if servers.is_empty() {
            return Err(Error::Value("--etcd-servers must be specified".to_owned()));
        }
        if !matches!(flags.str("storage-backend"), "" | "etcd3") {
            return Err(Error::Value(
                "--storage-backend invalid, allowed values: etcd3. If not specified, it will default to 'etcd3'"
                    .to_owned(),
            ));
        }
        let media = match flags.str("storage-media-type") {
            "application/vnd.kubernetes.protobuf" => Media::Protobuf,
            "application/json" => Media::Json,
            other => {
                return Err(Error::Value(format!(
                    "--storage-media-type \"{other}\" invalid, allowed values: application/json, application/vnd.kubernetes.protobuf"
                )));
            }
        };
        let identity = pair("etcd-certfile", "etcd-keyfile")?
            .map(|(cert, key)| Ok::<_, Error>((read(&cert)?, read(&key)?)))
            .transpose()?;
        let port = u16::try_from(flags.int("secure-port"))
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| Error::Value("--secure-port must be between 1 and 65535, inclusive".to_owned()))?;
        let bind: IpAddr = flags.str("bind-address").parse().unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let advertise = match flags.non_empty("advertise-address") {
            Some(text) => {
                text.parse().map_err(|_| Error::Value(format!("invalid --advertise-address {text}")))?
            }
            None if !bind.is_unspecified() => bind,
            None => own_address(),
        };
        let host = flags.non_empty("external-hostname").map_or_else(|| advertise.to_string(), str::to_owned);
        let external_address = match host.parse::<IpAddr>() {
            Ok(IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
            _ => format!("{host}:{port}"),
        };
        let cert_dir = flags.non_empty("cert-dir").unwrap_or("/var/run/kubernetes");
        let limit = |name| {
            let number = flags.int(name);
            usize::try_from(number).map_err(|_| Error::Value(format!("--{name} can not be negative value")))
        };
        let in_flight = (limit("max-requests-inflight")?, limit("max-mutating-requests-inflight")?);
        let fairness = flags.bool("enable-priority-and-fairness");
        if fairness && in_flight == (0, 0) {
            return Err(Error::Value(
                "invalid configuration: MaxRequestsInFlight=0 and MaxMutatingRequestsInFlight=0; they must add up to something positive"
                    .to_owned(),
            ));
        }
        let goaway = flags.float("goaway-chance");
        if !(0.0..=0.02).contains(&goaway) {
            return Err(Error::Value(
                "--goaway-chance can not be less than 0 or greater than 0.02".to_owned(),
            ));
        }
        let gates = Gates::from_flags(flags, &Default::default()).map_err(|e| Error::Value(e.to_string()))?;
        Ok(Options {
            etcd: Servers { urls: servers, ca: path("etcd-cafile").map(|p| read(&p)).transpose()?, identity },
            etcd_prefix: flags.str("etcd-prefix").to_owned(),
            media,
            compaction: seconds(flags, "etcd-compaction-interval"),
            etcd_timeout: seconds(flags, "etcd-healthcheck-timeout"),
            listen: SocketAddr::new(bind, port),
            advertise,
            auth: auth(flags, external_address.clone()),
            external_address,
            certificate: pair("tls-cert-file", "tls-private-key-file")?.ok_or_else(|| cert_dir.into()),
            http2: !flags.bool("disable-http2-serving"),
            max_streams: u32::try_from(flags.int("http2-max-streams-per-connection")).ok().filter(|n| *n > 0),
            in_flight,
            fairness,
            profiling: flags.bool("profiling"),
            goaway,
            encryption: path("encryption-provider-config"),
            audit: AuditOptions::new(flags).map_err(Error::Value)?,
            timeout: seconds(flags, "request-timeout"),
            min_watch: Duration::from_secs(u64::try_from(flags.int("min-request-timeout")).unwrap_or(1800)),
            shutdown_delay: seconds(flags, "shutdown-delay-duration"),
            admission: AdmissionOptions {
                enable: flags.list("enable-admission-plugins").to_vec(),
                disable: flags.list("disable-admission-plugins").to_vec(),
                gates: gates.clone(),
            },
            runtime: RuntimeConfig::new(flags.map("runtime-config"))?,
            service_ranges: service_ranges(flags.str("service-cluster-ip-range"))?,
            node_ports: port_range(flags.str("service-node-port-range"))?,
            service_node_port: u16::try_from(flags.int("kubernetes-service-node-port")).unwrap_or(0),
            reconcile_endpoints: match flags.str("endpoint-reconciler-type") {
                "lease" => true,
                "none" => false,
                other => {
                    return Err(Error::Value(format!(
                        "--endpoint-reconciler-type {other} is not served; use lease or none"
                    )));
                }
            },
            event_ttl: seconds(flags, "event-ttl"),
            kubelet: KubeletOptions {
                certificate: flags.str("kubelet-client-certificate").to_owned(),
                key: flags.str("kubelet-client-key").to_owned(),
                authority: flags.str("kubelet-certificate-authority").to_owned(),
                address_types: flags.list("kubelet-preferred-address-types").to_vec(),
            },
            allow_privileged: flags.bool("allow-privileged"),
            gates,
        })
    }
}

/// A duration flag; a negative one counts as none.
fn seconds(flags: &Parsed, name: &str) -> Duration {
    flags.duration(name).to_std()
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::File { path: path.to_owned(), error })
}

/// The address that this host uses towards others. Nothing is sent.
fn own_address() -> IpAddr {
    let towards = || -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        Ok(socket.local_addr()?.ip())
    };
    towards().unwrap_or(Ipv4Addr::LOCALHOST.into())
}

fn auth(flags: &Parsed, external_address: String) -> AuthOptions {
    let path = |name: &str| flags.non_empty(name).map(PathBuf::from);
    let list = |name: &str| flags.list(name).to_vec();
    let text = |name: &str| flags.str(name).to_owned();
    let modes = list("authorization-mode");
    AuthOptions {
        anonymous_auth: flags.bool("anonymous-auth"),
        anonymous_auth_given: flags.is_set("anonymous-auth"),
        authentication_config: path("authentication-config"),
        oidc: OidcFlags {
            given: flags.given().any(|(name, _)| name.starts_with("oidc-")),
            issuer_url: text("oidc-issuer-url"),
            client_id: text("oidc-client-id"),
            ca_file: path("oidc-ca-file"),
            username_claim: text("oidc-username-claim"),
            username_prefix: text("oidc-username-prefix"),
            groups_claim: text("oidc-groups-claim"),
            groups_prefix: text("oidc-groups-prefix"),
            signing_algs: list("oidc-signing-algs"),
            required_claims: list("oidc-required-claim"),
        },
        client_ca_file: path("client-ca-file"),
        requestheader_client_ca_file: path("requestheader-client-ca-file"),
        requestheader_allowed_names: list("requestheader-allowed-names"),
        requestheader_headers: HeaderNames {
            user: list("requestheader-username-headers"),
            uid: list("requestheader-uid-headers"),
            group: list("requestheader-group-headers"),
            extra_prefix: list("requestheader-extra-headers-prefix"),
        },
        token_auth_file: path("token-auth-file"),
        enable_bootstrap_token_auth: flags.bool("enable-bootstrap-token-auth"),
        service_account_issuers: list("service-account-issuer"),
        service_account_key_files: list("service-account-key-file").into_iter().map(PathBuf::from).collect(),
        service_account_signing_key_file: path("service-account-signing-key-file"),
        service_account_lookup: flags.bool("service-account-lookup"),
        service_account_max_token_expiration: i64::try_from(
            seconds(flags, "service-account-max-token-expiration").as_secs(),
        )
        .unwrap_or(0),
        service_account_extend_token_expiration: flags.bool("service-account-extend-token-expiration"),
        service_account_jwks_uri: flags.str("service-account-jwks-uri").to_owned(),
        external_address,
        api_audiences: list("api-audiences"),
        authorization_modes: if modes.is_empty() { vec!["AlwaysAllow".to_owned()] } else { modes },
    }
}

fn service_ranges(text: &str) -> Result<Vec<ipnet::IpNet>, Error> {
    // Upstream's default.
    let text = if text.is_empty() { "10.0.0.0/24" } else { text };
    let bad = |why: &str| Error::Value(format!("--service-cluster-ip-range {why}"));
    let ranges: Vec<ipnet::IpNet> = text
        .split(',')
        .map(|cidr| cidr.trim().parse::<ipnet::IpNet>().map(|n| n.trunc()))
        .collect::<Result<_, _>>()
        .map_err(|_| bad("is not a valid cidr"))?;
    match ranges.as_slice() {
        [_] => Ok(ranges),
        [a, b] if a.addr().is_ipv4() != b.addr().is_ipv4() => Ok(ranges),
        [_, _] => Err(bad("and --secondary-service-cluster-ip-range must be of different IP family")),
        _ => Err(bad("must not contain more than two entries")),
    }
}

fn port_range(text: &str) -> Result<(u16, u16), Error> {
    let bad = || Error::Value(format!("invalid argument \"{text}\" for \"--service-node-port-range\" flag"));
    if let Some((first, size)) = text.split_once('+') {
        let (first, size): (u16, u16) = (first.parse().map_err(|_| bad())?, size.parse().map_err(|_| bad())?);
        return Ok((first, first.saturating_add(size)));
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().map_err(|_| bad())?, last.parse().map_err(|_| bad())?);
    if first > last { Err(bad()) } else { Ok((first, last)) }
}

/// Which versions and resources are on or off.
#[derive(Debug, Clone, Default)]
pub struct RuntimeConfig(Vec<(String, bool)>);

impl RuntimeConfig {
    fn new(map: &std::collections::BTreeMap<String, String>) -> Result<Self, Error> {
        let parse = |(key, value): (&String, &String)| match value.as_str() {
            "" | "true" => Ok((key.clone(), true)),
            "false" => Ok((key.clone(), false)),
            other => Err(Error::Value(format!("runtime-config invalid value {key}={other}"))),
        };
        map.iter().map(parse).collect::<Result<_, _>>().map(RuntimeConfig)
    }

    /// Whether a resource of a version is served; the more specific word counts.
    pub fn enabled(&self, group: &str, version: &str, resource: &str) -> bool {
        let find = |key: &str| self.0.iter().find(|(k, _)| k == key).map(|(_, on)| *on);
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let stage = match (version.contains("alpha"), version.contains("beta")) {
            (true, _) => "api/alpha",
            (_, true) => "api/beta",
            _ => "api/ga",
        };
        find(&format!("{api_version}/{resource}"))
            .or_else(|| find(&api_version))
            .or_else(|| if group.is_empty() { find("api/v1") } else { None })
            .or_else(|| find(stage))
            .or_else(|| find("api/all"))
            .unwrap_or_else(|| enabled_by_default(group, version, resource))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_checked() {
        assert_eq!(service_ranges("10.96.0.1/12").expect("ok")[0].to_string(), "10.96.0.0/12");
        assert_eq!(service_ranges("10.0.0.0/16,fd00::/108").expect("ok").len(), 2);
        assert!(service_ranges("10.0.0.0/16,10.1.0.0/16").is_err());
        assert!(service_ranges("x").is_err());
        assert_eq!(port_range("30000-32767").expect("ok"), (30000, 32767));
        assert_eq!(port_range("30000+10").expect("ok"), (30000, 30010));
        assert!(port_range("2-1").is_err());
    }

    #[test]
    fn the_more_specific_word_counts() {
        let map =
            [("api/all", "false"), ("apps/v1", "true"), ("apps/v1/daemonsets", "false"), ("api/v1", "true")];
        let map = map.map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter().collect();
        let config = RuntimeConfig::new(&map).expect("ok");
        assert!(config.enabled("apps", "v1", "deployments"));
        assert!(!config.enabled("apps", "v1", "daemonsets"));
        assert!(!config.enabled("batch", "v1", "jobs"));
        assert!(config.enabled("", "v1", "pods"));
    }
}
