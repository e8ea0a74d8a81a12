//! Wakes workers when something happens to their pods.
//!
//! The runtime's event stream tells at once; a listing now and then finds what the stream lost. A runtime
//! without a stream is listed every second. Either way only the pod's uid goes on: the worker looks for
//! itself.

use super::labels::POD_UID;
use super::observe::{Listed, changed_pods, list_pods};
use proto::cri;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tonic::Code;

/// How often all pods are listed beside the stream.
const RELIST: Duration = Duration::from_secs(10);
/// How often without one.
const RELIST_ALONE: Duration = Duration::from_secs(1);
const RECONNECT: Duration = Duration::from_secs(1);

/// What is told: a pod's uid, and the latest listing after each one.
pub trait Listener: Send + Sync + 'static {
    /// Something happened to a pod.
    fn changed(&self, uid: &str);
    /// These pods the runtime knows.
    fn listed(&self, pods: &BTreeMap<String, Listed>);
}

/// Listens until the process ends.
pub async fn run(cri: cri::Client, listener: Arc<dyn Listener>) -> anyhow::Result<()> {
    let (streaming, mut has_stream) = tokio::sync::watch::channel(true);
    let lister = listener.clone();
    let list_cri = cri.clone();
    let listing = async move {
        let mut known = BTreeMap::new();
        loop {
            match list_pods(&list_cri).await {
                Ok(pods) => {
                    for uid in changed_pods(&known, &pods) {
                        lister.changed(&uid);
                    }
                    known = pods;
                    lister.listed(&known);
                }
                Err(e) => tracing::error!(error = %e, "Can't list the runtime's pods"),
            }
            let period = if *has_stream.borrow() { RELIST } else { RELIST_ALONE };
            tokio::time::timeout(period, has_stream.changed()).await.ok();
        }
    };
    let stream = async move {
        loop {
            match follow(&cri, &*listener).await {
                Err(e) if e.code() == Code::Unimplemented => {
                    tracing::info!("The runtime has no event stream; listing its pods every second");
                    streaming.send_replace(false);
                    std::future::pending::<()>().await;
                }
                Err(e) => tracing::warn!(error = %e, "The runtime's event stream broke"),
                Ok(()) => tracing::warn!("The runtime's event stream ended"),
            }
            tokio::time::sleep(RECONNECT).await;
        }
    };
    tokio::select! {
        () = listing => Ok(()),
        () = stream => Ok(()),
    }
}

async fn follow(cri: &cri::Client, listener: &dyn Listener) -> Result<(), tonic::Status> {
    let mut events = cri.get_container_events().await?;
    while let Some(event) = events.message().await? {
        let of_sandbox =
            event.pod_sandbox_status.as_ref().and_then(|s| s.metadata.as_ref()).map(|m| m.uid.as_str());
        let of_container =
            || event.containers_statuses.first().and_then(|c| c.labels.get(POD_UID)).map(String::as_str);
        if let Some(uid) = of_sandbox.or_else(of_container) {
            listener.changed(uid);
        }
    }
    Ok(())
}
