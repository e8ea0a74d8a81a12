//! Node labels as columns: one vector of small integers per label key.
//!
//! Value 0 means "absent". Values are counted, so that names of nodes long gone take no room.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::NodeId;
use crate::model::{NodeTerm, Operator, Requirement};

/// An interned label value; 0 is "absent".
pub type ValueId = u32;

const ABSENT: ValueId = 0;

/// The label columns of all nodes.
#[derive(Debug, Default)]
pub struct Labels {
    keys: HashMap<String, usize>,
    columns: Vec<Vec<ValueId>>,
    values: HashMap<Arc<str>, ValueId>,
    texts: Vec<(Arc<str>, u32)>,
    free: Vec<ValueId>,
}

impl Labels {
    /// The column of a key: its values by node. A key no node ever had gives an empty column.
    pub fn column(&self, key: &str) -> &[ValueId] {
        self.keys.get(key).map_or(&[], |k| &self.columns[*k])
    }

    /// The value of a label on a node.
    pub fn get(&self, node: NodeId, key: &str) -> Option<&str> {
        self.text(at(self.column(key), node))
    }

    /// The text of a value.
    pub fn text(&self, value: ValueId) -> Option<&str> {
        self.texts.get((value as usize).checked_sub(1)?).map(|(text, _)| &**text)
    }

    /// One more than the largest value in use: the size of a table by value.
    pub fn value_bound(&self) -> usize {
        self.texts.len() + 1
    }

    pub(super) fn replace(
        &mut self,
        node: NodeId,
        old: &BTreeMap<String, String>,
        new: &BTreeMap<String, String>,
    ) {
        for key in old.keys().filter(|k| !new.contains_key(*k)) {
            self.set(node, key, None);
        }
        for (key, value) in new {
            self.set(node, key, Some(value));
        }
    }

    fn set(&mut self, node: NodeId, key: &str, value: Option<&str>) {
        let next = self.keys.len();
        let key = match self.keys.get(key) {
            Some(key) => *key,
            None => *self.keys.entry(key.to_owned()).or_insert(next),
        };
        if key == self.columns.len() {
            self.columns.push(Vec::new());
        }
        let value = value.map_or(ABSENT, |v| self.acquire(v));
        let column = &mut self.columns[key];
        if column.len() <= node {
            column.resize(node + 1, ABSENT);
        }
        let old = std::mem::replace(&mut column[node], value);
        self.release(old);
    }

    fn acquire(&mut self, text: &str) -> ValueId {
        if let Some(&value) = self.values.get(text) {
            self.texts[value as usize - 1].1 += 1;
            return value;
        }
        let text: Arc<str> = text.into();
        let value = match self.free.pop() {
            Some(value) => {
                self.texts[value as usize - 1] = (text.clone(), 1);
                value
            }
            None => {
                self.texts.push((text.clone(), 1));
                self.texts.len() as ValueId
            }
        };
        self.values.insert(text, value);
        value
    }

    fn release(&mut self, value: ValueId) {
        let Some(index) = (value as usize).checked_sub(1) else { return };
        let (text, uses) = &mut self.texts[index];
        *uses -= 1;
        if *uses == 0 {
            self.values.remove(text);
            self.free.push(value);
        }
    }

    /// Prepares a requirement for many nodes.
    pub fn compile<'a>(&'a self, requirement: &'a Requirement) -> LabelTest<'a> {
        let ids = || requirement.values.iter().filter_map(|v| self.values.get(v.as_str()).copied()).collect();
        let test = match requirement.operator {
            Operator::In => Test::OneOf(ids()),
            Operator::NotIn => Test::NoneOf(ids()),
            Operator::Exists => Test::NoneOf(vec![ABSENT]),
            Operator::DoesNotExist => Test::OneOf(vec![ABSENT]),
            Operator::Gt | Operator::Lt => Test::Text(self, requirement),
        };
        LabelTest { column: self.column(&requirement.key), test }
    }

    /// Prepares a node selector term for many nodes.
    pub fn compile_term<'a>(&'a self, term: &'a NodeTerm) -> TermTest<'a> {
        TermTest { labels: term.labels.iter().map(|r| self.compile(r)).collect(), names: &term.names }
    }
}

fn at(column: &[ValueId], node: NodeId) -> ValueId {
    column.get(node).copied().unwrap_or(ABSENT)
}

/// A requirement, ready to be asked of many nodes.
#[derive(Debug)]
pub struct LabelTest<'a> {
    column: &'a [ValueId],
    test: Test<'a>,
}

#[derive(Debug)]
enum Test<'a> {
    OneOf(Vec<ValueId>),
    NoneOf(Vec<ValueId>),
    Text(&'a Labels, &'a Requirement),
}

impl LabelTest<'_> {
    /// Does a node's label satisfy it?
    pub fn accepts(&self, node: NodeId) -> bool {
        let value = at(self.column, node);
        match &self.test {
            Test::OneOf(values) => values.contains(&value),
            Test::NoneOf(values) => !values.contains(&value),
            Test::Text(labels, requirement) => requirement.accepts(labels.text(value)),
        }
    }
}

/// A node selector term, ready to be asked of many nodes.
#[derive(Debug)]
pub struct TermTest<'a> {
    labels: Vec<LabelTest<'a>>,
    names: &'a [Requirement],
}

impl TermTest<'_> {
    /// Does a node of this name match?
    pub fn accepts(&self, node: NodeId, name: &str) -> bool {
        !(self.labels.is_empty() && self.names.is_empty())
            && self.labels.iter().all(|t| t.accepts(node))
            && self.names.iter().all(|r| r.accepts(Some(name)))
    }
}
