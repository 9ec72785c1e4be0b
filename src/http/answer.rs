//! Answers in JSON.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::model::Problem;

/// A JSON answer. What cannot be written as JSON is a fault of the server.
pub(crate) struct Json<T>(pub(crate) StatusCode, pub(crate) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let Json(status, answer) = self;
        match serde_json::to_vec(&answer) {
            Ok(text) => bytes(status, "application/json", text),
            Err(error) => {
                tracing::error!(%error, "an answer could not be written as JSON");
                Problem::internal().into_response()
            }
        }
    }
}

/// A 200 in JSON.
pub(crate) fn ok<T: Serialize>(answer: T) -> Json<T> {
    Json(StatusCode::OK, answer)
}

/// An answer of ready bytes.
pub(crate) fn bytes(status: StatusCode, media_type: &'static str, text: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
