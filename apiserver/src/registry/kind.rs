//! Short-hand for the rows of a built-in kind: one storage row and the endpoints onto it.

use std::sync::Arc;

use proto::schema::Ref;
use proto::view;
use serde_json::Value;

use super::columns::Table;
use super::{
    Backing, Builder, Conversion, Create, Disabled, Endpoint, Handler, Hooks, Name, Scale, ScaleSelector,
    Selectable, Settings, Storage, Subresource, Verbs,
};

/// What the rows depend on.
pub(crate) struct Environment<'a> {
    /// Which (group, version, resource) are served.
    pub(crate) enabled: &'a dyn Fn(&str, &str, &str) -> bool,
    /// Goes with each storage row.
    pub(crate) settings: Arc<Settings>,
}

/// What every group's `install` gets.
pub(crate) type Enabled<'a> = &'a Environment<'a>;

/// The rows of one kind under construction.
pub(crate) struct Kind {
    storage: Option<Storage>,
    endpoints: Vec<Endpoint>,
    gate: Option<&'static str>,
    table: Option<Table>,
}

impl Kind {
    /// A namespaced, stored kind, first served in this version, which is also its hub.
    pub(crate) fn new(
        group: &'static str,
        version: &'static str,
        resource: &'static str,
        kind: &'static str,
    ) -> Self {
        Kind {
            storage: Some(Storage::new(group, version, resource, kind)),
            endpoints: vec![Endpoint::new(group, version, resource, kind)],
            gate: None,
            table: None,
        }
    }

    /// A kind that is only ever posted.
    pub(crate) fn posted(
        group: &'static str,
        version: &'static str,
        resource: &'static str,
        kind: &'static str,
        create: Create,
    ) -> Self {
        let mut endpoint = Endpoint::new(group, version, resource, kind);
        endpoint.backing = Backing::Create(create);
        endpoint.verbs = Verbs::CREATE;
        Kind { storage: None, endpoints: vec![endpoint], gate: None, table: None }
    }

    /// A kind whose objects are made when they are read.
    pub(crate) fn computed(
        group: &'static str,
        version: &'static str,
        resource: &'static str,
        kind: &'static str,
        compute: super::Compute,
    ) -> Self {
        let mut endpoint = Endpoint::new(group, version, resource, kind);
        endpoint.backing = Backing::Computed(compute);
        Kind { storage: None, endpoints: vec![endpoint], gate: None, table: None }
    }

    fn store(mut self, change: impl FnOnce(&mut Storage)) -> Self {
        if let Some(storage) = &mut self.storage {
            change(storage);
        }
        self
    }

    fn each(mut self, change: impl Fn(&mut Endpoint)) -> Self {
        self.endpoints.iter_mut().for_each(change);
        self
    }

    /// Served only with a feature.
    pub(crate) fn gated(self, gate: &'static str) -> Self {
        Kind { gate: Some(gate), ..self }
    }

    /// The columns of tables after the name, and the cells of an object in them.
    pub(crate) fn columns(self, table: Table) -> Self {
        Kind { table: Some(table), ..self }
    }

    /// Cluster-scoped.
    pub(crate) fn cluster(self) -> Self {
        self.store(|storage| storage.namespaced = false).each(|endpoint| endpoint.namespaced = false)
    }

