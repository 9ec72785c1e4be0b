//! Indexes: list, read, ask for, delete.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::Value;

use crate::http::ApiState;
use crate::http::accept::{self, JSON};
use crate::http::answer::{Json, ok};
use crate::http::extract::{LastParam, Members, TopicPath, invalid_body};
use crate::http::query::{StrictQuery, index_name};
use crate::http::topics::topic_and_members;
use crate::model::{IndexName, Problem};
use crate::schema::{FieldPath, IndexType};
use crate::topic::{CreateIndex, IndexListing, Topic};

/// `GET …/indexes`
pub(crate) async fn list(
    State(state): State<ApiState>,
    TopicPath(topic): TopicPath,
    _query: StrictQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    accept::negotiate(&headers, &[JSON])?;
    let indexes = state.engine.topic(&topic).await?.indexes().await?;
    #[derive(Serialize)]
    struct Answer<'a> {
        indexes: Vec<IndexBody<'a>>,
    }
    Ok(ok(Answer { indexes: indexes.iter().map(IndexBody::of).collect() }).into_response())
}

/// `GET …/indexes/{name}`
pub(crate) async fn get(
    State(state): State<ApiState>,
    TopicPath(topic): TopicPath,
    LastParam(name): LastParam,
    _query: StrictQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name = index_name(&name)?;
    accept::negotiate(&headers, &[JSON])?;
    let index = state.engine.topic(&topic).await?.index(&name).await?;
    Ok(ok(IndexBody::of(&index)).into_response())
}

/// `POST …/indexes`
pub(crate) async fn create(
    State(state): State<ApiState>,
    TopicPath(topic): TopicPath,
    _query: StrictQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let check = |topic: &Topic| topic.check_indexes().map(drop);
    let known = &["column", "columns", "type", "name", "params"];
    let (topic, members) = topic_and_members(&state, &topic, (&headers, body), known, check).await?;
    let index = topic.create_index(ask(members)?).await?;
    let mut response = Json(StatusCode::ACCEPTED, IndexBody::of(&index)).into_response();
    if let Ok(place) = HeaderValue::try_from(format!("/v1/topics/{}/indexes/{}", topic.name(), index.name)) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

/// `DELETE …/indexes/{name}`
pub(crate) async fn delete(
    State(state): State<ApiState>,
    TopicPath(topic): TopicPath,
    LastParam(name): LastParam,
    _query: StrictQuery,
) -> Result<StatusCode, Problem> {
    let name = index_name(&name)?;
    state.engine.topic(&topic).await?.delete_index(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn ask(mut members: Members) -> Result<CreateIndex, Problem> {
    let paths = match (members.string("column")?, members.value("columns")) {
        (Some(column), None) => vec![column],
        (None, Some(Value::Array(columns))) => {
            let text = |column: Value| column.as_str().map(str::to_owned);
            let columns = columns.into_iter().map(text).collect::<Option<Vec<String>>>();
            columns.ok_or_else(|| invalid_body("The member \"columns\" is an array of names of columns."))?
        }
        (None, Some(_)) => return Err(invalid_body("The member \"columns\" is an array of names of columns.")),
        _ => {
            return Err(
                invalid_body("An index is over \"column\", or over \"columns\".").allowing(["column", "columns"])
            );
        }
    };
    let paths = paths.iter().map(|path| {
        let bad = |error| invalid_body(format!("{path:?} cannot be a column: {error}"));
        FieldPath::parse(path).map_err(bad)
    });
    let columns = paths.collect::<Result<Vec<FieldPath>, Problem>>()?;
    let kinds = || IndexType::ALL.map(IndexType::as_str);
    let word = members.string("type")?;
    let word = word.ok_or_else(|| invalid_body("The member \"type\" is missing.").allowing(kinds()))?;
    let kind = IndexType::parse(&word).map_err(|error| invalid_body(error.detail).allowing(error.allowed))?;
    let name = members.string("name")?;
    let name = name.map(|name| {
        let bad = |error| invalid_body(format!("The index cannot be named so: {error}."));
        IndexName::parse(&name).map_err(bad)
    });
    Ok(CreateIndex { name: name.transpose()?, columns, kind, params: members.object("params")?.unwrap_or_default() })
}

#[derive(Serialize)]
struct IndexBody<'a> {
    name: &'a str,
    columns: Vec<String>,
    r#type: &'static str,
    params: Value,
    state: &'static str,
    progress: f64,
    rows_indexed: u64,
    rows_unindexed: u64,
    error: Option<&'a str>,
}

impl<'a> IndexBody<'a> {
    fn of(index: &'a IndexListing) -> Self {
        Self {
            name: index.name.as_str(),
            columns: index.columns.iter().map(FieldPath::to_string).collect(),
            r#type: index.spec.kind.as_str(),
            params: index.spec.params.to_json(),
            state: index.state.as_str(),
            progress: index.progress,
            rows_indexed: index.rows_indexed,
            rows_unindexed: index.rows_unindexed,
            error: index.error.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ErrorCode;

    #[test]
    fn an_index_has_columns_and_a_type() {
        let read = |text: &str| {
            Members::parse(text.as_bytes(), &["column", "columns", "type", "name", "params"]).and_then(ask)
        };
        let asked = read(r#"{"column":"a.\"b c\"","type":"ivf_pq","params":{"metric":"dot"},"name":"n"}"#).unwrap();
        assert_eq!(asked.columns, [FieldPath(vec!["a".to_owned(), "b c".to_owned()])]);
        assert_eq!((asked.kind, asked.params.len()), (IndexType::IvfPq, 1));
        assert_eq!(read(r#"{"columns":["a","b"],"type":"inverted","name":null}"#).unwrap().columns.len(), 2);
        for text in [
            "",
            r#"{"type":"btree"}"#,
            r#"{"column":"a"}"#,
            r#"{"column":"a","type":"tree"}"#,
            r#"{"column":"a","columns":["b"],"type":"btree"}"#,
            r#"{"columns":"a","type":"btree"}"#,
            r#"{"columns":[1],"type":"btree"}"#,
            r#"{"column":"a,b","type":"btree"}"#,
            r#"{"column":"a","type":"btree","name":"-"}"#,
            r#"{"column":"a","type":"btree","params":3}"#,
            r#"{"column":"a","type":"btree","fast":true}"#,
        ] {
            assert_eq!(read(text).unwrap_err().code, ErrorCode::InvalidBody, "{text}");
        }
    }
}
