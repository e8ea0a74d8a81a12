//! postStart and preStop hooks.

use crate::api::{Container, Pod, PodView};
use crate::events::Events;
use crate::http_get;
use crate::images::pull::rpc_text;
use component_base::events::EventType::Warning;
use k8s_openapi::api::core::v1::LifecycleHandler;
use proto::cri;
use std::time::Duration;

/// Runs a hook; the error is the message for the container's status.
pub async fn run(
    cri: &cri::Client,
    events: &Events,
    pod: &Pod,
    container: &Container,
    id: &str,
    pod_ip: &str,
    hook: &LifecycleHandler,
) -> Result<(), String> {
    let place = format!("for Container {:?} in Pod {:?} failed - error:", container.name, pod.display());
    if let Some(action) = &hook.exec {
        let command = action.command.clone().unwrap_or_default();
        let shown = command.join(" ");
        let failed = |error: String, output: String| {
            format!("Exec lifecycle hook ([{shown}]) {place} {error}, message: {output:?}")
        };
        let request = cri::ExecSyncRequest { container_id: id.into(), cmd: command.clone(), timeout: 0 };
        return match cri.exec_sync(request).await {
            Ok(r) if r.exit_code == 0 => Ok(()),
            Ok(r) => {
                let output = [r.stdout, r.stderr].concat();
                let error = format!(
                    "command '{}' exited with {}: {}",
                    command.join(" "),
                    r.exit_code,
                    String::from_utf8_lossy(&output)
                );
                Err(failed(error, String::from_utf8_lossy(&output).into_owned()))
            }
            Err(status) => Err(failed(rpc_text(&status), String::new())),
        };
    }
    if let Some(action) = &hook.http_get {
        // Hooks have no timeout of their own; the grace period bounds them.
        const LIMIT: Duration = Duration::from_secs(3600);
        let get = |plain| http_get::get(action, container, pod_ip, "kube-lifecycle", LIMIT, plain);
        let path = action.path.as_deref().unwrap_or_default();
        return match get(false).await {
            Ok(_) => Ok(()),
            Err(http_get::Error::Failed { plain: true, .. }) if get(true).await.is_ok() => {
                let port = http_get::resolve_port(&action.port, container).unwrap_or_default();
                let host = http_get::join(action.host.as_deref().unwrap_or(pod_ip), port);
                let text = format!(
                    "request to HTTPS lifecycle hook {host} got HTTP response, retry with HTTP succeeded"
                );
                events.pod(pod, Warning, "LifecycleHTTPFallback", text);
                Ok(())
            }
            Err(e) => Err(format!("HTTP lifecycle hook ({path}) {place} {e}")),
        };
    }
    if let Some(action) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(action.seconds.max(0).unsigned_abs())).await;
        return Ok(());
    }
    Err("Cannot run handler: invalid handler".into())
}
