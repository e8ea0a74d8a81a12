//! The group certificates.k8s.io: requests to sign certificates, and bundles of trusted ones.

mod request;
pub(crate) mod signer;

use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, Subresource, strategy};

const GROUP: &str = "certificates.k8s.io";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new(GROUP, "v1", "certificatesigningrequests", "CertificateSigningRequest")
        .cluster()
        .short(&["csr"])
        .selectable(&["spec.signerName"])
        .hooks(request::hooks())
        .status(request::status())
        .subresource(Subresource::object("approval", request::approval()))
        .install(builder, enabled);
    Kind::new(GROUP, "v1beta1", "clustertrustbundles", "ClusterTrustBundle")
        .cluster()
        .selectable(&["spec.signerName"])
        .hooks(Hooks { allow_unconditional_update: false, ..Hooks::default() })
        .also("v1alpha1")
        .install(builder, enabled);
    Kind::new(GROUP, "v1beta1", "podcertificaterequests", "PodCertificateRequest")
        .selectable(&["spec.signerName", "spec.podName", "spec.nodeName"])
        .hooks(Hooks { allow_unconditional_update: false, ..strategy::with_status() })
        .status(strategy::status_only())
        .install(builder, enabled);
}
