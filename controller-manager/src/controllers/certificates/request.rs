//! Certificate requests as they come: what they ask for, and whether their signer takes them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

/// The signers of this daemon.
pub(super) const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
pub(super) const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
pub(super) const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
pub(super) const LEGACY: &str = "kubernetes.io/legacy-unknown";

/// What a request asks for.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) common_name: String,
    pub(super) organizations: Vec<String>,
    dns_names: usize,
    emails: usize,
    ips: usize,
    uris: usize,
    /// Subject, public key, and alternative names, as DER.
    pub(super) subject: Vec<u8>,
    pub(super) public_key: Vec<u8>,
    pub(super) alternative_names: Option<Vec<u8>>,
}

/// Reads a request and checks its signature.
pub(super) fn parse(base64: &str) -> Result<Request, String> {
    let text = STANDARD.decode(base64).map_err(|e| e.to_string())?;
    let blocks = pem::parse_many(text).map_err(|e| e.to_string())?;
    let block = blocks.iter().find(|b| b.tag() == "CERTIFICATE REQUEST");
    let block = block.ok_or("PEM block type must be CERTIFICATE REQUEST")?;
    let (_, csr) = X509CertificationRequest::from_der(block.contents()).map_err(|e| e.to_string())?;
    csr.verify_signature().map_err(|e| format!("unable to verify certificate request signature: {e}"))?;
    let info = &csr.certification_request_info;
    let text = |a: &x509_parser::x509::AttributeTypeAndValue<'_>| a.as_str().unwrap_or_default().to_string();
    let mut request = Request {
        common_name: info.subject.iter_common_name().last().map(text).unwrap_or_default(),
        organizations: info.subject.iter_organization().map(text).collect(),
        subject: info.subject.as_raw().to_vec(),
        public_key: info.subject_pki.raw.to_vec(),
        ..Default::default()
    };
    let extensions = csr.requested_extensions().into_iter().flatten();
    for extension in extensions {
        let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
        for name in &names.general_names {
            match name {
                GeneralName::DNSName(_) => request.dns_names += 1,
                GeneralName::RFC822Name(_) => request.emails += 1,
                GeneralName::IPAddress(_) => request.ips += 1,
                GeneralName::URI(_) => request.uris += 1,
                _ => {}
            }
        }
        request.alternative_names = Some(super::sign::alternative_names(&names.general_names));
    }
    Ok(request)
}

fn is_set(usages: &[String], wanted: &[&str]) -> bool {
    wanted.iter().all(|w| usages.iter().any(|u| u == w))
        && usages.iter().all(|u| wanted.contains(&u.as_str()))
}

/// Whether the usages are those of a kubelet, which needs key encipherment for RSA only.
fn kubelet_usages(usages: &[String], purpose: &str) -> Result<(), String> {
    let full = ["digital signature", "key encipherment", purpose];
    if is_set(usages, &full) || is_set(usages, &["digital signature", purpose]) {
        return Ok(());
    }
    let mut names = full.to_vec();
    names.sort_unstable();
    Err(format!("usages did not match [{}]", names.join(" ")))
}

impl Request {
    fn check_organization(&self) -> Result<(), String> {
        let is_node = self.organizations == ["system:nodes"];
        if is_node { Ok(()) } else { Err("subject organization is not system:nodes".into()) }
    }

    fn check_name(&self) -> Result<(), String> {
        let is_node = self.common_name.starts_with("system:node:");
        if is_node { Ok(()) } else { Err("subject common name does not begin with system:node:".into()) }
    }

    fn forbid(count: usize, what: &str) -> Result<(), String> {
        if count == 0 { Ok(()) } else { Err(format!("{what} subjectAltNames are not allowed")) }
    }

    /// Whether it is the request of a kubelet for a client certificate.
    pub(super) fn check_kubelet_client(&self, usages: &[String]) -> Result<(), String> {
        self.check_organization()?;
        Self::forbid(self.dns_names, "DNS")?;
        Self::forbid(self.emails, "Email")?;
        Self::forbid(self.ips, "IP")?;
        Self::forbid(self.uris, "URI")?;
        self.check_name()?;
        kubelet_usages(usages, "client auth")
    }

    fn check_kubelet_serving(&self, usages: &[String]) -> Result<(), String> {
        self.check_organization()?;
        if self.dns_names == 0 && self.ips == 0 {
            return Err("DNS or IP subjectAltName is required".into());
        }
        Self::forbid(self.emails, "Email")?;
        Self::forbid(self.uris, "URI")?;
        kubelet_usages(usages, "server auth")?;
        self.check_name()
    }

    /// Whether its signer may sign it.
    pub(super) fn check(&self, signer: &str, usages: &[String]) -> Result<(), String> {
        match signer {
            KUBELET_SERVING => self.check_kubelet_serving(usages),
            KUBELET_CLIENT => self.check_kubelet_client(usages),
            CLIENT => check_client(usages),
            _ => Ok(()),
        }
    }
}

fn check_client(usages: &[String]) -> Result<(), String> {
    let allowed = ["digital signature", "key encipherment", "client auth"];
    if let Some(other) = usages.iter().find(|u| !allowed.contains(&u.as_str())) {
        return Err(format!("invalid usage for client certificate: {other}"));
    }
    if usages.iter().any(|u| u == "client auth") {
        return Ok(());
    }
    Err("missing required usage for client certificate: client auth".into())
}
