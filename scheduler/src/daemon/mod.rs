//! The daemon: watches feed the engine, one loop makes attempts, a pipeline carries them out.

mod carry_out;
mod flags;
mod watches;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use component_base::client::{Client, Config};
use component_base::daemon::{Context, Spec, identity};
use component_base::flags::groups;
use component_base::leader::{Elector, Options};
use component_base::watch::Informers;
use component_base::{config, health};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use crate::config::{Configuration, KINDS};
use crate::engine::{Action, Engine};
use crate::metrics;
use crate::queue::Place;

/// What kube-scheduler is.
pub static SPEC: Spec = Spec {
    name: "kube-scheduler",
    about: "The Kubernetes scheduler assigns Pods to Nodes: it determines which nodes are valid placements \
            for each waiting Pod, ranks them and binds the Pod to the best.",
    groups: &[
        &flags::MISC,
        &groups::SECURE_SERVING,
        &flags::SERVING,
        &groups::AUTHENTICATION,
        &groups::AUTHORIZATION,
        &flags::DEPRECATED,
        &groups::LEADER_ELECTION,
        &flags::LEASE,
        &groups::FEATURES,
        &groups::METRICS,
        &groups::LOGS,
        &groups::GLOBAL,
    ],
    run: |context| run(context).boxed(),
    grace: Duration::from_secs(10),
};

/// The engine and the bell that says something happened to it.
pub(crate) struct Shared {
    pub(crate) engine: Mutex<Engine>,
    pub(crate) changed: Notify,
    /// Rings for all who wait for a claim.
    pub(crate) storage_changed: Notify,
}

/// How many attempts are made before others get at the engine again.
const BATCH: usize = 32;
/// How many placements may wait to be carried out.
const BACKLOG: usize = 512;
/// How often pods that nothing concerned are looked through.
const FLUSH: Duration = Duration::from_secs(30);

async fn run(context: Context) -> anyhow::Result<()> {
    let Context { flags, tasks } = &context;
    let file = match flags.non_empty("config") {
        Some(path) => config::load::<Configuration>(path.as_ref(), KINDS)?.0,
        None => Configuration::default(),
    };
    let settings = flags::Settings::merge(file, flags)?;
    if let Some(path) = flags.non_empty("write-config-to") {
        let text = serde_json::to_string_pretty(&settings.describe())?;
        std::fs::write(path, text).with_context(|| format!("writing {path}"))?;
        tracing::info!(file = path, "Wrote configuration");
        tasks.stop();
        return Ok(());
    }
    let client = Client::new(
        Config::load(&settings.kubeconfig, flags.str("master"))?
            .with_component("kube-scheduler")
            .with_limit(settings.qps, settings.burst),
    )?;
    let shared = Arc::new(Shared {
        engine: Mutex::new(settings.configuration.engine()?),
        changed: Notify::new(),
        storage_changed: Notify::new(),
    });
    let elector = Elector::new(&client, settings.leader.clone(), identity(), None)?;
    let checks = health::Health::new();
    let watched = {
        let elector = elector.clone();
        checks.add("leaderElection", &[health::Endpoint::Healthz, health::Endpoint::Livez], move || {
            elector.check()
        });
        let informers = Informers::new(client.unlimited(), tasks.clone());
        watches::start(&informers, &shared)
    };
    {
        let synced = watched.clone();
        let ready = move || match synced.is_synced() {
            true => Ok(()),
            false => Err("handlers are not fully synchronized".to_owned()),
        };
        checks.add("sched-handler-sync", &[health::Endpoint::Readyz], ready);
    }
    collect_metrics(&shared);
    flags::serve(&context, &checks, &settings).await?;
    watched.synced().await;
    elector.lead(tasks).await?;
    let (send, receive) = mpsc::channel(BACKLOG);
    let hands = carry_out::Hands::new(&client, tasks, shared.clone());
    tasks.spawn("bindings", hands.run(receive));
    let stopping = tasks.stopping_token();
    tasks.spawn("scheduling", async move {
        stopping.run_until_cancelled(attempts(shared, send)).await;
        Ok(())
    });
    Ok(())
}

