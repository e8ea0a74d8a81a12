//! The list of built-in kinds in docs/kinds.md, written from the rows, so that a gap shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;

use component_base::features::Gates;

use super::{Backing, Builder, Endpoint, Handler, Hooks, Registry, Settings, Verbs};

const INTRODUCTION: &str = "# Built-in kinds

What the API server makes of each built-in kind with every feature gate on and every version enabled. A test writes this
file from the rows of `apiserver/src/registry`; after a change of the rows, write it anew with

    KEELSON_REGENERATE=1 cargo test -p apiserver kinds

- **Versions**: the hub, whose trees the hooks see, is bold; the one in etcd has a star; one in brackets is read and
  written but not served.
- **Subresources** name the hooks they have of their own.
- **Hooks** are those that differ from what every kind has: checks are `validate` (of a new object), `validate_update` and
  `ask` (what only other objects and the authorizer can tell); `prepare` sets and restores what clients may not change.
- **Columns** counts those of tables beside name and age.
";

/// Hooks that are not what every kind has. `default` is made in the same place, so that equal functions are one.
fn hooks(hooks: &Hooks) -> Vec<&'static str> {
    let default = Hooks::default();
    let differs = |one: *const (), other: *const ()| one != other;
    macro_rules! function {
        ($field:ident) => {
            differs(hooks.$field as *const (), default.$field as *const ())
        };
    }
    let all = [
        ("prepare_create", function!(prepare_create)),
        ("prepare_update", function!(prepare_update)),
        ("validate", function!(validate)),
        ("validate_update", function!(validate_update)),
        ("ask", hooks.ask.is_some()),
        ("validate_name", function!(validate_name)),
        ("warnings", function!(warnings)),
        ("warnings_update", function!(warnings_update)),
        ("canonicalize", function!(canonicalize)),
        ("decorate", hooks.decorate.is_some()),
        ("begin", hooks.begin.is_some()),
        ("graceful_delete", hooks.graceful_delete.is_some()),
        ("may_delete", hooks.may_delete.is_some()),
        ("begin_delete", hooks.begin_delete.is_some()),
        ("after_delete", hooks.after_delete.is_some()),
        ("reset_fields", !hooks.reset_fields.is_empty()),
        ("put creates", hooks.allow_create_on_update),
        ("put needs a resourceVersion", !hooks.allow_unconditional_update),
        ("orphans dependents", hooks.orphan_dependents),
        ("answers deletions with the object", hooks.return_deleted),
    ];
    all.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect()
}

fn subresource(subresource: &super::Subresource) -> String {
    let what = match &subresource.handler {
        Handler::Object(own) => hooks(own).join(", "),
        Handler::Scale(_) => String::new(),
        Handler::Create(_) => "posted".to_owned(),
        Handler::Connect(_) => "connects".to_owned(),
    };
    if what.is_empty() { subresource.name.to_string() } else { format!("{} ({what})", subresource.name) }
}

fn versions(registry: &Registry, endpoints: &[&Endpoint]) -> String {
    let Some(first) = endpoints.first() else { return String::new() };
    let storage = match &first.backing {
        Backing::Stored(group, resource) => registry.storage(group, resource),
        _ => None,
    };
    let version = |endpoint: &&Endpoint| {
        let this = (endpoint.group.clone(), endpoint.version.clone());
        let mut text = endpoint.version.to_string();
        if endpoint.verbs == Verbs::NONE {
            text = format!("({text})");
        }
        if storage.is_some_and(|storage| storage.hub == this) {
            text = format!("**{text}**");
        }
        if storage.is_some_and(|storage| storage.stored == this) {
            text.push('*');
        }
        text
    };
    endpoints.iter().map(version).collect::<Vec<_>>().join(", ")
}

fn verbs(endpoint: &Endpoint) -> String {
    match endpoint.verbs {
        Verbs::ALL => "all".to_owned(),
        verbs => verbs.names().join(", "),
    }
}

/// One row: everything about a kind of a group.
fn row(registry: &Registry, endpoints: &[&Endpoint]) -> Option<String> {
    let first = endpoints.first()?;
    let storage = match &first.backing {
        Backing::Stored(group, resource) => registry.storage(group, resource),
        _ => None,
    };
    let own = storage.map_or(Vec::new(), |storage| hooks(&storage.hooks));
    let selectable = storage.map_or(String::new(), |storage| {
        storage.selectable.iter().map(|field| field.name.to_string()).collect::<Vec<_>>().join(", ")
    });
    let columns = first
        .columns
        .iter()
        .filter(|column| !matches!(column.name.as_ref(), "Name" | "Age" | "Created At"))
        .count();
    let subresources: Vec<String> = first.subresources.iter().map(subresource).collect();
    let scope = match (&first.backing, first.namespaced) {
        (Backing::Create(_), _) => "posted",
        (_, true) => "namespaced",
        (_, false) => "cluster",
    };
    Some(format!(
        "| {} | {} | {scope} | {} | {} | {} | {} | {columns} | {} |",
        first.kind,
        versions(registry, endpoints),
        verbs(first),
        subresources.join("; "),
        own.join(", "),
        selectable,
        if endpoints.iter().any(|endpoint| endpoint.default.is_some()) { "yes" } else { "" },
    ))
}

