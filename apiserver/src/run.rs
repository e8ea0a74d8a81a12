//! Puts the server together and starts it.
//!
//! Everything that needs only the command line is made first; etcd is read meanwhile. The port is open from the beginning:
//! a request that comes before the cache has content waits for it, and `/readyz` says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use component_base::daemon::Context;
use component_base::health::{self, Endpoint, Health};
use component_base::tasks::Tasks;
use futures::future::join_all;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::bootstrap;
use crate::controlplane::{self, Member};
use crate::custom::Definitions;
use crate::endpoints::discovery::Discovery;
use crate::endpoints::{App, proxy};
use crate::engine::{Config, Engine};
use crate::fairness::Fairness;
use crate::options::Options;
use crate::registry::{Builder, Local, Registry, Services, Settings, Shared};
use crate::server::filters::{Filters, Limits};
use crate::server::inflight::InFlight;
use crate::server::listener;
use crate::server::tls::Certificate;
use crate::storage::compact;
use crate::storage::encryption::{self, Encryption};
use crate::storage::etcd::Etcd;
use crate::{admission, auth, registry};

/// How often certificate files are looked at for changes.
const CERTIFICATE_CHECK: Duration = Duration::from_secs(60);
/// How often etcd's health is probed.
const ETCD_CHECK: Duration = Duration::from_secs(2);
/// How soon it is probed again when it did not answer.
const ETCD_RETRY: Duration = Duration::from_millis(100);

