//! Puts the kubelet together and starts its tasks.

use crate::certificates;
use crate::cgroups::{Hierarchy, PodGroups};
use crate::config::{self, KubeletConfiguration};
use crate::container::env::Service;
use crate::container::{dns, limits, security};
use crate::events::Events;
use crate::gc;
use crate::images::gc::Policy;
use crate::images::keyring::Keyring;
use crate::images::pull::Puller;
use crate::kubelet::{DeadContainers, Kubelet, RuntimeClass, Settings, WatchedService};
use crate::node::info::Info;
use crate::node::keeper::{self, Keeper, Options};
use crate::node::machine::{self, Machine};
use crate::pod::backoff::Backoff;
use crate::pod::worker::Workers;
use crate::pods::Pods;
use crate::probes::Probes;
use crate::references::References;
use crate::resources::List;
use crate::runtime::events::Listener;
use crate::runtime::observe::Listed;
use crate::sources;
use crate::status::manager::Manager;
use crate::sys::{Linux, SharedSys};
use anyhow::{Context as _, bail};
use component_base::client::known::{RUNTIME_CLASSES, SERVICES};
use component_base::client::{Client, Config};
use component_base::daemon::{Context, Spec, hostname};
use component_base::events::{EventType, Recorder};
use component_base::flags::{Parsed, groups};
use component_base::queue::Queue;
use component_base::watch::{Informers, Watch};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Taint;
use parking_lot::Mutex;
use proto::cri;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The daemon.
pub static SPEC: Spec = Spec {
    name: "kubelet",
    about: "The kubelet is the primary \"node agent\" that runs on each node.",
    groups: &[
        &config::KUBELET,
        &config::FIELDS,
        &config::CADVISOR_FLAGS,
        &groups::FEATURES,
        &groups::LOGS,
        &groups::GLOBAL,
    ],
    run,
    grace: Duration::from_secs(5),
};

fn run(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(start(context))
}

