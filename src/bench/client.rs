//! One simulated client: a connection of HTTP/1.1 that is kept, and opened again where it was closed.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Connection, SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::bench::target::Ask;

/// How long an answer may take, and how long one that can have any length.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const LONG_TIMEOUT: Duration = Duration::from_secs(3_600);
/// How much is kept of what a refusal says.
const REFUSAL_BYTES: usize = 600;

/// A client with at most one request under way. It drives its connection itself: nothing runs beside it.
#[derive(Debug)]
pub(super) struct Client {
    address: SocketAddr,
    timeout: Duration,
    open: Option<Open>,
}

type Wire = Connection<TokioIo<TcpStream>, Full<Bytes>>;

#[derive(Debug)]
struct Open {
    sender: SendRequest<Full<Bytes>>,
    /// None when it has ended.
    wire: Option<Pin<Box<Wire>>>,
}

/// An answer that has come whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// What the body of anything but a success says.
    pub(super) refusal: Option<String>,
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Fault {
    /// Nobody takes the connection.
    #[error("no connection: {0}")]
    Connect(String),
    /// The connection ended before the answer did.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The answer takes too long.
    #[error("no answer in {} s", .0.as_secs())]
    Timeout(Duration),
}

impl Client {
    /// A client that is not connected yet.
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, timeout: ANSWER_TIMEOUT, open: None }
    }

    /// A client for answers of any length.
    pub(super) fn for_long_answers(address: SocketAddr) -> Self {
        Self { timeout: LONG_TIMEOUT, ..Self::new(address) }
    }

    /// One request, to the end of its answer. The body of a success is told piece by piece.
    ///
    /// # Errors
    /// [`Fault`]: whether the server has acted on the request is not known.
    pub(super) async fn ask(&mut self, request: Ask, told: impl FnMut(&[u8])) -> Result<Answer, Fault> {
        let answer = match tokio::time::timeout(self.timeout, self.ask_patiently(request, told)).await {
            Ok(answer) => answer,
            Err(_) => Err(Fault::Timeout(self.timeout)),
        };
        if answer.is_err() {
            self.open = None;
        }
        answer
    }

    async fn ask_patiently(&mut self, request: Ask, mut told: impl FnMut(&[u8])) -> Result<Answer, Fault> {
        let response = self.begin(request).await?;
        let status = response.status();
        let mut refusal = Vec::new();
        let mut body = response.into_body();
        while let Some(piece) = self.piece(&mut body).await? {
            if status.is_success() {
                told(&piece);
            } else {
                let room = REFUSAL_BYTES.saturating_sub(refusal.len());
                refusal.extend_from_slice(&piece[..piece.len().min(room)]);
            }
        }
        let refusal = (!status.is_success()).then(|| String::from_utf8_lossy(&refusal).into_owned());
        Ok(Answer { status: status.as_u16(), refusal })
    }

    /// One request, to the head of its answer. Its body is then taken by [`Client::piece`].
    ///
    /// # Errors
    /// [`Fault`].
    pub(super) async fn begin(&mut self, mut request: Ask) -> Result<Response<Incoming>, Fault> {
        loop {
            let used = self.is_open().await;
            let Open { sender, wire } = match &mut self.open {
                Some(open) => open,
                none => none.insert(connect(self.address).await?),
            };
            match drive(wire, sender.try_send_request(request)).await {
                Ok(response) => return Ok(response),
                Err(mut failed) => {
                    self.open = None;
                    // A server may close a connection that rests, just when it is used again: nothing was sent then.
                    request = match failed.take_message() {
                        Some(unsent) if used => unsent,
                        _ => return Err(Fault::Broken(failed.into_error().to_string())),
                    };
                }
            }
        }
    }

    /// The next piece of an answer's body; none at its end.
    ///
    /// # Errors
    /// [`Fault::Broken`] where the connection ends before the body does.
    pub(super) async fn piece(&mut self, body: &mut Incoming) -> Result<Option<Bytes>, Fault> {
        let Some(Open { wire, .. }) = &mut self.open else {
            return Err(Fault::Broken("it was left".to_owned()));
        };
        loop {
            match drive(wire, body.frame()).await {
                None => return Ok(None),
                Some(Err(fault)) => return Err(Fault::Broken(fault.to_string())),
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        return Ok(Some(piece));
                    }
                }
            }
        }
    }

    /// Whether there is a connection that takes a request; one that has ended is let go.
    async fn is_open(&mut self) -> bool {
        let ready = match &mut self.open {
            Some(Open { sender, wire }) => drive(wire, sender.ready()).await.is_ok(),
            None => false,
        };
        if !ready {
            self.open = None;
        }
        ready
    }
}

async fn connect(address: SocketAddr) -> Result<Open, Fault> {
    let stream = TcpStream::connect(address).await.map_err(|cause| Fault::Connect(cause.to_string()))?;
    stream.set_nodelay(true).map_err(|cause| Fault::Connect(cause.to_string()))?;
    let (sender, wire) = handshake(TokioIo::new(stream)).await.map_err(|cause| Fault::Connect(cause.to_string()))?;
    Ok(Open { sender, wire: Some(Box::pin(wire)) })
}

/// Waits for a future that a connection brings forward.
async fn drive<T>(wire: &mut Option<Pin<Box<Wire>>>, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    poll_fn(|context| {
        if let Poll::Ready(outcome) = future.as_mut().poll(context) {
            return Poll::Ready(outcome);
        }
        if let Some(open) = wire
            && open.as_mut().poll(context).is_ready()
        {
            // Dropping it is what tells the future that nothing more comes.
            *wire = None;
        }
        future.as_mut().poll(context)
    })
    .await
}
