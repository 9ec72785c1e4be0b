//! Search: nearest neighbours, words, both.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::codec::FieldSelection;
use crate::codec::encode::scalar::{write_f32, write_str};
use crate::filter::Filter;
use crate::http::accept::JSON;
use crate::http::extract::{Members, TopicPath, invalid_body};
use crate::http::query::{StrictQuery, invalid, tag_name};
use crate::http::record::{ENVELOPE_BYTES, RecordWriter};
use crate::http::{ApiState, answer, topics};
use crate::model::Problem;
use crate::schema::FieldPath;
use crate::search::text::TextQuery;
use crate::search::{
    EFFORT_MAX, Effort, Found, HITS, HITS_MAX, Metric, REFINE_MAX, REFINED_MAX, SearchRequest, TEXT_COLUMNS_MAX,
    TextAsk, VectorAsk, refused_filter,
};
use crate::topic::{Moment, Topic};

const MEMBERS: &[&str] = &["vector", "text", "k", "filter", "fields", "version", "tag"];
const VECTOR_MEMBERS: &[&str] = &["column", "query", "metric", "nprobes", "refine_factor", "ef"];
const TEXT_MEMBERS: &[&str] = &["columns", "query"];

/// `POST /v1/topics/{topic}/search`
pub(crate) async fn search(
    State(state): State<ApiState>,
    TopicPath(name): TopicPath,
    _query: StrictQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (topic, members) =
        topics::topic_and_members(&state, &name, (&headers, body), MEMBERS, Topic::check_search).await?;
    let found = state.searches.search(&topic, ask(members)?).await?;
    let text = written(&found);
    state.metrics.delivered_records.inc_by(found.hits.len() as u64);
    state.metrics.delivered_bytes.inc_by(text.len() as u64);
    Ok(answer::bytes(StatusCode::OK, JSON, text))
}

fn ask(mut members: Members) -> Result<SearchRequest, Problem> {
    let vector = members.object("vector")?.map(vector).transpose()?;
    let text = members.object("text")?.map(text).transpose()?;
    if vector.is_none() && text.is_none() {
        let detail = "A search has a member \"vector\", a member \"text\", or both.";
        return Err(invalid_body(detail).allowing(["vector", "text"]));
    }
    let k = count(&mut members, "k", HITS_MAX)?.unwrap_or(HITS);
    if let Some(factor) = vector.as_ref().and_then(|ask| ask.effort.refine_factor) {
        let factor_max = REFINED_MAX / (k as u64).max(1);
        if u64::from(factor) > factor_max {
            let detail = format!("\"k\" times \"refine_factor\" is at most {REFINED_MAX}.");
            return Err(invalid(detail).allowing([format!("1..{factor_max}")]).with_limit(factor_max));
        }
    }
    let filter = members.string("filter")?.map(|text| Filter::parse(&text)).transpose().map_err(refused_filter)?;
    let fields = members.string("fields")?;
    let fields = fields.map(|fields| FieldSelection::parse(&fields)).transpose();
    let fields = fields.map_err(|error| invalid(error.detail))?;
    let at = match (members.version("version")?, members.string("tag")?) {
        (Some(version), None) => Some(Moment::Version(version)),
        (None, Some(tag)) => Some(Moment::Tag(tag_name(&tag)?)),
        (None, None) => None,
        (Some(_), Some(_)) => return Err(invalid_body("Give only one of \"version\" and \"tag\".")),
    };
    Ok(SearchRequest { vector, text, k, filter, fields, at })
}

fn missing(member: &str) -> Problem {
    invalid_body(format!("The member \"{member}\" is missing."))
}