async fn start(context: Context) -> anyhow::Result<()> {
    let Context { flags, tasks } = context;
    let config = config::load(&flags)?;
    let sys: SharedSys = Arc::new(Linux);
    protect_from_oom(config.oom_score_adj);
    if config.fail_swap_on && machine::machine().swap > 0 {
        bail!(
            "failed to run Kubelet: running with swap on is not supported, please disable swap or set --fail-swap-on flag to false"
        );
    }
    let hierarchy = Hierarchy::detect(sys.clone()).context("failed to get the cgroup hierarchy")?;
    if !hierarchy.is_v2() && config.fail_cgroup_v1 {
        bail!(
            "kubelet is configured to not run on a host using cgroup v1. cgroup v1 support is unsupported and will be removed in a future release"
        );
    }
    let options = node_options(&flags, &config)?;
    let machine = machine::machine();
    let settings = settings(&flags, config, &options, &machine, hierarchy.is_v2())?;
    make_directories(&settings)?;
    let capacity = machine::capacity(&machine, &settings.config, &settings.root, &sys);
    let ignore_eviction = flags.bool("experimental-allocatable-ignore-eviction");
    let allocatable = machine::allocatable(&capacity, &settings.config, ignore_eviction)?;

    let client = match flags.non_empty("kubeconfig") {
        None => None,
        Some(path) => {
            let first = flags.str("bootstrap-kubeconfig");
            let directory = certificate_directory(&flags, &settings.root);
            certificates::bootstrap(path, first, &directory, &settings.node).await?;
            let limit = (settings.config.kube_api_qps, settings.config.kube_api_burst);
            let config = Config::load(path, "")?.with_component("kubelet").with_limit(limit.0, limit.1);
            Some(Client::new(config)?)
        }
    };
    if client.is_none() {
        tracing::info!("Standalone mode, no API client");
    }
    let cri = cri::Client::new(
        &settings.config.container_runtime_endpoint,
        settings.config.runtime_request_timeout.to_std(),
    )?;
    wait_for_runtime(&cri).await?;

    let info = Arc::new(Info::default());
    let host_ips = keeper::node_ips(&options);
    info.update(|f| {
        f.node = options.name.clone();
        f.host_ips = host_ips.iter().map(ToString::to_string).collect();
        f.allocatable = allocatable.clone();
    });
    keeper::look_at_runtime(&cri, &info).await;

    let recorder = client.as_ref().map(|c| Recorder::new(c, "kubelet", &options.name, &tasks));
    let events = Events::new(recorder, &options.name);
    let groups = pod_groups(&settings, hierarchy, &machine, &allocatable)?;
    let workers = Arc::new(Workers::default());
    let wake = {
        let workers = workers.clone();
        Arc::new(move |uid: &str| workers.wake(uid)) as Arc<dyn Fn(&str) + Send + Sync>
    };
    let informers = client.as_ref().map(|c| Informers::new(c.clone(), tasks.clone()));
    let parallel = match (settings.config.serialize_image_pulls, settings.config.max_parallel_image_pulls) {
        (Some(false), None) => 64,
        (Some(true), _) | (None, None) => 1,
        (_, Some(n)) => n.max(1) as usize,
    };
    let crash_max = settings.config.crash_loop_back_off.max_container_restart_period;
    let crash_max = crash_max.map_or(Duration::from_secs(300), |d| d.to_std());
    let kubelet = Arc::new(Kubelet {
        puller: Puller::new(cri.clone(), events.clone(), node_keyring(&settings.root), parallel),
        probes: Probes::new(cri.clone(), events.clone(), wake.clone()),
        statuses: Arc::new(Manager::default()),
        references: informers.as_ref().map(|i| References::new(i.clone(), wake)),
        services: informers.as_ref().map(|i| i.watch(Watch::with_projection(SERVICES, read_service))),
        runtime_classes: informers.as_ref().map(|i| i.watch(Watch::<RuntimeClass>::new(RUNTIME_CLASSES))),
        node_store: informers.as_ref().map(|i| keeper::watch(i, &options.name, &info)),
        crashes: Mutex::new(Backoff::new(Duration::from_secs(10), crash_max)),
        reasons: Mutex::default(),
        volume_failures: Mutex::default(),
        pods: Arc::new(Pods::default()),
        workers: workers.clone(),
        settings,
        cri: cri.clone(),
        sys,
        groups,
        client: client.clone(),
        events,
        info,
    });
    workers.attach(&kubelet);
    kubelet.events.node(EventType::Normal, "Starting", "Starting kubelet.");

    let mirrors: Queue<String> = Queue::new("mirror_pods");
    let synced = Arc::new(Notify::new());
    let pressure = Arc::new(Mutex::new(Default::default()));
    let node_changed = Arc::new(Notify::new());
    if let (Some(client), Some(informers)) = (&client, &informers) {
        let keeper = Keeper::new(
            kubelet.clone(),
            client.clone(),
            options,
            machine,
            capacity,
            allocatable,
            pressure.clone(),
            node_changed.clone(),
        );
        let keeper = Arc::new(keeper);
        tasks.spawn("node status", keeper.clone().run());
        tasks.spawn("node lease", keeper.keep_lease());
        let statuses = kubelet.statuses.clone();
        let directory = certificate_directory(&flags, &kubelet.settings.root);
        let issued = certificates::Store::new(&directory, certificates::CLIENT).current().exists();
        if kubelet.settings.config.rotate_certificates && issued {
            let (client, node) = (client.clone(), kubelet.settings.node.clone());
            tasks.spawn("client certificate", certificates::rotate_client(client, directory.clone(), node));
        }
        if kubelet.settings.config.server_tls_bootstrap {
            let (client, node) = (client.clone(), kubelet.settings.node.clone());
            let names = vec![node.clone()];
            tasks.spawn(
                "serving certificate",
                certificates::keep_server(client, directory, node, names, host_ips),
            );
        }
        tasks.spawn("pod statuses", statuses.run(client.clone(), kubelet.pods.clone()));
        start_api_pods(&tasks, &kubelet, informers, &mirrors, synced.clone());
        sources::mirror::run(&tasks, &kubelet, client.clone(), &mirrors);
    } else {
        synced.notify_one();
    }
    if !kubelet.settings.config.static_pod_path.is_empty() {
        let path = PathBuf::from(&kubelet.settings.config.static_pod_path);
        let every = kubelet.settings.config.file_check_frequency.to_std();
        let mirrors = mirrors.clone();
        tasks.spawn(
            "static pods",
            sources::file::run(kubelet.clone(), path, every, move |name| mirrors.add(name)),
        );
    }
    let watcher = Arc::new(RuntimeWatcher { kubelet: kubelet.clone(), sources_ready: Mutex::new(false) });
    {
        let watcher = watcher.clone();
        tasks.spawn("sources", async move {
            synced.notified().await;
            // Manifests are read at once, yet only after this the first time.
            tokio::time::sleep(Duration::from_secs(2)).await;
            *watcher.sources_ready.lock() = true;
            Ok(())
        });
    }
    tasks.spawn("runtime events", crate::runtime::events::run(cri, watcher));
    tasks.spawn("container garbage collection", gc::run_containers(kubelet.clone()));
    let policy = Policy {
        high: kubelet.settings.config.image_gc_high_threshold_percent,
        low: kubelet.settings.config.image_gc_low_threshold_percent,
        min_age: kubelet.settings.config.image_minimum_gc_age.to_std().as_secs() as i64,
        max_age: kubelet.settings.config.image_maximum_gc_age.to_std().as_secs() as i64,
    };
    if policy.high < 100 {
        tasks.spawn("image garbage collection", gc::run_images(kubelet.clone(), policy));
    }
    tasks.spawn("log rotation", crate::logs::keeper::run(kubelet.clone()));
    tasks.spawn("evictions", crate::eviction::run(kubelet.clone(), pressure, node_changed));
    crate::server::start(&tasks, &flags, kubelet).await
}

