//! Admission: what may change or refuse a write after it was authorized and before it is stored.
//!
//! Plugins run in the order of one [`Chain`]: all mutations first, then, on the object as it will be stored, all
//! validations. A plugin sees objects in the hub version; webhooks convert through the request's endpoint.

mod build;
mod certificates;
mod default_class;
mod expression;
mod followed;
mod form;
mod limit_ranger;
mod matching;
mod namespace_lifecycle;
mod node_restriction;
mod pod_defaults;
mod pod_resize;
mod pod_security;
mod policy;
mod priority;
mod quota;
mod rbac_escalation;
mod reinvocation;
mod runtime_class;
mod service_account;
mod simple;
mod step;
mod storage;
#[cfg(test)]
mod testing;
mod webhook;

pub use build::{AdmissionOptions, build};
pub use reinvocation::Reinvocation;

use std::sync::Arc;

use futures::future::BoxFuture;
use proto::status::Status;
use serde_json::Value;

use crate::audit;
use crate::auth::UserInfo;
use crate::registry::Endpoint;

/// What is being done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A new object.
    Create,
    /// A change.
    Update,
    /// A removal.
    Delete,
    /// A connection to a subresource such as exec.
    Connect,
}

impl Operation {
    /// The name in AdmissionReview.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// One write under review.
pub struct Review {
    /// What is being done.
    pub operation: Operation,
    /// The endpoint of the request: group, version, resource, conversions.
    pub endpoint: Arc<Endpoint>,
    /// Kind of `object` as the request has it: (group, version, kind). Differs from the endpoint's on subresources.
    pub kind: (String, String, String),
    /// Subresource, or empty.
    pub subresource: String,
    /// Namespace, or empty.
    pub namespace: String,
    /// Name; empty on create with generateName, before the name is made.
    pub name: String,
    /// Who.
    pub user: Arc<UserInfo>,
    /// The object to be stored (create, update), or the options of a connection; null on delete.
    pub object: Value,
    /// The object as it is (update, delete); null otherwise.
    pub old: Arc<Value>,
    /// CreateOptions, UpdateOptions or DeleteOptions, by the operation.
    pub options: Value,
    /// Whether nothing will be stored. Plugins with side effects must not have them then.
    pub dry_run: bool,
    /// Texts for the response's Warning headers; plugins add to it.
    pub warnings: Vec<String>,
    /// Audit annotations; plugins add to it.
    pub annotations: Vec<(String, String)>,
    /// Who was called, and has to be called once more.
    pub reinvocation: Reinvocation,
}

impl Review {
    /// API group of the resource.
    pub fn group(&self) -> &str {
        &self.endpoint.group
    }

    /// Plural resource.
    pub fn resource(&self) -> &str {
        &self.endpoint.resource
    }

    /// Whether the request is for this resource itself (no subresource).
    pub fn is(&self, group: &str, resource: &str) -> bool {
        self.subresource.is_empty() && self.endpoint.group == group && self.endpoint.resource == resource
    }

    /// A 403 about this object, called by its generateName as long as it has no name.
    pub fn forbidden(&self, why: impl std::fmt::Display) -> Status {
        let metadata = &self.object["metadata"];
        let name = [Some(self.name.as_str()), metadata["name"].as_str(), metadata["generateName"].as_str()]
            .into_iter()
            .flatten()
            .find(|name| !name.is_empty())
            .unwrap_or("Unknown");
        Status::forbidden(&self.endpoint.group, &self.endpoint.resource, name, why)
    }
}

/// What a call of a plugin answers.
pub type Outcome<'a> = BoxFuture<'a, Result<(), Status>>;

/// One admission plugin.
pub trait Plugin: Send + Sync {
    /// Name, as in --enable-admission-plugins.
    fn name(&self) -> &'static str;

    /// Whether it wants to see such operations at all (a cheap filter; called on each write).
    fn handles(&self, operation: Operation) -> bool;

    /// Changes the object or refuses it.
    fn mutate<'a>(&'a self, review: &'a mut Review) -> Outcome<'a> {
        let _ = review;
        Box::pin(async { Ok(()) })
    }

    /// Refuses the object or not. May be called again when the write lost a race.
    fn validate<'a>(&'a self, review: &'a mut Review) -> Outcome<'a> {
        let _ = review;
        Box::pin(async { Ok(()) })
    }
}

/// The enabled plugins in the order they run in.
#[derive(Clone, Default)]
pub struct Chain {
    plugins: Vec<Arc<dyn Plugin>>,
}

impl Chain {
    /// A chain of these plugins.
    pub fn new(plugins: Vec<Arc<dyn Plugin>>) -> Self {
        Chain { plugins }
    }

    /// The plugins' names, in order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.plugins.iter().map(|p| p.name())
    }

    /// Runs all mutations; once more if a webhook or policy changed what plugins before it had seen.
    pub async fn mutate(&self, review: &mut Review) -> Result<(), Status> {
        review.reinvocation = Reinvocation::default();
        let mut done = self.mutate_once(review).await;
        if done.is_ok() && review.reinvocation.begin_second() {
            done = self.mutate_once(review).await;
        }
        review.reinvocation = Reinvocation::default();
        annotate(review);
        done
    }

    async fn mutate_once(&self, review: &mut Review) -> Result<(), Status> {
        let operation = review.operation;
        for plugin in self.plugins.iter().filter(|p| p.handles(operation)) {
            plugin.mutate(review).await?;
        }
        Ok(())
    }

    /// Runs all validations.
    pub async fn validate(&self, review: &mut Review) -> Result<(), Status> {
        let operation = review.operation;
        for plugin in self.plugins.iter().filter(|p| p.handles(operation)) {
            if let Err(status) = plugin.validate(review).await {
                annotate(review);
                return Err(status);
            }
        }
        annotate(review);
        Ok(())
    }
}

/// Hands what plugins have to say on to the audit.
fn annotate(review: &mut Review) {
    let annotations = std::mem::take(&mut review.annotations);
    audit::current(|record| annotations.iter().for_each(|(key, value)| record.annotate(key, value)));
}
