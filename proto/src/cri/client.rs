//! The client of a container runtime, over a unix socket.

use super::*;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use std::path::PathBuf;
use std::time::Duration;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

/// Lists of a busy node outgrow gRPC's usual 4 MiB.
const MAX_MESSAGE: usize = 16 << 20;

/// The endpoint is not one this client can use.
#[derive(Debug, thiserror::Error)]
#[error("endpoint {0:?} is not supported: want unix:///path")]
pub struct ConnectError(String);

/// A stream of container events.
pub type Events = Streaming<ContainerEventResponse>;

/// Both CRI services of one runtime. Cheap to clone; connects on first use and again after a loss.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    timeout: Duration,
}

impl Client {
    /// A client for `unix:///run/containerd/containerd.sock` or a bare path. `timeout` bounds each
    /// call that has no reason to take longer.
    pub fn new(endpoint: &str, timeout: Duration) -> Result<Client, ConnectError> {
        let path = match endpoint.split_once("://") {
            Some(("unix", path)) => path,
            None => endpoint,
            Some(_) => return Err(ConnectError(endpoint.to_string())),
        };
        if !path.starts_with('/') {
            return Err(ConnectError(endpoint.to_string()));
        }
        let path = PathBuf::from(path);
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The authority is never looked at on a unix socket.
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        Ok(Client { channel, timeout })
    }

    async fn call<Q, R>(&self, path: &'static str, request: Q, timeout: Option<Duration>) -> Result<R, Status>
    where
        Q: prost::Message + Default + 'static,
        R: prost::Message + Default + 'static,
    {
        let mut grpc = self.grpc().await?;
        let mut request = Request::new(request);
        if let Some(timeout) = timeout {
            request.set_timeout(timeout);
        }
        let codec = ProstCodec::<Q, R>::default();
        let unary = grpc.unary(request, PathAndQuery::from_static(path), codec);
        let response = match timeout {
            // The runtime may hang without noticing the deadline it was given.
            Some(limit) => tokio::time::timeout(limit, unary)
                .await
                .map_err(|_| Status::new(Code::DeadlineExceeded, "context deadline exceeded"))??,
            None => unary.await?,
        };
        Ok(response.into_inner())
    }

    async fn grpc(&self) -> Result<Grpc<Channel>, Status> {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE);
        grpc.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
        Ok(grpc)
    }

    /// Subscribes to container events. A runtime without them answers `Unimplemented`.
    pub async fn get_container_events(&self) -> Result<Events, Status> {
        let mut grpc = self.grpc().await?;
        let codec = ProstCodec::<GetEventsRequest, ContainerEventResponse>::default();
        let path = PathAndQuery::from_static("/runtime.v1.RuntimeService/GetContainerEvents");
        Ok(grpc.server_streaming(Request::new(GetEventsRequest {}), path, codec).await?.into_inner())
    }

    /// Stops a container, allowing the grace period on top of the usual bound.
    pub async fn stop_container(
        &self,
        request: StopContainerRequest,
    ) -> Result<StopContainerResponse, Status> {
        let grace = Duration::from_secs(request.timeout.max(0).unsigned_abs());
        let limit = Some(self.timeout + grace);
        self.call("/runtime.v1.RuntimeService/StopContainer", request, limit).await
    }

    /// Runs a command; its own timeout, if it has one, comes on top of the usual bound.
    pub async fn exec_sync(&self, request: ExecSyncRequest) -> Result<ExecSyncResponse, Status> {
        let own = request.timeout.max(0).unsigned_abs();
        let limit = (own > 0).then(|| self.timeout + Duration::from_secs(own));
        self.call("/runtime.v1.RuntimeService/ExecSync", request, limit).await
    }

    /// Creates and starts a sandbox. Network set-up may be slow, so the bound is doubled.
    pub async fn run_pod_sandbox(
        &self,
        request: RunPodSandboxRequest,
    ) -> Result<RunPodSandboxResponse, Status> {
        self.call("/runtime.v1.RuntimeService/RunPodSandbox", request, Some(self.timeout * 2)).await
    }

    /// Pulls an image, however long that takes.
    pub async fn pull_image(&self, request: PullImageRequest) -> Result<PullImageResponse, Status> {
        self.call("/runtime.v1.ImageService/PullImage", request, None).await
    }
}

macro_rules! calls {
    ($($service:literal: $($name:ident = $rpc:literal $request:ident -> $response:ident, $doc:literal;)*)*) => {
        impl Client {
            $($(
                #[doc = $doc]
                pub async fn $name(&self, request: $request) -> Result<$response, Status> {
                    self.call(concat!("/runtime.v1.", $service, "/", $rpc), request, Some(self.timeout)).await
                }
            )*)*
        }
    };
}

calls! {
    "RuntimeService":
        version = "Version" VersionRequest -> VersionResponse, "Versions of runtime and interface.";
        status = "Status" StatusRequest -> StatusResponse, "Conditions, handlers and features.";
        runtime_config = "RuntimeConfig" RuntimeConfigRequest -> RuntimeConfigResponse, "The runtime's cgroup driver.";
        update_runtime_config = "UpdateRuntimeConfig" UpdateRuntimeConfigRequest -> UpdateRuntimeConfigResponse, "Hands the pod CIDR over.";
        stop_pod_sandbox = "StopPodSandbox" StopPodSandboxRequest -> StopPodSandboxResponse, "Stops a sandbox; idempotent.";
        remove_pod_sandbox = "RemovePodSandbox" RemovePodSandboxRequest -> RemovePodSandboxResponse, "Removes a sandbox; idempotent.";
        pod_sandbox_status = "PodSandboxStatus" PodSandboxStatusRequest -> PodSandboxStatusResponse, "The state of a sandbox.";
        list_pod_sandbox = "ListPodSandbox" ListPodSandboxRequest -> ListPodSandboxResponse, "Lists sandboxes.";
        create_container = "CreateContainer" CreateContainerRequest -> CreateContainerResponse, "Creates a container.";
        start_container = "StartContainer" StartContainerRequest -> StartContainerResponse, "Starts a container.";
        remove_container = "RemoveContainer" RemoveContainerRequest -> RemoveContainerResponse, "Removes a container; idempotent.";
        list_containers = "ListContainers" ListContainersRequest -> ListContainersResponse, "Lists containers.";
        container_status = "ContainerStatus" ContainerStatusRequest -> ContainerStatusResponse, "The state of a container.";
        update_container_resources = "UpdateContainerResources" UpdateContainerResourcesRequest -> UpdateContainerResourcesResponse, "Changes limits.";
        reopen_container_log = "ReopenContainerLog" ReopenContainerLogRequest -> ReopenContainerLogResponse, "Reopens a rotated log.";
        exec = "Exec" ExecRequest -> ExecResponse, "A streaming address to run a command.";
        attach = "Attach" AttachRequest -> AttachResponse, "A streaming address to attach.";
        port_forward = "PortForward" PortForwardRequest -> PortForwardResponse, "A streaming address to forward ports.";
    "ImageService":
        list_images = "ListImages" ListImagesRequest -> ListImagesResponse, "Lists images.";
        image_status = "ImageStatus" ImageStatusRequest -> ImageStatusResponse, "One image, if present.";
        remove_image = "RemoveImage" RemoveImageRequest -> RemoveImageResponse, "Removes an image; idempotent.";
        image_fs_info = "ImageFsInfo" ImageFsInfoRequest -> ImageFsInfoResponse, "Space used by images.";
}
