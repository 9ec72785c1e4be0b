//! Schema versions: list, read, check, post.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::http::ApiState;
use crate::http::accept::{self, JSON};
use crate::http::answer::ok;
use crate::http::extract::{LastParam, Members, TopicPath, if_match};
use crate::http::query::{StrictQuery, digits, invalid};
use crate::http::topics::topic_and_members;
use crate::model::{ErrorCode, Problem, SchemaVersion, TopicName};
use crate::topic::{Topic, schema_etag};

/// `GET …/schemas`
pub(crate) async fn list(
    State(state): State<ApiState>,
    TopicPath(name): TopicPath,
    _query: StrictQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    accept::negotiate(&headers, &[JSON])?;
    let schemas = state.engine.topic(&name).await?.schemas().await?;
    let schemas: Vec<Value> = schemas.into_iter().map(|schema| schema.json).collect();
    Ok(ok(json!({ "schemas": schemas })).into_response())
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
        u32::try_from(number)
            .ok()
            .and_then(SchemaVersion::new)
            .ok_or_else(|| Problem::new(ErrorCode::NotFound, "The topic has no schema version of this number."))
    };
    Ok(tell(topic.schema(wanted.map(known).transpose()?).await?.json))
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
    let version = schema.json.get("version").and_then(Value::as_u64);
    let mut response = tell(schema.json);
    if made {
        *response.status_mut() = StatusCode::CREATED;
        let place =
            version.and_then(|version| HeaderValue::try_from(format!("/v1/topics/{name}/schemas/{version}")).ok());
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
fn tell(schema: Value) -> Response {
    let etag = etag(&schema);
    let mut response = ok(schema).into_response();
    response.headers_mut().extend(etag.map(|etag| (header::ETAG, etag)));
    response
}

/// The validator of a schema version.
fn etag(schema: &Value) -> Option<HeaderValue> {
    let version = schema.get("version")?.as_u64().and_then(|version| u32::try_from(version).ok());
    let version = SchemaVersion::new(version?)?;
    let fingerprint = schema.get("fingerprint").and_then(Value::as_str).unwrap_or_default();
    HeaderValue::try_from(format!("\"{}\"", schema_etag(version, fingerprint))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_validator_names_version_and_fingerprint() {
        let schema = json!({ "version": 3, "fingerprint": "ab" });
        assert_eq!(etag(&schema).unwrap(), "\"3-ab\"");
        assert!(etag(&json!({})).is_none());
    }
}
