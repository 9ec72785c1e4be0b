//! HTTP as the test's clients speak it: an answer, or none.

use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::Value;

/// What went wrong, in a sentence that names the topic and the offset where there is one.
pub type Checked<T = ()> = Result<T, String>;

/// No answer within this time is a failure of its own.
const NO_ANSWER: Duration = Duration::from_secs(60);

/// One way to the server.
#[derive(Clone, Debug)]
pub struct Api {
    client: Client,
    base: String,
    closes: bool,
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub text: String,
}

/// The connection ended without a whole answer.
#[derive(Clone, Debug)]
pub struct Lost(pub String);

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// The code of a problem; empty where it is none.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Api {
    /// Straight to the server, over connections that are kept.
    pub fn direct(base: &str) -> Self {
        Self { client: Client::new(), base: base.to_owned(), closes: false }
    }

    /// A connection for each request.
    pub fn by_proxy(base: &str) -> Self {
        let client = Client::builder().pool_max_idle_per_host(0).build().expect("a client");
        Self { client, base: base.to_owned(), closes: true }
    }

    /// Sends a request and reads its answer.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: Option<String>,
    ) -> Result<Answer, Lost> {
        let mut request = self.client.request(method, format!("{}{path}", self.base)).timeout(NO_ANSWER);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if self.closes {
            request = request.header("Connection", "close");
        }
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body);
        }
        let lost = |err: reqwest::Error| Lost(format!("{err:?}"));
        let answer = request.send().await.map_err(lost)?;
        let status = answer.status().as_u16();
        let text = answer.text().await.map_err(lost)?;
        Ok(Answer { status, text })
    }

    pub async fn get(&self, path: &str) -> Result<Answer, Lost> {
        self.send(Method::GET, path, &[], None).await
    }

    /// GET of what must be there.
    pub async fn fetch(&self, path: &str) -> Checked<Answer> {
        let answer = self.get(path).await.map_err(|Lost(err)| format!("GET {path}: no answer: {err}"))?;
        if answer.status == 200 { Ok(answer) } else { Err(format!("GET {path}: {} {}", answer.status, answer.text)) }
    }

    /// A GET whose answer is read as it comes.
    pub async fn open(&self, path: &str, headers: &[(&str, String)]) -> Result<reqwest::Response, Lost> {
        let mut request = self.client.get(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        request.send().await.map_err(|err| Lost(format!("{err:?}")))
    }
}
