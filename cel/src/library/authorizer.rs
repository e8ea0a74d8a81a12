//! Checks of what users may do: Kubernetes' `authz` library, with selectors.

use std::fmt;
use std::sync::Arc;

use proto::content;

use super::{Result, opaque, text};
use crate::env::Library;
use crate::eval::Error;
use crate::types::Type;
use crate::value::{Opaque, Value, downcast};

/// What somebody wants to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// The service account that is asked for instead of the user: namespace and name.
    pub service_account: Option<(String, String)>,
    /// The verb.
    pub verb: String,
    /// The path, if no resource is meant.
    pub path: Option<String>,
    /// The group of the resource.
    pub group: String,
    /// The resource.
    pub resource: String,
    /// The subresource.
    pub subresource: String,
    /// The namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The field selector, as it was written.
    pub field_selector: String,
    /// The label selector, as it was written.
    pub label_selector: String,
}

/// What the answer is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// What went wrong while deciding.
    pub error: Option<String>,
}

/// Somebody who decides for a user.
pub trait Authorizer: Send + Sync {
    /// Decides.
    fn authorize(&self, request: &Request) -> Decision;
}

#[derive(Clone)]
struct Of(Arc<dyn Authorizer>);

impl fmt::Debug for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorizer")
    }
}

macro_rules! opaque_types {
    ($($name:ident $ty:literal)*) => {$(
        impl Opaque for $name {
            fn ty(&self) -> Type {
                Type::object($ty)
            }

            fn equals(&self, other: &dyn Opaque) -> Option<bool> {
                // Only the very same check can be told to be equal.
                downcast::<$name>(other).map(|other| std::ptr::eq(self, other))
            }
        }
    )*};
}

#[derive(Clone, Debug)]
struct Root(Of, Option<(String, String)>);
#[derive(Debug)]
struct PathCheck(Of, Request);
#[derive(Debug)]
struct GroupCheck(Of, Request);
#[derive(Debug)]
struct ResourceCheck(Of, Request);
#[derive(Debug)]
struct Decided(Decision);

opaque_types! {
    Root "kubernetes.authorization.Authorizer"
    PathCheck "kubernetes.authorization.PathCheck"
    GroupCheck "kubernetes.authorization.GroupCheck"
    ResourceCheck "kubernetes.authorization.ResourceCheck"
    Decided "kubernetes.authorization.Decision"
}

/// The type of the variable `authorizer`.
pub fn authorizer_type() -> Type {
    Type::object("kubernetes.authorization.Authorizer")
}

/// The type of the variable `authorizer.requestResource`.
pub fn resource_check_type() -> Type {
    Type::object("kubernetes.authorization.ResourceCheck")
}

/// The value of the variable `authorizer`.
pub fn authorizer(authorizer: Arc<dyn Authorizer>) -> Value<'static> {
    Value::opaque(Root(Of(authorizer), None))
}

/// The value of the variable `authorizer.requestResource`: a check of the resource that a request is for.
pub fn request_resource(authorizer: Arc<dyn Authorizer>, request: Request) -> Value<'static> {
    Value::opaque(ResourceCheck(Of(authorizer), request))
}

