//! Cursors: list, read, set, forget.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::Serialize;

use crate::http::accept::{self, JSON};
use crate::http::answer::ok;
use crate::http::extract::{LastParam, Members, TopicPath, invalid_body};
use crate::http::query::{StrictQuery, cursor_name};
use crate::http::{ApiState, topics};
use crate::model::{Problem, Timestamp};
use crate::topic::{Cursor, PutCursor, Start};

/// `GET …/cursors`
pub(crate) async fn list(
    State(state): State<ApiState>,
    TopicPath(topic): TopicPath,
    _query: StrictQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    accept::negotiate(&headers, &[JSON])?;
    let cursors = state.engine.topic(&topic).await?.cursors().await?;
    #[derive(Serialize)]
    struct Answer<'a> {
        cursors: Vec<CursorBody<'a>>,
    }
    Ok(ok(Answer { cursors: cursors.iter().map(CursorBody::of).collect() }).into_response())
}

/// `GET …/cursors/{name}`
pub(crate) async fn get(
    State(state): State<ApiState>,
    TopicPath(topic): TopicPath,
    LastParam(name): LastParam,
    _query: StrictQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name = cursor_name(&name)?;
    accept::negotiate(&headers, &[JSON])?;
    let cursor = state.engine.topic(&topic).await?.cursor(&name).await?;
    Ok(ok(CursorBody::of(&cursor)).into_response())
}

/// `PUT …/cursors/{name}`
pub(crate) async fn put(
    State(state): State<ApiState>,
    TopicPath(topic): TopicPath,
    LastParam(name): LastParam,
    _query: StrictQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let name = cursor_name(&name)?;
    let known = &["offset", "since", "expected"];
    let (topic, members) = topics::topic_and_members(&state, &topic, (&headers, body), known, |_| Ok(())).await?;
    let cursor = topic.put_cursor(&name, ask(members)?).await?;
    Ok(ok(CursorBody::of(&cursor)).into_response())
}

/// `DELETE …/cursors/{name}`
pub(crate) async fn delete(
    State(state): State<ApiState>,
    TopicPath(topic): TopicPath,
    LastParam(name): LastParam,
    _query: StrictQuery,
) -> Result<StatusCode, Problem> {
    let name = cursor_name(&name)?;
    state.engine.topic(&topic).await?.delete_cursor(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn ask(mut members: Members) -> Result<PutCursor, Problem> {
    let to = match (members.offset("offset")?, members.string("since")?) {
        (Some(offset), None) => Start::At(offset),
        (None, Some(since)) => Start::Since(
            Timestamp::not_before(&since)
                .map_err(|error| invalid_body(format!("The member \"since\" cannot be had: {error}.")))?,
        ),
        _ => return Err(invalid_body("A cursor is set by one of the members \"offset\" and \"since\".")),
    };
    Ok(PutCursor { to, expected: members.offset("expected")? })
}

#[derive(Serialize)]
struct CursorBody<'a> {
    name: &'a str,
    offset: u64,
    lag: u64,
    updated_at: String,
}

impl<'a> CursorBody<'a> {
    fn of(cursor: &'a Cursor) -> Self {
        Self {
            name: cursor.name.as_str(),
            offset: cursor.offset.get(),
            lag: cursor.lag,
            updated_at: cursor.updated_at.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CursorName, ErrorCode, Offset};

    #[test]
    fn a_cursor_is_set_by_an_offset_or_a_time() {
        let offset = |number| Offset::new(number).unwrap();
        let time = Timestamp::parse_rfc3339("2026-11-23T09:00:00Z").unwrap();
        for (text, expected) in [
            ("{\"offset\":3}", Ok((Start::At(offset(3)), None))),
            ("{\"offset\":0,\"since\":null,\"expected\":null}", Ok((Start::At(offset(0)), None))),
            ("{\"offset\":3,\"expected\":0}", Ok((Start::At(offset(3)), Some(offset(0))))),
            ("{\"since\":\"2026-11-23T10:00:00+01:00\"}", Ok((Start::Since(time), None))),
            ("", Err(ErrorCode::InvalidBody)),
            ("{\"expected\":1}", Err(ErrorCode::InvalidBody)),
            ("{\"offset\":1,\"since\":\"2026-11-23T09:00:00Z\"}", Err(ErrorCode::InvalidBody)),
            ("{\"offset\":\"1\"}", Err(ErrorCode::InvalidBody)),
            ("{\"since\":1}", Err(ErrorCode::InvalidBody)),
            ("{\"since\":\"yesterday\"}", Err(ErrorCode::InvalidBody)),
            ("{\"offset\":-1}", Err(ErrorCode::InvalidParameter)),
            ("{\"offset\":1.5}", Err(ErrorCode::InvalidParameter)),
            ("{\"offset\":9007199254740992}", Err(ErrorCode::InvalidParameter)),
            ("{\"offset\":1,\"expected\":-1}", Err(ErrorCode::InvalidParameter)),
            ("{\"offset\":1,\"epoch\":1}", Err(ErrorCode::InvalidBody)),
        ] {
            let read = Members::parse(text.as_bytes(), &["offset", "since", "expected"]).and_then(ask);
            assert_eq!(read.map(|ask| (ask.to, ask.expected)).map_err(|problem| problem.code), expected, "{text}");
        }
    }

    #[test]
    fn a_cursor_has_the_members_of_the_contract_in_order() {
        let name = CursorName::parse("billing").unwrap();
        let offset = Offset::new(3).unwrap();
        let cursor = Cursor { name, offset, lag: 4, updated_at: Timestamp::from_micros(1) };
        assert_eq!(
            serde_json::to_string(&CursorBody::of(&cursor)).unwrap(),
            "{\"name\":\"billing\",\"offset\":3,\"lag\":4,\"updated_at\":\"1970-01-01T00:00:00.000001Z\"}"
        );
    }
}
