//! The identity that each controller acts under.
//!
//! With service account credentials, a controller is `system:serviceaccount:kube-system:<account>`, and
//! may do only what the role of that account allows. Its tokens are asked for when needed and renewed
//! well before they expire.

use std::sync::Arc;
use std::time::{Duration, Instant};

use component_base::client::known::SERVICE_ACCOUNTS;
use component_base::client::{Auth, Client, Config, ConfigError, Error};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

const NAMESPACE: &str = "kube-system";
const TOKEN_SECONDS: u64 = 3600;

/// Makes the clients of controllers.
pub(crate) struct Identities {
    own: Client,
    /// A client without credentials; none if controllers act as the daemon.
    bare: Option<Client>,
}

#[derive(Deserialize)]
struct TokenRequest {
    status: TokenStatus,
}

#[derive(Deserialize)]
struct TokenStatus {
    token: String,
}

impl Identities {
    /// Clients of the server that `config` names; `own` is the daemon's.
    pub(crate) fn new(own: Client, config: &Config, use_accounts: bool) -> Result<Self, ConfigError> {
        let bare = use_accounts
            .then(|| {
                let mut config = config.clone();
                config.identity = None;
                config.auth = Auth::None;
                Client::new(config)
            })
            .transpose()?;
        Ok(Identities { own, bare })
    }

    /// The client that acts as `account`.
    pub(crate) fn client(&self, account: &'static str) -> Client {
        let Some(bare) = &self.bare else { return self.own.named(account) };
        let own = self.own.clone();
        let held: Arc<Mutex<Option<(String, Instant)>>> = Arc::default();
        let provider = Arc::new(move || {
            let (own, held) = (own.clone(), held.clone());
            let token = async move {
                let mut held = held.lock().await;
                if let Some((token, until)) = &*held
                    && Instant::now() < *until
                {
                    return Ok(token.clone());
                }
                let token = request(&own, account).await.map_err(|e| e.to_string())?;
                let until = Instant::now() + Duration::from_secs(TOKEN_SECONDS / 5 * 4);
                *held = Some((token.clone(), until));
                Ok(token)
            };
            Box::pin(token) as futures::future::BoxFuture<'static, Result<String, String>>
        });
        bare.named(account).with_auth(Auth::Provider(provider))
    }
}

/// Asks for a token, and makes the account first if it is missing.
async fn request(own: &Client, account: &str) -> Result<String, Error> {
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": TOKEN_SECONDS},
    });
    let resource = SERVICE_ACCOUNTS.sub("token");
    let ask = || own.create_sub::<TokenRequest>(&resource, NAMESPACE, account, &body);
    match ask().await {
        Err(error) if error.is_not_found() => {
            let object = json!({
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": account, "namespace": NAMESPACE},
            });
            match own.create::<Value>(&SERVICE_ACCOUNTS, NAMESPACE, &object).await {
                Err(error) if !error.is_already_exists() => return Err(error),
                _ => {}
            }
            ask().await
        }
        outcome => outcome,
    }
    .map(|answer| answer.status.token)
}
