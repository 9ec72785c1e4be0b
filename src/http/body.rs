//! Bodies of requests: decoded (gzip, zstd), bounded, counted against the bytes in flight.

use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use http::{HeaderMap, header};
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};

use crate::http::ApiState;
use crate::model::{ErrorCode, Problem};
use crate::topic::InflightPermit;

/// How long a body may stand still, unless told otherwise.
pub(crate) const BODY_IDLE: Duration = Duration::from_secs(30);

/// Bytes decoded at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// The largest zstd window that is decoded, 8 MiB: what RFC 9659 allows to senders.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    /// Reads `Content-Encoding`.
    ///
    /// # Errors
    /// `unsupported_media_type` for any other encoding, and for several.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut found = Encoding::Identity;
        for value in headers.get_all(header::CONTENT_ENCODING) {
            for word in value.to_str().unwrap_or("?").split(',').map(str::trim) {
                let encoding = match word.to_ascii_lowercase().as_str() {
                    "" | "identity" => continue,
                    "gzip" | "x-gzip" => Encoding::Gzip,
                    "zstd" => Encoding::Zstd,
                    _ => return Err(Self::unsupported()),
                };
                if found != Encoding::Identity {
                    return Err(Self::unsupported());
                }
                found = encoding;
            }
        }
        Ok(found)
    }

    fn unsupported() -> Problem {
        Problem::new(ErrorCode::UnsupportedMediaType, "A body can be sent as it is, or encoded once with gzip or zstd.")
            .allowing(["gzip", "zstd", "identity"])
    }
}

/// What a request's head tells of its body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Declared {
    encoding: Encoding,
    /// Decoded bytes, where they are told.
    bytes: Option<u64>,
}

impl Declared {
    /// Reads and checks the head, before anything of the body is read. `bytes_max`: none for a body of any length.
    ///
    /// # Errors
    /// `unsupported_media_type`, and `body_too_large` where more is declared than is allowed.
    pub(crate) fn read(headers: &HeaderMap, bytes_max: Option<u64>) -> Result<Self, Problem> {
        let encoding = Encoding::of(headers)?;
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let bytes = length.filter(|_| encoding == Encoding::Identity);
        match (bytes, bytes_max) {
            (Some(bytes), Some(max)) if bytes > max => Err(too_large(max)),
            _ => Ok(Self { encoding, bytes }),
        }
    }
}

fn too_large(bytes_max: u64) -> Problem {
    Problem::new(
        ErrorCode::BodyTooLarge,
        format!("The decoded body has more than {bytes_max} bytes; send it in parts."),
    )
    .with_limit(bytes_max)
}

fn stalled(idle: Duration) -> Problem {
    let seconds = idle.as_secs_f32();
    Problem::new(ErrorCode::InvalidBody, format!("The body was cut short: nothing came for {seconds} seconds."))
}

fn broken(encoding: Encoding) -> Problem {
    Problem::new(
        ErrorCode::InvalidBody,
        match encoding {
            Encoding::Identity => "The body was cut short.",
            Encoding::Gzip => "The body was cut short or is not gzip.",
            Encoding::Zstd => "The body was cut short, is not zstd, or needs a window of more than 8 MiB.",
        },
    )
}

/// The decoded body, piece by piece. It fails on what is broken, cut short or stands still for so long.
pub(crate) fn decoded(body: Body, declared: Declared, idle: Duration) -> BoxStream<'static, Result<Bytes, Problem>> {
    let encoding = declared.encoding;
    let raw = with_patience(body, idle);
    let raw = async move {
        let mut raw = raw.peekable();
        // What has no byte is empty, however it is said to be encoded.
        let is_empty = Pin::new(&mut raw).peek().await.is_none();
        match encoding {
            _ if is_empty => futures::stream::empty().boxed(),
            Encoding::Identity => raw.boxed(),
            Encoding::Gzip => {
                let mut decoder = GzipDecoder::new(StreamReader::new(raw));
                decoder.multiple_members(true);
                pieces(decoder)
            }
            Encoding::Zstd => {
                let window = [DParameter::window_log_max(ZSTD_WINDOW_LOG_MAX)];
                let mut decoder = ZstdDecoder::with_params(StreamReader::new(raw), &window);
                decoder.multiple_members(true);
                pieces(decoder)
            }
        }
    };
    raw.flatten_stream().map_err(move |error| failure(&error, encoding, idle)).boxed()
}

