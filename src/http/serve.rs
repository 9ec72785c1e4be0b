//! The server's loop: connections in, a bounded end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::http::patient::{Patient, WRITE_IDLE};

/// How long a client may take for the head of a request; also how long an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// The most bytes of a request's head: a target of 64 KiB, which is the longest that the `http` crate takes, and its headers.
/// As much of a body is read ahead; what a connection reads into stays with it while its request waits. Over HTTP/2 each header
/// counts 32 bytes more (RFC 9113, section 6.5.2); a head that has more frames than so many bytes need ends the connection.
const HEAD_BYTES_MAX: u32 = 80 << 10;
/// What a connection of HTTP/2 begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long to wait for the rest of that.
const PREFACE_PAUSE: Duration = Duration::from_millis(20);
/// How often a client of HTTP/2 is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long to wait after the system had no socket to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `drain` is cancelled and the connections have ended, or `deadline` has passed since then; the number of
/// connections that were cut.
///
/// Past `connections_max`, those that come wait until others have ended: each takes one of the files that the process can have
/// open, and the log must never go without.
///
/// While it drains, idle connections are closed, requests under way are finished, and new connections are served one
/// request each, so that callers are told instead of refused. Dropping the future cuts all connections.
pub async fn serve<S>(
    listener: TcpListener,
    service: S,
    drain: CancellationToken,
    connections_max: usize,
    deadline: Duration,
) -> usize
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut is_told = false;
    loop {
        let has_room = connections.len() < connections_max;
        if !has_room && !std::mem::replace(&mut is_told, true) {
            tracing::warn!(connections_max, "there are as many connections as may be; those that come wait");
        }
        tokio::select! {
            () = drain.cancelled() => break,
            accepted = listener.accept(), if has_room => {
                if let Some(socket) = taken(accepted).await {
                    // A token of its own: each look at one takes its lock, and all connections look with every request.
                    connections.spawn(connection(socket, service.clone(), drain.child_token(), true));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
    let mut late = JoinSet::new();
    let ended = tokio::time::timeout(deadline, async {
        while !connections.is_empty() {
            tokio::select! {
                accepted = listener.accept() => {
                    if let Some(socket) = taken(accepted).await {
                        late.spawn(connection(socket, service.clone(), CancellationToken::new(), false));
                    }
                }
                Some(_) = connections.join_next() => {}
                Some(_) = late.join_next() => {}
            }
        }
        drop(listener);
        while late.join_next().await.is_some() {}
    });
    if ended.await.is_ok() {
        return 0;
    }
    let cut = connections.len() + late.len();
    connections.shutdown().await;
    late.shutdown().await;
    cut
}

async fn taken(accepted: io::Result<(TcpStream, SocketAddr)>) -> Option<TcpStream> {
    match accepted {
        Ok((socket, _)) => {
            if let Err(error) = socket.set_nodelay(true) {
                tracing::debug!(%error, "a connection keeps Nagle's algorithm");
            }
            Some(socket)
        }
        Err(error) if is_of_one_connection(&error) => None,
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Whether the client went before it was accepted; all else concerns the process, which may be out of descriptors.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn connection<S>(socket: TcpStream, service: S, drain: CancellationToken, keep_alive: bool)
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    let is_begun = tokio::select! {
        biased;
        is_begun = is_begun(&socket, HEAD_TIMEOUT) => is_begun,
        () = drain.cancelled() => false,
    };
    if !is_begun {
        return;
    }
    let mut builder = Builder::new(TokioExecutor::new());
    let mut http1 = builder.http1();
    http1
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .keep_alive(keep_alive)
        .max_buf_size(HEAD_BYTES_MAX as usize);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(PING_EVERY).max_header_list_size(HEAD_BYTES_MAX);
    let socket = Patient::new(socket, WRITE_IDLE);
    let mut served = pin!(builder.serve_connection(TokioIo::new(socket), service));
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = drain.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a connection ended early");
    }
}

/// Whether a client sends in time what tells its version of HTTP. The library has no bound on that: only the head of HTTP/1
/// has one.
async fn is_begun(socket: &TcpStream, patience: Duration) -> bool {
    let beginning = async {
        let mut bytes = [0; PREFACE.len()];
        loop {
            let count = socket.peek(&mut bytes).await.unwrap_or(0);
            let seen = bytes.get(..count).unwrap_or_default();
            if seen.is_empty() || seen == PREFACE || !PREFACE.starts_with(seen) {
                return !seen.is_empty();
            }
            // What is there already would be seen again at once.
            tokio::time::sleep(PREFACE_PAUSE).await;
        }
    };
    tokio::time::timeout(patience, beginning).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_client_that_does_not_say_what_it_speaks_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for (sent, is_sound) in [
            (&b""[..], false),
            (b"P", false),
            (&PREFACE[..PREFACE.len() - 1], false),
            (PREFACE, true),
            (b"PUT /", true),
            (b"G", true),
        ] {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            client.write_all(sent).await.unwrap();
            let patience = Duration::from_millis(if is_sound { 20_000 } else { 50 });
            assert_eq!(is_begun(&server, patience).await, is_sound, "{sent:?}");
        }
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        drop(client);
        assert!(!is_begun(&server, Duration::from_secs(20)).await);
    }
}
