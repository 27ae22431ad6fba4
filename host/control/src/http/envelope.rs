//! The format of requests and answers over HTTP: an envelope around the data of a successful JSON answer, one format
//! for all errors, and parsers of bodies and queries.

use super::{
    caller::Caller,
    command::Source,
    error::{Code, ControlError},
};
use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{FromRequestParts, Query, Request},
    http::{
        HeaderValue, StatusCode, Uri,
        header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
        request::Parts,
    },
    response::{IntoResponse, Response},
};
use futures_util::future::poll_immediate;
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::{Value, json};
use std::{error::Error, fmt, pin::pin, time::Duration};
use utoipa::ToSchema;

/// The maximum size of a body in bytes. The largest bodies are the arguments of calls. The limit is low, because all
/// connections may hold a body of this size at the same time.
pub(super) const MAX_BODY: usize = 1 << 20;
/// The time limit for receiving a body. A slower client would keep one of the limited number of connections from other
/// clients.
const BODY_TIME: Duration = Duration::from_secs(10);

/// The answer to a request that succeeded.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Envelope<T> {
    /// Always 0, which means success.
    pub code: u32,
    /// The requested data.
    pub data: T,
    /// The id that the host has given the request. The header `x-request-id` of the answer contains it, too.
    pub request_id: String,
}

/// The answer to a request that failed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// The kind of the error; its first three digits are the HTTP status.
    pub code: u32,
    /// What happened, and what to do.
    pub message: String,
    /// More details, depending on the kind of error; often null.
    pub details: Value,
}

/// The result of a handler.
pub(super) type Answered<T> = Result<Reply<T>, ControlError>;

/// An answer in its envelope.
pub(super) struct Reply<T>(Envelope<T>);

impl<T> Reply<T> {
    pub(super) fn new(caller: Caller, data: T) -> Self {
        Self(Envelope { code: 0, data, request_id: caller.request_id })
    }
}

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        json_response(StatusCode::OK, &self.0)
    }
}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body =
            ErrorBody { code: self.code.number(), message: self.message.clone(), details: self.details };
        let mut response = json_response(status, &body);
        let headers = response.headers_mut();
        if let Some(after) = self.retry_after {
            // In whole seconds, at least one.
            headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs_f64().ceil().max(1.0) as u64));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"replug\""));
        }
        response
    }
}

fn json_response(status: StatusCode, body: &impl Serialize) -> Response {
    let written = serde_json::to_vec(body).unwrap_or_else(|error| {
        json!({ "code": Code::Bug.number(), "message": error.to_string(), "details": null })
            .to_string()
            .into_bytes()
    });
    let mut response = Response::new(Body::from(written));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The answer for a path that does not exist.
pub(super) async fn unknown_path(request: Request) -> ControlError {
    let path: String = request.uri().path().chars().take(200).collect();
    ControlError::new(
        Code::UnknownPath,
        format!("no path {path:?}: `/openapi.json` lists the paths of the API"),
    )
}

/// The answer for a path that does not accept the method of the request. axum adds the header `allow` with the accepted
/// methods.
pub(super) async fn wrong_method(request: Request) -> ControlError {
    let (method, path) = (request.method(), request.uri().path());
    let text = format!(
        "{method} is not allowed for {path}: send a request that calls a method or may change something as a POST of \
         JSON, and any other request as a GET"
    );
    ControlError::new(Code::WrongMethod, text)
}

/// A query that is read into a `T`. `T` must be marked `deny_unknown_fields`, so that unknown keys are errors.
pub(super) struct Params<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ControlError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ControlError> {
        QueryOf(&parts.uri).payload().map(Self)
    }
}

/// The query of a URI, from which the whole payload of a command is read.
pub(super) struct QueryOf<'a>(pub(super) &'a Uri);

impl Source for QueryOf<'_> {
    type Error = ControlError;

    fn payload<T: DeserializeOwned>(self) -> Result<T, ControlError> {
        match Query::<T>::try_from_uri(self.0) {
            Ok(Query(read)) => Ok(read),
            Err(error) => {
                let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
                Err(ControlError::new(Code::BadInput, format!("the query: {reason}")))
            }
        }
    }
}

/// A query without keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// A body with the content type JSON, which has not been parsed yet. The type into which `payload` reads it must be
/// marked `deny_unknown_fields`.
pub(super) struct JsonBody(Bytes);

impl JsonBody {
    /// Waits for the body of the request.
    pub(super) async fn of(request: Request) -> Result<Self, ControlError> {
        if !is_json(&request) {
            let text = "the body must be JSON: set `content-type: application/json`";
            return Err(ControlError::new(Code::NotJson, text));
        }
        read(request.into_body()).await.map(Self)
    }
}

impl Source for JsonBody {
    type Error = ControlError;

    fn payload<T: DeserializeOwned>(self) -> Result<T, ControlError> {
        let Self(body) = self;
        let refused =
            |error: &dyn fmt::Display| ControlError::new(Code::BadInput, format!("the body: {error}"));
        // serde would also accept an array for a struct, with the fields in order.
        let is_object = body.trim_ascii_start().first() == Some(&b'{');
        if !is_object && serde_json::from_slice::<IgnoredAny>(&body).is_ok() {
            return Err(refused(&"it must be an object: `{...}`"));
        }
        serde_json::from_slice(&body).map_err(|error| refused(&error))
    }
}

/// Whether the content type is JSON. A page of another site can send this type only if the host permits it in the
/// answer to a CORS preflight request, which this host never does.
fn is_json(request: &Request) -> bool {
    let content_type =
        request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = content_type.split(';').next().unwrap_or_default().trim();
    media.eq_ignore_ascii_case("application/json")
}

async fn read(body: Body) -> Result<Bytes, ControlError> {
    let mut reading = pin!(to_bytes(body, MAX_BODY));
    // Most bodies have arrived with the head of the request, and need no timer.
    let read = match poll_immediate(reading.as_mut()).await {
        Some(read) => Ok(read),
        None => tokio::time::timeout(BODY_TIME, reading).await,
    };
    match read {
        Err(_) => Err(ControlError::new(
            Code::SlowBody,
            format!("the body did not arrive within {} s: send it faster, or send less", BODY_TIME.as_secs()),
        )),
        Ok(Err(error)) => {
            let too_large =
                error.source().is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
            Err(match too_large {
                true => too_large_body(),
                false => ControlError::new(Code::BadInput, format!("the body is incomplete: {error}")),
            })
        }
        Ok(Ok(bytes)) => Ok(bytes),
    }
}

/// The error for a body that is larger than [`MAX_BODY`].
pub(super) fn too_large_body() -> ControlError {
    ControlError::new(Code::TooLarge, format!("the body has more than {MAX_BODY} bytes: send less"))
}
