//! The address fields of services that were stored before there were families.

use proto::view::{at, set_at, text_at};
use serde_json::{Value, json};

/// Fills in what an old version did not store.
pub(super) fn from_old_versions(service: &mut Value) {
    let Some(spec) = service.get_mut("spec") else { return };
    let address = text_at(spec, &["clusterIP"]).to_owned();
    if !address.is_empty() && at(spec, &["clusterIPs"]).is_null() {
        set_at(spec, &["clusterIPs"], json!([address]));
    }
    if text_at(spec, &["type"]) == "ExternalName" {
        set_at(spec, &["internalTrafficPolicy"], Value::Null);
        return;
    }
    let addresses = proto::view::strs(at(spec, &["clusterIPs"])).into_iter();
    let families: Vec<&str> = addresses
        .filter(|address| *address != "None")
        .map(|address| if address.contains(':') { "IPv6" } else { "IPv4" })
        .collect();
    if families.is_empty() || !at(spec, &["ipFamilies"]).is_null() {
        return;
    }
    let policy = if families.len() == 1 { "SingleStack" } else { "RequireDualStack" };
    let families = json!(families);
    set_at(spec, &["ipFamilies"], families);
    if at(spec, &["ipFamilyPolicy"]).is_null() {
        set_at(spec, &["ipFamilyPolicy"], Value::from(policy));
    }
}
