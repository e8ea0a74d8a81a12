//! The middle tier of the example application: a small web service that keeps a list of entries in Redis.
//!
//! `GET /entries` lists them, `POST /entries` adds the body as one, `GET /healthz` says whether Redis answers. On SIGTERM
//! it stops accepting and finishes what it has begun. Settings: LISTEN, REDIS_ADDRESS, REDIS_PASSWORD.

mod redis;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use redis::Redis;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

const LIST: &str = "entries";
/// The longest entry, in bytes.
const LONGEST: usize = 4096;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let setting = |name: &str, otherwise: &str| std::env::var(name).unwrap_or_else(|_| otherwise.into());
    let redis =
        Arc::new(Redis::new(setting("REDIS_ADDRESS", "127.0.0.1:6379"), setting("REDIS_PASSWORD", "")));
    let listener = TcpListener::bind(setting("LISTEN", "0.0.0.0:8080")).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    // Every connection holds a receiver: when all are gone, nothing is in flight.
    let (stopping, receiver) = watch::channel(false);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
            _ = terminate.recv() => break,
        };
        let (redis, mut stop) = (redis.clone(), receiver.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| handle(&redis, request));
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => return,
                _ = stop.changed() => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        });
    }
    drop((listener, receiver));
    let _ = stopping.send(true);
    stopping.closed().await;
    Ok(())
}

async fn handle(redis: &Redis, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let answer = match (request.method(), request.uri().path()) {
        (&Method::GET, "/healthz") => redis.call(&[b"PING"]).await.map(|_| Bytes::from("ok\n")),
        (&Method::GET, "/entries") => {
            redis.call(&[b"LRANGE", LIST.as_bytes(), b"0", b"-1"]).await.map(|entries| {
                let entries: Vec<_> = entries.iter().map(|entry| String::from_utf8_lossy(entry)).collect();
                Bytes::from(serde_json::to_vec(&entries).unwrap_or_default())
            })
        }
        (&Method::POST, "/entries") => match Limited::new(request.into_body(), LONGEST).collect().await {
            Ok(body) => redis
                .call(&[b"RPUSH", LIST.as_bytes(), &body.to_bytes()])
                .await
                .map(|_| Bytes::from("added\n")),
            Err(_) => {
                return Ok(text(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("an entry has at most {LONGEST} bytes\n"),
                ));
            }
        },
        _ => return Ok(text(StatusCode::NOT_FOUND, "GET or POST /entries\n")),
    };
    Ok(match answer {
        Ok(body) => text(StatusCode::OK, body),
        Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, format!("redis: {error}\n")),
    })
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}
