//! Forks: topics that begin as another one was.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use crate::http::extract::{Members, TopicPath, invalid_body};
use crate::http::query::{StrictQuery, tag_name};
use crate::http::{ApiState, topics};
use crate::model::{ErrorCode, Problem, TopicName};
use crate::topic::{ForkAt, Topic};

/// `POST …/fork`
pub(crate) async fn fork(
    State(state): State<ApiState>,
    TopicPath(source): TopicPath,
    _query: StrictQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let check = |topic: &Topic| topic.check_version_control().map(drop);
    let (_, members) = topics::topic_and_members(&state, &source, (&headers, body), &["topic", "at"], check).await?;
    let (name, at) = ask(members)?;
    let description = state.engine.fork(&source, &name, at).await?;
    Ok(topics::describe_made(&description))
}

fn ask(mut members: Members) -> Result<(TopicName, ForkAt), Problem> {
    let name = members.string("topic")?;
    let name = name.ok_or_else(|| invalid_body("The member \"topic\", the name of the new topic, is missing."))?;
    let bad = |detail: String| Problem::new(ErrorCode::InvalidTopicName, detail);
    let name = TopicName::parse(&name).map_err(|error| bad(format!("The new topic cannot be named so: {error}.")))?;
    if name.is_reserved() {
        return Err(bad("Names that end in .quarantine are the service's own.".to_owned()));
    }
    let Some(at) = members.object("at")? else { return Ok((name, ForkAt::Now)) };
    let mut at = Members::of(at, &["version", "tag", "offset"])?;
    let at = match (at.version("version")?, at.string("tag")?, at.offset("offset")?) {
        (Some(version), None, None) => ForkAt::Version(version),
        (None, Some(tag), None) => ForkAt::Tag(tag_name(&tag)?),
        (None, None, Some(offset)) => ForkAt::Offset(offset),
        _ => {
            let detail = "The member \"at\" has one of the members \"version\", \"tag\" and \"offset\".";
            return Err(invalid_body(detail).allowing(["version", "tag", "offset"]));
        }
    };
    Ok((name, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Offset, TagName};

    #[test]
    fn a_fork_has_a_name_and_one_beginning() {
        for (text, expected) in [
            (r#"{"topic":"t"}"#, Ok(ForkAt::Now)),
            (r#"{"topic":"t","at":null}"#, Ok(ForkAt::Now)),
            (r#"{"topic":"t","at":{"version":3}}"#, Ok(ForkAt::Version(3))),
            (r#"{"topic":"t","at":{"tag":"v1","version":null}}"#, Ok(ForkAt::Tag(TagName::parse("v1").unwrap()))),
            (r#"{"topic":"t","at":{"offset":0}}"#, Ok(ForkAt::Offset(Offset::ZERO))),
            ("", Err(ErrorCode::InvalidBody)),
            (r#"{"topic":null}"#, Err(ErrorCode::InvalidBody)),
            (r#"{"topic":1}"#, Err(ErrorCode::InvalidBody)),
            (r#"{"topic":"-t"}"#, Err(ErrorCode::InvalidTopicName)),
            (r#"{"topic":"t.quarantine"}"#, Err(ErrorCode::InvalidTopicName)),
            (r#"{"topic":"t","at":{}}"#, Err(ErrorCode::InvalidBody)),
            (r#"{"topic":"t","at":3}"#, Err(ErrorCode::InvalidBody)),
            (r#"{"topic":"t","at":{"version":1,"tag":"v1"}}"#, Err(ErrorCode::InvalidBody)),
            (r#"{"topic":"t","at":{"version":0}}"#, Err(ErrorCode::InvalidParameter)),
            (r#"{"topic":"t","at":{"version":"1"}}"#, Err(ErrorCode::InvalidBody)),
            (r#"{"topic":"t","at":{"tag":".."}}"#, Err(ErrorCode::InvalidParameter)),
            (r#"{"topic":"t","at":{"offset":-1}}"#, Err(ErrorCode::InvalidParameter)),
            (r#"{"topic":"t","at":{"epoch":1}}"#, Err(ErrorCode::InvalidBody)),
            (r#"{"topic":"t","as":{}}"#, Err(ErrorCode::InvalidBody)),
        ] {
            let read = Members::parse(text.as_bytes(), &["topic", "at"]).and_then(ask);
            assert_eq!(read.map(|(_, at)| at).map_err(|problem| problem.code), expected, "{text}");
        }
    }
}
