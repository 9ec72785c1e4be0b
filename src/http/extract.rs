//! Names in paths, headers, and JSON bodies.

use std::borrow::Cow;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::http::query::{invalid, shown};
use crate::http::strict::Strict;
use crate::model::{ErrorCode, MAX_SAFE_INTEGER, Offset, Problem, TopicName};
use crate::topic::IfMatch;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request: the client's if it can be one, else a fresh one.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(HeaderValue);

/// What is random in the fresh ids of this process. A counter makes the difference between them: a random number for each
/// would be a system call apiece.
static RANDOM: LazyLock<u128> = LazyLock::new(|| Uuid::new_v4().as_u128());
/// How many were made.
static MADE: AtomicU64 = AtomicU64::new(0);

impl RequestId {
    /// The client's id, or a fresh one that no other request of any process has.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        match headers.get(&X_REQUEST_ID) {
            Some(theirs) if is_visible(theirs.as_bytes(), 128) => Self(theirs.clone()),
            _ => {
                let made = u128::from(MADE.fetch_add(1, Ordering::Relaxed));
                let [.., a, b, c, d, e, f, g, h, i, j] = RANDOM.wrapping_add(made).to_be_bytes();
                let millis = u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap_or_default();
                let fresh = uuid::Builder::from_unix_timestamp_millis(millis, &[a, b, c, d, e, f, g, h, i, j]);
                let mut text = Uuid::encode_buffer();
                let text = fresh.into_uuid().hyphenated().encode_lower(&mut text);
                Self(HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("none")))
            }
        }
    }

    /// As a header's value.
    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        parts.extensions.get::<RequestId>().cloned().ok_or_else(Problem::internal)
    }
}

/// The topic that the path names.
#[derive(Debug)]
pub(crate) struct TopicPath(pub(crate) TopicName);

impl<S: Send + Sync> FromRequestParts<S> for TopicPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let bad = |detail: String| Problem::new(ErrorCode::InvalidTopicName, detail);
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| bad("The topic's name is not UTF-8 after percent-decoding.".to_owned()))?;
        let name =
            params.iter().find(|(key, _)| *key == "topic").map(|(_, name)| name).ok_or_else(Problem::internal)?;
        TopicName::parse(name).map(TopicPath).map_err(|error| bad(format!("This cannot be a topic: {error}.")))
    }
}

/// The last parameter of the path, as text.
#[derive(Debug)]
pub(crate) struct LastParam(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for LastParam {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| invalid("The path is not UTF-8 after percent-decoding."))?;
        params.iter().last().map(|(_, value)| Self(value.to_owned())).ok_or_else(Problem::internal)
    }
}

/// A header given at most once, of 1…`max` visible ASCII characters.
pub(crate) fn visible<'a>(headers: &'a HeaderMap, name: &HeaderName, max: usize) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid(format!("The header {name} is given more than once.")));
    }
    let visible = is_visible(value.as_bytes(), max);
    let text = value.to_str().ok().filter(|_| visible);
    text.map(Some).ok_or_else(|| invalid(format!("The header {name} has 1 to {max} visible ASCII characters.")))
}

/// Whether a text is 1…`max` of 0x21…0x7E.
pub(crate) fn is_visible(text: &[u8], max: usize) -> bool {
    (1..=max).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic)
}

/// Reads `If-Match`. Weak validators never match a change, so they are left out.
pub(crate) fn if_match(headers: &HeaderMap) -> Result<Option<IfMatch>, Problem> {
    let mut tags = Vec::new();
    let mut given = false;
    for value in headers.get_all(header::IF_MATCH) {
        given = true;
        let text = value.to_str().map_err(|_| invalid("If-Match is not ASCII."))?.trim();
        if text == "*" {
            return Ok(Some(IfMatch::Any));
        }
        for tag in text.split(',').map(str::trim) {
            let strong = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
            match strong {
                Some(strong) => tags.push(strong.to_owned()),
                None if tag.starts_with("W/\"") => {}
                None => return Err(invalid("If-Match is * or a list of ETags in double quotes.")),
            }
        }
    }
    Ok(given.then_some(IfMatch::OneOf(tags)))
}

