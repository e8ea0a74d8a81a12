//! Bodies of answers.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use http_body::{Frame, SizeHint};

/// Why a body broke off.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer: whole, or made while it is sent.
pub enum Body {
    /// All of it.
    Full(Bytes),
    /// Pieces.
    Stream(BoxStream<'static, Result<Bytes, Error>>),
}

impl Body {
    /// Nothing.
    pub fn empty() -> Self {
        Body::Full(Bytes::new())
    }

    /// The same body, which keeps something until it is sent or given up. A whole body needs no time.
    pub fn holding(self, guard: impl Send + 'static) -> Self {
        match self {
            Body::Full(bytes) => Body::Full(bytes),
            Body::Stream(stream) => Body::Stream(Box::pin(stream.inspect(move |_| {
                let _ = &guard;
            }))),
        }
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Body::Full(bytes.into())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut *self {
            Body::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Body::Stream(stream) => {
                stream.as_mut().poll_next(cx).map(|item| item.map(|r| r.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Full(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Stream(_) => SizeHint::default(),
        }
    }
}
