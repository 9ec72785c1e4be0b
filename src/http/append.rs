//! Appending records.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, StatusCode};

use crate::codec::{Body as AppendBody, Form};
use crate::http::answer::bytes;
use crate::http::body::{Declared, decoded, read_whole};
use crate::http::extract::{FORM, TopicPath, is_json, media_type, visible};
use crate::http::query::{StrictQuery, digits, invalid};
use crate::http::{ApiState, accept};
use crate::model::{Ack, ErrorCode, KeyedWrite, Offset, Problem, ProducerWrite, TopicName, Writer};
use crate::topic::{AppendRequest, Receipt, Topic};

const PRODUCER_ID: HeaderName = HeaderName::from_static("producer-id");
const PRODUCER_EPOCH: HeaderName = HeaderName::from_static("producer-epoch");
const PRODUCER_SEQ: HeaderName = HeaderName::from_static("producer-seq");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What a load of rows in pieces holds all along, in the terms of the budget: one piece being read, one being stored.
const LOAD_BYTES: u64 = 16 * 1024 * 1024;

/// How the records of a body stand in it.
enum Records {
    Json(Form),
    Arrow,
}

/// All that the head of an append says.
struct Head {
    form: Records,
    ack: Option<Ack>,
    expected_offset: Option<Offset>,
    close: bool,
    atomic: bool,
    writer: Writer,
    declared: Declared,
}

/// `POST /v1/topics/{topic}/records`
pub(crate) async fn append(
    State(state): State<ApiState>,
    TopicPath(name): TopicPath,
    query: StrictQuery,
    request: Request,
) -> Response {
    answer(&state, &name, &query, request).await
}

/// As [`append`], for a request whose path and query are known.
pub(crate) async fn answer(state: &ApiState, name: &TopicName, query: &StrictQuery, request: Request) -> Response {
    match take(state, name, query, request).await {
        Ok(receipt) => {
            state.metrics.duplicates.inc_by(u64::from(receipt.duplicate));
            answered(&receipt)
        }
        Err(problem) => {
            state.metrics.rejected_records.with_label_values(&[problem.code.as_str()]).inc();
            problem.into_response()
        }
    }
}

async fn take(state: &ApiState, name: &TopicName, query: &StrictQuery, request: Request) -> Result<Receipt, Problem> {
    // The request whole: an extractor of headers would copy them all.
    let (parts, body) = request.into_parts();
    let head = Head::read(&parts.headers, query, state.limits.max_body_bytes)?;
    drop(parts);
    let topic = match state.engine.topic(name).await {
        Err(problem) if problem.code == ErrorCode::TopicNotFound && state.engine.makes_topics() => None,
        found => Some(found?),
    };
    store(state, name, topic, head, body).await
}

/// Stores a body; a topic that is still to be made is made when its records are known to be sound.
async fn store(
    state: &ApiState,
    name: &TopicName,
    topic: Option<Arc<Topic>>,
    head: Head,
    body: Body,
) -> Result<Receipt, Problem> {
    if let Some(topic) = &topic {
        topic.check_append(head.ack, &head.writer)?;
        if matches!(head.form, Records::Arrow) {
            topic.check_arrow()?;
        }
    }
    // What is seldom done lies in boxes: each append would move the room for it about.
    if !head.atomic {
        let loading = async {
            let topic = made(state, name, topic).await?;
            let mut permit = state.inflight.open();
            let body = decoded(body, head.declared, state.limits.body_idle);
            match head.form {
                Records::Json(form) => topic.load(body, form, permit, head.ack).await,
                Records::Arrow => {
                    permit.grow(LOAD_BYTES).await?;
                    topic.load_rows(body, state.limits.max_body_bytes, permit, head.ack).await
                }
            }
        };
        return Box::pin(loading).await;
    }
    let (body, mut permit) = read_whole(state, body, head.declared, state.limits.max_body_bytes).await?;
    let Head { form, ack, expected_offset, close, mut writer, .. } = head;
    if let Writer::Keyed(keyed) = &mut writer {
        keyed.body_hash = *blake3::hash(&body).as_bytes();
    }
    let body = match form {
        Records::Json(form) => AppendBody::text(body, form),
        Records::Arrow => AppendBody::Arrow { stream: body, bytes_max: state.limits.max_body_bytes },
    };
    let ask = AppendRequest { body, ack, expected_offset, close, writer };
    if let Some(topic) = topic {
        return topic.append_holding(ask, permit).await;
    }
    // Seldom done: in a box.
    Box::pin(state.engine.check_first(&ask, &mut permit)).await?;
    Box::pin(made(state, name, None)).await?.append_holding(ask, permit).await
}

