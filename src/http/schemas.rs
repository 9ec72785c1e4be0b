//! Schema versions: list, read, check, post.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::http::ApiState;
use crate::http::accept::{self, JSON};
use crate::http::answer::ok;
use crate::http::extract::{LastParam, Members, TopicPath, if_match};
use crate::http::query::{StrictQuery, digits, invalid};
use crate::http::topics::topic_and_members;
use crate::model::{ErrorCode, Problem, SchemaVersion, TopicName};
use crate::topic::{SchemaListing, Topic, schema_etag};

/// Versions of a page unless told otherwise, and at most: of nearly all topics they are all that there are.
const PAGE_VERSIONS_MAX: u64 = 1_000;

/// `GET …/schemas`
pub(crate) async fn list(
    State(state): State<ApiState>,
    TopicPath(name): TopicPath,
    query: StrictQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    accept::negotiate(&headers, &[JSON])?;
    let limit = query.integer("limit", 1..=PAGE_VERSIONS_MAX)?.unwrap_or(PAGE_VERSIONS_MAX);
    let limit = usize::try_from(limit).map_err(|_| Problem::internal())?;
    let after = query.integer("after", 1..=u64::from(u32::MAX))?.and_then(numbered);
    let (found, more) = state.engine.topic(&name).await?.schemas(after, limit).await?;
    let next_after = found.last().map(|schema| schema.version.get()).filter(|_| more);
    let schemas = found.iter().map(|schema| &*schema.json).collect();
    Ok(ok(ListBody { schemas, next_after }).into_response())
}

#[derive(Serialize)]
struct ListBody<'a> {
    schemas: Vec<&'a RawValue>,
    /// Only where there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_after: Option<u32>,
}

fn numbered(number: u64) -> Option<SchemaVersion> {
    u32::try_from(number).ok().and_then(SchemaVersion::new)
}

/// `GET …/schemas/{version or latest}`
pub(crate) async fn get(
    State(state): State<ApiState>,
    TopicPath(name): TopicPath,
    _query: StrictQuery,
    LastParam(version): LastParam,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wanted = match version.as_str() {
        "latest" => None,
        number => Some(digits(number).ok_or_else(|| {
            invalid("A schema version is a number from 1, or latest.").allowing(["{version}", "latest"])
        })?),
    };
    accept::negotiate(&headers, &[JSON])?;
    let topic = state.engine.topic(&name).await?;
    let known = |number: u64| {
        let none = || Problem::new(ErrorCode::NotFound, "The topic has no schema version of this number.");
        numbered(number).ok_or_else(none)
    };
    Ok(tell(&topic.schema(wanted.map(known).transpose()?).await?))
}

/// `POST …/schemas`
pub(crate) async fn post(
    State(state): State<ApiState>,
    TopicPath(name): TopicPath,
    _query: StrictQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let condition = if_match(&headers)?;
    let (topic, mut edit) = edit(&state, &name, &headers, body).await?;
    let (schema, made) = topic.post_schema(edit.value("fields"), edit.value("changes"), condition).await?;
    let mut response = tell(&schema);
    if made {
        *response.status_mut() = StatusCode::CREATED;
        let place = HeaderValue::try_from(format!("/v1/topics/{name}/schemas/{}", schema.version)).ok();
        response.headers_mut().extend(place.map(|place| (header::LOCATION, place)));
    }
    Ok(response)
}

/// `POST …/schemas/check`
pub(crate) async fn check(
    State(state): State<ApiState>,
    TopicPath(name): TopicPath,
    _query: StrictQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (topic, mut edit) = edit(&state, &name, &headers, body).await?;
    let checked = topic.check_schema(edit.value("fields"), edit.value("changes")).await?;
    Ok(ok(checked.json).into_response())
}

/// A topic that has columns, and what is asked of them.
async fn edit(
    state: &ApiState,
    name: &TopicName,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Arc<Topic>, Members), Problem> {
    topic_and_members(state, name, (headers, body), &["fields", "changes"], Topic::check_columns).await
}

/// A version with its validator.
fn tell(schema: &SchemaListing) -> Response {
    let mut response = ok(&schema.json).into_response();
    let etag = HeaderValue::try_from(format!("\"{}\"", schema_etag(schema.version, &schema.fingerprint))).ok();
    response.headers_mut().extend(etag.map(|etag| (header::ETAG, etag)));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_told_as_it_is_kept_and_its_validator_names_version_and_fingerprint() {
        let json = RawValue::from_string("{\"version\":3}".to_owned()).unwrap();
        let version = numbered(3).unwrap();
        let response = tell(&SchemaListing { version, fingerprint: "ab".to_owned(), json: json.clone() });
        assert_eq!(response.headers().get("etag").unwrap(), "\"3-ab\"");
        let told = |next_after| serde_json::to_string(&ListBody { schemas: vec![&json], next_after }).unwrap();
        assert_eq!(told(None), "{\"schemas\":[{\"version\":3}]}");
        assert_eq!(told(Some(3)), "{\"schemas\":[{\"version\":3}],\"next_after\":3}");
    }
}
