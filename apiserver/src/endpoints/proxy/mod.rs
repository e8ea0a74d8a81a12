//! Connections that the server passes on: to kubelets (log, exec, attach, portforward, nodes/proxy) and to pods and
//! Services (proxy).
//!
//! Upgraded connections (SPDY and WebSocket) pass as bytes: who is at the other end speaks the protocol. The one exception is
//! port-forwarding inside a WebSocket, whose tunnel ends here, because what kubelets pass on to runtimes is SPDY.

mod backend;
mod forward;
mod location;
pub(super) mod options;
mod tunnel;

use std::sync::Arc;

use hyper::body::Incoming;
use proto::status::Status;

use crate::auth::{Attributes, Authorizer, Decision, UserInfo, authz};
use crate::registry::{Connect, Local};
use crate::server::query::Query;
use crate::server::request_info::RequestInfo;
use crate::server::{Body, Response};

pub use backend::{Backends, KubeletOptions};

/// A request for a connection, past the filters.
pub struct Wanted {
    /// Which connection.
    pub connect: Connect,
    /// Namespace, name, and the path after `proxy`.
    pub info: RequestInfo,
    /// Its parameters.
    pub query: Query,
    /// Who wants it.
    pub user: Arc<UserInfo>,
    /// The request itself.
    pub request: http::Request<Incoming>,
}

/// Finds the other end, connects to it and passes the request on.
///
/// # Errors
/// NotFound and BadRequest for what names no other end, InternalError or ServiceUnavailable where it can't be reached.
pub async fn connect(
    backends: &Backends,
    local: &dyn Local,
    authorizer: &dyn Authorizer,
    wanted: Wanted,
) -> Result<Response, Status> {
    let Wanted { connect, info, query, user, request } = wanted;
    let streaming = matches!(connect, Connect::PodExec | Connect::PodAttach | Connect::PodPortForward);
    if streaming {
        may_create(authorizer, &info, &query, user).await?;
    }
    let Some(location) = location::find(backends, local, connect, &info, &query).await? else {
        // The log of a pod that has no node yet is empty.
        return Ok(Response::new(Body::empty()));
    };
    if connect == Connect::PodPortForward && tunnel::is_wanted(&request) {
        return tunnel::open(backends, &location, request).await;
    }
    if forward::is_upgrade(&request) {
        return forward::upgrade(backends, &location, request, streaming).await;
    }
    match connect {
        Connect::PodLog => forward::log(backends, &location, &info.name).await,
        _ if streaming => Err(Status::bad_request("Upgrade request required")),
        _ => forward::request(backends, &location, request).await,
    }
}

/// A WebSocket handshake is a GET, which RBAC calls `get`: what it opens needs `create`, as the POST of other clients does.
async fn may_create(
    authorizer: &dyn Authorizer,
    info: &RequestInfo,
    query: &Query,
    user: Arc<UserInfo>,
) -> Result<(), Status> {
    let attributes = Attributes { verb: "create".to_owned(), ..authz::attributes(info, query, user) };
    let verdict = authorizer.authorize(&attributes).await;
    match verdict.decision {
        Decision::Allow => Ok(()),
        _ => Err(authz::forbidden(&attributes, &verdict.reason)),
    }
}
