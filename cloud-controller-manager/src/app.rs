//! The leader's half: flags as upstream's, the cloud, the controllers.

use std::sync::Arc;
use std::time::Duration;

use component_base::client::known::{ENDPOINT_SLICES, NODES, SERVICES};
use component_base::client::{Client, Config};
use component_base::daemon::{self, Spec, identity};
use component_base::events::Recorder;
use component_base::flags::groups::{self, CONTENT_TYPE_UNUSED};
use component_base::flags::{Flag, Group, Kind, Parsed};
use component_base::health::{Endpoint, Health};
use component_base::leader::{Elector, Options as LeaderOptions};
use component_base::serving::{self, Router};
use component_base::watch::{Informers, Watch};

use crate::bare_metal::{self, BareMetal};
use crate::controllers::{self, Context, Options};

const EVENTS_DRIVE: &str = "changes are acted on when they happen";
const NO_WEBHOOKS: &str = "there are no webhooks";

static OWN: Group = Group {
    title: "Misc",
    flags: &[
        Flag::new(
            "kubeconfig",
            Kind::String,
            "",
            "Path to kubeconfig file with authorization and master location information.",
        ),
        Flag::new(
            "master",
            Kind::String,
            "",
            "The address of the Kubernetes API server (overrides any value in kubeconfig).",
        ),
        Flag::new(
            "node-status-update-frequency",
            Kind::Duration,
            "5m",
            "How often the controller updates nodes' status.",
        )
        .no_effect(EVENTS_DRIVE),
        Flag::new(
            "secure-port",
            Kind::Int,
            "10258",
            "The port on which to serve HTTPS. If 0, don't serve HTTPS at all.",
        ),
        Flag::new(
            "leader-elect-resource-name",
            Kind::String,
            "cloud-controller-manager",
            "The name of the lock.",
        ),
        Flag::new(
            "leader-migration-config",
            Kind::String,
            "",
            "Path to the config file for controller leader migration.",
        )
        .refused("leader migration is not supported"),
        Flag::new(
            "enable-leader-migration",
            Kind::Bool,
            "false",
            "Whether to enable controller leader migration.",
        )
        .refused("leader migration is not supported"),
    ],
};

