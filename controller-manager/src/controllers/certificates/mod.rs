//! Certificate signing requests: approving those of kubelets, signing approved ones, deleting old ones.
//!
//! Three controllers; each watches the requests.

mod clean;
mod request;
mod sign;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use component_base::client::DeleteOptions;
use component_base::client::known::{CERTIFICATE_SIGNING_REQUESTS, SUBJECT_ACCESS_REVIEWS};
use component_base::queue::{Next, Queue};
use component_base::watch::Store;
use proto::meta::Key;
use proto::time::Time;
use serde_json::{Value, json};

use crate::api::policy::CertificateSigningRequest;
use crate::api::{Condition, condition_is_true, find_condition};
use crate::common::write;
use crate::context::{Controller, enqueue_changes};
use sign::Authority;

const KIND: &str = "CertificateSigningRequest";

type Requests = Store<CertificateSigningRequest>;

/// Runs `work` on each request that changed.
fn run<F, Fut>(controller: Arc<Controller>, queue: &'static str, work: F)
where
    F: Fn(Arc<Controller>, Arc<CertificateSigningRequest>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = anyhow::Result<Next>> + Send + 'static,
{
    let queue: Queue<Key> = Queue::new(queue);
    let requests: Requests = controller.store(&CERTIFICATE_SIGNING_REQUESTS);
    enqueue_changes(&requests, &queue);
    let store = requests.clone();
    let ready = async move { store.synced().await };
    let (own, work) = (controller.clone(), Arc::new(work));
    controller.run(&queue, 5, ready, move |key: Key| {
        let (own, work, request) = (own.clone(), work.clone(), requests.get_key(&key));
        async move {
            match request {
                Some(request) => work(own, request).await,
                None => Ok(Next::Done),
            }
        }
    });
}

/// Starts the controller that approves the requests of kubelets.
pub fn start_approving(controller: Arc<Controller>) -> anyhow::Result<()> {
    run(controller, "certificate", |controller, csr| async move { approve(&controller, &csr).await });
    Ok(())
}

/// What a request is recognised as: the permission needed, and the message on approval. A kubelet may
/// ask for its own node, or a bootstrapping one for any.
fn recognise(
    csr: &CertificateSigningRequest,
    request: &request::Request,
) -> Vec<(&'static str, &'static str)> {
    let kubelet = csr.spec.signer_name == request::KUBELET_CLIENT
        && request.check_kubelet_client(&csr.spec.usages).is_ok();
    let own = csr.spec.username == request.common_name;
    let rows = [
        (own, "selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."),
        (true, "nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."),
    ];
    rows.into_iter().filter(|row| kubelet && row.0).map(|row| (row.1, row.2)).collect()
}

fn is_decided(csr: &CertificateSigningRequest) -> bool {
    let conditions = &csr.status.conditions;
    ["Approved", "Denied"].iter().any(|kind| find_condition(conditions, kind).is_some())
}

async fn approve(controller: &Controller, csr: &CertificateSigningRequest) -> anyhow::Result<Next> {
    if !csr.status.certificate.is_empty() || is_decided(csr) {
        return Ok(Next::Done);
    }
    let name = &csr.metadata.name;
    let request = request::parse(&csr.spec.request)
        .map_err(|e| anyhow::anyhow!("unable to parse csr {name:?}: {e}"))?;
    let recognised = recognise(csr, &request);
    for (permission, message) in &recognised {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": csr.spec.username,
                "uid": csr.spec.uid,
                "groups": csr.spec.groups,
                "extra": csr.spec.extra,
                "resourceAttributes": {
                    "group": "certificates.k8s.io",
                    "resource": "certificatesigningrequests",
                    "verb": "create",
                    "subresource": permission,
                    "version": "*",
                },
            },
        });
        let answer: Value = controller.client.create(&SUBJECT_ACCESS_REVIEWS, "", &review).await?;
        if answer["status"]["allowed"] != json!(true) {
            continue;
        }
        let condition =
            json!({"type": "Approved", "status": "True", "reason": "AutoApproved", "message": message});
        let approval = CERTIFICATE_SIGNING_REQUESTS.sub("approval");
        write::update(controller, &approval, KIND, &csr.metadata, |object| {
            add_condition(object, condition);
        })
        .await?;
        return Ok(Next::Done);
    }
    if !recognised.is_empty() {
        let tried: Vec<&str> = recognised.iter().map(|(permission, _)| *permission).collect();
        tracing::info!("recognized csr {name:?} as {tried:?} but subject access review was not approved");
    }
    Ok(Next::Done)
}

