//! The keys of an issuer as they are remembered, and read again when they are too old to know a token's key.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use http::{HeaderMap, header};
use jiff::fmt::rfc2822;
use parking_lot::Mutex;

use super::http::{Client, status_text};
use super::jwks::{Document, Key};
use super::metrics::Fetches;
use crate::auth::service_account::jwt::Jwt;

/// How much earlier than they expire keys may be read again.
const EARLIER: Duration = Duration::from_secs(30);
/// How long keys live at most that only tell when they last changed.
const GUESS_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const UNVERIFIED: &str = "failed to verify id token signature";

type Fetched = Result<Arc<Vec<Key>>, String>;

/// The keys at an address.
pub(super) struct KeySet {
    remote: Option<Arc<Remote>>,
    state: Arc<Mutex<State>>,
}

struct Remote {
    client: Arc<Client>,
    url: String,
    fetches: Option<Fetches>,
}

struct State {
    keys: Arc<Vec<Key>>,
    expiry: SystemTime,
    /// A fetch under way, which all wait for who need one.
    under_way: Option<Shared<BoxFuture<'static, Fetched>>>,
}

impl KeySet {
    /// Keys that are read when they are first needed.
    pub(super) fn remote(client: Arc<Client>, url: String, fetches: Option<Fetches>) -> KeySet {
        let state = State { keys: Arc::default(), expiry: SystemTime::UNIX_EPOCH, under_way: None };
        let remote = Some(Arc::new(Remote { client, url, fetches }));
        KeySet { remote, state: Arc::new(Mutex::new(state)) }
    }

    /// Keys that never change.
    #[cfg(test)]
    pub(super) fn fixed(keys: Vec<Key>) -> KeySet {
        let state = State { keys: Arc::new(keys), expiry: SystemTime::UNIX_EPOCH, under_way: None };
        KeySet { remote: None, state: Arc::new(Mutex::new(state)) }
    }

    /// Whether one of the keys signed the token: the key that it names, else any.
    pub(super) async fn verify(&self, jwt: &Jwt<'_>) -> Result<(), String> {
        let (known, expiry) = {
            let state = self.state.lock();
            (state.keys.clone(), state.expiry)
        };
        // Even old keys are good, in case the issuer can't be reached.
        if is_signed_by_one_of(jwt, &known) {
            return Ok(());
        }
        if SystemTime::now() + EARLIER <= expiry {
            return Err(UNVERIFIED.to_owned());
        }
        let keys = self.fetch().await.map_err(|error| format!("fetching keys {error}"))?;
        if is_signed_by_one_of(jwt, &keys) { Ok(()) } else { Err(UNVERIFIED.to_owned()) }
    }

    async fn fetch(&self) -> Fetched {
        let Some(remote) = self.remote.clone() else { return Ok(self.state.lock().keys.clone()) };
        let under_way = {
            let mut state = self.state.lock();
            let shared = self.state.clone();
            state.under_way.get_or_insert_with(|| start(remote, shared)).clone()
        };
        under_way.await
    }
}

/// Starts a fetch, which goes on when nobody waits for it any more.
fn start(remote: Arc<Remote>, state: Arc<Mutex<State>>) -> Shared<BoxFuture<'static, Fetched>> {
    let task = tokio::spawn(async move {
        let fetched = remote.fetch().await;
        let mut state = state.lock();
        state.under_way = None;
        let (keys, expiry) = fetched?;
        state.keys = Arc::new(keys);
        state.expiry = expiry;
        Ok(state.keys.clone())
    });
    let ended = async move { task.await.unwrap_or_else(|error| Err(error.to_string())) };
    ended.boxed().shared()
}

impl Remote {
    async fn fetch(&self) -> Result<(Vec<Key>, SystemTime), String> {
        let fetched = self.read().await;
        if let Some(fetches) = &self.fetches {
            fetches.record(fetched.as_ref().ok().map(|(_, body, _)| &**body));
        }
        fetched.map(|(keys, _, expiry)| (keys, expiry))
    }

