//! Runs a probe once.

use super::Target;
use super::schedule::Task;
use crate::api::PodView;
use crate::container::expand::expand;
use crate::http_get::{self, io_text, join, resolve_port};
use crate::pod::plan::Outcome;
use component_base::events::EventType::Warning;
use k8s_openapi::api::core::v1::{GRPCAction, TCPSocketAction};
use proto::cri;
use std::time::Duration;
use tokio::net::TcpStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request};

/// What one run found out.
enum Found {
    Success,
    Warning(String),
    Failure(String),
}

/// A probe that can't be carried out is tried again at once this often.
const TRIES: usize = 3;

/// Probes and tells the outcome, with the events that belong to it; none if nothing was found out.
pub(super) async fn probe(task: &Task, life: &Target) -> Option<Outcome> {
    let timeout = Duration::from_secs(task.spec.timeout_seconds.unwrap_or(1).max(1).unsigned_abs().into());
    let mut result = Err(String::new());
    for _ in 0..TRIES {
        result = once(task, life, timeout).await;
        if result.is_ok() {
            break;
        }
    }
    let word = task.kind.word();
    let event = |reason: &str, message: String| {
        let place = (task.list, task.container.name.as_str());
        task.probes.events.container(&task.pod, place, "", Warning, reason, message);
    };
    match result {
        Ok(Found::Success) => Some(Outcome::Success),
        Ok(Found::Warning(output)) => {
            event("ProbeWarning", format!("{word} probe warning: {output}"));
            Some(Outcome::Success)
        }
        Ok(Found::Failure(output)) => {
            event("Unhealthy", format!("{word} probe failed: {output}"));
            Some(Outcome::Failure)
        }
        Err(e) => {
            event("Unhealthy", format!("{word} probe errored and resulted in unknown state: {e}"));
            None
        }
    }
}

async fn once(task: &Task, life: &Target, timeout: Duration) -> Result<Found, String> {
    let spec = &task.spec;
    if let Some(action) = &spec.exec {
        return exec(task, life, action.command.as_deref().unwrap_or_default(), timeout).await;
    }
    if let Some(action) = &spec.http_get {
        return match http_get::get(action, &task.container, &life.ip, "kube-probe", timeout, false).await {
            Ok(answer) => Ok(match answer.code {
                200..300 => Found::Success,
                300..400 => {
                    Found::Warning(format!("Probe terminated redirects, Response body: {}", answer.body))
                }
                code => Found::Failure(format!("HTTP probe failed with statuscode: {code}")),
            }),
            Err(http_get::Error::Invalid(e)) => Err(e),
            Err(e) => Ok(Found::Failure(e.to_string())),
        };
    }
    if let Some(action) = &spec.tcp_socket {
        return tcp(task, action, &life.ip, timeout).await;
    }
    if let Some(action) = &spec.grpc {
        return Ok(grpc(action, &life.ip, timeout).await);
    }
    Err(format!("missing probe handler for {}:{}", task.pod.display(), task.container.name))
}

async fn exec(task: &Task, life: &Target, command: &[String], timeout: Duration) -> Result<Found, String> {
    let env = task.container.env.as_deref().unwrap_or_default();
    // Only values that stand in the spec itself are known here.
    let lookup =
        |name: &str| env.iter().find(|e| e.name == name).map(|e| e.value.clone().unwrap_or_default());
    let request = cri::ExecSyncRequest {
        container_id: life.id.clone(),
        cmd: command.iter().map(|part| expand(part, lookup)).collect(),
        timeout: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
    };
    match task.probes.cri.exec_sync(request).await {
        Ok(response) if response.exit_code == 0 => Ok(Found::Success),
        Ok(response) => {
            let mut output = response.stdout;
            output.extend(response.stderr);
            output.truncate(10 * 1024);
            Ok(Found::Failure(String::from_utf8_lossy(&output).into_owned()))
        }
        Err(status) if status.code() == Code::DeadlineExceeded => Ok(Found::Failure(format!(
            "command timed out: {} timed out after {}s",
            quote(command),
            timeout.as_secs()
        ))),
        Err(status) => Err(format!("rpc error: code = {:?} desc = {}", status.code(), status.message())),
    }
}

fn quote(command: &[String]) -> String {
    format!("{:?}", command.join(" "))
}

async fn tcp(task: &Task, action: &TCPSocketAction, ip: &str, timeout: Duration) -> Result<Found, String> {
    let port = resolve_port(&action.port, &task.container)?;
    let host = action.host.as_deref().filter(|h| !h.is_empty()).unwrap_or(ip);
    let address = join(host, port);
    Ok(match tokio::time::timeout(timeout, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Found::Success,
        Ok(Err(e)) => Found::Failure(format!("dial tcp {address}: connect: {}", io_text(&e))),
        Err(_) => Found::Failure(format!("dial tcp {address}: i/o timeout")),
    })
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

async fn grpc(action: &GRPCAction, ip: &str, timeout: Duration) -> Found {
    let address = format!("{}:{}", if ip.contains(':') { format!("[{ip}]") } else { ip.into() }, action.port);
    let service = action.service.clone().unwrap_or_default();
    let work = async {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
            .and_then(|e| e.user_agent("kube-probe/1.36"))
            .map_err(|e| format!("error: failed to connect service at {address:?}: {e}"))?;
        let channel = endpoint.connect().await.map_err(|_| {
            format!(
                "timeout: failed to connect service {address:?} within {}s: context deadline exceeded",
                timeout.as_secs()
            )
        })?;
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.map_err(|e| format!("error: failed to connect service at {address:?}: {e}"))?;
        let codec = tonic_prost::ProstCodec::<HealthRequest, HealthResponse>::default();
        let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
        match client.unary(Request::new(HealthRequest { service }), path, codec).await {
            Ok(response) => Ok(response.into_inner().status),
            Err(s) if s.code() == Code::Unimplemented => Err(format!(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
                s.message()
            )),
            Err(s) => Err(format!(
                "error: health rpc probe failed: rpc error: code = {:?} desc = {}",
                s.code(),
                s.message()
            )),
        }
    };
    match tokio::time::timeout(timeout, work).await {
        Ok(Ok(1)) => Found::Success,
        Ok(Ok(status)) => {
            let word = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
            let word = usize::try_from(status).ok().and_then(|i| word.get(i)).copied().unwrap_or("UNKNOWN");
            Found::Failure(format!("service unhealthy (responded with {word:?})"))
        }
        Ok(Err(message)) => Found::Failure(message),
        Err(_) => {
            Found::Failure(format!("timeout: health rpc did not complete within {}s", timeout.as_secs()))
        }
    }
}
