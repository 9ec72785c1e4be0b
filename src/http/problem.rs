//! Problems as `application/problem+json` (RFC 9457): the only place that writes them.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::model::{ErrorCode, Problem, RecordError};

/// The media type of problems.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// A problem on its way out: the layer that knows the request's id writes its body.
#[derive(Clone, Debug)]
pub(crate) struct PendingProblem {
    pub(crate) problem: Box<Problem>,
    /// Members beyond those of a problem.
    pub(crate) more: Map<String, Value>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        PendingProblem { problem: Box::new(self), more: Map::new() }.into_response()
    }
}

impl IntoResponse for PendingProblem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = retry_after_secs(self.problem.code) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// How long a caller should stay away: seconds where room or a start is waited for, longer where a person must act.
const fn retry_after_secs(code: ErrorCode) -> Option<u16> {
    match code {
        ErrorCode::Overloaded | ErrorCode::Recovering => Some(1),
        ErrorCode::ShuttingDown | ErrorCode::TopicDegraded => Some(5),
        ErrorCode::MemoryFull => Some(10),
        ErrorCode::DiskFull => Some(30),
        ErrorCode::LogFailed => Some(60),
        _ => None,
    }
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    code: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tail_offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    earliest_offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capability: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<ErrorBody<'a>>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    stored: Option<StoredBody>,
    #[serde(flatten)]
    more: &'a Map<String, Value>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    record: u64,
    pointer: &'a str,
    code: &'static str,
    detail: &'a str,
}

#[derive(Serialize)]
struct StoredBody {
    first_offset: Option<u64>,
    next_offset: u64,
    count: u64,
}

/// The problem's JSON text. `instance` is the request's id.
pub(crate) fn problem_json(problem: &Problem, instance: &str) -> Vec<u8> {
    problem_json_with(problem, instance, &Map::new())
}

/// The problem's JSON text with further members at its end.
pub(crate) fn problem_json_with(problem: &Problem, instance: &str, more: &Map<String, Value>) -> Vec<u8> {
    let body = Body {
        r#type: format!("/problems/{}", problem.code.as_str()),
        code: problem.code.as_str(),
        title: problem.code.title(),
        status: problem.code.status(),
        detail: &problem.detail,
        instance,
        retryable: problem.is_retryable(),
        expected_seq: problem.expected_seq,
        current_epoch: problem.current_epoch,
        tail_offset: problem.tail_offset.map(|offset| offset.get()),
        earliest_offset: problem.earliest_offset.map(|offset| offset.get()),
        limit: problem.limit,
        line: problem.line,
        column: problem.column,
        position: problem.position,
        allowed: problem.allowed.as_deref(),
        capability: problem.capability,
        errors: problem.errors.iter().take(Problem::ERRORS_MAX).map(ErrorBody::of).collect(),
        stored: problem.stored.map(|stored| StoredBody {
            first_offset: stored.first_offset.map(|offset| offset.get()),
            next_offset: stored.next_offset.get(),
            count: stored.count,
        }),
        more,
    };
    // Texts, numbers and maps with text keys always have a JSON form; an empty body would say so if not.
    serde_json::to_vec(&body).unwrap_or_default()
}

impl<'a> ErrorBody<'a> {
    fn of(error: &'a RecordError) -> Self {
        Self { record: error.record, pointer: &error.pointer, code: error.code.as_str(), detail: &error.detail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Offset, StoredBefore};

    fn json(problem: &Problem) -> Value {
        serde_json::from_slice(&problem_json(problem, "r-1")).unwrap()
    }

    #[test]
    fn a_problem_has_its_members_and_no_others() {
        let problem = Problem::new(ErrorCode::OffsetExpired, "Gone.").with_earliest(Offset::new(7).unwrap());
        assert_eq!(
            String::from_utf8(problem_json(&problem, "r-1")).unwrap(),
            "{\"type\":\"/problems/offset_expired\",\"code\":\"offset_expired\",\"title\":\"Offset no longer kept\",\
             \"status\":410,\"detail\":\"Gone.\",\"instance\":\"r-1\",\"retryable\":false,\"earliest_offset\":7}"
        );
    }

    #[test]
    fn a_load_tells_what_it_has_stored_even_if_nothing() {
        let mut problem = Problem::new(ErrorCode::InvalidJson, "No.").at(3, 1);
        problem.stored = Some(StoredBefore { first_offset: None, next_offset: Offset::ZERO, count: 0 });
        let body = json(&problem);
        assert_eq!(body.get("first_offset"), Some(&Value::Null));
        assert_eq!((&body["next_offset"], &body["count"], &body["line"]), (&0.into(), &0.into(), &3.into()));
    }

    #[test]
    fn errors_name_record_and_pointer_and_are_at_most_a_hundred() {
        let mut problem = Problem::new(ErrorCode::InvalidRecord, "No.");
        let error =
            RecordError { record: 4, pointer: "/a/0".into(), code: ErrorCode::InvalidRecord, detail: "x".into() };
        problem.errors = vec![error; 150];
        let body = json(&problem);
        assert_eq!(body["errors"].as_array().unwrap().len(), 100);
        assert_eq!(
            body["errors"][0],
            serde_json::json!({"record": 4, "pointer": "/a/0", "code": "invalid_record", "detail": "x"})
        );
    }

    #[test]
    fn every_503_and_507_says_when_to_come_back() {
        for code in ErrorCode::ALL {
            assert_eq!(retry_after_secs(*code).is_some(), matches!(code.status(), 503 | 507), "{}", code.as_str());
        }
    }
}