/// Starts the server.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let options = Options::new(&context.flags)?;
    let tasks = context.tasks;
    let stopping = CancellationToken::new();

    let mut rows = Builder::default();
    let enabled =
        |group: &str, version: &str, resource: &str| options.runtime.enabled(group, version, resource);
    let settings = Settings {
        allow_privileged: options.allow_privileged,
        service_ranges: options.service_ranges.iter().map(|r| (r.addr(), r.prefix_len())).collect(),
        node_ports: options.node_ports,
        gates: options.gates.clone(),
    };
    registry::install(&mut rows, &enabled, settings.clone());
    auth::review::install(&mut rows);
    let rows = rows.build();
    let encryption = encryption(&options, &rows)?;
    let etcd = Etcd::connect(&options.etcd).await.context("connecting to etcd")?.with_encryption(encryption);
    let config = Config {
        etcd_prefix: options.etcd_prefix.clone(),
        media: options.media,
        event_ttl: options.event_ttl.as_secs(),
    };
    let (engine, work) = Engine::new(config, Shared::new(rows), etcd.clone());
    spawn(&tasks, "etcd watch", engine.clone().run(work));
    spawn(&tasks, "etcd compaction", {
        let engine = engine.clone();
        compact::run(etcd.clone(), options.compaction, move |revision| engine.compacted(revision))
    });

    let local: Arc<dyn Local> = engine.local();
    let stack = auth::build(&options.auth, local.clone())?;
    if let Some(reload) = stack.reload {
        spawn(&tasks, "authentication configuration", reload.run());
    }
    let chain = admission::build(&options.admission, &local, stack.rbac.clone())?;
    let services = Services {
        authorizer: stack.authorizer.clone(),
        tokens: stack.tokens.clone(),
        issuer: stack.issuer.clone(),
    };
    engine.equip(chain, services);

    let health = Health::new();
    watch_health(&tasks, &health, &engine, options.etcd_timeout, stopping.clone());
    let mut hooks = bootstrap::post_start_hooks(&local, &options.auth);
    let member = Member {
        address: options.advertise,
        port: options.listen.port(),
        node_port: options.service_node_port,
        reconcile: options.reconcile_endpoints,
    };
    hooks.push((
        "start-kubernetes-service-cidr-controller",
        Box::pin(controlplane::service_ranges(local.clone(), settings.clone())),
    ));
    hooks.push((
        "bootstrap-controller",
        Box::pin(controlplane::service(
            tasks.clone(),
            engine.clone(),
            local.clone(),
            settings.clone(),
            member,
        )),
    ));
    hooks.push((
        "start-service-ip-repair-controllers",
        Box::pin(controlplane::repair(tasks.clone(), local.clone(), settings)),
    ));
    let mut definitions = Definitions::new(engine.clone(), local.clone());
    let (process, ready) = (tasks.clone(), engine.clone());
    hooks.push((
        "crd-informer-synced",
        Box::pin(async move {
            ready.ready().await;
            definitions.publish_all().await?;
            spawn(&process, "custom resource definitions", definitions.run());
            Ok(())
        }),
    ));
    start_hooks(&tasks, &health, &engine, hooks);

    let (reads, writes) = options.in_flight;
    let limits = match options.fairness {
        true => Limits::Fair(fairness(&tasks, reads + writes, &engine, &local)),
        false => Limits::Plain(InFlight::new(reads, writes)),
    };
    let audit = options.audit.build(&tasks)?;
    let backends =
        proxy::Backends::new(&options.kubelet).map_err(|e| anyhow::anyhow!("the client of kubelets: {e}"))?;
    let app = Arc::new(App {
        authorizer: stack.authorizer.clone(),
        backends,
        engine: engine.clone(),
        local: local.clone(),
        health,
        discovery: Discovery::new(options.external_address.clone()),
        openapi: crate::openapi::OpenApi::default(),
        fairness: match &limits {
            Limits::Fair(fairness) => Some(fairness.clone()),
            Limits::Plain(_) => None,
        },
        tokens: stack.discovery,
        min_watch: options.min_watch,
        profiling: options.profiling,
        stopping: stopping.clone(),
    });
    let flushed = audit.clone();
    let filters = Arc::new(Filters {
        app,
        authenticator: stack.authenticator,
        authorizer: stack.authorizer,
        limits,
        audit,
        timeout: options.timeout,
        goaway: options.goaway,
        constrained_impersonation: options.gates.enabled("ConstrainedImpersonation"),
    });
    let certificate = Arc::new(certificate(&options)?);
    let tls = certificate.config(options.http2)?;
    spawn(&tasks, "serving certificate", reload(certificate));
    let socket = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("failed to create listener: failed to listen on {}", options.listen))?;
    tracing::info!(address = %options.listen, "Serving securely");
    let stop = CancellationToken::new();
    let serving = listener::serve(socket, tls, filters, options.max_streams, stop.clone());
    tasks.spawn_graceful("serving", async move {
        serving.await;
        Ok(())
    });
    if let Some(audit) = flushed {
        let process = tasks.clone();
        tasks.spawn_graceful("audit", async move {
            process.stopping().await;
            audit.flush().await;
            Ok(())
        });
    }
    let (process, delay) = (tasks.clone(), options.shutdown_delay);
    tasks.spawn_graceful("shutdown", async move {
        process.stopping().await;
        // Load balancers need time to see that we are not ready any more.
        tokio::time::sleep(delay).await;
        stopping.cancel();
        stop.cancel();
        Ok(())
    });
    Ok(())
}

fn spawn(tasks: &Tasks, name: &str, work: impl Future<Output = ()> + Send + 'static) {
    tasks.spawn(name, async move {
        work.await;
        Ok(())
    });
}

/// How values in etcd are encrypted, if they are.
fn encryption(options: &Options, registry: &Registry) -> anyhow::Result<Option<Arc<Encryption>>> {
    let Some(file) = &options.encryption else { return Ok(None) };
    let loaded =
        encryption::load(file).map_err(|why| anyhow::anyhow!("--encryption-provider-config: {why}"))?;
    let rows = registry
        .storages()
        .map(|row| (row.prefix.to_string(), row.group.to_string(), row.resource.to_string()));
    Ok(Some(Arc::new(loaded.with_rows(&options.etcd_prefix, rows))))
}