    /// Short names.
    pub(crate) fn short(self, names: &[&'static str]) -> Self {
        self.each(|endpoint| endpoint.short_names = super::names(names))
    }

    /// A category.
    pub(crate) fn category(self, name: &'static str) -> Self {
        self.each(|endpoint| endpoint.categories = super::names(&[name]))
    }

    /// The verbs, if not all.
    pub(crate) fn verbs(self, verbs: Verbs) -> Self {
        self.each(|endpoint| endpoint.verbs = verbs)
    }

    /// The singular name, if it is not the kind in lower case.
    pub(crate) fn singular(self, name: &'static str) -> Self {
        self.each(|endpoint| endpoint.singular = name.into())
    }

    /// The hooks.
    pub(crate) fn hooks(self, hooks: Hooks) -> Self {
        self.store(|storage| storage.hooks = hooks)
    }

    /// Finalizers without a domain may be any.
    pub(crate) fn any_finalizers(self) -> Self {
        self.store(|storage| storage.hooks.standard_finalizers = false)
    }

    /// The key prefix, if it is not the resource.
    pub(crate) fn prefix(self, prefix: &'static str) -> Self {
        self.store(|storage| storage.prefix = prefix.into())
    }

    /// The stored version, if it is not the hub.
    pub(crate) fn stored(self, version: &'static str) -> Self {
        self.store(|storage| storage.stored.1 = version.into())
    }

    /// Changes what is stored in a way of its own.
    pub(crate) fn storage(self, change: impl FnOnce(&mut Storage)) -> Self {
        self.store(change)
    }

    /// Selectable fields, each at the path of its name.
    pub(crate) fn selectable(self, fields: &[&'static str]) -> Self {
        self.store(|storage| storage.selectable.extend(fields.iter().map(|field| Selectable::path(field))))
    }

    /// A selectable field whose absence reads as something else than "".
    pub(crate) fn selectable_or(self, name: &'static str, absent: &'static str) -> Self {
        self.store(|storage| storage.selectable.push(Selectable { absent, ..Selectable::path(name) }))
    }

    /// A selectable field read by a function, from these paths alone.
    pub(crate) fn selectable_by(
        self,
        name: &'static str,
        paths: &'static [&'static str],
        get: fn(&Value) -> String,
    ) -> Self {
        let field = Selectable { get: Some((paths, get)), ..Selectable::path(name) };
        self.store(|storage| storage.selectable.push(field))
    }

    /// The defaults that span fields.
    pub(crate) fn default(self, default: fn(&mut Value)) -> Self {
        self.each(|endpoint| endpoint.default = Some(default))
    }

    /// A subresource.
    pub(crate) fn subresource(self, subresource: Subresource) -> Self {
        self.each(|endpoint| endpoint.subresources.push(subresource.clone()))
    }

    /// The subresource `status`.
    pub(crate) fn status(self, hooks: Hooks) -> Self {
        self.subresource(Subresource::object("status", hooks))
    }

    /// The subresource added last is not shown as a Table.
    pub(crate) fn without_table(self) -> Self {
        self.each(|endpoint| {
            if let Some(last) = endpoint.subresources.last_mut() {
                last.tables = false;
            }
        })
    }

    /// The subresource `scale` of `spec.replicas` and `status.replicas`.
    pub(crate) fn scale(self, selector: ScaleSelector) -> Self {
        self.subresource(Subresource::scale(Scale {
            spec_replicas: "spec.replicas".into(),
            status_replicas: "status.replicas".into(),
            selector,
        }))
    }

    /// Connections to something else.
    pub(crate) fn connect(
        self,
        name: &'static str,
        kind: Option<&'static str>,
        verbs: Verbs,
        to: super::Connect,
    ) -> Self {
        let kind = kind.map(|kind| (Name::from(""), Name::from("v1"), Name::from(kind)));
        self.subresource(Subresource {
            name: name.into(),
            kind,
            verbs,
            tables: false,
            handler: Handler::Connect(to),
        })
    }

    /// Serves another version of the same shape: a copy of the first endpoint as it is now.
    pub(crate) fn also(self, version: &'static str) -> Self {
        self.also_with(version, Conversion::Same)
    }

    /// Serves another version of another shape.
    pub(crate) fn also_with(mut self, version: &'static str, conversion: Conversion) -> Self {
        if let Some(first) = self.endpoints.first() {
            // What is only stored may be coded as the first version is.
            let own = proto::schema::lookup(&first.group, version, &first.kind).map(Ref::Static);
            let schema = own.or_else(|| first.schema.clone());
            let copy = Endpoint { version: version.into(), conversion, schema, ..first.clone() };
            self.endpoints.push(copy);
        }
        self
    }

    /// Changes the endpoint added last.
    pub(crate) fn last(mut self, change: impl FnOnce(&mut Endpoint)) -> Self {
        if let Some(endpoint) = self.endpoints.last_mut() {
            change(endpoint);
        }
        self
    }

    /// Adds the rows whose versions are served. Where a version that is not served is the hub or the stored one,
    /// its endpoint is there without verbs; where none is served, nothing is.
    pub(crate) fn install(self, builder: &mut Builder, enabled: Enabled) {
        let served =
            |endpoint: &Endpoint| (enabled.enabled)(&endpoint.group, &endpoint.version, &endpoint.resource);
        let on = self.gate.is_none_or(|gate| enabled.settings.gates.enabled(gate));
        if !on || !self.endpoints.iter().any(served) {
            return;
        }
        let needed = self.storage.as_ref().map(|storage| (storage.hub.clone(), storage.stored.clone()));
        if let Some(mut storage) = self.storage {
            storage.data = Some(enabled.settings.clone());
            if let Some(schema) = proto::schema::lookup(&storage.hub.0, &storage.hub.1, &storage.kind) {
                storage.disabled = Disabled::of(schema, &enabled.settings.gates);
            }
            builder.storage(storage);
        }
        for mut endpoint in self.endpoints {
            super::columns::set(&mut endpoint, self.table);
            endpoint.deprecated =
                super::deprecated::warning(&endpoint.group, &endpoint.version, &endpoint.kind)
                    .map(Name::from);
            if served(&endpoint) {
                builder.endpoint(endpoint);
            } else if let Some((hub, stored)) = &needed {
                let this = (endpoint.group.clone(), endpoint.version.clone());
                if this == *hub || this == *stored {
                    builder.endpoint(Endpoint { verbs: Verbs::NONE, subresources: Vec::new(), ..endpoint });
                }
            }
        }
    }
}

/// Moves fields between two names, for conversions: `(from, to)`.
pub(crate) fn rename(object: &mut Value, names: &[(&str, &str)]) {
    for (from, to) in names {
        if let Some(value) = view::remove_at(object, &[from]) {
            view::set_at(object, &[to], value);
        }
    }
}
