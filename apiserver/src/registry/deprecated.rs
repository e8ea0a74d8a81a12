//! Versions of built-in kinds that are on their way out.

/// A version, and the releases (minor numbers of 1.x) that it is deprecated since and gone in.
struct Row {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    since: u32,
    /// 0: it stays.
    gone: u32,
    /// The version to use instead, where upstream names one.
    instead: Option<&'static str>,
}

const fn row(group: &'static str, version: &'static str, kind: &'static str, since: u32, gone: u32) -> Row {
    Row { group, version, kind, since, gone, instead: None }
}

const RESOURCE: &str = "resource.k8s.io";

const ROWS: [Row; 19] = [
    row("", "v1", "ComponentStatus", 19, 0),
    Row { instead: Some("discovery.k8s.io/v1 EndpointSlice"), ..row("", "v1", "Endpoints", 33, 0) },
    row("admissionregistration.k8s.io", "v1alpha1", "MutatingAdmissionPolicy", 35, 38),
    row("admissionregistration.k8s.io", "v1alpha1", "MutatingAdmissionPolicyBinding", 35, 38),
    row("certificates.k8s.io", "v1alpha1", "ClusterTrustBundle", 34, 37),
    row("coordination.k8s.io", "v1alpha2", "LeaseCandidate", 35, 38),
    row("coordination.k8s.io", "v1beta1", "LeaseCandidate", 36, 39),
    row("networking.k8s.io", "v1beta1", "IPAddress", 34, 37),
    row("networking.k8s.io", "v1beta1", "ServiceCIDR", 34, 37),
    row(RESOURCE, "v1alpha3", "DeviceTaintRule", 36, 39),
    row(RESOURCE, "v1beta1", "DeviceClass", 35, 38),
    row(RESOURCE, "v1beta1", "ResourceClaim", 35, 38),
    row(RESOURCE, "v1beta1", "ResourceClaimTemplate", 35, 38),
    row(RESOURCE, "v1beta1", "ResourceSlice", 35, 38),
    row(RESOURCE, "v1beta2", "DeviceClass", 36, 39),
    row(RESOURCE, "v1beta2", "ResourceClaim", 36, 39),
    row(RESOURCE, "v1beta2", "ResourceClaimTemplate", 36, 39),
    row(RESOURCE, "v1beta2", "ResourceSlice", 36, 39),
    Row {
        instead: Some("storage.k8s.io/v1 VolumeAttributesClass"),
        ..row("storage.k8s.io", "v1beta1", "VolumeAttributesClass", 34, 37)
    },
];

/// The warning that every answer of a version carries.
pub(crate) fn warning(group: &str, version: &str, kind: &str) -> Option<String> {
    let row = ROWS.iter().find(|row| (row.group, row.version, row.kind) == (group, version, kind))?;
    let slash = if group.is_empty() { "" } else { "/" };
    let mut text = format!("{group}{slash}{version} {kind} is deprecated in v1.{}+", row.since);
    if row.gone > 0 {
        text += &format!(", unavailable in v1.{}+", row.gone);
    }
    if let Some(instead) = row.instead {
        text += &format!("; use {instead}");
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_name_the_successor() {
        assert_eq!(
            warning("storage.k8s.io", "v1beta1", "VolumeAttributesClass").as_deref(),
            Some(
                "storage.k8s.io/v1beta1 VolumeAttributesClass is deprecated in v1.34+, unavailable in v1.37+; use storage.k8s.io/v1 VolumeAttributesClass"
            )
        );
        assert_eq!(
            warning("", "v1", "Endpoints").as_deref(),
            Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
        );
        assert_eq!(warning("storage.k8s.io", "v1", "VolumeAttributesClass"), None);
    }
}
