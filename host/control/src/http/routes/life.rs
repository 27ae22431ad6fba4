//! What changes a plugin: its start and end, its version, its configuration.

use super::{App, run};
use crate::http::{
    answer::{Answer, Changed, ConfigTaken},
    caller::Caller,
    command::{Command, Configure, OfPlugin, Register, Rollback, Stop},
    envelope::{Answered, Envelope, Json},
};
use axum::extract::State;
use std::sync::Arc;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(unregister))
        .routes(routes!(reload))
        .routes(routes!(rollback))
        .routes(routes!(start))
        .routes(routes!(stop))
        .routes(routes!(config))
}

/// Take in a plugin that was never started, or was unregistered: build it if need be, and start it.
#[utoipa::path(post, path = "/api/v1/plugin/register", request_body = Register, responses((status = 200, description = "It serves", body = Envelope<Changed>)))]
async fn register(State(app): State<Arc<App>>, caller: Caller, Json(it): Json<Register>) -> Answered<Answer> {
    run(&app, caller, Command::Register(it)).await
}

/// Stop a plugin, and count it among those that were never started.
#[utoipa::path(post, path = "/api/v1/plugin/unregister", request_body = OfPlugin, responses((status = 200, description = "It does not run", body = Envelope<Changed>)))]
async fn unregister(
    State(app): State<Arc<App>>,
    caller: Caller,
    Json(it): Json<OfPlugin>,
) -> Answered<Answer> {
    run(&app, caller, Command::Unregister(it)).await
}

/// Build the plugin, and let the result serve as a new generation.
#[utoipa::path(post, path = "/api/v1/plugin/reload", request_body = OfPlugin, responses((status = 200, description = "The new generation serves", body = Envelope<Changed>)))]
async fn reload(State(app): State<Arc<App>>, caller: Caller, Json(it): Json<OfPlugin>) -> Answered<Answer> {
    run(&app, caller, Command::Reload(it)).await
}

/// Let an earlier version serve again, as a new generation.
#[utoipa::path(post, path = "/api/v1/plugin/rollback", request_body = Rollback, responses((status = 200, description = "The earlier version serves", body = Envelope<Changed>)))]
async fn rollback(State(app): State<Arc<App>>, caller: Caller, Json(it): Json<Rollback>) -> Answered<Answer> {
    run(&app, caller, Command::Rollback(it)).await
}

/// Start a plugin that does not run; one that does is left alone.
#[utoipa::path(post, path = "/api/v1/plugin/start", request_body = OfPlugin, responses((status = 200, description = "It serves", body = Envelope<Changed>)))]
async fn start(State(app): State<Arc<App>>, caller: Caller, Json(it): Json<OfPlugin>) -> Answered<Answer> {
    run(&app, caller, Command::Start(it)).await
}

/// End a plugin after its last call; one that does not run is left alone.
#[utoipa::path(post, path = "/api/v1/plugin/stop", request_body = Stop, responses((status = 200, description = "It does not run", body = Envelope<Changed>)))]
async fn stop(State(app): State<Arc<App>>, caller: Caller, Json(it): Json<Stop>) -> Answered<Answer> {
    run(&app, caller, Command::Stop(it)).await
}

/// Give a plugin another configuration, without touching its manifest. What the plugin refuses changes nothing.
#[utoipa::path(post, path = "/api/v1/plugin/config", request_body = Configure, responses((status = 200, description = "The plugin has taken it over", body = Envelope<ConfigTaken>)))]
async fn config(State(app): State<Arc<App>>, caller: Caller, Json(it): Json<Configure>) -> Answered<Answer> {
    run(&app, caller, Command::Configure(it)).await
}
