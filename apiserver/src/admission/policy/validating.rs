//! ValidatingAdmissionPolicy: refusals of writes by expressions that are objects themselves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cel::cost::RUNTIME_BUDGET;
use cel::kube::admission::{Compiler, Evaluated, Expression, Scope, Wanted};
use proto::status::{Cause, Status};
use serde_json::{Value, json};

use super::super::expression::{Authority, Seen};
use super::super::step::{items, text};
use super::super::{Operation, Outcome, Plugin, Review};
use super::{Body, Invocation, Policies, Policy, Selected, metrics};
use crate::registry::{Endpoint, Local};

const LONGEST_MESSAGE: usize = 5 * 1024;
const LONGEST_ANNOTATION: usize = 10 * 1024;

/// A rule of a policy.
struct Validation {
    rule: Expression,
    message: String,
    made_message: Option<Expression>,
    reason: String,
}

/// The rules of a policy, and what it notes for the audit.
struct Rules {
    validations: Vec<Validation>,
    annotations: Vec<(String, Expression)>,
}

impl Body for Rules {
    fn parse(spec: &Value, compiler: &Compiler) -> Self {
        let validations = items(&spec["validations"]).iter().map(|validation| Validation {
            rule: compiler.compile(text(&validation["expression"]), Wanted::Bool),
            message: text(&validation["message"]).to_owned(),
            made_message: Some(text(&validation["messageExpression"]))
                .filter(|text| !text.is_empty())
                .map(|text| compiler.compile_without_authorizer(text, Wanted::Text)),
            reason: text(&validation["reason"]).to_owned(),
        });
        let annotations = items(&spec["auditAnnotations"]).iter().map(|annotation| {
            let value = compiler.compile(text(&annotation["valueExpression"]), Wanted::TextOrNull);
            (text(&annotation["key"]).to_owned(), value)
        });
        Rules { validations: validations.collect(), annotations: annotations.collect() }
    }
}

/// What one validation, or the policy as a whole, says against a write.
struct Denial {
    index: usize,
    message: String,
    reason: String,
    elapsed: Duration,
}

/// What came of the evaluation of a policy.
#[derive(Default)]
struct Verdict {
    denials: Vec<Denial>,
    /// What failed, and is let pass by the failure policy.
    ignored: Vec<Denial>,
    annotations: Vec<(String, String)>,
    /// Annotations that failed: these refuse, whatever the binding's actions are.
    failures: Vec<(String, Duration)>,
}

impl Verdict {
    /// The policy as a whole fails.
    fn failed(policy: &Policy<Rules>, message: String) -> Verdict {
        let mut verdict = Verdict::default();
        verdict.fail(policy, 0, message, Duration::ZERO);
        verdict
    }

    /// A validation fails, which the failure policy judges.
    fn fail(&mut self, policy: &Policy<Rules>, index: usize, message: String, elapsed: Duration) {
        let list = if policy.fails_open { &mut self.ignored } else { &mut self.denials };
        list.push(Denial { index, message, reason: String::new(), elapsed });
    }
}

fn judge<'a>(policy: &'a Policy<Rules>, scope: &Scope<'a>) -> Verdict {
    evaluate(policy, scope).unwrap_or_else(|message| Verdict::failed(policy, message))
}

fn evaluate<'a>(policy: &'a Policy<Rules>, scope: &Scope<'a>) -> Result<Verdict, String> {
    if !policy.conditions.are_met(scope, policy.fails_open)? {
        return Ok(Verdict::default());
    }
    let mut verdict = Verdict::default();
    let rules = policy.body.validations.iter().map(|validation| Some(&validation.rule));
    let (results, left) = scope.evaluate(rules, RUNTIME_BUDGET)?;
    let made = policy.body.validations.iter().map(|validation| validation.made_message.as_ref());
    let made = scope.evaluate(made, left).map(|(made, _)| made);
    for (index, (validation, result)) in policy.body.validations.iter().zip(results).enumerate() {
        let Some(Evaluated { value, elapsed }) = result else { continue };
        match (value, &made) {
            (Err(error), _) => verdict.fail(policy, index, error, elapsed),
            (_, Err(error)) => {
                verdict.fail(policy, index, format!("failed messageExpression: {error}"), elapsed);
            }
            (Ok(cel::Value::Bool(true)), _) => {}
            (_, Ok(made)) => {
                let made = made.get(index).and_then(|made| made.as_ref()?.value.as_ref().ok());
                let made = made.and_then(cel::Value::as_str).map(str::trim);
                let is_usable = |text: &&str| text.len() <= LONGEST_MESSAGE && !text.contains('\n');
                let texts = [made.filter(is_usable).unwrap_or_default(), validation.message.trim()];
                let message = match texts.into_iter().find(|text| !text.is_empty()) {
                    Some(text) => text.to_owned(),
                    None => format!("failed expression: {}", validation.rule.text().trim()),
                };
                verdict.denials.push(Denial { index, message, reason: validation.reason.clone(), elapsed });
            }
        }
    }
    let values = policy.body.annotations.iter().map(|(_, value)| Some(value));
    let (values, _) = scope.evaluate(values, RUNTIME_BUDGET)?;
    for ((key, _), made) in policy.body.annotations.iter().zip(values.into_iter().flatten()) {
        match made.value {
            Ok(value) => {
                let value = value.as_str().unwrap_or_default().trim();
                if !value.is_empty() {
                    verdict.annotations.push((key.clone(), value.to_owned()));
                }
            }
            Err(error) if !policy.fails_open => verdict.failures.push((error, made.elapsed)),
            Err(_) => {}
        }
    }
    Ok(verdict)
}

