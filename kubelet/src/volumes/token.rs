//! Service account tokens in volumes.

use k8s_openapi::api::core::v1::ServiceAccountTokenProjection;
use std::collections::HashMap;

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Request {
    /// Who accepts it; empty for the API server.
    pub audience: String,
    /// How long it is good for, in seconds.
    pub seconds: i64,
}

impl From<&ServiceAccountTokenProjection> for Request {
    fn from(p: &ServiceAccountTokenProjection) -> Request {
        const HOUR: i64 = 3600;
        Request {
            audience: p.audience.clone().unwrap_or_default(),
            seconds: p.expiration_seconds.unwrap_or(HOUR),
        }
    }
}

/// A token and its life.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// The token.
    pub value: String,
    /// Seconds since the epoch.
    pub issued: i64,
    /// Seconds since the epoch.
    pub expires: i64,
}

impl Token {
    /// When to get a new one: after four fifths of its life, and after a day at most.
    pub fn refresh_at(&self) -> i64 {
        const DAY: i64 = 24 * 3600;
        let life = self.expires - self.issued;
        self.issued + (life * 4 / 5).min(DAY)
    }
}

/// The tokens of all pods: by pod uid and request.
#[derive(Debug, Default)]
pub struct Tokens {
    map: HashMap<(String, Request), Token>,
}

impl Tokens {
    /// A token that needn't be renewed yet.
    pub fn fresh(&self, uid: &str, request: &Request, now: i64) -> Option<&Token> {
        self.map.get(&(uid.to_string(), request.clone())).filter(|t| now < t.refresh_at())
    }

    /// A token that can still be used, though it should be renewed.
    pub fn valid(&self, uid: &str, request: &Request, now: i64) -> Option<&Token> {
        self.map.get(&(uid.to_string(), request.clone())).filter(|t| now < t.expires)
    }

    /// Remembers a token.
    pub fn insert(&mut self, uid: &str, request: Request, token: Token) {
        self.map.insert((uid.to_string(), request), token);
    }

    /// Forgets a pod's tokens.
    pub fn forget(&mut self, uid: &str) {
        self.map.retain(|(owner, _), _| owner != uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_in_time() {
        let hour = Token { value: "t".into(), issued: 0, expires: 3600 };
        assert_eq!(hour.refresh_at(), 2880);
        let year = Token { value: "t".into(), issued: 0, expires: 365 * 86400 };
        assert_eq!(year.refresh_at(), 86400);
    }
}
