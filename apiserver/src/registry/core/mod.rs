//! The core group: pods, nodes, services and what they need.

pub(crate) mod claim;
mod defaults;
pub(crate) mod endpoints;
pub(crate) mod event;
pub(crate) mod namespace;
pub(crate) mod pod;
pub(crate) mod service;

use proto::view::{at, remove_at, set_at};
use serde_json::Value;

use super::kind::{Enabled, Kind};
use super::{Builder, Connect, Hooks, ScaleSelector, Subresource, Verbs, strategy};

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    simple_kinds(builder, enabled);
    event::install(builder, enabled);
    namespace::install(builder, enabled);
    let proxy = Verbs::CREATE | Verbs::DELETE | Verbs::GET | Verbs::PATCH | Verbs::UPDATE;
    kind("nodes", "Node")
        .cluster()
        .short(&["no"])
        .default(defaults::node)
        .prefix("minions")
        .selectable_or("spec.unschedulable", "false")
        .hooks(node())
        .connect("proxy", Some("NodeProxyOptions"), proxy, Connect::NodeProxy)
        .status(strategy::status())
        .install(builder, enabled);
    pod::install(builder, enabled);
    service::install(builder, enabled);
    kind("rangeallocations", "RangeAllocation")
        .cluster()
        .prefix("ranges")
        .verbs(Verbs::NONE)
        .storage(|storage| storage.cached = false)
        .hooks(Hooks::default())
        .install(builder, enabled);
}

fn kind(resource: &'static str, kind: &'static str) -> Kind {
    Kind::new("", "v1", resource, kind)
}

fn simple_kinds(builder: &mut Builder, enabled: Enabled) {
    let create_on_update = || Hooks { allow_create_on_update: true, ..Hooks::default() };
    kind("configmaps", "ConfigMap").short(&["cm"]).hooks(Hooks::default()).install(builder, enabled);
    endpoints::install(builder, enabled);
    kind("limitranges", "LimitRange")
        .short(&["limits"])
        .default(defaults::limit_range)
        .hooks(create_on_update())
        .install(builder, enabled);
    claim::install(builder, enabled);
    kind("persistentvolumes", "PersistentVolume")
        .cluster()
        .short(&["pv"])
        .default(defaults::persistent_volume)
        .hooks(strategy::with_status())
        .status(strategy::status())
        .install(builder, enabled);
    kind("podtemplates", "PodTemplate")
        .default(defaults::template)
        .hooks(Hooks {
            prepare_update: |_, new, old| strategy::count_changes(new, old, &["template"]),
            ..strategy::generation_only()
        })
        .install(builder, enabled);
    kind("replicationcontrollers", "ReplicationController")
        .short(&["rc"])
        .default(defaults::replication_controller)
        .category("all")
        .prefix("controllers")
        .selectable_or("status.replicas", "0")
        .hooks(Hooks {
            orphan_dependents: true,
            warnings: strategy::pod_name_warning,
            ..strategy::with_generation()
        })
        .status(strategy::status())
        .scale(ScaleSelector::Map("spec.selector".into()))
        .install(builder, enabled);
    kind("resourcequotas", "ResourceQuota")
        .short(&["quota"])
        .default(defaults::resource_quota)
        .hooks(strategy::with_status())
        .status(strategy::status())
        .install(builder, enabled);
    kind("secrets", "Secret")
        .selectable(&["type"])
        .default(|object| super::defaults::fill(object, "type", "Opaque"))
        .hooks(Hooks::default())
        .install(builder, enabled);
    kind("serviceaccounts", "ServiceAccount")
        .short(&["sa"])
        .hooks(Hooks::default())
        .subresource(Subresource::create("token", "authentication.k8s.io", "v1", "TokenRequest", token))
        .install(builder, enabled);
}

/// Asks the server's issuer for a token.
fn token(
    ctx: &super::Ctx,
    request: Value,
) -> futures::future::BoxFuture<'_, Result<Value, proto::status::Status>> {
    Box::pin(async move {
        match &ctx.local.services().issuer {
            Some(issuer) => issuer.issue(ctx, request).await,
            None => Err(proto::status::Status::unknown_path()),
        }
    })
}

fn node() -> Hooks {
    Hooks {
        prepare_create: |_, new| {
            remove_at(new, &["spec", "configSource"]);
            remove_at(new, &["status", "config"]);
        },
        prepare_update: |_, new, old| {
            strategy::keep(new, old, &["status"]);
            if at(old, &["spec", "configSource"]).is_null() {
                set_at(new, &["spec", "configSource"], Value::Null);
            }
        },
        ..strategy::with_status()
    }
}