async fn made(state: &ApiState, name: &TopicName, topic: Option<Arc<Topic>>) -> Result<Arc<Topic>, Problem> {
    match topic {
        Some(topic) => Ok(topic),
        None => state.engine.topic_to_append(name).await,
    }
}

impl Head {
    fn read(headers: &HeaderMap, query: &StrictQuery, body_bytes_max: u64) -> Result<Self, Problem> {
        let words = Ack::ALL.map(Ack::as_str);
        let ack = query.word("ack", &words)?.and_then(Ack::parse);
        let expected_offset = query.offset("expected_offset")?;
        let close = query.boolean("close")?;
        let atomic = query.boolean("atomic")?.unwrap_or(true);
        let writer = writer(headers)?;
        if !atomic && (expected_offset.is_some() || close == Some(true) || writer != Writer::Plain) {
            return Err(invalid(
                "atomic=false goes without producer headers, Idempotency-Key, expected_offset and close.",
            ));
        }
        accept::negotiate(headers, &[accept::JSON])?;
        let form = form(headers)?;
        let declared = Declared::read(headers, atomic.then_some(body_bytes_max))?;
        Ok(Self { form, ack, expected_offset, close: close.unwrap_or(false), atomic, writer, declared })
    }
}

/// Reads who writes. The hash of a key's body follows when the body is read.
fn writer(headers: &HeaderMap) -> Result<Writer, Problem> {
    let number = |name: HeaderName| -> Result<Option<u64>, Problem> {
        let Some(text) = visible(headers, &name, 16)? else { return Ok(None) };
        digits(text).map(Some).ok_or_else(|| invalid(format!("The header {name} is a whole number up to 2^53 - 1.")))
    };
    let id = visible(headers, &PRODUCER_ID, 128)?;
    let (epoch, seq) = (number(PRODUCER_EPOCH)?, number(PRODUCER_SEQ)?);
    let key = visible(headers, &IDEMPOTENCY_KEY, 255)?;
    match (id, epoch, seq, key) {
        (None, None, None, None) => Ok(Writer::Plain),
        (None, None, None, Some(key)) => Ok(Writer::Keyed(KeyedWrite { key: key.into(), body_hash: [0; 32] })),
        (Some(id), Some(epoch), Some(seq), None) => Ok(Writer::Producer(ProducerWrite { id: id.into(), epoch, seq })),
        (_, _, _, Some(_)) => Err(invalid("Send producer headers or an Idempotency-Key, not both.")),
        _ => Err(invalid("Producer-Id, Producer-Epoch and Producer-Seq are sent all three or not at all.")),
    }
}

fn form(headers: &HeaderMap) -> Result<Records, Problem> {
    let Some(given) = media_type(headers)? else { return Ok(Records::Json(Form::Sequence)) };
    match &*given {
        FORM => Ok(Records::Json(Form::Sequence)),
        "application/x-ndjson" | "application/jsonl" => Ok(Records::Json(Form::Ndjson)),
        accept::ARROW => Ok(Records::Arrow),
        given if is_json(given) => Ok(Records::Json(Form::Json)),
        _ => Err(Problem::new(ErrorCode::UnsupportedMediaType, "Records come as JSON, NDJSON or an Arrow stream.")
            .allowing([
                "application/json",
                "application/*+json",
                "application/x-ndjson",
                "application/jsonl",
                accept::ARROW,
                FORM,
            ])),
    }
}

/// The answer to a receipt; 202 where a crash could still lose the records, 207 where some went to the quarantine.
fn answered(receipt: &Receipt) -> Response {
    let safe = receipt.complete || receipt.durability > Ack::Accepted;
    let status = match (receipt.quarantined > 0, safe) {
        (true, _) => StatusCode::MULTI_STATUS,
        (false, true) => StatusCode::OK,
        (false, false) => StatusCode::ACCEPTED,
    };
    bytes(status, "application/json", receipt_json(receipt))
}

