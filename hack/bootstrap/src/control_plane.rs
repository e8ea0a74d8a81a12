//! The static pods of the control plane, with kubeadm's flags, probes and mounts.

use crate::config::{Config, VERSION, kubernetes, write};
use anyhow::Result;
use serde_json::{Value, json};

/// etcd's image is built from Debian 13's package.
const ETCD_TAG: &str = "3.5.16-0";

/// What differs from one static pod to the next.
struct StaticPod {
    name: &'static str,
    image: String,
    command: Vec<String>,
    cpu: &'static str,
    memory: Option<&'static str>,
    probe: Probe,
    /// Host paths mounted at the same place, with their hostPath type; read-only unless named in `writable`.
    mounts: Vec<(&'static str, &'static str, &'static str)>,
    writable: &'static [&'static str],
}

struct Probe {
    host: String,
    port: u16,
    scheme: &'static str,
    live: &'static str,
    ready: Option<&'static str>,
}

const CERTIFICATES: [(&str, &str, &str); 2] = [
    ("ca-certs", "/etc/ssl/certs", "DirectoryOrCreate"),
    ("k8s-certs", "/etc/kubernetes/pki", "DirectoryOrCreate"),
];

/// Writes etcd's manifest.
pub(crate) async fn etcd(config: &Config) -> Result<()> {
    let (name, address) = (&config.node_name, config.address);
    let pki = "/etc/kubernetes/pki/etcd";
    let command = vec![
        "etcd".to_string(),
        format!("--advertise-client-urls=https://{address}:2379"),
        format!("--cert-file={pki}/server.crt"),
        "--client-cert-auth=true".into(),
        "--data-dir=/var/lib/etcd".into(),
        "--experimental-initial-corrupt-check=true".into(),
        "--experimental-watch-progress-notify-interval=5s".into(),
        format!("--initial-advertise-peer-urls=https://{address}:2380"),
        format!("--initial-cluster={name}=https://{address}:2380"),
        format!("--key-file={pki}/server.key"),
        format!("--listen-client-urls=https://127.0.0.1:2379,https://{address}:2379"),
        "--listen-metrics-urls=http://127.0.0.1:2381".into(),
        format!("--listen-peer-urls=https://{address}:2380"),
        format!("--name={name}"),
        format!("--peer-cert-file={pki}/peer.crt"),
        "--peer-client-cert-auth=true".into(),
        format!("--peer-key-file={pki}/peer.key"),
        format!("--peer-trusted-ca-file={pki}/ca.crt"),
        "--snapshot-count=10000".into(),
        format!("--trusted-ca-file={pki}/ca.crt"),
    ];
    save(StaticPod {
        name: "etcd",
        image: format!("{}/etcd:{ETCD_TAG}", config.options.image_repository),
        command,
        cpu: "100m",
        memory: Some("100Mi"),
        // etcd 3.5 before 3.5.11 has /health alone; /livez and /readyz are what later ones add.
        probe: Probe {
            host: "127.0.0.1".into(),
            port: 2381,
            scheme: "HTTP",
            live: "/livez",
            ready: Some("/readyz"),
        },
        mounts: vec![
            ("etcd-data", "/var/lib/etcd", "DirectoryOrCreate"),
            ("etcd-certs", "/etc/kubernetes/pki/etcd", "DirectoryOrCreate"),
        ],
        writable: &["etcd-data"],
    })
}

/// Writes the manifests of the four daemons.
pub(crate) async fn run(config: &Config) -> Result<()> {
    save(apiserver(config))?;
    save(controller_manager(config))?;
    save(scheduler(config))?;
    cloud_configuration(config)?;
    save(cloud_controller_manager(config))
}

