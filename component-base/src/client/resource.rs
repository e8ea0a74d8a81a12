//! How the API is addressed.

use std::borrow::Cow;
use std::fmt::Write;

/// A resource of the API, or a subresource of its objects.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    /// Empty for the core group.
    pub group: Cow<'static, str>,
    /// Like `v1`.
    pub version: Cow<'static, str>,
    /// Like `pods`.
    pub plural: Cow<'static, str>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Like `status`; empty for the object itself.
    pub subresource: Cow<'static, str>,
}

impl Resource {
    /// A namespaced resource.
    pub const fn namespaced(group: &'static str, version: &'static str, plural: &'static str) -> Self {
        Self::known(group, version, plural, true)
    }

    /// A cluster-scoped resource.
    pub const fn cluster(group: &'static str, version: &'static str, plural: &'static str) -> Self {
        Self::known(group, version, plural, false)
    }

    const fn known(
        group: &'static str,
        version: &'static str,
        plural: &'static str,
        namespaced: bool,
    ) -> Self {
        Self {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            plural: Cow::Borrowed(plural),
            namespaced,
            subresource: Cow::Borrowed(""),
        }
    }

    /// A resource known only at run time.
    pub fn dynamic(group: &str, version: &str, plural: &str, namespaced: bool) -> Self {
        Self {
            group: group.to_owned().into(),
            version: version.to_owned().into(),
            plural: plural.to_owned().into(),
            namespaced,
            subresource: Cow::Borrowed(""),
        }
    }

    /// A subresource of this resource's objects.
    pub fn sub(&self, subresource: impl Into<Cow<'static, str>>) -> Self {
        Self { subresource: subresource.into(), ..self.clone() }
    }

    /// `group/version`, or just the version in the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The path of an object, or of the collection when `name` is empty. An empty namespace means all.
    pub fn path(&self, namespace: &str, name: &str) -> String {
        let mut path = String::with_capacity(96);
        let _ = match &*self.group {
            "" => write!(path, "/api/{}", self.version),
            group => write!(path, "/apis/{group}/{}", self.version),
        };
        if self.namespaced && !namespace.is_empty() {
            path.push_str("/namespaces/");
            encode(&mut path, namespace);
        }
        path.push('/');
        path.push_str(&self.plural);
        for part in [name, &self.subresource] {
            if !part.is_empty() {
                path.push('/');
                encode(&mut path, part);
            }
        }
        path
    }
}

/// Appends text percent-encoded, so that it is one path segment or one query value.
pub fn encode(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte.into()),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}

/// Builds a query string from pairs, leaving out empty values.
pub fn query(pairs: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (key, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        out.push(if out.is_empty() { '?' } else { '&' });
        out.push_str(key);
        out.push('=');
        encode(&mut out, value);
    }
    out
}

macro_rules! resources {
    ($($name:ident: $scope:ident($group:literal, $version:literal, $plural:literal);)*) => {
        /// The built-in resources that daemons use, each in the version they speak.
        pub mod known {
            use super::Resource;
            $(
                #[doc = concat!("`", $plural, "` in `", $group, "/", $version, "`.")]
                pub const $name: Resource = Resource::$scope($group, $version, $plural);
            )*
        }
    };
}

