//! The certificates and keys of `/etc/kubernetes/pki`, with kubeadm's names, subjects and lifetimes. Existing files are kept.

use crate::config::{Config, kubernetes, write};
use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use time::{Duration, OffsetDateTime};

const CA_DAYS: i64 = 3650;
const LEAF_DAYS: i64 = 365;

/// A certificate to be: who it names and what it may be used for.
pub(crate) struct Leaf<'a> {
    pub(crate) common_name: &'a str,
    pub(crate) organization: Option<&'a str>,
    pub(crate) server: bool,
    pub(crate) client: bool,
    pub(crate) names: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
}

impl<'a> Leaf<'a> {
    /// A client certificate for `common_name` in `organization`.
    pub(crate) fn client(common_name: &'a str, organization: Option<&'a str>) -> Leaf<'a> {
        Leaf { common_name, organization, server: false, client: true, names: vec![], addresses: vec![] }
    }
}

fn path(name: &str, extension: &str) -> PathBuf {
    kubernetes("pki").join(format!("{name}.{extension}"))
}

/// Makes every certificate that is missing.
pub(crate) async fn run(config: &Config) -> Result<()> {
    authority("ca", "kubernetes")?;
    authority("front-proxy-ca", "front-proxy-ca")?;
    authority("etcd/ca", "etcd-ca")?;
    service_account_keys()?;

    let domain = &config.options.service_dns_domain;
    let mut apiserver = Leaf {
        common_name: "kube-apiserver",
        organization: None,
        server: true,
        client: false,
        names: vec![
            config.node_name.clone(),
            "kubernetes".into(),
            "kubernetes.default".into(),
            "kubernetes.default.svc".into(),
            format!("kubernetes.default.svc.{domain}"),
        ],
        addresses: vec![config.service_address(1).into(), config.address],
    };
    for extra in &config.options.apiserver_cert_extra_sans {
        match extra.parse() {
            Ok(address) => apiserver.addresses.push(address),
            Err(_) => apiserver.names.push(extra.clone()),
        }
    }
    leaf("apiserver", "ca", &apiserver)?;
    leaf(
        "apiserver-kubelet-client",
        "ca",
        &Leaf::client("kube-apiserver-kubelet-client", Some("kubeadm:cluster-admins")),
    )?;
    leaf("front-proxy-client", "front-proxy-ca", &Leaf::client("front-proxy-client", None))?;

    let local = |common_name| Leaf {
        common_name,
        organization: None,
        server: true,
        client: true,
        names: vec![config.node_name.clone(), "localhost".into()],
        addresses: vec![config.address, Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
    };
    leaf("etcd/server", "etcd/ca", &local(&config.node_name))?;
    leaf("etcd/peer", "etcd/ca", &local(&config.node_name))?;
    leaf("etcd/healthcheck-client", "etcd/ca", &Leaf::client("kube-etcd-healthcheck-client", None))?;
    leaf("apiserver-etcd-client", "etcd/ca", &Leaf::client("kube-apiserver-etcd-client", None))
}

fn params(common_name: &str, organization: Option<&str>, days: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if let Some(organization) = organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.distinguished_name.push(DnType::CommonName, common_name);
    // A little in the past, for nodes whose clocks are behind.
    params.not_before = OffsetDateTime::now_utc() - Duration::minutes(5);
    params.not_after = params.not_before + Duration::days(days);
    params
}

fn authority(name: &str, common_name: &str) -> Result<()> {
    if path(name, "crt").exists() && path(name, "key").exists() {
        return Ok(());
    }
    let mut params = params(common_name, None, CA_DAYS);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::KeyCertSign,
    ];
    params.subject_alt_names = vec![SanType::DnsName(common_name.try_into()?)];
    let key = KeyPair::generate()?;
    save(name, &params.self_signed(&key)?.pem(), &key)
}

fn leaf(name: &str, authority: &str, leaf: &Leaf) -> Result<()> {
    if path(name, "crt").exists() && path(name, "key").exists() {
        return Ok(());
    }
    let (certificate, key) = sign(authority, leaf)?;
    save(name, &certificate, &key)
}

/// Signs `leaf` with the authority of that name: the certificate as PEM, and its new key.
pub(crate) fn sign(authority: &str, leaf: &Leaf) -> Result<(String, KeyPair)> {
    let read = |extension| {
        let path = path(authority, extension);
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    let issuer = Issuer::from_ca_cert_pem(&read("crt")?, KeyPair::from_pem(&read("key")?)?)?;
    let mut params = params(leaf.common_name, leaf.organization, LEAF_DAYS);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.use_authority_key_identifier_extension = true;
    if leaf.server {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    if leaf.client {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    }
    for name in &leaf.names {
        params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
    }
    params.subject_alt_names.extend(leaf.addresses.iter().map(|address| SanType::IpAddress(*address)));
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, &issuer)?.pem(), key))
}

fn service_account_keys() -> Result<()> {
    if path("sa", "key").exists() && path("sa", "pub").exists() {
        return Ok(());
    }
    let key = KeyPair::generate()?;
    write(&path("sa", "key"), key.serialize_pem(), 0o600)?;
    write(&path("sa", "pub"), key.public_key_pem(), 0o600)
}

fn save(name: &str, certificate: &str, key: &KeyPair) -> Result<()> {
    println!("    {name}");
    write(&path(name, "key"), key.serialize_pem(), 0o600)?;
    write(&path(name, "crt"), certificate, 0o644)
}

/// The hash that `join` checks the cluster's CA by: the sha256 of its public key.
pub(crate) fn public_key_hash(certificate_pem: &str) -> Result<String> {
    let (_, pem) =
        x509_parser::pem::parse_x509_pem(certificate_pem.as_bytes()).context("the CA is not PEM")?;
    let certificate = pem.parse_x509().context("the CA is not a certificate")?;
    let hash = ring::digest::digest(&ring::digest::SHA256, certificate.public_key().raw);
    Ok(format!("sha256:{}", hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
}
