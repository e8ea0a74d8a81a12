//! Makes sure that an image is there.

use super::keyring::Keyring;
use super::name;
use crate::api::{Container, ContainerKind, Pod, PodView};
use crate::container::security::ImageUser;
use crate::events::Events;
use crate::pod::backoff::{Backoff, Nanos, now};
use crate::status::Reason;
use component_base::events::EventType::{Normal, Warning};
use parking_lot::Mutex;
use proto::cri;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// An image that is there.
#[derive(Clone, Debug, Default)]
pub struct Present {
    /// What the runtime knows it by.
    pub reference: String,
    /// The user it asks for.
    pub user: ImageUser,
}

/// Why an image isn't there, and when to try again, if that is decided.
#[derive(Debug)]
pub struct Failure {
    /// Why.
    pub reason: Reason,
    /// When, in nanoseconds since the epoch.
    pub retry_at: Option<Nanos>,
}

/// Pulls images.
pub struct Puller {
    cri: cri::Client,
    events: Events,
    node_keyring: Keyring,
    backoff: Mutex<Backoff>,
    last_errors: Mutex<HashMap<String, String>>,
    parallel: Semaphore,
}

impl Puller {
    /// `parallel` pulls may run at once.
    pub fn new(cri: cri::Client, events: Events, node_keyring: Keyring, parallel: usize) -> Puller {
        const FIRST: Duration = Duration::from_secs(10);
        const MAX: Duration = Duration::from_secs(300);
        Puller {
            cri,
            events,
            node_keyring,
            backoff: Mutex::new(Backoff::new(FIRST, MAX)),
            last_errors: Mutex::default(),
            parallel: Semaphore::new(parallel),
        }
    }

    /// Makes sure that a container's image is there.
    pub async fn ensure(
        &self,
        pod: &Pod,
        list: ContainerKind,
        container: &Container,
        secrets: &Keyring,
        sandbox: &cri::PodSandboxConfig,
        handler: &str,
    ) -> Result<Present, Failure> {
        let image = container.image.as_deref().unwrap_or_default();
        let policy = container.image_pull_policy.as_deref().unwrap_or("IfNotPresent");
        let place = Place { pod, list, name: &container.name };
        self.ensure_image(&place, image, policy, secrets, sandbox, handler).await
    }

    async fn ensure_image(
        &self,
        place: &Place<'_>,
        image: &str,
        policy: &str,
        secrets: &Keyring,
        sandbox: &cri::PodSandboxConfig,
        handler: &str,
    ) -> Result<Present, Failure> {
        let full = name::with_default_tag(image).map_err(|e| {
            let message = format!("Failed to apply default image tag {image:?}: {e}");
            self.event(place, Warning, "InspectFailed", &message);
            failure("InvalidImageName", message)
        })?;
        let spec = cri::ImageSpec {
            image: full.clone(),
            annotations: place.pod.metadata.annotations.clone().unwrap_or_default(),
            runtime_handler: handler.into(),
            ..Default::default()
        };
        let present = self.inspect(&spec).await.map_err(|e| {
            let message = format!("Failed to inspect image {:?}: {}", image, e.message());
            self.event(place, Warning, "InspectFailed", &message);
            failure("ImageInspectError", message)
        })?;
        match (present, policy) {
            (Some(present), "IfNotPresent" | "Never") => {
                let message = format!(
                    "Container image {image:?} already present on machine and can be accessed by the pod"
                );
                self.event(place, Normal, "Pulled", &message);
                Ok(present)
            }
            (_, "Never") => {
                let message = format!("Container image {image:?} is not present with pull policy of Never");
                self.event(place, Warning, "ErrImageNeverPull", &message);
                Err(failure("ErrImageNeverPull", message))
            }
            _ => self.pull(place, image, &spec, secrets, sandbox).await,
        }
    }

    async fn inspect(&self, spec: &cri::ImageSpec) -> Result<Option<Present>, tonic::Status> {
        let request = cri::ImageStatusRequest { image: Some(spec.clone()), verbose: false };
        let image = self.cri.image_status(request).await?.image;
        Ok(image.map(|image| Present {
            reference: image.id,
            user: ImageUser { uid: image.uid.map(|u| u.value), name: image.username },
        }))
    }

