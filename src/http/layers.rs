//! What every request passes: its id, its count and its line in the log, and the gate of the server's phase.

use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use uuid::Uuid;

use crate::engine::Phase;
use crate::http::ApiState;
use crate::http::extract::{RequestId, is_visible};
use crate::http::linger::lingering;
use crate::http::problem::{PendingProblem, problem_json_with};
use crate::http::routes::{self, Route};
use crate::model::{ErrorCode, Problem};

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The outermost layer: gives the request its id and its row of the table, writes problems, counts and logs.
pub(crate) async fn observe(State(state): State<ApiState>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = request_id(request.headers());
    let method = request.method().clone();
    let template = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let route = template.as_deref().and_then(|path| routes::find(path, &method));
    let path = request.uri().path().to_owned();
    request.extensions_mut().insert(id.clone());
    if let Some(route) = route {
        request.extensions_mut().insert(route);
    }

    let mut response = next.run(lingering(request)).await;
    let code = write_problem(&mut response, &id, &method);
    finish_headers(&mut response, &id, &path);

    let (status, took) = (response.status(), begun.elapsed());
    let label = template.as_deref().unwrap_or("unmatched");
    let verb = known_method(&method);
    state.metrics.http_requests.with_label_values(&[label, verb, status.as_str()]).inc();
    state.metrics.http_request_duration.with_label_values(&[label, verb]).observe(took.as_secs_f64());
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let (status, id) = (status.as_u16(), &*id.0);
    // Neither bodies nor queries: those can hold secrets.
    if status >= 500 {
        tracing::info!(%method, path, status, code, millis, request_id = id, "{method} {path} failed with {status}");
    } else {
        tracing::debug!(%method, path, status, code, millis, request_id = id, "{method} {path} was answered {status}");
    }
    response
}

/// The client's id if it can be one, else a fresh one.
fn request_id(headers: &HeaderMap) -> RequestId {
    let theirs = headers.get(X_REQUEST_ID).filter(|id| is_visible(id.as_bytes(), 128)).and_then(|id| id.to_str().ok());
    RequestId(theirs.map_or_else(|| Uuid::now_v7().to_string().into(), Into::into))
}

/// Writes the body of a problem, now that the request's id is known; its code.
fn write_problem(response: &mut Response, id: &RequestId, method: &Method) -> Option<&'static str> {
    let PendingProblem { problem, more } = response.extensions_mut().remove::<PendingProblem>()?;
    let text = problem_json_with(&problem, &id.0, &more);
    response.headers_mut().insert(header::CONTENT_LENGTH, text.len().into());
    *response.body_mut() = if *method == Method::HEAD { Body::empty() } else { Body::from(text) };
    Some(problem.code.as_str())
}

fn finish_headers(response: &mut Response, id: &RequestId, path: &str) {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id.0) {
        headers.insert(X_REQUEST_ID, id);
    }
    if is_v1(path) && !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// A label for the method: those that somebody invents share one.
fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "PUT" => "PUT",
        "POST" => "POST",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

fn is_v1(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/")
}

/// Refuses what the server cannot serve while it starts or stops; streams have rules of their own.
pub(crate) async fn phase_gate(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let stream = request.extensions().get::<&'static Route>().is_some_and(|route| route.is_stream());
    if is_v1(request.uri().path()) && !stream {
        match state.engine.phase() {
            Phase::Ready => {}
            Phase::Recovering => {
                return Problem::new(ErrorCode::Recovering, "The server is reading its log; ask again in a moment.")
                    .into_response();
            }
            Phase::Draining => {
                return Problem::new(ErrorCode::ShuttingDown, "The server is shutting down; ask again in a moment.")
                    .into_response();
            }
        }
    }
    next.run(request).await
}

/// What a panic becomes. Where it came from is in the log: the panic hook writes it.
pub(crate) fn panicked(_payload: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!("a request's handler panicked");
    Problem::internal().into_response()
}

/// The answer for a path that is none of the table's.
pub(crate) async fn no_route() -> Problem {
    Problem::new(ErrorCode::NotFound, "There is nothing at this path; /openapi.yaml lists what there is.")
}

/// The answer for a method that a path lacks.
pub(crate) async fn no_method(path: MatchedPath) -> Response {
    let methods = routes::allowed_methods(path.as_str());
    let allow = methods.join(", ");
    let mut response = Problem::new(ErrorCode::MethodNotAllowed, format!("This path takes {allow}."))
        .allowing(methods)
        .into_response();
    if let Ok(allow) = HeaderValue::try_from(allow) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}