/// A refusal, and the reason it gives.
struct Refusal {
    message: String,
    reason: String,
}

impl Refusal {
    fn new(policy: &str, binding: Option<&str>, message: &str, reason: &str) -> Refusal {
        let binding = binding.map(|name| format!(" with binding '{name}'")).unwrap_or_default();
        let message = format!("ValidatingAdmissionPolicy '{policy}'{binding} denied request: {message}");
        Refusal { message, reason: reason.to_owned() }
    }
}

/// ValidatingAdmissionPolicy.
pub(in crate::admission) struct ValidatingPolicies(Policies<Rules>);

impl ValidatingPolicies {
    pub(in crate::admission) const NAME: &str = "ValidatingAdmissionPolicy";

    pub(in crate::admission) fn new(local: &Arc<dyn Local>) -> Self {
        let (policies, bindings) = ("validatingadmissionpolicies", "validatingadmissionpolicybindings");
        ValidatingPolicies(Policies::new(local, policies, bindings))
    }

    async fn run(&self, review: &mut Review) -> Result<(), Status> {
        let selected = self.0.select(review).await;
        if selected.is_empty() {
            return Ok(());
        }
        let namespace = self.0.namespace(review).await?;
        let authority = Authority::new(&review.user);
        let mut refusals = Vec::new();
        let mut annotations: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut forms: Vec<(Arc<Endpoint>, Seen)> = Vec::new();
        for selected in &selected {
            let invocation = match selected {
                Selected::Invoked(invocation) => invocation,
                Selected::Failed(policy, binding, error) => {
                    let binding = binding.as_ref().map(|binding| binding.name.as_str());
                    refusals.push(Refusal::new(&policy.name, binding, error, ""));
                    continue;
                }
            };
            let Invocation { policy, binding, endpoint, .. } = invocation;
            if !forms.iter().any(|(known, _)| Arc::ptr_eq(known, endpoint)) {
                match Seen::new(endpoint, review).await {
                    Ok(seen) => forms.push((endpoint.clone(), seen)),
                    Err(_) if policy.fails_open => continue,
                    Err(status) => {
                        let error = format!(
                            "failed to configure binding: failed to convert object version: {}",
                            status.message
                        );
                        refusals.push(Refusal::new(&policy.name, Some(&binding.name), &error, ""));
                        continue;
                    }
                }
            }
            let Some((_, seen)) = forms.iter().find(|(known, _)| Arc::ptr_eq(known, endpoint)) else {
                continue;
            };
            let form = (seen, &*review, &*namespace);
            let verdict =
                invocation.evaluate(&self.0.local, form, &authority, |scope| judge(policy, scope)).await;
            act(invocation, verdict, review, &mut annotations, &mut refusals);
        }
        review.annotations.extend(annotations.into_iter().map(|(key, values)| (key, values.join(", "))));
        match refusals.into_iter().next() {
            None => Ok(()),
            Some(refusal) => Err(refused(review, refusal)),
        }
    }
}

/// Does what the binding wants done with what came of a policy.
fn act(
    Invocation { policy, binding, .. }: &Invocation<Rules>,
    verdict: Verdict,
    review: &mut Review,
    annotations: &mut BTreeMap<String, Vec<String>>,
    refusals: &mut Vec<Refusal>,
) {
    let (name, bound) = (&policy.name, &binding.name);
    let mut refuse = |message: &str, reason: &str| {
        refusals.push(Refusal::new(name, Some(bound), message, reason));
    };
    let counted = |action: &str, message: &str, elapsed: Duration| {
        metrics::validated((name, bound), message, action, elapsed);
    };
    for Denial { message, elapsed, .. } in &verdict.ignored {
        counted("allow", message, *elapsed);
    }
    for Denial { index, message, reason, elapsed } in &verdict.denials {
        for action in &binding.actions {
            match action.as_str() {
                "Deny" => {
                    refuse(message, reason);
                    counted("deny", message, *elapsed);
                }
                "Audit" => {
                    let failure = json!([{ "message": message, "policy": binding.policy, "binding": bound,
                        "expressionIndex": index, "validationActions": binding.actions }]);
                    let key = "validation.policy.admission.k8s.io/validation_failure";
                    review.annotations.push((key.to_owned(), failure.to_string()));
                    counted("audit", message, *elapsed);
                }
                "Warn" => {
                    review.warnings.push(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{bound}': {message}"
                    ));
                    counted("warn", message, *elapsed);
                }
                _ => {}
            }
        }
    }
    for (error, elapsed) in &verdict.failures {
        refuse(error, "");
        counted("deny", error, *elapsed);
    }
    for (key, mut value) in verdict.annotations {
        value.truncate(value.floor_char_boundary(LONGEST_ANNOTATION));
        let values = annotations.entry(format!("{name}/{key}")).or_default();
        if !values.contains(&value) {
            values.push(value);
        }
    }
}

