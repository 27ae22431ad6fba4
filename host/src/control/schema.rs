//! How types that the rest of the crate knows look in the API's description.

use crate::{id::PluginId, info::Status};
use serde_json::json;
use std::borrow::Cow;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{ObjectBuilder, SchemaType, Type},
    },
};

impl PartialSchema for PluginId {
    fn schema() -> RefOr<Schema> {
        const PART: &str = "[a-z0-9]([a-z0-9-]*[a-z0-9])?";
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("A plugin's id: 2 or more parts of a-z, 0-9 and `-`, joined by dots."))
            .pattern(Some(format!("^{PART}([.]{PART})+$")))
            .max_length(Some(Self::MAX_LEN))
            .examples([json!("dev.replug.calculator")])
            .into()
    }
}

impl ToSchema for PluginId {
    fn name() -> Cow<'static, str> {
        "PluginId".into()
    }
}

impl PartialSchema for Status {
    fn schema() -> RefOr<Schema> {
        let all = [
            Self::Ready,
            Self::Running,
            Self::Stopped,
            Self::Error,
            Self::Available,
            Self::SourceOnly,
            Self::Incomplete,
        ];
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("How a plugin is."))
            .enum_values(Some(all.map(|status| json!(status))))
            .into()
    }
}

impl ToSchema for Status {
    fn name() -> Cow<'static, str> {
        "Status".into()
    }
}

/// The arguments of a call: by name, by position, or none.
pub(super) fn arguments() -> Schema {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Object, Type::Array, Type::Null]))
        .description(Some("The arguments: an object by name, or an array by position."))
        .examples([json!({ "a": 10, "b": 5 })])
        .into()
}
