//! Client certificates: the subject is the user.

use std::sync::Arc;

use futures::future::BoxFuture;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::chain::{self, Roots};
use super::file::FileSource;
use crate::auth::service_account::CREDENTIAL_ID;
use crate::auth::{Authenticated, Authenticator, Rejected, Request, UserInfo, VerifiedPeer};

/// Object id of the subject attribute that holds a user's uid.
const UID_ATTRIBUTE: &str = "1.3.6.1.4.1.57683.2";

/// Authenticates by certificates that the authorities in a file issued.
pub struct ClientCertificates {
    roots: FileSource<Roots>,
    audiences: Vec<String>,
}

impl ClientCertificates {
    /// Trusts the authorities in the file (--client-ca-file).
    pub fn new(roots: FileSource<Roots>) -> Self {
        ClientCertificates { roots, audiences: Vec::new() }
    }

    fn check(&self, request: Request<'_>, now: i64) -> Result<Option<Authenticated>, Rejected> {
        let Some(leaf) = request.peer.certificates.first() else { return Ok(None) };
        let (roots, generation) = self.roots.get();
        let remembered = request.peer.verified.lock().clone();
        if let Some(verified) = remembered.filter(|v| v.generation == generation && now <= v.not_after) {
            return Ok(Some(self.answer(verified.user)));
        }
        let not_after = chain::verify(&roots, &request.peer.certificates, now)
            .map_err(|error| Rejected(format!("verifying certificate failed: {error}")))?;
        let Some(user) = user_of(leaf)? else { return Ok(None) };
        let user = Arc::new(user);
        let verdict = VerifiedPeer { generation, not_after, user: user.clone() };
        *request.peer.verified.lock() = Some(verdict);
        Ok(Some(self.answer(user)))
    }

    fn answer(&self, user: Arc<UserInfo>) -> Authenticated {
        Authenticated { user, audiences: self.audiences.clone() }
    }
}

impl Authenticator for ClientCertificates {
    fn authenticate<'a>(
        &'a self,
        request: Request<'a>,
    ) -> BoxFuture<'a, Result<Option<Authenticated>, Rejected>> {
        Box::pin(async move { self.check(request, Timestamp::now().as_second()) })
    }
}

/// The last common name of the subject.
pub(super) fn common_name(certificate: &X509Certificate<'_>) -> String {
    let last = certificate.subject().iter_common_name().last();
    last.and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned()
}

/// The user a certificate stands for; none without a common name.
fn user_of(der: &[u8]) -> Result<Option<UserInfo>, Rejected> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| Rejected(error.to_string()))?;
    let name = common_name(&certificate);
    if name.is_empty() {
        return Ok(None);
    }
    let organizations = certificate.subject().iter_organization();
    let groups = organizations.filter_map(|group| group.as_str().ok().map(str::to_owned));
    let mut user = UserInfo::new(name, groups);
    user.uid = uid_of(&certificate)?;
    let fingerprint: String = Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
    user.extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={fingerprint}")]);
    Ok(Some(user))
}

fn uid_of(certificate: &X509Certificate<'_>) -> Result<String, Rejected> {
    let attributes = certificate.subject().iter_attributes();
    let mut uids = attributes.filter(|attribute| attribute.attr_type().to_id_string() == UID_ATTRIBUTE);
    let Some(uid) = uids.next() else { return Ok(String::new()) };
    if uids.next().is_some() {
        return Err(Rejected("expected 1 UID, but found multiple".to_owned()));
    }
    match uid.as_str() {
        Ok("") => Err(Rejected("UID cannot be an empty string".to_owned())),
        Ok(uid) => Ok(uid.to_owned()),
        Err(_) => Err(Rejected("unable to parse UID into a string".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::chain::tests::authority;
    use super::*;
    use rcgen::DnType;

    #[test]
    fn the_subject_is_the_user() {
        let der = authority("ca").leaf(|p| {
            p.distinguished_name = rcgen::DistinguishedName::new();
            p.distinguished_name.push(DnType::CommonName, "ann");
            p.distinguished_name.push(DnType::OrganizationName, "devs");
            p.distinguished_name.push(DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 57683, 2]), "uid-1");
        });
        let user = user_of(&der).unwrap().unwrap();
        assert_eq!(
            (user.name.as_str(), user.uid.as_str(), user.groups),
            ("ann", "uid-1", vec!["devs".to_owned()])
        );
        assert!(user.extra[CREDENTIAL_ID][0].starts_with("X509SHA256="));
    }

    #[test]
    fn without_a_common_name_there_is_no_user() {
        let der = authority("ca").leaf(|p| p.distinguished_name = rcgen::DistinguishedName::new());
        assert_eq!(user_of(&der).unwrap(), None);
    }
}
