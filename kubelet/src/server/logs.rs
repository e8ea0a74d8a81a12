//! Logs of containers and of the system.

use super::query::{is_true, pairs, parts};
use crate::api::{ContainerStatus, Pod, PodStatus, PodView, find_container, status_of};
use crate::kubelet::Kubelet;
use crate::logs::follow::{self, Options};
use crate::logs::line::Stream;
use bytes::Bytes;
use component_base::serving::{Answer, Body, answer, text};
use futures::StreamExt;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use proto::cri;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use tokio_stream::wrappers::ReceiverStream;

/// Chunks that may wait for a slow reader.
const WAITING: usize = 16;

/// `/containerLogs/{namespace}/{pod}/{container}`
pub(super) async fn container(kubelet: Arc<Kubelet>, request: Request<Incoming>) -> Answer {
    let parts = parts(request.uri());
    let [namespace, pod_name, container] = parts.as_slice() else {
        return text(StatusCode::NOT_FOUND, "404: Page Not Found");
    };
    let options = match options(&pairs(request.uri())) {
        Ok(options) => options,
        Err(message) => {
            return text(StatusCode::UNPROCESSABLE_ENTITY, format!("{{\"message\": \"{message}\"}}"));
        }
    };
    let Some(pod) = kubelet.pods.by_name(namespace, pod_name) else {
        return text(StatusCode::NOT_FOUND, format!("pod {pod_name:?} does not exist\n"));
    };
    if find_container(&pod, container).is_none() {
        return text(
            StatusCode::NOT_FOUND,
            format!("container {container:?} not found in pod {pod_name:?}\n"),
        );
    }
    let status = kubelet.statuses.get(pod.uid()).unwrap_or_else(|| pod.status().clone());
    let previous = pairs(request.uri()).iter().any(|(k, v)| k == "previous" && is_true(v));
    match container_id(&pod, &status, container, previous) {
        Ok(id) => send(kubelet, id, options).await,
        Err(message) => text(StatusCode::BAD_REQUEST, message),
    }
}

fn options(pairs: &[(String, String)]) -> Result<Options, &'static str> {
    let invalid = "Invalid request.";
    let mut out = Options::default();
    for (key, value) in pairs {
        match key.as_str() {
            "follow" => out.follow = is_true(value),
            "timestamps" => out.timestamps = is_true(value),
            "tailLines" => out.tail = Some(value.parse().map_err(|_| invalid)?),
            "tail" if value != "all" && !value.is_empty() => {
                out.tail = Some(value.parse().map_err(|_| invalid)?)
            }
            "limitBytes" => out.limit = Some(value.parse::<u64>().ok().filter(|n| *n > 0).ok_or(invalid)?),
            "sinceSeconds" => {
                let seconds: i64 = value.parse().ok().filter(|n| *n > 0).ok_or(invalid)?;
                out.since =
                    Some(jiff::Timestamp::now().as_nanosecond() - i128::from(seconds) * 1_000_000_000);
            }
            "sinceTime" => {
                let time: jiff::Timestamp = value.parse().map_err(|_| "Unable to decode query.")?;
                out.since = Some(time.as_nanosecond());
            }
            "stream" => {
                out.only = match value.as_str() {
                    "" | "All" => None,
                    "Stdout" => Some(Stream::Stdout),
                    "Stderr" => Some(Stream::Stderr),
                    _ => return Err(invalid),
                }
            }
            _ => {}
        }
    }
    Ok(out)
}

