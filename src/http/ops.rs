//! The short operations, and those of the server as a whole.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::engine::{Health, Phase};
use crate::http::ApiState;
use crate::http::accept::{self, JSON};
use crate::http::answer::{self, Json, ok};
use crate::http::extract::{TopicPath, invalid_body};
use crate::http::problem::PendingProblem;
use crate::http::query::StrictQuery;
use crate::http::topics::topic_and_members;
use crate::metrics::Metrics;
use crate::model::{ErrorCode, Problem};
use crate::table::Upkeep;
use crate::topic::{Replayed, TopicStats};

/// `POST …/flush`
pub(crate) async fn flush(
    State(state): State<ApiState>,
    TopicPath(name): TopicPath,
    _query: StrictQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (topic, _) = topic_and_members(&state, &name, (&headers, body), &[], |_| Ok(())).await?;
    let flushed = topic.flush().await?;
    #[derive(Serialize)]
    struct Answer {
        committed_offset: Option<u64>,
        version: Option<u64>,
    }
    let committed_offset = flushed.committed_offset.map(|offset| offset.get());
    Ok(ok(Answer { committed_offset, version: flushed.version }).into_response())
}

/// `POST …/close`
pub(crate) async fn close(
    State(state): State<ApiState>,
    TopicPath(name): TopicPath,
    _query: StrictQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (topic, _) = topic_and_members(&state, &name, (&headers, body), &[], |_| Ok(())).await?;
    let next_offset = topic.close().await?.get();
    #[derive(Serialize)]
    struct Answer {
        state: &'static str,
        next_offset: u64,
    }
    Ok(ok(Answer { state: "closed", next_offset }).into_response())
}

/// `POST …/trim`
pub(crate) async fn trim(
    State(state): State<ApiState>,
    TopicPath(name): TopicPath,
    _query: StrictQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (topic, mut members) = topic_and_members(&state, &name, (&headers, body), &["before"], |_| Ok(())).await?;
    let before = members.offset("before")?;
    let before = before.ok_or_else(|| invalid_body("The member \"before\", an offset, is missing."))?;
    let earliest = topic.trim(before).await?.get();
    Ok(ok(json!({ "earliest_offset": earliest })).into_response())
}

/// `POST …/quarantine/replay`
pub(crate) async fn replay_quarantine(
    State(state): State<ApiState>,
    TopicPath(name): TopicPath,
    _query: StrictQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (topic, _) = topic_and_members(&state, &name, (&headers, body), &[], |_| Ok(())).await?;
    #[derive(Serialize)]
    struct Answer {
        replayed: u64,
        left: u64,
    }
    let Replayed { replayed, left } = topic.replay_quarantine().await?;
    Ok(ok(Answer { replayed, left }).into_response())
}

/// `GET …/count`
pub(crate) async fn count(
    State(state): State<ApiState>,
    TopicPath(name): TopicPath,
    _query: StrictQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    accept::negotiate(&headers, &[JSON])?;
    let description = state.engine.topic(&name).await?.describe().await?;
    let total = description.tail_offset.since(description.earliest_offset);
    Ok(ok(json!({ "total_count": total })).into_response())
}

/// `GET …/stats`
pub(crate) async fn stats(
    State(state): State<ApiState>,
    TopicPath(name): TopicPath,
    _query: StrictQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    accept::negotiate(&headers, &[JSON])?;
    let topic = state.engine.topic(&name).await?;
    let (description, stats) = (topic.describe().await?, topic.stats().await?);
    Ok(ok(StatsBody::of(name.as_str(), &description.backend, &stats)).into_response())
}

#[derive(Serialize)]
struct StatsBody<'a> {
    topic: &'a str,
    backend: &'a str,
    total_count: u64,
    earliest_offset: u64,
    tail_offset: u64,
    committed_offset: Option<u64>,
    epoch: u64,
    buffered_records: Option<u64>,
    buffered_bytes: Option<u64>,
    raw_bytes: Option<u64>,
    compression_ratio: Option<f64>,
    stored_bytes: Option<u64>,
    wal_bytes: Option<u64>,
    fragments: Option<u64>,
    versions: Option<u64>,
    live_bytes: Option<u64>,
    dead_bytes: Option<u64>,
    last_upkeep: Option<UpkeepBody>,
    schema_version: Option<u32>,
    streams: u64,
    degraded: Option<&'a str>,
}

#[derive(Serialize)]
struct UpkeepBody {
    at: String,
    fragments_before: u64,
    fragments_after: u64,
    merges: u64,
    bytes_merged: u64,
    versions_removed: u64,
    bytes_removed: u64,
    total_merges: u64,
    total_versions_removed: u64,
    total_bytes_removed: u64,
}

impl From<Upkeep> for UpkeepBody {
    fn from(done: Upkeep) -> Self {
        Self {
            at: done.at.to_string(),
            fragments_before: done.fragments_before,
            fragments_after: done.fragments_after,
            merges: done.merges,
            bytes_merged: done.bytes_merged,
            versions_removed: done.versions_removed,
            bytes_removed: done.bytes_removed,
            total_merges: done.total_merges,
            total_versions_removed: done.total_versions_removed,
            total_bytes_removed: done.total_bytes_removed,
        }
    }
}

