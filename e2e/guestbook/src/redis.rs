//! As much of the Redis protocol as a list needs. One connection, made when needed and dropped on any error.

use std::io::{Error, Result};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

const PATIENCE: Duration = Duration::from_secs(2);

/// A connection to one server.
pub(crate) struct Redis {
    address: String,
    password: String,
    stream: Mutex<Option<BufStream<TcpStream>>>,
}

impl Redis {
    /// Nothing is connected yet.
    pub(crate) fn new(address: String, password: String) -> Redis {
        Redis { address, password, stream: Mutex::new(None) }
    }

    /// Runs one command; a simple answer is a list of one. A connection that turns out dead is made anew, once.
    pub(crate) async fn call(&self, command: &[&[u8]]) -> Result<Vec<Vec<u8>>> {
        let mut stream = self.stream.lock().await;
        let fresh = stream.is_none();
        match self.attempt(&mut stream, command).await {
            Err(_) if !fresh => self.attempt(&mut stream, command).await,
            answer => answer,
        }
    }

    async fn attempt(
        &self,
        slot: &mut Option<BufStream<TcpStream>>,
        command: &[&[u8]],
    ) -> Result<Vec<Vec<u8>>> {
        let work = async {
            let mut stream = match slot.take() {
                Some(stream) => stream,
                None => self.connect().await?,
            };
            let answer = exchange(&mut stream, command).await?;
            *slot = Some(stream);
            Ok(answer)
        };
        tokio::time::timeout(PATIENCE, work).await.map_err(|_| Error::other("no answer in time"))?
    }

    async fn connect(&self) -> Result<BufStream<TcpStream>> {
        let mut stream = BufStream::new(TcpStream::connect(&self.address).await?);
        if !self.password.is_empty() {
            exchange(&mut stream, &[b"AUTH", self.password.as_bytes()]).await?;
        }
        Ok(stream)
    }
}

async fn exchange(stream: &mut BufStream<TcpStream>, command: &[&[u8]]) -> Result<Vec<Vec<u8>>> {
    stream.write_all(format!("*{}\r\n", command.len()).as_bytes()).await?;
    for part in command {
        stream.write_all(format!("${}\r\n", part.len()).as_bytes()).await?;
        stream.write_all(part).await?;
        stream.write_all(b"\r\n").await?;
    }
    stream.flush().await?;
    let line = line(stream).await?;
    match line.split_at_checked(1) {
        Some(("*", count)) => {
            let mut items = Vec::new();
            for _ in 0..number(count)? {
                let header = self::line(stream).await?;
                items.push(bulk(stream, header.strip_prefix('$').unwrap_or_default()).await?);
            }
            Ok(items)
        }
        Some(("$", length)) => Ok(vec![bulk(stream, length).await?]),
        Some(("-", message)) => Err(Error::other(message.to_string())),
        Some((_, value)) => Ok(vec![value.as_bytes().to_vec()]),
        None => Err(Error::other("an empty answer")),
    }
}

async fn line(stream: &mut BufStream<TcpStream>) -> Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(Error::other("the connection was closed"));
    }
    Ok(line.trim_end().to_string())
}

async fn bulk(stream: &mut BufStream<TcpStream>, length: &str) -> Result<Vec<u8>> {
    let mut bytes = vec![0; number(length)? + 2];
    stream.read_exact(&mut bytes).await?;
    bytes.truncate(bytes.len() - 2);
    Ok(bytes)
}

fn number(text: &str) -> Result<usize> {
    text.parse().map_err(|_| Error::other(format!("not a length: {text:?}")))
}
