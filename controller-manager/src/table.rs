//! The controllers: their names, whether they run by default, and how each is started.

use std::sync::Arc;

use crate::context::Controller;
use crate::controllers;

/// Subscribes to what a controller watches and spawns its workers.
pub type Start = fn(Arc<Controller>) -> anyhow::Result<()>;

/// One controller.
pub struct Row {
    pub name: &'static str,
    /// The name of older versions, if it was another.
    pub alias: &'static str,
    /// The service account that it acts as; empty for the daemon itself.
    pub account: &'static str,
    /// The source that its events name.
    pub component: &'static str,
    pub on_by_default: bool,
    /// Feature gates that must all be on.
    pub gates: &'static [&'static str],
    /// None if it isn't built; then what it would do is left undone.
    pub start: Option<Start>,
}

const fn row(name: &'static str, alias: &'static str, account: &'static str, start: Start) -> Row {
    Row { name, alias, account, component: account, on_by_default: true, gates: &[], start: Some(start) }
}

const fn absent(name: &'static str, alias: &'static str) -> Row {
    Row { name, alias, account: "", component: "", on_by_default: true, gates: &[], start: None }
}

impl Row {
    const fn component(self, component: &'static str) -> Row {
        Row { component, ..self }
    }

    /// It acts as the daemon: it makes the tokens of accounts, and can't have one before.
    const fn of_daemon(self) -> Row {
        Row { account: "", ..self }
    }

    const fn gated(self, gates: &'static [&'static str]) -> Row {
        Row { gates, ..self }
    }

    const fn off(self) -> Row {
        Row { on_by_default: false, ..self }
    }
}

/// All controllers, in the order in which they start: what others need comes first.
pub static TABLE: &[Row] = &[
    row(
        "serviceaccount-token-controller",
        "serviceaccount-token",
        "tokens-controller",
        controllers::serviceaccounttoken::start,
    )
    .of_daemon(),
    row("namespace-controller", "namespace", "namespace-controller", controllers::namespace::start),
    row(
        "serviceaccount-controller",
        "serviceaccount",
        "service-account-controller",
        controllers::serviceaccount::start,
    ),
    row(
        "root-ca-certificate-publisher-controller",
        "root-ca-cert-publisher",
        "root-ca-cert-publisher",
        controllers::rootca::start,
    ),
    row(
        "garbage-collector-controller",
        "garbagecollector",
        "generic-garbage-collector",
        controllers::garbagecollector::start,
    )
    .component("garbage-collector-controller"),
    row("deployment-controller", "deployment", "deployment-controller", controllers::deployment::start),
    row("replicaset-controller", "replicaset", "replicaset-controller", controllers::replicaset::start),
    row(
        "replicationcontroller-controller",
        "replicationcontroller",
        "replication-controller",
        controllers::replicaset::start_replication,
    ),
    row("daemonset-controller", "daemonset", "daemon-set-controller", controllers::daemonset::start)
        .component("daemonset-controller"),
    row("endpoints-controller", "endpoint", "endpoint-controller", controllers::endpoints::start_endpoints),
    row(
        "endpointslice-controller",
        "endpointslice",
        "endpointslice-controller",
        controllers::endpoints::start_slices,
    )
    .component("endpoint-slice-controller"),
    row(
        "endpointslice-mirroring-controller",
        "endpointslicemirroring",
        "endpointslicemirroring-controller",
        controllers::endpoints::start_mirroring,
    )
    .component("endpoint-slice-mirroring-controller"),
    row("node-lifecycle-controller", "nodelifecycle", "node-controller", controllers::nodelifecycle::start),
    row("taint-eviction-controller", "", "node-controller", controllers::tainteviction::start)
        .component("taint-eviction-controller"),
    row("node-ipam-controller", "nodeipam", "node-controller", controllers::nodeipam::start)
        .component("cidrAllocator"),
    row("pod-garbage-collector-controller", "podgc", "pod-garbage-collector", controllers::podgc::start),
    row("statefulset-controller", "statefulset", "statefulset-controller", controllers::statefulset::start),
    row("job-controller", "job", "job-controller", controllers::job::start),
    row("cronjob-controller", "cronjob", "cronjob-controller", controllers::cronjob::start),
    row(
        "ttl-after-finished-controller",
        "ttl-after-finished",
        "ttl-after-finished-controller",
        controllers::ttlafterfinished::start,
    ),
    row("ttl-controller", "ttl", "ttl-controller", controllers::ttl::start),
    row("disruption-controller", "disruption", "disruption-controller", controllers::disruption::start)
        .component("controllermanager"),
    row(
        "resourcequota-controller",
        "resourcequota",
        "resourcequota-controller",
        controllers::resourcequota::start,
    ),
    row(
        "horizontal-pod-autoscaler-controller",
        "horizontalpodautoscaling",
        "horizontal-pod-autoscaler",
        controllers::autoscaler::start,
    ),
    row(
        "certificatesigningrequest-signing-controller",
        "csrsigning",
        "certificate-controller",
        controllers::certificates::start_signing,
    ),
    row(
        "certificatesigningrequest-approving-controller",
        "csrapproving",
        "certificate-controller",
        controllers::certificates::start_approving,
    ),
    row(
        "certificatesigningrequest-cleaner-controller",
        "csrcleaner",
        "certificate-controller",
        controllers::certificates::start_cleaning,
    ),
    row(
        "bootstrap-signer-controller",
        "bootstrapsigner",
        "bootstrap-signer",
        controllers::bootstrap::start_signing,
    )
    .off(),
    row("token-cleaner-controller", "tokencleaner", "token-cleaner", controllers::bootstrap::start_cleaning)
        .off(),
    row(
        "clusterrole-aggregation-controller",
        "clusterrole-aggregation",
        "clusterrole-aggregation-controller",
        controllers::clusterrole::start,
    ),
    row(
        "persistentvolumeclaim-protection-controller",
        "pvc-protection",
        "pvc-protection-controller",
        controllers::protection::start_claims,
    ),
    row(
        "persistentvolume-protection-controller",
        "pv-protection",
        "pv-protection-controller",
        controllers::protection::start_volumes,
    ),
    row(
        "persistentvolume-binder-controller",
        "persistentvolume-binder",
        "persistent-volume-binder",
        controllers::volumebinder::start,
    )
    .component("persistentvolume-controller"),
    row(
        "persistentvolume-attach-detach-controller",
        "attachdetach",
        "attachdetach-controller",
        controllers::attachdetach::start,
    ),
    row(
        "persistentvolume-expander-controller",
        "persistentvolume-expander",
        "expand-controller",
        controllers::volumeexpand::start,
    )
    .component("volume_expand"),
    row(
        "ephemeral-volume-controller",
        "ephemeral-volume",
        "ephemeral-volume-controller",
        controllers::ephemeral::start,
    )
    .component("ephemeral_volume"),
    row(
        "legacy-serviceaccount-token-cleaner-controller",
        "legacy-service-account-token-cleaner",
        "legacy-service-account-token-cleaner",
        controllers::legacytokens::start,
    ),
    absent("storageversion-garbage-collector-controller", "storage-version-gc")
        .gated(&["APIServerIdentity", "StorageVersionAPI"]),
    absent("storage-version-migrator-controller", "svm").gated(&["StorageVersionMigrator"]),
    row(
        "resourceclaim-controller",
        "resource-claim-controller",
        "resource-claim-controller",
        controllers::resourceclaim::start,
    )
    .component("resource_claim"),
    absent("resourcepoolstatusrequest-controller", "").gated(&["DRAResourcePoolStatus"]),
    row(
        "device-taint-eviction-controller",
        "",
        "device-taint-eviction-controller",
        controllers::devicetaints::start,
    )
    .component("device-taint-eviction")
    .gated(&["DRADeviceTaints"]),
    absent("podcertificaterequest-cleaner-controller", "").gated(&["PodCertificateRequest"]),
    absent("podgroup-protection-controller", "").gated(&["GenericWorkload"]),
    absent("kube-apiserver-serving-clustertrustbundle-publisher-controller", "")
        .gated(&["ClusterTrustBundle"]),
    row("service-cidr-controller", "", "service-cidrs-controller", controllers::servicecidr::start)
        .component("service-cidr-controller")
        .gated(&["MultiCIDRServiceAllocator"]),
    row(
        "validatingadmissionpolicy-status-controller",
        "",
        "validatingadmissionpolicy-status-controller",
        controllers::policystatus::start,
    ),
    row(
        "volumeattributesclass-protection-controller",
        "",
        "volumeattributesclass-protection-controller",
        controllers::protection::start_attributes_classes,
    )
    .gated(&["VolumeAttributesClass"]),
    absent("selinux-warning-controller", "").off().gated(&["SELinuxChangePolicy"]),
    // These left for the cloud controller manager; their names are still accepted.
    absent("service-lb-controller", "service").off(),
    absent("cloud-node-lifecycle-controller", "cloud-node-lifecycle").off(),
    absent("node-route-controller", "route").off(),
];

