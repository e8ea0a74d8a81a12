//! A cluster for tests: nodes out of namespaces (`hack/node.sh`), bootstrapped by `keelsonadm` as a user would.
//!
//! Every name carries a random cluster id, so that runs don't meet each other or a cluster that the machine runs.

use anyhow::{Context, Result, bail};
use rand::RngExt as _;
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The folder of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where `hack/install.sh` put programs and images: KEELSON_TOOLS, or `.tools` in the workspace.
pub fn prefix() -> PathBuf {
    std::env::var_os("KEELSON_TOOLS").map_or_else(|| root().join(".tools"), PathBuf::from)
}

/// A machine made of namespaces; removed with its cluster.
pub struct Node {
    cluster: String,
    pub name: String,
    pub address: String,
}

impl Node {
    /// A command that runs on this node.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(root().join("hack/node.sh"));
        command.args(["exec", &self.cluster, &self.name, program]);
        // What cargo tells a test is not for the node: a build script that looks at it would have everything built again there.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text == "CARGO" {
                command.env_remove(&name);
            }
        }
        command
    }

    /// The process that keeps its namespaces: `/proc/PID` leads to them.
    pub fn pid(&self) -> Result<u32> {
        let script =
            Command::new(root().join("hack/node.sh")).args(["dir", &self.cluster, &self.name]).output()?;
        let file = Path::new(text(script)?.trim()).join("pid");
        let pid = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        Ok(pid.trim().parse()?)
    }

    /// Runs a shell script on this node and returns what it prints.
    pub fn sh(&self, script: &str) -> Result<String> {
        let output = self.command("bash").args(["-euo", "pipefail", "-c", script]).output()?;
        text(output).with_context(|| format!("on {}: {script}", self.name))
    }
}

/// A set of nodes on one network; dropped, it is gone with everything that ran there.
pub struct Network {
    pub id: String,
    pub nodes: Vec<Node>,
}

impl Network {
    /// A network without nodes, with a random id.
    pub fn new() -> Network {
        let mut random = rand::rng();
        let id = (0..6).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect();
        Network { id, nodes: Vec::new() }
    }

    /// A network that an earlier run kept, with its nodes n1 to n`nodes` and the client `outside`.
    fn kept(id: String, nodes: usize) -> Result<Network> {
        let mut network = Network { id, nodes: Vec::new() };
        for n in 1..=nodes {
            network.push(format!("n{n}"), n + 10)?;
        }
        network.push("outside".into(), nodes + 101)?;
        Ok(network)
    }

    /// Adds a node with everything installed; the first is n1.
    pub fn add_node(&mut self) -> Result<&Node> {
        self.create_node(&[&prefix().display().to_string()])
    }

    /// Adds a node that is as the machine is.
    pub fn add_bare_node(&mut self) -> Result<&Node> {
        self.create_node(&[])
    }

    fn create_node(&mut self, prefix: &[&str]) -> Result<&Node> {
        let (name, number) = (format!("n{}", self.nodes.len() + 1), self.nodes.len() + 11);
        self.script(&[&["create", &self.id, &name, &number.to_string()], prefix].concat())?;
        self.push(name, number)
    }

    /// Adds a bare host: a network namespace that is no node.
    pub fn add_client(&mut self, name: &str) -> Result<&Node> {
        let number = self.nodes.len() + 101;
        self.script(&["client", &self.id, name, &number.to_string()])?;
        self.push(name.to_string(), number)
    }

    fn push(&mut self, name: String, number: usize) -> Result<&Node> {
        let address = self.script(&["address", &number.to_string()])?.trim().to_string();
        self.nodes.push(Node { cluster: self.id.clone(), name, address });
        self.nodes.last().context("just added")
    }

    /// The node or client of that name.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.iter().find(|node| node.name == name).with_context(|| format!("no node {name}"))
    }

    /// The cgroup that a node's pods must stay below.
    pub fn cgroup(&self, node: &Node) -> Result<String> {
        Ok(self.script(&["cgroup", &self.id, &node.name])?.trim().to_string())
    }

    fn script(&self, arguments: &[&str]) -> Result<String> {
        text(Command::new(root().join("hack/node.sh")).args(arguments).output()?)
            .with_context(|| format!("hack/node.sh {}", arguments.join(" ")))
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if ["KEELSON_KEEP", "KEELSON_CLUSTER"].iter().any(|name| std::env::var_os(name).is_some()) {
            eprintln!("kept: KEELSON_CLUSTER={0}, hack/node.sh exec {0} n1 bash", self.id);
        } else if let Err(error) = self.script(&["delete", &self.id]) {
            eprintln!("warning: {error:#}");
        }
    }
}

