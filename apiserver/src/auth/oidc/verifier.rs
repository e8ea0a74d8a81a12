//! Finds an issuer and checks its tokens: who signed one, for whom it is, and when it is good.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::claims::{self, Claims};
use super::http::Client;
use super::keyset::KeySet;
use super::metrics::Fetches;
use super::{quoted, quoted_list};
use crate::auth::service_account::jwt::Jwt;

const WELL_KNOWN: &str = "/.well-known/openid-configuration";
/// How long it takes until an issuer is looked for again.
const RETRY: Duration = Duration::from_secs(10);
/// How much earlier than it says a token is good already.
const NOT_BEFORE_LEEWAY: i64 = 60;
/// An issuer that names itself without the scheme.
const GOOGLE: (&str, &str) = ("https://accounts.google.com", "accounts.google.com");

/// Whose tokens are accepted, and which of them.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    pub(super) issuer: String,
    pub(super) audiences: Vec<String>,
    pub(super) algorithms: Arc<[String]>,
}

/// Checks the tokens of an issuer that was found.
pub(super) struct Verifier {
    pub(super) accepted: Accepted,
    pub(super) keys: KeySet,
}

/// An issuer, which is looked for until it is found.
pub(super) struct Lookup {
    state: watch::Receiver<Result<Arc<Verifier>, String>>,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Drop for Lookup {
    fn drop(&mut self) {
        self.task.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Lookup {
    /// Begins to look. `is_measured`: whether metrics tell of the fetches of its keys.
    pub(super) fn start(client: Arc<Client>, accepted: Accepted, is_measured: bool) -> Lookup {
        let issuer = accepted.issuer.clone();
        let unknown = format!("oidc: authenticator for issuer {} is not initialized", quoted(&issuer));
        let (found, state) = watch::channel(Err(unknown));
        let task = tokio::spawn(async move {
            loop {
                match key_set_of(&client, &issuer).await {
                    Ok(url) => {
                        let fetches = is_measured.then(|| Fetches::new(&issuer));
                        let keys = KeySet::remote(client, url, fetches);
                        let _ = found.send(Ok(Arc::new(Verifier { accepted, keys })));
                        return;
                    }
                    Err(error) => {
                        tracing::error!(issuer, error, "An issuer of tokens can't be found yet");
                        let _ = found.send(Err(error));
                    }
                }
                tokio::time::sleep(RETRY).await;
            }
        });
        Lookup { state, task: Some(task) }
    }

    /// An issuer whose keys are known.
    #[cfg(test)]
    pub(super) fn found(verifier: Verifier) -> Lookup {
        Lookup { state: watch::channel(Ok(Arc::new(verifier))).1, task: None }
    }

    /// The issuer, if it was found, or why not.
    pub(super) fn get(&self) -> Result<Arc<Verifier>, String> {
        self.state.borrow().clone()
    }

    /// Waits until the issuer is found.
    pub(super) async fn ready(&self) {
        let mut state = self.state.clone();
        // The sender lives as long as the issuer is looked for.
        let _ = state.wait_for(Result::is_ok).await;
    }
}

#[derive(Deserialize)]
struct Discovery {
    #[serde(default)]
    issuer: String,
    #[serde(default)]
    jwks_uri: String,
}

/// Where the issuer says that its keys are.
async fn key_set_of(client: &Client, issuer: &str) -> Result<String, String> {
    let answer = client.get(&well_known(issuer), "").await?;
    if answer.status != http::StatusCode::OK {
        return Err(answer.shown());
    }
    let found: Discovery = answer
        .json()
        .map_err(|error| format!("oidc: failed to decode provider discovery object: {error}"))?;
    if found.issuer != issuer {
        return Err(format!(
            "oidc: issuer did not match the issuer returned by provider, expected {} got {}",
            quoted(issuer),
            quoted(&found.issuer)
        ));
    }
    if found.jwks_uri.is_empty() {
        return Err("provider did not return JWKS URL".to_owned());
    }
    Ok(found.jwks_uri)
}

/// The address at which an issuer's discovery document is looked for.
pub(super) fn well_known(issuer: &str) -> String {
    format!("{}{WELL_KNOWN}", issuer.strip_suffix('/').unwrap_or(issuer))
}

/// Who a token says that its issuer is, which nobody has checked.
pub(super) fn untrusted_issuer(jwt: &Jwt<'_>) -> Option<String> {
    let issuer = jwt.claims().get("iss").map_or(Ok(String::new()), claims::text).ok()?;
    Some(if issuer == GOOGLE.1 { GOOGLE.0.to_owned() } else { issuer })
}

impl Verifier {
    /// The claims of a token, if it is good at this time.
    pub(super) async fn verify(&self, jwt: &Jwt<'_>, now: Timestamp) -> Result<Claims, String> {
        let accepted = &self.accepted;
        if !accepted.algorithms.iter().any(|algorithm| algorithm == jwt.algorithm()) {
            return Err(format!(
                "oidc: id token signed with unsupported algorithm, expected {} got {}",
                quoted_list(&accepted.algorithms),
                quoted(jwt.algorithm())
            ));
        }
        let unsigned = |error| format!("failed to verify signature: {error}");
        self.keys.verify(jwt).await.map_err(unsigned)?;
        let standard = Standard::read(jwt.claims());
        let standard = standard.map_err(unreadable)?;
        check_sources(jwt.claims())?;
        self.check(&standard, now)?;
        Ok(Claims(jwt.claims().clone()))
    }

    fn check(&self, token: &Standard, now: Timestamp) -> Result<(), String> {
        let Accepted { issuer, audiences, .. } = &self.accepted;
        if token.issuer != *issuer && (issuer.as_str(), token.issuer.as_str()) != GOOGLE {
            return Err(format!(
                "oidc: id token issued by a different provider, expected {} got {}",
                quoted(issuer),
                quoted(&token.issuer)
            ));
        }
        if !token.audiences.iter().any(|audience| audiences.contains(audience)) {
            let expected = match audiences.as_slice() {
                [only] => format!("expected audience {}", quoted(only)),
                several => {
                    let mut several = several.to_vec();
                    several.sort_unstable();
                    format!("expected audience in {}", quoted_list(&several))
                }
            };
            return Err(format!("oidc: {expected} got {}", quoted_list(&token.audiences)));
        }
        let expired = token.expiry.is_none_or(|expiry| {
            let seconds = now.as_second();
            expiry < seconds || (expiry == seconds && now.subsec_nanosecond() > 0)
        });
        if expired {
            return Err(format!("oidc: token is expired (Token Expiry: {})", shown(token.expiry)));
        }
        match token.not_before {
            Some(from) if now.as_second().saturating_add(NOT_BEFORE_LEEWAY) < from => Err(format!(
                "oidc: current time {} before the nbf (not before) time: {}",
                shown(Some(now.as_second())),
                shown(Some(from))
            )),
            _ => Ok(()),
        }
    }
}

/// A time as Go shows it; none is the beginning of its calendar.
fn shown(seconds: Option<i64>) -> String {
    let Some(seconds) = seconds else { return "0001-01-01 00:00:00 +0000 UTC".to_owned() };
    match Timestamp::from_second(seconds) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string(),
        Err(_) => seconds.to_string(),
    }
}

/// The claims that every token has.
struct Standard {
    issuer: String,
    audiences: Vec<String>,
    expiry: Option<i64>,
    not_before: Option<i64>,
}

impl Standard {
    fn read(claims: &Map<String, Value>) -> Result<Standard, String> {
        let text = |name: &str| claims.get(name).map_or(Ok(String::new()), claims::text);
        let time = |name: &str| claims.get(name).map(claims::seconds).transpose();
        for name in ["sub", "nonce", "at_hash"] {
            text(name)?;
        }
        time("iat")?;
        Ok(Standard {
            issuer: text("iss")?,
            audiences: claims.get("aud").map_or(Ok(Vec::new()), audiences)?,
            expiry: time("exp")?,
            not_before: claims.get("nbf").filter(|from| !from.is_null()).map(claims::seconds).transpose()?,
        })
    }
}

fn audiences(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::String(_) | Value::Null => claims::text(value).map(|one| vec![one]),
        Value::Array(items) => items.iter().map(claims::text).collect(),
        other => Err(claims::mismatch(other, "[]string")),
    }
}

fn unreadable(error: String) -> String {
    format!("oidc: failed to unmarshal claims: {error}")
}

/// Claims that are kept elsewhere must have a source.
fn check_sources(claims: &Map<String, Value>) -> Result<(), String> {
    let part = |name: &str| match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(map)) => Ok(Some(map)),
        Some(other) => Err(unreadable(claims::mismatch(other, "map[string]string"))),
    };
    let (names, sources) = (part("_claim_names")?, part("_claim_sources")?);
    for source in names.into_iter().flat_map(Map::values) {
        match claims::text(source).map_err(unreadable)?.as_str() {
            "" => return Err("oidc: failed to obtain source from claim name".to_owned()),
            source if !sources.is_some_and(|sources| sources.contains_key(source)) => {
                return Err("oidc: source does not exist".to_owned());
            }
            _ => {}
        }
    }
    Ok(())
}
