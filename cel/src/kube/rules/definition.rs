//! What is wrong with the rules of a definition.

use std::sync::Arc;

use proto::field::{Error, Errors, Path};
use serde_json::Value as Json;

use super::compile::{Compiled, Rule, compile};
use super::{KEY, children, has_rules, rules_of};
use crate::kube::escape::escape;
use crate::kube::schema::{ListType, Schema, SchemaType};
use crate::kube::types::Declared;

/// What one rule may cost at most, over all its evaluations for one object.
const RULE_COST_MAX: u64 = 10_000_000;
/// What all rules of a version may cost at most.
const TOTAL_COST_MAX: u64 = 100_000_000;
/// How many of the most expensive rules are named if all together cost too much.
const NAMED_MAX: usize = 4;

/// Checks the rules of a version's schema, which is structural and otherwise right. The costs of rules are not
/// looked at if the schema is `unchanged` by an update.
pub fn check(path: &Path, schema: &Json, unchanged: bool) -> Errors {
    let mut check = Check { unchanged, errors: Errors::new(), total: 0, expensive: Vec::new() };
    if has_rules(schema) {
        let typed = Arc::new(Schema::new(schema, true));
        let root = Place { path: path.clone(), cardinality: Some(1), forbids_old: None, in_scope: false };
        check.walk(&root, schema, &typed, None);
    }
    if check.total > TOTAL_COST_MAX {
        for (path, _) in &check.expensive {
            let detail =
                "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            check.errors.push(Error::forbidden(path, detail));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        check.errors.push(Error::forbidden(path, exceeded(what, check.total, TOTAL_COST_MAX)));
    }
    check.errors
}

struct Check {
    unchanged: bool,
    errors: Errors,
    total: u64,
    /// The most expensive rules, the most expensive first.
    expensive: Vec<(Path, u64)>,
}

struct Place {
    path: Path,
    /// How often values may occur in an object; `None` if that is unbounded.
    cardinality: Option<u64>,
    /// The schema above whose old and new values don't correspond.
    forbids_old: Option<Path>,
    /// Whether this schema or one above has rules, so that types are known from above.
    in_scope: bool,
}

impl Check {
    fn walk(&mut self, place: &Place, json: &Json, schema: &Arc<Schema>, declared: Option<&Arc<Declared>>) {
        let has_own = rules_of(json).next().is_some();
        let in_scope = place.in_scope || has_own;
        let own;
        let declared = match declared {
            None if in_scope => {
                own = Declared::new(schema).map(Arc::new);
                own.as_ref()
            }
            known => known,
        };
        let below = |path: Path, correlates: bool| Place {
            path,
            cardinality: place.cardinality.and_then(|count| Some(count.saturating_mul(elements(schema)?))),
            forbids_old: place.forbids_old.clone().or_else(|| (!correlates).then(|| place.path.clone())),
            in_scope,
        };
        let element = declared.and_then(|declared| declared.element());
        if let (Some(json), Some(values)) = (json.get("additionalProperties"), &schema.additional) {
            let place = below(place.path.child("additionalProperties"), true);
            self.walk(&place, json, values, element);
        }
        for (name, json) in children(json, "properties") {
            let Some(property) = schema.properties.as_ref().and_then(|all| all.get(name)) else { continue };
            let place = below(place.path.child("properties").key(name), schema.correlatable);
            let field = escape(name).and_then(|name| declared?.field(&name));
            self.walk(&place, json, property, field);
        }
        if let (Some(json), Some(items)) = (json.get("items"), &schema.items) {
            let place = below(place.path.child("items"), schema.list_type == ListType::Map);
            self.walk(&place, json, items, element);
        }
        if !has_own {
            return;
        }
        let path = place.path.child(KEY);
        let Some(declared) = declared else {
            let detail = "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations";
            self.errors.push(Error::internal(&path, detail));
            return;
        };
        for (index, compiled) in compile(rules_of(json), schema, declared).iter().enumerate() {
            self.rule(place, &path.index(index), compiled);
        }
    }

    fn rule(&mut self, place: &Place, path: &Path, compiled: &Compiled) {
        let rule_path = path.child("rule");
        let times = place.cardinality.unwrap_or(compiled.max_cardinality);
        let cost = compiled.max_cost.saturating_mul(times);
        self.cost(&rule_path, "estimated rule cost", cost);
        if let Some(error) = &compiled.error {
            self.errors.push(invalid(&rule_path, &compiled.rule, error));
        }
        let message_path = path.child("messageExpression");
        if let Some(error) = &compiled.message_error {
            self.errors.push(invalid(&message_path, &compiled.rule, error));
        } else if compiled.message.is_some() {
            self.cost(&message_path, "estimated messageExpression cost", compiled.message_max_cost);
        }
        if compiled.uses_old_self {
            if let Some(within) = &place.forbids_old {
                let detail = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {within}"
                );
                self.errors.push(Error::invalid(&rule_path, compiled.rule.rule.as_str(), detail));
            }
        } else if let Some(optional) = compiled.rule.optional_old_self {
            let detail = "may not be set if oldSelf is not used in rule";
            self.errors.push(Error::invalid(&path.child("optionalOldSelf"), optional, detail));
        }
    }

    fn cost(&mut self, path: &Path, what: &str, cost: u64) {
        if !self.unchanged && cost > RULE_COST_MAX {
            self.errors.push(Error::forbidden(path, exceeded(what, cost, RULE_COST_MAX)));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= TOTAL_COST_MAX / 100 {
            self.expensive.push((path.clone(), cost));
            self.expensive.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
            self.expensive.truncate(NAMED_MAX);
        }
    }
}

/// How many values of the schemas below it one value of a schema holds.
fn elements(schema: &Schema) -> Option<u64> {
    let bounded = |max: Option<i64>| max.map(|max| max.max(0) as u64);
    match schema.ty {
        SchemaType::Object if schema.additional.is_some() => bounded(schema.max_properties),
        SchemaType::Array => bounded(schema.max_items),
        _ => Some(1),
    }
}

fn exceeded(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = match factor {
        factor if factor > 100.0 => "more than 100x".to_owned(),
        factor if factor < 1.5 => format!("{factor:.6}x"),
        factor => format!("{factor:.1}x"),
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

/// An error that shows the whole rule, in upstream's order of fields.
fn invalid(path: &Path, rule: &Rule, detail: &str) -> Error {
    let text = |text: &str| Json::from(text).to_string();
    let reason = rule.reason.as_deref().map_or("null".to_owned(), text);
    let optional = rule.optional_old_self.map_or("null".to_owned(), |value| value.to_string());
    let shown = format!(
        "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{reason},\"FieldPath\":{},\"OptionalOldSelf\":{optional}}}",
        text(&rule.rule),
        text(&rule.message),
        text(&rule.message_expression),
        text(&rule.field_path),
    );
    Error::invalid_as(path, shown, detail)
}
