//! Three members of etcd, two API servers as processes of their own, and a link from each server to each member.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::clients::Client;
use super::proxy::Link;
use crate::common::{free_port, tools};

/// A program that can be killed, stopped and started again.
pub(super) struct Process {
    program: PathBuf,
    args: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    fn start(program: PathBuf, args: Vec<String>, log: PathBuf) -> Self {
        let mut process = Process { program, args, log, child: None };
        process.run();
        process
    }

    /// Starts it, unless it runs.
    pub(super) fn run(&mut self) {
        if self.child.is_some() {
            return;
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).expect("a log");
        let child = Command::new(&self.program)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("the program starts"));
    }

    /// Kills it as a power failure would.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether it ended although nobody killed it.
    fn has_died(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)))
    }

    /// The end of its log.
    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Stops it (`STOP`), or lets it go on (`CONT`).
    pub(super) fn signal(&self, name: &str) {
        let Some(child) = &self.child else { return };
        let sent = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status();
        assert!(sent.is_ok_and(|s| s.success()), "kill -{name} works");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// All of it.
pub(super) struct Cluster {
    /// Members of etcd.
    pub(super) members: Vec<Process>,
    /// URLs of the members, without links.
    pub(super) urls: Vec<String>,
    /// API servers.
    pub(super) servers: Vec<Process>,
    /// Their ports.
    pub(super) ports: Vec<u16>,
    /// From each server to each member.
    pub(super) links: Vec<Vec<Link>>,
    /// Where the logs are.
    pub(super) directory: PathBuf,
}

/// Members of etcd.
pub(super) const MEMBERS: usize = 3;
/// API servers.
pub(super) const SERVERS: usize = 2;

impl Cluster {
    /// Starts everything and waits until both servers are ready.
    pub(super) async fn start() -> Self {
        let directory = std::env::temp_dir().join(format!("keelson-faults-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let ports: Vec<(u16, u16)> = (0..MEMBERS).map(|_| (free_port(), free_port())).collect();
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let names: Vec<String> =
            ports.iter().enumerate().map(|(i, (_, peer))| format!("m{i}={}", url(*peer))).collect();
        let members = ports.iter().enumerate().map(|(i, (client, peer))| {
            let data = directory.join(format!("m{i}"));
            let args = [
                format!("--name=m{i}"),
                format!("--data-dir={}", data.display()),
                format!("--listen-client-urls={}", url(*client)),
                format!("--advertise-client-urls={}", url(*client)),
                format!("--listen-peer-urls={}", url(*peer)),
                format!("--initial-advertise-peer-urls={}", url(*peer)),
                format!("--initial-cluster={}", names.join(",")),
                "--unsafe-no-fsync".to_owned(),
            ];
            Process::start(tools().join("bin/etcd"), args.to_vec(), directory.join(format!("m{i}.log")))
        });
        let members: Vec<Process> = members.collect();
        let (mut links, mut servers, mut server_ports) = (Vec::new(), Vec::new(), Vec::new());
        let key = rcgen::KeyPair::generate().expect("a key");
        let signing = write(&directory, "sa.key", &key.serialize_pem());
        let tokens = write(&directory, "tokens.csv", "secret,admin,1,system:masters\n");
        for i in 0..SERVERS {
            let mut own = Vec::new();
            for (client, _) in &ports {
                own.push(Link::to(([127, 0, 0, 1], *client).into()).await);
            }
            let etcd: Vec<String> = own.iter().map(|link| url(link.port)).collect();
            let port = free_port();
            let certs = directory.join(format!("s{i}"));
            let args = [
                format!("--etcd-servers={}", etcd.join(",")),
                format!("--secure-port={port}"),
                "--bind-address=127.0.0.1".to_owned(),
                format!("--cert-dir={}", certs.display()),
                format!("--token-auth-file={tokens}"),
                "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
                format!("--service-account-key-file={signing}"),
                format!("--service-account-signing-key-file={signing}"),
                "--service-cluster-ip-range=10.96.0.0/12".to_owned(),
                "--authorization-mode=RBAC".to_owned(),
                "--endpoint-reconciler-type=none".to_owned(),
                // The history is read from etcd itself in the end, so it must be there, and readable.
                "--storage-media-type=application/json".to_owned(),
                "--etcd-compaction-interval=0".to_owned(),
            ];
            let program = PathBuf::from(env!("CARGO_BIN_EXE_kube-apiserver"));
            servers.push(Process::start(program, args.to_vec(), directory.join(format!("s{i}.log"))));
            server_ports.push(port);
            links.push(own);
        }
        let urls = ports.iter().map(|(client, _)| url(*client)).collect();
        let mut cluster = Cluster { members, urls, servers, ports: server_ports, links, directory };
        cluster.ready().await;
        cluster
    }

    /// Waits until both servers are ready.
    pub(super) async fn ready(&mut self) {
        for (port, server) in self.ports.iter().zip(&mut self.servers) {
            let mut client = Client::new(&[*port]);
            let begin = Instant::now();
            while !matches!(client.get("/readyz").await, Some((200, _))) {
                if begin.elapsed() > super::RECOVERY || server.has_died() {
                    let says = client.text("/readyz?verbose").await;
                    panic!(
                        "the server at {port} is ready: it says {says:?}, and logged\n{}",
                        server.last_words()
                    );
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).expect("a file");
    path.display().to_string()
}
