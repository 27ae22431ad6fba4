//! `/openapi.json`: generated from the handlers themselves, so that none is missing. The answers that all of them share
//! are added here.

use super::{command::Execute, envelope::ErrorBody, schema};
use axum::{
    body::Body,
    http::{HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use std::sync::Arc;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ContentBuilder, HttpMethod, InfoBuilder, OpenApi, Paths, Ref, RefOr, ResponseBuilder,
        path::{Operation, PathItem},
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};

/// The document, as it is sent.
#[derive(Clone)]
pub(super) struct Document(Arc<str>);

/// The possible answers to any request, besides success.
const ALWAYS: &[(&str, &str)] = &[
    ("400", "The request is invalid"),
    ("401", "The token is missing or wrong"),
    ("403", "The host name, the page or the user of the request is not allowed"),
    ("413", "The body is too large"),
    ("503", "The host or the plugin is starting or shutting down; see `retry-after`"),
];
const OF_A_PLUGIN: &[(&str, &str)] =
    &[("404", "There is no such plugin, method or version"), ("409", "The plugin's state does not allow it")];
const OF_A_CHANGE: &[(&str, &str)] = &[
    ("408", "The body did not arrive in time"),
    ("415", "The content type of the body is not JSON"),
    ("422", "The plugin returned an error, or the new version did not come to serve"),
];
const OF_A_CALL: &[(&str, &str)] =
    &[("429", "Too many calls run already"), ("504", "The call did not end in time")];
const OF_A_STREAM: &[(&str, &str)] =
    &[("404", "There is no such plugin"), ("429", "Too many streams are open already")];

impl Document {
    /// The description of the handlers, with what all of them have in common.
    pub(super) fn new(mut api: OpenApi) -> Self {
        api.info = InfoBuilder::new()
            .title("replug")
            .version(env!("CARGO_PKG_VERSION"))
            .description(Some("The control plane of a running replug host."))
            .build();
        let components = api.components.get_or_insert_default();
        components.schemas.insert(ErrorBody::name().into_owned(), ErrorBody::schema());
        if let Some(call) = components.schemas.remove(&*Execute::name()) {
            components.schemas.insert(Execute::name().into_owned(), schema::either_args_or_payload(call));
        }
        let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.security_schemes.insert("token".into(), bearer);
        describe(&mut api.paths);
        // It consists of strings and maps, which can be written.
        Self(api.to_json().unwrap_or_default().into())
    }
}

fn describe(paths: &mut Paths) {
    for (path, item) in &mut paths.paths {
        let PathItem { get, post, .. } = item;
        for (method, operation) in [(HttpMethod::Get, get), (HttpMethod::Post, post)] {
            let Some(operation) = operation else { continue };
            let mut add = |failures: &[(&str, &str)]| failures.iter().for_each(|it| answer(operation, *it));
            add(ALWAYS);
            if path.contains("/plugin/") && !path.ends_with("/list") {
                add(OF_A_PLUGIN);
            }
            if method == HttpMethod::Post {
                add(OF_A_CHANGE);
            }
            if path.ends_with("/execute") {
                add(OF_A_CALL);
            }
            if path.ends_with("/events") || path.ends_with("/logs") {
                add(OF_A_STREAM);
            }
            without_schema_of_streams(operation);
            if !path.starts_with("/health/") {
                operation.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
            }
        }
    }
}

fn answer(operation: &mut Operation, (status, description): (&str, &str)) {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(ErrorBody::name()))).build();
    let response =
        ResponseBuilder::new().description(description).content("application/json", content).build();
    operation.responses.responses.insert(status.to_owned(), response.into());
}

/// The text describes what a stream contains. Tools would take a schema for that of each event.
fn without_schema_of_streams(operation: &mut Operation) {
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response
            && let Some(stream) = response.content.get_mut("text/event-stream")
        {
            stream.schema = None;
        }
    }
}

impl IntoResponse for Document {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.0.to_string()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}
