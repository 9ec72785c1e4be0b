//! Web pages must not write to a service on somebody's loopback: `Host`, `Origin`, CORS.

use axum::extract::Request;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Uri, header};

use crate::http::HttpLimits;
use crate::model::{ErrorCode, Problem};

/// Request headers of the contract, and what pages send with an event stream.
const ALLOW_HEADERS: HeaderValue = HeaderValue::from_static(
    "accept, cache-control, content-encoding, content-type, idempotency-key, if-match, last-event-id, producer-epoch, \
     producer-id, producer-seq, x-request-id",
);
const ALLOW_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, PUT, POST, PATCH, DELETE");
/// Response headers of the contract.
const EXPOSE_HEADERS: HeaderValue = HeaderValue::from_static(
    "allow, cache-control, content-disposition, content-type, etag, location, persisting-earliest-offset, \
     persisting-epoch, persisting-state, persisting-tail-offset, retry-after, x-accel-buffering, x-request-id",
);
/// Seconds that a page may keep a preflight's answer.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// What is to be done about a request that may pass.
pub(crate) enum Pass {
    /// Nothing.
    Plain,
    /// Its page is told that it may read the answer.
    Listed(HeaderValue),
    /// It is a preflight, and this is all its answer.
    Preflight(HeaderValue),
}

/// Rules on where a request comes from, before its body is read.
///
/// # Errors
/// `host_not_allowed` and `origin_not_allowed`.
pub(crate) fn rule(limits: &HttpLimits, request: &Request) -> Result<Pass, Problem> {
    let (headers, uri) = (request.headers(), request.uri());
    if limits.loopback && !names_loopback(headers, uri) {
        return Err(Problem::new(
            ErrorCode::HostNotAllowed,
            "This server listens on a loopback address; call it as localhost, 127.0.0.1 or [::1].",
        ));
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(Pass::Plain) };
    let listed = is_listed(origin, &limits.cors_origins);
    let single = headers.get_all(header::ORIGIN).iter().count() == 1;
    if !single || !(listed || is_own(origin, headers, uri)) {
        return Err(Problem::new(
            ErrorCode::OriginNotAllowed,
            "Pages of this origin may not call the server; start it with --cors-origin to allow them.",
        ));
    }
    let asks_first =
        *request.method() == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    Ok(match (listed, asks_first) {
        (false, _) => Pass::Plain,
        (true, false) => Pass::Listed(origin.clone()),
        (true, true) => Pass::Preflight(origin.clone()),
    })
}

impl Pass {
    /// Adds what pages of listed origins must be told.
    pub(crate) fn finish(self, headers: &mut HeaderMap) {
        let origin = match self {
            Pass::Plain => return,
            Pass::Listed(origin) => {
                headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSE_HEADERS);
                origin
            }
            Pass::Preflight(origin) => {
                headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOW_METHODS);
                headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOW_HEADERS);
                headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
                origin
            }
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
}

/// Whether every name that the request calls the server by is one of loopback. A request without any is none that a page
/// can send.
fn names_loopback(headers: &HeaderMap, uri: &Uri) -> bool {
    let hosts = headers.get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or_default());
    hosts.chain(uri.authority().map(Authority::as_str)).all(is_loopback)
}

fn is_loopback(text: &str) -> bool {
    // As nearly all call it; the rest is read with care.
    let port = text.strip_prefix("127.0.0.1").or_else(|| text.strip_prefix("localhost"));
    if port.is_some_and(|port| port.is_empty() || port.strip_prefix(':').is_some_and(is_port)) {
        return true;
    }
    let Some((host, _)) = host_and_port(text, 80) else { return false };
    // Digits and dots alone: `127.evil.example` is a name that its owner can point anywhere.
    let address = host.starts_with("127.") && host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    host == "localhost" || host.ends_with(".localhost") || host == "[::1]" || address
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// Splits `host:port`, in small letters.
fn host_and_port(text: &str, default_port: u16) -> Option<(String, u16)> {
    let authority: Authority = text.parse().ok().filter(|_| !text.contains('@'))?;
    let port = match authority.port() {
        Some(port) => port.as_str().parse().ok()?,
        None => default_port,
    };
    Some((authority.host().to_ascii_lowercase(), port)).filter(|(host, _)| !host.is_empty())
}

/// Whether an origin is that of the server itself, as the client calls it.
fn is_own(origin: &HeaderValue, headers: &HeaderMap, uri: &Uri) -> bool {
    let text = origin.to_str().unwrap_or_default();
    let (rest, port) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
        (Some(rest), _) => (rest, 80),
        (None, Some(rest)) => (rest, 443),
        (None, None) => return false,
    };
    let called = match uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => headers.get(header::HOST).and_then(|host| host.to_str().ok()),
    };
    let theirs = host_and_port(rest, port);
    theirs.is_some() && theirs == called.and_then(|called| host_and_port(called, port))
}

fn is_listed(origin: &HeaderValue, listed: &[String]) -> bool {
    let listed_as = |allowed: &String| allowed == "*" || allowed.as_bytes().eq_ignore_ascii_case(origin.as_bytes());
    listed.iter().any(listed_as)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_a_few_names() {
        for (host, loopback) in [
            ("localhost", true),
            ("LocalHost:8080", true),
            ("app.localhost:1", true),
            ("127.0.0.1", true),
            ("127.9.9.9:80", true),
            ("[::1]", true),
            ("[::1]:8080", true),
            ("127.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("notlocalhost", false),
            ("user@localhost", false),
            ("10.0.0.1", false),
            ("0.0.0.0", false),
            ("", false),
        ] {
            assert_eq!(is_loopback(host), loopback, "{host}");
        }
    }

    #[test]
    fn an_origin_is_own_by_host_and_port() {
        for (origin, host, own) in [
            ("http://localhost:8080", "localhost:8080", true),
            ("http://LOCALHOST:8080", "localhost:8080", true),
            ("http://localhost", "localhost", true),
            ("http://localhost:80", "localhost", true),
            ("https://log.example", "log.example", true),
            ("https://log.example", "log.example:443", true),
            ("http://localhost:3000", "localhost:8080", false),
            ("http://127.0.0.1:8080", "localhost:8080", false),
            ("https://localhost", "localhost:80", false),
            ("null", "localhost:8080", false),
            ("http://", "localhost:8080", false),
            ("file://localhost:8080", "localhost:8080", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            assert_eq!(is_own(&origin.parse().unwrap(), &headers, &Uri::from_static("/x")), own, "{origin} {host}");
        }
    }
}
