//! A client that asks as a stranger would: real requests, whole answers.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use crate::support::process::PATIENCE;

/// A client of one server.
#[derive(Clone, Debug)]
pub struct Api {
    base: String,
    client: reqwest::Client,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// The headers of a request.
pub type Headers<'a> = &'a [(&'a str, &'a str)];

/// What most requests with a body say of it.
pub const JSON: Headers<'static> = &[("content-type", "application/json")];
pub const NDJSON: Headers<'static> = &[("content-type", "application/x-ndjson")];

impl Api {
    /// A client of the server at `base`, for the runtime that it is made on.
    pub fn new(base: impl Into<String>) -> Self {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { base: base.into(), client }
    }

    /// `http://ADDRESS:PORT`
    pub fn base(&self) -> &str {
        &self.base
    }

    /// One request, to its whole answer.
    pub async fn call(&self, method: &str, path: &str, headers: Headers<'_>, body: impl Into<Vec<u8>>) -> Answer {
        let response = self.open(method, path, headers, body).await;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.unwrap_or_else(|err| panic!("{method} {path}: {err}")).to_vec();
        Answer { status, headers, body }
    }

    /// One request, to the head of its answer.
    pub async fn open(
        &self,
        method: &str,
        path: &str,
        headers: Headers<'_>,
        body: impl Into<Vec<u8>>,
    ) -> reqwest::Response {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.client.request(method, format!("{}{path}", self.base)).timeout(PATIENCE);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.into();
        if !body.is_empty() {
            request = request.body(body);
        }
        request.send().await.unwrap_or_else(|err| panic!("{path}: {err:?}"))
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], "").await
    }

    pub async fn post(&self, path: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.call("POST", path, &[], body).await
    }

    pub async fn put(&self, path: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.call("PUT", path, &[], body).await
    }

    /// Makes a topic of a fresh name with this configuration.
    pub async fn make(&self, configuration: Value) -> Topic {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let name = format!("t{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let topic = Topic { path: format!("/v1/topics/{name}"), name, api: self.clone() };
        self.put(&topic.path, configuration.to_string()).await.expect(201);
        topic
    }

    /// Makes a topic of a fresh name on this backend.
    pub async fn topic(&self, backend: &str) -> Topic {
        self.make(json!({ "backend": backend })).await
    }

    /// A topic that is there.
    pub fn named(&self, name: &str) -> Topic {
        Topic { path: format!("/v1/topics/{name}"), name: name.to_owned(), api: self.clone() }
    }
}

/// A topic of one test.
#[derive(Clone, Debug)]
pub struct Topic {
    pub name: String,
    pub path: String,
    pub api: Api,
}

impl Topic {
    /// The path of one of its operations.
    pub fn at(&self, rest: &str) -> String {
        if rest.is_empty() || rest.starts_with('?') {
            format!("{}{rest}", self.path)
        } else {
            format!("{}/{rest}", self.path)
        }
    }

    pub async fn get(&self, rest: &str) -> Answer {
        self.api.get(&self.at(rest)).await
    }

    pub async fn post(&self, rest: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.api.post(&self.at(rest), body).await
    }

    pub async fn call(&self, method: &str, rest: &str, headers: Headers<'_>, body: impl Into<Vec<u8>>) -> Answer {
        self.api.call(method, &self.at(rest), headers, body).await
    }

    /// Appends records that are taken.
    pub async fn append(&self, body: impl Into<Vec<u8>>) -> Value {
        let answer = self.post("records", body).await;
        assert!(matches!(answer.status.as_u16(), 200 | 202), "{answer}");
        answer.json()
    }

    /// Appends one body with headers.
    pub async fn append_with(&self, headers: Headers<'_>, body: impl Into<Vec<u8>>) -> Answer {
        self.call("POST", "records", headers, body).await
    }

    /// Appends a body that is refused: nothing is stored, and the next good one is taken at the same offset.
    pub async fn refuse(
        &self,
        query: &str,
        headers: Headers<'_>,
        body: impl Into<Vec<u8>>,
        (status, code): (u16, &str),
    ) -> Value {
        let before = self.tail().await;
        let problem = self.call("POST", &format!("records{query}"), headers, body).await.problem(status, code);
        assert_eq!(self.tail().await, before, "a refused request has changed nothing: {problem}");
        problem
    }

    /// The offset past its last readable record.
    pub async fn tail(&self) -> u64 {
        self.get("").await.expect(200).json()["tail_offset"].as_u64().unwrap()
    }

    /// Waits until readers see everything before an offset.
    pub async fn wait_for_tail(&self, tail: u64) {
        until("the tail is reached", async || self.tail().await >= tail).await;
    }

    /// All values that there are.
    pub async fn values_from_earliest(&self) -> Vec<Value> {
        let lines = self.call("GET", "records", &[("accept", "application/x-ndjson")], "").await.expect(200).text();
        values_of(&lines).iter().map(|value| serde_json::from_str(value).unwrap()).collect()
    }

    /// The values from an offset on, as their texts.
    pub async fn values(&self, from: u64) -> Vec<String> {
        let answer =
            self.call("GET", &format!("records?offset={from}"), &[("accept", "application/x-ndjson")], "").await;
        values_of(&answer.expect(200).text())
    }
}

/// The texts of the values of record objects, a line each.
pub fn values_of(lines: &str) -> Vec<String> {
    let value = |line: &str| {
        let (_, value) = line.split_once("\"value\":").unwrap();
        value.strip_suffix('}').unwrap().to_owned()
    };
    lines.lines().map(value).collect()
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.status, String::from_utf8_lossy(&self.body))
    }
}

impl Answer {
    /// The answer, which has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self}");
        self
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|err| panic!("{err}: {self}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The problem with this code, in the shape that every problem has.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(
            (self.status.as_u16(), self.header("content-type")),
            (status, Some("application/problem+json")),
            "{self}"
        );
        let problem = self.json();
        let text = |member: &str| problem[member].as_str().unwrap_or_else(|| panic!("{member}: {self}")).to_owned();
        assert_eq!((text("code").as_str(), problem["status"].as_u64()), (code, Some(status.into())), "{self}");
        assert!(text("type").ends_with(code) && !text("title").is_empty(), "{self}");
        let detail = text("detail");
        assert!(detail.len() > 10 && detail.ends_with(['.', ')']), "{self}");
        assert_eq!(Some(text("instance").as_str()), self.header("x-request-id"), "{self}");
        assert_eq!(matches!(status, 503 | 507), self.headers.contains_key("retry-after"), "{self}");
        let known = "type code title status detail instance expected_seq current_epoch tail_offset earliest_offset limit \
            line column position allowed capability retryable errors first_offset next_offset count";
        for member in problem.as_object().unwrap().keys() {
            assert!(known.split_whitespace().any(|known| known == member), "{member}: {self}");
        }
        problem
    }
}

/// Waits until a condition holds.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let end = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < end, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The words of `allowed`.
pub fn allowed(problem: &Value) -> Vec<&str> {
    problem["allowed"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
}
