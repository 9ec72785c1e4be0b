//! Where requests go: the server's address, its topics, and the requests that are made to them.

use std::net::SocketAddr;
use std::ops::Range;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::json;

use crate::bench::BenchError;
use crate::bench::client::Client;
use crate::bench::options::{Format, Options};
use crate::bench::record::unescape;

/// A request as the client sends it.
pub(super) type Ask = Request<Full<Bytes>>;

/// A server.
#[derive(Clone, Debug)]
pub(super) struct Target {
    url: String,
    address: SocketAddr,
    base: String,
    headers: HeaderMap,
}

/// What the description of a topic of ours tells.
#[derive(Deserialize)]
struct Described {
    backend: String,
    earliest_offset: u64,
    tail_offset: u64,
}

/// Requests of one kind to one place: all the same but for their bodies.
#[derive(Clone, Debug)]
pub(super) struct Call {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Target {
    /// Finds the server's address, and connects to it once.
    ///
    /// # Errors
    /// [`BenchError::Unreachable`] where nobody takes the connection.
    pub(super) async fn find(options: &Options) -> Result<Self, BenchError> {
        let url = options.reach.url.trim_end_matches('/');
        let wrong = |fault: &str| BenchError::Option(format!("--url {url}: {fault}"));
        let parsed: Uri = url.parse().map_err(|_| wrong("not a URL"))?;
        if parsed.scheme_str() != Some("http") {
            return Err(wrong("only http:// is spoken"));
        }
        let authority = parsed.authority().ok_or_else(|| wrong("it names no host"))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let unreachable =
            |cause: std::io::Error| BenchError::Unreachable { url: url.to_owned(), cause: cause.to_string() };
        let found = tokio::net::lookup_host((host, authority.port_u16().unwrap_or(80))).await.map_err(unreachable)?;
        let addresses: Vec<SocketAddr> = found.collect();
        let stream = tokio::net::TcpStream::connect(&addresses[..]).await.map_err(unreachable)?;
        let address = stream.peer_addr().map_err(unreachable)?;
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(authority.as_str()).map_err(|_| wrong("not a host"))?);
        Ok(Self { url: url.to_owned(), address, base: parsed.path().trim_end_matches('/').to_owned(), headers })
    }

    /// The URL, as it was given.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Where to connect.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Calls of a method to a path, in which `{topic}` stands for this name, with the headers of the options.
    ///
    /// # Errors
    /// [`BenchError::Option`] where the path, the method or a header cannot be sent.
    pub(super) fn call(&self, method: &str, path: &str, topic: &str, options: &Options) -> Result<Call, BenchError> {
        let path = format!("{}{}", self.base, path.replace("{topic}", topic));
        let mut headers = self.headers.clone();
        for line in &options.peer.header {
            let header = line.split_once(':').and_then(|(name, value)| {
                let value = value.trim().replace("{topic}", topic);
                Some((name.trim().parse::<HeaderName>().ok()?, HeaderValue::from_str(&value).ok()?))
            });
            let (name, value) =
                header.ok_or_else(|| BenchError::Option(format!("--header '{line}' is not 'Name: value'")))?;
            headers.append(name, value);
        }
        Ok(Call {
            method: method.parse().map_err(|_| BenchError::Option(format!("{method} is no method")))?,
            uri: path.parse().map_err(|_| BenchError::Option(format!("{path} is no path")))?,
            headers,
        })
    }

    /// Appends to a topic.
    ///
    /// # Errors
    /// As [`Target::call`].
    pub(super) fn append(&self, topic: &str, options: &Options) -> Result<Call, BenchError> {
        let (peer, load) = (&options.peer, &options.load);
        let mut path = peer.append_path.clone();
        if let Some(ack) = &load.ack {
            path.push_str(if path.contains('?') { "&ack=" } else { "?ack=" });
            path.push_str(ack);
        }
        let usual = if load.format == Format::Ndjson { "application/x-ndjson" } else { "application/json" };
        let call = self.call(&peer.method, &path, topic, options)?;
        call.with(CONTENT_TYPE, peer.content_type.as_deref().unwrap_or(usual))
    }

    /// Subscriptions to a topic.
    ///
    /// # Errors
    /// As [`Target::call`].
    pub(super) fn subscribe(&self, topic: &str, options: &Options) -> Result<Call, BenchError> {
        self.call("GET", &options.peer.stream_path, topic, options)?.with(ACCEPT, "text/event-stream")
    }

