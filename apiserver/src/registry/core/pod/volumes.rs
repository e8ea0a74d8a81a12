//! Volumes of a pod: each has one source, and each source its own rules.

use std::collections::BTreeMap;

use proto::content;
use proto::field::{Error, Errors};
use proto::view::View;
use serde_json::Value;

use super::Options;
use super::env::{VOLUME_FIELDS, field_selector, resource_field_selector};
use super::sources;
use crate::registry::certificates::signer;
use crate::registry::checks::*;
use crate::registry::core::claim;

const FILE_MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];

/// A source's rules, the field it stands in, and the names upstream's errors use for that field where they differ.
struct Source {
    field: &'static str,
    /// The path of `may not specify more than 1 volume type`.
    forbidden_at: &'static str,
    /// The path below which the source's own errors stand.
    errors_at: &'static str,
    validate: fn(&View, &Options, &mut Errors),
}

const fn source(field: &'static str, validate: fn(&View, &Options, &mut Errors)) -> Source {
    Source { field, forbidden_at: field, errors_at: field, validate }
}

/// In the order that decides which of several sources is one too many.
const SOURCES: &[Source] = &[
    source("emptyDir", |v, _, errors| {
        if quantity(v.raw("sizeLimit")).sign() < 0 {
            errors.push(v.get("sizeLimit").forbidden("SizeLimit field must be a valid resource quantity"));
        }
    }),
    source("hostPath", |v, _, errors| sources::host_path(v, errors)),
    source("gitRepo", |v, _, errors| {
        required(&v.get("repository"), errors);
        descending_path(&v.get("directory"), errors);
    }),
    Source {
        field: "gcePersistentDisk",
        forbidden_at: "gcePersistentDisk",
        errors_at: "persistentDisk",
        validate: |v, _, errors| sources::disk(v, "pdName", errors),
    },
    source("awsElasticBlockStore", |v, _, errors| sources::disk(v, "volumeID", errors)),
    source("secret", |v, _, errors| {
        required(&v.get("secretName"), errors);
        file_mode(&v.get("defaultMode"), errors);
        keys_to_paths(v, errors);
    }),
    source("nfs", |v, _, errors| sources::nfs(v, errors)),
    source("iscsi", |v, _, errors| {
        sources::iscsi(v, "must be valid format starting with iqn, eui, or naa", errors)
    }),
    source("glusterfs", |v, _, errors| sources::glusterfs(v, errors)),
    source("flocker", |v, _, errors| sources::flocker(v, errors)),
    source("persistentVolumeClaim", |v, _, errors| {
        required(&v.get("claimName"), errors);
    }),
    source("rbd", |v, _, errors| sources::rbd(v, errors)),
    source("cinder", |v, _, errors| sources::cinder(v, errors)),
    Source {
        field: "cephfs",
        forbidden_at: "cephFS",
        errors_at: "cephfs",
        validate: |v, _, errors| {
            required(&v.get("monitors"), errors);
        },
    },
    source("quobyte", |v, _, errors| sources::quobyte(v, errors)),
    Source {
        field: "downwardAPI",
        forbidden_at: "downwarAPI",
        errors_at: "downwardAPI",
        validate: |v, _, errors| {
            file_mode(&v.get("defaultMode"), errors);
            for file in v.get("items").items() {
                downward_file(&file.with_path(v.path().clone()), errors);
            }
        },
    },
    source("fc", |v, _, errors| sources::fc(v, errors)),
    source("flexVolume", |v, _, errors| sources::flex(v, errors)),
    source("configMap", |v, _, errors| {
        required(&v.get("name"), errors);
        file_mode(&v.get("defaultMode"), errors);
        keys_to_paths(v, errors);
    }),
    source("azureFile", |v, _, errors| {
        required(&v.get("secretName"), errors);
        required(&v.get("shareName"), errors);
    }),
    source("vsphereVolume", |v, _, errors| {
        required(&v.get("volumePath"), errors);
    }),
    source("photonPersistentDisk", |v, _, errors| {
        required(&v.get("pdID"), errors);
    }),
    source("portworxVolume", |v, _, errors| {
        required(&v.get("volumeID"), errors);
    }),
    source("azureDisk", |v, _, errors| sources::azure_disk(v, errors)),
    source("storageos", |v, _, errors| sources::storage_os(v, false, errors)),
    source("projected", |v, options, errors| {
        file_mode(&v.get("defaultMode"), errors);
        projections(v, options, errors);
    }),
    source("scaleIO", |v, _, errors| sources::scale_io(v, errors)),
    source("csi", |v, _, errors| {
        sources::csi_driver_name(&v.get("driver"), errors);
        let secret = v.get("nodePublishSecretRef");
        if secret.is_set() && required(&secret.get("name"), errors) {
            let name = secret.text("name");
            each_at(&v.path().child("name"), name, content::is_dns1123_subdomain(name), errors);
        }
    }),
    source("ephemeral", |v, _, errors| {
        let template = v.get("volumeClaimTemplate");
        if template.is_set() {
            claim::validate_template(&template, errors);
        } else {
            errors.push(template.required(""));
        }
    }),
    source("image", |v, options, errors| {
        if options.is_pod {
            required(&v.get("reference"), errors);
        }
        required_supported(&v.get("pullPolicy"), &PULL_POLICIES, errors);
    }),
];