fn add_condition(object: &mut Value, condition: Value) {
    match object["status"]["conditions"].as_array_mut() {
        Some(conditions) => conditions.push(condition),
        None => object["status"]["conditions"] = json!([condition]),
    }
}

/// The signers, with the flags that name their files.
const SIGNERS: [(&str, &str); 4] = [
    (request::KUBELET_SERVING, "kubelet-serving"),
    (request::KUBELET_CLIENT, "kubelet-client"),
    (request::CLIENT, "kube-apiserver-client"),
    (request::LEGACY, "legacy-unknown"),
];

/// Starts the controller that signs approved requests.
pub fn start_signing(controller: Arc<Controller>) -> anyhow::Result<()> {
    let flags = controller.flags();
    let default = (flags.str("cluster-signing-cert-file"), flags.str("cluster-signing-key-file"));
    let own = |part: &str| {
        let flag = |file: &str| flags.str(&format!("cluster-signing-{part}-{file}-file"));
        (flag("cert"), flag("key"))
    };
    let specific = SIGNERS.iter().any(|(_, part)| own(part) != ("", ""));
    if specific && default != ("", "") {
        anyhow::bail!(
            "cannot specify --cluster-signing-{{cert,key}}-file and other --cluster-signing-*-file flags at the same time"
        );
    }
    let mut authorities = Vec::new();
    for (signer, part) in SIGNERS {
        let files = if specific { own(part) } else { default };
        match files {
            ("", "") => {}
            ("", _) | (_, "") => anyhow::bail!("cannot specify cert or key file alone for signer {signer}"),
            (certificate, key) => {
                let authority = Authority::new(certificate, key).map_err(anyhow::Error::msg)?;
                authorities.push((signer, authority));
            }
        }
    }
    if authorities.is_empty() {
        tracing::info!("Skipping CSR signer controller because no signing files are given");
        return Ok(());
    }
    let authorities = Arc::new(authorities);
    run(controller, "csrsigning", move |controller, csr| {
        let authorities = authorities.clone();
        async move { issue(&controller, &csr, &authorities).await }
    });
    Ok(())
}

async fn issue(
    controller: &Controller,
    csr: &CertificateSigningRequest,
    authorities: &[(&str, Authority)],
) -> anyhow::Result<Next> {
    let conditions = &csr.status.conditions;
    let approved =
        condition_is_true(conditions, "Approved") && find_condition(conditions, "Denied").is_none();
    let issued = !csr.status.certificate.is_empty();
    if issued || !approved || condition_is_true(conditions, "Failed") {
        return Ok(Next::Done);
    }
    let authority = authorities.iter().find(|(signer, _)| *signer == csr.spec.signer_name);
    let Some((signer, authority)) = authority else { return Ok(Next::Done) };
    let name = &csr.metadata.name;
    let request = request::parse(&csr.spec.request)
        .map_err(|e| anyhow::anyhow!("unable to parse csr {name:?}: {e}"))?;
    let status = CERTIFICATE_SIGNING_REQUESTS.sub("status");
    if let Err(reason) = request.check(signer, &csr.spec.usages) {
        let condition = Condition {
            last_update_time: Some(Time::now()),
            ..Condition::new("Failed", "True", "SignerValidationFailure", reason, Time::now())
        };
        write::update(controller, &status, KIND, &csr.metadata, |object| {
            add_condition(object, json!(condition));
        })
        .await?;
        return Ok(Next::Done);
    }
    let longest = controller.flags().duration("cluster-signing-duration").to_std();
    let (usages, wanted) = (&csr.spec.usages, csr.spec.expiration_seconds);
    let certificate = authority
        .sign(&request, usages, wanted, longest, Time::now())
        .map_err(|e| anyhow::anyhow!("error auto signing csr: {e}"))?;
    write::update(controller, &status, KIND, &csr.metadata, |object| {
        object["status"]["certificate"] = json!(STANDARD.encode(certificate));
    })
    .await?;
    Ok(Next::Done)
}

/// Starts the controller that deletes old requests.
pub fn start_cleaning(controller: Arc<Controller>) -> anyhow::Result<()> {
    run(controller, "csrcleaner", |controller, csr| async move {
        match clean::due(&csr, Time::now()) {
            None => Ok(Next::Done),
            Some(wait) if !wait.is_zero() => Ok(Next::After(wait)),
            Some(_) => {
                let (resource, name) = (CERTIFICATE_SIGNING_REQUESTS, &csr.metadata.name);
                let options = DeleteOptions::uid(&csr.metadata.uid);
                match controller.client.delete(&resource, "", name, &options).await {
                    Err(error) if !error.is_not_found() => Err(error.into()),
                    _ => Ok(Next::Done),
                }
            }
        }
    });
    Ok(())
}
