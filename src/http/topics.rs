//! Topics: make, list, read, change, delete.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::http::answer::{Json, ok};
use crate::http::body::{Declared, read_whole};
use crate::http::extract::{Members, TopicPath, check_json_type, if_match, invalid_body};
use crate::http::query::StrictQuery;
use crate::http::{ApiState, accept};
use crate::model::{ErrorCode, OnInvalid, Problem, Retention, SchemaMode, TopicName};
use crate::topic::{CreateTopic, Description, Topic, TopicPatch, read_on_invalid};

/// Members of a description that a client cannot set at all.
const TOLD: &[&str] =
    &["topic", "id", "epoch", "schema_version", "state", "created_at", "earliest_offset", "tail_offset", "dataset_uri"];
/// Members that are set when a topic is made.
const MADE: &[&str] =
    &["backend", "backend_options", "storage_path", "schema", "schema_mode", "retention", "on_invalid"];
/// Members that can be changed later.
const CHANGED: &[&str] = &["retention", "backend_options", "schema_mode", "on_invalid"];

const TAIL_OFFSET: HeaderName = HeaderName::from_static("persisting-tail-offset");
const EARLIEST_OFFSET: HeaderName = HeaderName::from_static("persisting-earliest-offset");
const EPOCH: HeaderName = HeaderName::from_static("persisting-epoch");
const STATE: HeaderName = HeaderName::from_static("persisting-state");

/// `PUT /v1/topics/{topic}`
pub(crate) async fn create(
    State(state): State<ApiState>,
    TopicPath(name): TopicPath,
    _query: StrictQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if name.is_reserved() {
        return Err(Problem::new(ErrorCode::InvalidTopicName, "Names that end in .quarantine are the service's own."));
    }
    let mut members = members(&state, &headers, body, MADE).await?;
    let ask = CreateTopic {
        backend: members.string("backend")?,
        backend_options: members.object("backend_options")?.unwrap_or_default(),
        storage_path: members.string("storage_path")?,
        schema: members.value("schema"),
        schema_mode: members.string("schema_mode")?.map(|word| schema_mode(&word)).transpose()?,
        retention: members.object("retention")?,
        on_invalid: members.value("on_invalid").map(|value| read_on_invalid(&value)).transpose()?,
    };
    let (description, made) = state.engine.create(&name, ask).await?;
    Ok(if made { describe_made(&description) } else { describe(&description, StatusCode::OK) })
}

