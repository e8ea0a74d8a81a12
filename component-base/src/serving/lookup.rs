//! Delegation as the shared flags say, completed from the cluster.
//!
//! What the flags leave open is looked up in the ConfigMap `kube-system/extension-apiserver-authentication`, and
//! followed from then on.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use proto::meta::ObjectMeta;
use serde::Deserialize;

use super::auth::{AuthOptions, Delegated, RequestHeaders};
use super::client_ca::ClientCa;
use crate::client::known::CONFIG_MAPS;
use crate::client::{Client, Config};
use crate::flags::Parsed;
use crate::tasks::Tasks;
use crate::watch::{Informers, Watch};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

#[derive(Deserialize, Default)]
#[serde(default)]
struct ConfigMap {
    metadata: ObjectMeta,
    #[serde(deserialize_with = "proto::meta::nullable")]
    data: BTreeMap<String, String>,
}
crate::object!(ConfigMap);

/// What the lookup fills in.
struct Found {
    client_ca: Option<ClientCa>,
    proxy_ca: Option<ClientCa>,
    headers: Arc<RwLock<RequestHeaders>>,
}

pub(super) async fn from_flags(flags: &Parsed, tasks: &Tasks) -> anyhow::Result<Delegated> {
    let client = |flag: &str| -> anyhow::Result<Option<Client>> {
        let Some(path) = flags.non_empty(flag) else { return Ok(None) };
        let config = Config::load(path, "")?.with_component(flags.program()).with_limit(0.0, 0.0);
        Ok(Some(Client::new(config)?))
    };
    let tokens = client("authentication-kubeconfig")?;
    let access = client("authorization-kubeconfig")?;
    let ca = |flag: &str| match flags.non_empty(flag) {
        Some(path) => ClientCa::from_file(path).map_err(anyhow::Error::msg),
        None => Ok(ClientCa::default()),
    };
    let list = |flag: &str| flags.list(flag).to_vec();
    let headers = RequestHeaders {
        allowed_names: list("requestheader-allowed-names"),
        username: list("requestheader-username-headers"),
        uid: list("requestheader-uid-headers"),
        groups: list("requestheader-group-headers"),
        extra_prefixes: list("requestheader-extra-headers-prefix"),
    };
    let options = AuthOptions {
        client_ca: ca("client-ca-file")?,
        proxy_ca: ca("requestheader-client-ca-file")?,
        headers: Arc::new(RwLock::new(headers)),
        tokens,
        token_ttl: flags.duration("authentication-token-webhook-cache-ttl").to_std(),
        access,
        allowed_ttl: flags.duration("authorization-webhook-cache-authorized-ttl").to_std(),
        denied_ttl: flags.duration("authorization-webhook-cache-unauthorized-ttl").to_std(),
        always_allow: list("authorization-always-allow-paths"),
        ..AuthOptions::default()
    };
    if let Some(client) = &options.tokens
        && !flags.bool("authentication-skip-lookup")
    {
        let found = Found {
            client_ca: (!options.client_ca.has_file()).then(|| options.client_ca.clone()),
            proxy_ca: (!options.proxy_ca.has_file()).then(|| options.proxy_ca.clone()),
            headers: options.headers.clone(),
        };
        look_up(client, tasks, found, flags.bool("authentication-tolerate-lookup-failure")).await?;
    }
    Ok(Delegated::new(options))
}

async fn look_up(client: &Client, tasks: &Tasks, found: Found, tolerate: bool) -> anyhow::Result<()> {
    if found.client_ca.is_none() && found.proxy_ca.is_none() {
        return Ok(());
    }
    match client.get::<ConfigMap>(&CONFIG_MAPS, NAMESPACE, NAME).await {
        Ok(map) => found.take(&map),
        Err(error) if tolerate || error.is_not_found() => {
            tracing::warn!(err = %error, "Unable to look up the authentication configuration in the cluster. Continuing without it; client certificates are not accepted until it can be read");
        }
        Err(error) => anyhow::bail!("unable to load configmap based request-header-client-ca-file: {error}"),
    }
    let watch = Watch::new(CONFIG_MAPS).namespace(NAMESPACE).fields(format!("metadata.name={NAME}"));
    let store = Informers::new(client.clone(), tasks.clone()).watch::<ConfigMap>(watch);
    store.subscribe(move |change| {
        if let Some(map) = &change.new {
            found.take(map);
        }
    });
    Ok(())
}

impl Found {
    fn take(&self, map: &ConfigMap) {
        let set = |ca: &Option<ClientCa>, key: &str| {
            if let (Some(ca), Some(pem)) = (ca, map.data.get(key))
                && let Err(error) = ca.set(pem.as_bytes())
            {
                tracing::error!(key, err = error, "The cluster's client authorities can't be used");
            }
        };
        set(&self.client_ca, "client-ca-file");
        set(&self.proxy_ca, "requestheader-client-ca-file");
        if self.proxy_ca.is_some() {
            let list = |key: &str| -> Option<Vec<String>> { serde_json::from_str(map.data.get(key)?).ok() };
            let mut headers = self.headers.write();
            let replace = |field: &mut Vec<String>, key: &str| {
                if let Some(list) = list(key) {
                    *field = list;
                }
            };
            replace(&mut headers.allowed_names, "requestheader-allowed-names");
            replace(&mut headers.username, "requestheader-username-headers");
            replace(&mut headers.uid, "requestheader-uid-headers");
            replace(&mut headers.groups, "requestheader-group-headers");
            replace(&mut headers.extra_prefixes, "requestheader-extra-headers-prefix");
        }
    }
}