fn pieces(decoder: impl AsyncRead + Send + 'static) -> BoxStream<'static, io::Result<Bytes>> {
    ReaderStream::with_capacity(decoder, PIECE_BYTES).boxed()
}

fn failure(error: &io::Error, encoding: Encoding, idle: Duration) -> Problem {
    if error.kind() == io::ErrorKind::TimedOut { stalled(idle) } else { broken(encoding) }
}

/// The next piece of a body as it comes, with a bound on the time that it takes.
async fn next_piece(body: &mut Body, idle: Duration) -> Option<io::Result<Bytes>> {
    loop {
        // By its whole name: `futures` has a `boxed` as well.
        let mut frame = http_body_util::BodyExt::frame(body);
        // Most of what is read is there already, and needs no timer.
        let frame = match futures::poll!(&mut frame) {
            Poll::Ready(frame) => Ok(frame),
            Poll::Pending => tokio::time::timeout(idle, frame).await,
        };
        match frame {
            Ok(Some(Ok(frame))) => {
                // Trailers say nothing that is asked for, nor does a frame without a byte.
                if let Ok(piece) = frame.into_data()
                    && !piece.is_empty()
                {
                    return Some(Ok(piece));
                }
            }
            Ok(Some(Err(error))) => return Some(Err(io::Error::other(error))),
            Ok(None) => return None,
            Err(_) => return Some(Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

/// The body's pieces as they come; none after one that failed.
fn with_patience(body: Body, idle: Duration) -> BoxStream<'static, io::Result<Bytes>> {
    futures::stream::unfold(Some(body), move |body| async move {
        let mut body = body?;
        let piece = next_piece(&mut body, idle).await?;
        let rest = piece.is_ok().then_some(body);
        Some((piece, rest))
    })
    .boxed()
}

/// A body being read whole.
enum Pieces {
    /// As it comes, without a box around each step.
    Plain(Body),
    Decoded(BoxStream<'static, Result<Bytes, Problem>>),
}

impl Pieces {
    async fn next(&mut self, idle: Duration) -> Option<Result<Bytes, Problem>> {
        match self {
            Pieces::Plain(body) => {
                let piece = next_piece(body, idle).await?;
                Some(piece.map_err(|error| failure(&error, Encoding::Identity, idle)))
            }
            Pieces::Decoded(pieces) => pieces.next().await,
        }
    }
}

/// Reads a whole body into memory, with the permit that counts it; keep the permit as long as the bytes.
///
/// # Errors
/// `body_too_large`, as soon as one byte over the limit is decoded; `overloaded` without room in time; `invalid_body` for
/// what is broken, cut short or stands still.
pub(crate) async fn read_whole(
    state: &ApiState,
    body: Body,
    declared: Declared,
    bytes_max: u64,
) -> Result<(Bytes, InflightPermit), Problem> {
    // Counted as it comes: what is only declared must not keep others out.
    let mut permit = state.inflight.open();
    let idle = state.limits.body_idle;
    let mut pieces = match declared.encoding {
        Encoding::Identity => Pieces::Plain(body),
        Encoding::Gzip | Encoding::Zstd => Pieces::Decoded(decoded(body, declared, idle)),
    };
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    let mut length: u64 = 0;
    while let Some(piece) = pieces.next(idle).await {
        let piece = piece?;
        length = length.saturating_add(piece.len() as u64);
        if length > bytes_max {
            return Err(too_large(bytes_max));
        }
        let missing = length.saturating_sub(permit.held());
        if missing > 0 {
            permit.grow(missing).await?;
        }
        // A body of one piece is not copied.
        if first.is_empty() && whole.is_empty() {
            first = piece;
            continue;
        }
        if whole.is_empty() {
            whole.reserve(usize::try_from(declared.bytes.unwrap_or(0)).unwrap_or(0).max(first.len() + piece.len()));
            whole.extend_from_slice(&std::mem::take(&mut first));
        }
        whole.extend_from_slice(&piece);
    }
    Ok((if whole.is_empty() { first } else { whole.freeze() }, permit))
}
