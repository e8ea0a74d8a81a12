//! Who is called once more.
//!
//! Mutations run a second time if a webhook or policy changed the object after others had seen it. Built-in plugins all see it
//! again; of webhooks and policies only those do that want to, were called before, and after whose call the object changed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What is known of the calls of a write's plugins.
#[derive(Debug, Default)]
pub struct Reinvocation {
    is_second: bool,
    is_needed: bool,
    plugins: BTreeMap<&'static str, Calls>,
}

/// The calls of one plugin.
#[derive(Debug, Default)]
pub(super) struct Calls {
    is_second: bool,
    is_needed: bool,
    /// Those called that may be called again.
    eligible: BTreeSet<String>,
    /// Those to be called in the second round.
    due: BTreeSet<String>,
    /// The object after the last call; kept only if somebody may be called again.
    output: Option<Value>,
}

impl Reinvocation {
    /// Whether there is to be a second round, which begins then.
    pub(super) fn begin_second(&mut self) -> bool {
        self.is_second = self.is_needed;
        self.is_second
    }

    /// Begins the calls of a plugin in this round.
    pub(super) fn begin(&mut self, plugin: &'static str, object: &Value) -> Calls {
        let mut calls = self.plugins.remove(plugin).unwrap_or_default();
        calls.is_second = self.is_second;
        if self.is_second && calls.output.as_ref() != Some(object) {
            calls.changed();
        }
        calls
    }

    /// Ends the calls of a plugin in this round.
    pub(super) fn end(&mut self, plugin: &'static str, mut calls: Calls, object: &Value) {
        self.is_needed |= calls.is_needed;
        calls.output = (!calls.eligible.is_empty()).then(|| object.clone());
        self.plugins.insert(plugin, calls);
    }
}

impl Calls {
    /// Whether this one is to be called in this round.
    pub(super) fn is_due(&self, key: &str) -> bool {
        !self.is_second || self.due.contains(key)
    }

    /// Notes a call.
    pub(super) fn made(&mut self, key: &str, has_changed: bool, may_be_repeated: bool) {
        if has_changed {
            self.repeat();
        }
        if may_be_repeated {
            self.eligible.insert(key.to_owned());
        }
    }

    /// Asks for a second round, in which all called before are due.
    pub(super) fn repeat(&mut self) {
        self.changed();
        self.is_needed = true;
    }

    fn changed(&mut self) {
        self.due.append(&mut self.eligible);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Calls those named in order; a `+` in front: it changes the object, `!` after the name: it may be repeated.
    fn round(all: &mut Reinvocation, object: &mut Value, names: &[&str]) -> Vec<String> {
        let mut calls = all.begin("p", object);
        let mut called = Vec::new();
        for name in names {
            let key = name.trim_matches(['+', '!']);
            if calls.is_due(key) {
                called.push(key.to_owned());
                if name.starts_with('+') {
                    object["n"] = json!(object["n"].as_u64().unwrap_or_default() + 1);
                }
                calls.made(key, name.starts_with('+'), name.ends_with('!'));
            }
        }
        all.end("p", calls, object);
        called
    }

    #[test]
    fn those_are_repeated_after_whom_the_object_changed() {
        for (names, second) in [
            (vec!["a!", "b"], None),
            (vec!["+a!", "b!"], Some(vec![])),
            (vec!["a!", "+b!"], Some(vec!["a"])),
            (vec!["a", "+b", "c!"], Some(vec![])),
            (vec!["a!", "b!", "+c", "d!"], Some(vec!["a", "b"])),
        ] {
            let (mut all, mut object) = (Reinvocation::default(), json!({}));
            assert_eq!(round(&mut all, &mut object, &names).len(), names.len());
            let repeated = all.begin_second().then(|| round(&mut all, &mut object, &names));
            assert_eq!(repeated, second.map(|names| names.iter().map(|name| (*name).to_owned()).collect()));
        }
    }

    #[test]
    fn a_change_by_somebody_else_makes_all_due() {
        let (mut all, mut object) = (Reinvocation::default(), json!({}));
        round(&mut all, &mut object, &["+a!", "b"]);
        assert!(all.begin_second());
        object["other"] = json!(1);
        assert_eq!(round(&mut all, &mut object, &["+a!", "b"]), ["a"]);
    }
}
