//! What happens, as it happens.

use super::App;
use crate::http::{envelope::Params, error::ControlError, filter::Filter, schema::Kind, sse};
use axum::{extract::State, http::HeaderMap, response::Response};
use replug_engine::PluginId;
use serde::Deserialize;
use std::sync::Arc;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(events))
}

/// Which events to tell.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Only those of this plugin.
    #[serde(default)]
    plugin: Option<PluginId>,
    /// Only those of these kinds, with commas between them.
    #[serde(default)]
    #[param(value_type = Option<Vec<Kind>>, inline, style = Form, explode = false, example = json!(["reloaded", "build_failed"]))]
    kind: Option<String>,
}

/// Tell what happens from now on, as server-sent events. Each has an id; with the last one in the header
/// `Last-Event-ID`, the stream goes on after it, and with `0` it begins with the oldest event that is kept.
#[utoipa::path(get, path = "/events", params(Wanted, ("last-event-id" = Option<String>, Header, description = "The id of the last event that was read")), responses((status = 200, description = "A stream that ends with the host", body = String, content_type = "text/event-stream")))]
async fn events(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Params(wanted): Params<Wanted>,
) -> Result<Response, ControlError> {
    let kinds = Filter::kinds(wanted.kind.as_deref().unwrap_or_default())?;
    if let Some(id) = &wanted.plugin {
        // A slip of the finger would have its reader wait for ever.
        app.executor.host()?.info(id.as_str())?;
    }
    sse::stream(&app, Filter { plugin: wanted.plugin, kinds }, sse::last_id(&headers))
}
