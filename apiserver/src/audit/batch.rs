//! Events gathered and written in the background.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::backend::{Backend, Sink, Truncate, lost};

/// How events are gathered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Config {
    /// Events that may wait.
    pub(super) buffer: usize,
    /// Events of a batch.
    pub(super) max_size: usize,
    /// How long a batch may wait to be full.
    pub(super) max_wait: Duration,
    /// Batches per second and at once; `None`: as many as there are.
    pub(super) throttle: Option<(f64, usize)>,
    /// Sizes beyond which events are cut.
    pub(super) truncate: Option<Truncate>,
}

enum Message {
    Event(Value),
    Flush(oneshot::Sender<()>),
}

/// A backend that writes in the background.
pub(super) struct Batching {
    name: &'static str,
    events: mpsc::Sender<Message>,
}

impl Batching {
    /// The backend, and its work, which must run.
    pub(super) fn new(sink: Arc<dyn Sink>, config: Config) -> (Self, impl Future<Output = ()> + Send) {
        let (events, inbox) = mpsc::channel(config.buffer.max(1));
        (Batching { name: sink.name(), events }, run(sink, config, inbox))
    }
}

impl Backend for Batching {
    fn take(&self, event: &Value) -> bool {
        if self.events.try_send(Message::Event(event.clone())).is_err() {
            lost(self.name, 1, "audit buffer queue blocked");
        }
        true
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let (done, flushed) = oneshot::channel();
            if self.events.send(Message::Flush(done)).await.is_ok() {
                let _ = flushed.await;
            }
        })
    }
}

async fn run(sink: Arc<dyn Sink>, config: Config, mut inbox: mpsc::Receiver<Message>) {
    let mut throttle = config.throttle.map(|(rate, burst)| Throttle::new(rate, burst));
    loop {
        let (mut batch, mut flushed) = (Vec::new(), None);
        let mut deadline: Option<Instant> = None;
        while batch.len() < config.max_size && flushed.is_none() {
            let next = async {
                match deadline {
                    Some(deadline) => tokio::time::timeout_at(deadline, inbox.recv()).await.map_err(drop),
                    None => Ok(inbox.recv().await),
                }
            };
            match next.await {
                Ok(Some(Message::Event(event))) => {
                    batch.push(event);
                    deadline.get_or_insert_with(|| Instant::now() + config.max_wait);
                }
                Ok(Some(Message::Flush(done))) => flushed = Some(done),
                Ok(None) if batch.is_empty() => return,
                Ok(None) | Err(()) => break,
            }
        }
        if !batch.is_empty() {
            if let Some(throttle) = &mut throttle {
                throttle.wait().await;
            }
            let batches = match &config.truncate {
                Some(truncate) => truncate.batches(batch, sink.name()),
                None => vec![batch],
            };
            for batch in batches {
                if let Err(error) = sink.write(&batch).await {
                    lost(sink.name(), batch.len(), &error);
                }
            }
        }
        if let Some(done) = flushed {
            let _ = done.send(());
        }
    }
}

/// A bucket of tokens.
struct Throttle {
    rate: f64,
    most: f64,
    tokens: f64,
    last: Instant,
}

impl Throttle {
    fn new(rate: f64, burst: usize) -> Self {
        Throttle { rate, most: burst as f64, tokens: burst as f64, last: Instant::now() }
    }

    async fn wait(&mut self) {
        let now = Instant::now();
        self.tokens = (self.tokens + (now - self.last).as_secs_f64() * self.rate).min(self.most);
        self.last = now;
        if self.tokens < 1.0 {
            let missing = Duration::from_secs_f64((1.0 - self.tokens) / self.rate);
            tokio::time::sleep(missing).await;
            (self.tokens, self.last) = (1.0, Instant::now());
        }
        self.tokens -= 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use serde_json::json;

    #[derive(Default)]
    struct Sizes(Mutex<Vec<usize>>);

    impl Sink for Sizes {
        fn name(&self) -> &'static str {
            "test"
        }
        fn write<'a>(&'a self, events: &'a [Value]) -> BoxFuture<'a, Result<(), String>> {
            self.0.lock().push(events.len());
            Box::pin(std::future::ready(Ok(())))
        }
    }

    #[tokio::test]
    async fn batches_are_full_or_old() {
        let sizes = Arc::new(Sizes::default());
        let config = Config {
            buffer: 10,
            max_size: 3,
            max_wait: Duration::from_millis(200),
            throttle: None,
            truncate: None,
        };
        let (backend, work) = Batching::new(sizes.clone(), config);
        let work = tokio::spawn(work);
        for at in 0..4 {
            assert!(backend.take(&json!({ "at": at })));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(*sizes.0.lock(), [3]);
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(*sizes.0.lock(), [3, 1]);
        backend.take(&json!({}));
        backend.flush().await;
        assert_eq!(*sizes.0.lock(), [3, 1, 1]);
        drop(backend);
        work.await.expect("ended");
    }
}
