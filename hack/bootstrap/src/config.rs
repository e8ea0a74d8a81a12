//! What the user chose, with kubeadm's names and defaults.

use anyhow::{Context, Result, bail};
use clap::Args;
use ipnet::Ipv4Net;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};

/// The version of Kubernetes served, which is also the tag of the daemons' images.
pub(crate) const VERSION: &str = "v1.36.2";

/// The flags that `init` and `join` share.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// The address this node is reached at; by default that of the default route.
    #[arg(long)]
    pub(crate) apiserver_advertise_address: Option<IpAddr>,
    /// The port of the API server.
    #[arg(long, default_value_t = 6443)]
    pub(crate) apiserver_bind_port: u16,
    /// More names or addresses for the API server's certificate.
    #[arg(long, value_delimiter = ',')]
    pub(crate) apiserver_cert_extra_sans: Vec<String>,
    #[arg(long, default_value = "10.244.0.0/16")]
    pub(crate) pod_network_cidr: Ipv4Net,
    #[arg(long, default_value = "10.96.0.0/12")]
    pub(crate) service_cidr: Ipv4Net,
    #[arg(long, default_value = "cluster.local")]
    pub(crate) service_dns_domain: String,
    /// The addresses that Services of type LoadBalancer may get: CIDRs or first-last ranges.
    #[arg(long, value_delimiter = ',')]
    pub(crate) load_balancer_addresses: Vec<String>,
    /// This node's name; by default its host name.
    #[arg(long)]
    pub(crate) node_name: Option<String>,
    #[arg(long, default_value = "registry.k8s.io")]
    pub(crate) image_repository: String,
    /// The runtime's socket; by default containerd is started and supervised here.
    #[arg(long)]
    pub(crate) cri_socket: Option<String>,
    /// The cgroup below which all pods live.
    #[arg(long, default_value = "/")]
    pub(crate) cgroup_root: String,
    /// More flags for this node's kubelet, split at spaces.
    #[arg(long, value_delimiter = ' ', allow_hyphen_values = true)]
    pub(crate) kubelet_extra_args: Vec<String>,
    /// Let ordinary pods run on the control plane's node too.
    #[arg(long)]
    pub(crate) schedulable: bool,
    /// A bootstrap token, id.secret.
    #[arg(long)]
    pub(crate) token: Option<String>,
    /// How long the token lives, in hours; 0 for ever.
    #[arg(long, default_value_t = 24)]
    pub(crate) token_ttl_hours: u64,
    /// The hash of the cluster's CA key: sha256:<hex>.
    #[arg(long, value_delimiter = ',')]
    pub(crate) discovery_token_ca_cert_hash: Vec<String>,
    /// Join without checking the CA's hash: the token alone vouches for it.
    #[arg(long)]
    pub(crate) discovery_token_unsafe_skip_ca_verification: bool,
    #[arg(long, value_delimiter = ',')]
    pub(crate) skip_phases: Vec<String>,
    /// The folder of the programs (bin) and of the image archives (images).
    #[arg(long, default_value = "/opt/keelson")]
    pub(crate) prefix: PathBuf,
    /// The folder of the CNI plugins.
    #[arg(long, default_value = "/usr/lib/cni")]
    pub(crate) cni_bin_dir: PathBuf,
}

/// Everything the phases need, worked out once.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) options: Options,
    pub(crate) node_name: String,
    /// The address of this node.
    pub(crate) address: IpAddr,
    /// host:port of the API server.
    pub(crate) endpoint: String,
}

impl Config {
    /// The configuration of a machine that runs the control plane.
    pub(crate) fn for_init(options: Options) -> Result<Config> {
        let address = own_address(&options, Ipv4Addr::new(192, 0, 2, 1))?;
        let endpoint = format!("{}:{}", bracketed(address), options.apiserver_bind_port);
        Self::new(options, address, endpoint)
    }

