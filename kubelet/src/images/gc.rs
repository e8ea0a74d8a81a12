//! Which images to remove when the disk fills up.

use proto::cri;
use std::collections::{BTreeMap, BTreeSet};

/// When to begin and to stop removing, in percent of the filesystem.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Begin above this.
    pub high: u64,
    /// Stop below this.
    pub low: u64,
    /// An image younger than so many seconds stays.
    pub min_age: i64,
    /// An unused image older than so many seconds goes whatever the disk; zero turns that off.
    pub max_age: i64,
}

/// When an image was first seen and last used, in seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Seen {
    first: i64,
    used: i64,
}

/// Remembers when images were used.
#[derive(Debug, Default)]
pub struct Ages {
    images: BTreeMap<String, Seen>,
}

impl Ages {
    /// Notes which images there are and which of them are in use.
    pub fn observe(&mut self, images: &[cri::Image], in_use: &BTreeSet<String>, now: i64) {
        let mut old = std::mem::take(&mut self.images);
        for image in images {
            let mut seen = old.remove(&image.id).unwrap_or(Seen { first: now, used: 0 });
            if is_used(image, in_use) {
                seen.used = now;
            }
            self.images.insert(image.id.clone(), seen);
        }
    }

    /// The images to remove, in this order, given how full the filesystem is.
    pub fn plan(
        &self,
        images: &[cri::Image],
        in_use: &BTreeSet<String>,
        (capacity, available): (u64, u64),
        policy: Policy,
        now: i64,
    ) -> Vec<String> {
        let mut free: Vec<_> = images
            .iter()
            .filter(|i| !i.pinned && !is_used(i, in_use))
            .filter_map(|i| Some((self.images.get(&i.id)?, i)))
            .collect();
        free.sort_by_key(|(seen, _)| (seen.used, seen.first));
        let mut plan = Vec::new();
        if policy.max_age > 0 {
            let old = |seen: &Seen| now - seen.used.max(seen.first) > policy.max_age;
            plan.extend(free.iter().filter(|(seen, _)| old(seen)).map(|(_, i)| i.id.clone()));
        }
        if capacity == 0 {
            return plan;
        }
        let percent = 100 - available.min(capacity) * 100 / capacity;
        if percent < policy.high {
            return plan;
        }
        let target = capacity * (100 - policy.low) / 100;
        let mut missing = target.saturating_sub(available);
        for (seen, image) in free {
            if missing == 0 {
                break;
            }
            if now - seen.first < policy.min_age || plan.contains(&image.id) {
                continue;
            }
            missing = missing.saturating_sub(image.size);
            plan.push(image.id.clone());
        }
        plan
    }
}

fn is_used(image: &cri::Image, in_use: &BTreeSet<String>) -> bool {
    in_use.contains(&image.id)
        || image.repo_tags.iter().chain(&image.repo_digests).any(|name| in_use.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_go_first_and_only_as_many_as_needed() {
        let image = |id: &str, size| cri::Image { id: id.into(), size, ..Default::default() };
        let images = [image("a", 10), image("b", 10), image("c", 10), image("d", 10)];
        let mut ages = Ages::default();
        let used = |ids: &[&str]| ids.iter().map(|s| s.to_string()).collect::<BTreeSet<_>>();
        ages.observe(&images, &used(&["a"]), 10);
        ages.observe(&images, &used(&["b"]), 100);
        let policy = Policy { high: 85, low: 80, min_age: 120, max_age: 0 };
        let plan = |available, now| ages.plan(&images, &used(&["d"]), (100, available), policy, now);
        assert!(plan(50, 1000).is_empty());
        assert_eq!(plan(5, 1000), ["c", "a"]);
        // All are too young.
        assert!(plan(5, 60).is_empty());
    }
}
