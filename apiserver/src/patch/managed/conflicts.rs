//! Conflicts of an applied configuration with the owners of its fields.

use std::collections::BTreeMap;
use std::fmt;

use proto::status::{Cause, Status};

use super::entries::{Key, Operation};
use crate::patch::fields::{Path, Set, path_text};

/// The fields that a configuration sets and others own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conflicts(Vec<Conflict>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Conflict {
    owner: String,
    path: Path,
}

impl Conflicts {
    pub(super) fn add(&mut self, owner: &Key, fields: &Set) {
        let owner = owner_text(owner);
        fields.each(&mut |path| self.0.push(Conflict { owner: owner.clone(), path: path.to_vec() }));
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The conflicts about fields that aren't in a set.
    pub(super) fn outside(&self, fields: &Set) -> Conflicts {
        Conflicts(self.0.iter().filter(|conflict| !fields.has(&conflict.path)).cloned().collect())
    }

    /// The answer to the client.
    pub fn into_status(self) -> Status {
        let message = self.to_string();
        let causes = self.0.into_iter().map(|conflict| Cause {
            reason: "FieldManagerConflict".into(),
            message: format!("conflict with {}", conflict.owner),
            field: path_text(&conflict.path),
        });
        Status::apply_conflict(causes.collect(), message)
    }
}

impl fmt::Display for Conflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0.as_slice() {
            let path = path_text(&only.path);
            return write!(f, "Apply failed with 1 conflict: conflict with {}: {path}", only.owner);
        }
        let mut owners: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for conflict in &self.0 {
            owners.entry(&conflict.owner).or_default().push(path_text(&conflict.path));
        }
        let mut lines = Vec::new();
        for (owner, paths) in owners {
            lines.push(format!("conflicts with {owner}:"));
            lines.extend(paths.into_iter().map(|path| format!("- {path}")));
        }
        write!(f, "Apply failed with {} conflicts: {}", self.0.len(), lines.join("\n"))
    }
}

/// A manager as messages name it.
fn owner_text(key: &Key) -> String {
    let mut text = format!("{:?}", key.manager);
    if !key.subresource.is_empty() {
        text += &format!(" with subresource {:?}", key.subresource);
    }
    if key.operation == Operation::Update {
        text += &format!(" using {}", key.api_version);
    }
    text
}
