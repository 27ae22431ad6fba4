//! The health checks: whether the host is alive, and whether it is ready. They need no token, and their answers contain
//! no secrets.

use super::App;
use crate::http::{
    caller::Caller,
    envelope::{Answered, Envelope, Nothing, Params, Reply},
    error::{Code, ControlError},
};
use axum::extract::State;
use replug_engine::Status;
use serde::Serialize;
use std::{sync::Arc, time::Duration};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(live)).routes(routes!(ready))
}

/// The answer of a host that is alive.
#[derive(Serialize, ToSchema)]
struct Live {
    /// Always true: a host that is not alive does not answer.
    live: bool,
}

/// The answer of a host that is ready.
#[derive(Serialize, ToSchema)]
struct Ready {
    /// Always true: a host that is not ready answers with status 503.
    ready: bool,
    /// The number of plugins that serve.
    running: usize,
    /// The number of plugins that do not serve because of an error, such as a failed start or a crash.
    failed: usize,
}

/// Whether the host is alive.
#[utoipa::path(get, path = "/health/live", responses((status = 200, description = "It is alive", body = Envelope<Live>)))]
async fn live(caller: Caller, _: Params<Nothing>) -> Answered<Live> {
    Ok(Reply::new(caller, Live { live: true }))
}

/// Whether the host is ready: each plugin that starts with the host has started or has failed to start. The host is
/// also ready if some plugins have failed, because the others serve.
#[utoipa::path(get, path = "/health/ready", responses((status = 200, description = "It is ready", body = Envelope<Ready>)))]
async fn ready(State(app): State<Arc<App>>, caller: Caller, _: Params<Nothing>) -> Answered<Ready> {
    let host = app.executor.host()?;
    if !host.is_up() {
        let text = "the host is starting or shutting down: retry in a moment";
        return Err(ControlError::new(Code::Restarting, text).retry(Duration::from_secs(1)));
    }
    let plugins = host.plugins();
    let running = plugins.iter().filter(|plugin| plugin.generation.is_some()).count();
    let failed = plugins.iter().filter(|plugin| plugin.status == Status::Error).count();
    Ok(Reply::new(caller, Ready { ready: true, running, failed }))
}