/// A media type's essence, `type/subtype` in small letters; none where there is no `Content-Type`.
///
/// # Errors
/// `invalid_parameter` where there are several: who reads the first and who reads the last read different bodies.
pub(crate) fn media_type(headers: &HeaderMap) -> Result<Option<Cow<'_, str>>, Problem> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid("The header content-type is given more than once."));
    }
    let text = value.to_str().unwrap_or("?");
    let essence = text.split(';').next().unwrap_or_default().trim();
    let is_small = !essence.bytes().any(|byte| byte.is_ascii_uppercase());
    Ok(Some(if is_small { Cow::Borrowed(essence) } else { Cow::Owned(essence.to_ascii_lowercase()) }))
}

/// Whether a media type is JSON.
pub(crate) fn is_json(media_type: &str) -> bool {
    media_type == "application/json" || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

/// What curl sends unless told otherwise.
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

/// Refuses a body that is neither JSON nor of a type that means nothing.
pub(crate) fn check_json_type(headers: &HeaderMap) -> Result<(), Problem> {
    match media_type(headers)? {
        None => Ok(()),
        Some(given) if given == FORM || is_json(&given) => Ok(()),
        Some(_) => Err(Problem::new(ErrorCode::UnsupportedMediaType, "The body of this operation is JSON.")
            .allowing(["application/json", "application/*+json", FORM])),
    }
}

/// The members of a JSON body, all of them known; an empty body has none.
#[derive(Debug)]
pub(crate) struct Members(Map<String, Value>);

impl Members {
    /// Reads a body's text.
    ///
    /// # Errors
    /// `invalid_json` with its place; `invalid_body` for what is no object, a member repeated at any depth, or a member that
    /// `known` lacks.
    pub(crate) fn parse(text: &[u8], known: &[&str]) -> Result<Self, Problem> {
        if text.trim_ascii().is_empty() {
            return Ok(Self(Map::new()));
        }
        let Strict { value, repeated } = serde_json::from_slice(text).map_err(|error| unreadable(&error))?;
        let Value::Object(members) = value else { return Err(invalid_body("The body is a JSON object.")) };
        if let Some(path) = repeated {
            return Err(invalid_body(format!("The member \"{}\" is given more than once.", shown(&path))));
        }
        Self::of(members, known)
    }

    /// The members of an object inside a body, all of them known.
    ///
    /// # Errors
    /// `invalid_body` for a member that `known` lacks.
    pub(crate) fn of(members: Map<String, Value>, known: &[&str]) -> Result<Self, Problem> {
        let unknown = members.keys().find(|name| !known.contains(&name.as_str()));
        match unknown {
            Some(name) => {
                Err(invalid_body(format!("The body has an unknown member \"{name}\".")).allowing(known.iter().copied()))
            }
            None => Ok(Self(members)),
        }
    }

    /// All members.
    pub(crate) fn into_map(self) -> Map<String, Value> {
        self.0
    }

    /// The name of every member.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// A member as it is, null included.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// A member as it is; a null one is an omitted one.
    pub(crate) fn value(&mut self, name: &str) -> Option<Value> {
        self.take(name).filter(|value| !value.is_null())
    }

    /// A text.
    pub(crate) fn string(&mut self, name: &str) -> Result<Option<String>, Problem> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(invalid_body(format!("The member \"{name}\" is a string."))),
        }
    }

    /// An offset.
    pub(crate) fn offset(&mut self, name: &str) -> Result<Option<Offset>, Problem> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let offset = value.as_u64().and_then(Offset::new);
        offset.map(Some).ok_or_else(|| {
            let detail = format!("The member \"{name}\" is an offset, a whole number from 0 to 2^53 - 1.");
            if value.is_number() { invalid(detail) } else { invalid_body(detail) }
        })
    }

    /// A dataset version.
    pub(crate) fn version(&mut self, name: &str) -> Result<Option<u64>, Problem> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let number = value.as_u64().filter(|number| (1..=MAX_SAFE_INTEGER).contains(number));
        number.map(Some).ok_or_else(|| {
            let detail = format!("The member \"{name}\" is a version, a whole number from 1 to 2^53 - 1.");
            if value.is_number() { invalid(detail) } else { invalid_body(detail) }
        })
    }

    /// An object.
    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Map<String, Value>>, Problem> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Object(members)) => Ok(Some(members)),
            Some(_) => Err(invalid_body(format!("The member \"{name}\" is an object."))),
        }
    }
}

