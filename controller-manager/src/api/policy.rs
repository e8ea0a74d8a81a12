//! Views of certificate requests and roles.

use std::collections::BTreeMap;

use proto::meta::{ObjectMeta, nullable};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Condition;
use super::apps::LabelSelector;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CertificateSigningRequest {
    pub metadata: ObjectMeta,
    pub spec: CertificateSigningRequestSpec,
    pub status: CertificateSigningRequestStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateSigningRequestSpec {
    /// PEM, as base64.
    pub request: String,
    pub signer_name: String,
    pub expiration_seconds: Option<i64>,
    pub usages: Vec<String>,
    pub username: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CertificateSigningRequestStatus {
    pub conditions: Vec<Condition>,
    /// PEM, as base64.
    pub certificate: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterRole {
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "nullable")]
    pub rules: Vec<Value>,
    pub aggregation_rule: Option<AggregationRule>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AggregationRule {
    #[serde(deserialize_with = "nullable")]
    pub cluster_role_selectors: Vec<LabelSelector>,
}
