//! The routes: one file for each group. A handler parses the request into a [`Command`] and passes it to the executor.
//!
//! To add a group, write its `routes()` and merge it here; its paths then appear in `/openapi.json`.

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
    caller::Caller,
    command::Command,
    envelope::{Answered, Nothing, Params, Reply, unknown_path, wrong_method},
    guard::guard,
    openapi,
};
use axum::{Router, extract::Request, response::Response, routing::get};
use std::{collections::BTreeSet, sync::Arc};
use utoipa_axum::router::OpenApiRouter;

/// The prefix of the API's paths.
pub(super) const PREFIX: &str = "/api/v1";

/// All routes, behind the guard.
pub(super) struct Api {
    app: Arc<App>,
    router: Router,
    /// The paths in `/openapi.json`.
    paths: BTreeSet<String>,
}

impl Api {
    pub(super) fn of(app: Arc<App>) -> Arc<Self> {
        let (router, paths) = router(app.clone());
        Arc::new(Self { app, router, paths })
    }

    /// Answers a request, or says why it is rejected.
    pub(super) async fn answer(&self, request: Request) -> Response {
        let route = self.route(request.uri().path());
        guard((&self.app, route), request, self.router.clone()).await
    }

    /// The path as `/openapi.json` has it. An unknown path gets one common name, so that a client cannot create any
    /// number of them.
    fn route(&self, path: &str) -> &str {
        let found = [Some(path), path.strip_prefix(PREFIX)].into_iter().flatten();
        found.into_iter().find_map(|path| self.paths.get(path)).map_or("none", String::as_str)
    }
}

fn router(app: Arc<App>) -> (Router, BTreeSet<String>) {
    // These contain the prefix themselves: if the router added it, each request would pay for that.
    let plugins = OpenApiRouter::new().merge(plugins::routes()).merge(life::routes()).merge(calls::routes());
    // Tools look for these at the root. They also exist below the prefix.
    let common =
        || OpenApiRouter::new().merge(events::routes()).merge(health::routes()).merge(metrics::routes());
    let (router, document) = plugins.merge(common()).split_for_parts();
    let paths = document.paths.paths.keys().cloned().collect();
    let document = openapi::Document::new(document);
    let (below, _) = common().split_for_parts();
    let described =
        Router::new().route("/openapi.json", get(move |_: Params<Nothing>| async move { document }));
    let router = router
        .merge(page::routes())
        .merge(described.clone())
        .nest(PREFIX, below.merge(described))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app);
    (router, paths)
}

/// Executes a command, and returns its answer.
async fn run(app: &Arc<App>, caller: Caller, command: Command) -> Answered<Answer> {
    let answer = app.executor.execute(caller.who.clone(), command).await?;
    Ok(Reply::new(&caller, answer))
}