/// Validates the volumes and returns the good ones by name. `pod_name` is empty in a template.
pub(super) fn volumes<'a>(
    list: &View<'a>,
    pod_name: &str,
    options: &Options,
    errors: &mut Errors,
) -> BTreeMap<&'a str, &'a Value> {
    let mut good = BTreeMap::new();
    let items = list.items();
    let created: Vec<String> = items
        .iter()
        .filter(|volume| !pod_name.is_empty() && volume.has("ephemeral"))
        .map(|volume| format!("{pod_name}-{}", volume.text("name")))
        .collect();
    for volume in &items {
        let name = volume.get("name");
        let before = errors.len();
        volume_source(volume, pod_name, options, errors);
        if required(&name, errors) {
            dns_label(&name, errors);
        }
        if good.contains_key(name.str()) {
            errors.push(name.duplicate());
        }
        if errors.len() == before {
            good.insert(name.str(), volume.value());
        }
        let claim = volume.get("persistentVolumeClaim").get("claimName");
        if created.iter().any(|created| created == claim.str()) {
            errors.push(
                claim.invalid_str("must not reference a PVC that gets created for an ephemeral volume"),
            );
        }
    }
    good
}

fn volume_source(volume: &View, pod_name: &str, options: &Options, errors: &mut Errors) {
    let mut found = false;
    for source in SOURCES {
        let value = volume.get(source.field);
        if !value.is_set() {
            continue;
        }
        if found {
            let path = volume.path().child(source.forbidden_at);
            errors.push(Error::forbidden(&path, "may not specify more than 1 volume type"));
        } else {
            found = true;
            let value = value.with_path(volume.path().child(source.errors_at));
            (source.validate)(&value, options, errors);
            if source.field == "ephemeral" {
                ephemeral_claim_name(volume, pod_name, errors);
            }
        }
        if source.field == "iscsi" {
            let name = volume.get("name");
            let length = name.str().len() + 1 + value.text("targetPortal").len();
            if value.has("initiatorName") && length > 64 {
                errors.push(name.invalid_str(sources::ISCSI_TOO_LONG));
            }
        }
    }
    if !found {
        errors.push(volume.required("must specify a volume type"));
    }
}

fn ephemeral_claim_name(volume: &View, pod_name: &str, errors: &mut Errors) {
    let name = volume.get("name");
    if pod_name.is_empty() || name.is_empty() {
        return;
    }
    let claim = format!("{pod_name}-{}", name.str());
    for message in content::is_dns1123_subdomain(&claim) {
        errors.push(name.invalid_str(format!("PVC name {}: {message}", proto::field::quote(&claim))));
    }
}

fn file_mode(mode: &View, errors: &mut Errors) {
    if mode.is_set() && !(0..=0o777).contains(&mode.i64()) {
        errors.push(mode.invalid_int(FILE_MODE));
    }
}

fn keys_to_paths(source: &View, errors: &mut Errors) {
    for item in source.get("items").items() {
        key_to_path(&item, errors);
    }
}

fn key_to_path(item: &View, errors: &mut Errors) {
    required(&item.get("key"), errors);
    required(&item.get("path"), errors);
    non_reserved_path(&item.get("path"), errors);
    file_mode(&item.get("mode"), errors);
}

fn downward_file(file: &View, errors: &mut Errors) {
    required(&file.get("path"), errors);
    non_reserved_path(&file.get("path"), errors);
    let (field, resource) = (file.get("fieldRef"), file.get("resourceFieldRef"));
    if field.is_set() {
        field_selector(&field, &VOLUME_FIELDS, errors);
        if resource.is_set() {
            let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.push(Error::invalid(file.path(), "resource", detail));
        }
    } else if resource.is_set() {
        resource_field_selector(&resource, true, errors);
    } else {
        errors.push(file.required("one of fieldRef and resourceFieldRef is required"));
    }
    file_mode(&file.get("mode"), errors);
}

/// The paths that projections have taken; two may not write the same file.
struct Taken<'a, 'v> {
    volume: &'a View<'v>,
    paths: Vec<&'v str>,
}

impl<'v> Taken<'_, 'v> {
    fn claim(&mut self, path: &'v str, shown: &str, errors: &mut Errors) {
        if self.paths.contains(&path) {
            errors.push(Error::invalid(self.volume.path(), shown, "conflicting duplicate paths"));
        } else {
            self.paths.push(path);
        }
    }
}