pub(super) fn install(library: &mut Library) {
    let types = ["Authorizer", "PathCheck", "GroupCheck", "ResourceCheck", "Decision"];
    let [root, path, group, resource, decision] =
        types.map(|name| Type::object(&format!("kubernetes.authorization.{name}")));
    for (name, ty) in [
        ("kubernetes.authorization.Authorizer", &root),
        ("kubernetes.authorization.PathCheck", &path),
        ("kubernetes.authorization.GroupCheck", &group),
        ("kubernetes.authorization.ResourceCheck", &resource),
        ("kubernetes.authorization.Decision", &decision),
    ] {
        library.named_type(name, ty.clone());
    }
    let with_text = |ty: &Type| [ty.clone(), Type::String];
    library.member("path", "authorizer_path", &with_text(&root), path.clone(), |args| {
        let Root(of, service_account) = opaque::<Root>(args, 0)?.clone();
        let path = text(args, 1)?;
        if path.trim().is_empty() {
            return Err(Error::new("path must not be empty"));
        }
        let request = Request { service_account, path: Some(path.to_owned()), ..Request::default() };
        Ok(Value::opaque(PathCheck(of, request)))
    });
    library.member("group", "authorizer_group", &with_text(&root), group.clone(), |args| {
        let Root(of, service_account) = opaque::<Root>(args, 0)?.clone();
        let request = Request { service_account, group: text(args, 1)?.to_owned(), ..Request::default() };
        Ok(Value::opaque(GroupCheck(of, request)))
    });
    let names = [root.clone(), Type::String, Type::String];
    library.member("serviceAccount", "authorizer_serviceaccount", &names, root, |args| {
        let Root(of, _) = opaque::<Root>(args, 0)?.clone();
        let (namespace, name) = (text(args, 1)?, text(args, 2)?);
        if !content::is_dns1123_subdomain(name).is_empty() {
            return Err(Error::new("Invalid service account name"));
        }
        if !content::is_dns1123_label(namespace).is_empty() {
            return Err(Error::new("Invalid service account namespace"));
        }
        Ok(Value::opaque(Root(of, Some((namespace.to_owned(), name.to_owned())))))
    });
    library.member("resource", "groupcheck_resource", &with_text(&group), resource.clone(), |args| {
        let GroupCheck(of, request) = opaque::<GroupCheck>(args, 0)?;
        let resource = text(args, 1)?;
        if resource.trim().is_empty() {
            return Err(Error::new("resource must not be empty"));
        }
        Ok(Value::opaque(ResourceCheck(
            of.clone(),
            Request { resource: resource.to_owned(), ..request.clone() },
        )))
    });
    type Step = (&'static str, &'static str, crate::env::Implementation);
    fn with<'a>(args: &[Value<'a>], set: fn(&mut Request, String)) -> Result<'a> {
        let ResourceCheck(of, request) = opaque::<ResourceCheck>(args, 0)?;
        let mut request = request.clone();
        set(&mut request, text(args, 1)?.to_owned());
        Ok(Value::opaque(ResourceCheck(of.clone(), request)))
    }
    let steps: [Step; 5] = [
        ("subresource", "resourcecheck_subresource", |args| {
            with(args, |request, name| request.subresource = name)
        }),
        ("namespace", "resourcecheck_namespace", |args| with(args, |request, name| request.namespace = name)),
        ("name", "resourcecheck_name", |args| with(args, |request, name| request.name = name)),
        ("fieldSelector", "authorizer_fieldselector", |args| {
            with(args, |request, selector| request.field_selector = selector)
        }),
        ("labelSelector", "authorizer_labelselector", |args| {
            with(args, |request, selector| request.label_selector = selector)
        }),
    ];
    for (name, id, call) in steps {
        library.member(name, id, &with_text(&resource), resource.clone(), call);
    }
    library.member("check", "pathcheck_check", &with_text(&path), decision.clone(), |args| {
        let PathCheck(of, request) = opaque::<PathCheck>(args, 0)?;
        check(of, request, text(args, 1)?)
    });
    library.member("check", "resourcecheck_check", &with_text(&resource), decision.clone(), |args| {
        let ResourceCheck(of, request) = opaque::<ResourceCheck>(args, 0)?;
        check(of, request, text(args, 1)?)
    });
    let one = [decision];
    library.member("errored", "decision_errored", &one, Type::Bool, |args| {
        Ok(Value::Bool(opaque::<Decided>(args, 0)?.0.error.is_some()))
    });
    library.member("error", "decision_error", &one, Type::String, |args| {
        Ok(Value::string(opaque::<Decided>(args, 0)?.0.error.clone().unwrap_or_default()))
    });
    library.member("allowed", "decision_allowed", &one, Type::Bool, |args| {
        Ok(Value::Bool(opaque::<Decided>(args, 0)?.0.allowed))
    });
    library.member("reason", "decision_reason", &one, Type::String, |args| {
        Ok(Value::string(opaque::<Decided>(args, 0)?.0.reason.as_str()))
    });
}

fn check<'a>(of: &Of, request: &Request, verb: &str) -> Result<'a> {
    let request = Request { verb: verb.to_owned(), ..request.clone() };
    Ok(Value::opaque(Decided(of.0.authorize(&request))))
}
