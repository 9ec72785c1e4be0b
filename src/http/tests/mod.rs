//! The edge as clients meet it, without a socket.

mod bodies;
mod origins;
mod refusals;
mod served;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::{get, post};
use http::{Request, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

use super::*;
use crate::engine::testing::engine;
use crate::model::Problem;
use crate::sql::QueryLimits;

/// A state with these limits.
async fn state(limits: HttpLimits) -> (ApiState, TempDir) {
    let (engine, folder) = engine().await;
    let metrics = engine.metrics();
    let queries = Queries::new(Arc::clone(&engine), tokio::runtime::Handle::current(), QueryLimits::default());
    (ApiState::new(engine, metrics, limits, InflightBudget::new(1 << 20), queries), folder)
}

/// The whole service, and routes that show what the layers do.
async fn service(limits: HttpLimits) -> (Router, TempDir) {
    let (state, folder) = state(limits).await;
    let router = routes::router()
        .route("/test/panic", get(|| async { panicking() }))
        .route("/test/body", post(bodies::echo_length));
    (layered(router, state), folder)
}

fn panicking() -> Result<(), Problem> {
    panic!("for the test")
}

fn limits() -> HttpLimits {
    HttpLimits { max_body_bytes: 1_000, max_streams: 1, ..HttpLimits::default() }
}

/// A request without body.
fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Request<Body> {
    with_body(method, target, headers, Body::empty())
}

fn with_body(method: &str, target: &str, headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

async fn send(limits: HttpLimits, request: Request<Body>) -> Response {
    let (service, _folder) = service(limits).await;
    service.oneshot(request).await.unwrap()
}

async fn bytes_of(response: Response) -> Vec<u8> {
    response.into_body().collect().await.unwrap().to_bytes().to_vec()
}

fn header_of<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// Status and code of a problem, which is checked for what every problem has.
async fn problem(response: Response) -> (u16, String, Value) {
    let status = response.status().as_u16();
    let id = header_of(&response, "x-request-id").to_owned();
    assert_eq!(header_of(&response, header::CONTENT_TYPE.as_str()), "application/problem+json");
    let retry = response.headers().contains_key("retry-after");
    assert_eq!(retry, matches!(status, 503 | 507));
    let length: usize = header_of(&response, "content-length").parse().unwrap();
    let text = bytes_of(response).await;
    assert_eq!(text.len(), length);
    let body: Value = serde_json::from_slice(&text).unwrap();
    let code = body["code"].as_str().unwrap().to_owned();
    assert_eq!(body["status"], status);
    assert_eq!(body["instance"], id);
    assert!(body["type"].as_str().unwrap().ends_with(&code));
    assert!(body["title"].is_string() && body["detail"].is_string() && body["retryable"].is_boolean());
    (status, code, body)
}
