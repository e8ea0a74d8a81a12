//! The writes of the binder. Each updates the view it was given, so that the next can build on it.

use component_base::client::DeleteOptions;
use component_base::client::known::{PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Binder;
use super::matching::is_bound_to;
use super::plan::{BETA_PROVISIONER, BIND_COMPLETED, BOUND_BY_CONTROLLER, PROVISIONER};
use crate::api::storage::{PersistentVolume, PersistentVolumeClaim};
use crate::common::events::Event;
use crate::common::write;

const YES: &str = "yes";

fn view<T: DeserializeOwned>(written: Value) -> anyhow::Result<T> {
    // By way of text: views may keep parts raw.
    Ok(serde_json::from_str(&written.to_string())?)
}

impl Binder {
    async fn write_volume(
        &self,
        volume: &mut PersistentVolume,
        subresource: &'static str,
        edit: impl FnOnce(&mut Value),
    ) -> anyhow::Result<()> {
        let resource = PERSISTENT_VOLUMES.sub(subresource);
        let written =
            write::update(&self.controller, &resource, "PersistentVolume", &volume.metadata, edit).await?;
        *volume = view(written)?;
        Ok(())
    }

    async fn write_claim(
        &self,
        claim: &mut PersistentVolumeClaim,
        subresource: &'static str,
        edit: impl FnOnce(&mut Value),
    ) -> anyhow::Result<()> {
        let resource = PERSISTENT_VOLUME_CLAIMS.sub(subresource);
        let written =
            write::update(&self.controller, &resource, "PersistentVolumeClaim", &claim.metadata, edit)
                .await?;
        *claim = view(written)?;
        Ok(())
    }

    /// Ties a volume and a claim together, as far as they aren't yet.
    pub(super) async fn bind(
        &self,
        volume: &PersistentVolume,
        mut claim: PersistentVolumeClaim,
    ) -> anyhow::Result<()> {
        let mut volume = volume.clone();
        let reserved = is_bound_to(&volume, &claim);
        let complete =
            volume.spec.claim_ref.as_ref().is_some_and(|r| reserved && r.uid == claim.metadata.uid);
        if !complete {
            let reference = json!({
                "kind": "PersistentVolumeClaim",
                "apiVersion": "v1",
                "namespace": claim.metadata.namespace,
                "name": claim.metadata.name,
                "uid": claim.metadata.uid,
                "resourceVersion": claim.metadata.resource_version,
            });
            self.write_volume(&mut volume, "", |object| {
                object["spec"]["claimRef"] = reference;
                if !reserved {
                    object["metadata"]["annotations"][BOUND_BY_CONTROLLER] = json!(YES);
                }
            })
            .await?;
        }
        self.set_volume_phase(&mut volume, "Bound", "").await?;
        let annotated = claim.metadata.annotations.contains_key(BIND_COMPLETED);
        let names_it = claim.spec.volume_name == volume.metadata.name;
        if !annotated || !names_it {
            self.write_claim(&mut claim, "", |object| {
                if !names_it {
                    object["spec"]["volumeName"] = json!(volume.metadata.name);
                    object["metadata"]["annotations"][BOUND_BY_CONTROLLER] = json!(YES);
                }
                object["metadata"]["annotations"][BIND_COMPLETED] = json!(YES);
            })
            .await?;
        }
        self.set_claim_phase(&mut claim, "Bound", Some(&volume)).await?;
        Ok(())
    }

    /// Sets phase and message; says whether they changed.
    pub(super) async fn set_volume_phase(
        &self,
        volume: &mut PersistentVolume,
        phase: &str,
        message: &str,
    ) -> anyhow::Result<bool> {
        if volume.status.phase == phase {
            return Ok(false);
        }
        self.write_volume(volume, "status", |object| {
            object["status"]["phase"] = json!(phase);
            object["status"]["message"] = json!(message);
        })
        .await?;
        Ok(true)
    }

    /// Sets the phase, and what the claim has got of the volume; says whether something changed.
    pub(super) async fn set_claim_phase(
        &self,
        claim: &mut PersistentVolumeClaim,
        phase: &str,
        volume: Option<&PersistentVolume>,
    ) -> anyhow::Result<bool> {
        let status = &claim.status;
        let mut fields = Vec::new();
        if status.phase != phase {
            fields.push(("phase", json!(phase)));
        }
        match volume {
            None => {
                if !status.access_modes.is_empty() {
                    fields.push(("accessModes", Value::Null));
                }
                if status.capacity.storage.is_some() {
                    fields.push(("capacity", Value::Null));
                }
                if status.current_volume_attributes_class_name.is_some() {
                    fields.push(("currentVolumeAttributesClassName", Value::Null));
                }
            }
            Some(volume) => {
                if status.access_modes != volume.spec.access_modes {
                    fields.push(("accessModes", json!(volume.spec.access_modes)));
                }
                // Once bound, the capacity is that of the file system, which may lag behind.
                if status.phase != phase && status.capacity != volume.spec.capacity {
                    fields.push(("capacity", json!(volume.spec.capacity)));
                }
                let class = &volume.spec.volume_attributes_class_name;
                if status.phase == "Pending" && status.current_volume_attributes_class_name != *class {
                    fields.push(("currentVolumeAttributesClassName", json!(class)));
                }
            }
        }
        if fields.is_empty() {
            return Ok(false);
        }
        self.write_claim(claim, "status", |object| {
            for (name, value) in fields {
                object["status"][name] = value;
            }
        })
        .await?;
        Ok(true)
    }

    pub(super) async fn set_class(
        &self,
        claim: &mut PersistentVolumeClaim,
        class: &str,
    ) -> anyhow::Result<()> {
        self.write_claim(claim, "", |object| object["spec"]["storageClassName"] = json!(class)).await
    }

    /// Tells the provisioner, by an annotation, that a volume is wanted.
    pub(super) async fn ask_for_volume(
        &self,
        claim: &mut PersistentVolumeClaim,
        provisioner: &str,
    ) -> anyhow::Result<()> {
        let keys = [PROVISIONER, BETA_PROVISIONER];
        let asked = |key: &&str| claim.metadata.annotations.get(*key).is_some_and(|name| name == provisioner);
        if !keys.iter().all(asked) {
            let written = self
                .write_claim(claim, "", |object| {
                    for key in keys {
                        object["metadata"]["annotations"][key] = json!(provisioner);
                    }
                })
                .await;
            if let Err(error) = written {
                self.record_claim(
                    claim,
                    &Event::warning("ProvisioningFailed", format!("Error saving claim: {error}")),
                );
                return Err(error);
            }
        }
        let text = format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
        );
        self.record_claim(claim, &Event::normal("ExternalProvisioning", text));
        Ok(())
    }

    pub(super) async fn unbind(&self, volume: &mut PersistentVolume, keep_name: bool) -> anyhow::Result<()> {
        self.write_volume(volume, "", |object| {
            if keep_name {
                object["spec"]["claimRef"]["uid"] = json!("");
                return;
            }
            if let Some(spec) = object["spec"].as_object_mut() {
                spec.remove("claimRef");
            }
            if let Some(annotations) = object["metadata"]["annotations"].as_object_mut() {
                annotations.remove(BOUND_BY_CONTROLLER);
            }
        })
        .await?;
        self.set_volume_phase(volume, "Available", "").await?;
        Ok(())
    }

    pub(super) async fn delete_volume(&self, volume: &PersistentVolume) -> anyhow::Result<()> {
        let options = DeleteOptions::uid(&volume.metadata.uid);
        match self.controller.client.delete(&PERSISTENT_VOLUMES, "", &volume.metadata.name, &options).await {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }
}
