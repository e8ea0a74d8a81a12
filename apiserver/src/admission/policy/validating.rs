//! ValidatingAdmissionPolicy: refusals of writes by expressions that are objects themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use cel::cost::RUNTIME_BUDGET;
use cel::kube::admission::{Compiler, Expression, Scope, Wanted};
use parking_lot::RwLock;
use proto::labels::Selector;
use proto::status::{Cause, Status};
use serde_json::{Value, json};

use super::expression::{Authority, Conditions, Seen};
use super::step::{find, items, text};
use super::webhook::{Rule, Target};
use super::{Operation, Outcome, Plugin, Review};
use crate::registry::{Backing, Endpoint, Local};

const GROUP: &str = "admissionregistration.k8s.io";
const LONGEST_MESSAGE: usize = 5 * 1024;
const LONGEST_ANNOTATION: usize = 10 * 1024;
/// What is not stored, and what nothing works without.
const EXCLUDED: [(&str, &str); 6] = [
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
];

/// A rule that may be limited to some names.
struct NamedRule {
    rule: Rule,
    names: Vec<String>,
}

/// Which writes a policy or binding concerns.
struct Matching {
    rules: Vec<NamedRule>,
    excluded: Vec<NamedRule>,
    matches_equivalent: bool,
    namespaces: Result<Selector, String>,
    objects: Result<Selector, String>,
}

impl Matching {
    fn parse(resources: &Value) -> Matching {
        let rules = |field: &str| {
            let rules = items(&resources[field]).iter().map(|rule| NamedRule {
                rule: Rule::parse(rule),
                names: items(&rule["resourceNames"]).iter().map(|name| text(name).to_owned()).collect(),
            });
            rules.collect()
        };
        let selector = |field: &str| match &resources[field] {
            Value::Null => Ok(Selector::everything()),
            selector => Selector::from_label_selector(selector).map_err(|error| error.to_string()),
        };
        Matching {
            rules: rules("resourceRules"),
            excluded: rules("excludeResourceRules"),
            matches_equivalent: text(&resources["matchPolicy"]) == "Equivalent",
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
        }
    }

    /// The endpoint in whose version the object is to be seen, if the write is concerned.
    fn endpoint(
        &self,
        local: &Arc<dyn Local>,
        review: &Review,
        namespace: &Value,
    ) -> Result<Option<Arc<Endpoint>>, String> {
        let namespaces =
            self.namespaces.as_ref().map(|selector| selects_namespace(selector, review, namespace));
        let objects = self.objects.as_ref().map(|selector| selects_object(selector, review));
        if namespaces == Ok(false) || objects == Ok(false) {
            return Ok(None);
        }
        if self.by_rules(&self.excluded, local, review).is_some() {
            return Ok(None);
        }
        let endpoint = match self.rules.is_empty() {
            true => Some(review.endpoint.clone()),
            false => self.by_rules(&self.rules, local, review),
        };
        if endpoint.is_some() {
            namespaces.map_err(String::clone)?;
            objects.map_err(String::clone)?;
        }
        Ok(endpoint)
    }

    fn by_rules(
        &self,
        rules: &[NamedRule],
        local: &Arc<dyn Local>,
        review: &Review,
    ) -> Option<Arc<Endpoint>> {
        let covers = |endpoint: &Endpoint| {
            let target = Target {
                group: &endpoint.group,
                version: &endpoint.version,
                resource: &endpoint.resource,
                subresource: &review.subresource,
                is_namespaced: !review.namespace.is_empty() && !is_namespace(review),
            };
            rules.iter().any(|named| {
                named.rule.matches(review.operation, target)
                    && (named.names.is_empty() || named.names.contains(&review.name))
            })
        };
        if covers(&review.endpoint) {
            return Some(review.endpoint.clone());
        }
        let Backing::Stored(group, resource) = &review.endpoint.backing else { return None };
        if !self.matches_equivalent {
            return None;
        }
        let registry = local.registry();
        let storage = registry.storage(group, resource)?;
        registry.endpoints_of(storage).find(|endpoint| covers(endpoint)).cloned()
    }
}

