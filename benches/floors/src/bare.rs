//! The floor of a service that keeps nothing: reads a body as JSON and answers.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{post, put};
use bytes::Bytes;

async fn append(body: Bytes) -> Response {
    match floors::records(&body) {
        Ok(count) => {
            ([(header::CONTENT_TYPE, "application/json")], format!("{{\"count\":{count}}}")).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let router = Router::new()
        .route("/v1/topics/{topic}", put(|| async { StatusCode::CREATED }))
        .route("/v1/topics/{topic}/records", post(append));
    floors::serve(router).await
}
