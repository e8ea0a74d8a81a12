//! What claims ask of nodes: VolumeBinding, VolumeZone, NodeVolumeLimits and VolumeRestrictions.
//!
//! Claims bound already tie a pod to where their volumes are. Claims that wait for a consumer are provisioned
//! for the node chosen (see the daemon's bindings). Binding such claims to volumes made beforehand is not built:
//! their pods wait, with the reason.

use std::collections::BTreeMap;

use super::names::{NODE_VOLUME_LIMITS, VOLUME_BINDING, VOLUME_RESTRICTIONS, VOLUME_ZONE};
use crate::cluster::{Class, Cluster, NO_PROVISIONER, NodeId, Volume};
use crate::framework::{Event, Filter, Filtering, Plugin, Rejection};
use crate::model::Pod;

/// May a change of storage help? All of these plugins are about claims.
fn storage_hint(pod: &Pod, event: &Event) -> bool {
    match event {
        Event::StorageChanged => !pod.claims.is_empty(),
        Event::NodeAdded(_) => true,
        Event::NodeUpdated { change, .. } => change.labels,
        Event::AssignedPodDeleted(other) => !other.claims.is_empty(),
        _ => false,
    }
}

/// VolumeBinding.
#[derive(Debug)]
pub struct VolumeBinding;

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        VOLUME_BINDING
    }
    fn hint(&self, _: &Cluster, pod: &Pod, event: &Event) -> bool {
        storage_hint(pod, event)
    }
}

/// What a claim comes to.
enum Tie<'a> {
    /// It is bound to a volume that is known.
    Bound(&'a Volume),
    /// It is bound to a volume that isn't.
    Missing,
    /// It is to be provisioned.
    Provision(&'a Class),
}

fn tie<'a>(cluster: &'a Cluster, pod: &Pod, name: &str, ephemeral: bool) -> Result<Tie<'a>, String> {
    let volumes = &cluster.volumes;
    let claim = match volumes.claim(pod.namespace(), name) {
        Some(claim) => claim,
        None if ephemeral => {
            let what = "waiting for ephemeral volume controller to create the persistentvolumeclaim";
            return Err(format!("{what} {name:?}"));
        }
        None => return Err(format!("persistentvolumeclaim {name:?} not found")),
    };
    if claim.lost {
        return Err(format!(
            "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {:?}",
            claim.volume
        ));
    }
    if claim.deleting {
        return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
    }
    if ephemeral && claim.owner.as_deref() != Some(&*pod.key) {
        let (namespace, pod) = (pod.namespace(), &pod.name);
        return Err(format!(
            "PVC {namespace}/{name} was not created for pod {namespace}/{pod} (pod is not owner)"
        ));
    }
    if claim.bound {
        return Ok(volumes.volume(&claim.volume).map_or(Tie::Missing, Tie::Bound));
    }
    match volumes.class_of(claim) {
        Some(class) if class.waits && claim.volume.is_empty() => match class.provisioner.as_str() {
            "" | NO_PROVISIONER => Err(format!(
                "persistentvolumeclaim {name:?} waits to be bound to an existing volume, which this scheduler's \
                 {VOLUME_BINDING} plugin does not do"
            )),
            _ => Ok(Tie::Provision(class)),
        },
        _ => Err("pod has unbound immediate PersistentVolumeClaims".to_owned()),
    }
}

impl Filter for VolumeBinding {
    fn filter<'a>(&'a self, cluster: &'a Cluster, pod: &'a Pod) -> Filtering<'a> {
        if pod.claims.is_empty() {
            return Filtering::Skip;
        }
        let ties: Result<Vec<_>, _> =
            pod.claims.iter().map(|c| tie(cluster, pod, &c.name, c.ephemeral)).collect();
        let ties = match ties {
            Ok(ties) => ties,
            Err(reason) => return Filtering::Reject(Rejection::unresolvable(VOLUME_BINDING, reason)),
        };
        Filtering::check(move |node| {
            for tie in &ties {
                let (good, reason) = match tie {
                    Tie::Missing => {
                        (false, "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)")
                    }
                    Tie::Bound(volume) => (
                        usable(cluster, volume, node),
                        "node(s) didn't match PersistentVolume's node affinity",
                    ),
                    Tie::Provision(class) => (
                        can_provision(cluster, class, node),
                        "node(s) didn't find available persistent volumes to bind",
                    ),
                };
                if !good {
                    return Err(Rejection::unresolvable(VOLUME_BINDING, reason));
                }
            }
            Ok(())
        })
    }
}

fn usable(cluster: &Cluster, volume: &Volume, node: NodeId) -> bool {
    let label = |key: &str| cluster.labels.get(node, key);
    volume.nodes.as_ref().is_none_or(|terms| terms.iter().any(|t| t.matches(cluster.name(node), label)))
}

fn can_provision(cluster: &Cluster, class: &Class, node: NodeId) -> bool {
    let has = |(key, values): &(String, std::collections::BTreeSet<String>)| {
        cluster.labels.get(node, key).is_some_and(|v| values.contains(v))
    };
    class.topologies.is_empty() || class.topologies.iter().any(|t| t.iter().all(has))
}

