//! What becomes of a body that nobody read.
//!
//! A connection that is closed while the client still sends is reset, and a reset can overtake the answer: many clients
//! then see a broken pipe instead of the refusal. So the rest of such a body is read and thrown away, within bounds.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, header};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::runtime::Handle;

/// The most bytes that are thrown away for one request.
const LINGER_BYTES: u64 = 256 * 1024 * 1024;
/// The longest time for it.
const LINGER_TIME: Duration = Duration::from_secs(5);

/// A body whose unread rest is thrown away when it is dropped.
struct Lingering {
    body: Option<Body>,
}

/// Makes the request's body linger. One that waits for `100 Continue` has not been sent, and need not be.
pub(crate) fn lingering(request: Request<Body>) -> Request<Body> {
    if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
        return request;
    }
    request.map(|body| Body::new(Lingering { body: Some(body) }))
}

impl http_body::Body for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let rest = self.body.take().filter(|body| !body.is_end_stream());
        if let (Some(rest), Ok(runtime)) = (rest, Handle::try_current()) {
            // Bounded in bytes and time, and over with its connection: nobody waits for it.
            runtime.spawn(tokio::time::timeout(LINGER_TIME, discard(rest)));
        }
    }
}

async fn discard(mut rest: Body) {
    let mut bytes: u64 = 0;
    while let Some(Ok(frame)) = rest.frame().await {
        bytes = bytes.saturating_add(frame.data_ref().map_or(0, |piece| piece.len() as u64));
        if bytes > LINGER_BYTES {
            return;
        }
    }
}
