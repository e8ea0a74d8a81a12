//! What to do with one object, given the state of its owners.

use proto::meta::OwnerReference;

/// The state of an owner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Owner {
    /// It is there.
    Solid,
    /// It isn't.
    Gone,
    /// It is being deleted and waits for its dependents.
    Waiting,
}

#[derive(Debug, PartialEq)]
pub(super) enum Plan {
    Keep,
    /// Drops the references to owners with these uids.
    DropOwners(Vec<String>),
    /// Deletes it with this policy. With `unblock` its own references stop blocking first: its
    /// dependents are being deleted too, and would wait in a circle.
    Delete {
        policy: &'static str,
        unblock: bool,
    },
}

/// What is known of the object itself.
pub(super) struct View<'a> {
    pub(super) owners: &'a [OwnerReference],
    pub(super) finalizers: &'a [String],
    pub(super) has_dependents: bool,
    /// Whether a dependent waits for dependents of its own.
    pub(super) dependent_waits: bool,
}

/// Decides about an object that has owners.
pub(super) fn plan(view: &View<'_>, state: impl Fn(&OwnerReference) -> Owner) -> Plan {
    let states: Vec<(&OwnerReference, Owner)> = view.owners.iter().map(|o| (o, state(o))).collect();
    let uids = |wanted: fn(Owner) -> bool| -> Vec<String> {
        states.iter().filter(|(_, s)| wanted(*s)).map(|(o, _)| o.uid.clone()).collect()
    };
    let unsolid = uids(|s| s != Owner::Solid);
    if view.owners.is_empty() || unsolid.is_empty() {
        return Plan::Keep;
    }
    if unsolid.len() < view.owners.len() {
        return Plan::DropOwners(unsolid);
    }
    if states.iter().any(|(_, s)| *s == Owner::Waiting) && view.has_dependents {
        return Plan::Delete { policy: "Foreground", unblock: view.dependent_waits };
    }
    let has = |finalizer: &str| view.finalizers.iter().any(|f| f == finalizer);
    let policy = if has(super::graph::ORPHAN) {
        "Orphan"
    } else if has(super::graph::FOREGROUND) {
        "Foreground"
    } else {
        "Background"
    };
    Plan::Delete { policy, unblock: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_decide() {
        use Owner::{Gone, Solid, Waiting};
        let background = Plan::Delete { policy: "Background", unblock: false };
        let cases = [
            (vec![], false, Plan::Keep),
            (vec![Solid, Solid], false, Plan::Keep),
            (vec![Solid, Gone, Waiting], true, Plan::DropOwners(vec!["1".into(), "2".into()])),
            (vec![Gone, Gone], true, background),
            (vec![Waiting], true, Plan::Delete { policy: "Foreground", unblock: false }),
            (vec![Waiting], false, Plan::Delete { policy: "Background", unblock: false }),
        ];
        for (states, has_dependents, wanted) in cases {
            let owners: Vec<OwnerReference> = (0..states.len())
                .map(|i| OwnerReference { uid: i.to_string(), ..Default::default() })
                .collect();
            let view = View { owners: &owners, finalizers: &[], has_dependents, dependent_waits: false };
            let state = |o: &OwnerReference| states[o.uid.parse::<usize>().unwrap()];
            assert_eq!(plan(&view, state), wanted, "{states:?}");
        }
    }
}