fn is_namespace(review: &Review) -> bool {
    review.group().is_empty() && review.resource() == "namespaces"
}

fn selects_namespace(selector: &Selector, review: &Review, namespace: &Value) -> bool {
    if selector.is_empty() {
        return true;
    }
    if is_namespace(review) {
        let object = if review.object.is_null() { &*review.old } else { &review.object };
        return selector.matches(&object["metadata"]["labels"]);
    }
    review.namespace.is_empty() || selector.matches(&namespace["metadata"]["labels"])
}

fn selects_object(selector: &Selector, review: &Review) -> bool {
    let selects = |object: &Value| object.is_object() && selector.matches(&object["metadata"]["labels"]);
    selector.is_empty() || selects(&review.object) || selects(&review.old)
}

/// A rule of a policy.
struct Validation {
    rule: Expression,
    message: String,
    made_message: Option<Expression>,
    reason: String,
}

struct Policy {
    name: String,
    matching: Matching,
    /// apiVersion and kind of parameters.
    parameters: Option<(String, String)>,
    fails_open: bool,
    conditions: Conditions,
    variables: Vec<(String, Expression)>,
    validations: Vec<Validation>,
    annotations: Vec<(String, Expression)>,
}

impl Policy {
    fn parse(policy: &Value) -> Policy {
        let spec = &policy["spec"];
        let kind = &spec["paramKind"];
        let own = |field: &str| text(&kind[field]).to_owned();
        let mut compiler = Compiler::new(kind.is_object()).composing();
        let variables = items(&spec["variables"]).iter().map(|variable| {
            let name = text(&variable["name"]);
            (name.to_owned(), compiler.variable(name, text(&variable["expression"])))
        });
        let variables = variables.collect();
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
        Policy {
            name: text(&policy["metadata"]["name"]).to_owned(),
            matching: Matching::parse(&spec["matchConstraints"]),
            parameters: kind.is_object().then(|| (own("apiVersion"), own("kind"))),
            fails_open: text(&spec["failurePolicy"]) == "Ignore",
            conditions: Conditions::parse(&spec["matchConditions"], &compiler),
            variables,
            validations: validations.collect(),
            annotations: annotations.collect(),
        }
    }
}

struct Binding {
    name: String,
    policy: String,
    matching: Option<Matching>,
    reference: Value,
    actions: Vec<String>,
}

impl Binding {
    fn parse(binding: &Value) -> Binding {
        let spec = &binding["spec"];
        let resources = &spec["matchResources"];
        Binding {
            name: text(&binding["metadata"]["name"]).to_owned(),
            policy: text(&spec["policyName"]).to_owned(),
            matching: resources.is_object().then(|| Matching::parse(resources)),
            reference: spec["paramRef"].clone(),
            actions: items(&spec["validationActions"]).iter().map(|action| text(action).to_owned()).collect(),
        }
    }
}

/// Objects by name, parsed when they change.
struct Followed<T>(RwLock<BTreeMap<String, Arc<T>>>);

impl<T: Send + Sync + 'static> Followed<T> {
    fn new(local: &Arc<dyn Local>, resource: &str, parse: fn(&Value) -> T) -> Arc<Self> {
        let followed = Arc::new(Followed(RwLock::default()));
        let follower = followed.clone();
        let name = |object: &Value| text(&object["metadata"]["name"]).to_owned();
        local.subscribe(
            GROUP,
            resource,
            Box::new(move |old, new, _| match (old, new) {
                (_, Some(new)) => {
                    let parsed = Arc::new(parse(new));
                    follower.0.write().insert(name(new), parsed);
                }
                (Some(old), None) => {
                    follower.0.write().remove(&name(old));
                }
                (None, None) => {}
            }),
        );
        followed
    }

    fn all(&self) -> Vec<Arc<T>> {
        self.0.read().values().cloned().collect()
    }
}

/// What one validation, or the policy as a whole, says against a write.
struct Denial {
    index: usize,
    message: String,
    reason: String,
}

/// What came of the evaluation of a policy.
#[derive(Default)]
struct Verdict {
    denials: Vec<Denial>,
    annotations: Vec<(String, String)>,
    /// Annotations that failed: these refuse, whatever the binding's actions are.
    failures: Vec<String>,
}

