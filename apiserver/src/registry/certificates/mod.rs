//! The group certificates.k8s.io: requests to sign certificates, and bundles of trusted ones.

mod bundle;
mod issued;
mod key;
mod pod;
mod request;
pub(crate) mod signer;

use super::kind::{Enabled, Kind};
use super::{Builder, Subresource};

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
        .hooks(bundle::hooks())
        .also("v1alpha1")
        .install(builder, enabled);
    Kind::new(GROUP, "v1beta1", "podcertificaterequests", "PodCertificateRequest")
        .selectable(&["spec.signerName", "spec.podName", "spec.nodeName"])
        .hooks(pod::hooks())
        .status(pod::status())
        .install(builder, enabled);
}
