//! Reading records: a page, lines, one record.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::{HeaderMap, StatusCode, header};

use crate::codec::Chunk;
use crate::codec::export::TableFormat;
use crate::http::ApiState;
use crate::http::accept::{self, ARROW, JSON, NDJSON};
use crate::http::answer;
use crate::http::export::written;
use crate::http::extract::{LastParam, TopicPath};
use crate::http::query::{StrictQuery, digits, invalid};
use crate::http::record::{ENVELOPE_BYTES, RecordWriter, write_record};
use crate::metrics::Metrics;
use crate::model::{Epoch, ErrorCode, MAX_SAFE_INTEGER, Offset, Problem, TopicName};
use crate::topic::{Page, ReadRequest, Start};

/// Records of a page unless told otherwise, and at most.
const PAGE_RECORDS: u64 = 1_000;
const PAGE_RECORDS_MAX: u64 = 10_000;
/// Bytes of a page's records.
const PAGE_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of lines sent at a time.
const FRAME_BYTES: usize = 64 * 1024;

/// `GET /v1/topics/{topic}/records`
pub(crate) async fn read(
    State(state): State<ApiState>,
    TopicPath(name): TopicPath,
    query: StrictQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let media_type = accept::negotiate(&headers, &[JSON, NDJSON, ARROW])?;
    let mut ask = ask(&query, media_type == JSON)?;
    let version = query.integer("schema_version", 1..=MAX_SAFE_INTEGER)?;
    if version.is_some() && media_type == ARROW {
        return Err(invalid(
            "\"schema_version\" goes with JSON and NDJSON; Arrow has the columns of the newest version.",
        ));
    }
    if version.is_some() && ask.at.is_some() {
        return Err(invalid(
            "\"schema_version\" shows the topic as it is: it does not go with \"version\", \"tag\" or \"as_of\".",
        ));
    }
    let topic = state.engine.topic(&name).await?;
    if let Some(number) = version {
        ask.version = Some(topic.schema_as_of(number).await?);
    }
    match media_type {
        ARROW => {
            let read = unless_draining(&state, ask.wait.is_some(), topic.read_columns(ask)).await?;
            let stream = written(TableFormat::Arrow, read, Arc::clone(&state.metrics));
            Ok((StatusCode::OK, [(header::CONTENT_TYPE, ARROW)], Body::from_stream(stream)).into_response())
        }
        NDJSON => {
            let chunks = unless_draining(&state, ask.wait.is_some(), topic.read_all(ask)).await?;
            let lines = lines(chunks, Arc::clone(&state.metrics));
            Ok((StatusCode::OK, [(header::CONTENT_TYPE, NDJSON)], Body::from_stream(lines)).into_response())
        }
        _ => {
            ask.bytes_max = Some(PAGE_BYTES);
            let page = unless_draining(&state, ask.wait.is_some(), topic.read(ask)).await?;
            let (text, records) = page_json(&name, &page);
            state.metrics.delivered_records.inc_by(records);
            state.metrics.delivered_bytes.inc_by(text.len() as u64);
            Ok(answer::bytes(StatusCode::OK, JSON, text))
        }
    }
}

/// A read that waits for records must not hold up a server that stops.
async fn unless_draining<T>(
    state: &ApiState,
    waits: bool,
    read: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    let draining = state.engine.draining();
    tokio::select! {
        biased;
        read = read => read,
        () = draining.cancelled(), if waits => {
            Err(Problem::new(ErrorCode::ShuttingDown, "The server is shutting down; ask again in a moment."))
        }
    }
}

