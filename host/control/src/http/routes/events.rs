//! The route for the stream of events.

use super::App;
use crate::http::{
    command::OF_A_STREAM, envelope::Params, error::ControlError, filter::Filter, openapi, schema::Kind, sse,
};
use axum::{extract::State, http::HeaderMap, response::Response};
use replug_engine::PluginId;
use serde::Deserialize;
use std::sync::Arc;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    openapi::failing(OpenApiRouter::new().routes(routes!(events)), OF_A_STREAM)
}

/// The events to send.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Only events of this plugin, and always `host_stopped` and `events_lost`.
    #[serde(default)]
    plugin: Option<PluginId>,
    /// Only events of these kinds (a list separated by commas), and always `host_stopped` and `events_lost`.
    #[serde(default)]
    #[param(value_type = Option<Vec<Kind>>, inline, style = Form, explode = false, example = json!(["reloaded", "build_failed"]))]
    kind: Option<String>,
}

/// Stream events from now on, as server-sent events. Each event has an id, except `events_lost`, which stands for
/// events that the reader has missed. With an id in the header `Last-Event-ID`, the stream continues after the event
/// with this id. With `0`, it begins with the oldest event that the host keeps.
#[utoipa::path(get, path = "/events", params(Wanted, ("last-event-id" = Option<String>, Header, description = "The id of the last event that was read")), responses((status = 200, description = "A stream that ends with the host", body = String, content_type = "text/event-stream")))]
async fn events(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Params(wanted): Params<Wanted>,
) -> Result<Response, ControlError> {
    let kinds = Filter::kinds(wanted.kind.as_deref().unwrap_or_default())?;
    if let Some(id) = &wanted.plugin {
        // For an unknown id, the client gets an error instead of a stream without events.
        app.executor.host()?.info(id.as_str())?;
    }
    sse::stream(&app, Filter { plugin: wanted.plugin, kinds }, sse::last_id(&headers))
}
