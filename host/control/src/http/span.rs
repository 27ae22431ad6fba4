//! The span of a request, for the host's own logs and for an embedding program. The work of a request runs in its span.
//! A reload has a separate span, because it may outlive the request.

use super::{
    command::{Effect, Who},
    routes::Route,
};
use axum::http::{Method, StatusCode};
use tracing::{Level, Span, field::Empty};

/// Makes the span of a request. The span begins when the head of the request has arrived, and ends when the answer
/// begins. Its level is `info` for requests that change a plugin. For calls, and for requests that only read, the level
/// is `debug`, because such requests may be very frequent.
pub(super) fn of((method, route): (&Method, Option<&Route>), request_id: &str) -> Span {
    macro_rules! request {
        ($level:expr, $method:expr, $route:expr) => {
            tracing::span!(
                target: "replug::http", parent: None, $level, "request",
                method = $method, route = $route, request_id, who = Empty, plugin = Empty, status = Empty
            )
        };
    }
    let effect = route.and_then(|route| route.command).map(|kind| kind.declaration().effect);
    let changes = method == Method::POST && route.is_some() && effect != Some(Effect::Calls);
    let route = route.map_or("none", |route| route.path.as_str());
    let method = match method.as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known,
        _ => "other",
    };
    match changes {
        true => request!(Level::INFO, method, route),
        false => request!(Level::DEBUG, method, route),
    }
}

/// Records the client of the current request, after the request was authorized.
pub(super) fn asked_by(who: &Who) {
    Span::current().record("who", tracing::field::display(who));
}

/// Records the status of the answer.
pub(super) fn answered(request: &Span, status: StatusCode) {
    request.record("status", status.as_u16());
}
