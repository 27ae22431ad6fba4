//! The schema of ids in the OpenAPI description of the HTTP API.

use crate::id::PluginId;
use serde_json::json;
use std::borrow::Cow;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{ObjectBuilder, Type},
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