impl Verdict {
    /// The policy as a whole fails.
    fn failed(policy: &Policy, message: String) -> Verdict {
        let denial = Denial { index: 0, message, reason: String::new() };
        let denials = if policy.fails_open { Vec::new() } else { vec![denial] };
        Verdict { denials, ..Verdict::default() }
    }
}

fn judge<'a>(policy: &'a Policy, scope: &Scope<'a>) -> Verdict {
    evaluate(policy, scope).unwrap_or_else(|message| Verdict::failed(policy, message))
}

fn evaluate<'a>(policy: &'a Policy, scope: &Scope<'a>) -> Result<Verdict, String> {
    if !policy.conditions.are_met(scope, policy.fails_open)? {
        return Ok(Verdict::default());
    }
    let mut verdict = Verdict::default();
    let rules = policy.validations.iter().map(|validation| Some(&validation.rule));
    let (results, left) = scope.evaluate(rules, RUNTIME_BUDGET)?;
    let made = policy.validations.iter().map(|validation| validation.made_message.as_ref());
    let made = scope.evaluate(made, left).map(|(made, _)| made);
    for (index, (validation, result)) in policy.validations.iter().zip(results).enumerate() {
        let mut deny = |message: String, reason: &str| {
            verdict.denials.push(Denial { index, message, reason: reason.to_owned() });
        };
        match (result, &made) {
            (Some(Err(error)), _) if !policy.fails_open => deny(error, ""),
            (Some(Err(_)), _) => {}
            (_, Err(error)) if !policy.fails_open => deny(format!("failed messageExpression: {error}"), ""),
            (_, Err(_)) | (Some(Ok(cel::Value::Bool(true))), _) => {}
            (_, Ok(made)) => {
                let made = made.get(index).and_then(|made| made.as_ref()?.as_ref().ok());
                let made = made.and_then(cel::Value::as_str).map(str::trim);
                let is_usable = |text: &&str| text.len() <= LONGEST_MESSAGE && !text.contains('\n');
                let texts = [made.filter(is_usable).unwrap_or_default(), validation.message.trim()];
                let message = match texts.into_iter().find(|text| !text.is_empty()) {
                    Some(text) => text.to_owned(),
                    None => format!("failed expression: {}", validation.rule.text().trim()),
                };
                deny(message, &validation.reason);
            }
        }
    }
    let values = policy.annotations.iter().map(|(_, value)| Some(value));
    let (values, _) = scope.evaluate(values, RUNTIME_BUDGET)?;
    for ((key, _), value) in policy.annotations.iter().zip(values.into_iter().flatten()) {
        match value {
            Ok(value) => {
                let value = value.as_str().unwrap_or_default().trim();
                if !value.is_empty() {
                    verdict.annotations.push((key.clone(), value.to_owned()));
                }
            }
            Err(error) if !policy.fails_open => verdict.failures.push(error),
            Err(_) => {}
        }
    }
    Ok(verdict)
}

/// The parameters of a binding, each of which the policy is evaluated with; null: without any.
async fn parameters(
    local: &Arc<dyn Local>,
    policy: &Policy,
    reference: &Value,
    review: &Review,
) -> Result<Vec<Value>, String> {
    let Some((api_version, kind)) = &policy.parameters else { return Ok(vec![Value::Null]) };
    if !reference.is_object() {
        return Ok(vec![Value::Null]);
    }
    let registry = local.registry();
    let served = registry.of_kind(api_version, kind);
    let Some(served) = served.filter(|served| matches!(served.endpoint.backing, Backing::Stored(..))) else {
        return Err(unknown_kind(api_version, kind));
    };
    let endpoint = served.endpoint.clone();
    let Backing::Stored(group, resource) = &endpoint.backing else { return Ok(Vec::new()) };
    let mut namespace = text(&reference["namespace"]);
    if endpoint.namespaced && namespace.is_empty() {
        namespace = &review.namespace;
        if namespace.is_empty() {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                    .into(),
            );
        }
    } else if !endpoint.namespaced && !namespace.is_empty() {
        return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into());
    }
    let name = text(&reference["name"]);
    let found = if !name.is_empty() {
        match find(local, group, resource, namespace, name).await {
            Ok(object) => vec![object],
            Err(status) if status.is_not_found() => Vec::new(),
            Err(status) => return Err(status.message),
        }
    } else if reference["selector"].is_object() {
        let selector =
            Selector::from_label_selector(&reference["selector"]).map_err(|error| error.to_string())?;
        let listed = local.list(group, resource, namespace, &selector, false).await;
        listed.map_err(|status| status.message)?
    } else {
        return Err("one of name or selector must be provided".into());
    };
    if found.is_empty() && text(&reference["parameterNotFoundAction"]) == "Deny" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    let mut parameters = Vec::new();
    for object in found {
        parameters
            .push(super::webhook::to_version(&endpoint, &object).await.map_err(|status| status.message)?);
    }
    Ok(parameters)
}