/// A topic that was made, with its place.
pub(crate) fn describe_made(description: &Description) -> Response {
    let mut response = describe(description, StatusCode::CREATED);
    if let Ok(place) = HeaderValue::try_from(format!("/v1/topics/{}", description.topic)) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

/// `GET /v1/topics/{topic}`
pub(crate) async fn get(
    State(state): State<ApiState>,
    TopicPath(name): TopicPath,
    _query: StrictQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    accept::negotiate(&headers, &[accept::JSON])?;
    let description = state.engine.describe(&name).await?;
    Ok(describe(&description, StatusCode::OK))
}

/// `PATCH /v1/topics/{topic}`
pub(crate) async fn patch(
    State(state): State<ApiState>,
    TopicPath(name): TopicPath,
    _query: StrictQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let condition = if_match(&headers)?;
    let head = head(&state, &headers)?;
    let topic = state.engine.topic(&name).await?;
    let known: Vec<&str> = MADE.iter().chain(TOLD).copied().collect();
    let (text, _permit) = read_whole(&state, body, head, state.limits.max_body_bytes).await?;
    let mut members = Members::parse(&text, &known).map_err(|problem| match problem.allowed {
        // Those that are told but cannot be changed are known, and no help.
        Some(_) => problem.allowing(CHANGED.iter().copied()),
        None => problem,
    })?;
    let fixed = members.names().find(|name| !CHANGED.contains(name)).map(str::to_owned);
    if let Some(fixed) = fixed {
        return Err(Problem::new(ErrorCode::Immutable, format!("The member \"{fixed}\" cannot be changed."))
            .allowing(CHANGED.iter().copied()));
    }
    let change = TopicPatch {
        retention: members.take("retention"),
        backend_options: members.take("backend_options"),
        schema_mode: members.take("schema_mode"),
        on_invalid: members.take("on_invalid"),
    };
    let description = topic.patch(change, condition).await?;
    Ok(describe(&description, StatusCode::OK))
}

/// `DELETE /v1/topics/{topic}`
pub(crate) async fn delete(
    State(state): State<ApiState>,
    TopicPath(name): TopicPath,
    _query: StrictQuery,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    state.engine.delete(&name, if_match(&headers)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/topics`
pub(crate) async fn list(
    State(state): State<ApiState>,
    query: StrictQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    accept::negotiate(&headers, &[accept::JSON])?;
    let limit = query.integer("limit", 1..=1_000)?.unwrap_or(100);
    let limit = usize::try_from(limit).map_err(|_| Problem::internal())?;
    let page = state.engine.list(query.text("prefix").unwrap_or_default(), query.text("after"), limit).await?;
    Ok(ok(ListBody {
        topics: page.topics.iter().map(DescriptionBody::of).collect(),
        next_after: page.next_after.as_ref().map(|name| name.as_str()),
    })
    .into_response())
}

/// Checks all that the head says of a body in JSON.
pub(crate) fn head(state: &ApiState, headers: &HeaderMap) -> Result<Declared, Problem> {
    accept::negotiate(headers, &[accept::JSON])?;
    check_json_type(headers)?;
    Declared::read(headers, Some(state.limits.max_body_bytes))
}

/// Reads a body in JSON whose members are known.
pub(crate) async fn members(
    state: &ApiState,
    headers: &HeaderMap,
    body: Body,
    known: &[&str],
) -> Result<Members, Problem> {
    let declared = head(state, headers)?;
    let (text, _permit) = read_whole(state, body, declared, state.limits.max_body_bytes).await?;
    Members::parse(&text, known)
}

/// The topic of a request and the members of its body, which is read when the topic is there and can do what is asked.
pub(crate) async fn topic_and_members(
    state: &ApiState,
    name: &TopicName,
    (headers, body): (&HeaderMap, Body),
    known: &[&str],
    check: impl FnOnce(&Topic) -> Result<(), Problem>,
) -> Result<(Arc<Topic>, Members), Problem> {
    let declared = head(state, headers)?;
    let topic = state.engine.topic(name).await?;
    check(&topic)?;
    let (text, _permit) = read_whole(state, body, declared, state.limits.max_body_bytes).await?;
    Ok((topic, Members::parse(&text, known)?))
}

fn schema_mode(word: &str) -> Result<SchemaMode, Problem> {
    SchemaMode::parse(word)
        .ok_or_else(|| invalid_body("The member \"schema_mode\" is strict or evolve.").allowing(["strict", "evolve"]))
}

/// A topic's description, with its validator and its positions in headers.
fn describe(description: &Description, status: StatusCode) -> Response {
    let mut response = Json(status, DescriptionBody::of(description)).into_response();
    let headers = response.headers_mut();
    headers.insert(TAIL_OFFSET, description.tail_offset.get().into());
    headers.insert(EARLIEST_OFFSET, description.earliest_offset.get().into());
    headers.insert(EPOCH, description.epoch.get().into());
    headers.insert(STATE, HeaderValue::from_static(description.state.as_str()));
    if let Ok(etag) = HeaderValue::try_from(format!("\"{}\"", description.etag)) {
        headers.insert(header::ETAG, etag);
    }
    response
}

#[derive(Serialize)]
struct ListBody<'a> {
    topics: Vec<DescriptionBody<'a>>,
    next_after: Option<&'a str>,
}

#[derive(Serialize)]
struct DescriptionBody<'a> {
    topic: &'a str,
    id: String,
    epoch: u64,
    backend: &'a str,
    backend_options: &'a Map<String, Value>,
    storage_path: Option<&'a str>,
    schema_mode: Option<&'static str>,
    schema_version: Option<u32>,
    retention: Retention,
    on_invalid: Option<&'static str>,
    state: &'static str,
    created_at: String,
    earliest_offset: u64,
    tail_offset: u64,
    dataset_uri: Option<&'a str>,
}

impl<'a> DescriptionBody<'a> {
    fn of(description: &'a Description) -> Self {
        Self {
            topic: description.topic.as_str(),
            id: description.id.to_string(),
            epoch: description.epoch.get(),
            backend: &description.backend,
            backend_options: &description.backend_options,
            storage_path: description.storage_path.as_deref(),
            schema_mode: description.schema_mode.map(SchemaMode::as_str),
            schema_version: description.schema_version.map(|version| version.get()),
            retention: description.retention,
            on_invalid: description.on_invalid.map(OnInvalid::as_str),
            state: description.state.as_str(),
            created_at: description.created_at.to_string(),
            earliest_offset: description.earliest_offset.get(),
            tail_offset: description.tail_offset.get(),
            dataset_uri: description.dataset_uri.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Epoch, Offset, Timestamp, TopicId, TopicName};
    use crate::topic::TopicState;

    #[test]
    fn a_description_has_the_members_of_the_contract_in_order_and_headers() {
        let description = Description {
            topic: TopicName::parse("events").unwrap(),
            id: TopicId::from_bytes([0; 16]),
            epoch: Epoch::new(7).unwrap(),
            backend: "memory".into(),
            backend_options: Map::new(),
            storage_path: None,
            schema_mode: None,
            schema_version: None,
            retention: Retention::default(),
            on_invalid: None,
            state: TopicState::Open,
            created_at: Timestamp::from_micros(0),
            earliest_offset: Offset::ZERO,
            tail_offset: Offset::new(3).unwrap(),
            dataset_uri: None,
            etag: "abc".into(),
        };
        assert_eq!(
            serde_json::to_string(&DescriptionBody::of(&description)).unwrap(),
            "{\"topic\":\"events\",\"id\":\"00000000-0000-0000-0000-000000000000\",\"epoch\":7,\"backend\":\"memory\",\
             \"backend_options\":{},\"storage_path\":null,\"schema_mode\":null,\"schema_version\":null,\
             \"retention\":{\"max_age_secs\":null,\"max_records\":null,\"max_bytes\":null},\"on_invalid\":null,\"state\":\"open\",\
             \"created_at\":\"1970-01-01T00:00:00.000000Z\",\"earliest_offset\":0,\"tail_offset\":3,\"dataset_uri\":null}"
        );
        let response = describe(&description, StatusCode::OK);
        let header = |name: &str| response.headers().get(name).unwrap().to_str().unwrap().to_owned();
        assert_eq!(header("etag"), "\"abc\"");
        assert_eq!(header("persisting-tail-offset"), "3");
        assert_eq!(header("persisting-earliest-offset"), "0");
        assert_eq!(header("persisting-epoch"), "7");
        assert_eq!(header("persisting-state"), "open");
    }
}
