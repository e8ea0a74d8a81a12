//! A kube-apiserver with the default filters on: TLS, authentication, RBAC, admission, managedFields.

use crate::etcd::Etcd;
use crate::process::{Process, free_port};
use anyhow::{Context, Result};
use component_base::client::{Auth, Client, Config};
use http::Method;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The files that a server needs, made once.
pub(crate) struct Setup {
    folder: PathBuf,
}

/// A running server.
pub(crate) struct Server {
    process: Process,
    port: u16,
    pub(crate) ready: Duration,
}

impl Setup {
    /// Writes keys and tokens: `admin` may everything without RBAC, `bench` by a ClusterRoleBinding.
    pub(crate) fn new(folder: &Path) -> Result<Setup> {
        let key = rcgen::KeyPair::generate()?;
        std::fs::write(folder.join("sa.key"), key.serialize_pem())?;
        std::fs::write(folder.join("sa.pub"), key.public_key_pem())?;
        std::fs::write(folder.join("tokens.csv"), "admin,admin,admin,system:masters\nbench,bench,bench\n")?;
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

    /// Clients with a connection each, as the user that RBAC lets in.
    pub(crate) async fn clients(&self, server: &Server, count: usize) -> Result<Vec<Client>> {
        let admin = client(server.port, "admin")?;
        for (path, body) in [
            ("/api/v1/namespaces", r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"bench"}}"#.to_string()),
            (
                "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
                r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"bench"},
                    "roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"},
                    "subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"bench"}]}"#
                    .to_string(),
            ),
        ] {
            admin.request(Method::POST, path, Some(("application/json", body.into()))).await.context(path)?;
        }
        // The binding counts once the authorizer has seen it.
        tokio::time::sleep(Duration::from_millis(500)).await;
        (0..count).map(|_| client(server.port, "bench")).collect()
    }
}

fn client(port: u16, token: &str) -> Result<Client> {
    let config = Config {
        server: format!("https://127.0.0.1:{port}"),
        insecure: true,
        auth: Auth::Token(token.into()),
        qps: 0.0,
        ..Config::default()
    };
    Ok(Client::new(config)?)
}

impl Server {
    /// Starts a server on an empty etcd, and measures from exec until `/readyz` says ok.
    pub(crate) async fn start(program: &Path, setup: &Setup, etcd: &Etcd) -> Result<Server> {
        let port = free_port()?;
        let began = Instant::now();
        let mut process = Process::start(program, &setup.arguments(etcd, port), &setup.folder.join("log"))?;
        loop {
            // A connection that was refused once is not asked again: a new client each time.
            if let Ok(answer) = client(port, "admin")?.request(Method::GET, "/readyz", None).await
                && answer.as_ref() == b"ok"
            {
                break;
            }
            anyhow::ensure!(
                process.runs() && began.elapsed() < Duration::from_secs(60),
                "{} is not ready: {}",
                program.display(),
                std::fs::read_to_string(setup.folder.join("log")).unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(Server { process, port, ready: began.elapsed() })
    }

    /// Resident memory, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.process.memory()
    }

    /// Ends it.
    pub(crate) fn stop(&mut self) {
        let _ = self.process.runs();
    }
}