/// The rows that answer only to POST have nothing to check a stored object with.
fn unchecked(registry: &Registry) -> BTreeSet<String> {
    let bare = |storage: &&std::sync::Arc<super::Storage>| {
        let default = Hooks::default();
        storage.hooks.validate as *const () == default.validate as *const () && storage.hooks.ask.is_none()
    };
    let name = |storage: &std::sync::Arc<super::Storage>| title(&storage.group, &storage.kind);
    registry.storages().filter(bare).map(name).collect()
}

/// Kinds and versions that the schema has and nothing serves.
fn unserved(registry: &Registry) -> BTreeMap<String, Vec<&'static str>> {
    let mut found: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
    for kind in proto::schema::kinds() {
        let no_resource = kind.kind.ends_with("List")
            || kind.kind.ends_with("Options")
            || kind.kind == "WatchEvent"
            || kind.group == "meta.k8s.io";
        let served = registry.endpoints().any(|endpoint| {
            let own = endpoint.group == kind.group
                && endpoint.version == kind.version
                && endpoint.kind == kind.kind
                && endpoint.verbs != Verbs::NONE;
            let body = |subresource: &super::Subresource| {
                subresource.kind.as_ref().is_some_and(|(group, version, name)| {
                    group == kind.group && version == kind.version && name == kind.kind
                })
            };
            own || endpoint.subresources.iter().any(body)
                || (endpoint.subresources.iter().any(|sub| matches!(sub.handler, Handler::Scale(_)))
                    && (kind.group, kind.version, kind.kind) == ("autoscaling", "v1", "Scale"))
        });
        if !no_resource && !served {
            found.entry(title(kind.group, kind.kind)).or_default().push(kind.version);
        }
    }
    found
}

fn title(group: &str, kind: &str) -> String {
    if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") }
}

fn kinds() -> String {
    let gates = [("AllAlpha", "true"), ("AllBeta", "true")];
    let gates = gates.map(|(name, on)| (name.to_owned(), on.to_owned()));
    let settings = Settings { gates: Gates::new(&gates.into()).expect("gates"), ..Settings::default() };
    let mut builder = Builder::default();
    super::install(&mut builder, &|_, _, _| true, settings);
    crate::auth::review::install(&mut builder);
    let registry = builder.build();

    let mut text = INTRODUCTION.to_owned();
    let mut groups: Vec<(&str, Vec<Vec<&Endpoint>>)> = Vec::new();
    for endpoint in registry.endpoints() {
        let at = groups.iter().position(|(group, _)| *group == endpoint.group).unwrap_or_else(|| {
            groups.push((&endpoint.group, Vec::new()));
            groups.len() - 1
        });
        let resources = &mut groups[at].1;
        match resources.iter_mut().find(|versions| versions[0].resource == endpoint.resource) {
            Some(versions) => versions.push(endpoint),
            None => resources.push(vec![endpoint]),
        }
    }
    for (group, resources) in &groups {
        let name = if group.is_empty() { "core" } else { group };
        let heads = [
            "Kind",
            "Versions",
            "Scope",
            "Verbs",
            "Subresources",
            "Hooks",
            "Selectable fields",
            "Columns",
            "Defaults of its own",
        ];
        let _ = write!(text, "\n## {name}\n\n| {} |\n|{}\n", heads.join(" | "), " --- |".repeat(heads.len()));
        for endpoints in resources {
            let _ = writeln!(text, "{}", row(&registry, endpoints).unwrap_or_default());
        }
    }
    text.push_str("\n## Gaps\n\nStored without a check of their own beyond metadata:\n\n");
    for kind in unchecked(&registry) {
        let _ = writeln!(text, "- {kind}");
    }
    text.push_str("\nIn the schema, but not served as a resource or the body of a subresource:\n\n");
    for (kind, versions) in unserved(&registry) {
        let _ = writeln!(text, "- {kind}: {}", versions.join(", "));
    }
    text
}

#[test]
fn kinds_are_listed_in_the_docs() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/kinds.md");
    let now = kinds();
    if std::env::var_os("KEELSON_REGENERATE").is_some() {
        std::fs::write(&path, &now).expect("docs/kinds.md can be written");
    }
    let listed = std::fs::read_to_string(&path).unwrap_or_default();
    let changed: Vec<&str> = now.lines().filter(|line| !listed.lines().any(|old| old == *line)).collect();
    assert!(
        listed == now,
        "docs/kinds.md is not what the rows say; KEELSON_REGENERATE=1 cargo test -p apiserver kinds writes it anew. \
         Lines that it lacks:\n{}",
        changed.join("\n")
    );
}