fn ask(query: &StrictQuery, paged: bool) -> Result<ReadRequest, Problem> {
    let limit = query.count("limit", if paged { PAGE_RECORDS_MAX } else { MAX_SAFE_INTEGER })?;
    Ok(ReadRequest {
        start: query.start()?.unwrap_or(Start::Earliest),
        epoch: query.integer("epoch", 0..=MAX_SAFE_INTEGER)?.and_then(Epoch::new),
        limit: limit.or(std::num::NonZeroU64::new(PAGE_RECORDS).filter(|_| paged)),
        bytes_max: None,
        wait: query.seconds("wait", 0..=60)?,
        version: None,
        fields: query.fields()?,
        filter: query.filter()?,
        at: query.moment()?,
    })
}

/// `GET /v1/topics/{topic}/records/{offset}`
pub(crate) async fn get(
    State(state): State<ApiState>,
    TopicPath(name): TopicPath,
    _query: StrictQuery,
    LastParam(offset): LastParam,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let offset = digits(&offset)
        .and_then(Offset::new)
        .ok_or_else(|| invalid("The path ends in an offset, a whole number up to 2^53 - 1."))?;
    accept::negotiate(&headers, &[JSON])?;
    let page = state.engine.topic(&name).await?.read_one(offset).await?;
    let chunk = page.chunks.iter().find(|chunk| !chunk.is_empty()).ok_or_else(Problem::internal)?;
    let mut text = Vec::with_capacity(chunk.value(0).len() + ENVELOPE_BYTES);
    write_record(&mut text, chunk, 0);
    state.metrics.delivered_records.inc();
    state.metrics.delivered_bytes.inc_by(text.len() as u64);
    Ok(answer::bytes(StatusCode::OK, JSON, text))
}

/// The page's JSON text, and how many records it has. It is cut where its records pass the bound, but never below one.
fn page_json(name: &TopicName, page: &Page) -> (Vec<u8>, u64) {
    let size: usize = page.chunks.iter().map(|chunk| chunk.values().bytes() + ENVELOPE_BYTES * chunk.len()).sum();
    let mut text = Vec::with_capacity(size.min(PAGE_BYTES) + 256);
    // A topic's name needs no escapes.
    text.extend_from_slice(format!("{{\"topic\":\"{name}\",\"epoch\":{},\"records\":[", page.epoch).as_bytes());
    let begin = text.len();
    let mut records = 0;
    let mut next_offset = page.next_offset;
    let mut writer = RecordWriter::default();
    'records: for chunk in &page.chunks {
        for index in 0..chunk.len() {
            let before = text.len();
            if records > 0 {
                text.push(b',');
            }
            writer.write(&mut text, chunk, index);
            if records > 0 && text.len() - begin > PAGE_BYTES {
                text.truncate(before);
                next_offset = chunk.first().saturating_after(index as u64);
                break 'records;
            }
            records += 1;
        }
    }
    text.extend_from_slice(
        format!(
            "],\"next_offset\":{next_offset},\"earliest_offset\":{},\"tail_offset\":{},\"up_to_date\":{},\"closed\":{}}}",
            page.earliest_offset,
            page.tail_offset,
            next_offset == page.tail_offset,
            page.closed
        )
        .as_bytes(),
    );
    (text, records)
}

/// The chunks as lines. A failure ends the body without its end, so that the client sees the connection break.
fn lines(
    chunks: BoxStream<'static, Result<Vec<Chunk>, Problem>>,
    metrics: Arc<Metrics>,
) -> BoxStream<'static, Result<Bytes, Midway>> {
    async_stream::try_stream! {
        let mut chunks = chunks;
        let (mut out, mut writer) = (Vec::new(), RecordWriter::default());
        while let Some(run) = chunks.next().await {
            for chunk in run.map_err(Midway)? {
                for index in 0..chunk.len() {
                    if out.capacity() == 0 {
                        out.reserve(FRAME_BYTES + chunk.value(index).len() + ENVELOPE_BYTES);
                    }
                    writer.write(&mut out, &chunk, index);
                    out.push(b'\n');
                    if out.len() >= FRAME_BYTES {
                        metrics.delivered_bytes.inc_by(out.len() as u64);
                        yield Bytes::from(std::mem::take(&mut out));
                    }
                }
                metrics.delivered_records.inc_by(chunk.len() as u64);
            }
            if !out.is_empty() {
                metrics.delivered_bytes.inc_by(out.len() as u64);
                yield Bytes::from(std::mem::take(&mut out));
            }
        }
    }
    .boxed()
}

