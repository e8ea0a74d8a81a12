//! Who is asking: each way of proving an identity, and the order in which they are tried.
//!
//! Credentials that are present but not good end the request, unless another kind is good too;
//! they never make it anonymous.

pub mod bearer;
pub mod bootstrap_token;
pub mod chain;
pub mod file;
pub mod request_header;
pub mod token_file;
pub mod x509;

use std::sync::Arc;

use futures::future::BoxFuture;

use super::oidc::config::Anonymous;
use super::text::aggregate;
use super::{AUTHENTICATED, Authenticated, Authenticator, Rejected, Request, UNAUTHENTICATED, UserInfo};

/// Tries each kind of credentials in turn, then lets the request be anonymous if that is allowed.
pub struct Union {
    pub authenticators: Vec<Arc<dyn Authenticator>>,
    /// Which requests without credentials are served.
    pub anonymous: Anonymous,
}

impl Union {
    fn is_anonymous(&self, path: &str) -> bool {
        let Anonymous { enabled, conditions } = &self.anonymous;
        *enabled && (conditions.is_empty() || conditions.iter().any(|condition| condition.path == path))
    }
}

impl Authenticator for Union {
    fn authenticate<'a>(
        &'a self,
        request: Request<'a>,
    ) -> BoxFuture<'a, Result<Option<Authenticated>, Rejected>> {
        Box::pin(async move {
            let mut errors = Vec::new();
            for one in &self.authenticators {
                match one.authenticate(request).await {
                    Ok(Some(found)) => return Ok(Some(with_authenticated_group(found))),
                    Ok(None) => {}
                    Err(error) => errors.push(error.0),
                }
            }
            if !errors.is_empty() {
                return Err(Rejected(aggregate(&errors)));
            }
            let anonymous = || Authenticated { user: Arc::new(UserInfo::anonymous()), audiences: Vec::new() };
            Ok(self.is_anonymous(request.uri.path()).then(anonymous))
        })
    }
}

/// Everyone who proved an identity is in one group; a proxy may say that its user did not.
pub fn with_authenticated_group(found: Authenticated) -> Authenticated {
    let user = &found.user;
    if user.name == super::ANONYMOUS || user.in_group(AUTHENTICATED) || user.in_group(UNAUTHENTICATED) {
        return found;
    }
    let mut user = UserInfo::clone(user);
    user.groups.push(AUTHENTICATED.to_owned());
    Authenticated { user: Arc::new(user), ..found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::oidc::config::AnonymousCondition;

    struct Fixed(Result<Option<&'static str>, &'static str>);

    impl Authenticator for Fixed {
        fn authenticate<'a>(
            &'a self,
            _: Request<'a>,
        ) -> BoxFuture<'a, Result<Option<Authenticated>, Rejected>> {
            let user =
                |name: &str| Authenticated { user: Arc::new(UserInfo::new(name, [])), audiences: vec![] };
            let result = self.0.map(|name| name.map(user)).map_err(|error| Rejected(error.to_owned()));
            Box::pin(async move { result })
        }
    }

    async fn ask(kinds: Vec<Fixed>, enabled: bool) -> Result<Option<String>, String> {
        let authenticators = kinds.into_iter().map(|kind| Arc::new(kind) as Arc<dyn Authenticator>);
        let anonymous = Anonymous { enabled, conditions: Vec::new() };
        let union = Union { authenticators: authenticators.collect(), anonymous };
        let peer = super::super::Peer {
            address: ([127, 0, 0, 1], 1).into(),
            certificates: Vec::new(),
            leave: Default::default(),
            verified: Default::default(),
        };
        let (method, uri, headers) = (http::Method::GET, http::Uri::from_static("/"), http::HeaderMap::new());
        let request = Request { method: &method, uri: &uri, headers: &headers, peer: &peer };
        let found = union.authenticate(request).await.map_err(|error| error.0)?;
        Ok(found.map(|found| format!("{} {}", found.user.name, found.user.groups.join(","))))
    }

    #[tokio::test]
    async fn the_first_good_credential_counts() {
        let none = || Fixed(Ok(None));
        let bad = || Fixed(Err("bad"));
        let ann = || Fixed(Ok(Some("ann")));
        let authenticated = Ok(Some("ann system:authenticated".to_owned()));
        assert_eq!(ask(vec![none(), ann()], true).await, authenticated);
        assert_eq!(ask(vec![bad(), ann()], true).await, authenticated);
        // Bad credentials never make a request anonymous.
        assert_eq!(ask(vec![none(), bad(), none()], true).await, Err("bad".to_owned()));
        let anonymous = Ok(Some("system:anonymous system:unauthenticated".to_owned()));
        assert_eq!(ask(vec![none()], true).await, anonymous);
        assert_eq!(ask(vec![none()], false).await, Ok(None));
    }

    #[test]
    fn anonymous_requests_may_be_limited_to_paths() {
        let union = |enabled, paths: &[&str]| {
            let conditions =
                paths.iter().map(|path| AnonymousCondition { path: (*path).to_owned() }).collect();
            Union { authenticators: Vec::new(), anonymous: Anonymous { enabled, conditions } }
        };
        assert!(union(true, &[]).is_anonymous("/api"));
        assert!(union(true, &["/livez", "/readyz"]).is_anonymous("/readyz"));
        assert!(!union(true, &["/livez"]).is_anonymous("/livez/x"));
        assert!(!union(false, &["/livez"]).is_anonymous("/livez"));
    }
}
