//! The span of a request, for the host's own logs and for whatever an embedding program does with them. What a request
//! has done is in it; but a reload, which outlives whoever asked for it, has a span of its own.

use super::command::Who;
use axum::http::{Method, StatusCode};
use tracing::{Level, Span, field::Empty};

/// One request, from when its head has arrived until its answer begins. What changes a plugin is told at `info`; what
/// only looks, and a call, may come by the thousand, and is told at `debug`.
pub(super) fn of((method, route): (&Method, &str), request_id: &str) -> Span {
    macro_rules! request {
        ($level:expr, $method:expr, $route:expr) => {
            tracing::span!(
                target: "replug::http", parent: None, $level, "request",
                method = $method, route = $route, request_id, who = Empty, plugin = Empty, status = Empty
            )
        };
    }
    let changes = method == Method::POST && route != "none" && !route.ends_with("/execute");
    let method = match method.as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known,
        _ => "other",
    };
    match changes {
        true => request!(Level::INFO, method, route),
        false => request!(Level::DEBUG, method, route),
    }
}

/// Who asks, once it is known that they may.
pub(super) fn asked_by(who: &Who) {
    Span::current().record("who", tracing::field::display(who));
}

/// What it is answered with.
pub(super) fn answered(request: &Span, status: StatusCode) {
    request.record("status", status.as_u16());
}
