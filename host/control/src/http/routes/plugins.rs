//! What can be known of plugins.

use super::{App, run};
use crate::http::{
    answer::{Answer, Logged, Methods, Plugin, Plugins, Versions},
    caller::Caller,
    command::{Command, List, Logs, OfPlugin},
    envelope::{Answered, Envelope, Params},
    error::ControlError,
    execute, sse,
};
use axum::{
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use std::sync::Arc;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(methods))
        .routes(routes!(generations))
        .routes(routes!(logs))
}

/// List the plugins, in pages: those that were started at least once, and those that were not.
#[utoipa::path(get, path = "/api/v1/plugin/list", params(List), responses((status = 200, description = "The plugins of the page", body = Envelope<Plugins>)))]
async fn list(State(app): State<Arc<App>>, caller: Caller, Params(list): Params<List>) -> Answered<Answer> {
    run(&app, caller, Command::List(list)).await
}

/// Tell all of one plugin.
#[utoipa::path(get, path = "/api/v1/plugin/get", params(OfPlugin), responses((status = 200, description = "The plugin", body = Envelope<Plugin>)))]
async fn get(State(app): State<Arc<App>>, caller: Caller, Params(of): Params<OfPlugin>) -> Answered<Answer> {
    run(&app, caller, Command::Get(of)).await
}

/// Describe the methods of the generation that serves: names, parameters, types and docs, from its interfaces.
#[utoipa::path(get, path = "/api/v1/plugin/methods", params(OfPlugin), responses((status = 200, description = "The methods by interface", body = Envelope<Methods>)))]
async fn methods(
    State(app): State<Arc<App>>,
    caller: Caller,
    Params(of): Params<OfPlugin>,
) -> Answered<Answer> {
    run(&app, caller, Command::Methods(of)).await
}

/// List the versions that a plugin can go back to.
#[utoipa::path(get, path = "/api/v1/plugin/generations", params(OfPlugin), responses((status = 200, description = "The versions, the oldest first", body = Envelope<Versions>)))]
async fn generations(
    State(app): State<Arc<App>>,
    caller: Caller,
    Params(of): Params<OfPlugin>,
) -> Answered<Answer> {
    run(&app, caller, Command::Generations(of)).await
}

/// Tell what a plugin, or each, has logged lately; with `follow=true`, as server-sent events that go on with what is
/// logged from now on, or, with the last id in the header `Last-Event-ID`, after that.
#[utoipa::path(get, path = "/api/v1/plugin/logs", params(Logs, ("last-event-id" = Option<String>, Header, description = "The id of the last event that was read, if it is followed")), responses((status = 200, description = "The entries, the oldest first", content((Envelope<Logged> = "application/json"), (String = "text/event-stream")))))]
async fn logs(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    Params(logs): Params<Logs>,
) -> Result<Response, ControlError> {
    if !logs.follow {
        return run(&app, caller, Command::Logs(logs)).await.map(IntoResponse::into_response);
    }
    if let Some(id) = &logs.id {
        app.executor.host()?.info(id.as_str())?;
    }
    sse::logs(&app, logs.id, (execute::lines(logs.lines)?, sse::last_id(&headers)))
}