/// Makes attempts as long as pods are due, then waits for a change or a pause to end.
async fn attempts(shared: Arc<Shared>, carry_out: mpsc::Sender<Action>) {
    let mut flushed = Instant::now();
    loop {
        let (actions, next) = {
            let mut engine = shared.engine.lock();
            let now = Instant::now();
            if now.duration_since(flushed) >= FLUSH {
                engine.flush(now);
                flushed = now;
            }
            let actions: Vec<_> = std::iter::from_fn(|| engine.attempt(Instant::now())).take(BATCH).collect();
            (actions, engine.queue.next_release().unwrap_or(flushed + FLUSH).min(flushed + FLUSH))
        };
        let idle = actions.is_empty();
        for action in actions {
            if carry_out.send(action).await.is_err() {
                return;
            }
        }
        if idle {
            // A change since the look above has left its permit with `changed`.
            let _ = tokio::time::timeout_at(next.into(), shared.changed.notified()).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

fn collect_metrics(shared: &Arc<Shared>) {
    let shared = Arc::downgrade(shared);
    component_base::metrics::collect_with(move |_| {
        let Some(shared) = shared.upgrade() else { return };
        let engine = shared.engine.lock();
        for (name, place) in [
            ("active", Place::Active),
            ("backoff", Place::Backoff),
            ("unschedulable", Place::Unschedulable),
            ("gated", Place::Gated),
        ] {
            metrics::PENDING.with(&[name]).set(engine.queue.count(place) as f64);
        }
        let (pods, assumed) = engine.cluster.pod_counts();
        let nodes = engine.cluster.order().len();
        for (name, count) in [("nodes", nodes), ("pods", pods), ("assumed_pods", assumed)] {
            metrics::CACHE_SIZE.with(&[name]).set(count as f64);
        }
    });
}

/// Waits for all watches.
#[derive(Clone)]
pub(crate) struct Synced(Vec<Arc<dyn Source>>);

/// A watch that is complete at some point.
pub(crate) trait Source: Send + Sync {
    fn is_synced(&self) -> bool;
    fn synced(&self) -> BoxFuture<'_, ()>;
}

impl<T: component_base::watch::Object> Source for component_base::watch::Store<T> {
    fn is_synced(&self) -> bool {
        self.is_synced()
    }
    fn synced(&self) -> BoxFuture<'_, ()> {
        self.synced().boxed()
    }
}

impl Synced {
    fn is_synced(&self) -> bool {
        self.0.iter().all(|s| s.is_synced())
    }

    async fn synced(&self) {
        for source in &self.0 {
            source.synced().await;
        }
    }
}

/// Who leads, from the file and the command line.
pub(crate) fn leader_options(
    file: &crate::config::LeaderElection,
    flags: &component_base::flags::Parsed,
) -> anyhow::Result<Options> {
    let mut options = Options::from_flags(flags);
    let given = |flag: &str| flags.is_set(flag);
    if let Some(elect) = file.leader_elect.filter(|_| !given("leader-elect")) {
        options.elect = elect;
    }
    for (flag, value, field) in [
        ("leader-elect-lease-duration", &file.lease_duration, &mut options.lease_duration),
        ("leader-elect-renew-deadline", &file.renew_deadline, &mut options.renew_deadline),
        ("leader-elect-retry-period", &file.retry_period, &mut options.retry_period),
    ] {
        if let Some(text) = value.as_ref().filter(|_| !given(flag)) {
            let duration: proto::time::Duration =
                text.parse().map_err(|_| anyhow::anyhow!("leaderElection: {text:?} is no duration"))?;
            *field = duration.to_std();
        }
    }
    for (flag, value, field) in [
        ("leader-elect-resource-name", &file.resource_name, &mut options.name),
        ("leader-elect-resource-namespace", &file.resource_namespace, &mut options.namespace),
    ] {
        if let Some(text) = value.as_ref().filter(|t| !t.is_empty() && !given(flag)) {
            *field = text.clone();
        }
    }
    Ok(options)
}
