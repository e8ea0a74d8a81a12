//! Answers TokenRequests: tokens for ServiceAccounts, bound to what the request names.

use std::sync::Arc;

use futures::future::BoxFuture;
use jiff::SignedDuration;
use proto::field;
use proto::status::Status;
use serde_json::{Value, json};

use super::claims::{Kubernetes, NewToken, Reference};
use super::jwt;
use super::keys::PrivateKey;
use crate::engine::meta;
use crate::registry::{Ctx, TokenIssuer};

const GROUP: &str = "authentication.k8s.io";
/// What the kubelet asks for on behalf of pods that didn't choose a lifetime: such tokens are kept
/// valid for longer, so that programs which never reread them go on working.
const EXTENDED_REQUEST_SECONDS: i64 = 60 * 60 + 7;
const EXTENSION_SECONDS: i64 = 365 * 24 * 60 * 60;
const DEFAULT_SECONDS: i64 = 60 * 60;

/// Signs tokens in the name of the cluster.
pub struct Issuer {
    pub key: PrivateKey,
    /// The first --service-account-issuer.
    pub issuer: String,
    pub api_audiences: Vec<String>,
    /// --service-account-max-token-expiration in seconds; 0: no limit.
    pub max_seconds: i64,
    /// --service-account-extend-token-expiration.
    pub extend: bool,
}

impl TokenIssuer for Issuer {
    fn issue<'a>(&'a self, ctx: &'a Ctx, request: Value) -> BoxFuture<'a, Result<Value, Status>> {
        Box::pin(self.answer(ctx, request))
    }
}

/// What a token is bound to.
#[derive(Default)]
struct Bound {
    uid: String,
    pod: Option<Reference>,
    secret: Option<Reference>,
    node: Option<Reference>,
}

impl Issuer {
    async fn answer(&self, ctx: &Ctx, mut request: Value) -> Result<Value, Status> {
        check_identity(ctx, &request)?;
        let account = ctx.local.get("", "serviceaccounts", &ctx.namespace, &ctx.name).await?;
        let account_uid = uid(&account);
        let wanted_uid = request["metadata"]["uid"].as_str().unwrap_or_default();
        if !wanted_uid.is_empty() && wanted_uid != account_uid {
            let why = format!(
                "the UID in the token request ({wanted_uid}) does not match the UID of the service account ({account_uid})"
            );
            return Err(Status::conflict(GROUP, "TokenRequest", &ctx.name, why));
        }
        self.complete(ctx, &mut request, &account_uid);
        let errors = validate(&request);
        if !errors.is_empty() {
            return Err(Status::invalid(GROUP, "TokenRequest", "", &errors));
        }
        let bound = self.bind(ctx, &request).await?;
        let mut seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
        if self.max_seconds > 0 && seconds > self.max_seconds {
            seconds = self.max_seconds;
            request["spec"]["expirationSeconds"] = json!(seconds);
        }
        let (token, expiry) = self.sign(ctx, &request, bound, &account_uid, seconds)?;
        request["status"] = json!({ "token": token, "expirationTimestamp": expiry });
        Ok(request)
    }

    /// Fills in what the request left to the server.
    fn complete(&self, ctx: &Ctx, request: &mut Value, account_uid: &str) {
        request["metadata"]["name"] = json!(ctx.name);
        request["metadata"]["namespace"] = json!(ctx.namespace);
        request["metadata"]["uid"] = json!(account_uid);
        request["metadata"]["creationTimestamp"] = json!(meta::time(ctx.now));
        if request["spec"]["audiences"].as_array().is_none_or(Vec::is_empty) {
            request["spec"]["audiences"] = json!(self.api_audiences);
        }
        if request["spec"]["expirationSeconds"].is_null() {
            request["spec"]["expirationSeconds"] = json!(DEFAULT_SECONDS);
        }
    }

    async fn bind(&self, ctx: &Ctx, request: &Value) -> Result<Bound, Status> {
        let reference = &request["spec"]["boundObjectRef"];
        if reference.is_null() {
            return Ok(Bound::default());
        }
        let text = |field: &str| reference[field].as_str().unwrap_or_default();
        let (version, kind, name) = (text("apiVersion"), text("kind"), text("name"));
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let bound = match (group, kind) {
            ("", "Pod") => bind_pod(ctx, name).await?,
            ("", "Node") => {
                let node = ctx.local.get("", "nodes", "", name).await?;
                Bound { uid: uid(&node), node: Some(reference_to(&node)), ..Bound::default() }
            }
            ("", "Secret") => {
                let secret = ctx.local.get("", "secrets", &ctx.namespace, name).await?;
                Bound { uid: uid(&secret), secret: Some(reference_to(&secret)), ..Bound::default() }
            }
            _ => {
                let version = version.rsplit('/').next().unwrap_or_default();
                return Err(Status::bad_request(format!(
                    "cannot bind token to object of type {group}/{version}, Kind={kind}"
                )));
            }
        };
        let wanted = text("uid");
        if !wanted.is_empty() && wanted != bound.uid {
            let why = format!(
                "the UID in the bound object reference ({wanted}) does not match the UID in record. \
                 The object might have been deleted and then recreated"
            );
            return Err(Status::conflict(group, kind, name, why));
        }
        Ok(bound)
    }