fn apiserver(config: &Config) -> StaticPod {
    let pki = "/etc/kubernetes/pki";
    let port = config.options.apiserver_bind_port;
    let command = vec![
        "kube-apiserver".to_string(),
        format!("--advertise-address={}", config.address),
        "--allow-privileged=true".into(),
        "--authorization-mode=Node,RBAC".into(),
        format!("--client-ca-file={pki}/ca.crt"),
        "--enable-admission-plugins=NodeRestriction".into(),
        "--enable-bootstrap-token-auth=true".into(),
        format!("--etcd-cafile={pki}/etcd/ca.crt"),
        format!("--etcd-certfile={pki}/apiserver-etcd-client.crt"),
        format!("--etcd-keyfile={pki}/apiserver-etcd-client.key"),
        "--etcd-servers=https://127.0.0.1:2379".into(),
        format!("--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt"),
        format!("--kubelet-client-key={pki}/apiserver-kubelet-client.key"),
        "--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname".into(),
        format!("--proxy-client-cert-file={pki}/front-proxy-client.crt"),
        format!("--proxy-client-key-file={pki}/front-proxy-client.key"),
        "--requestheader-allowed-names=front-proxy-client".into(),
        format!("--requestheader-client-ca-file={pki}/front-proxy-ca.crt"),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
        "--requestheader-group-headers=X-Remote-Group".into(),
        "--requestheader-username-headers=X-Remote-User".into(),
        format!("--secure-port={port}"),
        format!(
            "--service-account-issuer=https://kubernetes.default.svc.{}",
            config.options.service_dns_domain
        ),
        format!("--service-account-key-file={pki}/sa.pub"),
        format!("--service-account-signing-key-file={pki}/sa.key"),
        format!("--service-cluster-ip-range={}", config.options.service_cidr),
        format!("--tls-cert-file={pki}/apiserver.crt"),
        format!("--tls-private-key-file={pki}/apiserver.key"),
    ];
    StaticPod {
        name: "kube-apiserver",
        image: config.image("kube-apiserver"),
        command,
        cpu: "250m",
        memory: None,
        probe: Probe {
            host: config.address.to_string(),
            port,
            scheme: "HTTPS",
            live: "/livez",
            ready: Some("/readyz"),
        },
        mounts: CERTIFICATES.to_vec(),
        writable: &[],
    }
}

fn controller_manager(config: &Config) -> StaticPod {
    let (pki, conf) = ("/etc/kubernetes/pki", "/etc/kubernetes/controller-manager.conf");
    let command = vec![
        "kube-controller-manager".to_string(),
        "--allocate-node-cidrs=true".into(),
        format!("--authentication-kubeconfig={conf}"),
        format!("--authorization-kubeconfig={conf}"),
        "--bind-address=127.0.0.1".into(),
        format!("--client-ca-file={pki}/ca.crt"),
        format!("--cluster-cidr={}", config.options.pod_network_cidr),
        "--cluster-name=kubernetes".into(),
        format!("--cluster-signing-cert-file={pki}/ca.crt"),
        format!("--cluster-signing-key-file={pki}/ca.key"),
        "--controllers=*,bootstrapsigner,tokencleaner".into(),
        format!("--kubeconfig={conf}"),
        "--leader-elect=true".into(),
        format!("--node-cidr-mask-size={}", config.node_mask()),
        format!("--requestheader-client-ca-file={pki}/front-proxy-ca.crt"),
        format!("--root-ca-file={pki}/ca.crt"),
        format!("--service-account-private-key-file={pki}/sa.key"),
        format!("--service-cluster-ip-range={}", config.options.service_cidr),
        "--use-service-account-credentials=true".into(),
    ];
    let mut mounts = CERTIFICATES.to_vec();
    mounts.push(("kubeconfig", conf, "FileOrCreate"));
    StaticPod {
        name: "kube-controller-manager",
        image: config.image("kube-controller-manager"),
        command,
        cpu: "200m",
        memory: None,
        probe: loopback(10257, "/healthz", None),
        mounts,
        writable: &[],
    }
}

fn scheduler(config: &Config) -> StaticPod {
    let conf = "/etc/kubernetes/scheduler.conf";
    let command = vec![
        "kube-scheduler".to_string(),
        format!("--authentication-kubeconfig={conf}"),
        format!("--authorization-kubeconfig={conf}"),
        "--bind-address=127.0.0.1".into(),
        format!("--kubeconfig={conf}"),
        "--leader-elect=true".into(),
    ];
    StaticPod {
        name: "kube-scheduler",
        image: config.image("kube-scheduler"),
        command,
        cpu: "100m",
        memory: None,
        probe: loopback(10259, "/livez", Some("/readyz")),
        mounts: vec![("kubeconfig", conf, "FileOrCreate")],
        writable: &[],
    }
}

