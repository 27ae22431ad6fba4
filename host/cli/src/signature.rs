//! Formats interfaces in Rust syntax.

use super::terminal::DIM;
use replug_api::describe::{Interface, Method, Param, Shape, TypeDef};

/// The trait with its methods, and the definitions of the types that these use.
pub(super) fn of(interface: &Interface) -> String {
    let methods: Vec<_> = interface.methods.iter().map(|method| indented(&method_of(method))).collect();
    let mut parts =
        vec![format!("{}trait {} {{\n{}\n}}", docs(&interface.docs), interface.name, methods.join("\n"))];
    parts.extend(interface.types.iter().map(|(name, definition)| type_of(name, definition)));
    parts.join("\n\n")
}

fn method_of(method: &Method) -> String {
    format!("{}{};", docs(&method.docs), of_method(method))
}

/// The method without its docs.
pub(super) fn of_method(method: &Method) -> String {
    let params = method
        .params
        .iter()
        .map(|param| format!(", {}: {}", param.name, param.declared()))
        .collect::<String>();
    let returns = match (method.returns.to_string(), &method.error) {
        (ok, Some(error)) => format!(" -> Result<{ok}, {error}>"),
        (ok, None) if ok == "()" => String::new(),
        (ok, None) => format!(" -> {ok}"),
    };
    format!("fn {}(&self{params}){returns}", method.name)
}

fn type_of(name: &str, definition: &TypeDef) -> String {
    let docs = docs(&definition.docs);
    match &definition.shape {
        Shape::Enum(variants) => {
            let variants: Vec<_> = variants
                .iter()
                .map(|variant| {
                    indented(&format!("{}{},", variant.name, body_of(&variant.shape, Layout::OneLine)))
                })
                .collect();
            format!("{docs}enum {name} {{\n{}\n}}", variants.join("\n"))
        }
        Shape::Encoded => format!("{docs}struct {name} {{ .. }}"),
        shape @ Shape::Struct(_) => format!("{docs}struct {name}{}", body_of(shape, Layout::Lines)),
        shape => format!("{docs}struct {name}{};", body_of(shape, Layout::OneLine)),
    }
}

enum Layout {
    Lines,
    OneLine,
}

fn body_of(shape: &Shape, layout: Layout) -> String {
    let fields =
        |fields: &[Param]| fields.iter().map(|field| format!("{}: {}", field.name, field.ty)).collect();
    match (shape, layout) {
        (Shape::Unit | Shape::Enum(_) | Shape::Encoded, _) => String::new(),
        (Shape::Tuple(parts), _) => {
            let parts: Vec<_> = parts.iter().map(ToString::to_string).collect();
            format!("({})", parts.join(", "))
        }
        (Shape::Struct(named), Layout::OneLine) => {
            let fields: Vec<String> = fields(named);
            format!(" {{ {} }}", fields.join(", "))
        }
        (Shape::Struct(named), Layout::Lines) => {
            let fields: Vec<String> = fields(named);
            format!(" {{\n{}\n}}", indented(&format!("{},", fields.join(",\n"))))
        }
    }
}

/// The first line of a doc comment.
fn docs(text: &str) -> String {
    match text.trim().lines().next() {
        Some(first) => format!("{DIM}/// {}{DIM:#}\n", first.trim()),
        None => String::new(),
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_interface_prints_as_a_rust_trait() {
        let number = json!({ "number": "f64" });
        let interface: Interface = serde_json::from_value(json!({
            "name": "Calculator",
            "methods": [
                {
                    "name": "divide",
                    "docs": " `a / b`\n\n More.",
                    "params": [{ "name": "a", "type": number }, { "name": "b", "type": number }],
                    "returns": number,
                    "error": { "named": "Error" },
                },
                {
                    "name": "clear",
                    "params": [{ "name": "before", "type": { "library": "SystemTime" } }],
                    "returns": "unit",
                },
                {
                    "name": "parse",
                    "params": [{ "name": "text", "type": "string", "borrowed": true }],
                    "returns": number,
                },
            ],
            "types": {
                "Error": { "shape": { "enum": [
                    { "name": "Zero", "shape": "unit" },
                    { "name": "Huge", "shape": { "struct": [{ "name": "limit", "type": number }] } },
                ] } },
                "Entry": { "shape": { "struct": [{ "name": "operands", "type": { "list": number } }] } },
                "Id": { "shape": { "tuple": ["string"] } },
                "Version": { "shape": "encoded" },
            },
        }))
        .unwrap();
        let expected = "\
trait Calculator {
    /// `a / b`
    fn divide(&self, a: f64, b: f64) -> Result<f64, Error>;
    fn clear(&self, before: SystemTime);
    fn parse(&self, text: &str) -> f64;
}

struct Entry {
    operands: Vec<f64>,
}

enum Error {
    Zero,
    Huge { limit: f64 },
}

struct Id(String);

struct Version { .. }";
        assert_eq!(anstream::adapter::strip_str(&of(&interface)).to_string(), expected);
    }
}
