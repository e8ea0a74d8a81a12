//! Custom resources: definitions become rows of the registry at run time; everything else is the engine's.
//!
//! One task follows the definitions. A definition's names are accepted if no other of its group has them; then its rows
//! are published and it is established. A definition that is deleted takes its objects with it first. Objects convert between
//! versions by their apiVersion alone; versions that need a conversion webhook are not served.

mod columns;
mod hooks;
mod names;
mod rows;
mod validate;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use proto::labels::Selector;
use proto::status::Status;
use proto::view::{at, text_at};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::engine::{Engine, meta};
use crate::registry::Local;

pub use hooks::{begin_deletion, may_delete};

const GROUP: &str = "apiextensions.k8s.io";
const RESOURCE: &str = "customresourcedefinitions";
/// Holds a definition until its objects are gone.
pub const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";
/// When to look again at objects that don't go away, or at a write that failed.
const RETRY: Duration = Duration::from_secs(5);

/// Follows the definitions.
pub struct Definitions {
    engine: Arc<Engine>,
    local: Arc<dyn Local>,
    /// Names of definitions that changed.
    changed: mpsc::UnboundedReceiver<String>,
    again: mpsc::UnboundedSender<String>,
    /// What is published: the definition's uid and generation.
    published: HashMap<String, (String, i64)>,
}

impl Definitions {
    /// Begins to listen.
    pub fn new(engine: Arc<Engine>, local: Arc<dyn Local>) -> Self {
        let (again, changed) = mpsc::unbounded_channel();
        let tell = again.clone();
        local.subscribe(
            GROUP,
            RESOURCE,
            Box::new(move |old, new, _| {
                if let Some(object) = new.or(old) {
                    let _ = tell.send(meta::text(object, "name").to_owned());
                }
            }),
        );
        Definitions { engine, local, changed, again, published: HashMap::new() }
    }

    /// Publishes the definitions there are.
    pub async fn publish_all(&mut self) -> Result<(), Status> {
        for definition in self.all().await? {
            self.handle(meta::text(&definition, "name")).await;
        }
        Ok(())
    }

    /// Follows changes, for ever.
    pub async fn run(mut self) {
        while let Some(name) = self.changed.recv().await {
            self.handle(&name).await;
        }
    }

    async fn all(&self) -> Result<Vec<Arc<Value>>, Status> {
        self.local.list(GROUP, RESOURCE, "", &Selector::everything(), false).await
    }

    async fn handle(&mut self, name: &str) {
        if let Err(error) = self.reconcile(name).await {
            tracing::warn!(name, %error, "a custom resource definition");
            self.later(name);
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
        if meta::is_deleting(&definition) {
            return self.clean_up(name, &definition).await;
        }
        let all = self.all().await?;
        let status = names::decide(&definition, &all);
        if names::accepted(&status) {
            self.publish(name, &definition).await;
        }
        if names::differs(&definition, &status) {
            let mut change = |old: &Value| Ok(names::with_status(old, &status));
            self.local.update(GROUP, RESOURCE, "status", "", name, &mut change).await?;
        }
        Ok(())
    }

    async fn publish(&mut self, name: &str, definition: &Value) {
        let version = (
            meta::text(definition, "uid").to_owned(),
            meta::get(definition, "generation").as_i64().unwrap_or_default(),
        );
        if self.published.get(name) == Some(&version) {
            return;
        }
        let Some((storage, endpoints)) = rows::of(definition) else { return };
        self.engine.publish(storage, endpoints).await;
        self.published.insert(name.to_owned(), version);
    }

    fn withdraw(&mut self, name: &str) {
        self.published.remove(name);
        let Some((resource, group)) = name.split_once('.') else { return };
        self.engine.withdraw(group, resource);
    }

    /// Deletes the objects, then lets the definition go.
    async fn clean_up(&mut self, name: &str, definition: &Value) -> Result<(), Status> {
        if !meta::finalizers(definition).contains(&FINALIZER) {
            return Ok(());
        }
        let group = text_at(definition, &["spec", "group"]);
        let resource = text_at(definition, &["spec", "names", "plural"]);
        if self.engine.store(group, resource).is_some() {
            let objects = self.local.list(group, resource, "", &Selector::everything(), true).await?;
            for object in objects.iter().filter(|o| !meta::is_deleting(o)) {
                let (namespace, own) = (meta::text(object, "namespace"), meta::text(object, "name"));
                match self.local.delete(group, resource, namespace, own, json!({})).await {
                    Err(status) if !status.is_not_found() => return Err(status),
                    _ => {}
                }
            }
            if !self.local.list(group, resource, "", &Selector::everything(), true).await?.is_empty() {
                self.later(name);
                return Ok(());
            }
        }
        let mut release = |old: &Value| {
            let mut new = old.clone();
            let kept: Vec<Value> =
                meta::finalizers(old).into_iter().filter(|f| *f != FINALIZER).map(Value::from).collect();
            meta::set(&mut new, "finalizers", if kept.is_empty() { Value::Null } else { kept.into() });
            Ok(new)
        };
        match self.local.update(GROUP, RESOURCE, "", "", name, &mut release).await {
            Err(status) if !status.is_not_found() => Err(status),
            _ => Ok(()),
        }
    }
}

/// The versions of a definition.
fn versions(definition: &Value) -> impl Iterator<Item = &Value> {
    at(definition, &["spec", "versions"]).as_array().into_iter().flatten()
}
