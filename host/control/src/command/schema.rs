//! The schemas that utoipa cannot derive, for the description of the HTTP API.

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

/// The schema of a [`Status`]. This crate cannot implement the traits of utoipa for [`Status`], which is a type of
/// another crate.
pub(crate) struct StatusSchema;

impl PartialSchema for StatusSchema {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("The status of a plugin."))
            .enum_values(Some(Status::ALL.map(|status| json!(status))))
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

/// The schema of a call, which has either `args` or `payload`, but never both. The schema that utoipa derives from the
/// struct cannot express this.
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

/// The schema of the name of a kind of event.
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
