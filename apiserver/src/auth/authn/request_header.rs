//! Identities asserted by a trusted front proxy in request headers.
//!
//! The headers count only when the proxy proves itself with a certificate; without one they are
//! what anyone could have sent.

use std::sync::Arc;

use futures::future::BoxFuture;
use http::HeaderMap;
use jiff::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::chain::{self, Roots};
use super::file::FileSource;
use super::x509::common_name;
use crate::auth::{Authenticated, Authenticator, Rejected, Request, UserInfo};

/// Names of the headers that carry an identity.
#[derive(Clone, Debug, Default)]
pub struct HeaderNames {
    pub user: Vec<String>,
    pub uid: Vec<String>,
    pub group: Vec<String>,
    pub extra_prefix: Vec<String>,
}

/// Authenticates by the headers of a front proxy.
pub struct FrontProxy {
    roots: FileSource<Roots>,
    allowed_names: Vec<String>,
    headers: HeaderNames,
}

impl FrontProxy {
    /// Trusts proxies with certificates of these authorities and one of these names (none: any).
    pub fn new(roots: FileSource<Roots>, allowed_names: Vec<String>, headers: HeaderNames) -> Self {
        FrontProxy { roots, allowed_names, headers }
    }

    fn check(&self, request: Request<'_>, now: i64) -> Result<Option<Authenticated>, Rejected> {
        let Some(leaf) = request.peer.certificates.first() else { return Ok(None) };
        // A client with a certificate of its own need not be a proxy: no headers, no opinion.
        let Some(user) = user_in(request.headers, &self.headers) else { return Ok(None) };
        let (roots, _) = self.roots.get();
        chain::verify(&roots, &request.peer.certificates, now)
            .map_err(|error| Rejected(error.to_string()))?;
        let (_, certificate) = X509Certificate::from_der(leaf).map_err(|e| Rejected(e.to_string()))?;
        let name = common_name(&certificate);
        if !self.allowed_names.is_empty() && !self.allowed_names.contains(&name) {
            return Err(Rejected(format!("x509: subject with cn={name} is not in the allowed list")));
        }
        Ok(Some(Authenticated { user: Arc::new(user), audiences: Vec::new() }))
    }
}

impl Authenticator for FrontProxy {
    fn authenticate<'a>(
        &'a self,
        request: Request<'a>,
    ) -> BoxFuture<'a, Result<Option<Authenticated>, Rejected>> {
        Box::pin(async move { self.check(request, Timestamp::now().as_second()) })
    }
}

/// The asserted user; none without a user name.
pub fn user_in(headers: &HeaderMap, names: &HeaderNames) -> Option<UserInfo> {
    let first = |names: &[String]| {
        names
            .iter()
            .filter_map(|name| headers.get(name.as_str())?.to_str().ok())
            .find(|value| !value.is_empty())
            .unwrap_or_default()
            .to_owned()
    };
    let name = first(&names.user);
    if name.is_empty() {
        return None;
    }
    let groups = names
        .group
        .iter()
        .flat_map(|name| headers.get_all(name.as_str()))
        .filter_map(|value| value.to_str().ok().map(str::to_owned));
    let mut user = UserInfo::new(name, groups);
    user.uid = first(&names.uid);
    for prefix in &names.extra_prefix {
        collect_extra(headers, &prefix.to_ascii_lowercase(), &mut user);
    }
    Some(user)
}

/// Adds the headers with this prefix (lower-case) to the user's extra.
pub(in crate::auth) fn collect_extra(headers: &HeaderMap, prefix: &str, user: &mut UserInfo) {
    for (name, value) in headers {
        let Some(key) = name.as_str().strip_prefix(prefix) else { continue };
        let Ok(value) = value.to_str() else { continue };
        user.extra.entry(unescape(key)).or_default().push(value.to_owned());
    }
}

/// Decodes percent escapes; a key with a broken one is taken as it is.
fn unescape(key: &str) -> String {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte != b'%' {
            bytes.push(byte);
            rest = tail;
            continue;
        }
        let digit = |index: usize| tail.get(index).and_then(|&d| char::from(d).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else { return key.to_owned() };
        bytes.push((high * 16 + low) as u8);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).unwrap_or_else(|_| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn names() -> HeaderNames {
        let one = |name: &str| vec![name.to_owned()];
        HeaderNames {
            user: one("X-Remote-User"),
            uid: one("X-Remote-Uid"),
            group: one("X-Remote-Group"),
            extra_prefix: one("X-Remote-Extra-"),
        }
    }

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| {
                (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static(value))
            })
            .collect()
    }

    #[test]
    fn reads_user_groups_and_extra() {
        let user = user_in(
            &headers(&[
                ("X-Remote-User", "ann"),
                ("X-Remote-Uid", "u"),
                ("X-Remote-Group", "a"),
                ("X-Remote-Group", "b"),
                ("X-Remote-Extra-Acme.com%2fproject", "x"),
                ("X-Remote-Extra-bad%zz", "y"),
            ]),
            &names(),
        )
        .unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("ann", "u"));
        assert_eq!(user.groups, ["a", "b"]);
        assert_eq!(user.extra["acme.com/project"], ["x"]);
        assert_eq!(user.extra["bad%zz"], ["y"]);
    }

    #[test]
    fn without_a_user_there_is_no_identity() {
        assert!(user_in(&headers(&[("X-Remote-Group", "system:masters")]), &names()).is_none());
        assert!(user_in(&headers(&[("X-Remote-User", "")]), &names()).is_none());
    }
}
