//! What is done to a topic to keep it small.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde_json::json;

use crate::http::answer::{Json, ok};
use crate::http::body::read_whole;
use crate::http::extract::{Members, TopicPath};
use crate::http::query::StrictQuery;
use crate::http::topics::topic_and_members;
use crate::http::{ApiState, topics};
use crate::model::Problem;
use crate::topic::RETENTION_MEMBERS;

/// `POST …/compact`
pub(crate) async fn compact(
    State(state): State<ApiState>,
    TopicPath(name): TopicPath,
    _query: StrictQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (topic, _) = topic_and_members(&state, &name, (&headers, body), &[], |_| Ok(())).await?;
    let fragments = topic.compact().await?;
    Ok(Json(StatusCode::ACCEPTED, json!({ "fragments": fragments })).into_response())
}

/// `POST …/retention/preview`
pub(crate) async fn preview_retention(
    State(state): State<ApiState>,
    TopicPath(name): TopicPath,
    _query: StrictQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let declared = topics::head(&state, &headers)?;
    let topic = state.engine.topic(&name).await?;
    let (text, _permit) = read_whole(&state, body, declared, state.limits.max_body_bytes).await?;
    let given =
        if text.trim_ascii().is_empty() { None } else { Some(Members::parse(&text, RETENTION_MEMBERS)?.into_map()) };
    let preview = topic.preview_retention(given.as_ref()).await?;
    Ok(ok(json!({
        "earliest_offset": preview.earliest_offset.get(), "records": preview.records, "bytes": preview.bytes,
    }))
    .into_response())
}
