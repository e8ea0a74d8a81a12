//! How webhooks and policies see the objects of a write: in the version they match, as it is printed.

use std::sync::Arc;

use proto::json as codec;
use proto::schema::{self, Type};
use proto::status::Status;
use serde_json::{Value, json};

use super::Review;
use super::step::text;
use crate::custom::Version;
use crate::registry::{Conversion, Endpoint};
use crate::storage::codec::{default, schema_of};

/// The form of an object.
#[derive(Clone)]
pub(super) enum Form {
    /// The resource in the version of an endpoint.
    Resource(Arc<Endpoint>),
    /// The body of a subresource, which has one version only; nothing may be known of it.
    Body(Option<&'static Type>),
}

impl Form {
    /// The form in which the object, or the old one, is seen by whoever matches this endpoint.
    pub(super) fn of(endpoint: &Arc<Endpoint>, review: &Review, object: &Value) -> Form {
        if review.subresource.is_empty() || text(&object["kind"]) == &*endpoint.kind {
            return Form::Resource(endpoint.clone());
        }
        let (group, version, kind) = &review.kind;
        Form::Body(schema::lookup(group, version, kind))
    }

    /// The type of the object, if it is known.
    pub(super) fn ty(&self) -> Option<&Type> {
        match self {
            Form::Resource(endpoint) => endpoint.schema.as_deref(),
            Form::Body(ty) => *ty,
        }
    }

    /// The type by which the object is coded; custom resources are coded as they are.
    fn coded(&self) -> Option<&Type> {
        match self {
            Form::Resource(endpoint) => schema_of(endpoint),
            Form::Body(ty) => *ty,
        }
    }

    fn print(&self, object: Value) -> Value {
        match self.coded() {
            Some(ty) => codec::print(&object, ty),
            None => object,
        }
    }

    /// An object of the hub version in this form.
    pub(super) async fn show(&self, hub: &Value) -> Result<Value, Status> {
        if !hub.is_object() {
            return Ok(Value::Null);
        }
        let mut object = hub.clone();
        if let Form::Resource(endpoint) = self {
            let wanted = (&*endpoint.api_version(), &*endpoint.kind);
            object = convert(endpoint, object, Way::FromHub, wanted).await?;
        }
        Ok(self.print(object))
    }

    /// A changed object with its defaults, and what strict decoding has against it.
    fn defaulted(&self, changed: &Value) -> Result<(Value, Vec<String>), String> {
        let (mut object, strict) = match self.coded() {
            Some(ty) => {
                let decoded = codec::canonical(changed, ty).map_err(|error| error.to_string())?;
                (decoded.value, decoded.strict)
            }
            None => (changed.clone(), Vec::new()),
        };
        match self {
            Form::Resource(endpoint) => {
                if let Some(version) = Version::of(endpoint) {
                    version.coerce(&mut object, false).map_err(|error| error.to_string())?;
                }
                default(endpoint, &mut object);
            }
            Form::Body(Some(ty)) => schema::default(&mut object, ty),
            Form::Body(None) => {}
        }
        Ok((object, strict))
    }

    /// A changed object as it is seen from now on, and what strict decoding has against it.
    pub(super) fn settle(&self, changed: &Value) -> Result<(Value, Vec<String>), String> {
        self.defaulted(changed).map(|(object, strict)| (self.print(object), strict))
    }

    /// A changed object in the hub version, of which `hub` is the object as it was.
    pub(super) async fn adopt(&self, changed: &Value, hub: &Value) -> Result<Value, Status> {
        let (mut object, _) = self.defaulted(changed).map_err(Status::internal)?;
        let wanted = (text(&hub["apiVersion"]), text(&hub["kind"]));
        match self {
            Form::Resource(endpoint) => return convert(endpoint, object, Way::ToHub, wanted).await,
            Form::Body(_) => set_type(&mut object, wanted),
        }
        Ok(object)
    }
}

enum Way {
    FromHub,
    ToHub,
}

/// An object of an endpoint in the hub version, or the other way, whose type is then the wanted one.
async fn convert(
    endpoint: &Endpoint,
    mut object: Value,
    way: Way,
    wanted: (&str, &str),
) -> Result<Value, Status> {
    match (&endpoint.conversion, way) {
        (Conversion::Same, _) => {}
        (Conversion::Functions { from_hub, .. }, Way::FromHub) => from_hub(&mut object),
        (Conversion::Functions { to_hub, .. }, Way::ToHub) => to_hub(&mut object),
        (Conversion::External(converter), _) => {
            let converted = converter.convert(vec![object], wanted.0.to_owned()).await?.pop();
            object = converted.ok_or_else(|| Status::internal("a conversion answered with nothing"))?;
        }
    }
    set_type(&mut object, wanted);
    Ok(object)
}

fn set_type(object: &mut Value, (api_version, kind): (&str, &str)) {
    if !api_version.is_empty() {
        object["apiVersion"] = json!(api_version);
        object["kind"] = json!(kind);
    }
}