/// Which container's log is meant; the error tells why there is none yet.
fn container_id(pod: &Pod, status: &PodStatus, name: &str, previous: bool) -> Result<String, String> {
    let lists =
        [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    let found = lists.iter().find_map(|list| status_of(list.as_deref().unwrap_or_default(), name));
    let pod = pod.name();
    let found: &ContainerStatus =
        found.ok_or_else(|| format!("container {name:?} in pod {pod:?} is not available"))?;
    let state = found.state.clone().unwrap_or_default();
    let last = found.last_state.clone().unwrap_or_default().terminated;
    let last_id = last.as_ref().and_then(|l| l.container_id.clone()).filter(|id| !id.is_empty());
    let bare = |id: String| id.split("://").last().unwrap_or_default().to_string();
    let ended = || format!("container {name:?} in pod {pod:?} is terminated");
    if previous {
        let missing = || format!("previous terminated container {name:?} in pod {pod:?} not found");
        return last_id.map(bare).ok_or_else(missing);
    }
    if state.running.is_some() {
        return Ok(bare(found.container_id.clone().unwrap_or_default()));
    }
    if let Some(terminated) = state.terminated {
        let own = terminated.container_id.filter(|id| !id.is_empty());
        return own.or(last_id).map(bare).ok_or_else(ended);
    }
    if last.is_some() {
        return last_id.map(bare).ok_or_else(ended);
    }
    let waits = format!("container {name:?} in pod {pod:?} is waiting to start");
    Err(match state.waiting.map(|w| w.reason.unwrap_or_default()).as_deref() {
        Some("ErrImagePull") => format!("{waits}: image can't be pulled"),
        Some("ImagePullBackOff") => format!("{waits}: trying and failing to pull image"),
        Some(reason) => format!("{waits}: {reason}"),
        None => format!("{waits} - no logs yet"),
    })
}

async fn send(kubelet: Arc<Kubelet>, id: String, options: Options) -> Answer {
    let status = status_of_container(&kubelet, &id).await;
    let Some(path) = status.map(|s| s.log_path).filter(|p| !p.is_empty()) else {
        return text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("unable to retrieve container logs for containerd://{id}"),
        );
    };
    let (to, from) = tokio::sync::mpsc::channel::<Bytes>(WAITING);
    let path = PathBuf::from(path);
    if let Err(e) = std::fs::File::open(&path) {
        return text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("failed to try resolving symlinks in path {:?}: {e}", path.display().to_string()),
        );
    }
    tokio::spawn(async move {
        let runs = || async {
            let status = status_of_container(&kubelet, &id).await;
            status.is_some_and(|s| s.state == cri::ContainerState::Running as i32)
        };
        if let Err(e) = follow::send(&path, options, to, runs).await {
            tracing::error!(path = %path.display(), error = %e, "Failed to read a container's log");
        }
    });
    let frames = ReceiverStream::new(from)
        .map(|bytes| Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Frame::data(bytes)));
    let body: Body = StreamBody::new(frames).boxed_unsync();
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

async fn status_of_container(kubelet: &Kubelet, id: &str) -> Option<cri::ContainerStatus> {
    let request = cri::ContainerStatusRequest { container_id: id.into(), verbose: false };
    kubelet.cri.container_status(request).await.ok()?.status
}

/// `/logs/…`: files below `/var/log`.
pub(super) async fn system(_: Arc<Kubelet>, request: Request<Incoming>) -> Answer {
    const ROOT: &str = "/var/log";
    let relative: PathBuf = parts(request.uri()).iter().collect();
    if relative.components().any(|c| !matches!(c, Component::Normal(_))) {
        return text(StatusCode::BAD_REQUEST, "invalid URL path\n");
    }
    let path = Path::new(ROOT).join(relative);
    // A symlink must not lead out of the directory.
    let Some(real) = path.canonicalize().ok().filter(|p| p.starts_with(ROOT)) else {
        return text(StatusCode::NOT_FOUND, "404 page not found\n");
    };
    if real.is_dir() {
        let mut names: Vec<_> = std::fs::read_dir(&real)
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| {
                let slash = if e.path().is_dir() { "/" } else { "" };
                format!("{}{slash}", e.file_name().to_string_lossy())
            })
            .collect();
        names.sort();
        let escape =
            |s: &str| s.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;");
        let line = |name: &String| format!("<a href=\"{0}\">{0}</a>\n", escape(name));
        let list: String = names.iter().map(line).collect();
        let html = format!(
            "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n{list}</pre>\n"
        );
        return answer(StatusCode::OK, "text/html; charset=utf-8", html);
    }
    match tokio::fs::read(&real).await {
        Ok(bytes) => answer(StatusCode::OK, "text/plain; charset=utf-8", bytes),
        Err(e) => text(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn id(status: Value, previous: bool) -> Result<String, String> {
        let status: ContainerStatus = serde_json::from_value(status).unwrap();
        let status = PodStatus { container_statuses: Some(vec![status]), ..Default::default() };
        let pod = serde_json::from_value(json!({ "metadata": { "name": "p" } })).unwrap();
        container_id(&pod, &status, "c", previous)
    }

    fn status(state: Value, last: Value) -> Value {
        json!({ "name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0,
            "containerID": "containerd://now", "state": state, "lastState": last })
    }

    #[test]
    fn the_log_that_is_meant() {
        let ended = json!({ "terminated": { "exitCode": 1, "containerID": "containerd://before" } });
        assert_eq!(id(status(json!({ "running": {} }), json!({})), false).unwrap(), "now");
        assert_eq!(id(status(json!({ "running": {} }), ended.clone()), true).unwrap(), "before");
        let waiting = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        assert_eq!(id(status(waiting.clone(), ended), false).unwrap(), "before");
        assert_eq!(
            id(status(waiting, json!({})), false).unwrap_err(),
            "container \"c\" in pod \"p\" is waiting to start: CrashLoopBackOff"
        );
        assert!(id(status(json!({ "running": {} }), json!({})), true).is_err());
    }
}