/// The machine's disk may be nearly full of what was built on it: that is not what these tests are about.
pub const KUBELET: &str = "--eviction-hard=memory.available<100Mi,nodefs.available<1%,imagefs.available<1% --image-gc-high-threshold=100";

/// A running cluster, and the kubectl that it is used with.
pub struct Cluster {
    pub network: Rc<Network>,
    kubectl: &'static str,
}

/// The addresses that LoadBalancer Services get.
pub const LOAD_BALANCER_POOL: &str = "10.200.0.200-10.200.0.220";

impl Cluster {
    /// Bootstraps `nodes` nodes; the first runs the control plane. KEELSON_CLUSTER names a kept cluster to use instead.
    pub fn up(nodes: usize) -> Result<Cluster> {
        if let Ok(id) = std::env::var("KEELSON_CLUSTER") {
            return Ok(Cluster { network: Rc::new(Network::kept(id, nodes)?), kubectl: "kubectl" });
        }
        let mut network = Network::new();
        for _ in 0..nodes {
            network.add_node()?;
        }
        network.add_client("outside")?;
        let cluster = Cluster { network: Rc::new(network), kubectl: "kubectl" };
        let first = cluster.network.node("n1")?;
        let options = |node: &Node| -> Result<String> {
            Ok(format!(
                "--node-name={} --cgroup-root={} --kubelet-extra-args='{KUBELET}'",
                node.name,
                cluster.network.cgroup(node)?
            ))
        };
        eprintln!("cluster {}: initialising n1", cluster.network.id);
        first.sh(&format!(
            "/opt/keelson/bin/keelsonadm init --schedulable --load-balancer-addresses={LOAD_BALANCER_POOL} {} >&2",
            options(first)?
        ))?;
        let join = first.sh("/opt/keelson/bin/keelsonadm token create --print-join-command")?;
        for node in cluster.network.nodes[1..nodes].iter() {
            eprintln!("cluster {}: joining {}", cluster.network.id, node.name);
            node.sh(&format!("/opt/keelson/bin/{} {} >&2", join.trim(), options(node)?))?;
        }
        Ok(cluster)
    }

    /// The same cluster, used with another kubectl.
    pub fn with_kubectl(&self, kubectl: &'static str) -> Cluster {
        Cluster { network: self.network.clone(), kubectl }
    }

    /// The node that runs the control plane.
    pub fn first(&self) -> &Node {
        &self.network.nodes[0]
    }

    /// A command of the prefix that finds the administrator's identity in its environment.
    pub fn program(&self, name: &str) -> Command {
        let mut command = self.first().command(&format!("/opt/keelson/bin/{name}"));
        // Its cache is the node's, not that of whoever runs the test.
        command.envs([("KUBECONFIG", "/etc/kubernetes/admin.conf"), ("KUBECACHEDIR", "/run/kubectl")]);
        command
    }

    /// A kubectl command with the administrator's identity.
    pub fn kubectl_command(&self) -> Command {
        self.program(self.kubectl)
    }

    /// Starts a kubectl that goes on until it is stopped.
    pub fn kubectl_background(&self, arguments: &[&str]) -> Result<Background> {
        Ok(Background(Some(spawn(self.kubectl_command().args(arguments))?)))
    }