fn vector(members: serde_json::Map<String, Value>) -> Result<VectorAsk, Problem> {
    let mut members = Members::of(members, VECTOR_MEMBERS)?;
    let column = members.string("column")?.ok_or_else(|| missing("vector.column"))?;
    let column = path(&column)?;
    let query = match members.value("query").ok_or_else(|| missing("vector.query"))? {
        Value::Array(numbers) => numbers.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>(),
        _ => None,
    };
    let query = query.ok_or_else(|| invalid_body("The member \"vector.query\" is an array of numbers."))?;
    let metric = members.string("metric")?.map(|word| metric(&word)).transpose()?;
    let effort = Effort {
        nprobes: count(&mut members, "nprobes", EFFORT_MAX)?,
        refine_factor: count(&mut members, "refine_factor", REFINE_MAX)?,
        ef: count(&mut members, "ef", EFFORT_MAX)?,
    };
    Ok(VectorAsk { column, query, metric, effort })
}

fn metric(word: &str) -> Result<Metric, Problem> {
    let metric = Metric::parse(word);
    metric.ok_or_else(|| invalid("The metric of a vector search is l2, cosine or dot.").allowing(Metric::WORDS))
}

fn text(members: serde_json::Map<String, Value>) -> Result<TextAsk, Problem> {
    let mut members = Members::of(members, TEXT_MEMBERS)?;
    let bad_columns = || invalid_body("The member \"text.columns\" is an array with the names of columns.");
    let columns = match members.value("columns") {
        None => Vec::new(),
        Some(Value::Array(names)) if names.len() > TEXT_COLUMNS_MAX => {
            let detail = format!("The member \"text.columns\" has at most {TEXT_COLUMNS_MAX} names.");
            return Err(invalid(detail).with_limit(TEXT_COLUMNS_MAX as u64));
        }
        Some(Value::Array(names)) if !names.is_empty() => {
            let one = |name: &Value| path(name.as_str().ok_or_else(bad_columns)?);
            names.iter().map(one).collect::<Result<Vec<_>, Problem>>()?
        }
        Some(_) => return Err(bad_columns()),
    };
    let query = members.string("query")?.ok_or_else(|| missing("text.query"))?;
    Ok(TextAsk { columns, query: TextQuery::parse(&query)? })
}

fn path(text: &str) -> Result<FieldPath, Problem> {
    FieldPath::parse(text).map_err(|error| invalid(error.detail))
}

/// A whole number from 1 to `max`.
fn count<T: TryFrom<u64>>(members: &mut Members, name: &str, max: u64) -> Result<Option<T>, Problem> {
    let Some(value) = members.value(name) else { return Ok(None) };
    let number = value.as_u64().filter(|number| (1..=max).contains(number)).and_then(|number| T::try_from(number).ok());
    number.map(Some).ok_or_else(|| {
        let detail = format!("The member \"{name}\" is a whole number from 1 to {max}.");
        if value.is_number() {
            invalid(detail).allowing([format!("1..{max}")]).with_limit(max)
        } else {
            invalid_body(detail)
        }
    })
}

/// The answer's JSON text.
fn written(found: &Found) -> Vec<u8> {
    let bytes: usize = found.hits.iter().map(|hit| hit.record.values().bytes() + 2 * ENVELOPE_BYTES).sum();
    let mut text = Vec::with_capacity(bytes + 128);
    text.extend_from_slice(b"{\"hits\":[");
    let mut writer = RecordWriter::default();
    for (place, hit) in found.hits.iter().enumerate() {
        if place > 0 {
            text.push(b',');
        }
        writer.write(&mut text, &hit.record, 0);
        // The object goes on with what the record was found by.
        text.pop();
        for (name, number) in [("_distance", hit.distance), ("_score", hit.score), ("_relevance_score", hit.relevance)]
        {
            if let Some(number) = number {
                text.extend_from_slice(format!(",\"{name}\":").as_bytes());
                write_f32(number, &mut text);
            }
        }
        text.push(b'}');
    }
    let (through, rows) = (found.indexed_through, found.rows_scanned);
    text.extend_from_slice(
        format!("],\"indexed_through_offset\":{through},\"rows_scanned\":{rows},\"index\":").as_bytes(),
    );
    match &found.index {
        Some(name) => write_str(name, &mut text),
        None => text.extend_from_slice(b"null"),
    }
    text.push(b'}');
    text
}