fn refused(review: &Review, refusal: Refusal) -> Status {
    let mut status = review.forbidden(&refusal.message);
    let (reason, code) = match refusal.reason.as_str() {
        "" => ("Invalid".to_owned(), 422),
        "Forbidden" => (refusal.reason, 403),
        "Unauthorized" => (refusal.reason, 401),
        "RequestEntityTooLarge" => (refusal.reason, 413),
        _ => (refusal.reason, 422),
    };
    status.reason = reason.into();
    status.code = code;
    let causes = &mut status.details.get_or_insert_default().causes;
    causes.push(Cause { message: refusal.message, ..Cause::default() });
    status
}

impl Plugin for ValidatingPolicies {
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

#[cfg(test)]
mod tests {
    use super::super::super::Chain;
    use super::super::super::testing::{Cluster, review};
    use super::super::GROUP;
    use super::*;

    async fn create(spec: Value, binding: Value, object: Value) -> (Result<(), Status>, Review) {
        let mut full = json!({ "failurePolicy": "Fail", "matchConstraints": { "matchPolicy": "Equivalent",
            "resourceRules": [{ "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
                "resources": ["configmaps"] }] } });
        full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let mut bound = json!({ "policyName": "p", "validationActions": ["Deny"] });
        bound.as_object_mut().unwrap().extend(binding.as_object().unwrap().clone());
        let local = Cluster::holding(&[
            (GROUP, "validatingadmissionpolicies", json!({ "metadata": { "name": "p" }, "spec": full })),
            (
                GROUP,
                "validatingadmissionpolicybindings",
                json!({ "metadata": { "name": "b" }, "spec": bound }),
            ),
            ("", "namespaces", json!({ "metadata": { "name": "ns", "labels": { "env": "prod" } } })),
        ]);
        let mut review = review(Operation::Create, "", "configmaps", object);
        let chain = Chain::new(vec![Arc::new(ValidatingPolicies::new(&local))]);
        (chain.validate(&mut review).await, review)
    }

    fn map(data: Value) -> Value {
        json!({ "metadata": { "name": "x", "namespace": "ns" }, "data": data })
    }

    #[tokio::test]
    async fn policies_refuse_and_warn() {
        let spec = json!({
            "variables": [{ "name": "n", "expression": "size(object.data)" }],
            "validations": [{ "expression": "variables.n < 2 || namespaceObject.metadata.labels['env'] != 'prod'",
                "messageExpression": "'too many: ' + string(variables.n)", "reason": "Forbidden" }],
        });
        let two = || map(json!({ "a": "1", "b": "2" }));
        assert!(create(spec.clone(), json!({}), map(json!({ "a": "1" }))).await.0.is_ok());
        let status = create(spec.clone(), json!({}), two()).await.0.unwrap_err();
        assert_eq!(
            status.message,
            "configmaps \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: too many: 2"
        );
        assert_eq!((status.code, &*status.reason), (403, "Forbidden"));
        let (outcome, review) = create(spec.clone(), json!({ "validationActions": ["Warn"] }), two()).await;
        assert!(outcome.is_ok());
        let counts = component_base::metrics::render();
        for action in ["deny", "warn"] {
            let labels = format!(
                "{{enforcement_action=\"{action}\",error_type=\"invalid_error\",policy=\"p\",policy_binding=\"b\"}}"
            );
            let line = format!("apiserver_validating_admission_policy_check_total{labels} ");
            assert!(counts.contains(&line), "{line} not in {counts}");
        }
        assert_eq!(
            review.warnings,
            ["Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': too many: 2"]
        );
    }

    #[tokio::test]
    async fn conditions_authorizer_and_failures() {
        let with = |condition: &str, rule: &str| {
            json!({ "matchConditions": [{ "name": "c", "expression": condition }],
                "validations": [{ "expression": rule }] })
        };
        let outcome = async |spec: Value| {
            let outcome = create(spec, json!({}), map(json!({}))).await.0;
            outcome.map_err(|status| (status.code, status.message))
        };
        assert!(outcome(with("request.userInfo.username == 'bob'", "false")).await.is_ok());
        let denied = outcome(with("request.userInfo.username == 'ann'", "false")).await.unwrap_err();
        assert!(denied.1.ends_with("failed expression: false") && denied.0 == 422, "{denied:?}");
        let asks = "authorizer.requestResource.check('create').allowed()";
        let denied = outcome(with("true", asks)).await.unwrap_err();
        assert!(
            denied.1.ends_with("failed expression: authorizer.requestResource.check('create').allowed()")
        );
        let failed = outcome(with("true", "object.data.x == '1'")).await.unwrap_err();
        assert!(
            failed.1.ends_with("expression 'object.data.x == '1'' resulted in error: no such key: x"),
            "{failed:?}"
        );
    }
}
