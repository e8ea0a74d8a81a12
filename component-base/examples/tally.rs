//! A whole daemon on the harness: it counts the ConfigMaps of each namespace into an annotation.
//!
//! `cargo run --example tally -- --kubeconfig ~/.kube/config --leader-elect=false`

use std::process::ExitCode;
use std::time::Duration;

use component_base::client::{Client, Config, Patch, known};
use component_base::daemon::{self, Context, Spec};
use component_base::events::{EventType, ObjectRef, Recorder};
use component_base::flags::{Flag, Group, Kind, groups};
use component_base::health::{Endpoint, Health};
use component_base::leader::{Elector, Options};
use component_base::queue::{Next, Queue, run_workers};
use component_base::serving::{self, Router};
use component_base::watch::{Informers, Store, Watch};
use proto::meta::{Key, ObjectMeta};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

static OWN: Group = Group {
    title: "Tally",
    flags: &[
        Flag::new("kubeconfig", Kind::String, "", "Path to a kubeconfig file."),
        Flag::new("leader-elect-resource-name", Kind::String, "tally", "The name of the lock."),
        Flag::new("secure-port", Kind::Int, "0", "The port for HTTPS; 0 for none."),
    ],
};

static SPEC: Spec = Spec {
    name: "tally",
    about: "Counts ConfigMaps.",
    groups: &[
        &OWN,
        &groups::LOGS,
        &groups::GLOBAL,
        &groups::METRICS,
        &groups::SECURE_SERVING,
        &groups::AUTHENTICATION,
        &groups::AUTHORIZATION,
        &groups::LEADER_ELECTION,
    ],
    run: |context| Box::pin(run(context)),
    grace: Duration::from_secs(5),
};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Slim {
    metadata: ObjectMeta,
}
component_base::object!(Slim);

/// What to do about a namespace: the number to write, if it isn't there yet.
fn plan(namespace: &Slim, count: usize) -> Option<String> {
    let count = count.to_string();
    (namespace.metadata.annotations.get("tally") != Some(&count)).then_some(count)
}

#[derive(Clone)]
struct Controller {
    client: Client,
    recorder: Recorder,
    namespaces: Store<Slim>,
    config_maps: Store<Slim>,
}

impl Controller {
    async fn sync(&self, key: Key) -> anyhow::Result<Next> {
        let Some(namespace) = self.namespaces.get_key(&key) else { return Ok(Next::Done) };
        if let Some(count) = plan(&namespace, self.config_maps.list_namespace(&key.name).len()) {
            let patch = json!({ "metadata": { "annotations": { "tally": count } } });
            self.client.patch::<IgnoredAny>(&known::NAMESPACES, "", &key.name, Patch::Merge, &patch).await?;
            let about = ObjectRef::new("v1", "Namespace", &*namespace);
            self.recorder.event(&about, EventType::Normal, "Counted", format!("{count} ConfigMaps"));
        }
        Ok(Next::Done)
    }
}

async fn run(context: Context) -> anyhow::Result<()> {
    let Context { flags, tasks } = context;
    let client = Client::new(Config::load(flags.str("kubeconfig"), "")?.with_component("tally"))?;
    let recorder = Recorder::new(&client, "tally", "", &tasks);
    let elector =
        Elector::new(&client, Options::from_flags(&flags), daemon::identity(), Some(recorder.clone()))?;
    let health = Health::new();
    let check = elector.clone();
    health.add("leaderElection", &[Endpoint::Healthz], move || check.check());
    serving::start(&tasks, &flags, Router::standard(&health)).await?;
    elector.lead(&tasks).await?;

    let informers = Informers::new(client.clone(), tasks.clone());
    let controller = Controller {
        namespaces: informers.watch(Watch::new(known::NAMESPACES)),
        config_maps: informers.watch(Watch::new(known::CONFIG_MAPS)),
        client,
        recorder,
    };
    let queue = Queue::new("tally");
    let add = queue.clone();
    controller.namespaces.subscribe(move |change| add.add(change.key()));
    let add = queue.clone();
    controller.config_maps.subscribe(move |change| add.add(Key::cluster(change.key().namespace)));
    controller.namespaces.synced().await;
    controller.config_maps.synced().await;
    run_workers(&tasks, "tally", &queue, 2, move |key| {
        let controller = controller.clone();
        async move { controller.sync(key).await }
    });
    Ok(())
}

fn main() -> ExitCode {
    daemon::main(&SPEC)
}
