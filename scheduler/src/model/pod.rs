//! One pod: its identity and what changes while it lives, beside its shape.

use std::sync::Arc;

use super::wire::PodObject;
use super::{Shape, Shapes};

/// A pod's UID, which tells a pod from a later one of the same name.
pub type PodKey = Arc<str>;

/// The `PodScheduled` condition as last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScheduledCondition {
    /// `True` or `False`.
    pub status: String,
    /// Why.
    pub reason: String,
    /// Why, in words.
    pub message: String,
}

/// A claim that a pod uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRef {
    /// Its name.
    pub name: String,
    /// Is it made for this pod, from a template in it?
    pub ephemeral: bool,
}

/// One pod.
#[derive(Clone, Debug)]
pub struct Pod {
    /// The UID.
    pub key: PodKey,
    /// The name.
    pub name: String,
    /// What its template fixes.
    pub shape: Arc<Shape>,
    /// The node it is bound to.
    pub node: Option<String>,
    /// The node that preemption cleared for it.
    pub nominated_node: Option<String>,
    /// Is it being deleted?
    pub deleting: bool,
    /// Is it being deleted because the scheduler preempted it?
    pub preempted: bool,
    /// When it started (RFC 3339, so that texts order as times do).
    pub started: Option<String>,
    /// `metadata.generation`.
    pub generation: i64,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// The `PodScheduled` condition.
    pub scheduled: Option<ScheduledCondition>,
    /// The claims it uses.
    pub claims: Box<[ClaimRef]>,
    /// Has it finished? Such a pod uses nothing.
    pub finished: bool,
}

impl Pod {
    /// Reads a pod from its JSON.
    pub fn decode(json: &[u8], shapes: &Shapes) -> Result<Self, serde_json::Error> {
        let pod: PodObject = serde_json::from_slice(json)?;
        Ok(Self::from_wire(pod, shapes))
    }

    /// Reads a pod from a JSON tree.
    pub fn from_value(value: serde_json::Value, shapes: &Shapes) -> Result<Self, serde_json::Error> {
        Ok(Self::from_wire(serde_json::from_value(value)?, shapes))
    }

    fn from_wire(mut pod: PodObject, shapes: &Shapes) -> Self {
        let some = |s: &mut String| Some(std::mem::take(s)).filter(|s| !s.is_empty());
        let deleting = pod.metadata.deletion_timestamp.is_some();
        let condition = |kind| pod.status.conditions.iter().find(move |c| c.kind == kind);
        let preempted = deleting
            && condition("DisruptionTarget")
                .is_some_and(|c| c.status == "True" && c.reason == "PreemptionByScheduler");
        let scheduled = condition("PodScheduled").map(|c| ScheduledCondition {
            status: c.status.clone(),
            reason: c.reason.clone(),
            message: c.message.clone(),
        });
        let name = &pod.metadata.name;
        let claim = |v: &super::wire::Volume| match (&v.persistent_volume_claim, &v.ephemeral) {
            (Some(claim), _) => Some(ClaimRef { name: claim.claim_name.clone(), ephemeral: false }),
            (None, Some(_)) => Some(ClaimRef { name: format!("{name}-{}", v.name), ephemeral: true }),
            _ => None,
        };
        let claims = pod.spec.volumes.iter().filter_map(claim).collect();
        Pod {
            claims,
            key: pod.metadata.uid.as_str().into(),
            name: std::mem::take(&mut pod.metadata.name),
            node: some(&mut pod.spec.node_name),
            nominated_node: some(&mut pod.status.nominated_node_name),
            deleting,
            preempted,
            started: pod.status.start_time.take(),
            generation: pod.metadata.generation,
            resource_version: std::mem::take(&mut pod.metadata.resource_version),
            scheduled,
            finished: matches!(pod.status.phase.as_str(), "Succeeded" | "Failed"),
            shape: shapes.intern(Shape::of(pod)),
        }
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.shape.namespace
    }

    /// Its priority.
    pub fn priority(&self) -> i32 {
        self.shape.priority
    }
}
