//! What both floors share: where they listen, and reading a body as JSON.

use std::net::SocketAddr;

use axum::Router;
use serde_json::Value;

/// Serves on the address that the command line names first.
///
/// # Errors
/// A wrong address, or one that cannot be listened on.
pub async fn serve(router: Router) -> Result<(), Box<dyn std::error::Error>> {
    let address: SocketAddr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8090".to_owned()).parse()?;
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(axum::serve::ListenerExt::tap_io(listener, |socket| drop(socket.set_nodelay(true))), router).await?;
    Ok(())
}

/// How many values a body of JSON texts holds, each parsed whole; an array counts its items.
///
/// # Errors
/// What is no JSON.
pub fn records(body: &[u8]) -> Result<usize, serde_json::Error> {
    let mut count = 0;
    for value in serde_json::Deserializer::from_slice(body).into_iter::<Value>() {
        count += match value? {
            Value::Array(items) => items.len(),
            _ => 1,
        };
    }
    Ok(count)
}
