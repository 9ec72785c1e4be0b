//! The comparison table.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use serde_json::{Value, json};

use crate::http::ApiState;
use crate::http::accept::{self, JSON};
use crate::http::answer::ok;
use crate::http::extract::LastParam;
use crate::http::query::StrictQuery;
use crate::model::{ErrorCode, Problem};

/// `GET /v1/backends`
pub(crate) async fn list(
    State(state): State<ApiState>,
    _query: StrictQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    accept::negotiate(&headers, &[JSON])?;
    Ok(ok(json!({ "backends": state.engine.backends() })).into_response())
}

/// `GET /v1/backends/{name}`
pub(crate) async fn get(
    State(state): State<ApiState>,
    _query: StrictQuery,
    LastParam(name): LastParam,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    accept::negotiate(&headers, &[JSON])?;
    let backends = state.engine.backends();
    let named = |backend: &Value| backend.get("name").and_then(Value::as_str).map(str::to_owned);
    match backends.iter().find(|backend| named(backend).as_deref() == Some(name.as_str())) {
        Some(backend) => Ok(ok(backend).into_response()),
        None => Err(Problem::new(ErrorCode::BackendNotFound, "There is no backend of this name.")
            .allowing(backends.iter().filter_map(named))),
    }
}