static GENERIC: Group = Group {
    title: "Generic",
    flags: &[
        Flag::new("allocate-node-cidrs", Kind::Bool, "false", "Should CIDRs for Pods be allocated.")
            .no_effect("the controller manager allocates node CIDRs"),
        Flag::new(
            "allow-untagged-cloud",
            Kind::Bool,
            "false",
            "Allow the cluster to run without the cluster-id.",
        )
        .no_effect("clusters have no cloud id"),
        Flag::new("cidr-allocator-type", Kind::String, "RangeAllocator", "Type of CIDR allocator.")
            .no_effect("the controller manager allocates node CIDRs"),
        Flag::new("cloud-config", Kind::String, "", "The path to the cloud provider configuration file."),
        Flag::new(
            "cloud-provider",
            Kind::String,
            "bare-metal",
            "The provider for cloud services: bare-metal.",
        ),
        Flag::new("cluster-cidr", Kind::String, "", "CIDR Range for Pods in cluster.")
            .no_effect("routes follow the nodes' podCIDRs"),
        Flag::new("cluster-name", Kind::String, "kubernetes", "The instance prefix for the cluster.")
            .no_effect("what is written needs no prefix"),
        Flag::new(
            "concurrent-node-syncs",
            Kind::Int,
            "1",
            "Number of workers concurrently synchronizing nodes.",
        ),
        Flag::new(
            "concurrent-service-syncs",
            Kind::Int,
            "1",
            "The number of services that are allowed to sync concurrently.",
        ),
        Flag::new(
            "concurrent-node-status-updates",
            Kind::Int,
            "1",
            "Number of workers concurrently updating nodes' status.",
        )
        .no_effect(EVENTS_DRIVE),
        Flag::new(
            "configure-cloud-routes",
            Kind::Bool,
            "true",
            "Should CIDRs allocated by allocate-node-cidrs be configured on the cloud provider.",
        ),
        Flag::new(
            "controller-start-interval",
            Kind::Duration,
            "0s",
            "Interval between starting controller managers.",
        )
        .no_effect("controllers share their watches"),
        Flag::new(
            "controllers",
            Kind::List,
            "*",
            "Controllers to enable: '*' all, 'foo' enables, '-foo' disables.",
        ),
        Flag::new(
            "external-cloud-volume-plugin",
            Kind::String,
            "",
            "The plugin to use when cloud provider is set to external.",
        )
        .no_effect("volumes are CSI drivers'"),
        Flag::new("kube-api-burst", Kind::Int, "30", "Burst to use while talking with kubernetes apiserver."),
        Flag::new(
            "kube-api-content-type",
            Kind::String,
            "application/vnd.kubernetes.protobuf",
            "Content type of requests sent to apiserver.",
        )
        .no_effect(CONTENT_TYPE_UNUSED),
        Flag::new("kube-api-qps", Kind::Float, "20", "QPS to use while talking with kubernetes apiserver."),
        Flag::new("min-resync-period", Kind::Duration, "12h", "The resync period in reflectors.")
            .no_effect("watches don't need resyncs"),
        Flag::new("node-monitor-period", Kind::Duration, "5s", "The period for syncing node status.")
            .no_effect(EVENTS_DRIVE),
        Flag::new("node-sync-period", Kind::Duration, "0s", "Deprecated.")
            .deprecated("This flag is currently no-op and will be deleted."),
        Flag::new("route-reconciliation-period", Kind::Duration, "10s", "The period for reconciling routes.")
            .no_effect(EVENTS_DRIVE),
        Flag::new(
            "use-service-account-credentials",
            Kind::Bool,
            "false",
            "Use individual service account credentials for each controller.",
        )
        .refused("all controllers use the manager's own credentials"),
        Flag::new("webhooks", Kind::List, "", "Webhooks to enable.").refused(NO_WEBHOOKS),
        Flag::new("webhook-bind-address", Kind::Ip, "0.0.0.0", "The webhooks' address.")
            .no_effect(NO_WEBHOOKS),
        Flag::new("webhook-cert-dir", Kind::String, "", "The webhooks' certificates.").no_effect(NO_WEBHOOKS),
        Flag::new("webhook-secure-port", Kind::Int, "10260", "The webhooks' port.").no_effect(NO_WEBHOOKS),
        Flag::new("webhook-tls-cert-file", Kind::String, "", "The webhooks' certificate.")
            .no_effect(NO_WEBHOOKS),
        Flag::new("webhook-tls-private-key-file", Kind::String, "", "The webhooks' key.")
            .no_effect(NO_WEBHOOKS),
    ],
};

/// The `cloud-controller-manager` daemon.
pub static SPEC: Spec = Spec {
    name: "cloud-controller-manager",
    about: "The cloud controller manager initializes nodes, balances load to services and routes between pods\non a cloud; with `node-agent` as first argument it executes the bare-metal cloud's decisions on a node.",
    groups: &[
        &OWN,
        &GENERIC,
        &groups::DEBUGGING,
        &groups::LEADER_ELECTION,
        &groups::SECURE_SERVING,
        &groups::AUTHENTICATION,
        &groups::AUTHORIZATION,
        &groups::FEATURES,
        &groups::METRICS,
        &groups::LOGS,
        &groups::GLOBAL,
    ],
    run: |context| Box::pin(run(context)),
    grace: Duration::from_secs(5),
};

