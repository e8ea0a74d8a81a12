//! When an ended container runs again.

use crate::api::{Container, Pod, PodView};
use crate::runtime::{Observed, State};

/// Whether a container that ended with `exit_code` is to run again.
pub fn should_restart(container: &Container, pod: &Pod, exit_code: i32) -> bool {
    if let Some(policy) = container.restart_policy.as_deref() {
        if matching_action(container, exit_code).is_some() {
            return true;
        }
        match policy {
            "Always" => return true,
            "OnFailure" => return exit_code != 0,
            "Never" => return false,
            _ => {}
        }
    }
    match pod.restart_policy() {
        "OnFailure" => exit_code != 0,
        "Never" => false,
        _ => true,
    }
}

/// The action of the first restart rule that covers the exit code. Both actions there are restart.
fn matching_action(container: &Container, exit_code: i32) -> Option<&str> {
    let rules = container.restart_policy_rules.as_deref().unwrap_or_default();
    rules.iter().find_map(|rule| {
        let on = rule.exit_codes.as_ref()?;
        let listed = on.values.as_deref().unwrap_or_default().contains(&exit_code);
        let covered = match on.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        };
        let known = matches!(rule.action.as_str(), "Restart" | "RestartAllContainers");
        (covered && known).then_some(rule.action.as_str())
    })
}

/// Whether the whole pod starts over because this container ended with `exit_code`.
pub fn restarts_all(container: &Container, exit_code: i32) -> bool {
    matching_action(container, exit_code) == Some("RestartAllContainers")
}

/// Whether the pod has a rule that may restart all its containers.
pub fn could_restart_all(pod: &Pod) -> bool {
    let rules = |c: &Container| {
        c.restart_policy_rules
            .as_deref()
            .unwrap_or_default()
            .iter()
            .any(|r| r.action == "RestartAllContainers")
    };
    pod.containers().iter().chain(pod.init_containers()).any(rules)
}

/// Whether a running container that must be killed is to come back: by its own policy, else the pod's.
pub fn returns_after_kill(container: &Container, pod: &Pod) -> bool {
    let policy = container.restart_policy.as_deref().unwrap_or(pod.restart_policy());
    policy != "Never"
}

/// Whether a container that isn't running is to be started now.
pub fn should_start(container: &Container, pod: &Pod, observed: &Observed) -> bool {
    if pod.deleted() {
        return false;
    }
    match observed.container(&container.name) {
        None => true,
        Some(c) => match c.state {
            State::Running => false,
            State::Created | State::Unknown => true,
            State::Exited => should_restart(container, pod, c.exit_code),
        },
    }
}
