//! The controller manager: the control loops that bring the cluster to the state its objects ask for.
//!
//! Each controller is a module with the same three parts: what it watches, a pure `plan` from what is
//! known to what must be done, and the writes that do it. One [`table`] names them all. Controllers
//! share one watch per kind, act each under an identity of its own, and run only in the process that
//! holds the lease.

pub mod api;
pub mod common;
pub mod context;
pub mod controllers;
mod identity;
mod options;
mod recorder;
pub mod table;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use component_base::client::{Client, Config, Source};
use component_base::daemon::{self, Context, Spec};
use component_base::events;
use component_base::features::Gates;
use component_base::flags::Parsed;
use component_base::health::{Endpoint, Health};
use component_base::leader::{Elector, Options};
use component_base::serving::{self, Router};
use component_base::tasks::Tasks;
use component_base::watch::Informers;
use futures::FutureExt as _;

use crate::context::{Controller, Shared};
use crate::identity::Identities;
use crate::recorder::Recorder;

const NAME: &str = "kube-controller-manager";

/// The daemon.
pub static SPEC: Spec = Spec {
    name: NAME,
    about: "Runs the control loops that bring the cluster to the state its objects ask for.",
    groups: options::GROUPS,
    run: |context| run(context).boxed(),
    grace: Duration::from_secs(10),
};

async fn run(context: Context) -> anyhow::Result<()> {
    let (flags, tasks) = (context.flags, context.tasks);
    table::check(flags.list("controllers")).map_err(anyhow::Error::msg)?;
    let config = client_config(&flags)?;
    let own = Client::new(config.clone())?;
    let recorder = events::Recorder::new(&own, NAME, &daemon::hostname(), &tasks);
    let options = Options::from_flags(&flags);
    let elector = Elector::new(&own.unlimited(), options, daemon::identity(), Some(recorder))?;
    let health = Health::new();
    let check = elector.clone();
    health.add("leaderElection", &[Endpoint::Healthz], move || check.check());
    serving::start(&tasks, &flags, Router::standard(&health)).await?;
    elector.lead(&tasks).await?;
    start_controllers(&flags, &tasks, config, own).await
}

fn client_config(flags: &Parsed) -> anyhow::Result<Config> {
    let config = Config::load(flags.str("kubeconfig"), flags.str("master"))?.with_component(NAME);
    // Unless asked otherwise, the server alone sets the pace: it has fair queueing for that.
    let limited = flags.is_set("kube-api-qps") || flags.is_set("kube-api-burst");
    let (qps, burst) =
        if limited { (flags.float("kube-api-qps"), flags.int("kube-api-burst") as f64) } else { (0.0, 0.0) };
    Ok(config.with_limit(qps, burst))
}

async fn start_controllers(
    flags: &Arc<Parsed>,
    tasks: &Tasks,
    config: Config,
    own: Client,
) -> anyhow::Result<()> {
    let identities = Identities::new(own.clone(), &config, flags.bool("use-service-account-credentials"))?;
    let shared = Arc::new(Shared {
        informers: Informers::new(own.unlimited(), tasks.clone()),
        reader: own.clone(),
        flags: flags.clone(),
        tasks: tasks.clone(),
        server_authorities: config.ca.as_ref().map(read_authorities).transpose()?,
        kinds: Default::default(),
    });
    let host = daemon::hostname();
    let interval = flags.duration("controller-start-interval").to_std();
    let gates = Gates::from_flags(flags, &BTreeMap::new())?;
    for row in table::TABLE {
        if !table::is_enabled(row, flags.list("controllers")) {
            tracing::info!(controller = row.name, "Warning: controller is disabled");
            continue;
        }
        if !row.gates.iter().all(|gate| gates.enabled(gate)) {
            tracing::info!(controller = row.name, gates = ?row.gates, "Controller is disabled by a feature gate");
            continue;
        }
        let Some(start) = row.start else {
            tracing::info!(controller = row.name, "Controller isn't built, skipping");
            continue;
        };
        let client =
            if row.account.is_empty() { own.named(row.component) } else { identities.client(row.account) };
        let controller = Arc::new(Controller {
            name: row.name,
            recorder: Recorder::new(&client, row.component, &host, tasks),
            client,
            reader: own.clone(),
            tasks: tasks.clone(),
            shared: shared.clone(),
        });
        start(controller).with_context(|| format!("error starting controller {:?}", row.name))?;
        tracing::info!(controller = row.name, "Started controller");
        if !interval.is_zero() {
            tokio::time::sleep(interval).await;
        }
    }
    Ok(())
}

fn read_authorities(source: &Source) -> anyhow::Result<String> {
    Ok(String::from_utf8(source.read()?)?)
}
