//! Tags: list, read, set, forget.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::http::ApiState;
use crate::http::accept::{self, JSON};
use crate::http::answer::{Json, ok};
use crate::http::extract::{LastParam, TopicPath};
use crate::http::query::{StrictQuery, tag_name};
use crate::http::topics::topic_and_members;
use crate::model::Problem;
use crate::table::Tag;
use crate::topic::Topic;

/// `GET …/tags`
pub(crate) async fn list(
    State(state): State<ApiState>,
    TopicPath(topic): TopicPath,
    _query: StrictQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    accept::negotiate(&headers, &[JSON])?;
    let tags = state.engine.topic(&topic).await?.tags().await?;
    #[derive(Serialize)]
    struct Answer<'a> {
        tags: Vec<TagBody<'a>>,
    }
    Ok(ok(Answer { tags: tags.iter().map(TagBody::of).collect() }).into_response())
}

/// `GET …/tags/{tag}`
pub(crate) async fn get(
    State(state): State<ApiState>,
    TopicPath(topic): TopicPath,
    LastParam(name): LastParam,
    _query: StrictQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name = tag_name(&name)?;
    accept::negotiate(&headers, &[JSON])?;
    let tag = state.engine.topic(&topic).await?.tag(&name).await?;
    Ok(ok(TagBody::of(&tag)).into_response())
}

/// `PUT …/tags/{tag}`
pub(crate) async fn put(
    State(state): State<ApiState>,
    TopicPath(topic): TopicPath,
    LastParam(name): LastParam,
    _query: StrictQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let name = tag_name(&name)?;
    let check = |topic: &Topic| topic.check_version_control().map(drop);
    let (topic, mut members) = topic_and_members(&state, &topic, (&headers, body), &["version"], check).await?;
    let version = members.version("version")?;
    let (tag, is_new) = topic.put_tag(&name, version).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = Json(status, TagBody::of(&tag)).into_response();
    let place = HeaderValue::try_from(format!("/v1/topics/{}/tags/{name}", topic.name()));
    if let (true, Ok(place)) = (is_new, place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

/// `DELETE …/tags/{tag}`
pub(crate) async fn delete(
    State(state): State<ApiState>,
    TopicPath(topic): TopicPath,
    LastParam(name): LastParam,
    _query: StrictQuery,
) -> Result<StatusCode, Problem> {
    let name = tag_name(&name)?;
    state.engine.topic(&topic).await?.delete_tag(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize)]
struct TagBody<'a> {
    tag: &'a str,
    version: u64,
    next_offset: u64,
    schema_version: Option<u32>,
    rows: u64,
    created_at: String,
}

impl<'a> TagBody<'a> {
    fn of(tag: &'a Tag) -> Self {
        let about = &tag.about;
        Self {
            tag: tag.name.as_str(),
            version: about.version,
            next_offset: about.next.get(),
            schema_version: about.schema.map(|version| version.get()),
            rows: about.next.since(about.base),
            created_at: tag.created_at.to_string(),
        }
    }
}
