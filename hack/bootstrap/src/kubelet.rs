//! The kubelet: its configuration, its flags, its start.

use crate::config::{Config, kubernetes, write};
use crate::runtime::path_with;
use crate::supervise;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const CONFIG: &str = "/var/lib/kubelet/config.yaml";

/// The KubeletConfiguration that every node of the cluster shares; `kubelet-config` stores it.
pub(crate) fn configuration(config: &Config) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": kubernetes("pki/ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "clusterDNS": [config.service_address(10)],
        "clusterDomain": config.options.service_dns_domain,
        "failCgroupV1": false,
        "failSwapOn": false,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": 10248,
        "rotateCertificates": true,
        "staticPodPath": kubernetes("manifests"),
    })
}

/// Writes the configuration with what only this node knows: its runtime, its cgroup, its resolver.
pub(crate) fn write_configuration(config: &Config, mut shared: Value) -> Result<()> {
    shared["containerRuntimeEndpoint"] = config.cri_endpoint().into();
    if config.options.cgroup_root != "/" {
        shared["cgroupRoot"] = config.options.cgroup_root.clone().into();
    }
    // A stub resolver on loopback can't be reached from pods.
    if Path::new("/run/systemd/resolve/resolv.conf").exists() {
        shared["resolvConf"] = "/run/systemd/resolve/resolv.conf".into();
    }
    write(Path::new(CONFIG), serde_saphyr::to_string(&shared)?, 0o644)
}

/// The cgroup that this node's pods live below, as its kubelet was told.
pub(crate) fn cgroup_root() -> Option<String> {
    let configuration: Value = serde_saphyr::from_str(&std::fs::read_to_string(CONFIG).ok()?).ok()?;
    Some(configuration.get("cgroupRoot")?.as_str()?.to_string())
}

/// init's phase: the control plane's kubelet has its certificate already.
pub(crate) async fn start(config: &Config) -> Result<()> {
    write_configuration(config, configuration(config))?;
    run(config, &[])?;
    healthy().await
}

/// Starts the supervised kubelet.
pub(crate) fn run(config: &Config, more: &[String]) -> Result<()> {
    let mut command = vec![
        config.program("kubelet").display().to_string(),
        format!("--config={CONFIG}"),
        format!("--kubeconfig={}", kubernetes("kubelet.conf").display()),
        format!("--hostname-override={}", config.node_name),
        format!("--node-ip={}", config.address),
        "--cloud-provider=external".to_string(),
    ];
    command.extend_from_slice(more);
    command.extend_from_slice(&config.options.kubelet_extra_args);
    supervise::start("kubelet", &command, &[("PATH", path_with(&config.options.prefix.join("bin")))])
}

/// Waits until the kubelet's health endpoint answers.
pub(crate) async fn healthy() -> Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let attempt = async {
            let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", 10248)).await?;
            stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        if attempt.await.is_ok_and(|answer| answer.ends_with("ok")) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("the kubelet is not healthy after a minute: see /var/log/keelson/kubelet.log");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Points kubelet.conf at the certificate that the kubelet rotates, once it has one.
pub(crate) async fn finalize(_: &Config) -> Result<()> {
    let current = PathBuf::from("/var/lib/kubelet/pki/kubelet-client-current.pem");
    let path = kubernetes("kubelet.conf");
    if !current.exists() {
        return Ok(());
    }
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut value: Value = serde_saphyr::from_str(&text)?;
    if let Some(user) = value.pointer_mut("/users/0/user") {
        *user = json!({"client-certificate": current, "client-key": current});
    }
    write(&path, serde_saphyr::to_string(&value)?, 0o600)
}
