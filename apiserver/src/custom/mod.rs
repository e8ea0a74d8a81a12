//! Custom resources: definitions become rows of the registry at run time; everything else is the engine's.
//!
//! One task follows the definitions. A definition's names are accepted if no other of its group has them; then its rows
//! are published and it is established. A definition that is deleted takes its objects with it first.
//!
//! Every served version is a hub of its own: a request is decoded, pruned, defaulted, validated and admitted in the version it
//! speaks, and objects convert between that and the stored version only. See [`Version`] for what the rows know.

mod coerce;
mod columns;
mod conditions;
mod conversion;
mod definition;
mod hooks;
mod jsonpath;
mod rows;
mod rules;
mod schema;
mod validate;
mod version;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proto::labels::Selector;
use proto::schema::Mask;
use proto::status::Status;
use proto::view::{at, text_at};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::engine::{Engine, meta};
use crate::registry::{Endpoint, Local, Storage};

pub(crate) use definition::{hooks as definition_hooks, set_defaults as set_definition_defaults, stored};
pub use version::Version;

const GROUP: &str = "apiextensions.k8s.io";
const RESOURCE: &str = "customresourcedefinitions";
/// Holds a definition until its objects are gone.
pub(crate) const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";
/// When to look again at objects that don't go away, or at a write that failed.
const RETRY: Duration = Duration::from_secs(5);

/// The rows that a definition asks for: those of its storage and its endpoints. `None` if it has no storage version.
pub fn rows_of(definition: &Value, local: &Arc<dyn Local>) -> Option<(Storage, Vec<Endpoint>)> {
    rows::of(definition, at(definition, &["spec", "names"]), &Arc::default(), local)
}

/// What is published of a definition.
#[derive(PartialEq)]
struct Published {
    uid: String,
    generation: i64,
    names: Value,
}

/// The names a definition wants and has.
struct Names {
    wanted: Value,
    accepted: Value,
}

/// Follows the definitions.
pub struct Definitions {
    engine: Arc<Engine>,
    local: Arc<dyn Local>,
    /// Names of definitions that changed.
    changed: mpsc::UnboundedReceiver<String>,
    again: mpsc::UnboundedSender<String>,
    /// What is published, with whether it is on its way out.
    published: HashMap<String, (Published, Arc<AtomicBool>)>,
    /// By group and by definition.
    names: HashMap<String, HashMap<String, Names>>,
}

impl Definitions {
    /// Begins to listen.
    pub fn new(engine: Arc<Engine>, local: Arc<dyn Local>) -> Self {
        let (again, changed) = mpsc::unbounded_channel();
        let tell = again.clone();
        local.subscribe(
            GROUP,
            RESOURCE,
            &Mask::of(["metadata.name"]),
            Box::new(move |old, new, _| {
                if let Some(object) = new.or(old) {
                    let _ = tell.send(meta::text(object, "name").to_owned());
                }
            }),
        );
        Definitions { engine, local, changed, again, published: HashMap::new(), names: HashMap::new() }
    }

    /// Publishes the definitions there are.
    pub async fn publish_all(&mut self) -> Result<(), Status> {
        let all = self.local.list(GROUP, RESOURCE, "", &Selector::everything(), false).await?;
        all.iter().for_each(|definition| self.know(definition));
        for definition in all {
            self.handle(meta::text(&definition, "name")).await;
        }
        Ok(())
    }

    fn know(&mut self, definition: &Value) {
        let names = Names {
            wanted: at(definition, &["spec", "names"]).clone(),
            accepted: at(definition, &["status", "acceptedNames"]).clone(),
        };
        let group = self.names.entry(text_at(definition, &["spec", "group"]).to_owned()).or_default();
        group.insert(meta::text(definition, "name").to_owned(), names);
    }

    /// Follows changes, for ever.
    pub async fn run(mut self) {
        while let Some(name) = self.changed.recv().await {
            self.handle(&name).await;
        }
    }

    async fn handle(&mut self, name: &str) {
        match self.reconcile(name).await {
            Ok(()) => {}
            // Deleted or changed meanwhile: that is told by another event.
            Err(status) if status.is_not_found() || status.is_conflict() => {}
            Err(error) => {
                tracing::warn!(name, %error, "a custom resource definition");
                self.later(name);
            }
        }
    }

