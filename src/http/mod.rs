//! The HTTP edge: unpacks, bounds, authorises, answers. It has no rules of the log.
//!
//! [`service`] serves the operations of [`ROUTES`]; [`serve`] runs it on a listener.

mod accept;
mod answer;
mod append;
mod backends;
mod body;
mod cursors;
mod edge;
mod export;
mod extract;
mod fork;
mod frame;
mod guard;
mod indexes;
mod layers;
mod linger;
mod openapi;
mod ops;
mod patient;
mod problem;
mod query;
mod read;
mod record;
mod routes;
mod schemas;
mod search;
mod serve;
mod sql;
mod stream;
mod strict;
mod tags;
#[cfg(test)]
mod tests;
mod topics;
mod upkeep;
mod versions;

use std::sync::Arc;
use std::time::Duration;

use axum::middleware::from_fn_with_state;
use tower_http::catch_panic::CatchPanicLayer;

pub use edge::Edge;
pub use routes::{ROUTES, Route, Verb};
pub use serve::serve;

use crate::engine::Engine;
use crate::metrics::Metrics;
use crate::search::{SearchLimits, Searches};
use crate::sql::Queries;
use crate::topic::InflightBudget;

/// Bounds of the edge.
#[derive(Clone, Debug)]
pub struct HttpLimits {
    /// The most decoded bytes of a body, except where `atomic=false`.
    pub max_body_bytes: u64,
    /// How long a body may stand still.
    pub body_idle: Duration,
    /// The most streams at a time.
    pub max_streams: usize,
    /// How many searches run at a time, and how long.
    pub searches: SearchLimits,
    /// Origins whose pages may call the server; `*` is any.
    pub cors_origins: Vec<String>,
    /// Whether the listener's address is one of loopback.
    pub loopback: bool,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            max_body_bytes: 128 * 1024 * 1024,
            body_idle: body::BODY_IDLE,
            max_streams: 10_000,
            searches: SearchLimits::default(),
            cors_origins: Vec::new(),
            loopback: true,
        }
    }
}

/// What handlers share. Cloned several times for each request, so it is one pointer.
#[derive(Clone, Debug)]
pub struct ApiState(Arc<Shared>);

/// See [`ApiState`].
#[derive(Debug)]
pub struct Shared {
    engine: Arc<Engine>,
    metrics: Arc<Metrics>,
    limits: HttpLimits,
    inflight: Arc<InflightBudget>,
    streams: Arc<stream::StreamSlots>,
    queries: Queries,
    searches: Searches,
}

impl std::ops::Deref for ApiState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl ApiState {
    /// The state of one server.
    pub fn new(
        engine: Arc<Engine>,
        metrics: Arc<Metrics>,
        limits: HttpLimits,
        inflight: Arc<InflightBudget>,
        queries: Queries,
    ) -> Self {
        let streams = stream::StreamSlots::new(limits.max_streams, Arc::clone(&metrics));
        let searches = Searches::new(limits.searches, queries.handle().clone());
        Self(Arc::new(Shared { engine, metrics, limits, inflight, streams, queries, searches }))
    }
}

/// The whole service.
pub fn service(state: ApiState) -> Edge {
    let router = router(state.clone());
    Edge::new(state, router)
}

/// The router of the whole service, for whoever has no connection.
pub fn router(state: ApiState) -> axum::Router {
    layered(routes::router(), state)
}

/// Adds what every request passes, outermost last.
fn layered(router: axum::Router<ApiState>, state: ApiState) -> axum::Router {
    router
        .fallback(layers::no_route)
        .method_not_allowed_fallback(layers::no_method)
        .layer(CatchPanicLayer::custom(layers::panicked))
        .layer(from_fn_with_state(state.clone(), layers::observe))
        .with_state(state)
}