/// Priority and fairness, which follows its objects from now on.
fn fairness(tasks: &Tasks, seats: usize, engine: &Arc<Engine>, local: &Arc<dyn Local>) -> Arc<Fairness> {
    let stores = engine.clone();
    let stats = move |group: &str, resource: &str| {
        let store = stores.store(group, resource)?;
        Some(store.row()?.estimate())
    };
    let fairness = Fairness::new(seats, Box::new(stats));
    let (follows, local, ready) = (fairness.clone(), local.clone(), engine.clone());
    spawn(tasks, "priority and fairness", async move {
        ready.ready().await;
        follows.run(local).await;
    });
    fairness
}

fn certificate(options: &Options) -> anyhow::Result<Certificate> {
    match &options.certificate {
        Ok((cert, key)) => Certificate::open(cert, key).context("the serving certificate"),
        Err(directory) => {
            let names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"];
            let mut names: Vec<String> = names.map(str::to_owned).to_vec();
            names.push(options.advertise.to_string());
            names.push("127.0.0.1".to_owned());
            Certificate::self_signed(directory, names).context("making a serving certificate")
        }
    }
}

/// Reads the certificate again when its files change.
async fn reload(certificate: Arc<Certificate>) {
    let times = || certificate.files().map(|f| std::fs::metadata(f).and_then(|m| m.modified()).ok());
    let mut seen = times();
    loop {
        tokio::time::sleep(CERTIFICATE_CHECK).await;
        let now = times();
        if now == seen {
            continue;
        }
        match certificate.reload() {
            Ok(()) => {
                tracing::info!("the serving certificate was read again");
                seen = now;
            }
            Err(error) => tracing::warn!(%error, "the serving certificate can't be read"),
        }
    }
}

/// The checks that don't belong to a hook.
fn watch_health(
    tasks: &Tasks,
    health: &Health,
    engine: &Arc<Engine>,
    timeout: Duration,
    stopping: CancellationToken,
) {
    health.add("log", health::ALL, || Ok(()));
    let reachable = Arc::new(AtomicBool::new(true));
    let check = |reachable: Arc<AtomicBool>| {
        move || match reachable.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err("etcd client connection not yet established".to_owned()),
        }
    };
    health.add("etcd", health::ALL, check(reachable.clone()));
    health.add("etcd-readiness", &[Endpoint::Readyz], check(reachable.clone()));
    let synced = engine.clone();
    health.add("informer-sync", &[Endpoint::Readyz], move || match synced.is_ready() {
        true => Ok(()),
        false => Err("the cache has no content yet".to_owned()),
    });
    let process = tasks.clone();
    health.add("shutdown", &[Endpoint::Readyz], move || {
        match process.is_stopping() || stopping.is_cancelled() {
            true => Err("process is shutting down".to_owned()),
            false => Ok(()),
        }
    });
    let etcd = engine.etcd().clone();
    spawn(tasks, "etcd health", async move {
        loop {
            let probe = tokio::time::timeout(timeout, etcd.revision("health")).await;
            let answered = matches!(probe, Ok(Ok(_)));
            reachable.store(answered, Ordering::Relaxed);
            tokio::time::sleep(if answered { ETCD_CHECK } else { ETCD_RETRY }).await;
        }
    });
}

/// Runs the post-start hooks once the cache has content, each behind a check of its own.
fn start_hooks(tasks: &Tasks, health: &Health, engine: &Arc<Engine>, hooks: Vec<bootstrap::Hook>) {
    let start = Instant::now();
    let mut running = Vec::new();
    for (name, hook) in hooks {
        let done = Arc::new(AtomicBool::new(false));
        let finished = done.clone();
        health.add(format!("poststarthook/{name}"), health::ALL, move || {
            match finished.load(Ordering::Relaxed) {
                true => Ok(()),
                false => Err("not finished".to_owned()),
            }
        });
        running.push(async move {
            let result = hook.await;
            done.store(result.is_ok(), Ordering::Relaxed);
            result.map_err(|status| anyhow::anyhow!("PostStartHook \"{name}\" failed: {status}"))
        });
    }
    let engine = engine.clone();
    tasks.spawn("post-start hooks", async move {
        engine.ready().await;
        join_all(running).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        tracing::info!(elapsed = ?start.elapsed(), "Post-start hooks are done");
        Ok(())
    });
}