    async fn pull(
        &self,
        place: &Place<'_>,
        image: &str,
        spec: &cri::ImageSpec,
        secrets: &Keyring,
        sandbox: &cri::PodSandboxConfig,
    ) -> Result<Present, Failure> {
        let key = format!("{}_{image}", place.pod.uid());
        if let Some(end) = self.backoff.lock().until_since_update(&key, now()) {
            let mut message = format!("Back-off pulling image {image:?}");
            self.event(place, Normal, "BackOff", &message);
            if let Some(last) = self.last_errors.lock().get(&key) {
                message = format!("{message}: {last}");
            }
            return Err(Failure { retry_at: Some(end), ..failure("ImagePullBackOff", message) });
        }
        self.event(place, Normal, "Pulling", &format!("Pulling image {image:?}"));
        let asked = Instant::now();
        let permit = self.parallel.acquire().await;
        let begun = Instant::now();
        let pulled = self.pull_with_any(spec, secrets, sandbox).await;
        drop(permit);
        let result = match pulled {
            Ok(()) => self.inspect(spec).await.map_err(|e| rpc_text(&e)),
            Err(e) => Err(pull_text(&e)),
        };
        match result {
            Ok(Some(present)) => {
                self.last_errors.lock().remove(&key);
                let size = self.size(spec).await;
                let message = format!(
                    "Successfully pulled image {image:?} in {} ({} including waiting). Image size: {size} bytes.",
                    go_millis(begun.elapsed()),
                    go_millis(asked.elapsed()),
                );
                self.event(place, Normal, "Pulled", &message);
                Ok(present)
            }
            Ok(None) => Err(self.pull_failed(place, image, key, "image not found after pulling".into())),
            Err(e) => Err(self.pull_failed(place, image, key, e)),
        }
    }

    fn pull_failed(&self, place: &Place<'_>, image: &str, key: String, error: String) -> Failure {
        self.event(place, Warning, "Failed", &format!("Failed to pull image {image:?}: {error}"));
        let mut backoff = self.backoff.lock();
        backoff.next(&key, now(), now());
        let retry_at = backoff.until_since_update(&key, now());
        self.last_errors.lock().insert(key, format!("ErrImagePull: {error}"));
        Failure { retry_at, ..failure("ErrImagePull", error) }
    }

    /// Tries credentials one after another; without any, as nobody.
    async fn pull_with_any(
        &self,
        spec: &cri::ImageSpec,
        secrets: &Keyring,
        sandbox: &cri::PodSandboxConfig,
    ) -> Result<(), tonic::Status> {
        let repository = name::parse(&spec.image).map(|n| n.repository.to_string()).unwrap_or_default();
        let mut auths: Vec<_> = secrets.lookup(&repository).into_iter().map(Some).collect();
        auths.extend(self.node_keyring.lookup(&repository).into_iter().map(Some));
        if auths.is_empty() {
            auths.push(None);
        }
        let mut last = tonic::Status::unknown("no credentials");
        for auth in auths {
            let request = cri::PullImageRequest {
                image: Some(spec.clone()),
                auth,
                sandbox_config: Some(sandbox.clone()),
            };
            match self.cri.pull_image(request).await {
                Ok(_) => return Ok(()),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    async fn size(&self, spec: &cri::ImageSpec) -> u64 {
        let request = cri::ImageStatusRequest { image: Some(spec.clone()), verbose: false };
        self.cri.image_status(request).await.ok().and_then(|r| r.image).map_or(0, |i| i.size)
    }

    fn event(&self, place: &Place<'_>, kind: component_base::events::EventType, reason: &str, message: &str) {
        self.events.start_failure(place.pod, (place.list, place.name), "", kind, reason, message);
    }

    /// Forgets a pod.
    pub fn forget(&self, uid: &str) {
        self.backoff.lock().forget(&format!("{uid}_"));
        self.last_errors.lock().retain(|key, _| !key.starts_with(uid));
    }
}

struct Place<'a> {
    pod: &'a Pod,
    list: ContainerKind,
    name: &'a str,
}

fn failure(reason: &str, message: String) -> Failure {
    Failure { reason: Reason { reason: reason.into(), message }, retry_at: None }
}

/// A failed pull: where the code says nothing, the message alone.
fn pull_text(status: &tonic::Status) -> String {
    if status.code() == tonic::Code::Unknown { status.message().to_string() } else { rpc_text(status) }
}

/// A failed call, as Go's library prints it.
pub fn rpc_text(status: &tonic::Status) -> String {
    format!("rpc error: code = {:?} desc = {}", status.code(), status.message())
}

fn go_millis(d: Duration) -> String {
    let ms = d.as_millis();
    if ms < 1000 { format!("{ms}ms") } else { format!("{}s", (ms as f64) / 1000.0) }
}
