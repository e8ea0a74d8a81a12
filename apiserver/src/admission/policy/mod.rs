//! Admission policies: rules and changes by expressions, in objects that are bound to writes and parameters by others.
//!
//! What both kinds have is here: which policies and bindings there are, and which of them concern a write with what
//! parameters. What is done then is in [`validating`] and [`mutating`].

mod metrics;
mod mutating;
mod parameters;
mod patch;
#[cfg(test)]
mod tests;
mod validating;

use std::sync::Arc;

use cel::kube::admission::{Compiler, Expression, Scope};
use proto::reviews::is_review;
use proto::status::Status;
use serde_json::Value;

pub(super) use self::mutating::MutatingPolicies;
pub(super) use self::validating::ValidatingPolicies;
use super::Review;
use super::expression::{Authority, Conditions, Seen};
use super::followed::{Followed, GROUP};
use super::matching::{Matching, is_namespace};
use super::step::{find, items, text};
use crate::registry::{Endpoint, Local};

/// What no policy sees, besides reviews, without which nothing works: policies themselves.
const POLICIES: [&str; 4] = [
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
];

/// A policy, whose kind says what its body is.
struct Policy<B> {
    name: String,
    matching: Matching,
    /// apiVersion and kind of parameters.
    parameters: Option<(String, String)>,
    fails_open: bool,
    conditions: Conditions,
    variables: Vec<(String, Expression)>,
    body: B,
}

/// What a policy does to the writes it concerns.
trait Body: Sized + Send + Sync + 'static {
    /// Reads it from the policy's spec.
    fn parse(spec: &Value, compiler: &Compiler) -> Self;
}

impl<B: Body> Policy<B> {
    fn parse(policy: &Value) -> Self {
        let spec = &policy["spec"];
        let kind = &spec["paramKind"];
        let own = |field: &str| text(&kind[field]).to_owned();
        let mut compiler = Compiler::new(kind.is_object()).composing();
        let variables = items(&spec["variables"]).iter().map(|variable| {
            let name = text(&variable["name"]);
            (name.to_owned(), compiler.variable(name, text(&variable["expression"])))
        });
        let variables = variables.collect();
        Policy {
            name: text(&policy["metadata"]["name"]).to_owned(),
            matching: Matching::of_policy(&spec["matchConstraints"]),
            parameters: kind.is_object().then(|| (own("apiVersion"), own("kind"))),
            fails_open: text(&spec["failurePolicy"]) == "Ignore",
            conditions: Conditions::parse(&spec["matchConditions"], &compiler),
            variables,
            body: B::parse(spec, &compiler),
        }
    }
}

struct Binding {
    name: String,
    policy: String,
    matching: Option<Matching>,
    reference: Value,
    /// What is done with the verdicts of a validating policy.
    actions: Vec<String>,
}

impl Binding {
    fn parse(binding: &Value) -> Binding {
        let spec = &binding["spec"];
        let resources = &spec["matchResources"];
        Binding {
            name: text(&binding["metadata"]["name"]).to_owned(),
            policy: text(&spec["policyName"]).to_owned(),
            matching: resources.is_object().then(|| Matching::of_policy(resources)),
            reference: spec["paramRef"].clone(),
            actions: items(&spec["validationActions"]).iter().map(|action| text(action).to_owned()).collect(),
        }
    }
}

/// The policies of one kind and their bindings.
struct Policies<B> {
    local: Arc<dyn Local>,
    policies: Arc<Followed<Policy<B>>>,
    bindings: Arc<Followed<Binding>>,
}

/// A policy that concerns a write, by one of its bindings, with one of that binding's parameters.
struct Invocation<B> {
    policy: Arc<Policy<B>>,
    binding: Arc<Binding>,
    /// The version in which the policy matches the write.
    endpoint: Arc<Endpoint>,
    /// Null: without any.
    parameters: Value,
}

/// What is to be done about a policy that may concern a write.
enum Selected<B> {
    Invoked(Invocation<B>),
    /// The policy, or its binding, can't be made use of.
    Failed(Arc<Policy<B>>, Option<Arc<Binding>>, String),
}

