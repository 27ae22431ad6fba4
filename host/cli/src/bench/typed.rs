//! Calls with types. A program usually knows the types of a method when it is compiled. This command does not, so it
//! contains the calls for common signatures, and measures the one that the plugin's method has.

use super::measure::Call;
use replug::{CallError, Method};
use replug_api::{
    Data,
    describe::{self, Type},
};
use serde_json::Value;

/// A call of the method by [`Method::typed`], or `None` if its signature is not one of those below.
pub(super) fn call(method: &Method, description: &describe::Method, arguments: &Value) -> Option<Call> {
    let arguments = by_position(description, arguments);
    TAKING.iter().find_map(|taking| taking(method, &arguments))
}

/// For each supported list of parameters, a function that returns the call.
const TAKING: [Taking; 9] = [
    returning::<()>,
    returning::<(u32,)>,
    returning::<(u64,)>,
    returning::<(i64,)>,
    returning::<(f64,)>,
    returning::<(f64, f64)>,
    returning::<(u64, u64)>,
    returning::<(String,)>,
    returning::<(Vec<u8>,)>,
];

type Taking = fn(&Method, &Value) -> Option<Call>;

fn returning<A: Data + Sync>(method: &Method, arguments: &Value) -> Option<Call> {
    let returning: [Taking; 9] = [
        of::<A, ()>,
        of::<A, bool>,
        of::<A, u32>,
        of::<A, u64>,
        of::<A, usize>,
        of::<A, i64>,
        of::<A, f64>,
        of::<A, String>,
        of::<A, Vec<u8>>,
    ];
    returning.iter().find_map(|of| of(method, arguments))
}

fn of<A: Data + Sync, T: Data>(method: &Method, arguments: &Value) -> Option<Call> {
    let typed = method.typed::<A, T>().ok()?;
    let arguments: A = serde_json::from_value(arguments.clone()).ok()?;
    Some(Box::new(move || typed.call(&arguments).map(drop).map_err(CallError::widen)))
}

/// The arguments in the form in which serde reads a tuple of the parameters.
fn by_position(method: &describe::Method, arguments: &Value) -> Value {
    let argument = |(at, param): (usize, &describe::Param)| {
        let value = match arguments {
            Value::Array(values) => values.get(at),
            others => others.get(&param.name),
        };
        match (&param.ty, value.cloned().unwrap_or_default()) {
            // A string stands for its bytes.
            (Type::List(of), Value::String(text)) if **of == Type::Number("u8".into()) => {
                text.into_bytes().into()
            }
            (_, value) => value,
        }
    };
    match method.params.as_slice() {
        [] => Value::Null,
        params => params.iter().enumerate().map(argument).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn arguments_by_name_are_put_in_the_order_of_the_parameters() {
        let param = |name: &str, ty| json!({ "name": name, "type": ty });
        let bytes = json!({ "list": { "number": "u8" } });
        let params = json!([param("text", json!("string")), param("bytes", bytes)]);
        let method = |params| {
            let method = json!({ "name": "a", "params": params, "returns": "unit" });
            serde_json::from_value::<describe::Method>(method).unwrap()
        };
        let two = method(params);
        let expected = json!(["x", [97, 98]]);
        assert_eq!(by_position(&two, &json!({ "bytes": "ab", "text": "x" })), expected);
        assert_eq!(by_position(&two, &json!(["x", [97, 98]])), expected);
        assert_eq!(by_position(&two, &json!(["x"])), json!(["x", null]));
        assert_eq!(by_position(&method(json!([])), &json!({})), Value::Null);
    }
}
