//! Sets of completion indexes, as a status prints them: `0-2,5,7,8`.

use std::collections::BTreeSet;

use crate::api::core::Pod;

/// Labels and annotates a pod with its index.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// The index of a pod.
pub(super) fn of(pod: &Pod) -> Option<i32> {
    pod.metadata.annotations.get(INDEX)?.parse().ok().filter(|index| *index >= 0)
}

/// Reads a set; indexes from `limit` on don't count.
pub(super) fn parse(text: &str, limit: i32) -> BTreeSet<i32> {
    let mut set = BTreeSet::new();
    for part in text.split(',').filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>()) else { break };
        set.extend(first..=last.min(limit - 1));
    }
    set
}

/// Prints a set: three or more in a row become a range.
pub(super) fn print(set: &BTreeSet<i32>) -> String {
    let mut parts: Vec<(i32, i32)> = Vec::new();
    for index in set {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => parts.push((*index, *index)),
        }
    }
    let one = |(first, last): (i32, i32)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    };
    parts.into_iter().map(one).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_read_and_printed() {
        for text in ["", "0", "0,1", "0-2,5,7,8,10-12"] {
            assert_eq!(print(&parse(text, 100)), text);
        }
        assert_eq!(print(&parse("0-9", 3)), "0-2");
    }
}
