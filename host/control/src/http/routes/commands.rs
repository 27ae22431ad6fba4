//! The routes of the commands, generated from the list of commands.

use super::App;
use crate::{
    command::{Command, Kind, Logs},
    http::{
        caller::Caller,
        envelope::{JsonBody, QueryOf, Reply},
        error::ControlError,
        execute, openapi, sse,
    },
};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    Kind::ALL.iter().fold(OpenApiRouter::new(), |router, kind| {
        let (schemas, paths) = openapi::of_command(*kind);
        router.routes((schemas, paths, handler(*kind)))
    })
}

fn handler(kind: Kind) -> MethodRouter<Arc<App>> {
    let asked = async move |State(app): State<Arc<App>>, caller: Caller, request: Request| {
        answer(&app, caller, kind, request).await
    };
    match kind.declaration().effect.is_read_only() {
        true => get(asked),
        false => post(asked),
    }
}

/// The HTTP method of requests for the command.
pub(super) fn method(kind: Kind) -> Method {
    if kind.declaration().effect.is_read_only() { Method::GET } else { Method::POST }
}

/// Reads a request for the command, executes the command, and returns its answer.
pub(super) async fn answer(
    app: &Arc<App>,
    caller: Caller,
    kind: Kind,
    request: Request,
) -> Result<Response, ControlError> {
    if !kind.declaration().effect.is_read_only() {
        return run(app, caller, kind.read(JsonBody::of(request).await?)?).await;
    }
    match kind.read(QueryOf(request.uri()))? {
        Command::Logs(logs) if logs.follow => follow(app, logs, request.headers()),
        command => run(app, caller, command).await,
    }
}

async fn run(app: &Arc<App>, caller: Caller, command: Command) -> Result<Response, ControlError> {
    let answer = app.executor.run(caller.who.clone(), command).await?;
    Ok(Reply::new(caller, answer).into_response())
}

fn follow(app: &Arc<App>, logs: Logs, headers: &HeaderMap) -> Result<Response, ControlError> {
    if let Some(id) = &logs.id {
        app.executor.host()?.info(id.as_str())?;
    }
    sse::logs(app, logs.id, (execute::lines(logs.lines)?, sse::last_id(headers)))
}
