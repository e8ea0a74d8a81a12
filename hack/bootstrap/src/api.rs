//! The few calls to the API server that bootstrapping needs, on plain JSON.

use crate::config::kubernetes;
use anyhow::{Context, Result, bail};
use http::{Method, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// A connection with one identity.
#[derive(Clone)]
pub(crate) struct Api(kube::Client);

impl Api {
    /// With the identity of a kubeconfig file.
    pub(crate) async fn from_file(path: &Path) -> Result<Api> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::from_text(&text).await.with_context(|| path.display().to_string())
    }

    /// With the identity in a kubeconfig's text.
    pub(crate) async fn from_text(text: &str) -> Result<Api> {
        let config =
            kube::Config::from_custom_kubeconfig(Kubeconfig::from_yaml(text)?, &KubeConfigOptions::default())
                .await?;
        Self::connect(config)
    }

    /// As the cluster's administrator, who by the bootstrap's own binding is one only later.
    pub(crate) async fn super_admin() -> Result<Api> {
        Self::from_file(&kubernetes("super-admin.conf")).await
    }

    /// With no identity and without checking the server's: for discovery, which verifies what it reads.
    pub(crate) fn anonymous(endpoint: &str) -> Result<Api> {
        let mut config = kube::Config::new(format!("https://{endpoint}").parse()?);
        config.accept_invalid_certs = true;
        Self::connect(config)
    }

    fn connect(mut config: kube::Config) -> Result<Api> {
        config.connect_timeout = Some(Duration::from_secs(5));
        config.read_timeout = Some(Duration::from_secs(30));
        Ok(Api(kube::Client::try_from(config)?))
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, kube::Error> {
        let mut request = Request::builder().method(method.clone()).uri(path);
        if body.is_some() {
            let kind =
                if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
            request = request.header("content-type", kind);
        }
        let bytes = body.map(Value::to_string).unwrap_or_default().into_bytes();
        let request = request.body(bytes).map_err(kube::Error::HttpError)?;
        self.0.request(request).await
    }

    /// The object at `path`, or `None` where there is none.
    pub(crate) async fn get(&self, path: &str) -> Result<Option<Value>> {
        match self.send(Method::GET, path, None).await {
            Ok(value) => Ok(Some(value)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error).context(path.to_string()),
        }
    }

    /// A path that answers with text.
    pub(crate) async fn text(&self, path: &str) -> Result<String> {
        Ok(self.0.request_text(Request::get(path).body(Vec::new())?).await?)
    }

    /// A merge patch.
    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Result<Value> {
        self.send(Method::PATCH, path, Some(body)).await.context(path.to_string())
    }

    /// Deletes what is at `path`; false where there was nothing.
    pub(crate) async fn delete(&self, path: &str) -> Result<bool> {
        match self.send(Method::DELETE, path, None).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(error).context(path.to_string()),
        }
    }

    /// Creates `object`, or brings the one that is there to what it says.
    pub(crate) async fn apply(&self, object: &Value) -> Result<()> {
        let (collection, name) = collection(object)?;
        let path = format!("{collection}/{name}");
        match self.send(Method::POST, &collection, Some(object)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => self.patch(&path, object).await.map(drop),
            Err(error) => Err(error).context(path),
        }
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
