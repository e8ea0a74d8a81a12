//! Objects of every built-in kind through the kind's hooks: defaults, preparation, validation, conversion, columns.

use std::sync::{Arc, LazyLock};

use apiserver::auth::UserInfo;
use apiserver::registry::{Ages, Ctx, Endpoint, Hooks, Registry};
use apiserver::storage::codec::{self, Codec, Media};
use jiff::Timestamp;
use proto::json;
use proto::schema::Mask;
use serde_json::{Value, json};

use super::nobody::Nobody;
use crate::{Source, Target};

/// A version of a kind.
pub(super) struct Row {
    pub(super) codec: Codec,
    pub(super) version: usize,
}

pub(super) static REGISTRY: LazyLock<Arc<Registry>> =
    LazyLock::new(|| Arc::new(apiserver::registry::builtin(&|_, _, _| true)));
static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let mut rows = Vec::new();
    // The registry has no order, and an input is to mean the same everywhere.
    let mut storages: Vec<_> = REGISTRY.storages().collect();
    storages.sort_by_key(|s| (&s.group, &s.resource));
    for storage in storages {
        let versions =
            Codec::new(&REGISTRY, storage.clone(), Media::Protobuf).map_or(0, |c| c.versions.len());
        for version in 0..versions {
            rows.extend(
                Codec::new(&REGISTRY, storage.clone(), Media::Protobuf).map(|codec| Row { codec, version }),
            );
        }
    }
    rows
});

/// A request about an object of the row.
pub(super) fn ctx(endpoint: &Arc<Endpoint>, row: &Row, verb: &'static str) -> Ctx {
    Ctx {
        user: Arc::new(UserInfo { name: "admin".to_owned(), ..UserInfo::default() }),
        verb,
        namespace: if endpoint.namespaced { "default".to_owned() } else { String::new() },
        name: "a".to_owned(),
        subresource: String::new(),
        dry_run: false,
        now: Timestamp::UNIX_EPOCH,
        options: Arc::new(Value::Null),
        endpoint: endpoint.clone(),
        storage: Some(row.codec.storage.clone()),
        local: Nobody::local(&REGISTRY),
    }
}

/// An object of the row's version in hub form, as a create or update brings it.
fn object(source: &mut Source<'_>, row: &Row) -> Option<Value> {
    let endpoint = &row.codec.versions[row.version];
    let ty = endpoint.schema.as_deref()?;
    let mut made = source.object(ty);
    if let Some(metadata) = made.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("name".to_owned(), "a".into());
    } else {
        made["metadata"] = json!({"name": "a"});
    }
    let mut text = Vec::new();
    json::encode_any(&made, &mut text);
    let mut value = json::decode(&text, ty).ok()?.value;
    value["apiVersion"] = endpoint.api_version().into();
    value["kind"] = endpoint.kind.to_string().into();
    codec::default(endpoint, &mut value);
    row.codec.to_hub(row.version, value).ok()
}

/// What the hooks make of an object that is created, or updated.
pub(super) fn written(ctx: &Ctx, hooks: &Hooks, new: &mut Value, old: Option<&Value>) {
    match old {
        None => {
            (hooks.prepare_create)(ctx, new);
            let _ = (hooks.validate)(ctx, new);
            let _ = (hooks.warnings)(ctx, new);
        }
        Some(old) => {
            (hooks.prepare_update)(ctx, new, old);
            let _ = (hooks.validate_update)(ctx, new, old);
            let _ = (hooks.warnings_update)(ctx, new, old);
        }
    }
    (hooks.canonicalize)(new);
}

/// Everything that is shown of a stored object.
pub(super) fn shown(row: &Row, stored: &Value) {
    for (version, shape) in row.codec.versions.iter().enumerate() {
        if let Ok(shown) = row.codec.from_hub(version, stored.clone())
            && let Some(cells) = shape.row
        {
            let cells = cells(shape, &shown, &Ages::at(Timestamp::UNIX_EPOCH));
            assert_eq!(cells.len(), shape.columns.len(), "{}", shape.kind);
        }
    }
    for selectable in &row.codec.storage.selectable {
        let _ = selectable.value(stored);
    }
}

/// Selectors see the same of an object, whether all of it was decoded or only what they look at.
fn selected(row: &Row, stored: &[u8], whole: &Value) {
    let codec = &row.codec;
    let some = codec.decode_stored(stored, 5, &codec.selectable).expect("what was stored can be read");
    assert_eq!(some.pointer("/metadata/labels"), whole.pointer("/metadata/labels"));
    for field in &codec.storage.selectable {
        assert_eq!(field.value(&some), field.value(whole), "{} of {}", field.name, codec.storage.kind);
    }
}

pub(super) const KINDS: Target = Target {
    name: "kinds",
    seeds: &[
        b"\x00\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f",
        b"\x20\x00\x00\x10\x20\x30\x40\x50\x60\x70\x80\x90\xa0\xb0\xc0\xd0\xe0\xf0",
        b"\x40\x00\x00\x01\x00\x01\x00\x01\x00\x01\x00\x01\x00\x01\x00\x01\x00\x01",
        b"\x60\x00\x00\xff\x00\xff\x00\xff\x00\xff\x00\xff\x00\xff\x00\xff\x00\xff",
        b"\x80\x00\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff",
        b"\xa0\x00\x00",
    ],
    run: |data| {
        let mut source = Source::new(data);
        let rows = &*ROWS;
        let Some(row) = rows.get(source.below(rows.len().max(257)) % rows.len().max(1)) else { return };
        let endpoint = row.codec.versions[row.version].clone();
        let hooks = &row.codec.storage.hooks;
        let Some(mut old) = object(&mut source, row) else { return };
        written(&ctx(&endpoint, row, "create"), hooks, &mut old, None);
        if let Some(decorate) = hooks.decorate {
            decorate(&mut old);
        }
        let stored = row.codec.encode_stored(&mut old).expect("what was decoded can be stored");
        let mut back = row.codec.decode_stored(&stored, 5, Mask::ALL).expect("what was stored can be read");
        shown(row, &back);
        selected(row, &stored, &back);
        let Some(mut new) = object(&mut source, row) else { return };
        written(&ctx(&endpoint, row, "update"), hooks, &mut new.clone(), Some(&back));
        for sub in &endpoint.subresources {
            if let apiserver::registry::Handler::Object(hooks) = &sub.handler {
                written(&ctx(&endpoint, row, "update"), hooks, &mut new.clone(), Some(&back));
            }
        }
        if let Some(graceful) = hooks.graceful_delete {
            let _ = graceful(&ctx(&endpoint, row, "delete"), &back, &mut json!({}));
        }
        if let Some(begin) = hooks.begin_delete {
            begin(&ctx(&endpoint, row, "delete"), &mut back);
        }
        (hooks.canonicalize)(&mut new);
    },
};
