//! The files of volumes that have content of their own.

use super::{Inputs, token};
use crate::api::{Pod, PodView, Volume};
use crate::container::downward;
use crate::objects::{Kind as ObjectKind, Object};
use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, VolumeProjection};
use std::collections::BTreeMap;

/// One file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct File {
    /// What is in it.
    pub(super) bytes: Vec<u8>,
    /// Its permissions.
    pub(super) mode: u32,
    /// Its owner, if not root.
    pub(super) uid: Option<u32>,
}

/// Files by path.
pub(super) type Files = BTreeMap<String, File>;

const DEFAULT_MODE: i32 = 0o644;

/// What a pod's volumes refer to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct References {
    /// Config maps and secrets.
    pub objects: Vec<(ObjectKind, String)>,
    /// Tokens of its service account.
    pub tokens: Vec<token::Request>,
    /// Claims: the volume's name and the claim's.
    pub claims: Vec<(String, String)>,
}

/// Collects what must be read before the volumes can be set up.
pub fn references(pod: &Pod) -> References {
    let mut refs = References::default();
    for volume in pod.volumes() {
        if let Some(c) = &volume.config_map {
            refs.objects.push((ObjectKind::ConfigMap, c.name.clone()));
        }
        if let Some(name) = volume.secret.as_ref().and_then(|s| s.secret_name.clone()) {
            refs.objects.push((ObjectKind::Secret, name));
        }
        if let Some(claim) = &volume.persistent_volume_claim {
            refs.claims.push((volume.name.clone(), claim.claim_name.clone()));
        }
        if volume.ephemeral.is_some() {
            refs.claims.push((volume.name.clone(), format!("{}-{}", pod.name(), volume.name)));
        }
        for source in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
            refs.objects.extend(source.config_map.iter().map(|c| (ObjectKind::ConfigMap, c.name.clone())));
            refs.objects.extend(source.secret.iter().map(|s| (ObjectKind::Secret, s.name.clone())));
            refs.tokens.extend(source.service_account_token.iter().map(token::Request::from));
        }
    }
    refs
}

/// The files of a volume.
pub(super) fn files(pod: &Pod, volume: &Volume, inputs: &Inputs<'_>) -> Result<Files, String> {
    let mut files = Files::new();
    if let Some(v) = &volume.config_map {
        let mode = v.default_mode.unwrap_or(DEFAULT_MODE);
        let optional = v.optional.unwrap_or(false);
        let object = inputs.sources.get(ObjectKind::ConfigMap, &v.name, optional)?;
        add_object(&mut files, ObjectKind::ConfigMap, object, v.items.as_deref(), mode, optional)?;
    } else if let Some(v) = &volume.secret {
        let name = v.secret_name.as_deref().unwrap_or_default();
        let mode = v.default_mode.unwrap_or(DEFAULT_MODE);
        let optional = v.optional.unwrap_or(false);
        let object = inputs.sources.get(ObjectKind::Secret, name, optional)?;
        add_object(&mut files, ObjectKind::Secret, object, v.items.as_deref(), mode, optional)?;
    } else if let Some(v) = &volume.downward_api {
        add_downward(&mut files, pod, v.items.as_deref(), v.default_mode.unwrap_or(DEFAULT_MODE), inputs)?;
    } else if let Some(v) = &volume.projected {
        let mode = v.default_mode.unwrap_or(DEFAULT_MODE);
        // All sources are tried, so that one event tells all that is missing.
        let mut errors = Vec::new();
        for source in v.sources.iter().flatten() {
            if let Err(e) = add_projection(&mut files, pod, source, mode, inputs) {
                errors.push(e);
            }
        }
        match errors.as_slice() {
            [] => {}
            [one] => return Err(one.clone()),
            many => return Err(format!("[{}]", many.join(", "))),
        }
    }
    match files.keys().find(|path| !is_safe(path)) {
        Some(path) => Err(format!("invalid path {path:?}")),
        None => Ok(files),
    }
}

/// A path of ours stays below its volume and out of the names the atomic writer uses.
fn is_safe(path: &str) -> bool {
    let parts: Vec<_> = path.split('/').collect();
    !path.is_empty() && !path.starts_with('/') && !path.starts_with("..") && !parts.contains(&"..")
}