impl<B: Body> Policies<B> {
    fn new(local: &Arc<dyn Local>, policies: &str, bindings: &str) -> Self {
        Policies {
            local: local.clone(),
            policies: Followed::new(local, policies, Policy::parse),
            bindings: Followed::new(local, bindings, Binding::parse),
        }
    }

    /// The policies that concern a write, in their order and that of their bindings. Those whose failures are ignored have
    /// none.
    async fn select(&self, review: &Review) -> Vec<Selected<B>> {
        let mut selected = Vec::new();
        let (group, resource) = (review.group(), review.resource());
        if is_review(group, resource) || (group == GROUP && POLICIES.contains(&resource)) {
            return selected;
        }
        let policies = self.policies.all();
        if policies.is_empty() {
            return selected;
        }
        let bindings = self.bindings.all();
        for policy in policies {
            let own: Vec<_> = bindings.iter().filter(|binding| binding.policy == policy.name).collect();
            if !own.is_empty() {
                self.select_of(&policy, &own, review, &mut selected).await;
            }
        }
        selected
    }

    async fn select_of(
        &self,
        policy: &Arc<Policy<B>>,
        bindings: &[&Arc<Binding>],
        review: &Review,
        selected: &mut Vec<Selected<B>>,
    ) {
        let failed = |binding: Option<&Arc<Binding>>, error: String, selected: &mut Vec<Selected<B>>| {
            if !policy.fails_open {
                let what = if binding.is_some() { "binding" } else { "policy" };
                let error = format!("failed to configure {what}: {error}");
                selected.push(Selected::Failed(policy.clone(), binding.cloned(), error));
            }
        };
        let endpoint = match policy.matching.endpoint(&self.local, review).await {
            Ok(Some(endpoint)) => endpoint,
            Ok(None) => return,
            Err(status) => return failed(None, status.message, selected),
        };
        if let Some((api_version, kind)) = &policy.parameters
            && self.local.registry().of_kind(api_version, kind).is_none()
        {
            return failed(None, parameters::unknown_kind(api_version, kind), selected);
        }
        for binding in bindings.iter().copied() {
            if let Some(matching) = &binding.matching {
                match matching.endpoint(&self.local, review).await {
                    Ok(Some(_)) => {}
                    Ok(None) => continue,
                    Err(status) => {
                        failed(Some(binding), status.message, selected);
                        continue;
                    }
                }
            }
            match parameters::of(&self.local, policy.parameters.as_ref(), &binding.reference, review).await {
                Ok(all) => selected.extend(all.into_iter().map(|parameters| {
                    let (policy, binding, endpoint) = (policy.clone(), binding.clone(), endpoint.clone());
                    Selected::Invoked(Invocation { policy, binding, endpoint, parameters })
                })),
                Err(error) => failed(Some(binding), error, selected),
            }
        }
    }

    /// The namespace of a write, as expressions see it.
    async fn namespace(&self, review: &Review) -> Result<Arc<Value>, Status> {
        match review.namespace.as_str() {
            "" => Ok(Arc::default()),
            _ if is_namespace(review) => Ok(Arc::default()),
            name => find(&self.local, "", "namespaces", "", name).await,
        }
    }
}

impl<B> Invocation<B> {
    /// Evaluates expressions of the policy with all that they may refer to.
    async fn evaluate<'a, T>(
        &'a self,
        local: &Arc<dyn Local>,
        (seen, review, namespace): (&'a Seen, &Review, &'a Value),
        authority: &Arc<Authority>,
        evaluate: impl Fn(&Scope<'a>) -> T,
    ) -> T {
        let attempt = || {
            let given = seen.given(review, namespace, &self.parameters, Some(authority));
            let variables = self.policy.variables.iter();
            let variables = variables.map(|(name, variable)| (name.as_str(), variable));
            evaluate(&Scope::new(given, variables))
        };
        authority.settle(local, attempt).await
    }
}
