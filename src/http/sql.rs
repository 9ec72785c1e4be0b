//! Queries in SQL.

use std::sync::Arc;

use arrow_array::RecordBatch;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::{HeaderMap, StatusCode, header};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::codec::encode::{EncodeError, TableShape};
use crate::codec::export::TableFormat;
use crate::http::ApiState;
use crate::http::accept::{self, ARROW, JSON, NDJSON};
use crate::http::answer;
use crate::http::body::{Declared, read_whole};
use crate::http::export::written;
use crate::http::extract::{Members, check_json_type, invalid_body};
use crate::http::query::StrictQuery;
use crate::http::read::Midway;
use crate::metrics::Metrics;
use crate::model::{ErrorCode, Problem};
use crate::sql::{Ask, Rows};
use crate::topic::ColumnRead;

/// The longest body: what the statement and its parameters may have, written with escapes.
const BODY_BYTES_MAX: u64 = 1 << 20;
/// Bytes of the rows of an answer in JSON.
const ANSWER_BYTES: usize = 8 << 20;
/// Rows printed at a time: joined ones can be long.
const LINES_AT_ONCE: usize = 256;
/// Bytes of lines sent at a time.
const FRAME_BYTES: usize = 64 * 1024;

/// `POST /v1/query`
pub(crate) async fn query(
    State(state): State<ApiState>,
    _query: StrictQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let media_type = accept::negotiate(&headers, &[JSON, NDJSON, ARROW])?;
    check_json_type(&headers)?;
    let bytes_max = BODY_BYTES_MAX.min(state.limits.max_body_bytes);
    let declared = Declared::read(&headers, Some(bytes_max))?;
    let (text, _permit) = read_whole(&state, body, declared, bytes_max).await?;
    let mut ask = ask(Members::parse(&text, &["sql", "params"])?)?;
    let rows_max = state.queries.limits().rows_max;
    if media_type == JSON {
        // One more, to know whether there are more.
        ask.rows_max = Some(rows_max.saturating_add(1));
    }
    let mut answer = Answer { draining: state.engine.draining(), rows: None };
    answer.rows = Some(answer.unless_draining(state.queries.run(ask)).await?);
    let schema = Arc::clone(answer.rows.as_ref().ok_or_else(Problem::internal)?.schema());
    if media_type == ARROW {
        let first = answer.next().await?;
        let batches = batches(first, answer);
        let stream = written(TableFormat::Arrow, ColumnRead { schema, batches }, Arc::clone(&state.metrics));
        return Ok((StatusCode::OK, [(header::CONTENT_TYPE, ARROW)], Body::from_stream(stream)).into_response());
    }
    let shape = TableShape::of(&schema).map_err(|error| unprintable(&error))?;
    if media_type == NDJSON {
        let first = answer.next().await?;
        let lines = lines(shape, batches(first, answer), Arc::clone(&state.metrics));
        return Ok((StatusCode::OK, [(header::CONTENT_TYPE, NDJSON)], Body::from_stream(lines)).into_response());
    }
    let text = whole(&shape, answer, rows_max).await?;
    state.metrics.delivered_bytes.inc_by(text.len() as u64);
    Ok(answer::bytes(StatusCode::OK, JSON, text))
}

fn ask(mut members: Members) -> Result<Ask, Problem> {
    let sql = members.string("sql")?;
    let sql = sql.ok_or_else(|| invalid_body("The member \"sql\", the statement, is missing."))?;
    let params = match members.value("params") {
        None => Vec::new(),
        Some(Value::Array(params)) => params,
        Some(_) => return Err(invalid_body("The member \"params\" is an array.")),
    };
    Ok(Ask { sql, params, rows_max: None })
}

/// What a query answers, until the server stops.
struct Answer {
    draining: CancellationToken,
    rows: Option<Rows>,
}

impl Answer {
    async fn unless_draining<T>(&self, work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
        tokio::select! {
            biased;
            done = work => done,
            () = self.draining.cancelled() => Err(shutting_down()),
        }
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>, Problem> {
        let Some(rows) = &mut self.rows else { return Ok(None) };
        tokio::select! {
            biased;
            batch = rows.next() => batch,
            () = self.draining.cancelled() => Err(shutting_down()),
        }
    }
}

fn shutting_down() -> Problem {
    Problem::new(ErrorCode::ShuttingDown, "The server is shutting down; ask again in a moment.")
}

/// A column of a type that JSON has no form for.
fn unprintable(error: &EncodeError) -> Problem {
    match error {
        EncodeError::Type { column, .. } => {
            invalid_body(format!("The column {column} has a type that JSON has no form for; cast it to TEXT."))
        }
        _ => failed(error),
    }
}

fn failed(error: &EncodeError) -> Problem {
    tracing::error!(%error, "the rows of a query could not be written");
    Problem::internal()
}

/// All batches of an answer, of which the first has come.
fn batches(first: Option<RecordBatch>, mut answer: Answer) -> BoxStream<'static, Result<RecordBatch, Problem>> {
    async_stream::try_stream! {
        let mut batch = first;
        while let Some(rows) = batch {
            yield rows;
            batch = answer.next().await?;
        }
    }
    .boxed()
}

/// The whole answer in JSON, cut where it has too many rows or bytes, but never below one row.
async fn whole(shape: &TableShape, mut answer: Answer, rows_max: u64) -> Result<Vec<u8>, Problem> {
    let columns = serde_json::to_vec(&shape.to_json()).map_err(|_| Problem::internal())?;
    let mut text = b"{\"columns\":".to_vec();
    text.extend_from_slice(&columns);
    text.extend_from_slice(b",\"rows\":[");
    let begin = text.len();
    let (mut rows, mut truncated) = (0_u64, false);
    while !truncated && let Some(batch) = answer.next().await? {
        // Where the last row that was taken ends.
        let mut end = text.len();
        let print = |out: &mut Vec<u8>, _| {
            let fits = rows < rows_max && (rows == 0 || out.len() - begin <= ANSWER_BYTES);
            if fits {
                rows += 1;
                end = out.len();
                out.push(b',');
            } else {
                truncated = true;
            }
            fits
        };
        shape.print(&batch, &mut text, print).map_err(|error| unprintable(&error))?;
        if truncated {
            text.truncate(end);
        }
    }
    if text.last() == Some(&b',') {
        text.pop();
    }
    text.extend_from_slice(format!("],\"row_count\":{rows},\"truncated\":{truncated}}}").as_bytes());
    Ok(text)
}

/// The rows as lines. A failure ends the body without its end, so that the client sees the connection break.
fn lines(
    shape: TableShape,
    batches: BoxStream<'static, Result<RecordBatch, Problem>>,
    metrics: Arc<Metrics>,
) -> BoxStream<'static, Result<Bytes, Midway>> {
    async_stream::try_stream! {
        let mut batches = batches;
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(Midway)?;
            for first in (0..batch.num_rows()).step_by(LINES_AT_ONCE) {
                let some = batch.slice(first, LINES_AT_ONCE.min(batch.num_rows() - first));
                let mut text = Vec::new();
                let line = |out: &mut Vec<u8>, _| {
                    out.push(b'\n');
                    true
                };
                shape.print(&some, &mut text, line).map_err(|error| Midway(failed(&error)))?;
                metrics.delivered_bytes.inc_by(text.len() as u64);
                let mut text = Bytes::from(text);
                while text.len() > FRAME_BYTES {
                    yield text.split_to(FRAME_BYTES);
                }
                if !text.is_empty() {
                    yield text;
                }
            }
        }
    }
    .boxed()
}
