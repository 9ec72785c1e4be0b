//! Records as a file: bare lines, an Arrow stream, Parquet.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::codec::Chunk;
use crate::codec::export::{BatchWriter, TableFormat};
use crate::http::ApiState;
use crate::http::accept::{self, ARROW, NDJSON, PARQUET};
use crate::http::extract::TopicPath;
use crate::http::query::StrictQuery;
use crate::http::read::Midway;
use crate::metrics::Metrics;
use crate::model::{MAX_SAFE_INTEGER, Problem};
use crate::topic::{ColumnRead, ReadRequest, Start};

/// Bytes of lines sent at a time.
const FRAME_BYTES: usize = 64 * 1024;

/// What a topic is exported as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Ndjson,
    Arrow,
    Parquet,
}

impl Format {
    const WORDS: [&str; 3] = ["ndjson", "arrow", "parquet"];

    fn read(query: &StrictQuery) -> Result<Self, Problem> {
        Ok(match query.word("format", &Self::WORDS)? {
            Some("arrow") => Format::Arrow,
            Some("parquet") => Format::Parquet,
            _ => Format::Ndjson,
        })
    }

    const fn media_type(self) -> &'static str {
        match self {
            Format::Ndjson => NDJSON,
            Format::Arrow => ARROW,
            Format::Parquet => PARQUET,
        }
    }

    /// What the name of a file ends in.
    const fn extension(self) -> &'static str {
        match self {
            Format::Ndjson => "ndjson",
            Format::Arrow => "arrows",
            Format::Parquet => "parquet",
        }
    }
}

/// `GET /v1/topics/{topic}/export`
pub(crate) async fn export(
    State(state): State<ApiState>,
    TopicPath(name): TopicPath,
    query: StrictQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let format = Format::read(&query)?;
    // What a browser's address bar asks for is a file as well: the format is in the query, `Accept` may only rule it out.
    accept::negotiate(&headers, &[format.media_type()])?;
    let ask = ReadRequest {
        start: query.start()?.unwrap_or(Start::Earliest),
        epoch: None,
        limit: query.count("limit", MAX_SAFE_INTEGER)?,
        bytes_max: None,
        wait: None,
        fields: query.fields()?,
        filter: query.filter()?,
        version: None,
        at: query.moment()?,
    };
    let topic = state.engine.topic(&name).await?;
    let metrics = Arc::clone(&state.metrics);
    let body = match format {
        Format::Ndjson => Body::from_stream(lines(topic.read_all(ask).await?, metrics)),
        Format::Arrow => Body::from_stream(written(TableFormat::Arrow, topic.read_columns(ask).await?, metrics)),
        Format::Parquet => Body::from_stream(written(TableFormat::Parquet, topic.read_columns(ask).await?, metrics)),
    };
    // A topic's name needs no quoting in a header.
    let file = HeaderValue::from_str(&format!("attachment; filename=\"{name}.{}\"", format.extension()));
    let file = file.map_err(|_| Problem::internal())?;
    let media_type = HeaderValue::from_static(format.media_type());
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, media_type), (header::CONTENT_DISPOSITION, file)], body)
        .into_response())
}

/// Values as lines, so that they can be appended again.
fn lines(
    chunks: BoxStream<'static, Result<Vec<Chunk>, Problem>>,
    metrics: Arc<Metrics>,
) -> BoxStream<'static, Result<Bytes, Midway>> {
    async_stream::try_stream! {
        let mut chunks = chunks;
        while let Some(run) = chunks.next().await {
            for chunk in run.map_err(Midway)? {
                metrics.delivered_records.inc_by(chunk.len() as u64);
                metrics.delivered_bytes.inc_by(chunk.values().bytes() as u64);
                let mut text = chunk.values().text();
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

/// Rows as a stream or file. They are written on a thread of their own, so that this holds up nobody else.
pub(super) fn written(
    format: TableFormat,
    read: ColumnRead,
    metrics: Arc<Metrics>,
) -> BoxStream<'static, Result<Bytes, Midway>> {
    async_stream::try_stream! {
        let ColumnRead { schema, mut batches } = read;
        let mut writer = BatchWriter::new(format, &schema).map_err(|error| failed(&error))?;
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(Midway)?;
            let rows = batch.num_rows() as u64;
            let (back, bytes) = aside(move || {
                let mut writer = writer;
                let bytes = writer.write(&batch);
                (writer, bytes)
            })
            .await;
            writer = back;
            let bytes = bytes.map_err(|error| failed(&error))?;
            metrics.delivered_records.inc_by(rows);
            metrics.delivered_bytes.inc_by(bytes.len() as u64);
            if !bytes.is_empty() {
                yield bytes;
            }
        }
        let rest = aside(move || writer.finish()).await.map_err(|error| failed(&error))?;
        metrics.delivered_bytes.inc_by(rest.len() as u64);
        yield rest;
    }
    .boxed()
}

fn failed(error: &crate::codec::export::ExportError) -> Midway {
    tracing::error!(error = %error, "records could not be written as a table");
    Midway(Problem::internal())
}

async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(err) => std::panic::resume_unwind(err.into_panic()),
    }
}
