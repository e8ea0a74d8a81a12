//! The way to etcd: the client's balanced channel, over which a request ends together with its message.
//!
//! gRPC's client learns that there is no second message only when it asks for one, and then sends the end in a frame of its own: for
//! every request one more write here, and one more read in etcd. Who asks before the first message goes sends both at once.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use etcd_client::{BalancedChannelBuilder, Channel, Error};
use http::{Request, Uri};
use http_body::Frame;
use tokio::sync::mpsc::Sender;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::Endpoint;
use tonic::transport::channel::Change;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt};

/// Makes such a channel.
pub(super) struct Whole;

impl BalancedChannelBuilder for Whole {
    type Error = Error;

    fn balanced_channel(self, buffer: usize) -> Result<(Channel, Sender<Change<Uri, Endpoint>>), Error> {
        let (channel, members) = tonic::transport::Channel::balance_channel(buffer);
        let whole = |request: Request<Body>| request.map(|body| Body::new(Peeking::new(body)));
        let channel = channel.map_request(whole).map_err(BoxError::from);
        Ok((Channel::Custom(BoxCloneSyncService::new(channel)), members))
    }
}

/// A body that knows with each frame whether it is the last, if that can be known.
struct Peeking {
    body: Body,
    /// What came after the last frame that was told.
    next: Option<Result<Frame<Bytes>, Status>>,
    ended: bool,
}

impl Peeking {
    fn new(body: Body) -> Self {
        Peeking { body, next: None, ended: false }
    }
}

impl http_body::Body for Peeking {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let frame = match this.next.take() {
            Some(frame) => frame,
            None => match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(frame) => frame,
                None => {
                    this.ended = true;
                    return Poll::Ready(None);
                }
            },
        };
        // If that is not known yet, whoever waits for the next frame is woken.
        if let Poll::Ready(next) = Pin::new(&mut this.body).poll_frame(cx) {
            this.ended = next.is_none();
            this.next = next;
        }
        Poll::Ready(Some(frame))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream};
    use http_body::Body as _;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    /// For each frame, how long it is and whether the body has ended with it. Where there is no frame, one has to wait.
    async fn told(frames: &[Option<usize>]) -> Vec<(usize, bool)> {
        let frames = frames.to_vec();
        let frames = stream::iter(frames).then(|length| async move {
            if length.is_none() {
                tokio::task::yield_now().await;
            }
            length
        });
        let frames = frames.filter_map(|length| async move {
            length.map(|length| Ok::<_, Status>(Frame::data(Bytes::from(vec![0; length]))))
        });
        let mut body = Peeking::new(Body::new(StreamBody::new(frames)));
        let mut told = Vec::new();
        while let Some(frame) = body.frame().await {
            let data = frame.expect("no failure").into_data().expect("data");
            told.push((data.len(), body.is_end_stream()));
        }
        told
    }

    #[tokio::test]
    async fn the_end_is_known_with_the_last_frame() {
        assert_eq!(told(&[Some(1)]).await, [(1, true)]);
        assert_eq!(told(&[Some(1), Some(2), Some(3)]).await, [(1, false), (2, false), (3, true)]);
        assert_eq!(told(&[Some(1), None, Some(2), None]).await, [(1, false), (2, false)]);
        assert_eq!(told(&[]).await, []);
    }
}
