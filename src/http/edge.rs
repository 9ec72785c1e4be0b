//! The way of a request to its operation: straight for an append, by the router for all else.
//!
//! An append is what a log does all day, and a router that can route anything costs as much as the append itself. So the
//! one path is told by its shape; everything that a request passes is the same on both ways.

use std::convert::Infallible;
use std::pin::Pin;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{Method, Request};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use crate::http::extract::RequestId;
use crate::http::query::StrictQuery;
use crate::http::routes::APPEND;
use crate::http::{ApiState, append, layers};
use crate::model::TopicName;

/// The whole service, as a connection calls it.
#[derive(Clone, Debug)]
pub struct Edge {
    state: ApiState,
    router: TowerToHyperService<Router>,
}

type Answering = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

impl Edge {
    pub(super) fn new(state: ApiState, router: Router) -> Self {
        Self { state, router: TowerToHyperService::new(router) }
    }
}

impl Service<Request<Incoming>> for Edge {
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let Some(topic) = appended_to(&request) else { return Box::pin(self.router.call(request)) };
        let state = self.state.clone();
        Box::pin(async move {
            let answering = |request, _: &RequestId| layers::caught(append_to(&state, topic, request));
            Ok(layers::pass(&state, request.map(Body::new), None, Some(&APPEND), answering).await)
        })
    }
}

/// The topic of a request that is an append and nothing unusual.
fn appended_to<B>(request: &Request<B>) -> Option<TopicName> {
    if *request.method() != Method::POST {
        return None;
    }
    let (before, after) = APPEND.path.split_once("{topic}")?;
    let name = request.uri().path().strip_prefix(before)?.strip_suffix(after)?;
    // A name with an escape is read by the router, and one that cannot be is refused there.
    TopicName::parse(name).ok()
}

async fn append_to(state: &ApiState, topic: TopicName, request: Request<Body>) -> Response {
    match StrictQuery::parse(request.uri().query().unwrap_or_default(), APPEND.query) {
        Ok(query) => append::answer(state, &topic, &query, request).await,
        Err(problem) => problem.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(method: &str, target: &str) -> Option<String> {
        let request = Request::builder().method(method).uri(target).body(()).unwrap();
        appended_to(&request).map(|name| name.to_string())
    }

    /// Of what an async function makes, without calling it.
    fn size_of_future<A, B, C, F>(_: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_append_takes_little_room_while_it_waits() {
        // It is made, moved and let go of with each request, and hundreds of them wait for one sync.
        let bytes = size_of_future(|state: &'static ApiState, topic, request| append_to(state, topic, request));
        assert!(bytes <= 4_096, "{bytes}");
    }

    #[test]
    fn only_a_plain_append_goes_straight() {
        assert_eq!(topic("POST", "/v1/topics/events/records").as_deref(), Some("events"));
        assert_eq!(topic("POST", "/v1/topics/events/records?ack=wal").as_deref(), Some("events"));
        assert_eq!(topic("POST", "http://localhost/v1/topics/a.b-c/records").as_deref(), Some("a.b-c"));
        for (method, target) in [
            ("GET", "/v1/topics/events/records"),
            ("OPTIONS", "/v1/topics/events/records"),
            ("POST", "/v1/topics/events/records/"),
            ("POST", "/v1/topics//records"),
            ("POST", "/v1/topics/records"),
            ("POST", "/v1/topics/a%62/records"),
            ("POST", "/v1/topics/a/b/records"),
            ("POST", "/v1/topics/events/flush"),
        ] {
            assert_eq!(topic(method, target), None, "{method} {target}");
        }
    }
}
