//! A kube-apiserver with the default filters on: TLS, authentication, RBAC, admission, managedFields; and daemons that use it.

use crate::etcd::Etcd;
use crate::process::{Process, free_port};
use crate::wire::Wire;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The user that the loads are: let in by RBAC.
const USER: &str = "bench";
/// Who may everything without RBAC.
const ADMIN: &str = "admin";

/// The files that a server needs, made once.
pub(crate) struct Setup {
    folder: PathBuf,
}

/// A running server.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) port: u16,
    folder: PathBuf,
    /// From exec until `/readyz` said ok.
    pub(crate) ready: Duration,
}

impl Setup {
    /// Writes keys and tokens.
    pub(crate) fn new(folder: &Path) -> Result<Setup> {
        std::fs::create_dir_all(folder)?;
        let key = rcgen::KeyPair::generate()?;
        std::fs::write(folder.join("sa.key"), key.serialize_pem())?;
        std::fs::write(folder.join("sa.pub"), key.public_key_pem())?;
        let tokens = format!("{ADMIN},{ADMIN},{ADMIN},system:masters\n{USER},{USER},{USER}\n")
            + &["kube-scheduler", "kube-controller-manager", "kube-proxy"]
                .map(|name| format!("{name},system:{name},{name}\n"))
                .concat();
        std::fs::write(folder.join("tokens.csv"), tokens)?;
        Ok(Setup { folder: folder.to_path_buf() })
    }

    fn arguments(&self, etcd: &Etcd, port: u16) -> Vec<String> {
        let file = |name: &str| self.folder.join(name).display().to_string();
        vec![
            format!("--etcd-servers={}", etcd.url),
            "--bind-address=127.0.0.1".into(),
            "--advertise-address=127.0.0.1".into(),
            format!("--secure-port={port}"),
            format!("--cert-dir={}", file("certs")),
            format!("--token-auth-file={}", file("tokens.csv")),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-key-file={}", file("sa.pub")),
            format!("--service-account-signing-key-file={}", file("sa.key")),
            "--service-cluster-ip-range=10.96.0.0/12".into(),
            "--authorization-mode=Node,RBAC".into(),
        ]
    }
}

impl Server {
    /// Starts a server, and measures from exec until `/readyz` says ok.
    pub(crate) async fn start(program: &Path, setup: &Setup, etcd: &Etcd) -> Result<Server> {
        let port = free_port()?;
        let began = Instant::now();
        let process = Process::start(program, &setup.arguments(etcd, port), &setup.folder.join("log"))?;
        let mut server = Server { process, port, folder: setup.folder.clone(), ready: Duration::ZERO };
        // One connection asks, from when the port is open on.
        let mut wire = None;
        loop {
            if wire.is_none() {
                wire = Wire::open(port, ADMIN).await.ok();
            }
            if let Some(open) = &mut wire
                && open.count("GET", "/readyz", &[], Default::default()).await.is_ok()
            {
                server.ready = began.elapsed();
                return Ok(server);
            }
            ensure!(
                server.process.runs() && began.elapsed() < Duration::from_secs(120),
                "{} is not ready: {}",
                program.display(),
                server.process.said()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Makes the namespace of the loads and lets their user in.
    pub(crate) async fn prepare(&self) -> Result<()> {
        let mut wire = Wire::open(self.port, ADMIN).await?;
        for (path, body) in [
            ("/api/v1/namespaces", r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"bench"}}"#),
            (
                "/api/v1/namespaces/bench/serviceaccounts",
                r#"{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default"}}"#,
            ),
            (
                "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
                r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"bench"},
                    "roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"},
                    "subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"bench"}]}"#,
            ),
        ] {
            wire.count("POST", path, body.as_bytes(), Default::default()).await.context(path)?;
        }
        // The binding counts once the authorizer has seen it.
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(())
    }

    /// A connection of the loads' user.
    pub(crate) async fn connect(&self) -> Result<Wire> {
        Wire::open(self.port, USER).await
    }

    /// Writes a kubeconfig with a daemon's own identity.
    pub(crate) fn kubeconfig(&self, name: &str) -> Result<PathBuf> {
        let file = self.folder.join(format!("{name}.conf"));
        let text = format!(
            "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: \"https://127.0.0.1:{}\", insecure-skip-tls-verify: true}}}}]\n\
             users: [{{name: u, user: {{token: {name}}}}}]\ncontexts: [{{name: x, context: {{cluster: c, user: u}}}}]\ncurrent-context: x\n",
            self.port
        );
        std::fs::write(&file, text)?;
        Ok(file)
    }

    /// Starts a daemon that is a client of this server, under its own identity.
    pub(crate) fn client_daemon(&self, program: &Path, name: &'static str, more: &[&str]) -> Result<Process> {
        let file = self.kubeconfig(name)?;
        let file = file.display();
        let mut arguments = vec![
            format!("--kubeconfig={file}"),
            format!("--authentication-kubeconfig={file}"),
            format!("--authorization-kubeconfig={file}"),
            "--bind-address=127.0.0.1".into(),
            format!("--secure-port={}", free_port()?),
            format!("--cert-dir={}", self.folder.join(name).display()),
        ];
        arguments.extend(more.iter().map(|flag| (*flag).to_owned()));
        Process::start(program, &arguments, &self.folder.join(format!("{name}.log")))
    }
}