impl<'a> StatsBody<'a> {
    fn of(topic: &'a str, backend: &'a str, stats: &'a TopicStats) -> Self {
        let store = &stats.store;
        Self {
            topic,
            backend,
            total_count: stats.total_count,
            earliest_offset: stats.earliest_offset.get(),
            tail_offset: stats.tail_offset.get(),
            committed_offset: stats.committed_offset.map(|offset| offset.get()),
            epoch: stats.epoch,
            buffered_records: store.buffered_records,
            buffered_bytes: store.buffered_bytes,
            raw_bytes: store.raw_bytes,
            compression_ratio: store.compression_ratio,
            stored_bytes: store.stored_bytes,
            wal_bytes: store.wal_bytes,
            fragments: store.fragments,
            versions: store.versions,
            live_bytes: store.live_bytes,
            dead_bytes: store.dead_bytes,
            last_upkeep: store.last_upkeep.map(UpkeepBody::from),
            schema_version: stats.schema_version.map(|version| version.get()),
            streams: stats.streams,
            degraded: stats.degraded.as_deref(),
        }
    }
}

/// `GET /livez`: the process answers.
pub(crate) async fn livez(headers: HeaderMap) -> Result<Response, Problem> {
    accept::negotiate(&headers, &[JSON])?;
    Ok(ok(json!({ "status": "live" })).into_response())
}

/// `GET /readyz`: whether appends and reads are served. Degraded topics are told, but keep nobody else out.
pub(crate) async fn readyz(
    State(state): State<ApiState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    accept::negotiate(&headers, &[JSON])?;
    let health = state.engine.health();
    let verbose = query
        .as_deref()
        .unwrap_or_default()
        .split('&')
        .any(|pair| matches!(pair.split_once('=').unwrap_or((pair, "true")), ("verbose", "" | "true" | "1")));
    let details = if verbose { details(&health) } else { Map::new() };
    match unready(state.engine.phase(), &health) {
        Some(problem) => Ok(PendingProblem { problem: Box::new(problem), more: details }.into_response()),
        None => {
            let mut body = Map::from_iter([("status".to_owned(), "ready".into())]);
            body.extend(details);
            Ok(Json(StatusCode::OK, body).into_response())
        }
    }
}

fn unready(phase: Phase, health: &Health) -> Option<Problem> {
    match phase {
        Phase::Recovering => Some(Problem::new(ErrorCode::Recovering, "The server is reading its log.")),
        Phase::Draining => Some(Problem::new(ErrorCode::ShuttingDown, "The server is shutting down.")),
        Phase::Ready if health.log_failed => {
            Some(Problem::new(ErrorCode::LogFailed, "The log failed; look at the disk, then restart the server."))
        }
        Phase::Ready if !health.faults.is_empty() => {
            Some(Problem::new(ErrorCode::Internal, "A part of the server has failed for good; restart it."))
        }
        // A disk at its floor takes no appends, but everything can be read.
        Phase::Ready => None,
    }
}

fn details(health: &Health) -> Map<String, Value> {
    let degraded: Vec<Value> =
        health.degraded.iter().map(|(topic, reason)| json!({ "topic": topic.as_str(), "reason": reason })).collect();
    Map::from_iter([
        ("log".to_owned(), if health.log_failed { "failed" } else { "sound" }.into()),
        ("disk".to_owned(), if health.disk_at_floor { "full" } else { "sound" }.into()),
        ("degraded".to_owned(), degraded.into()),
        ("failed".to_owned(), health.faults.clone().into()),
    ])
}

/// `GET /metrics`
pub(crate) async fn metrics(State(state): State<ApiState>, headers: HeaderMap) -> Result<Response, Problem> {
    accept::negotiate(&headers, &["text/plain"])?;
    state.engine.refresh_metrics().await;
    Ok(answer::bytes(StatusCode::OK, Metrics::MEDIA_TYPE, state.metrics.render()))
}

/// `GET /version`
pub(crate) async fn version(headers: HeaderMap) -> Result<Response, Problem> {
    accept::negotiate(&headers, &[JSON])?;
    Ok(ok(json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION"), "api": 1 })).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_ready_unless_it_starts_stops_or_cannot_write() {
        let sound = Health::default();
        let code = |phase, health: &Health| unready(phase, health).map(|problem| problem.code);
        assert_eq!(code(Phase::Ready, &sound), None);
        assert_eq!(code(Phase::Recovering, &sound), Some(ErrorCode::Recovering));
        assert_eq!(code(Phase::Draining, &sound), Some(ErrorCode::ShuttingDown));
        assert_eq!(code(Phase::Ready, &Health { log_failed: true, ..Health::default() }), Some(ErrorCode::LogFailed));
        assert_eq!(code(Phase::Ready, &Health { disk_at_floor: true, ..Health::default() }), None);
        let faults = vec!["catalog"];
        assert_eq!(code(Phase::Ready, &Health { faults, ..Health::default() }), Some(ErrorCode::Internal));
    }
}
