//! Asks the API server for a certificate and waits for it.

use anyhow::{Context, bail};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use component_base::client::known::CERTIFICATE_SIGNING_REQUESTS;
use component_base::client::{Client, ListOptions};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData, SanType};
use serde_json::{Value, json};
use sha2::{Digest, Sha512};
use std::net::IpAddr;
use std::time::Duration;

/// What a certificate is for.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    /// To ask the API server.
    Client,
    /// To be asked, under these names and addresses.
    Server {
        /// Names.
        names: Vec<String>,
        /// Addresses.
        ips: Vec<IpAddr>,
    },
}

impl Purpose {
    fn signer(&self) -> &'static str {
        match self {
            Purpose::Client => "kubernetes.io/kube-apiserver-client-kubelet",
            Purpose::Server { .. } => "kubernetes.io/kubelet-serving",
        }
    }

    fn usages(&self) -> [&'static str; 2] {
        match self {
            Purpose::Client => ["digital signature", "client auth"],
            Purpose::Server { .. } => ["digital signature", "server auth"],
        }
    }
}

/// How long someone has to approve the request.
const PATIENCE: Duration = Duration::from_secs(900);

/// Gets a certificate for a new key; both in PEM.
pub(super) async fn obtain(
    client: &Client,
    node: &str,
    purpose: &Purpose,
) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "system:nodes");
    subject.push(DnType::CommonName, format!("system:node:{node}"));
    params.distinguished_name = subject;
    if let Purpose::Server { names, ips } = purpose {
        for name in names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        params.subject_alt_names.extend(ips.iter().map(|ip| SanType::IpAddress(*ip)));
    }
    let request = params.serialize_request(&key)?.pem()?;
    let mut metadata = json!({ "generateName": "csr-" });
    if matches!(purpose, Purpose::Client) {
        // One key, one name: whoever repeats the request finds it.
        let digest = Sha512::digest(key.subject_public_key_info());
        metadata = json!({ "name": format!("node-csr-{}", BASE64_URL_SAFE_NO_PAD.encode(digest.get(..32).unwrap_or_default())) });
    }
    let object = json!({
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": metadata,
        "spec": {
            "request": BASE64_STANDARD.encode(request),
            "signerName": purpose.signer(),
            "usages": purpose.usages(),
        },
    });
    let created: Value = client
        .create(&CERTIFICATE_SIGNING_REQUESTS, "", &object)
        .await
        .context("cannot create certificate signing request")?;
    let name = created["metadata"]["name"].as_str().unwrap_or_default().to_string();
    tracing::info!(csr = name, "Waiting for the certificate to be issued");
    let certificate = tokio::time::timeout(PATIENCE, issued(client, &name))
        .await
        .with_context(|| format!("certificate request {name} was not signed in time"))??;
    Ok((certificate, key.serialize_pem().into_bytes()))
}

/// Waits for the outcome of a request.
async fn issued(client: &Client, name: &str) -> anyhow::Result<Vec<u8>> {
    const LOOK: Duration = Duration::from_millis(500);
    let options = ListOptions { fields: format!("metadata.name={name}"), ..ListOptions::default() };
    loop {
        let list = client.list::<Value>(&CERTIFICATE_SIGNING_REQUESTS, "", &options).await?;
        let Some(request) = list.items.into_iter().next() else {
            bail!("certificate signing request {name} was deleted");
        };
        let status = &request["status"];
        for condition in status["conditions"].as_array().into_iter().flatten() {
            let reason = condition["reason"].as_str().unwrap_or_default();
            let message = condition["message"].as_str().unwrap_or_default();
            match condition["type"].as_str() {
                Some("Denied") => {
                    bail!("certificate signing request is denied, reason: {reason}, message: {message}")
                }
                Some("Failed") => {
                    bail!("certificate signing request failed, reason: {reason}, message: {message}")
                }
                _ => {}
            }
        }
        if let Some(certificate) = status["certificate"].as_str() {
            return Ok(BASE64_STANDARD.decode(certificate)?);
        }
        tokio::time::sleep(LOOK).await;
    }
}
