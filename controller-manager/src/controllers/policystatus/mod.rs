//! ValidatingAdmissionPolicies: their expressions are checked against the types of what they match.
//!
//! Watches policies. Findings are warnings in the status; they keep no policy from working.

mod environment;
mod schemas;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use component_base::client::Patch;
use component_base::client::known::VALIDATING_ADMISSION_POLICIES;
use component_base::queue::{Next, Queue};
use component_base::watch::Store;
use proto::meta::Key;
use serde_json::{Value, json};

use crate::api::policy::{Rule, ValidatingAdmissionPolicy};
use crate::common::discovery;
use crate::context::{Controller, enqueue_changes};
use environment::{Named, environment, with_variables};
use schemas::{Document, GroupVersionKind};

const MANAGER: &str = "validatingadmissionpolicy-status";
/// The most kinds that a rule is checked against.
const MAX_KINDS: usize = 10;

/// Starts the controller.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let workers = controller.flags().int("concurrent-validating-admission-policy-status-syncs");
    let queue: Queue<Key> = Queue::new("validating_admission_policy_status");
    let policies: Store<ValidatingAdmissionPolicy> = controller.store(&VALIDATING_ADMISSION_POLICIES);
    enqueue_changes(&policies, &queue);
    let all = policies.clone();
    let ready = async move { all.synced().await };
    let own = controller.clone();
    controller.run(&queue, usize::try_from(workers).unwrap_or(5), ready, move |key| {
        let (controller, policy) = (own.clone(), policies.get_key(&key));
        async move {
            let seen =
                |p: &Arc<ValidatingAdmissionPolicy>| p.metadata.generation <= p.status.observed_generation;
            let Some(policy) = policy.filter(|policy| !seen(policy)) else { return Ok(Next::Done) };
            let warnings = check(&controller, &policy).await?;
            let patch = json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "ValidatingAdmissionPolicy",
                "metadata": {"name": key.name},
                "status": {
                    "observedGeneration": policy.metadata.generation,
                    "typeChecking": {"expressionWarnings": warnings},
                },
            });
            let status = VALIDATING_ADMISSION_POLICIES.sub("status");
            let apply = Patch::Apply { manager: MANAGER, force: true };
            match controller.client.patch::<Value>(&status, "", &key.name, apply, &patch).await {
                Err(error) if !error.is_not_found() => Err(error.into()),
                _ => Ok(Next::Done),
            }
        }
    });
    Ok(())
}

/// Reads what is needed to check a policy, and checks it.
async fn check(controller: &Controller, policy: &ValidatingAdmissionPolicy) -> anyhow::Result<Vec<Value>> {
    let mut source = Schemas { controller, documents: HashMap::new() };
    let mut kinds = BTreeSet::new();
    for rule in &policy.spec.match_constraints.resource_rules {
        source.kinds(rule, &mut kinds).await?;
    }
    let mut objects = Vec::new();
    for kind in kinds {
        // A kind without a schema isn't checked.
        if let Some(schema) = source.schema(&kind).await? {
            objects.push((Named::new(&kind.kind, "object", &schema), kind));
        }
    }
    let params = match &policy.spec.param_kind {
        None => None,
        Some(kind) => {
            let (group, version) = kind.api_version.split_once('/').unwrap_or(("", &kind.api_version));
            let kind =
                GroupVersionKind { group: group.into(), version: version.into(), kind: kind.kind.clone() };
            source.schema(&kind).await?.and_then(|schema| Named::new(&kind.kind, "params", &schema))
        }
    };
    Ok(warnings(policy, &objects, params.as_ref()))
}

/// What is wrong with the expressions of a policy, kind by kind.
fn warnings(
    policy: &ValidatingAdmissionPolicy,
    objects: &[(Option<Named>, GroupVersionKind)],
    params: Option<&Named>,
) -> Vec<Value> {
    let spec = &policy.spec;
    let variables: Vec<(String, String)> =
        spec.variables.iter().map(|v| (v.name.clone(), v.expression.clone())).collect();
    let environments: Vec<_> = objects
        .iter()
        .map(|(object, kind)| {
            let env = environment(object.as_ref(), spec.param_kind.is_some(), params);
            (with_variables(env, &variables), kind)
        })
        .collect();
    let issues = |expression: &str| {
        let of_kind = |(env, kind): &(cel::Env, &GroupVersionKind)| {
            let issues = env.compile(expression).err()?;
            Some(format!("{kind}: compilation failed: {issues}\n"))
        };
        environments.iter().filter_map(of_kind).collect::<Vec<_>>()
    };
    let mut warnings = Vec::new();
    for (index, validation) in spec.validations.iter().enumerate() {
        let fields =
            [("expression", &validation.expression), ("messageExpression", &validation.message_expression)];
        for (field, expression) in fields {
            let found = if expression.is_empty() { Vec::new() } else { issues(expression) };
            if !found.is_empty() {
                let reference = format!("spec.validations[{index}].{field}");
                warnings.push(json!({"fieldRef": reference, "warning": found.join("\n")}));
            }
        }
    }
    warnings
}