    /// The configuration of a machine that joins the cluster at `endpoint`.
    pub(crate) fn for_join(options: Options, endpoint: Option<String>) -> Result<Config> {
        let endpoint = endpoint.context("join needs the API server's host:port")?;
        let Some((host, port)) = endpoint.rsplit_once(':') else { bail!("{endpoint:?} is not host:port") };
        port.parse::<u16>().with_context(|| format!("{endpoint:?}: the port"))?;
        // The address that this machine would use to talk to the API server.
        let towards = host.parse().unwrap_or(Ipv4Addr::new(192, 0, 2, 1));
        let address = own_address(&options, towards)?;
        Self::new(options, address, endpoint)
    }

    fn new(options: Options, address: IpAddr, endpoint: String) -> Result<Config> {
        let node_name = match &options.node_name {
            Some(name) => name.clone(),
            None => nix::unistd::gethostname()?.to_string_lossy().to_lowercase(),
        };
        if options.service_cidr.prefix_len() > 28 {
            bail!("--service-cidr: {} has too few addresses", options.service_cidr);
        }
        Ok(Config { options, node_name, address, endpoint })
    }

    /// The n-th address of the Service network: 1 is `kubernetes`, 10 is `kube-dns`.
    pub(crate) fn service_address(&self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.options.service_cidr.network()) + n)
    }

    /// The full name of one of the daemons' images.
    pub(crate) fn image(&self, name: &str) -> String {
        format!("{}/{name}:{VERSION}", self.options.image_repository)
    }

    /// The pause image that every sandbox runs.
    pub(crate) fn pause_image(&self) -> String {
        format!("{}/pause:3.10.1", self.options.image_repository)
    }

    /// A program below `--prefix`.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.options.prefix.join("bin").join(name)
    }

    /// The runtime's endpoint as the kubelet takes it.
    pub(crate) fn cri_endpoint(&self) -> String {
        match &self.options.cri_socket {
            Some(socket) if socket.contains("://") => socket.clone(),
            Some(socket) => format!("unix://{socket}"),
            None => format!("unix://{RUN}/containerd/containerd.sock"),
        }
    }

    /// How many nodes may share the pod network, as a prefix length: a /24 each, or what is left.
    pub(crate) fn node_mask(&self) -> u8 {
        self.options.pod_network_cidr.prefix_len().max(24)
    }
}

/// Run-time state: sockets and pid files.
pub(crate) const RUN: &str = "/run/keelson";
/// State that outlives a restart of the machine.
pub(crate) const STATE: &str = "/var/lib/keelson";
/// The logs of what is supervised.
pub(crate) const LOGS: &str = "/var/log/keelson";
/// kubeadm's folder.
pub(crate) const KUBERNETES: &str = "/etc/kubernetes";

/// A file below `/etc/kubernetes`.
pub(crate) fn kubernetes(name: &str) -> PathBuf {
    Path::new(KUBERNETES).join(name)
}

/// Writes `text` with `mode`, making the folders above it; the file is complete or absent.
pub(crate) fn write(path: &Path, text: impl AsRef<[u8]>, mode: u32) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let folder = path.parent().context("a path without a folder")?;
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Hidden, so that the kubelet passes over it while it is being written.
    let part = folder.join(format!(".{name}.part"));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&part)
        .with_context(|| part.display().to_string())?;
    file.write_all(text.as_ref())?;
    file.sync_all()?;
    std::fs::rename(&part, path).with_context(|| path.display().to_string())?;
    Ok(())
}

fn own_address(options: &Options, towards: Ipv4Addr) -> Result<IpAddr> {
    if let Some(address) = options.apiserver_advertise_address {
        return Ok(address);
    }
    // Connecting a UDP socket sends nothing: it only asks the kernel which source address it would use.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket
        .connect((towards, 9))
        .context("this machine has no default route: name its address with --apiserver-advertise-address")?;
    Ok(socket.local_addr()?.ip())
}

fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

#[cfg(test)]
pub(crate) fn test_options() -> Options {
    #[derive(clap::Parser)]
    struct Alone {
        #[command(flatten)]
        options: Options,
    }
    let arguments = ["test", "--apiserver-advertise-address=10.0.0.1", "--node-name=n1"];
    <Alone as clap::Parser>::parse_from(arguments).options
}
