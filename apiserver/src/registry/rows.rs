//! The rows themselves.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::ops::BitOr;
use std::sync::Arc;

use futures::future::BoxFuture;
use proto::schema::{self, Mask, Ref, Type};
use proto::status::Status;
use serde_json::Value;

use super::columns::ages::Ages;
use super::gates::Disabled;
use super::hooks::{Create, Hooks};

/// A name that built-in rows have as a constant and custom resources own.
pub type Name = Cow<'static, str>;

/// Names from constants.
pub fn names(list: &[&'static str]) -> Vec<Name> {
    list.iter().map(|n| Cow::Borrowed(*n)).collect()
}

/// A set of API verbs.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Verbs(u16);

impl Verbs {
    /// No verb.
    pub const NONE: Verbs = Verbs(0);
    /// get
    pub const GET: Verbs = Verbs(1);
    /// list
    pub const LIST: Verbs = Verbs(2);
    /// watch
    pub const WATCH: Verbs = Verbs(4);
    /// create
    pub const CREATE: Verbs = Verbs(8);
    /// update
    pub const UPDATE: Verbs = Verbs(16);
    /// patch
    pub const PATCH: Verbs = Verbs(32);
    /// delete
    pub const DELETE: Verbs = Verbs(64);
    /// deletecollection
    pub const DELETE_COLLECTION: Verbs = Verbs(128);
    /// All of them.
    pub const ALL: Verbs = Verbs(255);
    /// What the subresources status and scale serve.
    pub const GET_UPDATE_PATCH: Verbs = Verbs(1 | 16 | 32);

    /// In the order discovery lists them.
    const NAMES: [(Verbs, &'static str); 8] = [
        (Verbs::CREATE, "create"),
        (Verbs::DELETE, "delete"),
        (Verbs::DELETE_COLLECTION, "deletecollection"),
        (Verbs::GET, "get"),
        (Verbs::LIST, "list"),
        (Verbs::PATCH, "patch"),
        (Verbs::UPDATE, "update"),
        (Verbs::WATCH, "watch"),
    ];

    /// Whether all of these are in the set.
    pub const fn contains(self, other: Verbs) -> bool {
        self.0 & other.0 == other.0
    }

    /// The set without these.
    pub const fn without(self, other: Verbs) -> Verbs {
        Verbs(self.0 & !other.0)
    }

    /// These and those.
    pub const fn and(self, other: Verbs) -> Verbs {
        Verbs(self.0 | other.0)
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names, sorted.
    pub fn names(self) -> Vec<&'static str> {
        Self::NAMES.iter().filter(|(v, _)| self.contains(*v)).map(|(_, n)| *n).collect()
    }
}

impl BitOr for Verbs {
    type Output = Verbs;
    fn bitor(self, other: Verbs) -> Verbs {
        Verbs(self.0 | other.0)
    }
}

impl fmt::Debug for Verbs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// A field that field selectors may name.
#[derive(Clone)]
pub struct Selectable {
    /// The name in selectors, such as `status.phase`; also the path it is read from, unless `get` is set.
    pub name: Name,
    /// Reads it, where it is not the scalar at the path `name`, from these paths.
    pub get: Option<(&'static [&'static str], fn(&Value) -> String)>,
    /// The value when absent (`""`, `"false"`, `"0"`).
    pub absent: &'static str,
}

impl Selectable {
    /// A field read from the path of its name, empty when absent.
    pub const fn path(name: &'static str) -> Self {
        Selectable { name: Cow::Borrowed(name), get: None, absent: "" }
    }

    /// What it is read from.
    pub fn mask(&self) -> Mask {
        match self.get {
            Some((paths, _)) => Mask::of(paths.iter().copied()),
            None => Mask::of([&*self.name]),
        }
    }

    /// The value in this object.
    pub fn value(&self, object: &Value) -> String {
        if let Some((_, get)) = self.get {
            return get(object);
        }
        let found = self.name.split('.').try_fold(object, |at, step| at.get(step));
        match found {
            Some(Value::String(s)) => s.clone(),
            Some(Value::Bool(b)) => b.to_string(),
            Some(Value::Number(n)) => n.to_string(),
            _ => self.absent.to_owned(),
        }
    }
}

/// How one resource is stored.
#[derive(Clone)]
pub struct Storage {
    /// Group of the resource.
    pub group: Name,
    /// Plural resource.
    pub resource: Name,
    /// Kind.
    pub kind: Name,
    /// Key prefix below --etcd-prefix, without slashes at the ends: `configmaps`, `services/specs`,
    /// `apiregistration.k8s.io/apiservices`.
    pub prefix: Name,
    /// Whether keys have a namespace.
    pub namespaced: bool,
    /// Group and version that hooks and admission see; an endpoint row has it.
    pub hub: (Name, Name),
    /// Group and version of stored bytes; an endpoint row (served or not) has it.
    pub stored: (Name, Name),
    /// Whether reads go through the watch cache.
    pub cached: bool,
    /// Seconds an object lives after a write.
    pub ttl: Option<fn(&Value) -> u64>,
    /// Fields that selectors may name besides metadata.name and metadata.namespace.
    pub selectable: Vec<Selectable>,
    /// Fields of the hub version whose feature gates are off.
    pub disabled: Disabled,
    /// What is particular about the kind.
    pub hooks: Hooks,
    /// What hooks of custom resources need to know (their schemas); hooks reach it through the context.
    pub data: Option<Arc<dyn Any + Send + Sync>>,
}

impl Storage {
    /// A cached row whose hub and stored version are one, at upstream's usual prefix (the resource).
    pub fn new(
        group: &'static str,
        version: &'static str,
        resource: &'static str,
        kind: &'static str,
    ) -> Self {
        Storage {
            group: group.into(),
            resource: resource.into(),
            kind: kind.into(),
            prefix: resource.into(),
            namespaced: true,
            hub: (group.into(), version.into()),
            stored: (group.into(), version.into()),
            cached: true,
            ttl: None,
            selectable: Vec::new(),
            disabled: Disabled::default(),
            hooks: Hooks::default(),
            data: None,
        }
    }
}

/// A column of server-side printed tables.
#[derive(Clone, Debug, Default)]
pub struct Column {
    /// Header.
    pub name: Name,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: Name,
    /// `name` on the column that identifies the row.
    pub format: Name,
    /// Text for people.
    pub description: Name,
    /// 0 always shown, 1 with `-o wide`.
    pub priority: i32,
}

impl Column {
    /// A column of constants.
    pub const fn new(
        name: &'static str,
        kind: &'static str,
        priority: i32,
        description: &'static str,
    ) -> Self {
        Column {
            name: Cow::Borrowed(name),
            kind: Cow::Borrowed(kind),
            format: Cow::Borrowed(""),
            description: Cow::Borrowed(description),
            priority,
        }
    }

    /// The column `Name` that every table starts with.
    pub const fn of_name() -> Self {
        Column {
            name: Cow::Borrowed("Name"),
            kind: Cow::Borrowed("string"),
            format: Cow::Borrowed("name"),
            description: Cow::Borrowed(
                "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names",
            ),
            priority: 0,
        }
    }
}

/// How a version relates to its storage's hub version.
#[derive(Clone)]
pub enum Conversion {
    /// The same tree but for apiVersion and kind.
    Same,
    /// Functions that change the tree in place (apiVersion and kind are set by the engine).
    Functions {
        /// From this version to the hub.
        to_hub: fn(&mut Value),
        /// From the hub to this version.
        from_hub: fn(&mut Value),
    },
    /// Something that takes time, such as a conversion webhook.
    External(Arc<dyn ExternalConversion>),
}

/// A conversion outside this process. Objects come and go as whole trees.
pub trait ExternalConversion: Send + Sync {
    /// Converts objects to the `group/version`.
    fn convert(
        &self,
        objects: Vec<Value>,
        api_version: String,
    ) -> BoxFuture<'static, Result<Vec<Value>, Status>>;
}

/// What is behind an endpoint.
#[derive(Clone)]
pub enum Backing {
    /// The storage row of this (group, resource).
    Stored(Name, Name),
    /// Nothing is stored: POST answers what this function makes of the body (reviews).
    Create(Create),
    /// Nothing is stored, objects are computed: get (by name) and list (`""`: all).
    Computed(super::Compute),
}

/// One served version of a resource.
#[derive(Clone)]
pub struct Endpoint {
    /// API group.
    pub group: Name,
    /// Version.
    pub version: Name,
    /// Plural resource.
    pub resource: Name,
    /// Singular name.
    pub singular: Name,
    /// Kind.
    pub kind: Name,
    /// The schema of the kind in this version; `None` only where nothing is decoded.
    pub schema: Option<Ref<Type>>,
    /// Whether it is a custom resource: coded as it is, in JSON only; the schema prunes and defaults.
    pub custom: bool,
    /// Kind of lists.
    pub list_kind: Name,
    /// Whether paths have a namespace.
    pub namespaced: bool,
    /// Short names.
    pub short_names: Vec<Name>,
    /// Categories such as `all`.
    pub categories: Vec<Name>,
    /// Verbs; none for a version that is only stored.
    pub verbs: Verbs,
    /// What is behind it.
    pub backing: Backing,
    /// Conversion from and to the hub.
    pub conversion: Conversion,
    /// Defaults that span fields, applied to this version's tree after the schema's own.
    pub default: Option<fn(&mut Value)>,
    /// Names of fields in selectors that differ from the storage row's: (this version's, the row's).
    pub field_labels: Vec<(Name, Name)>,
    /// Columns of tables; empty means name and age.
    pub columns: Vec<Column>,
    /// The cells of an object of this version.
    pub row: Option<fn(&Endpoint, &Value, &Ages) -> Vec<Value>>,
    /// Subresources.
    pub subresources: Vec<Subresource>,
    /// Deprecation warning sent with every response.
    pub deprecated: Option<Name>,
    /// What is known of this version of a custom resource (its schema, columns).
    pub data: Option<Arc<dyn Any + Send + Sync>>,
}

impl Endpoint {
    /// A namespaced endpoint with all verbs onto the storage row of the same group and resource.
    pub fn new(
        group: &'static str,
        version: &'static str,
        resource: &'static str,
        kind: &'static str,
    ) -> Self {
        Endpoint {
            group: group.into(),
            version: version.into(),
            resource: resource.into(),
            singular: kind.to_lowercase().into(),
            kind: kind.into(),
            schema: schema::lookup(group, version, kind).map(Ref::Static),
            custom: false,
            list_kind: format!("{kind}List").into(),
            namespaced: true,
            short_names: Vec::new(),
            categories: Vec::new(),
            verbs: Verbs::ALL,
            backing: Backing::Stored(group.into(), resource.into()),
            conversion: Conversion::Same,
            default: None,
            field_labels: Vec::new(),
            columns: Vec::new(),
            row: None,
            subresources: Vec::new(),
            deprecated: None,
            data: None,
        }
    }

    /// What shows objects of a kind that has no row of its own: bodies of subresources.
    pub fn of_body(group: &Name, version: &Name, kind: &Name) -> Self {
        Endpoint {
            group: group.clone(),
            version: version.clone(),
            kind: kind.clone(),
            schema: schema::lookup(group, version, kind).map(Ref::Static),
            ..Endpoint::new("", "", "", "")
        }
    }

    /// `group/version`, or the version alone in the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The subresource of this name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }
}

/// A subresource.
#[derive(Clone)]
pub struct Subresource {
    /// Name.
    pub name: Name,
    /// (group, version, kind) of the body; `None`: the parent's.
    pub kind: Option<(Name, Name, Name)>,
    /// Verbs. For [`Handler::Connect`], GET and CREATE stand for the connection's methods in discovery.
    pub verbs: Verbs,
    /// Whether it is shown as a Table too.
    pub tables: bool,
    /// What it does.
    pub handler: Handler,
}

impl Subresource {
    /// The parent through other hooks: status and the like. As upstream's, few but `status` have tables.
    pub fn object(name: &'static str, hooks: Hooks) -> Self {
        Subresource {
            name: name.into(),
            kind: None,
            verbs: Verbs::GET_UPDATE_PATCH,
            tables: name == "status",
            handler: Handler::Object(Box::new(hooks)),
        }
    }

    /// autoscaling/v1 Scale.
    pub fn scale(scale: Scale) -> Self {
        Subresource {
            name: "scale".into(),
            kind: Some(("autoscaling".into(), "v1".into(), "Scale".into())),
            verbs: Verbs::GET_UPDATE_PATCH,
            tables: true,
            handler: Handler::Scale(scale),
        }
    }

    /// POST of another kind, as bindings.
    pub fn create(
        name: &'static str,
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        f: Create,
    ) -> Self {
        Subresource {
            name: name.into(),
            kind: Some((group.into(), version.into(), kind.into())),
            verbs: Verbs::CREATE,
            tables: false,
            handler: Handler::Create(f),
        }
    }
}

/// What a subresource does.
#[derive(Clone)]
pub enum Handler {
    /// Reads and writes the parent object, through hooks of its own.
    Object(Box<Hooks>),
    /// Reads and writes a Scale.
    Scale(Scale),
    /// Takes a POST of an object that is not stored as it is.
    Create(Create),
    /// Connects to something else.
    Connect(Connect),
}

/// Where a Scale finds its fields in the parent (hub version).
#[derive(Clone, Debug)]
pub struct Scale {
    /// Dotted path of the wanted number.
    pub spec_replicas: Name,
    /// Dotted path of the observed number.
    pub status_replicas: Name,
    /// Where the selector is.
    pub selector: ScaleSelector,
}

/// Where a Scale's `status.selector` comes from.
#[derive(Clone, Debug)]
pub enum ScaleSelector {
    /// A LabelSelector at this dotted path.
    LabelSelector(Name),
    /// A map of labels at this dotted path.
    Map(Name),
    /// A string at this dotted path.
    Text(Name),
    /// None.
    None,
}

/// Connections that the server passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connect {
    /// pods/log
    PodLog,
    /// pods/exec
    PodExec,
    /// pods/attach
    PodAttach,
    /// pods/portforward
    PodPortForward,
    /// pods/proxy
    PodProxy,
    /// services/proxy
    ServiceProxy,
    /// nodes/proxy
    NodeProxy,
}