/// Where certificates are kept: beside the other files of the kubelet unless a flag says otherwise.
pub fn certificate_directory(flags: &Parsed, root: &Path) -> PathBuf {
    if flags.is_set("cert-dir") { PathBuf::from(flags.str("cert-dir")) } else { root.join("pki") }
}

/// Wakes workers for what the runtime tells.
struct RuntimeWatcher {
    kubelet: Arc<Kubelet>,
    /// Whether it is known which pods are wanted; before, nothing may be taken for an orphan.
    sources_ready: Mutex<bool>,
}

impl Listener for RuntimeWatcher {
    fn changed(&self, uid: &str) {
        self.kubelet.workers.wake(uid);
    }

    fn listed(&self, pods: &BTreeMap<String, Listed>) {
        if *self.sources_ready.lock() {
            self.kubelet.collect_orphans(pods);
        }
    }
}

fn start_api_pods(
    tasks: &component_base::tasks::Tasks,
    kubelet: &Arc<Kubelet>,
    informers: &Informers,
    mirrors: &Queue<String>,
    synced: Arc<Notify>,
) {
    let queue = mirrors.clone();
    // Pods are admitted by the node's labels and taints, so those come first.
    let (kubelet, informers) = (kubelet.clone(), informers.clone());
    tasks.spawn("pods of the API", async move {
        if let Some(node) = &kubelet.node_store {
            node.synced().await;
        }
        let store = sources::api::watch(&kubelet, &informers, move |name| queue.add(name));
        store.synced().await;
        synced.notify_one();
        Ok(())
    });
}

fn node_options(flags: &Parsed, config: &KubeletConfiguration) -> anyhow::Result<Options> {
    let hostname = match flags.non_empty("hostname-override") {
        Some(name) => name.trim().to_lowercase(),
        None => hostname().trim().to_lowercase(),
    };
    let mut node_ips = Vec::new();
    for ip in flags.str("node-ip").split(',').map(str::trim).filter(|ip| !ip.is_empty()) {
        let ip: std::net::IpAddr = ip.parse().with_context(|| format!("bad --node-ip {ip:?}"))?;
        // The unspecified address only says which family is meant.
        if !ip.is_unspecified() {
            node_ips.push(ip);
        }
    }
    let mut taints = config.register_with_taints.clone();
    for text in flags.list("register-with-taints") {
        taints.push(parse_taint(text)?);
    }
    let external_cloud = match flags.str("cloud-provider") {
        "" => false,
        "external" => true,
        other => bail!("unsupported value for --cloud-provider: {other:?}"),
    };
    let labels = flags.map("node-labels").iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    Ok(Options { name: hostname.clone(), hostname, node_ips, labels, taints, external_cloud })
}

/// `key=value:effect`, `key:effect`
fn parse_taint(text: &str) -> anyhow::Result<Taint> {
    let (left, effect) = text.rsplit_once(':').with_context(|| format!("invalid taint spec: {text}"))?;
    if !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
        bail!("invalid taint effect: {effect}, unsupported taint effect");
    }
    let (key, value) = left.split_once('=').map_or((left, None), |(k, v)| (k, Some(v)));
    Ok(Taint {
        key: key.into(),
        value: value.filter(|v| !v.is_empty()).map(str::to_string),
        effect: effect.into(),
        time_added: None,
    })
}