resources! {
    BINDINGS: namespaced("", "v1", "bindings");
    CONFIG_MAPS: namespaced("", "v1", "configmaps");
    ENDPOINTS: namespaced("", "v1", "endpoints");
    EVENTS: namespaced("", "v1", "events");
    LIMIT_RANGES: namespaced("", "v1", "limitranges");
    NAMESPACES: cluster("", "v1", "namespaces");
    NODES: cluster("", "v1", "nodes");
    PERSISTENT_VOLUME_CLAIMS: namespaced("", "v1", "persistentvolumeclaims");
    PERSISTENT_VOLUMES: cluster("", "v1", "persistentvolumes");
    PODS: namespaced("", "v1", "pods");
    POD_TEMPLATES: namespaced("", "v1", "podtemplates");
    REPLICATION_CONTROLLERS: namespaced("", "v1", "replicationcontrollers");
    RESOURCE_QUOTAS: namespaced("", "v1", "resourcequotas");
    SECRETS: namespaced("", "v1", "secrets");
    SERVICE_ACCOUNTS: namespaced("", "v1", "serviceaccounts");
    SERVICES: namespaced("", "v1", "services");
    VALIDATING_ADMISSION_POLICIES: cluster("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies");
    CONTROLLER_REVISIONS: namespaced("apps", "v1", "controllerrevisions");
    DAEMON_SETS: namespaced("apps", "v1", "daemonsets");
    DEPLOYMENTS: namespaced("apps", "v1", "deployments");
    REPLICA_SETS: namespaced("apps", "v1", "replicasets");
    STATEFUL_SETS: namespaced("apps", "v1", "statefulsets");
    TOKEN_REVIEWS: cluster("authentication.k8s.io", "v1", "tokenreviews");
    SUBJECT_ACCESS_REVIEWS: cluster("authorization.k8s.io", "v1", "subjectaccessreviews");
    HORIZONTAL_POD_AUTOSCALERS: namespaced("autoscaling", "v2", "horizontalpodautoscalers");
    CRON_JOBS: namespaced("batch", "v1", "cronjobs");
    JOBS: namespaced("batch", "v1", "jobs");
    CERTIFICATE_SIGNING_REQUESTS: cluster("certificates.k8s.io", "v1", "certificatesigningrequests");
    LEASES: namespaced("coordination.k8s.io", "v1", "leases");
    ENDPOINT_SLICES: namespaced("discovery.k8s.io", "v1", "endpointslices");
    EVENTS_V1: namespaced("events.k8s.io", "v1", "events");
    INGRESSES: namespaced("networking.k8s.io", "v1", "ingresses");
    IP_ADDRESSES: cluster("networking.k8s.io", "v1", "ipaddresses");
    SERVICE_CIDRS: cluster("networking.k8s.io", "v1", "servicecidrs");
    NETWORK_POLICIES: namespaced("networking.k8s.io", "v1", "networkpolicies");
    RUNTIME_CLASSES: cluster("node.k8s.io", "v1", "runtimeclasses");
    POD_DISRUPTION_BUDGETS: namespaced("policy", "v1", "poddisruptionbudgets");
    CLUSTER_ROLES: cluster("rbac.authorization.k8s.io", "v1", "clusterroles");
    CLUSTER_ROLE_BINDINGS: cluster("rbac.authorization.k8s.io", "v1", "clusterrolebindings");
    PRIORITY_CLASSES: cluster("scheduling.k8s.io", "v1", "priorityclasses");
    CSI_DRIVERS: cluster("storage.k8s.io", "v1", "csidrivers");
    CSI_NODES: cluster("storage.k8s.io", "v1", "csinodes");
    CSI_STORAGE_CAPACITIES: namespaced("storage.k8s.io", "v1", "csistoragecapacities");
    STORAGE_CLASSES: cluster("storage.k8s.io", "v1", "storageclasses");
    VOLUME_ATTRIBUTES_CLASSES: cluster("storage.k8s.io", "v1", "volumeattributesclasses");
    VOLUME_ATTACHMENTS: cluster("storage.k8s.io", "v1", "volumeattachments");
    RESOURCE_CLAIMS: namespaced("resource.k8s.io", "v1", "resourceclaims");
    RESOURCE_CLAIM_TEMPLATES: namespaced("resource.k8s.io", "v1", "resourceclaimtemplates");
    RESOURCE_SLICES: cluster("resource.k8s.io", "v1", "resourceslices");
    DEVICE_CLASSES: cluster("resource.k8s.io", "v1", "deviceclasses");
    CUSTOM_RESOURCE_DEFINITIONS: cluster("apiextensions.k8s.io", "v1", "customresourcedefinitions");
    API_SERVICES: cluster("apiregistration.k8s.io", "v1", "apiservices");
}

#[cfg(test)]
mod tests {
    use super::known::*;
    use super::*;

    #[test]
    fn paths_follow_the_api() {
        for (path, expected) in [
            (PODS.path("", ""), "/api/v1/pods"),
            (PODS.path("a", "b"), "/api/v1/namespaces/a/pods/b"),
            (NODES.sub("status").path("", "n"), "/api/v1/nodes/n/status"),
            (LEASES.path("kube-system", ""), "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"),
            (CLUSTER_ROLES.path("", "a:b/c"), "/apis/rbac.authorization.k8s.io/v1/clusterroles/a%3Ab%2Fc"),
        ] {
            assert_eq!(path, expected);
        }
        assert_eq!(query(&[("a", "x=y"), ("b", ""), ("c", "1")]), "?a=x%3Dy&c=1");
    }
}
