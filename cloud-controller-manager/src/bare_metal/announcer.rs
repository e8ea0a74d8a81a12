//! The choice of the node that announces a service's address.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Chooses among the eligible nodes. The one that announces now stays as long as it may, since a move breaks
/// connections; others are ranked by a hash of service and node, which spreads services and needs no memory.
///
/// `local` limits the choice to nodes that have endpoints.
pub(super) fn choose<'a>(
    service_uid: &str,
    now: Option<&str>,
    eligible: &[&'a str],
    local: Option<&BTreeSet<String>>,
) -> Option<&'a str> {
    let may = |node: &&&str| local.is_none_or(|local| local.contains(**node));
    let candidates = || eligible.iter().filter(may);
    let stays = candidates().find(|node| Some(**node) == now);
    stays.or_else(|| candidates().max_by_key(|node| (rank(service_uid, node), **node))).copied()
}

fn rank(service_uid: &str, node: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (service_uid, node).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_announcer_moves_only_when_it_must() {
        let all = ["n1", "n2", "n3"];
        let first = choose("u", None, &all, None).unwrap();
        for node in all {
            assert_eq!(choose("u", Some(node), &all, None), Some(node));
        }
        let rest: Vec<&str> = all.into_iter().filter(|node| *node != first).collect();
        let second = choose("u", Some(first), &rest, None).unwrap();
        assert_ne!(first, second);
        assert_eq!(choose("u", Some(second), &all, None), Some(second));
        assert_eq!(choose("u", Some("n1"), &[], None), None);
        let local = BTreeSet::from(["n3".to_owned()]);
        assert_eq!(choose("u", Some("n1"), &all, Some(&local)), Some("n3"));
    }

    #[test]
    fn services_spread_over_nodes() {
        let all = ["n1", "n2", "n3"];
        let chosen: BTreeSet<_> = (0..50).filter_map(|n| choose(&n.to_string(), None, &all, None)).collect();
        assert_eq!(chosen.len(), 3);
    }
}
