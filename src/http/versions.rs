//! The versions of a topic's dataset.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use serde::Serialize;

use crate::http::ApiState;
use crate::http::accept::{self, JSON};
use crate::http::answer::ok;
use crate::http::extract::TopicPath;
use crate::http::query::StrictQuery;
use crate::model::{MAX_SAFE_INTEGER, Problem};
use crate::table::VersionSummary;

/// Versions of a page unless told otherwise, and at most.
const PAGE_VERSIONS: u64 = 100;
const PAGE_VERSIONS_MAX: u64 = 1_000;

/// `GET …/versions`
pub(crate) async fn list(
    State(state): State<ApiState>,
    TopicPath(name): TopicPath,
    query: StrictQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    accept::negotiate(&headers, &[JSON])?;
    let limit = query.integer("limit", 1..=PAGE_VERSIONS_MAX)?.unwrap_or(PAGE_VERSIONS);
    let after = query.integer("after", 1..=MAX_SAFE_INTEGER)?;
    let topic = state.engine.topic(&name).await?;
    let (found, more) = topic.versions(after, usize::try_from(limit).map_err(|_| Problem::internal())?).await?;
    let next_after = found.last().map(|version| version.version).filter(|_| more);
    Ok(ok(ListBody { versions: found.iter().map(VersionBody::of).collect(), next_after }).into_response())
}

#[derive(Serialize)]
struct ListBody<'a> {
    versions: Vec<VersionBody<'a>>,
    next_after: Option<u64>,
}

#[derive(Serialize)]
struct VersionBody<'a> {
    version: u64,
    created_at: String,
    rows: u64,
    next_offset: u64,
    schema_version: Option<u32>,
    cause: &'a str,
}

impl<'a> VersionBody<'a> {
    fn of(about: &'a VersionSummary) -> Self {
        Self {
            version: about.version,
            created_at: about.created_at.to_string(),
            rows: about.next.since(about.base),
            next_offset: about.next.get(),
            schema_version: about.schema.map(|version| version.get()),
            cause: &about.cause,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Offset, SchemaVersion, Timestamp};

    #[test]
    fn a_version_has_the_members_of_the_contract_in_order() {
        let offset = |number| Offset::new(number).unwrap();
        let about = VersionSummary {
            version: 7,
            created_at: Timestamp::from_micros(1),
            base: offset(2),
            next: offset(5),
            schema: Some(SchemaVersion::FIRST),
            cause: "append".to_owned(),
        };
        let list = ListBody { versions: vec![VersionBody::of(&about)], next_after: None };
        assert_eq!(
            serde_json::to_string(&list).unwrap(),
            "{\"versions\":[{\"version\":7,\"created_at\":\"1970-01-01T00:00:00.000001Z\",\"rows\":3,\"next_offset\":5,\
             \"schema_version\":1,\"cause\":\"append\"}],\"next_after\":null}"
        );
    }
}
