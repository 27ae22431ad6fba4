//! The paths: one file for each group. A handler parses the request into a [`Command`] and hands it over.
//!
//! To add a group, write its `routes()` and merge it here; its paths appear in `/openapi.json` by themselves.

mod calls;
mod events;
mod health;
mod life;
mod metrics;
mod page;
mod plugins;

use super::{
    App,
    answer::Answer,
    command::Command,
    envelope::{Answered, Reply, unknown_path, wrong_method},
    guard::{Caller, guard},
    openapi,
};
use axum::{Router, middleware, routing::get};
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;

/// Where the API begins.
pub(super) const PREFIX: &str = "/api/v1";

/// All paths, behind the guard.
pub(super) fn router(app: Arc<App>) -> Router {
    let plugins = OpenApiRouter::new().merge(plugins::routes()).merge(life::routes()).merge(calls::routes());
    // What tools look for at the root; below the prefix, too.
    let common =
        || OpenApiRouter::new().merge(events::routes()).merge(health::routes()).merge(metrics::routes());
    let (router, document) =
        OpenApiRouter::<Arc<App>>::new().nest(PREFIX, plugins).merge(common()).split_for_parts();
    let document = openapi::Document::new(document);
    let (below, _) = common().split_for_parts();
    let described = Router::new().route("/openapi.json", get(move || async move { document }));
    router
        .merge(page::routes())
        .merge(described.clone())
        .nest(PREFIX, below.merge(described))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(app.clone(), guard))
        .with_state(app)
}

/// Has a command done, and answers with what it gave.
async fn run(app: &Arc<App>, caller: Caller, command: Command) -> Answered<Answer> {
    let answer = app.execute(caller.who.clone(), command).await?;
    Ok(Reply::new(&caller, answer))
}
