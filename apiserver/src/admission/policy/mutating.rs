//! MutatingAdmissionPolicy: changes of objects by expressions that are objects themselves.
//!
//! Mutations happen one after the other, each on what the ones before made of the object.

use std::sync::Arc;
use std::time::Instant;

use cel::cost::RUNTIME_BUDGET;
use cel::kube::admission::Compiler;
use proto::status::{Cause, Status};
use serde_json::Value;

use super::super::expression::{Authority, Seen};
use super::super::form::Form;
use super::super::reinvocation::Calls;
use super::super::step::{items, text};
use super::super::{Operation, Outcome, Plugin, Review};
use super::patch::{Failure, Mutation};
use super::{Body, Invocation, Policies, Selected, metrics};
use crate::registry::{Endpoint, Local};

/// The mutations of a policy.
struct Mutations {
    mutations: Vec<Mutation>,
    is_reinvoked: bool,
}

impl Body for Mutations {
    fn parse(spec: &Value, compiler: &Compiler) -> Self {
        let mutations = items(&spec["mutations"]).iter();
        Mutations {
            mutations: mutations.map(|mutation| Mutation::parse(mutation, compiler)).collect(),
            is_reinvoked: text(&spec["reinvocationPolicy"]) == "IfNeeded",
        }
    }
}

/// A policy's failure that refuses the write.
struct Refusal {
    message: String,
    /// Whether it came of an expression, rather than of the configuration.
    is_invalid: bool,
}

/// The object of a write in the version that a policy matches.
struct Current {
    endpoint: Arc<Endpoint>,
    form: Form,
    seen: Seen,
    is_changed: bool,
}

impl Current {
    async fn new(endpoint: &Arc<Endpoint>, review: &Review) -> Result<Current, Status> {
        let form = Form::of(endpoint, review, &review.object);
        let seen = Seen::new(endpoint, review).await?;
        Ok(Current { endpoint: endpoint.clone(), form, seen, is_changed: false })
    }

    /// Takes the changes over into the write.
    async fn adopt(self, review: &mut Review) -> Result<(), Status> {
        if self.is_changed {
            let object = self.form.adopt(&self.seen.object, &review.object).await;
            review.object = object.map_err(|status| {
                Status::internal(format!("failed to convert object: {}", status.message))
            })?;
        }
        Ok(())
    }
}

/// MutatingAdmissionPolicy.
pub(in crate::admission) struct MutatingPolicies(Policies<Mutations>);

impl MutatingPolicies {
    pub(in crate::admission) const NAME: &str = "MutatingAdmissionPolicy";

    pub(in crate::admission) fn new(local: &Arc<dyn Local>) -> Self {
        let (policies, bindings) = ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings");
        MutatingPolicies(Policies::new(local, policies, bindings))
    }

    async fn run(&self, review: &mut Review) -> Result<(), Status> {
        let (mut invocations, mut refusals) = (Vec::new(), Vec::new());
        for selected in self.0.select(review).await {
            match selected {
                Selected::Invoked(invocation) => invocations.push(invocation),
                Selected::Failed(policy, binding, error) => {
                    let message = match binding {
                        None => format!("policy \"{}\" denied request: {error}", policy.name),
                        Some(binding) => denied(&policy.name, &binding.name, &error),
                    };
                    refusals.push(Refusal { message, is_invalid: false });
                }
            }
        }
        if !invocations.is_empty() {
            let mut calls = review.reinvocation.begin(Self::NAME, &review.object);
            let done = self.invoke_all(&invocations, review, &mut calls, &mut refusals).await;
            review.reinvocation.end(Self::NAME, calls, &review.object);
            done?;
        }
        if refusals.is_empty() { Ok(()) } else { Err(refused(review, refusals)) }
    }

    async fn invoke_all(
        &self,
        invocations: &[Invocation<Mutations>],
        review: &mut Review,
        calls: &mut Calls,
        refusals: &mut Vec<Refusal>,
    ) -> Result<(), Status> {
        let namespace = self.0.namespace(review).await?;
        let authority = Authority::new(&review.user);
        let mut current: Option<Current> = None;
        for invocation in invocations {
            // Policies may match different versions of one resource.
            let at = match current.take() {
                Some(at) if Arc::ptr_eq(&at.endpoint, &invocation.endpoint) => at,
                other => {
                    if let Some(at) = other {
                        at.adopt(review).await?;
                    }
                    Current::new(&invocation.endpoint, review).await?
                }
            };
            let at = current.insert(at);
            self.invoke(invocation, at, (review, &namespace, &authority), calls, refusals).await?;
        }
        if let Some(at) = current {
            if at.is_changed {
                calls.repeat();
            }
            at.adopt(review).await?;
        }
        Ok(())
    }

