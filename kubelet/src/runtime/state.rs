//! The observed state of one pod.

use proto::cri;
use std::collections::BTreeMap;

/// The life stage of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum State {
    /// Made but not started.
    Created,
    /// Running.
    Running,
    /// Ended.
    Exited,
    /// The runtime can't say.
    #[default]
    Unknown,
}

impl State {
    /// The word used in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Created => "created",
            State::Running => "running",
            State::Exited => "exited",
            State::Unknown => "unknown",
        }
    }
}

impl From<i32> for State {
    fn from(value: i32) -> State {
        match cri::ContainerState::try_from(value) {
            Ok(cri::ContainerState::Created) => State::Created,
            Ok(cri::ContainerState::Running) => State::Running,
            Ok(cri::ContainerState::Exited) => State::Exited,
            _ => State::Unknown,
        }
    }
}

/// A pod sandbox.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sandbox {
    /// The runtime's id.
    pub id: String,
    /// How many sandboxes the pod had before.
    pub attempt: u32,
    /// Whether containers can run in it.
    pub ready: bool,
    /// Nanoseconds since the epoch.
    pub created_at: i64,
    /// Whether it shares the node's network.
    pub host_network: bool,
    /// Addresses; `None` if the runtime didn't say.
    pub ips: Option<Vec<String>>,
}

/// A container, running or dead.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservedContainer {
    /// The runtime's id.
    pub id: String,
    /// The sandbox it belongs to.
    pub sandbox_id: String,
    /// The name in the pod's spec.
    pub name: String,
    /// The image as the runtime names it.
    pub image: String,
    /// The image by digest.
    pub image_ref: String,
    /// The runtime's image id.
    pub image_id: String,
    /// The hash of the spec it was made from.
    pub hash: u64,
    /// Its place in the series of restarts.
    pub restart_count: i32,
    /// Life stage.
    pub state: State,
    /// Nanoseconds since the epoch.
    pub created_at: i64,
    /// Nanoseconds since the epoch; zero before the start.
    pub started_at: i64,
    /// Nanoseconds since the epoch; zero before the end.
    pub finished_at: i64,
    /// The code it ended with.
    pub exit_code: i32,
    /// Why it ended, in a word.
    pub reason: String,
    /// Why it ended, at length; the termination message is part of it.
    pub message: String,
    /// The log, as an absolute path.
    pub log_path: String,
    /// The limits in force, where the runtime says.
    pub resources: Option<cri::LinuxContainerResources>,
    /// The identity it runs under, where the runtime says.
    pub user: Option<cri::LinuxContainerUser>,
    /// The stop signal, where the runtime says.
    pub stop_signal: Option<String>,
    /// Labels the kubelet gave it.
    pub labels: BTreeMap<String, String>,
    /// Annotations the kubelet gave it.
    pub annotations: BTreeMap<String, String>,
}

/// All that the runtime knows about one pod. Both lists begin with the newest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The pod's uid.
    pub uid: String,
    /// The pod's name.
    pub name: String,
    /// The pod's namespace.
    pub namespace: String,
    /// Addresses of the newest ready sandbox.
    pub ips: Vec<String>,
    /// Sandboxes.
    pub sandboxes: Vec<Sandbox>,
    /// Containers of all sandboxes.
    pub containers: Vec<ObservedContainer>,
}

impl Observed {
    /// The newest container of that name.
    pub fn container(&self, name: &str) -> Option<&ObservedContainer> {
        self.containers.iter().find(|c| c.name == name)
    }

    /// Containers that run now.
    pub fn running(&self) -> impl Iterator<Item = &ObservedContainer> {
        self.containers.iter().filter(|c| c.state == State::Running)
    }

    /// Whether nothing of the pod runs.
    pub fn is_stopped(&self) -> bool {
        self.running().next().is_none() && !self.sandboxes.iter().any(|s| s.ready)
    }
}
