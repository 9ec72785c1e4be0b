//! Every operation of the service, in one table: for the router, for the label of metrics, for `Allow`, for the known
//! query parameters, and for the test that the OpenAPI document says the same.

use axum::routing::{MethodFilter, MethodRouter, on};
use http::Method;

use crate::http::{
    ApiState, append, backends, cursors, export, fork, indexes, openapi, ops, read, schemas, search, sql, stream, tags,
    topics, upkeep, versions,
};

/// A method of HTTP. Where there is `GET`, there is `HEAD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `GET`, and `HEAD`.
    Get,
    /// `PUT`
    Put,
    /// `POST`
    Post,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
}

impl Verb {
    /// The method's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Put => "PUT",
            Verb::Post => "POST",
            Verb::Patch => "PATCH",
            Verb::Delete => "DELETE",
        }
    }

    const fn filter(self) -> MethodFilter {
        match self {
            Verb::Get => MethodFilter::GET,
            Verb::Put => MethodFilter::PUT,
            Verb::Post => MethodFilter::POST,
            Verb::Patch => MethodFilter::PATCH,
            Verb::Delete => MethodFilter::DELETE,
        }
    }

    fn serves(self, method: &Method) -> bool {
        method.as_str() == self.as_str() || (self == Verb::Get && *method == Method::HEAD)
    }
}

/// One operation.
#[derive(Debug)]
pub struct Route {
    /// The operation's id in the OpenAPI document.
    pub operation: &'static str,
    /// Its method.
    pub verb: Verb,
    /// Its path, with parameters in braces.
    pub path: &'static str,
    /// The query parameters that it knows.
    pub query: &'static [&'static str],
    serve: fn(MethodFilter) -> MethodRouter<ApiState>,
}

impl Route {
    /// Whether the operation is the stream, which has rules of its own where all others are refused.
    pub(crate) fn is_stream(&self) -> bool {
        self.path == STREAM
    }
}

const STREAM: &str = "/v1/topics/{topic}/stream";
const TOPIC: &str = "/v1/topics/{topic}";
const RECORDS: &str = "/v1/topics/{topic}/records";
const INDEXES: &str = "/v1/topics/{topic}/indexes";
const INDEX: &str = "/v1/topics/{topic}/indexes/{name}";
const PREVIEW: &str = "/v1/topics/{topic}/retention/preview";
const REPLAY: &str = "/v1/topics/{topic}/quarantine/replay";
const CURSOR: &str = "/v1/topics/{topic}/cursors/{name}";

const TAG: &str = "/v1/topics/{topic}/tags/{tag}";

const READ_QUERY: &[&str] = &[
    "offset",
    "since",
    "epoch",
    "limit",
    "wait",
    "fields",
    "filter",
    "schema_version",
    "version",
    "tag",
    "as_of",
    "cursor",
];
const STREAM_QUERY: &[&str] =
    &["offset", "since", "limit", "block", "fields", "filter", "heartbeat", "version", "tag", "as_of", "cursor"];
const EXPORT_QUERY: &[&str] = &["format", "offset", "limit", "fields", "filter", "version", "tag", "as_of"];

/// An operation that is served.
const fn served(
    operation: &'static str,
    verb: Verb,
    path: &'static str,
    query: &'static [&'static str],
    serve: fn(MethodFilter) -> MethodRouter<ApiState>,
) -> Route {
    Route { operation, verb, path, query, serve }
}

/// The one operation that requests are sent to past the router.
pub(crate) const APPEND: Route =
    served("appendRecords", Verb::Post, RECORDS, &["ack", "expected_offset", "close", "atomic"], |verb| {
        on(verb, append::append)
    });