/// What broke an answer that had begun.
#[derive(Debug, thiserror::Error)]
#[error("reading failed midway: {}", .0.detail)]
pub(super) struct Midway(pub(super) Problem);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::record::chunk_of;

    fn page(chunks: Vec<Chunk>, next: u64, tail: u64) -> Page {
        let offset = |number| Offset::new(number).unwrap();
        Page {
            epoch: Epoch::new(7).unwrap(),
            chunks,
            next_offset: offset(next),
            earliest_offset: Offset::ZERO,
            tail_offset: offset(tail),
            closed: false,
        }
    }

    fn text(page: &Page) -> String {
        String::from_utf8(page_json(&TopicName::parse("events").unwrap(), page).0).unwrap()
    }

    #[test]
    fn a_page_is_written_as_the_contract_shows_it() {
        let records = vec![chunk_of(1, &["{\"id\":\"2\"}"]), chunk_of(2, &["{\"id\":\"3\",\"n\":1}"])];
        assert_eq!(
            text(&page(records, 3, 3)),
            "{\"topic\":\"events\",\"epoch\":7,\"records\":[\
             {\"offset\":1,\"timestamp\":\"2026-11-23T09:00:00.000001Z\",\"value\":{\"id\":\"2\"}},\
             {\"offset\":2,\"timestamp\":\"2026-11-23T09:00:00.000001Z\",\"value\":{\"id\":\"3\",\"n\":1}}],\
             \"next_offset\":3,\"earliest_offset\":0,\"tail_offset\":3,\"up_to_date\":true,\"closed\":false}"
        );
        assert!(text(&page(vec![], 5, 3)).ends_with(
            "\"records\":[],\"next_offset\":5,\"earliest_offset\":0,\"tail_offset\":3,\"up_to_date\":false,\"closed\":false}"
        ));
    }

    #[test]
    fn a_page_is_cut_at_its_bound_but_has_one_record() {
        let big = format!("\"{}\"", "x".repeat(PAGE_BYTES - 100));
        let cut = page_json(&TopicName::parse("t").unwrap(), &page(vec![chunk_of(4, &[&big, &big, "{}"])], 7, 7));
        assert_eq!(cut.1, 1);
        let parsed: serde_json::Value = serde_json::from_slice(&cut.0).unwrap();
        assert_eq!((parsed["next_offset"].as_u64(), parsed["up_to_date"].as_bool()), (Some(5), Some(false)));
        let huge = format!("\"{}\"", "x".repeat(PAGE_BYTES + 100));
        assert_eq!(page_json(&TopicName::parse("t").unwrap(), &page(vec![chunk_of(4, &[&huge, "{}"])], 6, 7)).1, 1);
    }

    #[tokio::test]
    async fn lines_are_records_and_a_failure_breaks_the_body() {
        let items = vec![Ok(vec![chunk_of(0, &["{}", "{\"a\":1}"])]), Err(Problem::internal())];
        let metrics = Arc::new(Metrics::default());
        let mut lines = lines(futures::stream::iter(items).boxed(), Arc::clone(&metrics));
        let first = lines.next().await.unwrap().unwrap();
        assert_eq!(
            first,
            "{\"offset\":0,\"timestamp\":\"2026-11-23T09:00:00.000001Z\",\"value\":{}}\n\
             {\"offset\":1,\"timestamp\":\"2026-11-23T09:00:00.000001Z\",\"value\":{\"a\":1}}\n"
        );
        assert!(lines.next().await.unwrap().is_err());
        assert!(lines.next().await.is_none());
        assert_eq!(metrics.delivered_records.get(), 2);
    }
}