/// Kinds and schemas as the server has them now.
struct Schemas<'a> {
    controller: &'a Controller,
    documents: HashMap<(String, String), Option<Document>>,
}

impl Schemas<'_> {
    /// Adds the kinds that a rule names; one with a wildcard names none.
    async fn kinds(&self, rule: &Rule, kinds: &mut BTreeSet<GroupVersionKind>) -> anyhow::Result<()> {
        let sorted = |list: &[String]| {
            let mut list = list.to_vec();
            list.sort();
            list
        };
        if rule.api_groups.iter().chain(&rule.api_versions).any(|name| name.contains('*')) {
            return Ok(());
        }
        let resources: Vec<String> = sorted(&rule.resources);
        let mut count = 0;
        for group in sorted(&rule.api_groups) {
            for version in sorted(&rule.api_versions) {
                for resource in resources.iter().filter(|name| !name.contains(['*', '/'])) {
                    if count == MAX_KINDS {
                        return Ok(());
                    }
                    let found =
                        discovery::kind_of(&self.controller.client, &group, &version, resource).await?;
                    if let Some(kind) = found {
                        kinds.insert(GroupVersionKind {
                            group: group.clone(),
                            version: version.clone(),
                            kind,
                        });
                        count += 1;
                    }
                }
            }
        }
        Ok(())
    }

    async fn schema(&mut self, kind: &GroupVersionKind) -> anyhow::Result<Option<Value>> {
        let key = (kind.group.clone(), kind.version.clone());
        if !self.documents.contains_key(&key) {
            let document = match schemas::read(&self.controller.client, &kind.group, &kind.version).await {
                Ok(document) => Some(document),
                Err(error) if error.is_not_found() => None,
                Err(error) => return Err(error.into()),
            };
            self.documents.insert(key.clone(), document);
        }
        Ok(self.documents.get(&key).and_then(Option::as_ref).and_then(|document| document.resolve(kind)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After upstream's typechecking_test.go.
    #[test]
    fn expressions_are_checked_against_each_kind() {
        let deployment = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
        }});
        let objects = [(
            Named::new("Deployment", "object", &deployment),
            GroupVersionKind { group: "apps".into(), version: "v1".into(), kind: "Deployment".into() },
        )];
        for (what, spec, wanted) in [
            ("right", json!({"validations": [{"expression": "object.spec.replicas > 1"}]}), vec![]),
            (
                "no such field",
                json!({"validations": [{"expression": "object.foo == 1", "messageExpression": "object.spec.nope"}]}),
                vec![
                    ("spec.validations[0].expression", "undefined field 'foo'"),
                    ("spec.validations[0].messageExpression", "undefined field 'nope'"),
                ],
            ),
            (
                "a wrong type",
                json!({"validations": [{"expression": "object.spec.replicas == '1'"}]}),
                vec![("spec.validations[0].expression", "found no matching overload")],
            ),
            (
                "variables",
                json!({
                    "variables": [{"name": "n", "expression": "object.spec.replicas"}, {"name": "m", "expression": "variables.n + 1"}],
                    "validations": [{"expression": "variables.m < 5 && request.userInfo.username != ''"},
                        {"expression": "variables.m == 'x'"}],
                }),
                vec![("spec.validations[1].expression", "found no matching overload")],
            ),
            (
                "parameters that aren't known",
                json!({"paramKind": {"apiVersion": "x/v1", "kind": "Y"}, "validations": [{"expression": "params.a > object.spec.replicas"}]}),
                vec![],
            ),
            (
                "no parameters",
                json!({"validations": [{"expression": "params.a"}]}),
                vec![("spec.validations[0].expression", "undeclared reference to 'params'")],
            ),
        ] {
            let policy = serde_json::from_value(json!({"spec": spec})).unwrap();
            let found = warnings(&policy, &objects, None);
            assert_eq!(found.len(), wanted.len(), "{what}: {found:?}");
            for (found, (field, text)) in found.iter().zip(wanted) {
                assert_eq!(found["fieldRef"], field, "{what}");
                let warning = found["warning"].as_str().unwrap();
                assert!(
                    warning.starts_with("apps/v1, Kind=Deployment: compilation failed: ERROR: <input>:1:"),
                    "{warning}"
                );
                assert!(warning.contains(text), "{what}: {warning}");
            }
        }
    }
}
