//! A connection to an API server that costs next to nothing itself: HTTP/1.1 over TLS, one request at a time, bodies
//! counted rather than kept. A client library would take more of the machine than the server that is measured.

use anyhow::{Context, Result, bail, ensure};
use component_base::tls::{self, Verifier};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::sync::{Arc, LazyLock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What a request's answer should be.
#[derive(Clone, Copy, Default)]
pub(crate) struct Accept {
    /// The Accept header; empty for none.
    pub(crate) media: &'static str,
    /// Whether gzip is welcome.
    pub(crate) gzip: bool,
}

/// An open connection.
pub(crate) struct Wire {
    stream: TlsStream<TcpStream>,
    token: &'static str,
    buffer: Vec<u8>,
    /// What of the buffer has not been looked at.
    unread: std::ops::Range<usize>,
}

/// How an answer's body ends.
enum Framing {
    Length(u64),
    Chunked,
}

impl Wire {
    /// Connects as the user of a token.
    pub(crate) async fn open(port: u16, token: &'static str) -> Result<Wire> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("127.0.0.1")?;
        let stream = TlsConnector::from(TLS.clone()).connect(name, stream).await?;
        Ok(Wire { stream, token, buffer: vec![0; 64 << 10], unread: 0..0 })
    }

    /// Sends a request; the size of its answer's body. An answer that isn't 2xx is an error.
    pub(crate) async fn count(
        &mut self,
        method: &str,
        path: &str,
        body: &[u8],
        accept: Accept,
    ) -> Result<u64> {
        let mut size = 0;
        self.exchange(method, path, body, accept, |piece| size += piece.len() as u64).await?;
        Ok(size)
    }

    /// Sends a request; its answer's body, which is JSON.
    pub(crate) async fn json(&mut self, method: &str, path: &str, body: &[u8]) -> Result<serde_json::Value> {
        let mut whole = Vec::new();
        self.exchange(method, path, body, Accept::default(), |piece| whole.extend_from_slice(piece)).await?;
        Ok(serde_json::from_slice(&whole)?)
    }

    /// Sends a request and passes on the pieces of its answer's body, until that ends.
    pub(crate) async fn exchange(
        &mut self,
        method: &str,
        path: &str,
        body: &[u8],
        accept: Accept,
        mut piece: impl FnMut(&[u8]),
    ) -> Result<()> {
        let media = if accept.media.is_empty() { "application/json" } else { accept.media };
        let gzip = if accept.gzip { "accept-encoding: gzip\r\n" } else { "" };
        let kind = match method {
            "PATCH" => "content-type: application/merge-patch+json\r\n",
            _ if body.is_empty() => "",
            _ => "content-type: application/json\r\n",
        };
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: bench\r\nauthorization: Bearer {}\r\naccept: {media}\r\n{gzip}{kind}content-length: {}\r\n\r\n",
            self.token,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.stream.write_all(&request).await?;
        self.stream.flush().await?;
        let (code, framing) = self.head().await?;
        let mut refusal = Vec::new();
        self.body(framing, |bytes| if code < 300 { piece(bytes) } else { refusal.extend_from_slice(bytes) })
            .await?;
        ensure!(code < 300, "{method} {path}: {code} {}", String::from_utf8_lossy(&refusal));
        Ok(())
    }

    /// Reads more into the buffer.
    async fn fill(&mut self) -> Result<()> {
        if self.unread.is_empty() {
            self.unread = 0..0;
        } else if self.unread.end == self.buffer.len() {
            ensure!(self.unread.start > 0, "a header that is too long");
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        let read = self.stream.read(&mut self.buffer[self.unread.end..]).await?;
        ensure!(read > 0, "the server closed the connection");
        self.unread.end += read;
        Ok(())
    }

    /// Takes bytes up to and with this text.
    async fn until(&mut self, end: &[u8]) -> Result<std::ops::Range<usize>> {
        loop {
            let unread = &self.buffer[self.unread.clone()];
            if let Some(at) = unread.windows(end.len()).position(|w| w == end) {
                let found = self.unread.start..self.unread.start + at;
                self.unread.start = found.end + end.len();
                return Ok(found);
            }
            self.fill().await?;
        }
    }

    async fn head(&mut self) -> Result<(u16, Framing)> {
        let head = self.until(b"\r\n\r\n").await?;
        let head = std::str::from_utf8(&self.buffer[head])?;
        let code = head.get(9..12).context("a status line")?.parse()?;
        for line in head.lines().skip(1) {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            if name.eq_ignore_ascii_case("content-length") {
                return Ok((code, Framing::Length(value.trim().parse()?)));
            }
            if name.eq_ignore_ascii_case("transfer-encoding") {
                return Ok((code, Framing::Chunked));
            }
        }
        bail!("an answer without a length: {head}")
    }

    async fn body(&mut self, framing: Framing, mut piece: impl FnMut(&[u8])) -> Result<()> {
        match framing {
            Framing::Length(length) => self.take(length, &mut piece).await,
            Framing::Chunked => loop {
                let line = self.until(b"\r\n").await?;
                let length = u64::from_str_radix(std::str::from_utf8(&self.buffer[line])?, 16)?;
                self.take(length, &mut piece).await?;
                self.until(b"\r\n").await?;
                if length == 0 {
                    return Ok(());
                }
            },
        }
    }

    async fn take(&mut self, mut length: u64, piece: &mut impl FnMut(&[u8])) -> Result<()> {
        while length > 0 {
            if self.unread.is_empty() {
                self.fill().await?;
            }
            let taken = length.min(self.unread.len() as u64);
            let end = self.unread.start + taken as usize;
            piece(&self.buffer[self.unread.start..end]);
            self.unread.start = end;
            length -= taken;
        }
        Ok(())
    }
}

static TLS: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    // The certificate is made by the server itself.
    let builder = tls::client(Verifier::anyone()).unwrap_or_else(|error| panic!("TLS: {error}"));
    Arc::new(builder.with_no_client_auth())
});
