//! What every request passes: its id, its count and its line in the log, and the gate of the server's phase.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http::{HeaderValue, Method, StatusCode, header};

use crate::engine::Phase;
use crate::http::ApiState;
use crate::http::extract::{RequestId, X_REQUEST_ID};
use crate::http::guard::{self, Pass};
use crate::http::linger::lingering;
use crate::http::problem::{PendingProblem, problem_json_with};
use crate::http::routes::{self, Route};
use crate::model::{ErrorCode, Problem};

/// The router's layer around all operations; see [`pass`].
pub(crate) async fn observe(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let template = request.extensions().get::<MatchedPath>().cloned();
    let route = template.as_ref().and_then(|path| routes::find(path.as_str(), request.method()));
    let serve = |mut request: Request, id: &RequestId| {
        request.extensions_mut().insert(id.clone());
        if let Some(route) = route {
            request.extensions_mut().insert(route);
        }
        next.run(request)
    };
    pass(&state, request, template, route, serve).await
}

/// What every request passes: gives it its id and its row of the table, refuses what may not pass, writes problems, counts
/// and logs. One layer for all of it, because each one of the router's costs as much as the work in it.
pub(crate) async fn pass<F: Future<Output = Response>>(
    state: &ApiState,
    request: Request,
    template: Option<MatchedPath>,
    route: Option<&'static Route>,
    serve: impl FnOnce(Request, &RequestId) -> F,
) -> Response {
    let begun = Instant::now();
    let id = RequestId::of(request.headers());
    let method = request.method().clone();
    let uri = request.uri().clone();

    let ruling = guard::rule(&state.limits, &request);
    let request = lingering(request);
    let mut response = match ruling {
        Err(problem) => problem.into_response(),
        Ok(pass) => {
            let mut response = match (&pass, phase_refusal(state, route, uri.path())) {
                (Pass::Preflight(_), _) => StatusCode::NO_CONTENT.into_response(),
                (_, Some(problem)) => problem.into_response(),
                (_, None) => serve(request, &id).await,
            };
            pass.finish(response.headers_mut());
            response
        }
    };
    let code = write_problem(&mut response, &id, &method);
    finish_headers(&mut response, &id, uri.path());

    let (status, took) = (response.status(), begun.elapsed());
    match route {
        Some(route) if method != Method::HEAD => {
            state.metrics.answered_operation(route.operation, route.path, route.verb.as_str(), status.as_u16(), took);
        }
        _ => {
            let label = template.as_ref().map_or("unmatched", MatchedPath::as_str);
            state.metrics.answered(label, known_method(&method), status.as_u16(), took);
        }
    }
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let (status, id, path) = (status.as_u16(), id.as_str(), uri.path());
    // Neither bodies nor queries: those can hold secrets.
    if status >= 500 {
        tracing::info!(%method, path, status, code, millis, request_id = id, "{method} {path} failed with {status}");
    } else {
        tracing::debug!(%method, path, status, code, millis, request_id = id, "{method} {path} was answered {status}");
    }
    response
}

/// Writes the body of a problem, now that the request's id is known; its code.
fn write_problem(response: &mut Response, id: &RequestId, method: &Method) -> Option<&'static str> {
    let PendingProblem { problem, more } = response.extensions_mut().remove::<PendingProblem>()?;
    let text = problem_json_with(&problem, id.as_str(), &more);
    response.headers_mut().insert(header::CONTENT_LENGTH, text.len().into());
    *response.body_mut() = if *method == Method::HEAD { Body::empty() } else { Body::from(text) };
    Some(problem.code.as_str())
}

fn finish_headers(response: &mut Response, id: &RequestId, path: &str) {
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, id.header());
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
fn phase_refusal(state: &ApiState, route: Option<&Route>, path: &str) -> Option<Problem> {
    if !is_v1(path) || route.is_some_and(Route::is_stream) {
        return None;
    }
    match state.engine.phase() {
        Phase::Ready => None,
        Phase::Recovering => {
            Some(Problem::new(ErrorCode::Recovering, "The server is reading its log; ask again in a moment."))
        }
        Phase::Draining => {
            Some(Problem::new(ErrorCode::ShuttingDown, "The server is shutting down; ask again in a moment."))
        }
    }
}

/// An answer, also where making it panics. Not an `async fn`: that would hold what it is given twice.
pub(crate) fn caught(answering: impl Future<Output = Response>) -> impl Future<Output = Response> {
    AssertUnwindSafe(answering).catch_unwind().map(|answer| answer.unwrap_or_else(panicked))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_past_the_router_is_a_500_problem_too() {
        let panicking = async { if std::hint::black_box(true) { panic!("for the test") } else { Response::default() } };
        assert_eq!(caught(panicking).await.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
