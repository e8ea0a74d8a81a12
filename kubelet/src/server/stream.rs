//! Streams into containers: commands, attachment, ports.
//!
//! The runtime serves the stream itself, at an address it gives for one use. The client's upgrade is
//! passed on to it and then bytes, in both directions; which protocol they are in is theirs to agree.

use super::query::{decode, is_true, pairs, parts};
use crate::api::{Pod, PodView};
use crate::kubelet::Kubelet;
use crate::runtime::State;
use crate::runtime::observe::observe;
use bytes::Bytes;
use component_base::serving::{Answer, text};
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use proto::cri;
use std::sync::Arc;
use tokio::net::TcpStream;

/// A request that can't be served, and what to answer.
type Refusal = Answer;

fn refuse(code: StatusCode, message: impl Into<Bytes>) -> Refusal {
    text(code, message)
}

fn runtime_error(status: &tonic::Status) -> Refusal {
    let code = match status.code() {
        tonic::Code::NotFound => StatusCode::NOT_FOUND,
        tonic::Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    refuse(code, crate::images::pull::rpc_text(status))
}

/// What of a container's streams the client wants.
#[derive(Debug, Default, PartialEq)]
struct Wanted {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

fn wanted(pairs: &[(String, String)]) -> Result<Wanted, &'static str> {
    let on = |name: &str| pairs.iter().any(|(k, v)| k == name && is_true(v));
    let any = |names: [&str; 2]| names.iter().any(|n| on(n));
    let mut out = Wanted {
        stdin: any(["input", "stdin"]),
        stdout: any(["output", "stdout"]),
        stderr: any(["error", "stderr"]),
        tty: on("tty"),
    };
    // A terminal has one output.
    if out.tty {
        out.stderr = false;
    }
    if !out.stdin && !out.stdout && !out.stderr {
        return Err("you must specify at least 1 of stdin, stdout, stderr");
    }
    Ok(out)
}

fn find_pod(kubelet: &Kubelet, parts: &[String]) -> Result<Arc<Pod>, Refusal> {
    let (Some(namespace), Some(name)) = (parts.first(), parts.get(1)) else {
        return Err(refuse(StatusCode::NOT_FOUND, "404: Page Not Found"));
    };
    kubelet.pods.by_name(namespace, name).ok_or_else(|| refuse(StatusCode::NOT_FOUND, "pod does not exist"))
}

/// The container a path names: `/{namespace}/{pod}[/{uid}]/{container}`.
async fn find_container(kubelet: &Kubelet, parts: &[String]) -> Result<String, Refusal> {
    let pod = find_pod(kubelet, parts)?;
    let Some(name) = parts.last().filter(|_| (3..=4).contains(&parts.len())) else {
        return Err(refuse(StatusCode::NOT_FOUND, "404: Page Not Found"));
    };
    let observed = observe(&kubelet.cri, pod.uid()).await.map_err(|e| runtime_error(&e))?;
    match observed.container(name).filter(|c| c.state == State::Running) {
        Some(container) => Ok(container.id.clone()),
        None => Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, format!("container not found ({name:?})"))),
    }
}

/// `/exec/{namespace}/{pod}[/{uid}]/{container}`
pub(super) async fn exec(kubelet: Arc<Kubelet>, request: Request<Incoming>) -> Answer {
    let pairs = pairs(request.uri());
    let wanted = match wanted(&pairs) {
        Ok(wanted) => wanted,
        Err(message) => return refuse(StatusCode::BAD_REQUEST, message),
    };
    let id = match find_container(&kubelet, &parts(request.uri())).await {
        Ok(id) => id,
        Err(refusal) => return refusal,
    };
    let asked = cri::ExecRequest {
        container_id: id,
        cmd: pairs.into_iter().filter(|(k, _)| k == "command").map(|(_, v)| v).collect(),
        tty: wanted.tty,
        stdin: wanted.stdin,
        stdout: wanted.stdout,
        stderr: wanted.stderr,
    };
    match kubelet.cri.exec(asked).await {
        Ok(response) => pass_on(request, &response.url).await,
        Err(e) => runtime_error(&e),
    }
}

/// `/attach/{namespace}/{pod}[/{uid}]/{container}`
pub(super) async fn attach(kubelet: Arc<Kubelet>, request: Request<Incoming>) -> Answer {
    let wanted = match wanted(&pairs(request.uri())) {
        Ok(wanted) => wanted,
        Err(message) => return refuse(StatusCode::BAD_REQUEST, message),
    };
    let parts = parts(request.uri());
    let id = match find_container(&kubelet, &parts).await {
        Ok(id) => id,
        Err(refusal) => return refusal,
    };
    // The container's own terminal decides.
    let tty = find_pod(&kubelet, &parts)
        .ok()
        .and_then(|pod| crate::api::find_container(&pod, parts.last()?))
        .is_some_and(|(_, c)| c.tty == Some(true));
    let asked = cri::AttachRequest {
        container_id: id,
        stdin: wanted.stdin,
        tty,
        stdout: wanted.stdout,
        stderr: wanted.stderr && !tty,
    };
    match kubelet.cri.attach(asked).await {
        Ok(response) => pass_on(request, &response.url).await,
        Err(e) => runtime_error(&e),
    }
}

