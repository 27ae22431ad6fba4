//! Whether the host lives, and whether it is up. For probes: no token, and nothing in the answer that is worth one.

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

/// That it answers is the answer.
#[derive(Serialize, ToSchema)]
struct Live {
    /// true.
    live: bool,
}

/// How many plugins are how.
#[derive(Serialize, ToSchema)]
struct Ready {
    /// true.
    ready: bool,
    /// How many plugins serve.
    running: usize,
    /// How many did not come up, or have crashed and are yet to be started again.
    failed: usize,
}

/// Whether the host lives.
#[utoipa::path(get, path = "/health/live", responses((status = 200, description = "It does", body = Envelope<Live>)))]
async fn live(caller: Caller, _: Params<Nothing>) -> Answered<Live> {
    Ok(Reply::new(&caller, Live { live: true }))
}

/// Whether the host is up: each plugin that starts with it has come up, or has failed to. A plugin that failed does not
/// make the host unready: the others serve.
#[utoipa::path(get, path = "/health/ready", responses((status = 200, description = "It is up", body = Envelope<Ready>)))]
async fn ready(State(app): State<Arc<App>>, caller: Caller, _: Params<Nothing>) -> Answered<Ready> {
    let host = app.executor.host()?;
    if !host.is_up() {
        let text = "the host is starting or going down: ask again in a moment";
        return Err(ControlError::new(Code::Restarting, text).retry(Duration::from_secs(1)));
    }
    let plugins = host.plugins();
    let running = plugins.iter().filter(|plugin| plugin.generation.is_some()).count();
    let failed = plugins.iter().filter(|plugin| plugin.status == Status::Error).count();
    Ok(Reply::new(&caller, Ready { ready: true, running, failed }))
}
