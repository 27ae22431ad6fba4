//! `/openapi.json`, which is generated from the declared commands and handlers, so that no path is missing. The
//! failures that all paths share are added here.

use super::{
    command::{Describe, Execute, Failures, Kind},
    envelope::{Envelope, ErrorBody},
    error::Code,
    guard::is_open,
    schema,
};
use axum::{
    body::Body,
    http::{HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use std::sync::Arc;
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{
        Content, ContentBuilder, HttpMethod, InfoBuilder, OpenApi, Paths, Ref, RefOr, Required,
        ResponseBuilder, Schema,
        path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem},
        request_body::{RequestBody, RequestBodyBuilder},
        schema::{ObjectBuilder, SchemaType, Type},
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_axum::router::OpenApiRouter;

/// The document, as it is sent.
#[derive(Clone)]
pub(super) struct Document(Arc<str>);

/// The possible failures of any request.
const ALWAYS: Failures = &[
    (Code::BadInput, "The request is invalid"),
    (Code::NoToken, "The token is missing or wrong"),
    (Code::ForeignHost, "The host name, the page or the user of the request is not allowed"),
    (Code::TooLarge, "The body is too large"),
    (
        Code::Restarting,
        "The host or the plugin is starting or shutting down; retry after `retry-after` seconds",
    ),
];

impl Document {
    /// Completes the description of the handlers with the title, the token and the common failures.
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
        // The document consists of strings and maps, so writing it as JSON cannot fail.
        Self(api.to_json().unwrap_or_default().into())
    }
}

/// Adds the common failures and the token to all operations.
fn describe(paths: &mut Paths) {
    for (path, item) in &mut paths.paths {
        let PathItem { get, post, .. } = item;
        for operation in [get, post].into_iter().flatten() {
            fail(operation, ALWAYS);
            without_schema_of_streams(operation);
            if !is_open(path) {
                operation.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
            }
        }
    }
}

/// Adds possible failures to each operation of the router.
pub(super) fn failing<S: Clone + Send + Sync + 'static>(
    mut router: OpenApiRouter<S>,
    failures: Failures,
) -> OpenApiRouter<S> {
    for PathItem { get, post, .. } in router.get_openapi_mut().paths.paths.values_mut() {
        [get, post].into_iter().flatten().for_each(|operation| fail(operation, failures));
    }
    router
}

/// Adds possible failures to the operation.
fn fail(operation: &mut Operation, failures: Failures) {
    for (code, description) in failures {
        let content = json(ErrorBody::name());
        let response =
            ResponseBuilder::new().description(*description).content("application/json", content).build();
        operation.responses.responses.insert(code.status().to_string(), response.into());
    }
}

/// JSON content with the schema of this name.
fn json(form: impl Into<String>) -> Content {
    ContentBuilder::new().schema(Some(Ref::from_schema_name(form))).build()
}

/// Schemas by name.
type Schemas = Vec<(String, RefOr<Schema>)>;

/// The path of a command, and the schemas that it refers to.
pub(super) fn of_command(kind: Kind) -> (Schemas, Paths) {
    let declared = kind.declaration();
    let Forms { mut params, body, gives, schemas } = kind.describe(Enveloped);
    let mut done = ResponseBuilder::new().description(declared.done).content("application/json", json(gives));
    if declared.is_stream {
        done = done.content("text/event-stream", Content::default());
        params.get_or_insert_default().push(last_event_id());
    }
    let docs: Vec<_> = declared.docs.lines().map(str::trim).collect();
    let mut operation = OperationBuilder::new()
        .operation_id(Some(declared.name))
        .summary(Some(docs.join("\n")))
        .parameters(params)
        .request_body(body)
        .response("200", done)
        .build();
    declared.failures.iter().for_each(|failures| fail(&mut operation, failures));
    let method = if declared.effect.is_read_only() { HttpMethod::Get } else { HttpMethod::Post };
    let mut paths = Paths::new();
    paths.add_path_operation(declared.path, vec![method], operation);
    (schemas, paths)
}

/// The types of a command's payload and answer.
struct Forms {
    params: Option<Vec<Parameter>>,
    body: Option<RequestBody>,
    /// The name of the answer's schema.
    gives: String,
    schemas: Schemas,
}

/// Describes a command whose answer is in an [`Envelope`].
struct Enveloped;

impl Describe for Enveloped {
    type Description = Forms;

    fn by_query<P: IntoParams, A: ToSchema>(self) -> Forms {
        let (gives, schemas) = enveloped::<A>();
        Forms { params: Some(P::into_params(|| Some(ParameterIn::Query))), body: None, gives, schemas }
    }

    fn by_body<P: ToSchema, A: ToSchema>(self) -> Forms {
        let (gives, mut schemas) = enveloped::<A>();
        schemas.push((P::name().into_owned(), P::schema()));
        P::schemas(&mut schemas);
        let body = RequestBodyBuilder::new().content("application/json", json(P::name()));
        let body = Some(body.required(Some(Required::True)).build());
        Forms { params: None, body, gives, schemas }
    }
}

/// The name of the answer's schema with the envelope, and all schemas that it refers to.
fn enveloped<A: ToSchema>() -> (String, Schemas) {
    let name = format!("{}_{}", Envelope::<A>::name(), A::name());
    let mut envelope = Envelope::<A>::schema();
    if let RefOr::T(Schema::Object(envelope)) = &mut envelope {
        // utoipa's macro does the same for the handlers: the envelope contains the answer's schema, not a reference.
        envelope.properties.insert("data".to_owned(), A::schema());
    }
    let mut schemas = vec![(name.clone(), envelope), (A::name().into_owned(), A::schema())];
    Envelope::<A>::schemas(&mut schemas);
    (name, schemas)
}

/// The header with the id after which a stream continues.
fn last_event_id() -> Parameter {
    let schema = ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::String, Type::Null]));
    ParameterBuilder::new()
        .name("last-event-id")
        .parameter_in(ParameterIn::Header)
        .description(Some("The id of the last event that was read; the stream continues after it"))
        .required(Required::False)
        .schema(Some(schema))
        .build()
}

/// Removes the schemas of streams, because tools would apply such a schema to the whole stream. The text of the
/// operation describes the events.
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