fn add_projection(
    files: &mut Files,
    pod: &Pod,
    source: &VolumeProjection,
    mode: i32,
    inputs: &Inputs<'_>,
) -> Result<(), String> {
    if let Some(s) = &source.config_map {
        let optional = s.optional.unwrap_or(false);
        let object = inputs.sources.get(ObjectKind::ConfigMap, &s.name, optional)?;
        return add_object(files, ObjectKind::ConfigMap, object, s.items.as_deref(), mode, optional);
    }
    if let Some(s) = &source.secret {
        let optional = s.optional.unwrap_or(false);
        let object = inputs.sources.get(ObjectKind::Secret, &s.name, optional)?;
        return add_object(files, ObjectKind::Secret, object, s.items.as_deref(), mode, optional);
    }
    if let Some(s) = &source.downward_api {
        return add_downward(files, pod, s.items.as_deref(), mode, inputs);
    }
    if let Some(s) = &source.service_account_token {
        let token = match inputs.tokens.get(&token::Request::from(s)) {
            Some(Ok(token)) => token.clone(),
            Some(Err(e)) => return Err(e.clone()),
            None => return Err("service account token is not known".into()),
        };
        let uid = common_user(pod);
        let grouped = pod.spec().security_context.as_ref().is_some_and(|s| s.fs_group.is_some());
        // A token is its owner's alone, where it has one.
        let mode = if uid.is_some() || grouped { 0o600 } else { mode as u32 };
        files.insert(s.path.clone(), File { bytes: token.into_bytes(), mode, uid });
        return Ok(());
    }
    if source.cluster_trust_bundle.is_some() {
        return Err("projected sources of kind clusterTrustBundle are not supported".into());
    }
    if source.pod_certificate.is_some() {
        return Err("projected sources of kind podCertificate are not supported".into());
    }
    Ok(())
}

/// The user all containers run as, if it is stated and one.
fn common_user(pod: &Pod) -> Option<u32> {
    let default = pod.spec().security_context.as_ref().and_then(|s| s.run_as_user);
    let of = |c: &crate::api::Container| c.security_context.as_ref().and_then(|s| s.run_as_user).or(default);
    let mut users = pod.init_containers().iter().chain(pod.containers()).map(of);
    let first = users.next().flatten()?;
    users.all(|u| u == Some(first)).then_some(first).and_then(|u| u32::try_from(u).ok())
}

fn add_object(
    files: &mut Files,
    kind: ObjectKind,
    object: Option<&Object>,
    items: Option<&[KeyToPath]>,
    mode: i32,
    optional: bool,
) -> Result<(), String> {
    let Some(object) = object else { return Ok(()) };
    let file = |bytes: &Vec<u8>, mode: i32| File { bytes: bytes.clone(), mode: mode as u32, uid: None };
    match items.filter(|i| !i.is_empty()) {
        None => files.extend(object.files().map(|(key, bytes)| (key.clone(), file(bytes, mode)))),
        Some(items) => {
            for item in items {
                match object.file(&item.key) {
                    Some(bytes) => {
                        files.insert(item.path.clone(), file(bytes, item.mode.unwrap_or(mode)));
                    }
                    None if optional => {}
                    None if kind == ObjectKind::ConfigMap => {
                        return Err(format!("configmap references non-existent config key: {}", item.key));
                    }
                    None => return Err(format!("references non-existent secret key: {}", item.key)),
                }
            }
        }
    }
    Ok(())
}

fn add_downward(
    files: &mut Files,
    pod: &Pod,
    items: Option<&[DownwardAPIVolumeFile]>,
    mode: i32,
    inputs: &Inputs<'_>,
) -> Result<(), String> {
    for item in items.unwrap_or_default() {
        let text = if let Some(field) = &item.field_ref {
            downward::metadata(&field.field_path, pod)?
        } else if let Some(resource) = &item.resource_field_ref {
            downward::resource(resource, pod, None, inputs.around)?
        } else {
            continue;
        };
        let mode = item.mode.unwrap_or(mode) as u32;
        files.insert(item.path.clone(), File { bytes: text.into_bytes(), mode, uid: None });
    }
    Ok(())
}