/// A body that is JSON but not what the operation takes.
pub(crate) fn invalid_body(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(ErrorCode::InvalidBody, detail)
}

fn unreadable(error: &serde_json::Error) -> Problem {
    let (line, column) = (error.line() as u64, error.column() as u64);
    Problem::new(ErrorCode::InvalidJson, format!("The body is not JSON: {error}.")).at(line.max(1), column.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_objects_of_known_members() {
        for (text, expected) in [
            ("", Ok(())),
            (" \n", Ok(())),
            ("{}", Ok(())),
            ("{\"a\":1}", Ok(())),
            ("{\"b\":1}", Err((ErrorCode::InvalidBody, None))),
            ("{\"a\":1,\"a\":2}", Err((ErrorCode::InvalidBody, None))),
            ("{\"a\":{\"b\":1,\"b\":1}}", Err((ErrorCode::InvalidBody, None))),
            ("[1", Err((ErrorCode::InvalidJson, Some(1)))),
            ("[]", Err((ErrorCode::InvalidBody, None))),
            ("3", Err((ErrorCode::InvalidBody, None))),
            ("{\"a\":\n nul}", Err((ErrorCode::InvalidJson, Some(2)))),
            ("{\"a\":NaN}", Err((ErrorCode::InvalidJson, Some(1)))),
            ("{\"a\":\"\\ud800\"}", Err((ErrorCode::InvalidJson, Some(1)))),
            ("{} {}", Err((ErrorCode::InvalidJson, Some(1)))),
            ("{", Err((ErrorCode::InvalidJson, Some(1)))),
        ] {
            let read = Members::parse(text.as_bytes(), &["a"]);
            assert_eq!(read.map(drop).map_err(|problem| (problem.code, problem.line)), expected, "{text}");
        }
        let problem = Members::parse(b"{\"a\":[{\"b\":1,\"b\":1}]}", &["a"]).unwrap_err();
        assert_eq!(problem.detail, "The member \"a.0.b\" is given more than once.");
        let problem = Members::parse(b"{\"b\":1}", &["a"]).unwrap_err();
        assert_eq!(problem.allowed, Some(vec!["a".to_owned()]));
    }

    #[test]
    fn if_match_lists_strong_validators() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_MATCH, text.parse().unwrap());
            if_match(&headers)
        };
        assert_eq!(if_match(&HeaderMap::new()), Ok(None));
        assert_eq!(read("*"), Ok(Some(IfMatch::Any)));
        assert_eq!(read("\"a\", W/\"b\",\"c\""), Ok(Some(IfMatch::OneOf(vec!["a".into(), "c".into()]))));
        assert!(read("a").is_err());
    }

    #[test]
    fn media_types_are_compared_without_case_and_parameters() {
        let mut headers = HeaderMap::new();
        assert!(check_json_type(&headers).is_ok());
        for (given, taken) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/merge-patch+json", true),
            (FORM, true),
            ("text/plain", false),
            ("image/svg+json", false),
            ("", false),
        ] {
            headers.insert(header::CONTENT_TYPE, given.parse().unwrap());
            assert_eq!(check_json_type(&headers).is_ok(), taken, "{given}");
        }
    }

    #[test]
    fn a_media_type_is_given_once() {
        let mut headers = HeaderMap::new();
        for _ in 0..2 {
            headers.append(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        assert_eq!(check_json_type(&headers).map_err(|problem| problem.code), Err(ErrorCode::InvalidParameter));
    }
}