async fn run(daemon: daemon::Context) -> anyhow::Result<()> {
    let (flags, tasks) = (&daemon.flags, &daemon.tasks);
    let config = cloud_config(flags)?;
    let client = Config::load(flags.str("kubeconfig"), flags.str("master"))?
        .with_component("cloud-controller-manager")
        .with_limit(flags.float("kube-api-qps"), flags.int("kube-api-burst") as f64);
    let client = Client::new(client)?;
    let enabled = enabled(flags.list("controllers"))?;

    let health = Health::new();
    let recorder = Recorder::new(&client, "cloud-controller-manager", "", tasks);
    let elector = Elector::new(&client, LeaderOptions::from_flags(flags), identity(), Some(recorder))?;
    let check = elector.clone();
    health.add("leaderElection", &[Endpoint::Healthz], move || check.check());
    serving::start(tasks, flags, Router::standard(&health)).await?;
    elector.lead(tasks).await?;

    let informers = Informers::new(client.clone(), tasks.clone());
    let nodes = informers.watch(Watch::new(NODES));
    let services = informers.watch(Watch::new(SERVICES));
    let slices = informers.watch(Watch::new(ENDPOINT_SLICES));
    nodes.synced().await;
    services.synced().await;
    slices.synced().await;
    let cloud = BareMetal::new(client.clone(), config, nodes.clone(), services.clone(), slices.clone())?;
    let workers = |flag: &str| usize::try_from(flags.int(flag)).unwrap_or(1).clamp(1, 64);
    let context = Context {
        client,
        tasks: tasks.clone(),
        cloud: Arc::new(cloud),
        nodes,
        services,
        slices,
        options: Arc::new(Options {
            concurrent_node_syncs: workers("concurrent-node-syncs"),
            concurrent_service_syncs: workers("concurrent-service-syncs"),
            configure_cloud_routes: flags.bool("configure-cloud-routes"),
        }),
    };
    for controller in enabled {
        let started = (controller.start)(&context);
        tracing::info!(controller = controller.name, started, "Controller");
    }
    Ok(())
}

fn cloud_config(flags: &Parsed) -> anyhow::Result<bare_metal::Config> {
    match flags.str("cloud-provider") {
        "bare-metal" => Ok(bare_metal::Config::load(flags.str("cloud-config"))?),
        "" => anyhow::bail!("--cloud-provider cannot be empty"),
        other => anyhow::bail!("unknown cloud provider {other:?}; the provider built in is \"bare-metal\""),
    }
}

/// The controllers that `--controllers` enables.
fn enabled(patterns: &[String]) -> anyhow::Result<Vec<&'static controllers::Controller>> {
    let known = |name: &str| controllers::ALL.iter().any(|c| c.name == name || c.alias == name);
    for pattern in patterns.iter().filter(|pattern| *pattern != "*") {
        let name = pattern.trim_start_matches('-');
        if !known(name) {
            anyhow::bail!("{pattern:?} is not in the list of known controllers");
        }
    }
    let has = |text: String| patterns.contains(&text);
    let on = |controller: &&controllers::Controller| {
        let (name, alias) = (controller.name, controller.alias);
        let disabled = has(format!("-{name}")) || has(format!("-{alias}"));
        has(name.to_owned()) || has(alias.to_owned()) || (has("*".to_owned()) && !disabled)
    };
    Ok(controllers::ALL.iter().filter(on).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_chosen_by_either_name() {
        let names = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|&p| p.to_owned()).collect();
            enabled(&patterns)
                .map(|list| list.iter().map(|c| c.alias).collect::<Vec<_>>())
                .map_err(|e| e.to_string())
        };
        assert_eq!(names(&["*"]).unwrap().len(), 4);
        assert_eq!(
            names(&["*", "-route", "-service-lb-controller"]).unwrap(),
            ["cloud-node", "cloud-node-lifecycle"]
        );
        assert_eq!(names(&["service"]).unwrap(), ["service"]);
        assert_eq!(names(&["-x"]).unwrap_err(), "\"-x\" is not in the list of known controllers");
    }

    #[test]
    fn the_table_parses() {
        let flags = component_base::flags::parse(SPEC.name, SPEC.about, SPEC.groups, &[]).unwrap();
        assert_eq!(
            (flags.int("secure-port"), flags.str("leader-elect-resource-name")),
            (10258, "cloud-controller-manager")
        );
    }
}
