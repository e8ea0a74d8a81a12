//! Where the API server is and who asks: from a kubeconfig file, flags, or a pod's service account.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use futures::future::BoxFuture;
use serde::Deserialize;

/// A configuration that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that can't be read.
    #[error("{0}: {1}")]
    Read(PathBuf, std::io::Error),
    /// A kubeconfig that isn't one.
    #[error("error loading config file {0:?}: {1}")]
    Parse(PathBuf, String),
    /// A part that is missing or isn't supported.
    #[error("invalid configuration: {0}")]
    Invalid(String),
}

/// Bytes given in place or kept in a file, which is read again when connections are made anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In place.
    Data(Vec<u8>),
    /// A file.
    File(PathBuf),
}

impl Source {
    /// The bytes now.
    pub fn read(&self) -> Result<Vec<u8>, ConfigError> {
        match self {
            Self::Data(data) => Ok(data.clone()),
            Self::File(path) => std::fs::read(path).map_err(|e| ConfigError::Read(path.clone(), e)),
        }
    }

    /// The file, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Data(_) => None,
            Self::File(path) => Some(path),
        }
    }
}

/// Produces a bearer token for each request; it caches by itself.
pub type TokenProvider = Arc<dyn Fn() -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

/// How requests say who they are, beside a client certificate.
#[derive(Clone, Default)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// A fixed bearer token.
    Token(String),
    /// A bearer token in a file that others refresh.
    TokenFile(PathBuf),
    /// User name and password.
    Basic(String, String),
    /// A token made when needed.
    Provider(TokenProvider),
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Secrets stay out of logs.
        f.write_str(match self {
            Self::None => "None",
            Self::Token(_) => "Token",
            Self::TokenFile(_) => "TokenFile",
            Self::Basic(..) => "Basic",
            Self::Provider(_) => "Provider",
        })
    }
}

/// All that a client needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Scheme, host, port and perhaps a path prefix, without a slash at the end.
    pub server: String,
    /// The server's authorities; without them the host's own are trusted.
    pub ca: Option<Source>,
    /// The name to expect in the server's certificate in place of its host.
    pub tls_server_name: Option<String>,
    /// Accept any server certificate.
    pub insecure: bool,
    /// Client certificate and key.
    pub identity: Option<(Source, Source)>,
    /// Other credentials.
    pub auth: Auth,
    /// The user to act as, with groups.
    pub impersonate: Option<(String, Vec<String>)>,
    /// Requests per second, not counting watches; 0 or less means no limit.
    pub qps: f64,
    /// How many requests may go at once.
    pub burst: f64,
    /// The time for one request, watches excepted.
    pub timeout: Option<Duration>,
    /// The `User-Agent`.
    pub user_agent: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: String::new(),
            ca: None,
            tls_server_name: None,
            insecure: false,
            identity: None,
            auth: Auth::None,
            impersonate: None,
            qps: 5.0,
            burst: 10.0,
            timeout: None,
            user_agent: format!("keelson/{} (linux/{})", crate::version::GIT_VERSION, crate::version::arch()),
        }
    }
}

impl Config {
    /// Reads a kubeconfig's current context; `master` overrides its server. Without either, the pod's
    /// service account.
    pub fn load(kubeconfig: &str, master: &str) -> Result<Self, ConfigError> {
        if kubeconfig.is_empty() && master.is_empty() {
            return Self::in_cluster();
        }
        let mut config =
            if kubeconfig.is_empty() { Self::default() } else { Self::from_file(Path::new(kubeconfig))? };
        if !master.is_empty() {
            config.server = normalize(master);
        }
        Ok(config)
    }

    /// The service account of the pod this runs in.
    pub fn in_cluster() -> Result<Self, ConfigError> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (Some(host), Some(port)) =
            (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT"))
        else {
            return Err(ConfigError::Invalid(
                "unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined".into(),
            ));
        };
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let dir = Path::new("/var/run/secrets/kubernetes.io/serviceaccount");
        Ok(Self {
            server: format!("https://{host}:{port}"),
            ca: Some(Source::File(dir.join("ca.crt"))),
            auth: Auth::TokenFile(dir.join("token")),
            ..Self::default()
        })
    }

    /// Reads a kubeconfig file.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|e| ConfigError::Read(path.to_owned(), e))?;
        let file: Kubeconfig =
            serde_saphyr::from_str(&text).map_err(|e| ConfigError::Parse(path.to_owned(), e.to_string()))?;
        file.resolve(path.parent().unwrap_or(Path::new(".")))
    }

    /// Names the component in the `User-Agent`, as upstream's daemons do.
    pub fn with_component(mut self, component: &str) -> Self {
        self.user_agent = format!(
            "{component}/{} (linux/{}) kubernetes/keelson",
            crate::version::GIT_VERSION,
            crate::version::arch()
        );
        self
    }

    /// Sets the client-side rate limit.
    pub fn with_limit(mut self, qps: f64, burst: f64) -> Self {
        (self.qps, self.burst) = (qps, burst);
        self
    }
}

