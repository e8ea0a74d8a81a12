//! Loads: loops that are bounded in time and count what was answered.

use anyhow::{Context, Result, ensure};
use component_base::client::Client;
use http::Method;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CONFIG_MAPS: &str = "/api/v1/namespaces/bench/configmaps";

/// A ConfigMap of about one kilobyte, as JSON.
pub(crate) fn config_map(name: &str) -> Vec<u8> {
    let filler = "x".repeat(850);
    format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}","namespace":"bench","labels":{{"app":"bench"}}}},"data":{{"key":"{filler}"}}}}"#
    )
    .into_bytes()
}

/// Runs `work(client, client number, turn)` on every client until time is up; answers per second.
async fn rate<F>(
    clients: &[Client],
    period: Duration,
    work: impl Fn(Client, usize, usize) -> F + Clone + Send + 'static,
) -> Result<f64>
where
    F: Future<Output = Result<()>> + Send,
{
    let count = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let mut tasks = Vec::new();
    for (number, client) in clients.iter().enumerate() {
        let (client, count, work) = (client.clone(), count.clone(), work.clone());
        tasks.push(tokio::spawn(async move {
            let mut turn = 0;
            while began.elapsed() < period {
                work(client.clone(), number, turn).await?;
                count.fetch_add(1, Ordering::Relaxed);
                turn += 1;
            }
            anyhow::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(count.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64())
}

async fn create(client: &Client, name: &str) -> Result<()> {
    let body = Some(("application/json", config_map(name).into()));
    client
        .request(Method::POST, CONFIG_MAPS, body)
        .await
        .map(drop)
        .with_context(|| format!("creating {name}"))
}

/// Creates per second.
pub(crate) async fn creates(clients: &[Client], period: Duration) -> Result<f64> {
    rate(clients, period, |client, number, turn| async move {
        create(&client, &format!("c-{number}-{turn}")).await
    })
    .await
}

/// Brings the number of ConfigMaps to `wanted`: creates what is missing, deletes what is too many.
pub(crate) async fn fill(clients: &[Client], wanted: usize) -> Result<()> {
    let answer = clients[0].request(Method::GET, &format!("{CONFIG_MAPS}?limit=1"), None).await?;
    let list: serde_json::Value = serde_json::from_slice(&answer)?;
    let more = list["metadata"]["remainingItemCount"].as_u64().unwrap_or_default() as usize;
    let present = list["items"].as_array().map_or(0, Vec::len) + more;
    if present > wanted {
        clients[0].request(Method::DELETE, CONFIG_MAPS, None).await?;
    }
    let missing = if present > wanted { wanted } else { wanted - present };
    let share = missing.div_ceil(clients.len());
    let mut tasks = Vec::new();
    for (number, client) in clients.iter().enumerate() {
        let client = client.clone();
        let count = share.min(missing.saturating_sub(number * share));
        tasks.push(tokio::spawn(async move {
            for turn in 0..count {
                create(&client, &format!("f-{number}-{turn}")).await?;
            }
            anyhow::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// Consistent GETs of one object per second.
pub(crate) async fn gets(clients: &[Client], period: Duration) -> Result<f64> {
    let path = format!("{CONFIG_MAPS}/f-0-0");
    let path: Arc<str> = path.into();
    rate(clients, period, move |client, _, _| {
        let path = path.clone();
        async move { Ok(client.request(Method::GET, &path, None).await.map(drop)?) }
    })
    .await
}

/// LISTs of everything per second.
pub(crate) async fn lists(clients: &[Client], period: Duration, query: &'static str) -> Result<f64> {
    rate(clients, period, move |client, _, _| async move {
        let answer = client.request(Method::GET, &format!("{CONFIG_MAPS}{query}"), None).await?;
        ensure!(answer.len() > 1000, "an empty list");
        Ok(())
    })
    .await
}