fn unknown_kind(api_version: &str, kind: &str) -> String {
    format!("failed to find resource referenced by paramKind: '{api_version}, Kind={kind}'")
}

/// ValidatingAdmissionPolicy.
pub(super) struct ValidatingPolicies {
    local: Arc<dyn Local>,
    policies: Arc<Followed<Policy>>,
    bindings: Arc<Followed<Binding>>,
}

/// A refusal, and who is behind it.
struct Refusal {
    message: String,
    reason: String,
}

impl ValidatingPolicies {
    pub(super) const NAME: &str = "ValidatingAdmissionPolicy";

    pub(super) fn new(local: &Arc<dyn Local>) -> Self {
        ValidatingPolicies {
            local: local.clone(),
            policies: Followed::new(local, "validatingadmissionpolicies", Policy::parse),
            bindings: Followed::new(local, "validatingadmissionpolicybindings", Binding::parse),
        }
    }

    async fn run(&self, review: &mut Review) -> Result<(), Status> {
        let is_excluded = review.group() == GROUP
            || EXCLUDED
                .iter()
                .any(|(group, resource)| *group == review.group() && *resource == review.resource());
        let policies = if is_excluded { Vec::new() } else { self.policies.all() };
        if policies.is_empty() {
            return Ok(());
        }
        let bindings = self.bindings.all();
        let namespace = match review.namespace.as_str() {
            "" => Arc::new(Value::Null),
            _ if is_namespace(review) => Arc::new(Value::Null),
            name => find(&self.local, "", "namespaces", "", name).await?,
        };
        let mut refusals = Vec::new();
        for policy in policies {
            let own: Vec<&Arc<Binding>> =
                bindings.iter().filter(|binding| binding.policy == policy.name).collect();
            if !own.is_empty() {
                self.apply(&policy, &own, review, &namespace, &mut refusals).await?;
            }
        }
        match refusals.into_iter().next() {
            None => Ok(()),
            Some(refusal) => Err(refused(review, refusal)),
        }
    }