    /// Makes a topic, unless the options make none. One that is there is as good, where it is ours with the same backend.
    ///
    /// # Errors
    /// [`BenchError::Refused`] for any other answer than success or a conflict; [`BenchError::Option`] where there is a topic
    /// with another backend.
    pub(super) async fn create(&self, topic: &str, options: &Options) -> Result<(), BenchError> {
        let peer = &options.peer;
        if peer.create_path.is_empty() {
            return Ok(());
        }
        let ours = json!({ "backend": options.reach.backend }).to_string();
        let body = peer.create_body.as_deref().map_or(ours, |text| unescape(text).replace("{topic}", topic));
        let call = self.call(&peer.create_method, &peer.create_path, topic, options)?;
        let call = call.with(CONTENT_TYPE, "application/json")?;
        let (status, said) = self.once(&call, Bytes::from(body)).await?;
        if (200..300).contains(&status) {
            return Ok(());
        }
        if status == 409 {
            return self.check_backend(topic, options).await;
        }
        Err(BenchError::Refused { what: format!("the topic {topic} cannot be made"), status, said })
    }

    /// What is measured must be what the result says.
    async fn check_backend(&self, topic: &str, options: &Options) -> Result<(), BenchError> {
        if !options.is_ours() || options.peer.create_body.is_some() {
            return Ok(());
        }
        let (asked, present) = (&options.reach.backend, self.described(topic, options).await?.backend);
        if present == *asked {
            return Ok(());
        }
        Err(BenchError::Option(format!("--backend {asked}: the topic {topic} is there, with the backend {present}")))
    }

    /// The offsets of the records that a topic of ours has: from the earliest that is kept up to the tail.
    ///
    /// # Errors
    /// [`BenchError::Refused`] where there is no such topic.
    pub(super) async fn kept(&self, topic: &str, options: &Options) -> Result<Range<u64>, BenchError> {
        let Described { earliest_offset, tail_offset, .. } = self.described(topic, options).await?;
        Ok(earliest_offset..tail_offset)
    }

    /// The tail of a topic of ours: how many records were ever appended.
    ///
    /// # Errors
    /// As [`Target::kept`].
    pub(super) async fn tail(&self, topic: &str, options: &Options) -> Result<u64, BenchError> {
        Ok(self.kept(topic, options).await?.end)
    }

    async fn described(&self, topic: &str, options: &Options) -> Result<Described, BenchError> {
        let call = self.call("GET", "/v1/topics/{topic}", topic, options)?;
        let (status, said) = self.once(&call, Bytes::new()).await?;
        serde_json::from_str(&said).map_err(|_| BenchError::Refused {
            what: format!("the topic {topic} cannot be read"),
            status,
            said,
        })
    }

    /// One request on a connection of its own: its status, and its answer's text.
    async fn once(&self, call: &Call, body: Bytes) -> Result<(u16, String), BenchError> {
        let mut said = Vec::new();
        let mut client = Client::new(self.address);
        match client.ask(call.with_body(body), |piece| said.extend_from_slice(piece)).await {
            Ok(answer) => {
                let said = answer.refusal.unwrap_or_else(|| String::from_utf8_lossy(&said).into_owned());
                Ok((answer.status, said))
            }
            Err(fault) => Err(BenchError::Unreachable { url: self.url.clone(), cause: fault.to_string() }),
        }
    }
}

impl Call {
    /// The same with a header more.
    ///
    /// # Errors
    /// [`BenchError::Option`] where the value cannot be sent.
    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Result<Self, BenchError> {
        let sent = HeaderValue::from_str(value).map_err(|_| BenchError::Option(format!("{value} is no header")))?;
        // What the options give outranks what is usual.
        self.headers.entry(name).or_insert(sent);
        Ok(self)
    }

    /// One request with a body.
    pub(super) fn with_body(&self, body: Bytes) -> Ask {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }

    /// One request without a body, with another query.
    pub(super) fn with_query(&self, query: &str) -> Ask {
        let mut request = self.with_body(Bytes::new());
        // A path that is sent already takes any query of plain characters.
        if let Ok(uri) = format!("{}?{query}", self.uri.path()).parse() {
            *request.uri_mut() = uri;
        }
        request
    }
}
