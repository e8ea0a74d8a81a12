//! The few calls to the API server that bootstrapping needs, on plain JSON.

use crate::config::kubernetes;
use anyhow::{Context, Result, bail};
use component_base::client::{Client, Config, Error, Source};
use http::Method;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// A connection with one identity.
#[derive(Clone)]
pub(crate) struct Api(Client);

impl Api {
    /// With the identity of a kubeconfig file.
    pub(crate) fn from_file(path: &Path) -> Result<Api> {
        Self::connect(Config::from_file(path)?)
    }

    /// As the cluster's administrator, who by the bootstrap's own binding is one only later.
    pub(crate) fn super_admin() -> Result<Api> {
        Self::from_file(&kubernetes("super-admin.conf"))
    }

    /// With no identity; without an authority also without checking the server's, for discovery, which verifies what it
    /// reads.
    pub(crate) fn anonymous(endpoint: &str, authority_pem: Option<&str>) -> Result<Api> {
        Self::connect(Config {
            server: format!("https://{endpoint}"),
            ca: authority_pem.map(|pem| Source::Data(pem.as_bytes().to_vec())),
            insecure: authority_pem.is_none(),
            ..Config::default()
        })
    }

    fn connect(mut config: Config) -> Result<Api> {
        config.timeout = Some(Duration::from_secs(30));
        config.qps = 0.0;
        Ok(Api(Client::new(config.with_component("keelsonadm"))?))
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let body = body.map(|value| (kind, value.to_string().into()));
        let answer = self.0.request(method, path, body).await?;
        serde_json::from_slice(&answer).map_err(|error| Error::Decode(error.to_string()))
    }

    /// The object at `path`, or `None` where there is none.
    pub(crate) async fn get(&self, path: &str) -> Result<Option<Value>> {
        match self.send(Method::GET, path, None).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error).context(path.to_string()),
        }
    }

    /// What the cluster has of this object, or `None`.
    pub(crate) async fn find(&self, object: &Value) -> Result<Option<Value>> {
        let (collection, name) = collection(object)?;
        self.get(&format!("{collection}/{name}")).await
    }

    /// A path that answers with text.
    pub(crate) async fn text(&self, path: &str) -> Result<String> {
        Ok(String::from_utf8(self.0.request(Method::GET, path, None).await?.to_vec())?)
    }

    /// A merge patch.
    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Result<Value> {
        self.send(Method::PATCH, path, Some(body)).await.context(path.to_string())
    }

    /// Deletes what is at `path`; false where there was nothing.
    pub(crate) async fn delete(&self, path: &str) -> Result<bool> {
        match self.send(Method::DELETE, path, None).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error).context(path.to_string()),
        }
    }

    /// Brings the object that is there to what `object` says, or creates it. In this order, because the creation of a Service
    /// that exists is not told that it exists but that its address is taken.
    pub(crate) async fn apply(&self, object: &Value) -> Result<()> {
        let (collection, name) = collection(object)?;
        let path = format!("{collection}/{name}");
        let applied = match self.send(Method::PATCH, &path, Some(object)).await {
            Err(error) if error.is_not_found() => self.send(Method::POST, &collection, Some(object)).await,
            patched => patched,
        };
        applied.map(drop).context(path)
    }
}

/// The collection an object belongs to, and its name.
fn collection(object: &Value) -> Result<(String, String)> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
    if version.is_empty() || kind.is_empty() || name.is_empty() {
        bail!("an object without apiVersion, kind or name");
    }
    let root = if version.contains('/') { "/apis" } else { "/api" };
    let lower = kind.to_lowercase();
    let plural = if lower.ends_with('s') { format!("{lower}es") } else { format!("{lower}s") };
    let namespace = match text("/metadata/namespace") {
        "" => String::new(),
        namespace => format!("namespaces/{namespace}/"),
    };
    Ok((format!("{root}/{version}/{namespace}{plural}"), name.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_know_their_collection() {
        for (object, want) in [
            (
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}),
                "/api/v1/namespaces",
            ),
            (
                json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "a", "namespace": "b"}}),
                "/apis/apps/v1/namespaces/b/daemonsets",
            ),
        ] {
            assert_eq!(collection(&object).unwrap(), (want.to_string(), "a".to_string()));
        }
        assert!(collection(&json!({"kind": "Pod"})).is_err());
    }
}