/// `/portForward/{namespace}/{pod}[/{uid}]`
pub(super) async fn port_forward(kubelet: Arc<Kubelet>, request: Request<Incoming>) -> Answer {
    let pod = match find_pod(&kubelet, &parts(request.uri())) {
        Ok(pod) => pod,
        Err(refusal) => return refusal,
    };
    let ports = pairs(request.uri()).into_iter().filter(|(k, _)| k == "port" || k == "ports");
    let ports =
        ports.flat_map(|(_, v)| v.split(',').filter_map(|p| p.parse().ok()).collect::<Vec<i32>>()).collect();
    let observed = match observe(&kubelet.cri, pod.uid()).await {
        Ok(observed) => observed,
        Err(e) => return runtime_error(&e),
    };
    let Some(sandbox) = observed.sandboxes.iter().find(|s| s.ready) else {
        return refuse(StatusCode::INTERNAL_SERVER_ERROR, format!("pod not found ({:?})", pod.full_name()));
    };
    let asked = cri::PortForwardRequest { pod_sandbox_id: sandbox.id.clone(), port: ports };
    match kubelet.cri.port_forward(asked).await {
        Ok(response) => pass_on(request, &response.url).await,
        Err(e) => runtime_error(&e),
    }
}

/// `/run/{namespace}/{pod}[/{uid}]/{container}?cmd=…`: runs a command and answers with its output.
pub(super) async fn run(kubelet: Arc<Kubelet>, request: Request<Incoming>) -> Answer {
    let id = match find_container(&kubelet, &parts(request.uri())).await {
        Ok(id) => id,
        Err(refusal) => return refusal,
    };
    let command =
        pairs(request.uri()).into_iter().find(|(k, _)| k == "cmd").map(|(_, v)| v).unwrap_or_default();
    let asked = cri::ExecSyncRequest {
        container_id: id,
        cmd: command.split(' ').map(str::to_string).collect(),
        timeout: 0,
    };
    match kubelet.cri.exec_sync(asked).await {
        Ok(r) if r.exit_code == 0 => text(StatusCode::OK, [r.stdout, r.stderr].concat()),
        Ok(r) => {
            let output = String::from_utf8_lossy(&[r.stdout, r.stderr].concat()).into_owned();
            let message = format!("command '{command}' exited with {}: {output}", r.exit_code);
            refuse(StatusCode::INTERNAL_SERVER_ERROR, message)
        }
        Err(e) => runtime_error(&e),
    }
}

/// Sends the client's request to the runtime's address and joins both connections once both have
/// switched protocols.
async fn pass_on(request: Request<Incoming>, url: &str) -> Answer {
    match try_pass_on(request, url).await {
        Ok(answer) => answer,
        Err(e) => {
            tracing::error!(error = %e, "Error proxying a stream to the runtime");
            refuse(StatusCode::INTERNAL_SERVER_ERROR, format!("error dialing backend: {e}"))
        }
    }
}

async fn try_pass_on(mut request: Request<Incoming>, url: &str) -> anyhow::Result<Answer> {
    if !request.headers().contains_key(header::UPGRADE) {
        return Ok(refuse(StatusCode::BAD_REQUEST, "Upgrade request required"));
    }
    let target: Uri = url.parse()?;
    let authority = target.authority().ok_or_else(|| anyhow::anyhow!("no host in {url}"))?.clone();
    let port = authority.port_u16().unwrap_or(80);
    let host = decode(authority.host().trim_start_matches('[').trim_end_matches(']'));
    let tcp = TcpStream::connect((host.as_str(), port)).await?;
    tcp.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await?;
    tokio::spawn(async move {
        if let Err(e) = connection.with_upgrades().await {
            tracing::debug!(error = %e, "A stream's connection to the runtime ended");
        }
    });
    let path = target.path_and_query().map_or("/", |p| p.as_str());
    let mut onward = Request::builder().method(request.method()).uri(path).body(Empty::<Bytes>::new())?;
    for (name, value) in request.headers().iter().filter(|(name, _)| *name != header::AUTHORIZATION) {
        onward.headers_mut().append(name.clone(), value.clone());
    }
    onward.headers_mut().insert(header::HOST, HeaderValue::from_str(authority.as_str())?);
    let mut answered = sender.send_request(onward).await?;
    if answered.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (head, body) = answered.into_parts();
        let bytes = body.collect().await?.to_bytes();
        let body = Full::new(bytes).map_err(|never| match never {}).boxed_unsync();
        let mut answer = Response::new(body);
        *answer.status_mut() = head.status;
        if let Some(kind) = head.headers.get(header::CONTENT_TYPE) {
            answer.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
        }
        return Ok(answer);
    }
    let mut answer = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *answer.headers_mut() = answered.headers().clone();
    let client = hyper::upgrade::on(&mut request);
    let runtime = hyper::upgrade::on(&mut answered);
    tokio::spawn(async move {
        let joined = async {
            let (client, runtime) = tokio::try_join!(client, runtime)?;
            let (mut client, mut runtime) = (TokioIo::new(client), TokioIo::new(runtime));
            tokio::io::copy_bidirectional(&mut client, &mut runtime).await?;
            anyhow::Ok(())
        };
        if let Err(e) = joined.await {
            tracing::debug!(error = %e, "A stream ended");
        }
    });
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_come_under_two_names() {
        let pairs = |list: &[(&str, &str)]| {
            list.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect::<Vec<_>>()
        };
        let got = wanted(&pairs(&[("input", "1"), ("output", "1"), ("error", "1"), ("tty", "1")])).unwrap();
        assert_eq!(got, Wanted { stdin: true, stdout: true, stderr: false, tty: true });
        assert!(wanted(&pairs(&[("tty", "1")])).is_err());
    }
}
