//! The metrics of the host, for Prometheus.

use super::App;
use crate::http::{
    caller::Caller,
    envelope::{Nothing, Params},
    error::ControlError,
};
use axum::{
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use replug_engine::Metrics;
use std::sync::Arc;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(metrics))
}

/// All metrics of the host, in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", responses((status = 200, description = "The metrics", body = String, content_type = "text/plain; version=0.0.4; charset=utf-8")))]
async fn metrics(
    State(app): State<Arc<App>>,
    _: Caller,
    _: Params<Nothing>,
) -> Result<Response, ControlError> {
    let page = app.executor.host()?.metrics().to_prometheus();
    Ok(([(CONTENT_TYPE, Metrics::PROMETHEUS_MEDIA_TYPE)], page).into_response())
}
