//! Admission webhooks: programs outside the server that change or refuse writes.
//!
//! Mutating webhooks are called one after the other, each on what the ones before made of the
//! object; validating ones all at once, on what will be stored. A webhook that can't be reached
//! fails the write, unless its configuration says to go on without it.

mod config;
mod exchange;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures::future::join_all;
use proto::status::Status;
use serde_json::Value;

use self::config::{Webhook, webhooks};
use self::exchange::{Answer, Invocation};
use super::followed::{Followed, GROUP};
use super::form::Form;
use super::reinvocation::Calls;
use super::step::items;
use super::{Operation, Outcome, Plugin, Review};
use crate::auth::text::quoted;
use crate::patch::apply_steps;
use crate::registry::{Endpoint, Local};
use crate::webhook::Client;

/// What both kinds of webhook have in common.
struct Dispatcher {
    local: Arc<dyn Local>,
    configurations: Arc<Followed<Vec<Arc<Webhook>>>>,
    client: Client,
}

/// Why a webhook did not let a write pass.
enum Failure {
    /// The webhook couldn't be asked, or its answer makes no sense: its failure policy decides.
    Call(String),
    /// The webhook refuses, or the server can't go on.
    Refused(Status),
}

impl Dispatcher {
    fn new(local: &Arc<dyn Local>, resource: &str) -> Dispatcher {
        let configurations = Followed::new(local, resource, webhooks);
        Dispatcher { local: local.clone(), configurations, client: Client::default() }
    }

    /// The webhooks to be asked, by configuration and position.
    fn webhooks(&self) -> Vec<Arc<Webhook>> {
        self.configurations.all().iter().flat_map(|webhooks| webhooks.iter().cloned()).collect()
    }

    async fn invocation(
        &self,
        webhook: &Arc<Webhook>,
        review: &Review,
    ) -> Result<Option<Invocation>, Status> {
        let endpoint = webhook.matching.endpoint(&self.local, review).await?;
        let Some(endpoint) = endpoint else { return Ok(None) };
        let conditions = &webhook.match_conditions;
        let is_meant = conditions.are_met_by(&self.local, &endpoint, review, webhook.fails_open).await?;
        Ok(is_meant.then(|| Invocation { webhook: webhook.clone(), endpoint }))
    }

    async fn ask(
        &self,
        invocation: &Invocation,
        review: &Review,
        object: &Value,
        mutating: bool,
    ) -> Result<Answer, Failure> {
        let webhook = &invocation.webhook;
        if review.dry_run && !webhook.allows_dry_run {
            let name = quoted(&webhook.name);
            let why = format!("admission webhook {name} does not support dry run");
            return Err(Failure::Refused(Status::bad_request(why)));
        }
        let version = exchange::review_version(webhook)
            .map_err(|error| Failure::Call(format!("could not create admission objects: {error}")))?;
        let uid = uuid::Uuid::new_v4().to_string();
        let old = Form::of(&invocation.endpoint, review, &review.old);
        let old = old.show(&review.old).await.map_err(Failure::Refused)?;
        let body = exchange::request(version, &uid, &invocation.endpoint, review, object, &old);
        let response = self.client.call(&self.local, &webhook.remote, &body).await;
        let response = response.map_err(|error| Failure::Call(format!("failed to call webhook: {error}")))?;
        exchange::answer(version, &uid, mutating, &response)
            .map_err(|error| Failure::Call(format!("received invalid webhook response: {error}")))
    }
}

/// Webhooks can't lock each other's configuration out.
fn is_exempt(review: &Review) -> bool {
    review.group() == GROUP
}

/// The request as expressions see it: without the objects.
pub(super) fn request(endpoint: &Endpoint, review: &Review) -> Value {
    let mut body = exchange::request("v1", "", endpoint, review, &Value::Null, &Value::Null);
    body["request"].take()
}

/// What a failure means for the write: nothing if the webhook may fail.
fn settle(webhook: &Webhook, failure: Failure) -> Result<(), Status> {
    match failure {
        Failure::Refused(status) => Err(status),
        Failure::Call(why) => {
            let message = format!("failed calling webhook {}: {why}", quoted(&webhook.name));
            if webhook.fails_open {
                tracing::warn!("{message}; going on without it");
                return Ok(());
            }
            tracing::warn!("{message}");
            Err(Status::internal(message))
        }
    }
}

fn note(review: &mut Review, webhook: &Webhook, answer: &mut Answer) {
    review.warnings.append(&mut answer.warnings);
    let annotations = std::mem::take(&mut answer.annotations);
    let named = annotations.into_iter().map(|(key, value)| (format!("{}/{key}", webhook.name), value));
    review.annotations.extend(named);
}