fn normalize(server: &str) -> String {
    let server = server.trim_end_matches('/');
    if server.contains("://") { server.to_owned() } else { format!("http://{server}") }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Named<T> {
    name: String,
    #[serde(alias = "cluster", alias = "user", alias = "context")]
    value: T,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct Kubeconfig {
    clusters: Option<Vec<Named<Cluster>>>,
    users: Option<Vec<Named<User>>>,
    contexts: Option<Vec<Named<Context>>>,
    current_context: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct Cluster {
    server: String,
    certificate_authority: Option<String>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: bool,
    tls_server_name: Option<String>,
    proxy_url: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct User {
    client_certificate: Option<String>,
    client_certificate_data: Option<String>,
    client_key: Option<String>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<String>,
    username: Option<String>,
    password: Option<String>,
    #[serde(rename = "as")]
    act_as: Option<String>,
    as_groups: Option<Vec<String>>,
    exec: Option<serde_json::Value>,
    auth_provider: Option<serde_json::Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
}

impl Kubeconfig {
    fn resolve(self, dir: &Path) -> Result<Config, ConfigError> {
        let invalid = |text: String| Err(ConfigError::Invalid(text));
        let find = |name: &str| format!("context was not found for specified context: {name}");
        let current = self.current_context.unwrap_or_default();
        let contexts = self.contexts.unwrap_or_default();
        let Some(context) = contexts.into_iter().find(|named| named.name == current) else {
            return invalid(if current.is_empty() {
                "no configuration has been provided: the kubeconfig has no current-context".into()
            } else {
                find(&current)
            });
        };
        let clusters = self.clusters.unwrap_or_default();
        let Some(cluster) = clusters.into_iter().find(|named| named.name == context.value.cluster) else {
            return invalid(format!("cluster {:?} does not exist", context.value.cluster));
        };
        let users = self.users.unwrap_or_default();
        let user = users.into_iter().find(|named| named.name == context.value.user).map(|named| named.value);
        let (cluster, user) = (cluster.value, user.unwrap_or_default());
        if cluster.server.is_empty() {
            return invalid(format!("cluster {:?} has no server defined", context.value.cluster));
        }
        if cluster.proxy_url.is_some_and(|url| !url.is_empty()) {
            return invalid("proxy-url is not supported".into());
        }
        if user.exec.is_some() || user.auth_provider.is_some() {
            return invalid("credential plugins (exec, auth-provider) are not supported; use a certificate, token or tokenFile".into());
        }
        let source =
            |data: Option<String>, file: Option<String>, what: &str| -> Result<Option<Source>, ConfigError> {
                if let Some(data) = data.filter(|data| !data.is_empty()) {
                    let clean: String = data.chars().filter(|c| !c.is_whitespace()).collect();
                    let bytes = base64::engine::general_purpose::STANDARD
                        .decode(clean)
                        .map_err(|e| ConfigError::Invalid(format!("{what}: {e}")))?;
                    return Ok(Some(Source::Data(bytes)));
                }
                Ok(file.filter(|file| !file.is_empty()).map(|file| Source::File(dir.join(file))))
            };
        let certificate =
            source(user.client_certificate_data, user.client_certificate, "client-certificate-data")?;
        let key = source(user.client_key_data, user.client_key, "client-key-data")?;
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            // One file may hold both, as the kubelet's does.
            (None, None) => None,
            _ => return invalid("client-certificate and client-key must both be given".into()),
        };
        let auth = match (user.token_file, user.token, user.username) {
            (Some(file), _, _) if !file.is_empty() => Auth::TokenFile(dir.join(file)),
            (_, Some(token), _) if !token.is_empty() => Auth::Token(token),
            (_, _, Some(name)) if !name.is_empty() => Auth::Basic(name, user.password.unwrap_or_default()),
            _ => Auth::None,
        };
        Ok(Config {
            server: normalize(&cluster.server),
            ca: source(
                cluster.certificate_authority_data,
                cluster.certificate_authority,
                "certificate-authority-data",
            )?,
            tls_server_name: cluster.tls_server_name.filter(|name| !name.is_empty()),
            insecure: cluster.insecure_skip_tls_verify,
            identity,
            auth,
            impersonate: user
                .act_as
                .filter(|name| !name.is_empty())
                .map(|name| (name, user.as_groups.unwrap_or_default())),
            ..Config::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        serde_saphyr::from_str::<Kubeconfig>(text).unwrap().resolve(Path::new("/etc/kubernetes"))
    }

    #[test]
    fn the_current_context_is_resolved() {
        let config = parse(
            "apiVersion: v1\nkind: Config\ncurrent-context: x\nclusters:\n- name: c\n  cluster:\n    server: https://h:6443/\n    certificate-authority: pki/ca.crt\n\
             contexts:\n- name: x\n  context: {cluster: c, user: u}\nusers:\n- name: u\n  user:\n    client-certificate: /a.crt\n    client-key-data: a2V5\n",
        )
        .unwrap();
        assert_eq!(config.server, "https://h:6443");
        assert_eq!(config.ca, Some(Source::File("/etc/kubernetes/pki/ca.crt".into())));
        assert_eq!(config.identity, Some((Source::File("/a.crt".into()), Source::Data(b"key".to_vec()))));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = parse("current-context: y").unwrap_err().to_string();
        assert_eq!(error, "invalid configuration: context was not found for specified context: y");
        let error = parse("current-context: x\ncontexts: [{name: x, context: {cluster: c}}]")
            .unwrap_err()
            .to_string();
        assert_eq!(error, "invalid configuration: cluster \"c\" does not exist");
    }
}
