//! Queries in SQL.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
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
use crate::sql::{Ask, Batches, Form, Rows, rows_bytes};
use crate::topic::ColumnRead;

/// The longest body: what the statement and its parameters may have, written with escapes.
const BODY_BYTES_MAX: u64 = 1 << 20;
/// Bytes of the rows of an answer in JSON, and of one row in JSON or as a line.
const ANSWER_BYTES: usize = 8 << 20;
/// A row of more bytes than this is not begun to be printed: no value prints in less than a quarter of them.
const UNPRINTED_ROW_BYTES: usize = 4 * ANSWER_BYTES;
/// Rows printed at a time: joined ones can be long.
const ROWS_AT_ONCE: usize = 256;
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
    if media_type == ARROW {
        let mut answer = Answer::begin(&state, ask, |_| Ok(Batches)).await?;
        let (schema, taking) = (Arc::clone(answer.rows.schema()), answer.rows.taking());
        let first = answer.next().await?;
        let batches = all(first, answer);
        let stream = written(TableFormat::Arrow, ColumnRead { schema, batches }, Arc::clone(&state.metrics));
        let stream = stream.inspect(move |_| taking.note());
        return Ok((StatusCode::OK, [(header::CONTENT_TYPE, ARROW)], Body::from_stream(stream)).into_response());
    }
    if media_type == NDJSON {
        let lines = |schema: &SchemaRef| shape(schema).map(|shape| Lines { shape });
        let mut answer = Answer::begin(&state, ask, lines).await?;
        let taking = answer.rows.taking();
        let first = answer.next().await?;
        let lines = framed(all(first, answer), Arc::clone(&state.metrics)).inspect(move |_| taking.note());
        return Ok((StatusCode::OK, [(header::CONTENT_TYPE, NDJSON)], Body::from_stream(lines)).into_response());
    }
    let rows = move |schema: &SchemaRef| shape(schema).map(|shape| JsonRows { shape, rows_max, rows: 0, bytes: 0 });
    let text = whole(Answer::begin(&state, ask, rows).await?).await?;
    state.metrics.delivered_bytes.inc_by(text.len() as u64);
    Ok(answer::bytes(StatusCode::OK, JSON, text))
}