fn settings(
    flags: &Parsed,
    config: KubeletConfiguration,
    options: &Options,
    machine: &Machine,
    cgroup_v2: bool,
) -> anyhow::Result<Settings> {
    let root = std::path::absolute(flags.str("root-dir"))?;
    let thermal_paths = (0..machine.cpus)
        .map(|n| format!("/sys/devices/system/cpu/cpu{n}/thermal_throttle"))
        .filter(|p| Path::new(p).exists())
        .collect();
    Ok(Settings {
        node: options.name.clone(),
        pods_root: root.join("pods"),
        log_root: PathBuf::from(&config.pod_logs_dir),
        dns: dns::Settings {
            cluster_dns: config.cluster_dns.clone(),
            cluster_domain: config.cluster_domain.trim_end_matches('.').to_string(),
            resolv_conf: config.resolv_conf.clone(),
        },
        limits: limits::Settings {
            cpu_quota: config.cpu_cfs_quota,
            cpu_period: (config.cpu_cfs_quota_period.to_std().as_micros()) as i64,
            node_memory: machine.memory,
            cgroup_v2,
            single_process_oom_kill: config.single_process_oom_kill.unwrap_or(!cgroup_v2),
            hugepage_sizes: machine::hugepage_names(),
        },
        security: security::Settings {
            seccomp_default: config.seccomp_default,
            seccomp_root: root.join("seccomp").to_string_lossy().into_owned(),
            thermal_paths,
        },
        dead: DeadContainers {
            min_age: flags.duration("minimum-container-ttl-duration").to_std().as_secs() as i64,
            per_container: flags.int("maximum-dead-containers-per-container"),
            total: flags.int("maximum-dead-containers"),
        },
        root,
        config,
    })
}

fn make_directories(settings: &Settings) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let links = Path::new(crate::logs::paths::LINKS);
    let below = |name: &str| settings.root.join(name);
    let private = [
        settings.root.clone(),
        settings.pods_root.clone(),
        below("plugins"),
        below("plugins_registry"),
        below("pki"),
    ];
    for dir in private {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(&dir)
            .with_context(|| format!("create {}", dir.display()))?;
    }
    for dir in [settings.log_root.as_path(), links] {
        std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    }
    Ok(())
}

fn pod_groups(
    settings: &Settings,
    hierarchy: Hierarchy,
    machine: &Machine,
    allocatable: &List,
) -> anyhow::Result<PodGroups> {
    let config = &settings.config;
    let pids = Some(config.pod_pids_limit).filter(|n| *n > 0);
    let quota = settings.limits.cpu_quota;
    let groups = PodGroups::new(
        hierarchy,
        &config.cgroup_root,
        config.cgroups_per_qos,
        pids,
        quota,
        settings.limits.cpu_period,
    );
    let enforce =
        config.enforce_node_allocatable.as_ref().is_none_or(|list| list.iter().any(|l| l == "pods"));
    // Pods together are held to what isn't reserved; what evictions keep free they may still touch, or
    // there would be nothing to evict for.
    let mut held = allocatable.clone();
    let reserved = machine::allocatable(
        &machine::capacity(machine, config, &settings.root, &(Arc::new(Linux) as SharedSys)),
        config,
        true,
    )?;
    held.extend(reserved);
    groups.prepare(&held, enforce).context("failed to make the cgroups of pods")?;
    Ok(groups)
}

fn protect_from_oom(score: i32) {
    if let Err(e) = std::fs::write("/proc/self/oom_score_adj", score.to_string()) {
        tracing::warn!(score, error = %e, "Failed to set the kubelet's own oom_score_adj");
    }
}

/// The runtime may come up after the kubelet.
async fn wait_for_runtime(cri: &cri::Client) -> anyhow::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(120);
    let begun = std::time::Instant::now();
    loop {
        match cri.version(cri::VersionRequest::default()).await {
            Ok(_) => return Ok(()),
            Err(e) if begun.elapsed() > PATIENCE => bail!("the container runtime doesn't answer: {e}"),
            Err(e) => tracing::debug!(error = %e, "The container runtime doesn't answer yet"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn node_keyring(root: &Path) -> Keyring {
    let mut ring = Keyring::default();
    for path in [
        root.join("config.json"),
        PathBuf::from("/.docker/config.json"),
        PathBuf::from("/root/.docker/config.json"),
    ] {
        if let Ok(text) = std::fs::read(&path)
            && let Err(e) = ring.add_config_json(&text)
        {
            tracing::warn!(path = %path.display(), error = %e, "Registry credentials don't parse");
        }
    }
    ring
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawService {
    metadata: proto::meta::ObjectMeta,
    spec: RawServiceSpec,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawServiceSpec {
    #[serde(rename = "clusterIP")]
    cluster_ip: String,
    ports: Vec<RawServicePort>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawServicePort {
    name: String,
    port: i32,
    protocol: String,
}

fn read_service(bytes: &[u8]) -> Result<WatchedService, serde_json::Error> {
    let raw: RawService = serde_json::from_slice(bytes)?;
    let service = Service {
        namespace: raw.metadata.namespace.clone(),
        name: raw.metadata.name.clone(),
        cluster_ip: raw.spec.cluster_ip,
        ports: raw.spec.ports.into_iter().map(|p| (p.name, p.port, p.protocol)).collect(),
    };
    Ok(WatchedService { metadata: raw.metadata, service })
}
