//! What is wrong with admission policies and their bindings.

use cel::kube::escape::is_reserved;
use proto::content;
use proto::field::{Error, Errors, Path};
use proto::view::{View, at};
use serde_json::Value;

use super::expressions::{Expressions, Purpose};
use super::rules;
use crate::registry::checks::*;

const MOST_ANNOTATIONS: usize = 20;
const LONGEST_VALUE: usize = 5 * 1024;
const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];

/// What both kinds of policies have; answers with the environment of further expressions.
fn policy(new: &Value, old: &Value, is_mutating: bool, errors: &mut Errors) -> Expressions {
    let spec = View::root(new).get("spec");
    let parameters = spec.get("paramKind");
    let mut expressions = Expressions::new(parameters.is_set());
    keep(old, &mut expressions);
    let failure = spec.get("failurePolicy");
    if failure.is_set() {
        supported(&failure, &rules::FAILURE_POLICIES, errors);
    } else {
        errors.push(failure.required(""));
    }
    if parameters.is_set() {
        param_kind(&parameters, errors);
    }
    let constraints = spec.get("matchConstraints");
    if constraints.is_set() {
        rules::match_resources(&constraints, errors);
        let rules = constraints.get("resourceRules");
        if rules.is_empty() {
            errors.push(rules.required(""));
        }
        if is_mutating {
            rules::only_mutating(&constraints, errors);
        }
    } else {
        errors.push(constraints.required(""));
    }
    let same = |field| at(new, &["spec", field]) == at(old, &["spec", field]);
    if old.is_null() || !same("paramKind") || !same("matchConditions") {
        rules::match_conditions(&spec.get("matchConditions"), &mut expressions, errors);
    }
    let variables = spec.get("variables").items();
    if is_mutating || !variables.is_empty() {
        expressions = expressions.compose();
    }
    for variable in variables {
        self::variable(&variable, &mut expressions, errors);
    }
    expressions
}

/// Notes the expressions of the old object.
fn keep(old: &Value, expressions: &mut Expressions) {
    let spec = View::root(old).get("spec");
    expressions.keep_conditions(spec.raw("matchConditions"));
    for validation in spec.get("validations").items() {
        expressions.keep(Purpose::Validation, validation.text("expression"));
        // Upstream looks variables up among the validations.
        expressions.keep(Purpose::Variable, validation.text("expression"));
        expressions.keep(Purpose::Message, validation.text("messageExpression"));
    }
    for annotation in spec.get("auditAnnotations").items() {
        expressions.keep(Purpose::AuditValue, annotation.text("valueExpression"));
    }
    for mutation in spec.get("mutations").items() {
        let apply = mutation.get("applyConfiguration");
        expressions.keep(Purpose::ApplyConfiguration, apply.text("expression"));
        expressions.keep(Purpose::JsonPatch, apply.text("expression"));
    }
}

