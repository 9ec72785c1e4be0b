//! A proxy that loses answers: the server has sent every third one, but the client never gets it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// One in so many answers is lost.
const LOSES: u64 = 3;

/// A proxy; it ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    base: String,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    server: Mutex<Option<SocketAddr>>,
    answers: AtomicU64,
    lost: AtomicU64,
}

impl Proxy {
    /// Takes connections on any free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared { server: Mutex::new(None), answers: AtomicU64::new(0), lost: AtomicU64::new(0) });
        let sharing = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&sharing);
                tokio::spawn(async move {
                    // Whatever fails here ends the client's connection, which is all that it gets to know.
                    drop(shared.pass(client).await);
                });
            }
        });
        Self { base, shared, accepting }
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    /// Passes requests to this server from now on.
    pub fn aim(&self, base: &str) {
        let address = base.strip_prefix("http://").and_then(|address| address.parse().ok());
        *self.shared.server.lock() = address;
    }

    /// How many answers were lost on purpose.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    /// One request and its answer: clients ask for `Connection: close`, so the end of the server's connection is the end of
    /// the answer.
    async fn pass(&self, client: TcpStream) -> io::Result<()> {
        let address = *self.server.lock();
        let address = address.ok_or(io::ErrorKind::NotConnected)?;
        let server = TcpStream::connect(address).await?;
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let mut answer = Vec::new();
        let asking = async {
            tokio::io::copy(&mut from_client, &mut to_server).await?;
            // The client says nothing more, but waits for the answer.
            std::future::pending::<io::Result<()>>().await
        };
        tokio::select! {
            read = from_server.read_to_end(&mut answer) => { read?; }
            failed = asking => failed?,
        }
        if answer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.answers.fetch_add(1, Ordering::Relaxed) % LOSES == LOSES - 1 {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        to_client.write_all(&answer).await?;
        to_client.shutdown().await
    }
}
