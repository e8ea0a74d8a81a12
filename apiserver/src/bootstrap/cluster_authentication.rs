//! The ConfigMap that tells aggregated servers how this one authenticates its clients.
//!
//! Several apiservers share it: each adds its own authorities and header names, and takes no
//! one's away, except authorities that have expired.

use std::path::Path;

use serde_json::{Map, Value, json};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::auth::AuthOptions;

pub(super) const NAMESPACE: &str = "kube-system";
pub(super) const NAME: &str = "extension-apiserver-authentication";

/// This server's part, ready to be merged.
pub(super) struct Trust {
    client_ca: String,
    /// Authorities of front proxies, and the lists that go with them.
    request_header: Option<(String, Vec<(&'static str, Vec<String>)>)>,
}

impl Trust {
    /// Reads the files that the options name.
    pub(super) fn load(options: &AuthOptions) -> Result<Trust, String> {
        let read = |path: &Path| {
            std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let client_ca = options.client_ca_file.as_deref().map(read).transpose()?.unwrap_or_default();
        let request_header = options.requestheader_client_ca_file.as_deref().map(read).transpose()?;
        let headers = &options.requestheader_headers;
        let request_header = request_header.map(|ca| {
            let mut lists = vec![
                ("requestheader-username-headers", headers.user.clone()),
                ("requestheader-group-headers", headers.group.clone()),
                ("requestheader-extra-headers-prefix", headers.extra_prefix.clone()),
                ("requestheader-allowed-names", options.requestheader_allowed_names.clone()),
            ];
            if !headers.uid.is_empty() {
                lists.push(("requestheader-uid-headers", headers.uid.clone()));
            }
            (ca, lists)
        });
        Ok(Trust { client_ca, request_header })
    }

    /// The ConfigMap without anyone else's part.
    pub(super) fn config_map(&self, now: i64) -> Value {
        let metadata = json!({ "namespace": NAMESPACE, "name": NAME });
        self.merged(&json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata }), now)
    }

    /// The ConfigMap with this server's part added.
    pub(super) fn merged(&self, existing: &Value, now: i64) -> Value {
        let mut data = existing["data"].as_object().cloned().unwrap_or_default();
        merge_certificates(&mut data, "client-ca-file", &self.client_ca, now);
        if let Some((ca, lists)) = &self.request_header {
            merge_certificates(&mut data, "requestheader-client-ca-file", ca, now);
            for (key, own) in lists {
                merge_list(&mut data, key, own);
            }
        }
        let mut merged = existing.clone();
        merged["data"] = Value::Object(data);
        merged
    }
}

fn merge_certificates(data: &mut Map<String, Value>, key: &str, own: &str, now: i64) {
    let existing = data.get(key).and_then(Value::as_str).unwrap_or_default();
    let blocks = [existing, own].into_iter().flat_map(|text| pem::parse_many(text).unwrap_or_default());
    let mut merged: Vec<pem::Pem> = Vec::new();
    for block in blocks.filter(|block| block.tag() == "CERTIFICATE") {
        let alive = X509Certificate::from_der(block.contents())
            .is_ok_and(|(_, certificate)| certificate.validity().not_after.timestamp() >= now);
        if alive && !merged.contains(&block) {
            merged.push(block);
        }
    }
    if !merged.is_empty() {
        let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        let text: String = merged.iter().map(|block| pem::encode_config(block, config)).collect();
        data.insert(key.to_owned(), json!(text));
    }
}

fn merge_list(data: &mut Map<String, Value>, key: &str, own: &[String]) {
    let existing = data.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut merged: Vec<String> = serde_json::from_str(existing).unwrap_or_default();
    for item in own {
        if !merged.contains(item) {
            merged.push(item.clone());
        }
    }
    data.insert(key.to_owned(), json!(json!(merged).to_string()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(name: &str, last_year: i32) -> String {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.not_after = rcgen::date_time_ymd(last_year, 1, 1);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem().replace('\r', "")
    }

    #[test]
    fn each_server_adds_its_part() {
        let (mine, theirs, expired) = (authority("a", 2030), authority("b", 2030), authority("c", 2020));
        let trust = Trust {
            client_ca: mine.clone(),
            request_header: Some((mine.clone(), vec![("requestheader-allowed-names", vec!["x".into()])])),
        };
        let now = 1_767_225_600;
        let existing = json!({ "data": {
            "client-ca-file": format!("{theirs}{expired}{mine}"),
            "requestheader-allowed-names": "[\"y\"]",
            "other": "kept",
        } });
        let merged = trust.merged(&existing, now);
        assert_eq!(merged["data"]["client-ca-file"], json!(format!("{theirs}{mine}")));
        assert_eq!(merged["data"]["requestheader-allowed-names"], "[\"y\",\"x\"]");
        assert_eq!(merged["data"]["other"], "kept");
        assert_eq!(trust.merged(&merged, now), merged, "merging twice changes nothing");
    }
}
