//! The OpenAPI document says what the service does: the same operations, the same parameters, the same errors.

use std::collections::BTreeSet;

use persisting::http::{ROUTES, Route};
use persisting::model::ErrorCode;
use serde_json::Value;

const TEXT: &str = include_str!("../../openapi.yaml");
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
const PROBLEM_JSON: &str = "application/problem+json";
static NOTHING: Value = Value::Null;

/// The document.
struct Document(Value);

/// One operation of it.
struct Operation<'d> {
    path: &'d str,
    method: &'d str,
    /// What the path's operations share.
    shared: &'d Value,
    own: &'d Value,
}

impl Document {
    fn read() -> Self {
        let read: Result<Value, _> = serde_saphyr::from_str(TEXT);
        assert!(read.is_ok(), "openapi.yaml cannot be read: {:?}", read.err());
        Self(read.unwrap_or_default())
    }

    fn operations(&self) -> Vec<Operation<'_>> {
        let mut operations = Vec::new();
        for (path, shared) in members(&self.0["paths"]) {
            for (method, own) in members(shared).filter(|(method, _)| METHODS.contains(method)) {
                operations.push(Operation { path, method, shared, own });
            }
        }
        operations
    }

    fn operation(&self, route: &Route) -> Option<Operation<'_>> {
        self.operations().into_iter().find(|operation| operation.id() == route.operation)
    }

    /// Follows references; null where one leads nowhere.
    fn resolve<'d>(&'d self, mut value: &'d Value) -> &'d Value {
        while let Some(reference) = value["$ref"].as_str() {
            value = self.target(reference).unwrap_or(&NOTHING);
        }
        value
    }

    fn target(&self, reference: &str) -> Option<&Value> {
        reference.strip_prefix('#').and_then(|pointer| self.0.pointer(pointer))
    }

    /// The parameters of an operation that stand at a place: in the path, the query or the headers.
    fn parameters<'d>(&'d self, operation: &Operation<'d>, place: &str) -> Vec<&'d Value> {
        let declared = items(&operation.shared["parameters"]).chain(items(&operation.own["parameters"]));
        declared.map(|parameter| self.resolve(parameter)).filter(|parameter| parameter["in"] == place).collect()
    }

    /// The answers of an operation, by status.
    fn responses<'d>(&'d self, operation: &Operation<'d>) -> Vec<(&'d str, &'d Value)> {
        members(&operation.own["responses"]).map(|(status, response)| (status, self.resolve(response))).collect()
    }
}

impl<'d> Operation<'d> {
    fn id(&self) -> &'d str {
        self.own["operationId"].as_str().unwrap_or_default()
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn names<'d>(parameters: &[&'d Value]) -> Vec<&'d str> {
    let mut names: Vec<&str> = parameters.iter().filter_map(|parameter| parameter["name"].as_str()).collect();
    names.sort_unstable();
    names
}

/// The names in braces of a path.
fn placeholders(path: &str) -> Vec<&str> {
    let mut names: Vec<&str> =
        path.split('/').filter_map(|part| part.strip_prefix('{').and_then(|part| part.strip_suffix('}'))).collect();
    names.sort_unstable();
    names
}

fn references<'d>(value: &'d Value, found: &mut BTreeSet<&'d str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn the_operations_of_the_service_are_described_and_no_others() {
    let document = Document::read();
    let described: BTreeSet<(String, &str, &str)> = document
        .operations()
        .iter()
        .map(|operation| (operation.method.to_uppercase(), operation.path, operation.id()))
        .collect();
    let served: BTreeSet<(String, &str, &str)> =
        ROUTES.iter().map(|route| (route.verb.as_str().to_owned(), route.path, route.operation)).collect();
    assert_eq!(described, served);
}

#[test]
fn operations_take_the_query_parameters_of_the_service() {
    let document = Document::read();
    for route in ROUTES {
        let operation = document.operation(route).expect(route.operation);
        let mut known = route.query.to_vec();
        known.sort_unstable();
        assert_eq!(names(&document.parameters(&operation, "query")), known, "{}", route.operation);
    }
}

#[test]
fn the_parameters_of_paths_are_declared() {
    let document = Document::read();
    for operation in document.operations() {
        let declared = document.parameters(&operation, "path");
        assert_eq!(names(&declared), placeholders(operation.path), "{}", operation.id());
        assert!(declared.iter().all(|parameter| parameter["required"] == true), "{}", operation.id());
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = Document::read();
    let mut found = BTreeSet::new();
    references(&document.0, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        assert!(document.target(reference).is_some(), "{reference}");
    }
}

/// The keys that are there without a value: what a comma in a bare text makes of the rest of it.
fn keys_without_a_value<'d>(value: &'d Value, found: &mut Vec<&'d str>) {
    for (key, member) in members(value) {
        match key {
            // Here anything stands, and is no part of the description.
            "example" | "examples" | "enum" | "const" | "default" => {}
            _ if member.is_null() => found.push(key),
            _ => keys_without_a_value(member, found),
        }
    }
    items(value).for_each(|item| keys_without_a_value(item, found));
}

#[test]
fn every_key_has_a_value() {
    let (document, mut found) = (Document::read(), Vec::new());
    keys_without_a_value(&document.0, &mut found);
    assert_eq!(found, Vec::<&str>::new());
}

/// Generated clients send defaults, and parameters of another kind of index are refused.
#[test]
fn parameters_of_indexes_have_no_defaults() {
    let document = Document::read();
    let mut parameters = members(&document.0["components"]["schemas"]["IndexParams"]["properties"]);
    assert!(parameters.all(|(_, parameter)| parameter["default"].is_null()));
}

#[test]
fn operations_that_are_served_have_an_answer() {
    let document = Document::read();
    for operation in document.operations() {
        let succeeds = document.responses(&operation).iter().any(|(status, _)| status.starts_with('2'));
        assert!(succeeds, "{}", operation.id());
    }
}

#[test]
fn every_refusal_is_a_typed_problem() {
    let document = Document::read();
    for operation in document.operations() {
        let mut refusals = 0;
        for (status, response) in document.responses(&operation) {
            assert!(response["description"].is_string(), "{} {status}", operation.id());
            if status.starts_with(['4', '5']) {
                let schema = &response["content"][PROBLEM_JSON]["schema"];
                assert!(document.resolve(schema).is_object(), "{} {status}", operation.id());
                refusals += 1;
            }
        }
        assert!(refusals > 0, "{}", operation.id());
    }
}

#[test]
fn the_error_codes_of_the_service_are_listed_and_no_others() {
    let document = Document::read();
    let code = document.resolve(&document.0["components"]["schemas"]["Problem"]["properties"]["code"]);
    let listed: Vec<&str> = items(&code["enum"]).filter_map(Value::as_str).collect();
    let known: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(listed.iter().collect::<BTreeSet<_>>(), known.iter().collect::<BTreeSet<_>>());
    assert_eq!(listed.len(), known.len());
}

#[test]
fn the_statuses_of_refusals_are_those_of_error_codes() {
    let document = Document::read();
    let mut described = BTreeSet::new();
    for operation in document.operations() {
        let statuses = document.responses(&operation).into_iter().map(|(status, _)| status.to_owned());
        described.extend(statuses.filter(|status| status.starts_with(['4', '5'])));
    }
    // 405 is the answer of methods that are no operations.
    let known: BTreeSet<String> = ErrorCode::ALL
        .iter()
        .map(|code| code.status())
        .filter(|status| *status != 405)
        .map(|s| s.to_string())
        .collect();
    assert_eq!(described, known);
}