/// Written by hand: it is most of what many requests are answered, and nothing in it needs escaping.
fn receipt_json(receipt: &Receipt) -> Vec<u8> {
    let mut out = Vec::with_capacity(192);
    let mut digits = itoa::Buffer::new();
    let mut member = |out: &mut Vec<u8>, name: &str, value: u64| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(digits.format(value).as_bytes());
    };
    out.extend_from_slice(b"{\"topic\":\"");
    out.extend_from_slice(receipt.topic.as_str().as_bytes());
    member(&mut out, "\",\"epoch\":", receipt.epoch.get());
    if receipt.count > 0 {
        member(&mut out, ",\"first_offset\":", receipt.first_offset.get());
        member(&mut out, ",\"last_offset\":", receipt.last_offset.get());
        member(&mut out, ",\"next_offset\":", receipt.next_offset().get());
    } else {
        // All went to the quarantine.
        out.extend_from_slice(b",\"first_offset\":null,\"last_offset\":null,\"next_offset\":null");
    }
    member(&mut out, ",\"count\":", receipt.count);
    match receipt.schema_version {
        Some(version) => member(&mut out, ",\"schema_version\":", version.get().into()),
        None => out.extend_from_slice(b",\"schema_version\":null"),
    }
    out.extend_from_slice(b",\"durability\":\"");
    out.extend_from_slice(receipt.durability.as_str().as_bytes());
    out.push(b'"');
    if receipt.quarantined > 0 {
        member(&mut out, ",\"quarantined\":", receipt.quarantined);
    }
    out.extend_from_slice(if receipt.duplicate { b",\"duplicate\":true}" } else { b"}" });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Epoch, SchemaVersion};

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect::<HeaderMap>()
    }

    #[test]
    fn producer_headers_come_all_three_or_not_at_all() {
        let three = [("producer-id", "p"), ("producer-epoch", "0"), ("producer-seq", "9007199254740991")];
        assert!(matches!(writer(&headers(&three)), Ok(Writer::Producer(_))));
        assert_eq!(writer(&headers(&[])), Ok(Writer::Plain));
        for wrong in [
            &three[..2],
            &[("producer-id", "p"), ("producer-epoch", "-1"), ("producer-seq", "0")],
            &[("producer-id", "p"), ("producer-epoch", "0"), ("producer-seq", "9007199254740992")],
            &[("producer-id", "a b"), ("producer-epoch", "0"), ("producer-seq", "0")],
            &[("producer-id", ""), ("producer-epoch", "0"), ("producer-seq", "0")],
            &[("producer-id", "p"), ("producer-epoch", "0"), ("producer-seq", "0"), ("idempotency-key", "k")],
            &[("idempotency-key", "")],
        ] {
            assert_eq!(writer(&headers(wrong)).map_err(|p| p.code), Err(ErrorCode::InvalidParameter), "{wrong:?}");
        }
        assert!(matches!(writer(&headers(&[("idempotency-key", "k")])), Ok(Writer::Keyed(_))));
        assert!(writer(&headers(&[("idempotency-key", &"k".repeat(256))])).is_err());
    }

    #[test]
    fn the_answer_has_the_members_of_the_contract_in_order() {
        let mut receipt = Receipt {
            topic: TopicName::parse("events").unwrap(),
            epoch: Epoch::new(7).unwrap(),
            first_offset: Offset::ZERO,
            last_offset: Offset::new(2).unwrap(),
            count: 3,
            schema_version: Some(SchemaVersion::FIRST),
            quarantined: 0,
            durability: Ack::Wal,
            complete: false,
            duplicate: false,
        };
        let text = |receipt: &Receipt| String::from_utf8(receipt_json(receipt)).unwrap();
        assert_eq!(answered(&receipt).status(), StatusCode::OK);
        assert_eq!(
            text(&receipt),
            "{\"topic\":\"events\",\"epoch\":7,\"first_offset\":0,\"last_offset\":2,\"next_offset\":3,\"count\":3,\
             \"schema_version\":1,\"durability\":\"wal\"}"
        );
        receipt.durability = Ack::Accepted;
        assert_eq!(answered(&receipt).status(), StatusCode::ACCEPTED);
        receipt.complete = true;
        assert_eq!(answered(&receipt).status(), StatusCode::OK);
        receipt.duplicate = true;
        assert!(text(&receipt).ends_with("\"durability\":\"accepted\",\"duplicate\":true}"));
        receipt.quarantined = 2;
        assert_eq!(answered(&receipt).status(), StatusCode::MULTI_STATUS);
        assert!(text(&receipt).ends_with("\"durability\":\"accepted\",\"quarantined\":2,\"duplicate\":true}"));
        receipt.count = 0;
        assert!(
            text(&receipt).contains("\"first_offset\":null,\"last_offset\":null,\"next_offset\":null,\"count\":0,")
        );
        receipt.schema_version = None;
        assert!(serde_json::from_str::<serde_json::Value>(&text(&receipt)).unwrap()["schema_version"].is_null());
    }
}
