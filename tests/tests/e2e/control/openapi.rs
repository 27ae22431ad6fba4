//! `/openapi.json` is correct: every listed path exists, and the answers match the description.

use super::{lab, unix};
use serde_json::{Value, json};

/// Asserts that the description of the operation allows the answer.
fn follows(document: &Value, operation: &Value, answer: &replug_tests::http::Answer) {
    let described = &operation["responses"][answer.status.to_string()];
    assert!(described.is_object(), "{} is not described: {}", answer.status, answer.body);
    let Some(schema) = described["content"]["application/json"]["schema"].as_object() else { return };
    fits(document, &json!(schema), &answer.json(), "$");
}

/// Asserts that a value matches a schema. Supports only the kinds of schema that `/openapi.json` contains.
fn fits(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let schema = document.pointer(&name[1..]).unwrap_or_else(|| panic!("{at}: {name} does not exist"));
        return fits(document, schema, value, at);
    }
    if let Some(any) = schema["oneOf"].as_array() {
        let null = any.iter().any(|schema| schema["type"] == "null");
        match any.iter().find(|schema| schema["type"] != "null") {
            Some(other) if !(null && value.is_null()) => fits(document, other, value, at),
            _ => {}
        }
        return;
    }
    let types: Vec<_> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        Value::String(one) => vec![one.as_str()],
        _ => return,
    };
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let number = found == "integer" && types.contains(&"number");
    assert!(number || types.contains(&found), "{at}: {found} is none of {types:?}");
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        fits(document, &schema["items"], item, &format!("{at}[{index}]"));
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(required.as_str().unwrap()).is_some(), "{at}: {required} is missing in {value}");
    }
    for (key, item) in value.as_object().into_iter().flatten() {
        let schema = properties.get(key).unwrap_or_else(|| panic!("{at}: {key} is not described"));
        fits(document, schema, item, &format!("{at}.{key}"));
    }
}

#[test]
fn every_path_of_the_description_exists_and_answers_as_described() {
    let lab = lab("described-truly");
    let http = unix(&lab);
    let document = http.get("/openapi.json").json();
    assert_eq!(http.get("/api/v1/openapi.json").json(), document);
    let bodies = [
        ("execute", json!({ "method": "echo", "payload": "hi" })),
        ("rollback", json!({ "to": "g1" })),
        ("config", json!({ "config": { "word": "x" } })),
    ];
    let mut paths: Vec<_> = document["paths"].as_object().unwrap().iter().collect();
    // Paths that need a serving plugin come before those that stop it.
    paths.sort_by_key(|(path, _)| {
        ["/register", "/unregister", "/stop"].iter().position(|end| path.ends_with(end))
    });
    let mut walked = 0;
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            walked += 1;
            if operation["responses"]["200"]["content"]["text/event-stream"].is_object()
                && !path.ends_with("logs")
            {
                drop(http.stream(path));
                continue;
            }
            let name = path.rsplit('/').next().unwrap();
            let answer = match method.as_str() {
                "get" => {
                    let wants_id =
                        operation["parameters"].as_array().into_iter().flatten().any(|it| it["name"] == "id");
                    let path = if wants_id { format!("{path}?id={}", lab.id()) } else { path.clone() };
                    http.get(&path)
                }
                "post" => {
                    let more = bodies.iter().find(|(known, _)| *known == name).map(|(_, body)| body.clone());
                    let mut body = more.unwrap_or_else(|| json!({}));
                    body["id"] = json!(lab.id());
                    let refused = http.post(path, &json!({ "id": "dev.test.nobody" }));
                    follows(&document, operation, &refused);
                    http.post(path, &body)
                }
                other => panic!("{path} has an operation {other}"),
            };
            follows(&document, operation, &answer);
            let expected = if name == "register" { 409 } else { 200 };
            assert_eq!(answer.status, expected, "{method} {path}: {}", answer.body);
        }
    }
    assert!(walked >= 16, "only {walked} operations");
}
