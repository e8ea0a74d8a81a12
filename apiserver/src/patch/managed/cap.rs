//! A limit on the managers that update: beyond it the oldest of each version share one entry.

use std::collections::BTreeMap;

use super::entries::{Key, Managers, Operation};

const MAX_UPDATE_MANAGERS: usize = 10;
const OLD_MANAGER: &str = "ancient-changes";

/// Merges the oldest entries of managers that update until there are no more than permitted, or until each version
/// has only one old entry left.
pub(super) fn cap(managers: &mut Managers) {
    let mut updaters: Vec<(i64, Key)> = managers
        .0
        .iter()
        .filter(|(key, _)| key.operation == Operation::Update)
        .map(|(key, entry)| (entry.seconds(), key.clone()))
        .collect();
    let mut left = updaters.len();
    if left <= MAX_UPDATE_MANAGERS {
        return;
    }
    updaters.sort();
    let mut first_of_version: BTreeMap<String, Key> = BTreeMap::new();
    for (_, key) in updaters {
        if left <= MAX_UPDATE_MANAGERS {
            return;
        }
        let Some(first) = first_of_version.get(&key.api_version) else {
            first_of_version.insert(key.api_version.clone(), key);
            continue;
        };
        let bucket = Key {
            manager: OLD_MANAGER.to_owned(),
            operation: Operation::Update,
            api_version: key.api_version.clone(),
            subresource: String::new(),
        };
        if !managers.0.contains_key(&bucket)
            && let Some(entry) = managers.0.remove(first)
        {
            managers.0.insert(bucket.clone(), entry);
        }
        if bucket == key {
            continue;
        }
        if let Some(entry) = managers.0.remove(&key)
            && let Some(old) = managers.0.get_mut(&bucket)
        {
            old.set = old.set.union(&entry.set);
            old.time = entry.time;
        }
        left -= 1;
    }
}