/// All operations, by section of the contract.
pub static ROUTES: &[Route] = &[
    served("listBackends", Verb::Get, "/v1/backends", &[], |verb| on(verb, backends::list)),
    served("getBackend", Verb::Get, "/v1/backends/{name}", &[], |verb| on(verb, backends::get)),
    served("listTopics", Verb::Get, "/v1/topics", &["prefix", "after", "limit"], |verb| on(verb, topics::list)),
    served("createTopic", Verb::Put, TOPIC, &[], |verb| on(verb, topics::create)),
    served("getTopic", Verb::Get, TOPIC, &[], |verb| on(verb, topics::get)),
    served("updateTopic", Verb::Patch, TOPIC, &[], |verb| on(verb, topics::patch)),
    served("deleteTopic", Verb::Delete, TOPIC, &[], |verb| on(verb, topics::delete)),
    APPEND,
    served("readRecords", Verb::Get, RECORDS, READ_QUERY, |verb| on(verb, read::read)),
    served("getRecord", Verb::Get, "/v1/topics/{topic}/records/{offset}", &[], |verb| on(verb, read::get)),
    served("streamRecords", Verb::Get, STREAM, STREAM_QUERY, |verb| on(verb, stream::stream)),
    served("flushTopic", Verb::Post, "/v1/topics/{topic}/flush", &[], |verb| on(verb, ops::flush)),
    served("getStats", Verb::Get, "/v1/topics/{topic}/stats", &[], |verb| on(verb, ops::stats)),
    served("getCount", Verb::Get, "/v1/topics/{topic}/count", &[], |verb| on(verb, ops::count)),
    served("closeTopic", Verb::Post, "/v1/topics/{topic}/close", &[], |verb| on(verb, ops::close)),
    served("trimTopic", Verb::Post, "/v1/topics/{topic}/trim", &[], |verb| on(verb, ops::trim)),
    served("listSchemas", Verb::Get, "/v1/topics/{topic}/schemas", &["after", "limit"], |verb| on(verb, schemas::list)),
    served("getSchema", Verb::Get, "/v1/topics/{topic}/schemas/{version}", &[], |verb| on(verb, schemas::get)),
    served("postSchema", Verb::Post, "/v1/topics/{topic}/schemas", &[], |verb| on(verb, schemas::post)),
    served("checkSchema", Verb::Post, "/v1/topics/{topic}/schemas/check", &[], |verb| on(verb, schemas::check)),
    served("listVersions", Verb::Get, "/v1/topics/{topic}/versions", &["after", "limit"], |verb| {
        on(verb, versions::list)
    }),
    served("listTags", Verb::Get, "/v1/topics/{topic}/tags", &[], |verb| on(verb, tags::list)),
    served("getTag", Verb::Get, TAG, &[], |verb| on(verb, tags::get)),
    served("putTag", Verb::Put, TAG, &[], |verb| on(verb, tags::put)),
    served("deleteTag", Verb::Delete, TAG, &[], |verb| on(verb, tags::delete)),
    served("forkTopic", Verb::Post, "/v1/topics/{topic}/fork", &[], |verb| on(verb, fork::fork)),
    served("compactTopic", Verb::Post, "/v1/topics/{topic}/compact", &[], |verb| on(verb, upkeep::compact)),
    served("previewRetention", Verb::Post, PREVIEW, &[], |verb| on(verb, upkeep::preview_retention)),
    served("exportRecords", Verb::Get, "/v1/topics/{topic}/export", EXPORT_QUERY, |verb| on(verb, export::export)),
    served("replayQuarantine", Verb::Post, REPLAY, &[], |verb| on(verb, ops::replay_quarantine)),
    served("listIndexes", Verb::Get, INDEXES, &[], |verb| on(verb, indexes::list)),
    served("createIndex", Verb::Post, INDEXES, &[], |verb| on(verb, indexes::create)),
    served("getIndex", Verb::Get, INDEX, &[], |verb| on(verb, indexes::get)),
    served("deleteIndex", Verb::Delete, INDEX, &[], |verb| on(verb, indexes::delete)),
    served("searchRecords", Verb::Post, "/v1/topics/{topic}/search", &[], |verb| on(verb, search::search)),
    served("querySql", Verb::Post, "/v1/query", &[], |verb| on(verb, sql::query)),
    served("listCursors", Verb::Get, "/v1/topics/{topic}/cursors", &[], |verb| on(verb, cursors::list)),
    served("getCursor", Verb::Get, CURSOR, &[], |verb| on(verb, cursors::get)),
    served("putCursor", Verb::Put, CURSOR, &[], |verb| on(verb, cursors::put)),
    served("deleteCursor", Verb::Delete, CURSOR, &[], |verb| on(verb, cursors::delete)),
    served("getLiveness", Verb::Get, "/livez", &[], |verb| on(verb, ops::livez)),
    served("getReadiness", Verb::Get, "/readyz", &["verbose"], |verb| on(verb, ops::readyz)),
    served("getMetrics", Verb::Get, "/metrics", &[], |verb| on(verb, ops::metrics)),
    served("getVersion", Verb::Get, "/version", &[], |verb| on(verb, ops::version)),
    served("getOpenapiYaml", Verb::Get, "/openapi.yaml", &[], |verb| on(verb, openapi::yaml)),
    served("getOpenapiJson", Verb::Get, "/openapi.json", &[], |verb| on(verb, openapi::json)),
];

/// The operation that a path template and a method name.
pub(crate) fn find(path: &str, method: &Method) -> Option<&'static Route> {
    ROUTES.iter().find(|route| route.verb.serves(method) && route.path == path)
}

/// The methods of a path template, as `Allow` lists them.
pub(crate) fn allowed_methods(path: &str) -> Vec<&'static str> {
    let mut methods = Vec::new();
    for route in ROUTES.iter().filter(|route| route.path == path) {
        methods.push(route.verb.as_str());
        if route.verb == Verb::Get {
            methods.push("HEAD");
        }
    }
    methods
}

/// The router of the table; fallbacks and layers are added outside.
pub(crate) fn router() -> axum::Router<ApiState> {
    ROUTES
        .iter()
        .fold(axum::Router::new(), |router, route| router.route(route.path, (route.serve)(route.verb.filter())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_named_once_and_served_at_one_place() {
        for (at, route) in ROUTES.iter().enumerate() {
            for other in &ROUTES[at + 1..] {
                assert_ne!(route.operation, other.operation);
                assert!(route.path != other.path || route.verb != other.verb, "{}", route.path);
            }
        }
        drop(router());
    }

    #[test]
    fn head_goes_where_get_goes() {
        assert_eq!(find(TOPIC, &Method::HEAD).map(|route| route.operation), Some("getTopic"));
        assert_eq!(allowed_methods(TOPIC), ["PUT", "GET", "HEAD", "PATCH", "DELETE"]);
        assert!(find(TOPIC, &Method::POST).is_none());
    }
}