/// MutatingAdmissionWebhook.
pub(super) struct MutatingWebhooks(Dispatcher);

impl MutatingWebhooks {
    pub(super) const NAME: &str = "MutatingAdmissionWebhook";

    pub(super) fn new(local: &Arc<dyn Local>) -> Self {
        MutatingWebhooks(Dispatcher::new(local, "mutatingwebhookconfigurations"))
    }

    async fn run(&self, review: &mut Review) -> Result<(), Status> {
        if is_exempt(review) {
            return Ok(());
        }
        let webhooks = self.0.webhooks();
        if webhooks.is_empty() {
            return Ok(());
        }
        let mut calls = review.reinvocation.begin(Self::NAME, &review.object);
        let done = self.call_all(&webhooks, review, &mut calls).await;
        review.reinvocation.end(Self::NAME, calls, &review.object);
        done
    }

    async fn call_all(
        &self,
        webhooks: &[Arc<Webhook>],
        review: &mut Review,
        calls: &mut Calls,
    ) -> Result<(), Status> {
        for webhook in webhooks {
            let Some(invocation) = self.0.invocation(webhook, review).await? else { continue };
            if !calls.is_due(&webhook.key) {
                continue;
            }
            match self.call(&invocation, review).await {
                Ok(changed) => calls.made(&webhook.key, changed, webhook.is_reinvoked),
                Err(failure) => settle(webhook, failure)?,
            }
        }
        Ok(())
    }

    /// Calls one webhook and applies what it wants; answers whether that changed anything.
    async fn call(&self, invocation: &Invocation, review: &mut Review) -> Result<bool, Failure> {
        let webhook = &invocation.webhook;
        let form = Form::of(&invocation.endpoint, review, &review.object);
        let object = form.show(&review.object).await.map_err(Failure::Refused)?;
        let mut answer = self.0.ask(invocation, review, &object, true).await?;
        note(review, webhook, &mut answer);
        if !answer.allowed {
            return Err(Failure::Refused(exchange::rejection(&webhook.name, &answer.status)));
        }
        let steps = items(&answer.patch);
        if steps.is_empty() {
            return Ok(false);
        }
        if object.is_null() {
            let name = quoted(&webhook.name);
            return Err(Failure::Refused(Status::internal(format!(
                "admission webhook {name} attempted to modify the object, which is not supported for this operation"
            ))));
        }
        let mut patched = object;
        apply_steps(&mut patched, steps).map_err(|error| Failure::Refused(Status::internal(error)))?;
        let changed = form.adopt(&patched, &review.object).await.map_err(Failure::Refused)?;
        let differs = changed != review.object;
        review.object = changed;
        Ok(differs)
    }
}

impl Plugin for MutatingWebhooks {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn handles(&self, _: Operation) -> bool {
        true
    }

    fn mutate<'a>(&'a self, review: &'a mut Review) -> Outcome<'a> {
        Box::pin(self.run(review))
    }
}

/// ValidatingAdmissionWebhook.
pub(super) struct ValidatingWebhooks(Dispatcher);

impl ValidatingWebhooks {
    pub(super) const NAME: &str = "ValidatingAdmissionWebhook";

    pub(super) fn new(local: &Arc<dyn Local>) -> Self {
        ValidatingWebhooks(Dispatcher::new(local, "validatingwebhookconfigurations"))
    }

    async fn run(&self, review: &mut Review) -> Result<(), Status> {
        if is_exempt(review) {
            return Ok(());
        }
        let mut invocations = Vec::new();
        for webhook in self.0.webhooks() {
            invocations.extend(self.0.invocation(&webhook, review).await?);
        }
        let calls = invocations.iter().map(|invocation| self.call(invocation, review));
        let answers = join_all(calls).await;
        let mut first = Ok(());
        for (invocation, answer) in invocations.iter().zip(answers) {
            let webhook = &invocation.webhook;
            let outcome = match answer {
                Err(failure) => settle(webhook, failure),
                Ok(mut answer) => {
                    note(review, webhook, &mut answer);
                    let refused = || Err(exchange::rejection(&webhook.name, &answer.status));
                    if answer.allowed { Ok(()) } else { refused() }
                }
            };
            first = first.and(outcome);
        }
        first
    }

    async fn call(&self, invocation: &Invocation, review: &Review) -> Result<Answer, Failure> {
        let form = Form::of(&invocation.endpoint, review, &review.object);
        let object = form.show(&review.object).await.map_err(Failure::Refused)?;
        self.0.ask(invocation, review, &object, false).await
    }
}

impl Plugin for ValidatingWebhooks {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn handles(&self, _: Operation) -> bool {
        true
    }

    fn validate<'a>(&'a self, review: &'a mut Review) -> Outcome<'a> {
        Box::pin(self.run(review))
    }
}