    /// Runs kubectl and returns what it prints; its error is the error.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        text(self.kubectl_command().args(arguments).output()?)
            .with_context(|| format!("kubectl {}", arguments.join(" ")))
    }

    /// Runs kubectl with `input`.
    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut child = spawn(self.kubectl_command().args(arguments))?;
        child.stdin.take().context("no stdin")?.write_all(input.as_bytes())?;
        text(child.wait_with_output()?)
            .with_context(|| format!("kubectl {} <<< {input}", arguments.join(" ")))
    }

    /// Runs a kubectl that must fail, and returns what it says.
    pub fn kubectl_fails(&self, arguments: &[&str]) -> Result<String> {
        let output = self.kubectl_command().args(arguments).output()?;
        if output.status.success() {
            bail!("kubectl {} succeeded: {}", arguments.join(" "), String::from_utf8_lossy(&output.stdout));
        }
        Ok(String::from_utf8_lossy(&output.stderr).trim().to_string())
    }

    /// `kubectl get -o json`.
    pub fn get(&self, arguments: &[&str]) -> Result<Value> {
        let mut all = vec!["get", "-o", "json"];
        all.extend_from_slice(arguments);
        Ok(serde_json::from_str(&self.kubectl(&all)?)?)
    }

    /// What the cluster looks like, for whoever reads why a test failed: each question's answer, or the error it gave.
    pub fn picture(&self) -> String {
        let questions: [&[&str]; 4] = [
            &["get", "nodes,pods,services,endpointslices", "-A", "-o", "wide"],
            &["get", "events", "-A", "--sort-by=.metadata.creationTimestamp", "--no-headers"],
            &["logs", "-n", "guestbook", "-l", "app=front", "--tail=5", "--prefix"],
            &["logs", "-n", "guestbook", "-l", "app=api", "--tail=5", "--prefix"],
        ];
        let mut picture = String::new();
        for question in questions {
            let answer = self.kubectl(question).unwrap_or_else(|error| format!("{error:#}"));
            let lines: Vec<_> = answer.lines().collect();
            // Of many events the last ones matter.
            let last = &lines[lines.len().saturating_sub(80)..];
            picture += &format!("$ kubectl {}\n{}\n", question.join(" "), last.join("\n"));
        }
        for node in &self.network.nodes {
            let maps = "nft list table ip kube-proxy | sed -n '/^\t\\(map\\|set\\) /,/^\t}/p'";
            let answer = node.sh(maps).unwrap_or_else(|error| format!("{error:#}"));
            picture += &format!("{}$ {maps}\n{answer}\n", node.name);
        }
        picture
    }

    /// Applies a manifest.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.kubectl_with(&["apply", "-f", "-"], manifest)
    }

    /// Runs a shell command in a pod.
    pub fn exec(&self, pod: &str, script: &str) -> Result<String> {
        self.kubectl(&["exec", pod, "--", "sh", "-c", script])
    }
}

/// A program that runs beside the test; dropped, it is killed.
pub struct Background(Option<Child>);

impl Background {
    /// Writes to its standard input.
    pub fn say(&mut self, text: &str) -> Result<()> {
        let stdin = self.0.as_mut().and_then(|child| child.stdin.as_mut()).context("no stdin")?;
        Ok(stdin.write_all(text.as_bytes())?)
    }

    /// Kills it and returns what it had printed. One that had ended by itself is an error.
    pub fn stop(mut self) -> Result<String> {
        let mut child = self.0.take().context("already stopped")?;
        if let Some(status) = child.try_wait()? {
            let output = child.wait_with_output()?;
            bail!("ended with {status}: {}", String::from_utf8_lossy(&output.stderr));
        }
        child.kill()?;
        Ok(String::from_utf8_lossy(&child.wait_with_output()?.stdout).into_owned())
    }

    /// Waits until it ends by itself and returns what it printed.
    pub fn finish(mut self) -> Result<String> {
        text(self.0.take().context("already stopped")?.wait_with_output()?)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts a command with all three streams as pipes.
pub fn spawn(command: &mut Command) -> Result<Child> {
    Ok(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

/// What a command printed, or an error with what it complained of.
pub fn text(output: Output) -> Result<String> {
    if !output.status.success() {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("{}: {}{}", output.status, out.trim(), err.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Asks until the answer is yes. The last error is told when time is up.
pub fn eventually(what: &str, patience: Duration, mut ask: impl FnMut() -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        match ask() {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("waited {patience:?} for {what}"));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// Fails with the two values unless they are equal.
pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, want: T) -> Result<()> {
    if got != want {
        bail!("{what}: got {got:?}, want {want:?}");
    }
    Ok(())
}

/// Fails unless `text` contains `part`.
pub fn contains(text: &str, part: &str) -> Result<()> {
    if !text.contains(part) {
        bail!("{part:?} is not in: {text}");
    }
    Ok(())
}
