//! The route for calls of methods.

use super::{App, run};
use crate::http::{
    answer::{Answer, Executed},
    caller::Caller,
    command::{Command, Execute},
    envelope::{Answered, Envelope, Json},
};
use axum::extract::State;
use std::sync::Arc;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(execute))
}

/// Call a method, always on the newest generation.
#[utoipa::path(post, path = "/api/v1/plugin/execute", request_body = Execute, responses((status = 200, description = "What the method returned", body = Envelope<Executed>)))]
async fn execute(State(app): State<Arc<App>>, caller: Caller, Json(it): Json<Execute>) -> Answered<Answer> {
    run(&app, caller, Command::Execute(it)).await
}
