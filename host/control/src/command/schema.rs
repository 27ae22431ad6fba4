//! How types that the rest of the crate knows look in the API's description.

use replug_engine::{EventKind, Status};
use serde_json::json;
use std::borrow::Cow;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{AnyOfBuilder, ObjectBuilder, SchemaType, Type},
    },
};

/// How a [`Status`] looks: no other crate may implement that for it.
pub(crate) struct StatusSchema;

impl PartialSchema for StatusSchema {
    fn schema() -> RefOr<Schema> {
        let all = [
            Status::Ready,
            Status::Running,
            Status::Stopped,
            Status::Error,
            Status::Available,
            Status::SourceOnly,
            Status::Incomplete,
        ];
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("How a plugin is."))
            .enum_values(Some(all.map(|status| json!(status))))
            .into()
    }
}

impl ToSchema for StatusSchema {
    fn name() -> Cow<'static, str> {
        "Status".into()
    }
}

/// The arguments of a call: by name, by position, or none.
pub(crate) fn arguments() -> Schema {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Object, Type::Array, Type::Null]))
        .description(Some("The arguments: an object by name, or an array by position."))
        .examples([json!({ "a": 10, "b": 5 })])
        .into()
}

/// A call has arguments or the payload that stands for them, and never both: which a struct cannot say.
pub(crate) fn either_args_or_payload(call: RefOr<Schema>) -> RefOr<Schema> {
    let RefOr::T(Schema::Object(call)) = call else { return call };
    let without = |key: &str| {
        let mut call = call.clone();
        let null = ObjectBuilder::new().schema_type(Type::Null).build();
        call.properties.insert(key.to_owned(), null.into());
        Schema::Object(call)
    };
    AnyOfBuilder::new().item(without("payload")).item(without("args")).into()
}

/// A kind of event, by its name.
pub(crate) struct Kind;

impl PartialSchema for Kind {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(EventKind::NAMES.iter().copied()))
            .into()
    }
}

impl ToSchema for Kind {}
