//! Bearer tokens: where a request carries them, and what is remembered about them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::BoxFuture;
use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::auth::text::aggregate;
use crate::auth::{Authenticated, Authenticator, Rejected, Request, TokenAuthenticator};

/// Prefix of the WebSocket subprotocol in which browsers, which can't set headers, send a token.
const WEBSOCKET_PREFIX: &str = "base64url.bearer.authorization.k8s.io.";
/// How long a good token is not checked again.
const REMEMBERED_FOR: Duration = Duration::from_secs(10);
/// Tokens remembered at once, at most.
const REMEMBERED_MAX: usize = 4096;

/// Authenticates requests by their bearer token.
pub struct BearerToken {
    pub tokens: Arc<dyn TokenAuthenticator>,
}

impl Authenticator for BearerToken {
    fn authenticate<'a>(
        &'a self,
        request: Request<'a>,
    ) -> BoxFuture<'a, Result<Option<Authenticated>, Rejected>> {
        Box::pin(async move {
            let from_websocket = websocket_token(request.headers);
            let Some(token) = header_token(request.headers).or(from_websocket.as_deref()) else {
                return Ok(None);
            };
            match self.tokens.authenticate_token(token, &[]).await? {
                Some(found) => Ok(Some(found)),
                None => Err(Rejected("invalid bearer token".to_owned())),
            }
        })
    }
}

fn header_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
    let mut parts = value.splitn(3, ' ');
    let (scheme, token) = (parts.next()?, parts.next()?);
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn websocket_token(headers: &HeaderMap) -> Option<String> {
    let upgrade = headers.get(UPGRADE)?.to_str().ok()?;
    if !upgrade.eq_ignore_ascii_case("websocket") {
        return None;
    }
    let protocols = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let encoded = protocols
        .flat_map(|list| list.split(','))
        .find_map(|protocol| protocol.trim().strip_prefix(WEBSOCKET_PREFIX))?;
    String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok().filter(|token| !token.is_empty())
}

/// Asks each in turn; the first that knows the token decides.
pub struct TokenUnion(pub Vec<Arc<dyn TokenAuthenticator>>);

impl TokenAuthenticator for TokenUnion {
    fn authenticate_token<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Result<Option<Authenticated>, Rejected>> {
        Box::pin(async move {
            let mut errors = Vec::new();
            for one in &self.0 {
                match one.authenticate_token(token, audiences).await {
                    Ok(Some(found)) => return Ok(Some(found)),
                    Ok(None) => {}
                    Err(error) => errors.push(error.0),
                }
            }
            if errors.is_empty() { Ok(None) } else { Err(Rejected(aggregate(&errors))) }
        })
    }
}

/// Tokens of a kind that knows no audiences: they are for the server itself, and for no one else.
pub struct AudienceAgnostic {
    pub inner: Arc<dyn TokenAuthenticator>,
    /// The server's own audiences.
    pub api_audiences: Vec<String>,
}

impl TokenAuthenticator for AudienceAgnostic {
    fn authenticate_token<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Result<Option<Authenticated>, Rejected>> {
        Box::pin(async move {
            let wanted = if audiences.is_empty() { &self.api_audiences } else { audiences };
            let own = wanted.iter().filter(|audience| self.api_audiences.contains(audience));
            let matched: Vec<String> = own.cloned().collect();
            if matched.is_empty() && !wanted.is_empty() {
                return Ok(None);
            }
            let found = self.inner.authenticate_token(token, audiences).await?;
            Ok(found.map(|found| Authenticated { audiences: matched, ..found }))
        })
    }
}

/// Remembers good tokens for a while, by hash; refusals are never remembered.
pub struct TokenCache {
    inner: Arc<dyn TokenAuthenticator>,
    good: Mutex<HashMap<[u8; 32], (Instant, Authenticated)>>,
}

impl TokenCache {
    /// Remembers what `inner` accepts.
    pub fn new(inner: Arc<dyn TokenAuthenticator>) -> Self {
        TokenCache { inner, good: Mutex::default() }
    }

    fn remember(&self, key: [u8; 32], found: &Authenticated) {
        let mut good = self.good.lock();
        if good.len() >= REMEMBERED_MAX {
            good.retain(|_, (since, _)| since.elapsed() < REMEMBERED_FOR);
        }
        if good.len() < REMEMBERED_MAX {
            good.insert(key, (Instant::now(), found.clone()));
        }
    }
}

fn cache_key(token: &str, audiences: &[String]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in std::iter::once(token).chain(audiences.iter().map(String::as_str)) {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

impl TokenAuthenticator for TokenCache {
    fn authenticate_token<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Result<Option<Authenticated>, Rejected>> {
        Box::pin(async move {
            let key = cache_key(token, audiences);
            let known = self.good.lock().get(&key).cloned();
            if let Some((_, found)) = known.filter(|(since, _)| since.elapsed() < REMEMBERED_FOR) {
                return Ok(Some(found));
            }
            let result = self.inner.authenticate_token(token, audiences).await?;
            if let Some(found) = &result {
                self.remember(key, found);
            }
            Ok(result)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn tokens_in_headers() {
        for (value, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer abc", Some("abc")),
            ("  BEARER abc  ", Some("abc")),
            ("Bearer abc def", Some("abc")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Basic abc", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_static(value));
            assert_eq!(header_token(&headers), token, "{value}");
        }
    }

    #[test]
    fn tokens_in_websocket_protocols() {
        let mut headers = HeaderMap::new();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        let list = "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.YWJj";
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(list));
        assert_eq!(websocket_token(&headers).as_deref(), Some("abc"));
        headers.remove(UPGRADE);
        assert_eq!(websocket_token(&headers), None);
    }

    struct Anyone;

    impl TokenAuthenticator for Anyone {
        fn authenticate_token<'a>(
            &'a self,
            _: &'a str,
            _: &'a [String],
        ) -> BoxFuture<'a, Result<Option<Authenticated>, Rejected>> {
            Box::pin(async { Ok(Some(Authenticated { user: Arc::default(), audiences: Vec::new() })) })
        }
    }

    #[tokio::test]
    async fn tokens_without_audience_are_not_for_others() {
        let tokens = AudienceAgnostic { inner: Arc::new(Anyone), api_audiences: vec!["api".to_owned()] };
        let ask = async |wanted: &[String]| tokens.authenticate_token("t", wanted).await.unwrap();
        assert_eq!(ask(&[]).await.unwrap().audiences, ["api"]);
        assert_eq!(ask(&["api".to_owned(), "x".to_owned()]).await.unwrap().audiences, ["api"]);
        assert!(ask(&["x".to_owned()]).await.is_none());
    }

    #[test]
    fn cache_keys_don_t_run_together() {
        let audiences = |list: &[&str]| list.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>();
        assert_ne!(cache_key("ab", &audiences(&["c"])), cache_key("a", &audiences(&["bc"])));
        assert_ne!(cache_key("a", &audiences(&["b", "c"])), cache_key("a", &audiences(&["bc"])));
    }
}