    async fn read(&self) -> Result<(Vec<Key>, bytes::Bytes, SystemTime), String> {
        let answer = self.client.get(&self.url, "").await;
        let answer = answer.map_err(|error| format!("oidc: get keys failed {error}"))?;
        if answer.status != http::StatusCode::OK {
            let said = String::from_utf8_lossy(&answer.body);
            return Err(format!("oidc: get keys failed: {} {said}", status_text(answer.status)));
        }
        let keys = answer.json::<Document>().and_then(Document::keys).map_err(|error| {
            format!("oidc: failed to decode keys: {error} {}", String::from_utf8_lossy(&answer.body))
        })?;
        let now = SystemTime::now();
        Ok((keys, answer.body, expiry(&answer.headers, now).unwrap_or(now).max(now)))
    }
}

fn is_signed_by_one_of(jwt: &Jwt<'_>, keys: &[Key]) -> bool {
    let named = |key: &&Key| jwt.key_id().is_empty() || key.id() == jwt.key_id();
    keys.iter().filter(named).any(|key| key.verifies(jwt.algorithm(), jwt.signed(), jwt.signature()))
}

/// Until when an answer may be kept, as far as its headers tell.
fn expiry(headers: &HeaderMap, now: SystemTime) -> Option<SystemTime> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let date = |name| match text(name) {
        None => Some(None),
        Some(text) => date(text).map(Some),
    };
    let (mut shared, mut private) = (None, None);
    for directive in text(header::CACHE_CONTROL).unwrap_or_default().split(',') {
        let Some((name, value)) = directive.split_once('=') else { continue };
        let age = match name.trim().to_ascii_lowercase().as_str() {
            "s-maxage" => &mut shared,
            "max-age" => &mut private,
            _ => continue,
        };
        *age = Some(Duration::from_secs(value.trim().trim_matches('"').parse::<u32>().ok()?.into()));
    }
    // A date that is none means that nothing is known, except of the expiry, which is often "0".
    let (served, modified) = (date(header::DATE)?, date(header::LAST_MODIFIED)?);
    let expires = text(header::EXPIRES).and_then(self::date);
    if let Some(age) = shared.or(private) {
        return now.checked_add(age);
    }
    match (expires, modified) {
        (Some(expires), _) => {
            now.checked_add(expires.duration_since(served.unwrap_or(now)).unwrap_or_default())
        }
        (None, Some(modified)) => {
            let tenth = now.duration_since(modified).unwrap_or_default() / 10;
            now.checked_add(tenth.min(GUESS_MAX))
        }
        (None, None) => None,
    }
}

fn date(text: &str) -> Option<SystemTime> {
    rfc2822::parse(text).ok().map(|date| date.timestamp().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_expire() {
        let now = date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let life = |headers: &[(&'static str, &str)]| {
            let headers = headers.iter().map(|(name, value)| {
                (http::HeaderName::from_static(name), http::HeaderValue::from_str(value).unwrap())
            });
            expiry(&headers.collect(), now).map(|at| at.duration_since(now).unwrap().as_secs())
        };
        assert_eq!(life(&[]), None);
        assert_eq!(life(&[("cache-control", "public, max-age=60")]), Some(60));
        assert_eq!(life(&[("cache-control", "max-age=60, S-MaxAge=\"5\"")]), Some(5));
        assert_eq!(life(&[("cache-control", "no-store")]), None);
        assert_eq!(
            life(&[("cache-control", "max-age=x"), ("expires", "Sun, 06 Nov 1994 09:49:37 GMT")]),
            None
        );
        let expires = ("expires", "Sun, 06 Nov 1994 09:49:37 GMT");
        assert_eq!(life(&[expires]), Some(3600));
        assert_eq!(life(&[expires, ("date", "Sun, 06 Nov 1994 09:49:27 GMT")]), Some(10));
        assert_eq!(life(&[expires, ("date", "now")]), None);
        assert_eq!(life(&[("expires", "0")]), None);
        assert_eq!(life(&[("last-modified", "Sun, 06 Nov 1994 08:48:37 GMT")]), Some(6));
        assert_eq!(life(&[("last-modified", "Sat, 06 Nov 1993 08:48:37 GMT")]), Some(86_400));
    }
}
