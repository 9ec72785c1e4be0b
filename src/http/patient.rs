//! Connections whose client takes nothing of what it is sent.
//!
//! What is answered waits in memory, with all that makes it (a slot of a stream, pages being read), until the client takes
//! it. TCP lets a client that is there and reads nothing keep that for ever, so that somebody else has to end it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// How long a client may take nothing of what is there for it.
pub(crate) const WRITE_IDLE: Duration = Duration::from_secs(30);

/// What is written to, and tells how much of that the other side still has to take.
pub(super) trait Sending: AsyncRead + AsyncWrite + Unpin {
    /// Bytes that were written and not taken yet; none where that cannot be told.
    fn untaken(&self) -> Option<u64>;
}

impl Sending for TcpStream {
    #[cfg(target_os = "linux")]
    #[expect(unsafe_code, reason = "no crate has a safe call for it")]
    fn untaken(&self) -> Option<u64> {
        use std::os::fd::AsRawFd;
        let mut bytes: libc::c_int = 0;
        // SAFETY: the call (`tcp(7)`, SIOCOUTQ, which is TIOCOUTQ) writes one int, into a value that outlives it; the
        // descriptor is open as long as the stream.
        let done = unsafe { libc::ioctl(self.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
        if done == 0 { u64::try_from(bytes).ok() } else { None }
    }

    #[cfg(not(target_os = "linux"))]
    fn untaken(&self) -> Option<u64> {
        None
    }
}

/// A connection that fails with [`io::ErrorKind::TimedOut`] when something waits to be written and the other side has taken
/// nothing for as long as it may. While there is nothing to write, time does not count; nor does it while the other side takes
/// a little now and then, though the system has no room for more yet.
#[derive(Debug)]
pub(super) struct Patient<T> {
    io: T,
    patience: Duration,
    writing: Option<Waiting>,
    flushing: Option<Waiting>,
}

/// How often it is looked, while a call waits as long as it may, whether the other side has taken something.
const LOOKS: u32 = 10;

/// A call that waits.
#[derive(Debug)]
struct Waiting {
    /// When to look next.
    timer: Pin<Box<Sleep>>,
    /// When the other side was last seen to have taken something, and what it had to take then.
    since: Instant,
    untaken: Option<u64>,
}

impl<T: Sending> Patient<T> {
    pub(super) const fn new(io: T, patience: Duration) -> Self {
        Self { io, patience, writing: None, flushing: None }
    }
}

/// The outcome of a call, but for one that has waited for too long.
fn judged<T: Sending, R>(
    io: &T,
    patience: Duration,
    waiting: &mut Option<Waiting>,
    polled: Poll<io::Result<R>>,
    context: &mut Context<'_>,
) -> Poll<io::Result<R>> {
    if polled.is_ready() {
        *waiting = None;
        return polled;
    }
    let pause = patience / LOOKS;
    let waits = waiting.get_or_insert_with(|| Waiting {
        timer: Box::pin(tokio::time::sleep(pause)),
        since: Instant::now(),
        untaken: io.untaken(),
    });
    while waits.timer.as_mut().poll(context).is_ready() {
        let (now, untaken) = (Instant::now(), io.untaken());
        if matches!((untaken, waits.untaken), (Some(now), Some(then)) if now < then) {
            (waits.since, waits.untaken) = (now, untaken);
        } else if now.duration_since(waits.since) >= patience {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        waits.timer.as_mut().reset(now + pause);
    }
    Poll::Pending
}

impl<T: Sending> AsyncRead for Patient<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<T: Sending> AsyncWrite for Patient<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { io, patience, writing, .. } = &mut *self;
        let polled = Pin::new(&mut *io).poll_write(context, bytes);
        judged(io, *patience, writing, polled, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { io, patience, writing, .. } = &mut *self;
        let polled = Pin::new(&mut *io).poll_write_vectored(context, bytes);
        judged(io, *patience, writing, polled, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    // A flush that is done says nothing of a write that waits: each has a time of its own.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { io, patience, flushing, .. } = &mut *self;
        let polled = Pin::new(&mut *io).poll_flush(context);
        judged(io, *patience, flushing, polled, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { io, patience, flushing, .. } = &mut *self;
        let polled = Pin::new(&mut *io).poll_shutdown(context);
        judged(io, *patience, flushing, polled, context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::net::TcpListener;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(600);

    /// A pipe that has room for a few bytes, and tells of the other side what the test says.
    struct Told(DuplexStream, Arc<AtomicU64>);

    impl Sending for Told {
        fn untaken(&self) -> Option<u64> {
            // Each look finds less, until all is taken.
            let next = |now: u64| now.checked_sub(1);
            self.1.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok().or(Some(0))
        }
    }

    impl AsyncRead for Told {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buffer)
        }
    }

    impl AsyncWrite for Told {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (listener.accept().await.unwrap().0, client)
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_is_given_up() {
        let (server, _client) = pair().await;
        let mut server = Patient::new(server, SHORT);
        // More than the system holds for a client.
        let sent = server.write_all(&vec![0; 64 << 20]).await;
        assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_client_that_reads_gets_everything_and_one_that_is_sent_nothing_stays() {
        let (server, mut client) = pair().await;
        let mut server = Patient::new(server, LONG);
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            client.read_to_end(&mut all).await.unwrap();
            all.len()
        });
        server.write_all(&vec![0; 16 << 20]).await.unwrap();
        assert!(server.writing.is_none() && server.flushing.is_none(), "no time counts while nothing waits");
        server.shutdown().await.unwrap();
        assert_eq!(reading.await.unwrap(), 16 << 20);
    }

    #[tokio::test]
    async fn a_client_that_takes_a_little_now_and_then_is_waited_for() {
        let (server, _client) = tokio::io::duplex(8);
        let left = Arc::new(AtomicU64::new(5));
        let mut server = Patient::new(Told(server, Arc::clone(&left)), SHORT);
        let sent = server.write_all(&[0; 64]).await;
        assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(left.load(Ordering::Relaxed), 0, "it was given up before it had stopped to take");
    }

    #[tokio::test]
    async fn a_flush_that_is_done_does_not_begin_the_time_of_a_write_anew() {
        let (server, _client) = tokio::io::duplex(8);
        let mut server = Patient::new(Told(server, Arc::default()), SHORT);
        let sent = std::future::poll_fn(|context| {
            let polled = Pin::new(&mut server).poll_write(context, &[0; 8]);
            assert!(Pin::new(&mut server).poll_flush(context).is_ready());
            match polled {
                Poll::Ready(Ok(_)) => Pin::new(&mut server).poll_write(context, &[0; 8]),
                other => other,
            }
        });
        assert_eq!(sent.await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
