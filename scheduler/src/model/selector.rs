//! Label requirements, for pods (label selectors) and nodes (node selector terms).

use std::collections::BTreeMap;

use super::wire;

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// The value is one of the set.
    In,
    /// The value is missing or not in the set.
    NotIn,
    /// The key is present.
    Exists,
    /// The key is absent.
    DoesNotExist,
    /// The value is an integer above the given one.
    Gt,
    /// The value is an integer below the given one.
    Lt,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// The comparison.
    pub operator: Operator,
    /// What it compares with.
    pub values: Vec<String>,
}

impl Requirement {
    /// Does a label value (or its absence) satisfy this?
    pub fn accepts(&self, value: Option<&str>) -> bool {
        let one_of = |v: &str| self.values.iter().any(|x| x == v);
        match (self.operator, value) {
            (Operator::In, Some(v)) => one_of(v),
            (Operator::NotIn, Some(v)) => !one_of(v),
            (Operator::NotIn | Operator::DoesNotExist, None) | (Operator::Exists, Some(_)) => true,
            (Operator::Gt | Operator::Lt, Some(v)) => {
                let bound = self.values.first().and_then(|b| b.parse::<i64>().ok());
                match (v.parse::<i64>().ok(), bound) {
                    (Some(v), Some(bound)) if self.operator == Operator::Gt => v > bound,
                    (Some(v), Some(bound)) => v < bound,
                    _ => false,
                }
            }
            _ => false,
        }
    }

    fn from_wire(wire: wire::Requirement) -> Option<Self> {
        let operator = match wire.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" => Operator::Gt,
            "Lt" => Operator::Lt,
            _ => return None,
        };
        let mut values = wire.values;
        values.sort_unstable();
        Some(Requirement { key: wire.key, operator, values })
    }
}

/// A pod label selector: every requirement must hold. An absent selector matches nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selector {
    /// Selects no pod.
    Nothing,
    /// Selects pods for which all hold (all pods, if there are none).
    All(Vec<Requirement>),
}

impl Selector {
    /// From the API form; an unreadable requirement makes it select nothing.
    pub fn from_wire(selector: Option<wire::LabelSelector>) -> Self {
        let Some(selector) = selector else { return Selector::Nothing };
        let mut all: Vec<_> = equalities(selector.match_labels);
        for requirement in selector.match_expressions {
            match Requirement::from_wire(requirement) {
                Some(r) => all.push(r),
                None => return Selector::Nothing,
            }
        }
        all.sort_by(|a, b| a.key.cmp(&b.key));
        Selector::All(all)
    }

    /// From a map of exact values (the selector of a Service).
    pub fn from_map(labels: BTreeMap<String, String>) -> Self {
        Selector::All(equalities(labels))
    }

    /// Does it select a pod with these labels?
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Selector::Nothing => false,
            Selector::All(all) => all.iter().all(|r| r.accepts(labels.get(&r.key).map(String::as_str))),
        }
    }

    /// Has it no conditions?
    pub fn is_everything(&self) -> bool {
        matches!(self, Selector::All(all) if all.is_empty())
    }

    /// Adds a condition.
    pub fn require(&mut self, requirement: Requirement) {
        if let Selector::All(all) = self {
            all.push(requirement);
            all.sort_by(|a, b| a.key.cmp(&b.key));
        }
    }
}

fn equalities(labels: BTreeMap<String, String>) -> Vec<Requirement> {
    labels
        .into_iter()
        .map(|(key, value)| Requirement { key, operator: Operator::In, values: vec![value] })
        .collect()
}

/// One term of a node selector: all its conditions must hold. A term without any matches no node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeTerm {
    /// Conditions on labels.
    pub labels: Vec<Requirement>,
    /// Conditions on `metadata.name`, the only field there is.
    pub names: Vec<Requirement>,
}

impl NodeTerm {
    /// From the API form; an unreadable term matches no node.
    pub fn from_wire(term: wire::NodeSelectorTerm) -> Self {
        let read = |list: Vec<wire::Requirement>| -> Option<Vec<_>> {
            list.into_iter().map(Requirement::from_wire).collect()
        };
        let fields_known = term.match_fields.iter().all(|f| f.key == "metadata.name");
        match (fields_known, read(term.match_expressions), read(term.match_fields)) {
            (true, Some(labels), Some(names)) => NodeTerm { labels, names },
            _ => NodeTerm { labels: Vec::new(), names: Vec::new() },
        }
    }

    /// Does a node of this name match, whose labels `label` looks up?
    pub fn matches<'a>(&self, name: &str, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        !(self.labels.is_empty() && self.names.is_empty())
            && self.labels.iter().all(|r| r.accepts(label(&r.key)))
            && self.names.iter().all(|r| r.accepts(Some(name)))
    }
}