/// VolumeZone: volumes that name a zone or region are used there.
#[derive(Debug)]
pub struct VolumeZone;

impl Plugin for VolumeZone {
    fn name(&self) -> &'static str {
        VOLUME_ZONE
    }
    fn hint(&self, _: &Cluster, pod: &Pod, event: &Event) -> bool {
        storage_hint(pod, event)
    }
}

impl Filter for VolumeZone {
    fn filter<'a>(&'a self, cluster: &'a Cluster, pod: &'a Pod) -> Filtering<'a> {
        let zones: Vec<_> = (pod.claims.iter())
            .filter_map(|c| cluster.volumes.claim(pod.namespace(), &c.name))
            .filter_map(|claim| cluster.volumes.volume(&claim.volume))
            .flat_map(|volume| &volume.zones)
            .collect();
        if zones.is_empty() {
            return Filtering::Skip;
        }
        Filtering::check(move |node| {
            let in_zone = |(key, values): &&(String, std::collections::BTreeSet<String>)| {
                cluster.labels.get(node, key).is_some_and(|v| values.contains(v))
            };
            match zones.iter().all(in_zone) {
                true => Ok(()),
                false => Err(Rejection::unresolvable(VOLUME_ZONE, "node(s) had no available volume zone")),
            }
        })
    }
}

/// NodeVolumeLimits: a node takes so many volumes of a CSI driver.
#[derive(Debug)]
pub struct NodeVolumeLimits;

impl Plugin for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        NODE_VOLUME_LIMITS
    }
    fn hint(&self, _: &Cluster, pod: &Pod, event: &Event) -> bool {
        storage_hint(pod, event)
    }
}

impl Filter for NodeVolumeLimits {
    fn filter<'a>(&'a self, cluster: &'a Cluster, pod: &'a Pod) -> Filtering<'a> {
        let wanted = cluster.volumes.attached(pod);
        if wanted.is_empty() {
            return Filtering::Skip;
        }
        Filtering::check(move |node| {
            let Some(limits) = cluster.volumes.limits(cluster.name(node)) else { return Ok(()) };
            let there: std::collections::BTreeSet<_> =
                cluster.pods_on(node).iter().flat_map(|p| cluster.volumes.attached(p)).collect();
            let mut new: BTreeMap<&str, usize> = BTreeMap::new();
            for (driver, _) in wanted.iter().filter(|v| !there.contains(*v)) {
                *new.entry(driver).or_default() += 1;
            }
            let in_use = |driver: &str| there.iter().filter(|(d, _)| d == driver).count();
            let full = |(driver, more): (&&str, &usize)| {
                limits.get(*driver).is_some_and(|limit| in_use(driver) + more > *limit)
            };
            match new.iter().any(full) {
                true => Err(Rejection::resolvable(NODE_VOLUME_LIMITS, "node(s) exceed max volume count")),
                false => Ok(()),
            }
        })
    }
}

/// VolumeRestrictions: a claim that only one pod may use is used by one pod.
#[derive(Debug)]
pub struct VolumeRestrictions;

/// Volumes of pods' own that may be attached once; to check that is not built.
const ATTACHED_ONCE: [&str; 4] = ["gcePersistentDisk", "awsElasticBlockStore", "iscsi", "rbd"];

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        VOLUME_RESTRICTIONS
    }
    fn hint(&self, _: &Cluster, pod: &Pod, event: &Event) -> bool {
        storage_hint(pod, event)
    }
}

impl Filter for VolumeRestrictions {
    fn filter<'a>(&'a self, cluster: &'a Cluster, pod: &'a Pod) -> Filtering<'a> {
        if let Some(kind) = ATTACHED_ONCE.iter().find(|k| pod.shape.volumes.contains(**k)) {
            let reason =
                format!("pod has a {kind} volume, which this scheduler's {VOLUME_RESTRICTIONS} can't check");
            return Filtering::Reject(Rejection::unresolvable(VOLUME_RESTRICTIONS, reason));
        }
        let exclusive: Vec<_> = (pod.claims.iter())
            .map(|c| c.name.as_str())
            .filter(|n| cluster.volumes.claim(pod.namespace(), n).is_some_and(|c| c.exclusive))
            .collect();
        if exclusive.is_empty() {
            return Filtering::Skip;
        }
        let uses = |other: &Pod| {
            other.namespace() == pod.namespace()
                && other.claims.iter().any(|c| exclusive.contains(&c.name.as_str()))
        };
        let rivals: Vec<_> = cluster
            .order()
            .iter()
            .filter(|n| cluster.pods_on(**n).iter().any(|p| uses(p)))
            .copied()
            .collect();
        if rivals.is_empty() {
            return Filtering::Skip;
        }
        Filtering::check(move |node| {
            let reason = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode \
                          already in-use by another pod";
            // Only where the other pod is can room be made by removing it.
            match rivals.contains(&node) {
                true => Err(Rejection::resolvable(VOLUME_RESTRICTIONS, reason)),
                false => Err(Rejection::unresolvable(VOLUME_RESTRICTIONS, reason)),
            }
        })
    }
}