fn shape(schema: &SchemaRef) -> Result<TableShape, Problem> {
    TableShape::of(schema).map_err(|error| unprintable(&error))
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
struct Answer<T> {
    draining: CancellationToken,
    rows: Rows<T>,
}

impl<T> Answer<T> {
    async fn begin<F: Form<Made = T>>(
        state: &ApiState,
        ask: Ask,
        form: impl FnOnce(&SchemaRef) -> Result<F, Problem> + Send + 'static,
    ) -> Result<Self, Problem> {
        let draining = state.engine.draining();
        let rows = tokio::select! {
            biased;
            rows = state.queries.run(ask, form) => rows?,
            () = draining.cancelled() => return Err(shutting_down()),
        };
        Ok(Self { draining, rows })
    }

    async fn next(&mut self) -> Result<Option<T>, Problem> {
        tokio::select! {
            biased;
            made = self.rows.next() => made,
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
        EncodeError::LongRow { .. } => too_long(),
        _ => failed(error),
    }
}

fn too_long() -> Problem {
    let detail = format!("A row of the answer has more than {ANSWER_BYTES} bytes; select less of it.");
    invalid_body(detail).with_limit(ANSWER_BYTES as u64)
}

/// Refuses a row that is too long by its values, of which copies are made while it is printed.
fn check_row(rows: &RecordBatch) -> Result<(), Problem> {
    if rows.num_rows() == 1 && rows_bytes(rows) > UNPRINTED_ROW_BYTES { Err(too_long()) } else { Ok(()) }
}

fn failed(error: &EncodeError) -> Problem {
    tracing::error!(%error, "the rows of a query could not be written");
    Problem::internal()
}

/// All of an answer, of which the first has come.
fn all<T: Send + 'static>(first: Option<T>, mut answer: Answer<T>) -> BoxStream<'static, Result<T, Problem>> {
    async_stream::try_stream! {
        let mut next = first;
        while let Some(made) = next {
            yield made;
            next = answer.next().await?;
        }
    }
    .boxed()
}

/// Rows of an answer in JSON, cut where it has too many rows or bytes, but never below one row.
struct JsonRows {
    shape: TableShape,
    rows_max: u64,
    /// What was printed so far.
    rows: u64,
    bytes: usize,
}

/// Some rows of an answer in JSON, each with a comma behind it.
struct Printed {
    text: Vec<u8>,
    rows: u64,
    /// Whether there are more, which are left out.
    truncated: bool,
}

impl Form for JsonRows {
    type Made = Printed;

    const ROWS_MAX: usize = ROWS_AT_ONCE;
    const BYTES_MAX: usize = ANSWER_BYTES;

    fn make(&mut self, batch: RecordBatch) -> Result<(Printed, usize), Problem> {
        check_row(&batch)?;
        let (before, bytes, rows_max) = (self.rows, self.bytes, self.rows_max);
        let mut printed = Printed { text: Vec::new(), rows: 0, truncated: false };
        // Where the last row that was taken ends.
        let mut end = 0;
        let between = |out: &mut Vec<u8>, _| {
            let rows = before + printed.rows;
            let fits = rows < rows_max && (rows == 0 || bytes + out.len() <= ANSWER_BYTES);
            if fits {
                printed.rows += 1;
                out.push(b',');
                end = out.len();
            } else {
                printed.truncated = true;
            }
            fits
        };
        self.shape.print(&batch, ANSWER_BYTES, &mut printed.text, between).map_err(|error| unprintable(&error))?;
        printed.text.truncate(end);
        self.rows += printed.rows;
        self.bytes += end;
        // Of what is left out nothing will be asked for.
        Ok((printed, batch.num_rows()))
    }
}

/// The whole answer in JSON.
async fn whole(mut answer: Answer<Printed>) -> Result<Vec<u8>, Problem> {
    let columns = shape(answer.rows.schema())?.to_json();
    let columns = serde_json::to_vec(&columns).map_err(|_| Problem::internal())?;
    let mut text = b"{\"columns\":".to_vec();
    text.extend_from_slice(&columns);
    text.extend_from_slice(b",\"rows\":[");
    let (mut rows, mut truncated) = (0, false);
    while !truncated && let Some(printed) = answer.next().await? {
        text.extend_from_slice(&printed.text);
        rows += printed.rows;
        truncated = printed.truncated;
    }
    if text.last() == Some(&b',') {
        text.pop();
    }
    text.extend_from_slice(format!("],\"row_count\":{rows},\"truncated\":{truncated}}}").as_bytes());
    Ok(text)
}

/// Rows as lines.
struct Lines {
    shape: TableShape,
}

impl Form for Lines {
    type Made = Bytes;

    const ROWS_MAX: usize = ROWS_AT_ONCE;
    const BYTES_MAX: usize = ANSWER_BYTES;

    fn make(&mut self, batch: RecordBatch) -> Result<(Bytes, usize), Problem> {
        check_row(&batch)?;
        let (mut text, mut rows) = (Vec::new(), 0);
        let line = |out: &mut Vec<u8>, _| {
            out.push(b'\n');
            rows += 1;
            out.len() < ANSWER_BYTES
        };
        self.shape.print(&batch, ANSWER_BYTES, &mut text, line).map_err(|error| unprintable(&error))?;
        Ok((Bytes::from(text), rows))
    }
}

/// Lines in frames. A failure ends the body without its end, so that the client sees the connection break.
fn framed(
    lines: BoxStream<'static, Result<Bytes, Problem>>,
    metrics: Arc<Metrics>,
) -> BoxStream<'static, Result<Bytes, Midway>> {
    async_stream::try_stream! {
        let mut lines = lines;
        while let Some(text) = lines.next().await {
            let mut text = text.map_err(Midway)?;
            metrics.delivered_bytes.inc_by(text.len() as u64);
            while text.len() > FRAME_BYTES {
                yield text.split_to(FRAME_BYTES);
            }
            if !text.is_empty() {
                yield text;
            }
        }
    }
    .boxed()
}