    async fn apply(
        &self,
        policy: &Policy,
        bindings: &[&Arc<Binding>],
        review: &mut Review,
        namespace: &Value,
        refusals: &mut Vec<Refusal>,
    ) -> Result<(), Status> {
        let name = &policy.name;
        let misconfigured = |binding: Option<&Binding>, error: String, refusals: &mut Vec<Refusal>| {
            let message = match binding {
                _ if policy.fails_open => return,
                None => format!(
                    "ValidatingAdmissionPolicy '{name}' denied request: failed to configure policy: {error}"
                ),
                Some(binding) => format!(
                    "ValidatingAdmissionPolicy '{name}' with binding '{}' denied request: failed to configure binding: {error}",
                    binding.name
                ),
            };
            refusals.push(Refusal { message, reason: String::new() });
        };
        let endpoint = match policy.matching.endpoint(&self.local, review, namespace) {
            Ok(Some(endpoint)) => endpoint,
            Ok(None) => return Ok(()),
            Err(error) => {
                misconfigured(None, error, refusals);
                return Ok(());
            }
        };
        if let Some((api_version, kind)) = &policy.parameters
            && self.local.registry().of_kind(api_version, kind).is_none()
        {
            misconfigured(None, unknown_kind(api_version, kind), refusals);
            return Ok(());
        }
        let mut seen = None;
        let authority = Authority::new(&review.user);
        let mut annotations: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for binding in bindings {
            match binding.matching.as_ref().map(|own| own.endpoint(&self.local, review, namespace)) {
                None | Some(Ok(Some(_))) => {}
                Some(Ok(None)) => continue,
                Some(Err(error)) => {
                    misconfigured(Some(binding), error, refusals);
                    continue;
                }
            }
            let parameters = match parameters(&self.local, policy, &binding.reference, review).await {
                Ok(parameters) => parameters,
                Err(error) => {
                    misconfigured(Some(binding), error, refusals);
                    continue;
                }
            };
            if parameters.is_empty() {
                continue;
            }
            let seen = match &seen {
                Some(seen) => seen,
                None => match Seen::new(&endpoint, review).await {
                    Ok(made) => &*seen.insert(made),
                    Err(status) => {
                        let error = format!("failed to convert object version: {}", status.message);
                        misconfigured(Some(binding), error, refusals);
                        continue;
                    }
                },
            };
            for params in &parameters {
                let verdict = {
                    let review = &*review;
                    let evaluate = || {
                        let given = seen.given(review, namespace, params, Some(&authority));
                        let variables = policy.variables.iter();
                        let variables = variables.map(|(name, variable)| (name.as_str(), variable));
                        judge(policy, &Scope::new(given, variables))
                    };
                    authority.settle(&self.local, evaluate).await
                };
                act(policy, binding, verdict, review, &mut annotations, refusals);
            }
        }
        for (key, values) in annotations {
            review.annotations.push((format!("{name}/{key}"), values.join(", ")));
        }
        Ok(())
    }
}

/// Does what the binding wants done with what came of a policy.
fn act(
    policy: &Policy,
    binding: &Binding,
    verdict: Verdict,
    review: &mut Review,
    annotations: &mut BTreeMap<String, Vec<String>>,
    refusals: &mut Vec<Refusal>,
) {
    let (name, bound) = (&policy.name, &binding.name);
    let mut refuse = |message: &str, reason: &str| {
        let message =
            format!("ValidatingAdmissionPolicy '{name}' with binding '{bound}' denied request: {message}");
        refusals.push(Refusal { message, reason: reason.to_owned() });
    };
    for Denial { index, message, reason } in &verdict.denials {
        for action in &binding.actions {
            match action.as_str() {
                "Deny" => refuse(message, reason),
                "Audit" => {
                    let failure = json!([{ "message": message, "policy": binding.policy, "binding": bound,
                        "expressionIndex": index, "validationActions": binding.actions }]);
                    let key = "validation.policy.admission.k8s.io/validation_failure";
                    review.annotations.push((key.to_owned(), failure.to_string()));
                }
                "Warn" => review.warnings.push(format!(
                    "Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{bound}': {message}"
                )),
                _ => {}
            }
        }
    }
    for error in &verdict.failures {
        refuse(error, "");
    }
    for (key, mut value) in verdict.annotations {
        value.truncate(value.floor_char_boundary(LONGEST_ANNOTATION));
        let values = annotations.entry(key).or_default();
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

const ALL: [Operation; 4] = [Operation::Create, Operation::Update, Operation::Delete, Operation::Connect];

impl Plugin for ValidatingPolicies {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn handles(&self, operation: Operation) -> bool {
        ALL.contains(&operation)
    }

    fn validate<'a>(&'a self, review: &'a mut Review) -> Outcome<'a> {
        Box::pin(self.run(review))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Chain;
    use super::super::testing::{Cluster, review};
    use super::*;

    async fn create(spec: Value, binding: Value, object: Value) -> (Result<(), Status>, Review) {
        let mut full = json!({ "failurePolicy": "Fail", "matchConstraints": { "matchPolicy": "Equivalent",
            "resourceRules": [{ "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
                "resources": ["configmaps"] }] } });
        full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let mut bound = json!({ "policyName": "p", "validationActions": ["Deny"] });
        bound.as_object_mut().unwrap().extend(binding.as_object().unwrap().clone());
        let local = Cluster::new(&[
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