    fn later(&self, name: &str) {
        let (again, name) = (self.again.clone(), name.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(RETRY).await;
            let _ = again.send(name);
        });
    }

    async fn reconcile(&mut self, name: &str) -> Result<(), Status> {
        let Some(definition) = self.local.cached(GROUP, RESOURCE, "", name) else {
            self.withdraw(name);
            return Ok(());
        };
        self.know(&definition);
        if meta::is_deleting(&definition) {
            return self.clean_up(name, &definition).await;
        }
        let group = self.names.get(text_at(&definition, &["spec", "group"]));
        let others = group.into_iter().flatten().filter(|(other, _)| *other != name);
        let others: Vec<&Value> = others.map(|(_, names)| &names.accepted).collect();
        let wanted = conditions::decide(&definition, &others);
        if conditions::is_served(&wanted) {
            self.publish(name, &wanted).await;
        }
        if wanted == *definition {
            return Ok(());
        }
        let revision = meta::text(&definition, "resourceVersion").to_owned();
        let mut change = |old: &Value| {
            // What was decided holds for what was seen only; a newer object comes with an event of its own.
            match meta::text(old, "resourceVersion") == revision {
                true => Ok(wanted.clone()),
                false => Ok(old.clone()),
            }
        };
        let written = self.local.update(GROUP, RESOURCE, "status", "", name, &mut change).await?;
        // The next decision must not wait for the cache to know what this one was.
        self.know(&written);
        self.reconsider_group(name);
        Ok(())
    }

    /// Looks again at the definitions of a group whose names are not accepted: some may be free now.
    fn reconsider_group(&self, name: &str) {
        let group = name.split_once('.').map_or("", |(_, group)| group);
        for (other, names) in self.names.get(group).into_iter().flatten() {
            if other != name && names.wanted != names.accepted {
                let _ = self.again.send(other.clone());
            }
        }
    }

    async fn publish(&mut self, name: &str, definition: &Value) {
        let names = at(definition, &["status", "acceptedNames"]);
        let published = Published {
            uid: meta::text(definition, "uid").to_owned(),
            generation: meta::get(definition, "generation").as_i64().unwrap_or_default(),
            names: names.clone(),
        };
        if self.published.get(name).is_some_and(|(own, _)| *own == published) {
            return;
        }
        let terminating = Arc::new(AtomicBool::new(meta::is_deleting(definition)));
        let rows = rows::of(definition, names, &terminating, &self.local);
        let Some((storage, endpoints)) = rows else { return };
        self.engine.publish(storage, endpoints).await;
        self.published.insert(name.to_owned(), (published, terminating));
    }

    fn withdraw(&mut self, name: &str) {
        let Some((resource, group)) = name.split_once('.') else { return };
        if let Some(names) = self.names.get_mut(group) {
            names.remove(name);
            if names.is_empty() {
                self.names.remove(group);
            }
        }
        self.reconsider_group(name);
        if self.published.remove(name).is_none() {
            return;
        }
        self.engine.withdraw(group, resource);
    }

    /// Deletes the objects, then lets the definition go.
    async fn clean_up(&mut self, name: &str, definition: &Value) -> Result<(), Status> {
        if !meta::finalizers(definition).contains(&FINALIZER) {
            return Ok(());
        }
        if conditions::is_served(definition) {
            // After a restart the objects are reached through rows that must be there first.
            self.publish(name, definition).await;
        }
        if let Some((_, terminating)) = self.published.get(name)
            && !terminating.swap(true, Ordering::Relaxed)
        {
            // Discovery lists fewer verbs from now on.
            self.engine.registry().change(|_| {});
        }
        let ended = match conditions::is_true(definition, "Established") {
            false => ("NeverEstablished", "resource was never established".to_owned()),
            true => {
                let message = "CustomResource deletion is in progress";
                self.tell_terminating(name, "True", "InstanceDeletionInProgress", message, false).await?;
                match self.delete_objects(definition).await {
                    Ok(true) => ("InstanceDeletionCompleted", "removed all instances".to_owned()),
                    Ok(false) => {
                        self.later(name);
                        return Ok(());
                    }
                    Err(error) => {
                        let message = format!("could not issue all deletes: {error}");
                        let reason = "InstanceDeletionFailed";
                        self.tell_terminating(name, "True", reason, &message, false).await?;
                        return Err(error);
                    }
                }
            }
        };
        self.tell_terminating(name, "False", ended.0, &ended.1, true).await
    }

    /// Deletes what objects there are; whether none is left.
    async fn delete_objects(&self, definition: &Value) -> Result<bool, Status> {
        let group = text_at(definition, &["spec", "group"]);
        let resource = text_at(definition, &["spec", "names", "plural"]);
        if self.engine.store(group, resource).is_none() {
            return Ok(true);
        }
        let everything = Selector::everything();
        let objects = self.local.list(group, resource, "", &everything, true).await?;
        for object in objects.iter().filter(|o| !meta::is_deleting(o)) {
            let (namespace, own) = (meta::text(object, "namespace"), meta::text(object, "name"));
            match self.local.delete(group, resource, namespace, own, json!({})).await {
                Err(status) if !status.is_not_found() => return Err(status),
                _ => {}
            }
        }
        Ok(objects.is_empty() || self.local.list(group, resource, "", &everything, true).await?.is_empty())
    }

    /// Writes the condition Terminating; at the end, the finalizer goes.
    async fn tell_terminating(
        &self,
        name: &str,
        status: &str,
        reason: &str,
        message: &str,
        done: bool,
    ) -> Result<(), Status> {
        let mut change = |old: &Value| {
            let mut new = old.clone();
            conditions::set_condition(&mut new, "Terminating", status, reason, message);
            if done {
                let kept = meta::finalizers(old).into_iter().filter(|f| *f != FINALIZER);
                let kept: Vec<Value> = kept.map(Value::from).collect();
                meta::set(&mut new, "finalizers", if kept.is_empty() { Value::Null } else { kept.into() });
            }
            Ok(new)
        };
        self.local.update(GROUP, RESOURCE, "status", "", name, &mut change).await.map(|_| ())
    }
}
