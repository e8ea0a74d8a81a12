//! What pods refer to in the API: ConfigMaps and Secrets, each watched by name while some pod needs it;
//! tokens; claims.
//!
//! The API server lets a kubelet read only what pods on its node refer to, one object at a time.

use crate::api::{Pod, PodView, Volume};
use crate::container::env;
use crate::objects::{Fetched, Kind, Object, Sources};
use crate::pod::backoff;
use crate::volumes::{self, token};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use component_base::client::known::*;
use component_base::client::{Client, Error};
use component_base::watch::{Informers, Store, Watch};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::DropGuard;

/// How long the first sight of an object may take.
const FIRST_SIGHT: Duration = Duration::from_secs(10);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Raw {
    metadata: proto::meta::ObjectMeta,
    r#type: String,
    data: BTreeMap<String, String>,
    #[serde(rename = "binaryData")]
    binary: BTreeMap<String, String>,
}

/// A watched object.
struct Kept {
    metadata: proto::meta::ObjectMeta,
    object: Arc<Object>,
}

component_base::object!(Kept);

fn decode(map: BTreeMap<String, String>) -> BTreeMap<String, Vec<u8>> {
    map.into_iter().map(|(k, v)| (k, BASE64_STANDARD.decode(v).unwrap_or_default())).collect()
}

fn read(bytes: &[u8]) -> Result<Raw, serde_json::Error> {
    serde_json::from_slice(bytes)
}

