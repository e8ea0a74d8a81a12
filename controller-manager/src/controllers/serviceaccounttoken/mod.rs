//! Long-lived tokens of service accounts, in secrets that ask for them.
//!
//! Watches service accounts and the secrets of this type. Such a secret gets a token, the server's
//! authorities and its namespace, and goes when its account goes.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use component_base::client::DeleteOptions;
use component_base::client::known::{SECRETS, SERVICE_ACCOUNTS};
use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store, Watch};
use proto::meta::{Key, ObjectMeta};
use serde_json::{Value, json};
use sha2::Digest as _;

use crate::api::core::{Metadata, Secret};
use crate::common::keys::SigningKey;
use crate::common::write;
use crate::context::{Controller, enqueue_changes};

const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
const BY_ACCOUNT: &str = "account";

struct Tokens {
    controller: Arc<Controller>,
    secrets: Store<Secret>,
    accounts: Store<Metadata>,
    key: SigningKey,
    authorities: String,
}

/// Starts the controller, if it has a key to sign with.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let flags = controller.flags();
    let Some(path) = flags.non_empty("service-account-private-key-file") else {
        tracing::info!("Skipping service account token controller because no private key is given");
        return Ok(());
    };
    let read = |path: &str| std::fs::read(path).map_err(|e| anyhow::anyhow!("error reading {path}: {e}"));
    let key = SigningKey::from_pem(&read(path)?)
        .map_err(|e| anyhow::anyhow!("error reading key for service account token controller: {e}"))?;
    let authorities = match flags.non_empty("root-ca-file") {
        Some(path) => String::from_utf8(read(path)?)?,
        None => controller.server_authorities().unwrap_or_default(),
    };
    let workers = usize::try_from(flags.int("concurrent-serviceaccount-token-syncs")).unwrap_or(5);
    let secrets: Store<Secret> =
        controller.informers().watch(Watch::new(SECRETS).fields(format!("type={TYPE}")));
    secrets.add_index(BY_ACCOUNT, |secret: &Secret| vec![account_key(secret).to_string()]);
    let this = Arc::new(Tokens {
        accounts: controller.store(&SERVICE_ACCOUNTS),
        secrets,
        key,
        authorities,
        controller: controller.clone(),
    });
    let queue: Queue<Key> = Queue::new("serviceaccount_tokens_secret");
    enqueue_changes(&this.secrets, &queue);
    let (own, keys) = (this.clone(), queue.clone());
    this.accounts.subscribe(move |change: &Change<Metadata>| {
        let uid = |m: &Arc<Metadata>| m.metadata.uid.clone();
        if change.old.as_ref().map(uid) != change.new.as_ref().map(uid) {
            for secret in own.secrets.by_index(BY_ACCOUNT, &change.key().to_string()) {
                keys.add(secret.metadata.key());
            }
        }
    });
    let own = this.clone();
    let ready = async move {
        own.secrets.synced().await;
        own.accounts.synced().await;
    };
    controller.run(&queue, workers, ready, move |key| {
        let this = this.clone();
        async move { this.sync(&key).await }
    });
    Ok(())
}

fn account_key(secret: &Secret) -> Key {
    let name = secret.metadata.annotations.get(ACCOUNT_NAME).cloned().unwrap_or_default();
    Key::new(secret.metadata.namespace.as_str(), name)
}

/// What the secret lacks.
#[derive(Debug, Default, PartialEq)]
struct Missing {
    authorities: bool,
    namespace: bool,
    token: bool,
}

fn missing(secret: &Secret, authorities: &str) -> Missing {
    let get = |key: &str| secret.data.get(key).map(String::as_str).unwrap_or_default();
    Missing {
        authorities: !authorities.is_empty() && get("ca.crt") != STANDARD.encode(authorities),
        namespace: get("namespace").is_empty(),
        token: get("token").is_empty(),
    }
}

impl Tokens {
    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(secret) = self.secrets.get_key(key) else { return Ok(Next::Done) };
        let account = account_key(&secret);
        if account.name.is_empty() {
            return Ok(Next::Done);
        }
        let wanted = secret.metadata.annotations.get(ACCOUNT_UID).filter(|uid| !uid.is_empty());
        let matches = |m: &ObjectMeta| wanted.is_none_or(|uid| m.uid == *uid);
        let cached = self.accounts.get_key(&account).filter(|a| matches(&a.metadata));
        let found = match cached {
            Some(found) => Some(found.metadata.clone()),
            None => self.live(&account).await?.filter(matches),
        };
        match found {
            None => self.delete(&secret).await?,
            Some(account) => self.fill(&secret, &account).await?,
        }
        Ok(Next::Done)
    }

    async fn live(&self, account: &Key) -> anyhow::Result<Option<ObjectMeta>> {
        let reader = &self.controller.reader;
        match reader.get::<Metadata>(&SERVICE_ACCOUNTS, &account.namespace, &account.name).await {
            Ok(found) => Ok(Some(found.metadata)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn delete(&self, secret: &Secret) -> anyhow::Result<()> {
        let metadata = &secret.metadata;
        let options = DeleteOptions::uid(&metadata.uid);
        let client = &self.controller.client;
        match client.delete(&SECRETS, &metadata.namespace, &metadata.name, &options).await {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn fill(&self, secret: &Secret, account: &ObjectMeta) -> anyhow::Result<()> {
        let missing = missing(secret, &self.authorities);
        if missing == Missing::default() {
            return Ok(());
        }
        let token = if missing.token { Some(self.token(&secret.metadata, account)?) } else { None };
        write::update(&self.controller, &SECRETS, "Secret", &secret.metadata, |object| {
            let data = &mut object["data"];
            if missing.authorities {
                data["ca.crt"] = json!(STANDARD.encode(&self.authorities));
            }
            if missing.namespace {
                data["namespace"] = json!(STANDARD.encode(&secret.metadata.namespace));
            }
            if let Some(token) = token {
                data["token"] = json!(STANDARD.encode(token));
            }
            let annotations = &mut object["metadata"]["annotations"];
            annotations[ACCOUNT_NAME] = json!(account.name);
            annotations[ACCOUNT_UID] = json!(account.uid);
        })
        .await?;
        Ok(())
    }

    fn token(&self, secret: &ObjectMeta, account: &ObjectMeta) -> anyhow::Result<String> {
        let id = URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(self.key.public_key_info()));
        let header: Value = json!({"alg": self.key.token_algorithm(), "kid": id});
        let claims = json!({
            "iss": "kubernetes/serviceaccount",
            "kubernetes.io/serviceaccount/namespace": account.namespace,
            "kubernetes.io/serviceaccount/secret.name": secret.name,
            "kubernetes.io/serviceaccount/service-account.name": account.name,
            "kubernetes.io/serviceaccount/service-account.uid": account.uid,
            "sub": format!("system:serviceaccount:{}:{}", account.namespace, account.name),
        });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.key.sign_token(message.as_bytes())?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing() {
        let mut secret = Secret::default();
        assert_eq!(missing(&secret, "ca"), Missing { authorities: true, namespace: true, token: true });
        for (key, value) in [("ca.crt", "ca"), ("namespace", "d"), ("token", "t")] {
            secret.data.insert(key.into(), STANDARD.encode(value));
        }
        assert_eq!(missing(&secret, "ca"), Missing::default());
        assert!(missing(&secret, "new").authorities);
    }
}
