//! The routes. Those of the commands are generated from the list of commands. Each other group of routes has a file.
//!
//! To add a group, write a file with a function `routes()`, and merge its result here. `/openapi.json` then lists its
//! paths.

mod commands;
mod events;
mod health;
mod metrics;
mod page;

use super::{
    App,
    caller::{Caller, Connection},
    command::Kind,
    envelope::{Nothing, Params, unknown_path, wrong_method},
    guard::guard,
    openapi,
};
use axum::{
    Router,
    extract::Request,
    response::{IntoResponse, Response},
    routing::get,
};
use std::{collections::BTreeMap, sync::Arc};
use tower::ServiceExt;
use utoipa_axum::router::OpenApiRouter;

/// The prefix of the API's paths.
pub(super) const PREFIX: &str = "/api/v1";

/// All routes, behind the guard.
pub(super) struct Api {
    pub(super) app: Arc<App>,
    router: Router,
    /// The paths in `/openapi.json`.
    routes: BTreeMap<String, Route>,
}

/// A path in `/openapi.json`.
pub(super) struct Route {
    pub(super) path: String,
    /// The command at this path, if it is the path of a command.
    pub(super) command: Option<Kind>,
}

impl Api {
    pub(super) fn of(app: Arc<App>) -> Arc<Self> {
        let (router, routes) = router(app.clone());
        Arc::new(Self { app, router, routes })
    }

    /// Answers a request. The answer to a rejected request is an error.
    pub(super) async fn answer(&self, connection: &Connection, request: Request) -> Response {
        let route = self.route(request.uri().path());
        guard((self, connection, route), request).await
    }

    /// Answers a request that the guard has admitted.
    pub(super) async fn admitted(
        &self,
        (caller, route): (Caller, Option<&Route>),
        mut request: Request,
    ) -> Response {
        // The router would clone its services for each request. So it gets only the requests that do not name a command
        // exactly, such as a request with a wrong method.
        let command =
            route.filter(|route| route.path == request.uri().path()).and_then(|route| route.command);
        if let Some(kind) = command.filter(|kind| commands::method(*kind) == request.method()) {
            return commands::answer(&self.app, caller, kind, request).await.into_response();
        }
        request.extensions_mut().insert(caller);
        self.router.clone().oneshot(request).await.unwrap_or_else(|never| match never {})
    }

    /// The route of a path, or `None` for an unknown path. Spans take their path from the route, so clients cannot put
    /// arbitrary text into spans.
    fn route(&self, path: &str) -> Option<&Route> {
        let mut found = [Some(path), path.strip_prefix(PREFIX)].into_iter().flatten();
        found.find_map(|path| self.routes.get(path))
    }
}

/// The routes in `/openapi.json`.
fn api() -> OpenApiRouter<Arc<App>> {
    // The paths of commands already contain the prefix. If the router added it, each request would take longer.
    commands::routes().merge(common())
}

/// The routes that tools expect at the root. They also exist below the prefix.
fn common() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().merge(events::routes()).merge(health::routes()).merge(metrics::routes())
}

fn router(app: Arc<App>) -> (Router, BTreeMap<String, Route>) {
    let (router, document) = api().split_for_parts();
    let route = |path: &String| {
        let command = Kind::ALL.iter().copied().find(|kind| kind.declaration().path == path);
        (path.clone(), Route { path: path.clone(), command })
    };
    let routes = document.paths.paths.keys().map(route).collect();
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
    (router, routes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_has_exactly_one_operation_for_each_command() {
        let (_, document) = api().split_for_parts();
        let described = document.paths.paths.iter().filter(|(path, _)| path.starts_with(PREFIX));
        let operations: BTreeMap<_, _> = described.map(|(path, item)| (path.as_str(), item)).collect();
        assert_eq!(operations.len(), Kind::ALL.len(), "each command has a path of its own");
        for kind in Kind::ALL {
            let declared = kind.declaration();
            let item = operations[declared.path];
            let (operation, other) = match declared.effect.is_read_only() {
                true => (&item.get, &item.post),
                false => (&item.post, &item.get),
            };
            let id = operation.as_ref().unwrap().operation_id.as_deref();
            assert_eq!((id, other.is_some()), (Some(declared.name), false), "{kind:?}");
        }
    }
}