    async fn invoke(
        &self,
        invocation: &Invocation<Mutations>,
        at: &mut Current,
        (review, namespace, authority): (&Review, &Value, &Arc<Authority>),
        calls: &mut Calls,
        refusals: &mut Vec<Refusal>,
    ) -> Result<(), Status> {
        let Invocation { policy, binding, parameters, .. } = invocation;
        let local = &self.0.local;
        let mut fail = |error: String| {
            if !policy.fails_open {
                let message = denied(&policy.name, &binding.name, &error);
                refusals.push(Refusal { message, is_invalid: true });
            }
        };
        if !policy.conditions.is_empty() {
            let form = (&at.seen, review, namespace);
            let are_met = invocation
                .evaluate(local, form, authority, |scope| policy.conditions.are_met(scope, policy.fails_open))
                .await;
            match are_met {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => {
                    fail(error);
                    return Ok(());
                }
            }
        }
        let metadata = &parameters["metadata"];
        let (space, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
        let key = format!("{}/{}/{space}/{name}", policy.name, binding.name);
        if !calls.is_due(&key) {
            return Ok(());
        }
        let mut before = None;
        for mutation in &policy.body.mutations {
            if at.seen.object.is_null() {
                continue;
            }
            let begun = Instant::now();
            let changed = self.changed(invocation, mutation, at, (review, namespace, authority)).await;
            let error = changed.as_ref().err().map(Failure::message);
            metrics::mutated((&policy.name, &binding.name), error, begun.elapsed());
            match changed {
                Ok(changed) => {
                    let old = std::mem::replace(&mut at.seen.object, changed);
                    before.get_or_insert(old);
                    at.is_changed = true;
                }
                Err(Failure::Policy(error)) => fail(error),
                Err(Failure::Write(status)) => return Err(status),
            }
        }
        let has_changed = before.is_some_and(|before| before != at.seen.object);
        calls.made(&key, has_changed, policy.body.is_reinvoked);
        Ok(())
    }

    /// The object with the changes of one mutation.
    async fn changed(
        &self,
        invocation: &Invocation<Mutations>,
        mutation: &Mutation,
        at: &Current,
        (review, namespace, authority): (&Review, &Value, &Arc<Authority>),
    ) -> Result<Value, Failure> {
        if at.form.ty().is_none() {
            return Err(Failure::Write(untyped(&at.endpoint)));
        }
        let form = (&at.seen, review, namespace);
        let patch = invocation
            .evaluate(&self.0.local, form, authority, |scope| mutation.make(scope, RUNTIME_BUDGET))
            .await
            .map_err(Failure::Policy)?;
        patch.apply(&at.seen.object, &at.form)
    }
}

fn denied(policy: &str, binding: &str, error: &str) -> String {
    format!("policy '{policy}' with binding '{binding}' denied request: {error}")
}

fn untyped(endpoint: &Endpoint) -> Status {
    Status::service_unavailable(format!(
        "Resource kind {}, Kind={} not found. There can be a delay between when CustomResourceDefinitions are created and when they are available.",
        endpoint.api_version(),
        endpoint.kind
    ))
}

/// The first refusal is the message; it is forbidden, whatever the reason says.
fn refused(review: &Review, refusals: Vec<Refusal>) -> Status {
    let mut status = review.forbidden("admission request denied by policy");
    let causes = &mut status.details.get_or_insert_default().causes;
    causes.extend(
        refusals.iter().map(|refusal| Cause { message: refusal.message.clone(), ..Cause::default() }),
    );
    if let Some(first) = refusals.into_iter().next() {
        status.message = first.message;
        if first.is_invalid {
            status.reason = "Invalid".into();
        }
    }
    status
}

impl Plugin for MutatingPolicies {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn handles(&self, operation: Operation) -> bool {
        // What is deleted has no object that could be changed.
        operation != Operation::Delete
    }

    fn mutate<'a>(&'a self, review: &'a mut Review) -> Outcome<'a> {
        Box::pin(self.run(review))
    }
}
