//! Writes of whole objects where a role grants only `update`.
//!
//! A view is too slim to be written back. So the object is read whole, edited by path, and written with
//! the revision that was read. The decision was made on the cached revision: if the fresh one is
//! another, the write is refused like any conflict, and the decision is made again.

use component_base::client::{Error, ListOptions, Resource};
use proto::meta::ObjectMeta;
use proto::status::Status;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::context::Controller;

/// Reads one object whole. The daemon's own identity may list everything but get little, so this is a
/// list of one.
pub async fn read(
    controller: &Controller,
    resource: &Resource,
    namespace: &str,
    name: &str,
) -> Result<Value, Error> {
    let options = ListOptions { fields: format!("metadata.name={name}"), ..Default::default() };
    let mut list = controller.reader.list::<Value>(resource, namespace, &options).await?;
    list.items
        .pop()
        .ok_or_else(|| Error::Api(Box::new(Status::not_found(&resource.group, &resource.plural, name))))
}

/// Edits the object (or the subresource of `resource`) that `seen` is the metadata of.
pub async fn update(
    controller: &Controller,
    resource: &Resource,
    kind: &str,
    seen: &ObjectMeta,
    edit: impl FnOnce(&mut Value),
) -> Result<Value, Error> {
    let parent = resource.sub("");
    let mut object = read(controller, &parent, &seen.namespace, &seen.name).await?;
    let fresh = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
    if fresh("uid") != seen.uid || fresh("resourceVersion") != seen.resource_version {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        let status = Status::conflict(&parent.group, &parent.plural, &seen.name, why);
        return Err(Error::Api(Box::new(status)));
    }
    object["apiVersion"] = parent.api_version().into();
    object["kind"] = kind.into();
    edit(&mut object);
    controller.client.update(resource, &seen.namespace, &seen.name, &object).await
}

/// Puts the fields of `view` in place of those of an object: what the view has no value for goes, what
/// it doesn't know stays.
pub fn merge(object: &mut Value, view: &impl Serialize) {
    let Ok(Value::Object(view)) = serde_json::to_value(view) else { return };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    if let Some(object) = object.as_object_mut() {
        for (key, value) in view {
            if value.is_null() {
                object.remove(&key);
            } else {
                object.insert(key, value);
            }
        }
    }
}
