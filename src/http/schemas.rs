//! Schema versions.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};

use crate::http::ApiState;
use crate::http::accept::{self, JSON};
use crate::http::answer::ok;
use crate::http::extract::{LastParam, TopicPath};
use crate::http::query::{StrictQuery, digits, invalid};
use crate::model::{ErrorCode, Problem, SchemaVersion};

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
    let schema = topic.schema(wanted.map(known).transpose()?).await?.json;
    let etag = etag(&schema);
    let mut response = ok(schema).into_response();
    if let Some(etag) = etag {
        response.headers_mut().insert(header::ETAG, etag);
    }
    Ok(response)
}

/// The validator of a schema version: its number, which is never given to another schema, and its fingerprint.
fn etag(schema: &Value) -> Option<HeaderValue> {
    let version = schema.get("version")?.as_u64()?;
    let fingerprint = schema.get("fingerprint").and_then(Value::as_str).unwrap_or_default();
    HeaderValue::try_from(format!("\"{version}-{fingerprint}\"")).ok()
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
