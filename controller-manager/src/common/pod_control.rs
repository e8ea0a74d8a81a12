//! Creating and deleting the pods of an owner, with its events; and deleting those that are in the way.

use std::future::Future;

use component_base::client::known::PODS;
use component_base::client::{DeleteOptions, Error, Patch};
use futures::future::join_all;
use proto::meta::Key;
use proto::time::Time;
use serde_json::{Value, json};

use super::events::Event;
use super::expectations::Expectations;
use crate::api::Condition;
use crate::api::core::Pod;
use crate::context::{Controller, Subject};

/// Does `count` things of the same kind: one at first, then twice as many at a time as long as they
/// succeed, so that what can't succeed doesn't fail hundreds of times. Returns the number of successes,
/// and the first error.
pub async fn slow_start<F, Fut>(count: usize, act: F) -> (usize, Option<Error>)
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = Result<(), Error>>,
{
    let (mut done, mut batch) = (0, 1);
    while done < count {
        let size = batch.min(count - done);
        let results = join_all((done..done + size).map(&act)).await;
        let failures = results.iter().filter(|r| r.is_err()).count();
        done += size - failures;
        if let Some(error) = results.into_iter().find_map(Result::err) {
            return (done, Some(error));
        }
        batch *= 2;
    }
    (done, None)
}

/// Creates one pod. In a namespace that is going away nothing is created, and nothing is wrong.
pub async fn create(controller: &Controller, subject: &Subject, pod: &Value) -> Result<(), Error> {
    let namespace = &subject.metadata.namespace;
    match controller.client.create::<crate::api::core::Metadata>(&PODS, namespace, pod).await {
        Ok(created) => {
            let message = format!("Created pod: {}", created.metadata.name);
            controller.record(subject, &Event::normal("SuccessfulCreate", message));
            Ok(())
        }
        Err(error) => {
            if !error.is_namespace_terminating() {
                let message = format!("Error creating: {error}");
                controller.record(subject, &Event::warning("FailedCreate", message));
            }
            Err(error)
        }
    }
}

/// Deletes one pod; one that is gone is an error that says so.
pub async fn delete(controller: &Controller, subject: &Subject, name: &str) -> Result<(), Error> {
    let namespace = &subject.metadata.namespace;
    match controller.client.delete(&PODS, namespace, name, &DeleteOptions::default()).await {
        Ok(()) => {
            let message = format!("Deleted pod: {name}");
            controller.record(subject, &Event::normal("SuccessfulDelete", message));
            Ok(())
        }
        Err(error) if error.is_not_found() => Err(error),
        Err(error) => {
            let message = format!("Error deleting: {error}");
            controller.record(subject, &Event::warning("FailedDelete", message));
            Err(error)
        }
    }
}

/// Creates pods and keeps the owner's expectations true: what fails is no longer expected.
pub async fn create_all(
    controller: &Controller,
    subject: &Subject,
    expectations: &Expectations,
    pods: &[Value],
) -> Result<(), Error> {
    let owner = subject.metadata.key();
    let (created, error) = slow_start(pods.len(), async |index| {
        match create(controller, subject, &pods[index]).await {
            // The pods never come, and the expectation lapses: nothing is to be done here any more.
            Err(error) if error.is_namespace_terminating() => Ok(()),
            outcome => outcome,
        }
    })
    .await;
    expectations.created(&owner, pods.len() - created);
    error.map_or(Ok(()), Err)
}

/// Deletes pods at once and keeps the owner's expectations true.
pub async fn delete_all(
    controller: &Controller,
    subject: &Subject,
    expectations: &Expectations,
    names: &[String],
) -> Result<(), Error> {
    let owner: Key = subject.metadata.key();
    let owner = &owner;
    let results = join_all(names.iter().map(async |name| {
        let outcome = delete(controller, subject, name).await;
        if outcome.is_err() {
            expectations.deleted(owner, name);
        }
        outcome
    }))
    .await;
    let failed = results.into_iter().filter_map(Result::err).find(|e| !e.is_not_found());
    failed.map_or(Ok(()), Err)
}

/// Deletes a pod that is in the way, and says so on it first; one that is gone is fine.
pub async fn disrupt(controller: &Controller, pod: &Pod, reason: &str, message: &str) -> Result<(), Error> {
    let client = &controller.client;
    let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
    let condition = Condition::new("DisruptionTarget", "True", reason, message, Time::now());
    let patch = json!({
        "metadata": {"uid": pod.metadata.uid},
        "status": {"conditions": [condition]},
    });
    let marked = client.patch::<Value>(&PODS.sub("status"), namespace, name, Patch::Strategic, &patch).await;
    let outcome = match marked {
        Ok(_) => client.delete(&PODS, namespace, name, &DeleteOptions::uid(&pod.metadata.uid)).await,
        Err(error) => Err(error),
    };
    match outcome {
        Err(error) if error.is_not_found() => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn failures_stop_the_doubling() {
        let calls = AtomicUsize::new(0);
        let (done, error) = slow_start(100, async |index| {
            calls.fetch_add(1, Ordering::SeqCst);
            if index < 3 { Ok(()) } else { Err(Error::Timeout) }
        })
        .await;
        // Batches of 1, 2 and 4: the third fails as a whole.
        assert_eq!((done, error.is_some(), calls.into_inner()), (3, true, 7));
    }
}