/// A ValidatingAdmissionPolicy; `old` is null if it is new.
pub(super) fn validating(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let mut expressions = policy(new, old, false, &mut errors);
    let view = View::root(new);
    let spec = view.get("spec");
    let (validations, annotations) = (spec.get("validations"), spec.get("auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        let detail = "validations or auditAnnotations must contain at least one item";
        errors.push(validations.required(detail));
        errors.push(annotations.required(detail));
        return errors;
    }
    for validation in validations.items() {
        self::validation(&validation, &mut expressions, &mut errors);
    }
    if annotations.len() > MOST_ANNOTATIONS {
        let detail = format!("must not have more than {MOST_ANNOTATIONS} auditAnnotations");
        errors.push(annotations.invalid(detail));
    }
    let items = annotations.items();
    for (at, annotation) in items.iter().enumerate() {
        audit_annotation(view.get("metadata").text("name"), annotation, &mut expressions, &mut errors);
        let key = annotation.get("key");
        if items[..at].iter().any(|other| other.text("key") == key.str()) {
            errors.push(key.duplicate());
        }
    }
    errors
}

/// A MutatingAdmissionPolicy; `old` is null if it is new.
pub(super) fn mutating(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let mut expressions = policy(new, old, true, &mut errors);
    let spec = View::root(new).get("spec");
    let mutations = spec.get("mutations");
    if mutations.is_empty() {
        errors.push(mutations.required("mutations must contain at least one item"));
    }
    for mutation in mutations.items() {
        self::mutation(&mutation, &mut expressions, &mut errors);
    }
    required_supported(&spec.get("reinvocationPolicy"), &rules::REINVOCATION_POLICIES, &mut errors);
    errors
}

fn param_kind(kind: &View, errors: &mut Errors) {
    let version = kind.get("apiVersion");
    let text = version.str();
    match text.split('/').collect::<Vec<_>>()[..] {
        _ if text.is_empty() => errors.push(version.required("")),
        [name] => param_version(&version, "", name, errors),
        [group, name] => param_version(&version, group, name, errors),
        _ => errors.push(version.invalid_str(format!("unexpected GroupVersion string: {text}"))),
    }
    let name = kind.get("kind");
    if required(&name, errors) {
        let messages = content::is_dns1035_label(&name.str().to_lowercase());
        if !messages.is_empty() {
            let rule = messages.join(",");
            errors.push(name.invalid_str(format!("may have mixed case, but should otherwise match: {rule}")));
        }
    }
}

fn param_version(view: &View, group: &str, version: &str, errors: &mut Errors) {
    let messages = content::is_dns1123_subdomain(group);
    if !group.is_empty() && !messages.is_empty() {
        errors.push(Error::invalid(view.path(), group, messages.join(",")));
    }
    if version.is_empty() {
        errors.push(view.invalid_str("version must be specified"));
        return;
    }
    let messages = content::is_dns1035_label(version);
    if !messages.is_empty() {
        errors.push(Error::invalid(view.path(), version, messages.join(",")));
    }
}

fn is_blank(view: &View) -> bool {
    view.str().trim().is_empty()
}

fn variable(variable: &View, expressions: &mut Expressions, errors: &mut Errors) {
    let (name, expression) = (variable.get("name"), variable.get("expression"));
    if is_blank(&name) {
        errors.push(name.required("name is not specified"));
    } else if !content::is_c_identifier(name.str()).is_empty() || is_reserved(name.str()) {
        errors.push(name.invalid_str("must be a valid CEL identifier"));
    }
    if is_blank(&expression) {
        errors.push(expression.required("expression is not specified"));
    } else {
        expressions.compile_named(Purpose::Variable, name.str(), &expression, errors);
    }
}

fn validation(validation: &View, expressions: &mut Expressions, errors: &mut Errors) {
    let expression = validation.get("expression");
    if is_blank(&expression) {
        errors.push(expression.required("expression is not specified"));
    } else {
        expressions.compile(Purpose::Validation, &expression, errors);
    }
    let (message, made) = (validation.get("message"), validation.get("messageExpression"));
    if !made.is_empty() {
        if is_blank(&made) {
            errors.push(made.invalid_str("must be non-empty if specified"));
        } else {
            expressions.compile(Purpose::Message, &made, errors);
        }
    }
    if !message.is_empty() && is_blank(&message) {
        errors.push(message.invalid_str("must be non-empty if specified"));
    } else if message.str().trim().contains(['\n', '\r']) {
        errors.push(message.invalid_str("must not contain line breaks"));
    }
    let reason = validation.get("reason");
    if reason.is_set() {
        supported(&reason, &REASONS, errors);
    }
}

fn audit_annotation(name: &str, annotation: &View, expressions: &mut Expressions, errors: &mut Errors) {
    let (key, value) = (annotation.get("key"), annotation.get("valueExpression"));
    if name.is_empty() {
        errors.push(key.invalid_str("requires metadata.name be non-empty"));
    } else {
        let full = format!("{name}/{}", key.str());
        each_at(key.path(), &full, content::is_qualified_name(&full), errors);
    }
    if is_blank(&value) {
        errors.push(value.required("valueExpression is not specified"));
    } else if value.str().trim().len() > LONGEST_VALUE {
        errors.push(value.required(format!("must not exceed {LONGEST_VALUE} bytes in length")));
    } else {
        expressions.compile(Purpose::AuditValue, &value, errors);
    }
}

fn mutation(mutation: &View, expressions: &mut Expressions, errors: &mut Errors) {
    const TYPES: [(&str, &str, Purpose); 2] = [
        ("ApplyConfiguration", "applyConfiguration", Purpose::ApplyConfiguration),
        ("JSONPatch", "jsonPatch", Purpose::JsonPatch),
    ];
    let kind = mutation.get("patchType");
    if kind.is_empty() {
        errors.push(kind.required(""));
        return;
    }
    let Some((name, own, purpose)) = TYPES.iter().find(|(name, ..)| *name == kind.str()) else {
        errors.push(kind.not_supported(&TYPES.map(|(name, ..)| name)));
        return;
    };
    let patch = mutation.get(own);
    let expression = patch.get("expression");
    if !patch.is_set() {
        errors.push(patch.required(format!("must be specified when patchType is {name}")));
    } else if is_blank(&expression) {
        errors.push(expression.required(""));
    } else {
        expressions.compile(*purpose, &expression, errors);
    }
    for (_, other, _) in TYPES.iter().filter(|(_, field, _)| field != own && mutation.has(field)) {
        let path = mutation.path().child(other);
        let detail = format!("must not be specified when patchType is {name}");
        errors.push(Error::invalid(&path, format!("{{{other}}}"), detail));
    }
}

/// A ValidatingAdmissionPolicyBinding.
pub(super) fn validating_binding(new: &Value) -> Errors {
    let mut errors = binding(new);
    actions(&View::root(new).get("spec").get("validationActions"), &mut errors);
    errors
}

/// A MutatingAdmissionPolicyBinding.
pub(super) fn mutating_binding(new: &Value) -> Errors {
    let mut errors = binding(new);
    rules::only_mutating(&View::root(new).get("spec").get("matchResources"), &mut errors);
    errors
}

fn binding(new: &Value) -> Errors {
    let mut errors = Errors::new();
    let spec = View::root(new).get("spec");
    let policy = spec.get("policyName");
    if required(&policy, &mut errors) {
        dns_subdomain(&policy, &mut errors);
    }
    let parameters = spec.get("paramRef");
    if parameters.is_set() {
        param_ref(&parameters, &mut errors);
    }
    rules::match_resources(&spec.get("matchResources"), &mut errors);
    errors
}

fn param_ref(reference: &View, errors: &mut Errors) {
    const EXCLUSIVE: &str = "name and selector are mutually exclusive";
    let (name, selector) = (reference.get("name"), reference.get("selector"));
    if !name.is_empty() {
        each(&name, content::is_path_segment_name(name.str()), errors);
        if selector.is_set() {
            errors.push(name.forbidden(EXCLUSIVE));
        }
    }
    if selector.is_set() {
        label_selector(&selector, false, errors);
        if !name.is_empty() {
            errors.push(selector.forbidden(EXCLUSIVE));
        }
    }
    if name.is_empty() && !selector.is_set() {
        errors.push(reference.required("one of name or selector must be specified"));
    }
    required_supported(&reference.get("parameterNotFoundAction"), &["Deny", "Allow"], errors);
}

fn actions(list: &View, errors: &mut Errors) {
    let texts = list.strs();
    for (at, action) in list.items().iter().enumerate() {
        supported(action, &ACTIONS, errors);
        if texts[..at].contains(&action.str()) {
            errors.push(action.duplicate());
        }
    }
    if texts.contains(&"Deny") && texts.contains(&"Warn") {
        errors.push(list.invalid("must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"));
    }
    if texts.is_empty() {
        errors.push(list.required("at least one validation action is required"));
    }
}

/// The status of a ValidatingAdmissionPolicy.
pub(super) fn status(new: &Value) -> Errors {
    let mut errors = Errors::new();
    let status = View::root(new).get("status");
    for warning in status.get("typeChecking").get("expressionWarnings").items() {
        required(&warning.get("warning"), &mut errors);
        let reference = warning.get("fieldRef");
        let text = reference.str().trim();
        if text.is_empty() {
            errors.push(reference.required(""));
        } else if let Some(problem) = json_path_problem(text) {
            let path: &Path = reference.path();
            errors.push(Error::invalid(path, text, format!("invalid JSONPath: {problem}")));
        }
    }
    conditions(&status.get("conditions"), &mut errors);
    errors
}

/// What keeps a text from being a JSONPath: brackets and braces that don't close.
fn json_path_problem(text: &str) -> Option<&'static str> {
    let closes = |open: char, close: char| text.matches(open).count() == text.matches(close).count();
    if !closes('[', ']') {
        Some("unterminated array")
    } else if !closes('{', '}') {
        Some("unclosed action")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(errors: Errors) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    fn spec(more: Value) -> Value {
        let mut spec = json!({
            "failurePolicy": "Fail",
            "matchConstraints": {
                "matchPolicy": "Exact", "namespaceSelector": {}, "objectSelector": {},
                "resourceRules": [{"operations": ["CREATE"], "apiGroups": ["a"], "apiVersions": ["a"], "resources": ["a"]}],
            },
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            spec[name] = value.clone();
        }
        json!({"metadata": {"name": "config"}, "spec": spec})
    }

    #[test]
    fn validating_policies_are_checked() {
        let rule = json!([{"expression": "object.x < 5"}]);
        let with = |field: &str, value: Value| {
            let mut object = spec(json!({"validations": rule}));
            object["spec"][field] = value;
            object
        };
        let cases = [
            (spec(json!({"validations": rule})), vec![]),
            (
                spec(json!({})),
                vec![
                    "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
                    "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item",
                ],
            ),
            (with("failurePolicy", Value::Null), vec!["spec.failurePolicy: Required value"]),
            (
                with("failurePolicy", json!("other")),
                vec![
                    "spec.failurePolicy: Unsupported value: \"other\": supported values: \"Fail\", \"Ignore\"",
                ],
            ),
            (with("matchConstraints", Value::Null), vec!["spec.matchConstraints: Required value"]),
            (
                with("paramKind", json!({"apiVersion": "bad/bad/bad", "kind": "K"})),
                vec![
                    "spec.paramKind.apiVersion: Invalid value: \"bad/bad/bad\": unexpected GroupVersion string: bad/bad/bad",
                ],
            ),
            (
                with("paramKind", json!({"apiVersion": "g.io/", "kind": "K"})),
                vec!["spec.paramKind.apiVersion: Invalid value: \"g.io/\": version must be specified"],
            ),
            (
                with("validations", json!([{"expression": " "}])),
                vec!["spec.validations[0].expression: Required value: expression is not specified"],
            ),
            (
                with("validations", json!([{"expression": "true", "message": "a\nb"}])),
                vec!["spec.validations[0].message: Invalid value: \"a\\nb\": must not contain line breaks"],
            ),
            (
                with("validations", json!([{"expression": "true", "reason": "other"}])),
                vec![
                    "spec.validations[0].reason: Unsupported value: \"other\": supported values: \"Forbidden\", \"Invalid\", \"RequestEntityTooLarge\"",
                ],
            ),
            (
                with("variables", json!([{"name": "in", "expression": "true"}])),
                vec!["spec.variables[0].name: Invalid value: \"in\": must be a valid CEL identifier"],
            ),
            (
                with(
                    "auditAnnotations",
                    json!([{"key": "a", "valueExpression": "'x'"}, {"key": "a", "valueExpression": "'x'"}]),
                ),
                vec!["spec.auditAnnotations[1].key: Duplicate value: \"a\""],
            ),
        ];
        for (object, want) in cases {
            assert_eq!(texts(validating(&object, &Value::Null)), want, "{object}");
        }
    }

    #[test]
    fn mutating_policies_are_checked() {
        let apply =
            json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}});
        let policy = |mutation: Value| spec(json!({"mutations": [mutation], "reinvocationPolicy": "Never"}));
        let mut both = apply.clone();
        both["jsonPatch"] = json!({"expression": "[]"});
        let cases = [
            (policy(apply.clone()), vec![]),
            (
                spec(json!({"mutations": []})),
                vec![
                    "spec.mutations: Required value: mutations must contain at least one item",
                    "spec.reinvocationPolicy: Required value",
                ],
            ),
            (
                policy(json!({"patchType": "JSONPatch"})),
                vec![
                    "spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch",
                ],
            ),
            (
                policy(both),
                vec![
                    "spec.mutations[0].jsonPatch: Invalid value: \"{jsonPatch}\": must not be specified when patchType is ApplyConfiguration",
                ],
            ),
            (
                policy(
                    json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": " 'teapot'"}}),
                ),
                vec![
                    "spec.mutations[0].applyConfiguration.expression: Invalid value: \"'teapot'\": must evaluate to Object but got string",
                ],
            ),
            (
                policy(json!({"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 1}]"}})),
                vec![
                    "spec.mutations[0].jsonPatch.expression: Invalid value: \"[JSONPatch{op: 1}]\": compilation failed: ERROR: <input>:1:14: expected type of field 'op' is 'string' but provided type is 'int'\n | [JSONPatch{op: 1}]\n | .............^",
                ],
            ),
            (
                policy(
                    json!({"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{path: params.p}]"}}),
                ),
                vec![
                    "spec.mutations[0].jsonPatch.expression: Invalid value: \"[JSONPatch{path: params.p}]\": compilation failed: ERROR: <input>:1:18: undeclared reference to 'params' (in container '')\n | [JSONPatch{path: params.p}]\n | .................^",
                ],
            ),
            (
                policy(json!({"patchType": "Merge"})),
                vec![
                    "spec.mutations[0].patchType: Unsupported value: \"Merge\": supported values: \"ApplyConfiguration\", \"JSONPatch\"",
                ],
            ),
        ];
        for (object, want) in cases {
            assert_eq!(texts(mutating(&object, &Value::Null)), want, "{object}");
        }
        let mut deletes = policy(apply);
        deletes["spec"]["matchConstraints"]["resourceRules"][0]["operations"] = json!(["DELETE"]);
        assert_eq!(
            texts(mutating(&deletes, &Value::Null)),
            [
                "spec.matchConstraints.resourceRules.operations: Unsupported value: \"DELETE\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"UPDATE\"",
            ]
        );
    }

    #[test]
    fn bindings_are_checked() {
        let cases = [
            (json!({"policyName": "p", "validationActions": ["Deny"]}), vec![]),
            (
                json!({}),
                vec![
                    "spec.policyName: Required value",
                    "spec.validationActions: Required value: at least one validation action is required",
                ],
            ),
            (
                json!({"policyName": "p", "validationActions": ["Deny", "Warn"]}),
                vec![
                    "spec.validationActions: Invalid value: [\"Deny\",\"Warn\"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)",
                ],
            ),
            (
                json!({"policyName": "p", "validationActions": ["Deny", "Deny", "x"]}),
                vec![
                    "spec.validationActions[1]: Duplicate value: \"Deny\"",
                    "spec.validationActions[2]: Unsupported value: \"x\": supported values: \"Audit\", \"Deny\", \"Warn\"",
                ],
            ),
            (
                json!({"policyName": "p", "validationActions": ["Deny"], "paramRef": {"name": "n", "selector": {}}}),
                vec![
                    "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
                    "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive",
                    "spec.paramRef.parameterNotFoundAction: Required value",
                ],
            ),
            (
                json!({"policyName": "p", "validationActions": ["Deny"], "paramRef": {"parameterNotFoundAction": "Deny"}}),
                vec!["spec.paramRef: Required value: one of name or selector must be specified"],
            ),
        ];
        for (spec, want) in cases {
            assert_eq!(texts(validating_binding(&json!({"spec": spec}))), want, "{spec}");
        }
    }
}