/// Whether a controller is to run: its own name decides, else `*` for those on by default.
pub fn is_enabled(row: &Row, wanted: &[String]) -> bool {
    let named = |name: &str| {
        !row.name.is_empty() && (name == row.name || (!row.alias.is_empty() && name == row.alias))
    };
    for entry in wanted {
        if named(entry) {
            return true;
        }
        if entry.strip_prefix('-').is_some_and(named) {
            return false;
        }
    }
    row.on_by_default && wanted.iter().any(|entry| entry == "*")
}

/// Refuses a list of controllers that names what doesn't exist.
pub fn check(wanted: &[String]) -> Result<(), String> {
    match unknown(wanted) {
        Some(name) => Err(format!("{name:?} is not in the list of known controllers")),
        None => Ok(()),
    }
}

/// The first entry that names no controller.
fn unknown<'a>(wanted: &'a [String]) -> Option<&'a str> {
    let known = |name: &str| TABLE.iter().any(|row| row.name == name || row.alias == name);
    let plain = |entry: &'a String| entry.strip_prefix('-').unwrap_or(entry);
    wanted.iter().filter(|entry| *entry != "*").map(plain).find(|name| !known(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_stars() {
        let list = |text: &str| text.split(',').map(String::from).collect::<Vec<_>>();
        let enabled = |name: &str, wanted: &str| {
            is_enabled(TABLE.iter().find(|r| r.name == name).unwrap(), &list(wanted))
        };
        assert!(enabled("deployment-controller", "*"));
        assert!(!enabled("deployment-controller", "*,-deployment"));
        assert!(!enabled("deployment-controller", "job-controller"));
        assert!(!enabled("token-cleaner-controller", "*"));
        assert!(enabled("token-cleaner-controller", "*,tokencleaner"));
        let error = check(&list("*,-deployment,-nonsense")).unwrap_err();
        assert_eq!(error, "\"nonsense\" is not in the list of known controllers");
    }
}