fn keep(raw: Raw, data: BTreeMap<String, Vec<u8>>) -> Kept {
    let object = Object { kind: raw.r#type, data, binary: decode(raw.binary) };
    Kept { metadata: raw.metadata, object: Arc::new(object) }
}

fn config_map(bytes: &[u8]) -> Result<Kept, serde_json::Error> {
    let mut raw = read(bytes)?;
    let data = std::mem::take(&mut raw.data).into_iter().map(|(k, v)| (k, v.into_bytes())).collect();
    Ok(keep(raw, data))
}

fn secret(bytes: &[u8]) -> Result<Kept, serde_json::Error> {
    let mut raw = read(bytes)?;
    let data = decode(std::mem::take(&mut raw.data));
    Ok(keep(raw, data))
}

struct Watched {
    store: Store<Kept>,
    users: HashSet<String>,
    _running: DropGuard,
}

type Key = (Kind, String, String);

/// Reads and watches.
pub struct References {
    informers: Informers,
    watched: Mutex<HashMap<Key, Watched>>,
    tokens: Mutex<token::Tokens>,
    wake: Arc<dyn Fn(&str) + Send + Sync>,
}

/// All that a pod refers to.
#[derive(Default)]
pub struct Gathered {
    /// Config maps and secrets.
    pub sources: Sources,
    /// Tokens.
    pub tokens: BTreeMap<token::Request, Result<String, String>>,
    /// Claims by volume name.
    pub claims: BTreeMap<String, Result<Volume, String>>,
    /// When the first token is to be renewed, in seconds since the epoch.
    pub renew_at: Option<i64>,
}

impl References {
    /// `wake` is told the uid of a pod for which something changed.
    pub fn new(informers: Informers, wake: Arc<dyn Fn(&str) + Send + Sync>) -> Arc<References> {
        Arc::new(References { informers, watched: Mutex::default(), tokens: Mutex::default(), wake })
    }

    fn client(&self) -> &Client {
        self.informers.client()
    }

    /// Reads all that a pod refers to; what fails is told in its place.
    pub async fn gather(self: &Arc<Self>, pod: &Pod) -> Gathered {
        let refs = volumes::references(pod);
        let mut objects: BTreeSet<(Kind, String)> = refs.objects.into_iter().collect();
        for c in pod.containers().iter().chain(pod.init_containers()) {
            objects.extend(env::references(c));
        }
        for e in pod.ephemeral_containers() {
            objects.extend(env::references(&crate::api::as_container(e)));
        }
        let secrets = pod.spec().image_pull_secrets.iter().flatten();
        objects.extend(secrets.map(|s| (Kind::Secret, s.name.clone())));

        let mut out = Gathered::default();
        let fetches = objects.iter().map(|(kind, name)| self.object(*kind, pod, name));
        let fetched = futures::future::join_all(fetches).await;
        for ((kind, name), fetched) in objects.iter().zip(fetched) {
            out.sources.insert(*kind, name, fetched);
        }
        for request in refs.tokens {
            let token = self.token(pod, &request).await;
            if let Ok(token) = &token {
                let at = token.refresh_at();
                out.renew_at = Some(out.renew_at.map_or(at, |first: i64| first.min(at)));
            }
            out.tokens.insert(request, token.map(|t| t.value));
        }
        for (volume, claim) in refs.claims {
            let resolved = self.claim(pod, &claim).await;
            out.claims.insert(volume, resolved);
        }
        out
    }

    async fn object(self: &Arc<Self>, kind: Kind, pod: &Pod, name: &str) -> Fetched {
        let store = self.store(kind, pod, name);
        if tokio::time::timeout(FIRST_SIGHT, store.synced()).await.is_err() {
            return Err(format!("failed to sync {} cache: timed out waiting for the condition", kind.word()));
        }
        Ok(store.get(pod.namespace(), name).map(|kept| kept.object.clone()))
    }

    fn store(self: &Arc<Self>, kind: Kind, pod: &Pod, name: &str) -> Store<Kept> {
        let key = (kind, pod.namespace().to_string(), name.to_string());
        let mut watched = self.watched.lock();
        if let Some(found) = watched.get_mut(&key) {
            found.users.insert(pod.uid().to_string());
            return found.store.clone();
        }
        let watch = match kind {
            Kind::ConfigMap => Watch::with_projection(CONFIG_MAPS, config_map),
            Kind::Secret => Watch::with_projection(SECRETS, secret),
        };
        let watch = watch.namespace(pod.namespace()).fields(format!("metadata.name={name}"));
        let (store, running) = self.informers.watch_while(watch);
        let (this, told) = (Arc::downgrade(self), key.clone());
        store.subscribe(move |_| {
            // The lock may be held by who asked for the watch.
            let (this, told) = (this.clone(), told.clone());
            tokio::spawn(async move {
                let Some(this) = this.upgrade() else { return };
                let users = this.watched.lock().get(&told).map(|w| w.users.clone()).unwrap_or_default();
                users.iter().for_each(|uid| (this.wake)(uid));
            });
        });
        let users = [pod.uid().to_string()].into();
        watched.insert(key, Watched { store: store.clone(), users, _running: running });
        store
    }

    async fn token(&self, pod: &Pod, request: &token::Request) -> Result<token::Token, String> {
        let now = backoff::now() / 1_000_000_000;
        if let Some(token) = self.tokens.lock().fresh(pod.uid(), request, now) {
            return Ok(token.clone());
        }
        match self.new_token(pod, request, now).await {
            Ok(token) => {
                self.tokens.lock().insert(pod.uid(), request.clone(), token.clone());
                Ok(token)
            }
            Err(e) => match self.tokens.lock().valid(pod.uid(), request, now) {
                Some(token) => Ok(token.clone()),
                None => Err(format!("failed to fetch token: {e}")),
            },
        }
    }

    async fn new_token(&self, pod: &Pod, request: &token::Request, now: i64) -> Result<token::Token, Error> {
        let audiences = if request.audience.is_empty() { json!([]) } else { json!([request.audience]) };
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": audiences,
                "expirationSeconds": request.seconds,
                "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": pod.name(), "uid": pod.uid() },
            },
        });
        let account = pod.spec().service_account_name.as_deref().unwrap_or("default");
        let sub = SERVICE_ACCOUNTS.sub("token");
        let answer: Value = self.client().create_sub(&sub, pod.namespace(), account, &body).await?;
        let status = &answer["status"];
        let expires = status["expirationTimestamp"].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
        Ok(token::Token {
            value: status["token"].as_str().unwrap_or_default().to_string(),
            issued: now,
            expires: expires.map_or(now + request.seconds, |t| t.as_second()),
        })
    }

    /// Finds the volume behind a claim.
    async fn claim(&self, pod: &Pod, name: &str) -> Result<Volume, String> {
        let failed = |e: Error| format!("failed to fetch PVC from API server: {e}");
        let claim: Value =
            self.client().get(&PERSISTENT_VOLUME_CLAIMS, pod.namespace(), name).await.map_err(failed)?;
        let bound = claim["status"]["phase"] == "Bound";
        let volume = claim["spec"]["volumeName"].as_str().unwrap_or_default();
        if !bound || volume.is_empty() {
            return Err(format!(
                "PVC {}/{name} has non-bound phase ({:?}) or empty pvc.Spec.VolumeName ({volume:?})",
                pod.namespace(),
                claim["status"]["phase"].as_str().unwrap_or_default()
            ));
        }
        let volume: Value = self.client().get(&PERSISTENT_VOLUMES, "", volume).await.map_err(failed)?;
        let spec = &volume["spec"];
        let mut out = json!({ "name": "claim" });
        if spec["hostPath"].is_object() {
            out["hostPath"] = spec["hostPath"].clone();
        } else if spec["local"].is_object() {
            out["hostPath"] = json!({ "path": spec["local"]["path"], "type": "Directory" });
        } else if spec["nfs"].is_object() {
            out["nfs"] = spec["nfs"].clone();
        } else {
            return Err("no volume plugin matched".into());
        }
        serde_json::from_value(out).map_err(|e| e.to_string())
    }

    /// Forgets a pod, and with it what no other pod refers to.
    pub fn forget(&self, uid: &str) {
        self.watched.lock().retain(|_, watched| {
            watched.users.remove(uid);
            !watched.users.is_empty()
        });
        self.tokens.lock().forget(uid);
    }
}