fn cloud_controller_manager(config: &Config) -> StaticPod {
    let conf = "/etc/kubernetes/cloud-controller-manager.conf";
    let command = vec![
        "cloud-controller-manager".to_string(),
        format!("--authentication-kubeconfig={conf}"),
        format!("--authorization-kubeconfig={conf}"),
        "--bind-address=127.0.0.1".into(),
        "--cloud-config=/etc/kubernetes/cloud-config.yaml".into(),
        "--cloud-provider=bare-metal".into(),
        format!("--cluster-cidr={}", config.options.pod_network_cidr),
        "--configure-cloud-routes=true".into(),
        format!("--kubeconfig={conf}"),
        "--leader-elect=true".into(),
    ];
    StaticPod {
        name: "cloud-controller-manager",
        image: config.image("cloud-controller-manager"),
        command,
        cpu: "100m",
        memory: None,
        probe: loopback(10258, "/healthz", None),
        mounts: vec![
            ("kubeconfig", conf, "FileOrCreate"),
            ("cloud-config", "/etc/kubernetes/cloud-config.yaml", "FileOrCreate"),
        ],
        writable: &[],
    }
}

/// The bare-metal provider's configuration.
fn cloud_configuration(config: &Config) -> Result<()> {
    let path = kubernetes("cloud-config.yaml");
    let pools = match config.options.load_balancer_addresses.as_slice() {
        [] => json!([]),
        addresses => json!([{"name": "default", "addresses": addresses}]),
    };
    let value = json!({"addressPools": pools});
    write(&path, serde_saphyr::to_string(&value)?, 0o644)
}

fn loopback(port: u16, live: &'static str, ready: Option<&'static str>) -> Probe {
    Probe { host: "127.0.0.1".into(), port, scheme: "HTTPS", live, ready }
}

fn save(pod: StaticPod) -> Result<()> {
    let path = kubernetes("manifests").join(format!("{}.yaml", pod.name));
    println!("    {}", pod.name);
    write(&path, serde_saphyr::to_string(&manifest(&pod))?, 0o600)
}

fn manifest(pod: &StaticPod) -> Value {
    let get = |path: &str| json!({"host": pod.probe.host, "path": path, "port": "probe-port", "scheme": pod.probe.scheme});
    let mut container = json!({
        "name": pod.name,
        "image": pod.image,
        "imagePullPolicy": "IfNotPresent",
        "command": pod.command,
        "ports": [{"containerPort": pod.probe.port, "name": "probe-port", "protocol": "TCP"}],
        "resources": {"requests": {"cpu": pod.cpu}},
        "livenessProbe": {
            "httpGet": get(pod.probe.live),
            "failureThreshold": 8, "initialDelaySeconds": 10, "periodSeconds": 10, "timeoutSeconds": 15,
        },
        // Ready within tens of milliseconds: the first probe can come at once.
        "startupProbe": {"httpGet": get(pod.probe.live), "failureThreshold": 240, "periodSeconds": 1, "timeoutSeconds": 15},
        "volumeMounts": pod.mounts.iter().map(|(name, path, _)| {
            let mut mount = json!({"name": name, "mountPath": path});
            if !pod.writable.contains(name) {
                mount["readOnly"] = true.into();
            }
            mount
        }).collect::<Vec<_>>(),
    });
    if let Some(memory) = pod.memory {
        container["resources"]["requests"]["memory"] = memory.into();
    }
    if let Some(ready) = pod.probe.ready {
        container["readinessProbe"] =
            json!({"httpGet": get(ready), "failureThreshold": 3, "periodSeconds": 1, "timeoutSeconds": 15});
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod.name,
            "namespace": "kube-system",
            "labels": {"component": pod.name, "tier": "control-plane"},
            "annotations": {"keelson.dev/version": VERSION},
        },
        "spec": {
            "containers": [container],
            "hostNetwork": true,
            "priority": 2000001000,
            "priorityClassName": "system-node-critical",
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "volumes": pod.mounts.iter().map(|(name, path, kind)| json!({
                "name": name, "hostPath": {"path": path, "type": kind},
            })).collect::<Vec<_>>(),
        },
    })
}