fn projections(volume: &View, options: &Options, errors: &mut Errors) {
    let mut taken = Taken { volume, paths: Vec::new() };
    for source in volume.get("sources").items() {
        let mut count = 0;
        for field in ["secret", "configMap"] {
            let projection = source.get(field);
            if !projection.is_set() {
                continue;
            }
            count += 1;
            required(&projection.get("name"), errors);
            for item in projection.get("items").items() {
                key_to_path(&item, errors);
                if item.has("path") {
                    taken.claim(item.text("path"), projection.text("name"), errors);
                }
            }
        }
        let downward = source.get("downwardAPI");
        if downward.is_set() {
            count += 1;
            for file in downward.get("items").items() {
                downward_file(&file.with_path(downward.path().clone()), errors);
                if file.has("path") {
                    taken.claim(file.text("path"), file.text("path"), errors);
                }
            }
        }
        let token = source.get("serviceAccountToken");
        if token.is_set() {
            count += 1;
            service_account_token(volume, &token, options, errors);
        }
        let bundle = source.get("clusterTrustBundle");
        if bundle.is_set() {
            count += 1;
            trust_bundle(&bundle, errors);
            taken.claim(bundle.text("path"), bundle.text("path"), errors);
        }
        let certificate = source.get("podCertificate");
        if certificate.is_set() {
            count += 1;
            pod_certificate(&certificate, &mut taken, errors);
        }
        if count > 1 {
            errors.push(source.forbidden("may not specify more than 1 volume type per source"));
        }
    }
}

fn service_account_token(volume: &View, token: &View, options: &Options, errors: &mut Errors) {
    let expiration = token.get("expirationSeconds");
    if expiration.i64() < 600 {
        errors.push(expiration.invalid_int("may not specify a duration less than 10 minutes"));
    }
    if expiration.i64() > 1 << 32 {
        errors.push(expiration.invalid_int("may not specify a duration larger than 2^32 seconds"));
    }
    let path = token.get("path").with_path(volume.path().child("path"));
    if required(&path, errors) && !options.non_local_token_path {
        non_reserved_path(&path, errors);
    }
}

fn trust_bundle(bundle: &View, errors: &mut Errors) {
    let (name, signer_name) = (bundle.get("name"), bundle.get("signerName"));
    let selector = bundle.get("labelSelector");
    match (name.is_set(), signer_name.is_set()) {
        (true, true) => errors.push(bundle.invalid("only one of name and signerName may be used")),
        (true, false) => {
            if name.str().is_empty() {
                errors.push(name.required("must be a valid object name"));
            }
            for message in signer::trust_bundle_name(name.str(), None) {
                errors.push(name.invalid_str(format!("not a valid clustertrustbundlename: {message}")));
            }
            if selector.is_set() {
                errors.push(selector.invalid("labelSelector must be unset if name is specified"));
            }
        }
        (false, true) => {
            if signer_name.str().is_empty() {
                errors.push(signer_name.required("must be a valid signer name"));
            }
            signer::signer_name(&signer_name, errors);
            label_selector(&selector, false, errors);
        }
        (false, false) => errors.push(bundle.required("either name or signerName must be specified")),
    }
    let path = bundle.get("path");
    required(&path, errors);
    non_reserved_path(&path, errors);
}

fn pod_certificate<'v>(certificate: &View<'v>, taken: &mut Taken<'_, 'v>, errors: &mut Errors) {
    let signer_name = certificate.get("signerName");
    signer::signer_name(&signer_name, errors);
    let annotations = certificate.get("userAnnotations");
    for (key, _) in annotations.entries() {
        errors.extend(content::is_domain_prefixed_key(annotations.path(), &key.to_lowercase()));
    }
    let key_types = ["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
    supported(&certificate.get("keyType"), &key_types, errors);
    let expiration = certificate.get("maxExpirationSeconds");
    if expiration.is_set() {
        if expiration.i64() < 3600 {
            errors.push(expiration.invalid_int("if provided, maxExpirationSeconds must be >= 3600"));
        }
        let most = if signer_name.str().starts_with("kubernetes.io/") { 24 * 3600 } else { 91 * 24 * 3600 };
        if expiration.i64() > most {
            let detail = format!("if provided, maxExpirationSeconds must be <= {most}");
            errors.push(expiration.invalid_int(detail));
        }
    }
    let mut any = false;
    for field in ["credentialBundlePath", "keyPath", "certificateChainPath"] {
        let path = certificate.get(field);
        if path.is_empty() {
            continue;
        }
        any = true;
        non_reserved_path(&path, errors);
        taken.claim(path.str(), path.str(), errors);
    }
    if !any {
        let detail = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.push(certificate.required(detail));
    }
}
