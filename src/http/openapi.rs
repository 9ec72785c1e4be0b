//! The OpenAPI document, built in.

use std::sync::LazyLock;

use axum::response::Response;
use http::{HeaderMap, StatusCode};

use crate::http::accept::{self, JSON};
use crate::http::answer;
use crate::model::Problem;

/// The document as it is written.
const YAML: &str = include_str!("../../openapi.yaml");

/// The document as JSON, made at its first use; none where the YAML cannot be read, which a test rules out.
static AS_JSON: LazyLock<Option<Vec<u8>>> = LazyLock::new(|| {
    let read: Result<serde_json::Value, _> = serde_saphyr::from_str(YAML);
    match read.map(|document| serde_json::to_vec(&document)) {
        Ok(Ok(text)) => Some(text),
        Ok(Err(error)) => {
            tracing::error!(%error, "the OpenAPI document could not be written as JSON");
            None
        }
        Err(error) => {
            tracing::error!(%error, "the OpenAPI document could not be read");
            None
        }
    }
});

/// `GET /openapi.yaml`
pub(crate) async fn yaml(headers: HeaderMap) -> Result<Response, Problem> {
    accept::negotiate(&headers, &["application/yaml"])?;
    Ok(answer::bytes(StatusCode::OK, "application/yaml", YAML.as_bytes().to_vec()))
}

/// `GET /openapi.json`
pub(crate) async fn json(headers: HeaderMap) -> Result<Response, Problem> {
    accept::negotiate(&headers, &[JSON])?;
    AS_JSON.clone().map(|text| answer::bytes(StatusCode::OK, JSON, text)).ok_or_else(Problem::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_can_be_had_as_json() {
        let document: serde_json::Value = serde_json::from_slice(AS_JSON.as_ref().unwrap()).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    }
}