    fn sign(
        &self,
        ctx: &Ctx,
        request: &Value,
        bound: Bound,
        account_uid: &str,
        seconds: i64,
    ) -> Result<(String, String), Status> {
        let audiences = request["spec"]["audiences"].as_array().map_or(&[][..], Vec::as_slice);
        let audiences: Vec<String> =
            audiences.iter().filter_map(|audience| audience.as_str().map(str::to_owned)).collect();
        let is_extended = self.extend
            && bound.pod.is_some()
            && seconds == EXTENDED_REQUEST_SECONDS
            && audiences.iter().all(|audience| self.api_audiences.contains(audience));
        let now = ctx.now.as_second();
        let token = NewToken {
            issuer: &self.issuer,
            audiences: &audiences,
            kubernetes: Kubernetes {
                namespace: ctx.namespace.clone(),
                serviceaccount: Reference { name: ctx.name.clone(), uid: account_uid.to_owned() },
                pod: bound.pod,
                secret: bound.secret,
                node: bound.node,
                warnafter: is_extended.then_some(now + seconds),
            },
            now,
            lifetime: if is_extended { EXTENSION_SECONDS } else { seconds },
            id: uuid::Uuid::new_v4().to_string(),
        };
        let signed = jwt::sign(&self.key, &token.claims())
            .map_err(|_| Status::internal("failed to generate token: the signing key is unusable"))?;
        let expiry = ctx.now.saturating_add(SignedDuration::from_secs(seconds));
        let expiry = expiry.map_err(|error| Status::internal(error.to_string()))?;
        Ok((signed, meta::time(expiry)))
    }
}

/// Name and namespace in the body, where given, are those of the path.
fn check_identity(ctx: &Ctx, request: &Value) -> Result<(), Status> {
    for (field, expected, what) in [("name", &ctx.name, "name"), ("namespace", &ctx.namespace, "namespace")] {
        let given = request["metadata"][field].as_str().unwrap_or_default();
        if !given.is_empty() && given != expected {
            let path = field::Path::new("metadata").child(field);
            let detail = format!("must match the service account {what} if specified");
            let error = field::Error::invalid(&path, given, detail);
            return Err(Status::invalid(GROUP, "TokenRequest", &ctx.name, &[error]));
        }
    }
    Ok(())
}

fn validate(request: &Value) -> field::Errors {
    let path = field::Path::new("spec").child("expirationSeconds");
    let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or_default();
    let mut errors = field::Errors::new();
    if seconds < 10 * 60 {
        errors.push(field::Error::invalid(&path, seconds, "may not specify a duration less than 10 minutes"));
    }
    if seconds > 1 << 32 {
        errors.push(field::Error::invalid(
            &path,
            seconds,
            "may not specify a duration larger than 2^32 seconds",
        ));
    }
    errors
}

async fn bind_pod(ctx: &Ctx, name: &str) -> Result<Bound, Status> {
    let pod = ctx.local.get("", "pods", &ctx.namespace, name).await?;
    if pod["spec"]["serviceAccountName"].as_str() != Some(ctx.name.as_str()) {
        return Err(Status::bad_request(format!(
            "cannot bind token for serviceaccount \"{}\" to pod running with different serviceaccount name.",
            ctx.name
        )));
    }
    let node = match pod["spec"]["nodeName"].as_str() {
        None | Some("") => None,
        Some(node) => Some(node_reference(ctx, node).await?),
    };
    Ok(Bound { uid: uid(&pod), pod: Some(reference_to(&pod)), node, ..Bound::default() })
}

/// The node a pod runs on; its name alone if it is gone.
async fn node_reference(ctx: &Ctx, name: &str) -> Result<Reference, Status> {
    if let Some(node) = ctx.local.cached("", "nodes", "", name) {
        return Ok(reference_to(&node));
    }
    match ctx.local.get("", "nodes", "", name).await {
        Ok(node) => Ok(reference_to(&node)),
        Err(error) if error.is_not_found() => Ok(Reference { name: name.to_owned(), uid: String::new() }),
        Err(error) => Err(Status::internal(error.message)),
    }
}

fn uid(object: &Arc<Value>) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

fn reference_to(object: &Arc<Value>) -> Reference {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    Reference { name: name.to_owned(), uid: uid(object) }
}
